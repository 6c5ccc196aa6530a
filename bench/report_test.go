package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// made is a result of two rounds that was made up.
func made() *result {
	o := options{rounds: 2, runtime: time.Second, size: 1 << 30, only: regexp.MustCompile(""), peers: regexp.MustCompile("peer|other")}
	r := newResult(o)
	for round := range 2 {
		for _, s := range []struct {
			experiment, contestant string
			f                      figures
		}{
			{readDeep, ourselves, figures{iops: 130e3, cpuMicros: 4}},
			{readDeep, nbdkitFile, figures{iops: 100e3, cpuMicros: 8}},
			{readDeep, nbdServer, figures{iops: 120e3, cpuMicros: 16}},
			{writeDeep, ourselves, figures{iops: 50e3, cpuMicros: 4, durable: 40e3, wholeMicros: 12}},
			{writeDeep, nbdkitFile, figures{iops: 100e3, cpuMicros: 5, durable: 20e3, wholeMicros: 24}},
			{readInside, readAt, figures{iops: 2e6}},
			{readInside, pread, figures{iops: 1e6}},
			{copyHot, limitThing, figures{nanos: 55, iops: 1e9 / 55}},
		} {
			r.Samples = append(r.Samples, sample{s.experiment, s.contestant, round, s.f})
		}
	}
	r.LeftOut = []omission{{"nobody <&>", "not \"there\""}}
	r.judge()
	return r
}

func TestMarkdown(t *testing.T) {
	text := made().markdown()
	for _, want := range []string{
		"| 4 KiB random read, depth 32, cached, against the best of four with one copy | 130.0 k/s | 120.0 k/s (nbd-server) | 1.08 (1.08 to 1.08) | at least 1.30 | **not met**, by 17 %; without nbdkit memory, qemu-nbd |",
		"| server CPU per cached 4 KiB read, against nbdkit file | 4.0 us | 8.0 us (nbdkit file) | 0.50 (0.50 to 0.50) | at most 0.80 | met |",
		"| start of a 1 TiB sparse volume, against one of 1 GiB | | | | at most 1.20 | not measured |",
		"| randread 4k qd32 | nbdkit file | speed | 130.0 k/s | 100.0 k/s | 1.30 (1.30 to 1.30) | 4.0 us | 8.0 us | 0.50 (0.50 to 0.50) |",
		"| randwrite 4k qd32 | nbdkit file | speed | 50.0 k/s | 100.0 k/s | 0.50 (0.50 to 0.50) | 4.0 us | 5.0 us | 0.80 (0.80 to 0.80) |",
		"| randwrite 4k qd32 | nbdkit file | 40.0 k/s | 20.0 k/s | 2.00 (2.00 to 2.00) | 12.0 us | 24.0 us | 0.50 (0.50 to 0.50) |",
		"| limit: copy of 4 KiB, hot | this machine | time | 55 ns | 55 ns | 55 ns |",
		"- nobody <&>: not \"there\"",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no line %s in\n%s", want, text)
		}
	}
	// Each row of a table has as many cells as its head.
	cells := 0
	for line := range strings.Lines(text) {
		n := strings.Count(line, "|")
		if n == 0 {
			cells = 0
		} else if cells == 0 {
			cells = n
		} else if n != cells {
			t.Errorf("%d bars instead of %d: %s", n, cells, line)
		}
	}
}

func TestPlots(t *testing.T) {
	for name, text := range made().plots() {
		d := xml.NewDecoder(strings.NewReader(text))
		elements := 0
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, is := token.(xml.StartElement); is {
				elements++
			}
		}
		if elements < 10 {
			t.Errorf("%s has %d elements", name, elements)
		}
		for _, bad := range []string{"NaN", "Inf"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %s", name, bad)
			}
		}
	}
	// Without a single row there is still a picture, and names are escaped.
	if text := plot("a <b> & c", "", nil); xml.Unmarshal([]byte(text), new(struct{})) != nil || !strings.Contains(text, "a &lt;b&gt; &amp; c") {
		t.Error(text)
	}
}

