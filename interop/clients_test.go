package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// copySize is how much the copying clients copy, in bytes.
const copySize = 1 << 30

func TestNbdinfo(t *testing.T) {
	need(t, "nbdinfo")
	p := newPool(t, poolOptions{})
	s := p.serve()
	defer s.stop()

	type export struct {
		Name string `json:"export-name"`
		Size int64  `json:"export-size"`

		Contexts      []string `json:"contexts"`
		ReadOnly      *bool    `json:"is_read_only"`
		Flush         bool     `json:"can_flush"`
		FUA           bool     `json:"can_fua"`
		Trim          bool     `json:"can_trim"`
		Zero          bool     `json:"can_zero"`
		FastZero      bool     `json:"can_fast_zero"`
		DF            bool     `json:"can_df"`
		Cache         bool     `json:"can_cache"`
		MultiConn     bool     `json:"can_multi_conn"`
		SizeMinimum   int64    `json:"block_size_minimum"`
		SizePreferred int64    `json:"block_size_preferred"`
		SizeMaximum   int64    `json:"block_size_maximum"`
	}
	var info struct {
		Structured bool     `json:"structured"`
		Exports    []export `json:"exports"`
	}
	out := run(t, "nbdinfo", "--json", p.uri())
	if err := json.Unmarshal([]byte(out), &info); err != nil || len(info.Exports) != 1 {
		t.Fatalf("nbdinfo --json: %v, %d exports\n%s", err, len(info.Exports), out)
	}
	e := info.Exports[0]
	for name, ok := range map[string]bool{
		"structured replies":       info.Structured,
		"name":                     e.Name == volumeName,
		"size":                     e.Size == 1<<30,
		"base:allocation":          strings.Contains(fmt.Sprint(e.Contexts), "base:allocation"),
		"read-write":               e.ReadOnly != nil && !*e.ReadOnly,
		"flush":                    e.Flush,
		"FUA":                      e.FUA,
		"trim":                     e.Trim,
		"zero":                     e.Zero,
		"fast zero":                e.FastZero,
		"don't fragment":           e.DF,
		"cache":                    e.Cache,
		"multi-conn":               e.MultiConn,
		"any offset or sector":     e.SizeMinimum == 1 || e.SizeMinimum == 512,
		"pages preferred":          e.SizePreferred == 4096,
		"requests of 32 MiB allow": e.SizeMaximum >= 32<<20,
	} {
		if !ok {
			t.Errorf("nbdinfo does not show: %s", name)
		}
	}
	if t.Failed() {
		t.Log(out)
	}

	list := run(t, "nbdinfo", "--list", strings.Replace(p.uri(), volumeName, "", 1))
	if strings.Count(list, "export=") != 1 || !strings.Contains(list, fmt.Sprintf("export=%q", volumeName)) {
		t.Errorf("nbdinfo --list does not show the one volume %q:\n%s", volumeName, list)
	}
	if m := run(t, "nbdinfo", "--map", p.uri()); !strings.Contains(m, "hole,zero") {
		t.Errorf("nbdinfo --map does not show an unwritten volume as a hole:\n%s", m)
	}
	if _, _, err := try(t, "nbdinfo", strings.Replace(p.uri(), volumeName, "nobody", 1)); err == nil {
		t.Error("an export that does not exist was opened")
	}
}

func TestNbdcopy(t *testing.T) {
	need(t, "nbdcopy")
	slow(t, "half a minute")
	p := newPool(t, poolOptions{})
	s := p.serve()
	in := randomFile(t, copySize, seed(t))
	run(t, "nbdcopy", "--flush", in, p.uri())
	copyBack(t, p, in)
	s.stop()

	// What comes from the legs must be what came from the cache.
	s = p.serve()
	copyBack(t, p, in)
	s.stop()
}

// copyBack copies the volume out and compares it with a file.
func copyBack(t *testing.T, p *pool, with string) {
	t.Helper()
	back := filepath.Join(t.TempDir(), "back")
	run(t, "nbdcopy", p.uri(), back)
	same(t, with, back)
	os.Remove(back)
}

