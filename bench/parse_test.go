package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 7 1 1 0 -1 4194560 1 2 3 4 11 22 300 4000 20 0 1 0 100 200 300"
	for _, c := range []struct {
		line  string
		want  procStat
		fails bool
	}{
		{"42 (nbdkit)" + rest, procStat{42, 7, 4333}, false},
		{"42 (a) b (c)" + rest, procStat{42, 7, 4333}, false},
		{"42 nbdkit" + rest, procStat{}, true},
		{"x (nbdkit)" + rest, procStat{}, true},
		{"42 (nbdkit) S 7 1", procStat{}, true},
		{"42 (nbdkit)" + strings.Replace(rest, " 22 ", " x ", 1), procStat{}, true},
		{"", procStat{}, true},
	} {
		got, err := parseStat(c.line)
		if (err != nil) != c.fails || err == nil && got != c.want {
			t.Errorf("%q: %+v, %v", c.line, got, err)
		}
	}
}

func TestFamily(t *testing.T) {
	all := []procStat{{pid: 5, parent: 4}, {pid: 2, parent: 1}, {pid: 4, parent: 2}, {pid: 3, parent: 1}, {pid: 1}}
	var got []int
	for _, s := range family(all, 2) {
		got = append(got, s.pid)
	}
	if !slices.Equal(got, []int{2, 4, 5}) {
		t.Errorf("the family of 2 is %v", got)
	}
	if found := family(all, 9); len(found) != 0 {
		t.Errorf("nobody's family is %v", found)
	}
}

// The time of a child is its parent's before and after it ended.
func TestCPUTimeOfChildren(t *testing.T) {
	const work = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
	cmd := exec.Command("sh", "-c", "sh -c '"+work+"'; echo done; read x")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	got, err := cpuTime(cmd.Process.Pid)
	if err != nil || got < 5*tick {
		t.Errorf("%v, %v: the child's time is missing", got, err)
	}
}

func TestParseBusy(t *testing.T) {
	got, err := parseBusy("cpu  10 20 300 4000 50000 600000 7000000 9 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
	if want := 7600330 * tick; err != nil || got != want {
		t.Errorf("%v instead of %v, %v", got, want, err)
	}
	for _, text := range []string{"", "cpu 1 2", "cpu 1 2 x 4 5 6 7 8", "intr 1 2 3 4 5 6 7 8"} {
		if got, err := parseBusy(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestParseStatus(t *testing.T) {
	got := parseStatus("Name:\tx\nVmRSS:\t    1024 kB\nThreads:\t4\nVmHWM:\tmuch kB\n")
	if len(got) != 1 || got["VmRSS"] != 1<<20 {
		t.Errorf("%v", got)
	}
	if n, err := residentSize(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("this process has %d bytes, %v", n, err)
	}
}

const fioText = `fio: a warning
{"fio version":"fio-3.33","jobs":[{"jobname":"bench","error":0,"usr_cpu":12.5,"sys_cpu":50,
"read":{"io_bytes":4096000,"bw_bytes":8192000,"iops":2000.5,"total_ios":1000,"clat_ns":{"mean":5.0,"percentile":{"50.000000":9000,"99.000000":64000}}},
"write":{"io_bytes":409600,"bw_bytes":819200,"iops":200,"total_ios":100,"clat_ns":{"mean":5.0,"percentile":{"99.000000":128000}}}}]}`

func TestParseFio(t *testing.T) {
	got, err := parseFio(fioText)
	want := figures{operations: 1100, iops: 2200.5, bytesPerSecond: 9011200, p99Micros: 128, clientShare: 0.625}
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range want {
		if got[name] != x {
			t.Errorf("%s: %v, not %v", name, got[name], x)
		}
	}
	for what, text := range map[string]string{
		"no JSON":       "fio: nothing",
		"cut off":       fioText[:200],
		"an error":      strings.Replace(fioText, `"error":0`, `"error":5`, 1),
		"nothing done":  `{"jobs":[{"error":0}]}`,
		"no job at all": `{"jobs":[]}`,
	} {
		if got, err := parseFio(text); err == nil {
			t.Errorf("%s: %v", what, got)
		}
	}
}

func TestJobArguments(t *testing.T) {
	j := job{rw: "randwrite", blockSize: page, depth: 32, connections: 4, fsync: 1, extra: []string{"--end_fsync=1"}}
	args := strings.Join(j.args(overNBD("nbd+unix:///?socket=/s"), 1<<20, 400*time.Millisecond, 7), " ")
	for _, want := range []string{"--ioengine=nbd", "--uri=nbd+unix:///?socket=/s", "--rw=randwrite", "--bs=4096", "--iodepth=32",
		"--numjobs=4", "--fsync=1", "--time_based", "--runtime=400ms", "--randseed=7", "--end_fsync=1", "--size=1048576"} {
		if !strings.Contains(args+" ", want+" ") {
			t.Errorf("%s is not in %s", want, args)
		}
	}
	j = job{rw: "read", blockSize: large, depth: 4, once: true}
	args = strings.Join(j.args(bareFile("/f"), 1<<20, time.Second, 0), " ")
	for _, unwanted := range []string{"time_based", "runtime", "fsync"} {
		if strings.Contains(args, unwanted) {
			t.Errorf("%s is in %s", unwanted, args)
		}
	}
	if !strings.Contains(args, "--direct=1") || !strings.Contains(args, "--numjobs=1") {
		t.Error(args)
	}
}

func TestProcessorName(t *testing.T) {
	for text, want := range map[string]string{
		"processor\t: 0\nmodel name\t: A B: C\nmodel name\t: D\n": "A B: C",
		"processor\t: 0\nCPU part\t: 0xd0c\n":                     "0xd0c",
		"":                                                        "unknown",
	} {
		if got := processorName(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
