package interop

import (
	"fmt"
	"strings"
	"testing"
)

// fio writes every block of its part of the volume in random order with a
// checksum in it, 32 requests at once, and reads each back.
func fioVerify(p *pool, connections int, seed int64) []string {
	return []string{
		"--name=verify", "--ioengine=nbd", "--uri=" + p.uri(), "--thread",
		"--rw=randwrite", "--bs=4k", "--iodepth=32", "--fsync=256",
		"--verify=crc32c", "--do_verify=1", "--verify_fatal=1",
		fmt.Sprintf("--randseed=%d", uint32(seed)),
		fmt.Sprintf("--numjobs=%d", connections), "--size=64m", "--offset_increment=64m",
		"--group_reporting",
	}
}

func TestFio(t *testing.T) {
	need(t, "fio", "gcc")
	slow(t, "a minute")
	for _, c := range []struct {
		name        string
		connections int
		build       string
	}{
		{"one connection", 1, checked},
		{"four connections", 4, checked},
		{"four connections, race detector", 4, raced},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The cache holds a part of what is written: blocks are verified
			// from memory and from the legs.
			p := newPool(t, poolOptions{budget: "32MiB", build: c.build})
			s := p.serve()
			out := run(t, "fio", fioVerify(p, c.connections, seed(t))...)
			if !strings.Contains(out, "err= 0") {
				t.Errorf("fio does not say that all is well:\n%s", out)
			}
			t.Log(summary(out))
			s.stop()
			legsEqual(t, p)
		})
	}
}

// fioLoad writes to [off, off+size) of the volume until the server dies.
func fioLoad(p *pool, off, size int64) []string {
	return []string{
		"--name=load", "--ioengine=nbd", "--uri=" + p.uri(), "--thread",
		"--rw=randwrite", "--bsrange=512-64k", "--iodepth=16", "--fsync=64",
		fmt.Sprintf("--offset=%d", off), fmt.Sprintf("--size=%d", size),
		"--time_based", "--runtime=600",
	}
}

// summary picks the lines of fio's report that say how much was done.
func summary(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		if strings.Contains(line, "READ:") || strings.Contains(line, "WRITE:") {
			b.WriteString(strings.TrimLeft(line, " "))
		}
	}
	return strings.TrimSpace(b.String())
}
