package main

import (
	"math"
	"slices"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want spread
	}{
		{[]float64{3}, spread{3, 3, 3, 3, 3, 1}},
		{[]float64{4, 2}, spread{3, 2.5, 3.5, 2, 4, 2}},
		{[]float64{5, 1, 3}, spread{3, 2, 4, 1, 5, 3}},
		// One turn that somebody disturbed moves neither the median nor the quartiles.
		{[]float64{2, 1, 900, 3, 4}, spread{3, 2, 4, 1, 900, 5}},
	} {
		given := slices.Clone(c.in)
		if got := spreadOf(c.in); got != c.want {
			t.Errorf("%v: %+v, not %+v", c.in, got, c.want)
		}
		if !slices.Equal(given, c.in) {
			t.Errorf("%v became %v", given, c.in)
		}
	}
}

// A ratio is of one round: a machine that slows down for both changes nothing.
func TestRatios(t *testing.T) {
	a := map[int]float64{0: 200, 1: 20, 2: 2, 3: 7, 4: 9}
	b := map[int]float64{0: 100, 1: 10, 2: 1, 4: 0}
	got := ratios(a, b)
	slices.Sort(got)
	if !slices.Equal(got, []float64{2, 2, 2}) {
		t.Errorf("%v: rounds that one lacks, and figures of nothing, have no ratio", got)
	}
}

func at(x ...float64) map[int]float64 {
	m := map[int]float64{}
	for i, v := range x {
		m[i] = v
	}
	return m
}

func TestJudge(t *testing.T) {
	figures := map[string]map[int]float64{
		"ours": at(12, 24, 6), "slow": at(6, 12, 3), "fast": at(10, 20, 10), "none": {},
	}
	get := func(name string) map[int]float64 { return figures[name] }
	for _, c := range []struct {
		name    string
		bar     bar
		against string
		median  float64
		met     bool
		short   float64
		without int
	}{
		{"the best of several", bar{contestant: "ours", against: []string{"slow", "fast"}, ratio: 1.5}, "fast", 1.2, false, 0.2, 0},
		{"exactly", bar{contestant: "ours", against: []string{"slow"}, ratio: 2}, "slow", 2, true, 0, 0},
		{"more", bar{contestant: "ours", against: []string{"slow"}, ratio: 1.9}, "slow", 2, true, 0, 0},
		{"one is not there", bar{contestant: "ours", against: []string{"none", "fast"}, ratio: 1}, "fast", 1.2, true, 0, 1},
		{"nobody is there", bar{contestant: "ours", against: []string{"none"}, ratio: 1}, "", 0, false, 0, 1},
		{"we are not there", bar{contestant: "none", against: []string{"fast"}, ratio: 1}, "", 0, false, 0, 1},
		{"at most, met", bar{contestant: "slow", against: []string{"ours"}, ratio: 0.5, atMost: true}, "ours", 0.5, true, 0, 0},
		{"at most, against the worst", bar{contestant: "ours", against: []string{"fast", "slow"}, ratio: 1.6, atMost: true}, "slow", 2, false, 0.25, 0},
		{"good enough by itself", bar{contestant: "ours", against: []string{"slow"}, ratio: 1, atMost: true, orFigure: 12}, "slow", 2, true, 1, 0},
		{"not good enough by itself", bar{contestant: "ours", against: []string{"slow"}, ratio: 1, atMost: true, orFigure: 11}, "slow", 2, false, 1, 0},
	} {
		v := c.bar.judge(get)
		if v.Against != c.against || math.Abs(v.Ratio.Median-c.median) > 1e-9 || v.Met != c.met || len(v.Without) != c.without {
			t.Errorf("%s: %+v", c.name, v)
		}
		if v.Against != "" && math.Abs(v.shortfall()-c.short) > 1e-9 {
			t.Errorf("%s: short by %v, not %v", c.name, v.shortfall(), c.short)
		}
	}
}

// Every bar speaks of experiments and contestants that there are: one that does
// not would never be measured, and nobody would see it.
func TestBarsAreMeasured(t *testing.T) {
	known := []string{bareContestant, readAt, pread, pinned, view, writeAt, pwrite, pwriteTmp, window, mappedFile, startSmall, startHuge, ourselves}
	for _, k := range peers {
		known = append(known, k.name)
	}
	for _, v := range variants {
		known = append(known, v.name)
	}
	var experiments []string
	for _, s := range stages() {
		experiments = append(experiments, s.names...)
	}
	for _, b := range bars {
		if !slices.Contains(experiments, b.experiment) {
			t.Errorf("%s: there is no experiment %q", b.what, b.experiment)
		}
		for _, c := range append([]string{b.contestant}, b.against...) {
			if !slices.Contains(known, c) {
				t.Errorf("%s: there is no contestant %q", b.what, c)
			}
		}
		if b.ratio <= 0 || len(b.against) == 0 {
			t.Errorf("%s compares nothing", b.what)
		}
	}
}

// What a quick run leaves out is nothing that a bar needs, but for the one job that
// takes longer than all of a quick run should.
func TestQuickHasTheBars(t *testing.T) {
	left := slices.Concat(jobNames(warmJobs[quickJobs:]), jobNames(costJobs[quickCostJobs:]), jobNames(coldJobs[1:]))
	for _, b := range bars {
		if slices.Contains(left, b.experiment) && b.experiment != writeSteady {
			t.Errorf("%s needs %q", b.what, b.experiment)
		}
	}
}