// Ratios lie where the axis says: equal is equal, and twice is as far as half.
func TestAxis(t *testing.T) {
	a := axisOf([]row{{ratio: spread{Median: 1, Min: 0.3, Max: 3}, mark: 5}})
	if a.low != 0.25 || a.high != 8 {
		t.Errorf("%+v", a)
	}
	if up, down := a.x(2)-a.x(1), a.x(1)-a.x(0.5); up != down || up <= 0 {
		t.Errorf("twice is %v away, half %v", up, down)
	}
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	if err := made().save(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "bench.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back result
	if err := json.Unmarshal(text, &back); err != nil || len(back.Samples) != len(made().Samples) || back.Samples[0].Figures[iops] != 130e3 {
		t.Errorf("%d samples, %v", len(back.Samples), err)
	}
	for _, name := range []string{"bench.md", "bars.svg", "ratios.svg", "cpu.svg", "durable.svg"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		name string
		x    float64
		want string
	}{
		{iops, 123456, "123.5 k/s"}, {iops, 2.5e6, "2.50 M/s"}, {bytesPerSecond, 1.5e9, "1.50 GB/s"}, {cpuMicros, 7.84, "7.8 us"},
		{nanos, 55.4, "55 ns"}, {seconds, 0.0234, "23.4 ms"}, {bytesCopied, 2 << 20, "2.00 MiB"}, {bytesPerCached, 1.0861, "1.086"},
	} {
		if got := format(c.name, c.x); got != c.want {
			t.Errorf("%s %v: %s, not %s", c.name, c.x, got, c.want)
		}
	}
}

// A peer that is not installed is named with the reason, in the report too, and
// the others are measured.
func TestMissingPeerIsNamed(t *testing.T) {
	var log bytes.Buffer
	o := options{rounds: 1, only: regexp.MustCompile(""), peers: regexp.MustCompile("peer|other")}
	r := &runner{o: o, progress: &log, result: newResult(o)}
	h := &host{ctx: context.Background(), o: o, files: t.TempDir(), run: t.TempDir()}
	absent := kind{name: "a peer", needs: []string{"no-such-program-here"}, make: func(*server) error {
		t.Error("it was made")
		return nil
	}}
	unwanted := kind{name: "unwanted", make: absent.make}
	broken := kind{name: "another", make: func(*server) error { return errors.New("its disk is full") }}
	all, err := r.servers(h, []kind{absent, unwanted, broken}, 1<<20, 0, nil)
	if err != nil || len(all) != 0 {
		t.Errorf("%d servers, %v", len(all), err)
	}
	text := r.result.markdown()
	for _, want := range []string{"- a peer: no-such-program-here is not installed", "- another: its disk is full"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if !strings.Contains(log.String(), "a peer") {
		t.Error("nobody was told while it ran")
	}
}

// Rounds go through all contestants, each from another on, before the next begins; one that fails
// is out, and said to be.
func TestTurns(t *testing.T) {
	o := options{rounds: 3, only: regexp.MustCompile(""), peers: regexp.MustCompile("peer|other")}
	r := &runner{o: o, progress: io.Discard, result: newResult(o)}
	turns := ""
	who := func(name string, failsAt int) contestant {
		return contestant{name, func(_ context.Context, round int) (figures, error) {
			turns += name
			if round == failsAt {
				return nil, errors.New("gone")
			}
			return figures{iops: 1}, nil
		}}
	}
	if err := r.run(t.Context(), experiment{"e", []contestant{who("A", -1), who("B", 1), who("C", -1)}}); err != nil {
		t.Fatal(err)
	}
	if turns != "ABCBCACA" {
		t.Error(turns)
	}
	if len(r.result.Failures) != 1 || len(r.result.byRound("e", "B", iops)) != 1 || len(r.result.byRound("e", "C", iops)) != 3 {
		t.Errorf("%+v", r.result)
	}
	// A quick run has no turns for those of whom no bar speaks.
	turns, r.o.quick = "", true
	quick := experiment{flushSome, []contestant{who(ourselves+" ", -1), who(qemuNBD+" ", -1), who(btrfsRAID, -1)}}
	for i := range quick.contestants {
		quick.contestants[i].name = strings.TrimSpace(quick.contestants[i].name)
	}
	if err := r.run(t.Context(), quick); err != nil || strings.Contains(turns, qemuNBD) || strings.Count(turns, ourselves) != 3 {
		t.Errorf("%v: %s", err, turns)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.run(ctx, experiment{"e", []contestant{who("A", -1)}}); !errors.Is(err, context.Canceled) {
		t.Errorf("after an interrupt: %v", err)
	}
}

func TestOptions(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "holdfast")
	if err := os.WriteFile(binary, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	parse := func(args ...string) (options, error) {
		return parseOptions(append([]string{"-holdfast", binary}, args...), io.Discard)
	}
	full, err := parse()
	if err != nil || full.rounds != 5 || full.size != 1<<30 || full.dir != full.out {
		t.Errorf("%+v, %v", full, err)
	}
	quick, err := parse("-quick", "-size", "64MiB")
	if err != nil || quick.rounds != 3 || quick.size != 64<<20 || quick.runtime >= full.runtime {
		t.Errorf("%+v, %v", quick, err)
	}
	for _, args := range [][]string{{"-rounds", "-1"}, {"-only", "("}, {"-peers", "("}, {"-size", "1"}, {"-size", "65MiB"}, {"-runtime", "1ms"}, {"extra"}, {"-holdfast", "/nowhere"}} {
		if _, err := parse(args...); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