func TestQemuImg(t *testing.T) {
	need(t, "qemu-img")
	slow(t, "half a minute")
	p := newPool(t, poolOptions{})
	s := p.serve()
	defer s.stop()
	in := randomFile(t, copySize, seed(t))
	// A hole in the middle makes qemu-img zero instead of write.
	if err := punch(in, copySize/4, copySize/2); err != nil {
		t.Fatal(err)
	}
	run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", in, p.uri())
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", in, p.uri())

	image := filepath.Join(t.TempDir(), "back.qcow2")
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", p.uri(), image)
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", p.uri(), image)
	run(t, "qemu-img", "check", image)

	// A byte that differs must be found, or the comparisons show nothing.
	c := dial(t, p)
	if err := c.writeAt([]byte{1}, copySize/2, 0); err != nil {
		t.Fatal(err)
	}
	if out, _, err := try(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", in, p.uri()); err == nil {
		t.Errorf("qemu-img compare does not see a byte that differs:\n%s", out)
	}
}

// FUA writes that qemu-io was told are done survive a kill that follows at once.
func TestQemuIO(t *testing.T) {
	need(t, "qemu-io")
	p := newPool(t, poolOptions{size: "64MiB"})
	s := p.serve()
	run(t, "qemu-io", "-f", "raw",
		"-c", "write -f -P 0x11 0 64k",
		"-c", "write -f -P 0x22 1M 512",
		"-c", "write -f -P 0x33 2097152 4M",
		"-c", "write -z -f 3M 64k",
		"-c", "discard 4M 64k",
		"-c", "flush", p.uri())
	// Nobody waits for this one: it may be there or not.
	run(t, "qemu-io", "-f", "raw", "-c", "write -P 0x44 32M 1M", p.uri())
	s.kill()

	s = p.serve()
	defer s.stop()
	out := run(t, "qemu-io", "-f", "raw",
		"-c", "read -P 0x11 0 64k",
		"-c", "read -P 0 64k 64k",
		"-c", "read -P 0x22 1M 512",
		"-c", "read -P 0 1049088 512",
		"-c", "read -P 0x33 2M 1M",
		"-c", "read -P 0 3M 64k",
		"-c", "read -P 0x33 3211264 64k",
		"-c", "read -P 0 4M 64k",
		"-c", "read -P 0 6M 1M", p.uri())
	if strings.Contains(out, "verification failed") {
		t.Errorf("an acknowledged FUA write is gone:\n%s", out)
	}
}

// What one connection was told is written is what every other reads, and a
// flush on one covers the writes of all: that is what CAN_MULTI_CONN promises.
func TestMultiConn(t *testing.T) {
	need(t, "nbdsh")
	p := newPool(t, poolOptions{size: "64MiB"})
	s := p.serve()
	script := `
import nbd
uri = %q
handles = []
for i in range(4):
    n = nbd.NBD()
    n.connect_uri(uri)
    assert n.can_multi_conn(), "no multi-conn"
    handles.append(n)
for round in range(64):
    for i, n in enumerate(handles):
        data = bytes([round + 1, i]) * 2048
        n.pwrite(data, i * 4096)
        for m in handles:
            assert m.pread(4096, i * 4096) == data, "another connection reads something else"
handles[0].flush()
for n in handles:
    n.shutdown()
`
	run(t, "nbdsh", "-c", fmt.Sprintf(script, p.uri()))
	s.kill()

	s = p.serve()
	defer s.stop()
	c := dial(t, p)
	got := make([]byte, 4*4096)
	if err := c.readAt(got, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		want := strings.Repeat(string([]byte{64, byte(i)}), 2048)
		if string(got[i*4096:(i+1)*4096]) != want {
			t.Errorf("the write of connection %d is gone, though connection 0 flushed", i)
		}
	}
}
