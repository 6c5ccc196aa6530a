package main

import (
	"strings"
	"testing"
)

// BenchmarkLocal has the same cases as the experiments in process, as benchstat
// likes them. -count would run each ten times on end; this has them take turns:
//
//	for i in {1..10}; do go test ./bench -run xxx -bench Local; done | go tool benchstat -col /of -
func BenchmarkLocal(b *testing.B) {
	var s scope
	dir := b.TempDir()
	l, err := newLocal(b.Context(), &s, dir, dir, 256<<20)
	defer func() {
		if err := s.close(); err != nil {
			b.Error(err)
		}
	}()
	if err != nil {
		b.Fatal(err)
	}
	for _, group := range []struct {
		name  string
		cases []localCase
	}{{"read", l.reads()}, {"write", l.writes()}} {
		for _, c := range group.cases {
			b.Run(group.name+"/of="+strings.ReplaceAll(c.name, " ", "_"), func(b *testing.B) { benchCase(b, c) })
		}
	}
}

func benchCase(b *testing.B, c localCase) {
	if c.begin != nil {
		end, err := c.begin()
		if err != nil {
			b.Fatal(err)
		}
		defer end()
	}
	b.ReportAllocs()
	b.ResetTimer()
	if err := c.step(b.N); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if c.settle != nil {
		if err := c.settle(); err != nil {
			b.Fatal(err)
		}
	}
}

// Each case does what it is called: afterwards the volume and the files hold
// what was written, and what is looked at is what is there.
func TestLocalCases(t *testing.T) {
	var s scope
	dir := t.TempDir()
	l, err := newLocal(t.Context(), &s, dir, dir, leastSize)
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(l.reads(), l.writes()...) {
		end := func() {}
		if c.begin != nil {
			if end, err = c.begin(); err != nil {
				t.Fatal(err)
			}
		}
		sum := l.sum
		clear(l.buf)
		if c.settle != nil || c.name == pwriteTmp {
			l.buf[0] = 0xaa
		}
		if err := c.step(3); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if l.sum == sum && l.buf[0] == 0 {
			t.Errorf("%s saw nothing", c.name)
		}
		end()
	}
}
