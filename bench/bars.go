package main

import "slices"

// bar is something that is set for Holdfast: what is compared, by which figure,
// and how much it shall be.
type bar struct {
	what       string
	experiment string
	figure     string
	contestant string
	// against is who it is compared with: of several, the one against whom it
	// looks worst.
	against []string
	ratio   float64
	// atMost says that the ratio shall be no more than that, not no less.
	atMost bool
	// orFigure is a figure that is good enough whatever the ratio is; 0: none.
	orFigure float64
}

// bars are those of the project.
var bars = []bar{
	{"4 KiB random read, depth 32, cached, against the best of four with one copy", readDeep, iops, ourselves, oneCopies(), 1.3, false, 0},
	{"4 KiB random write, depth 32, cached, against the best of four with one copy", writeDeep, iops, ourselves, oneCopies(), 1.1, false, 0},
	{"the same write for 15 s, write-out by age and all, against the best of four with one copy", writeSteady, iops, ourselves, oneCopies(), 1.1, false, 0},
	{"4 KiB random read, depth 32, cached, against quorum", readDeep, iops, ourselves, []string{qemuQuorum}, 4, false, 0},
	{"4 KiB random write, depth 32, cached, against quorum", writeDeep, iops, ourselves, []string{qemuQuorum}, 4, false, 0},
	{"4 KiB random read, depth 32, cached, against btrfs RAID-1", readDeep, iops, ourselves, []string{btrfsRAID}, 4, false, 0},
	{"4 KiB random write, depth 32, cached, against btrfs RAID-1", writeDeep, iops, ourselves, []string{btrfsRAID}, 4, false, 0},
	{"sequential 128 KiB read, cached, against the best of four with one copy", readStream, iops, ourselves, oneCopies(), 1, false, 0},
	{"sequential 128 KiB write, cached, against the best of four with one copy", writeStream, iops, ourselves, oneCopies(), 1, false, 0},
	{"random 4 KiB write with a flush after each, against btrfs RAID-1", flushEach, iops, ourselves, []string{btrfsRAID}, 2, false, 0},
	{"random 4 KiB write with a flush after each, against one bare file with O_DIRECT and fdatasync", flushEach, iops, ourselves, []string{bareContestant}, 0.6, false, 0},
	{"random 4 KiB write with a flush after 32, against btrfs RAID-1", flushSome, iops, ourselves, []string{btrfsRAID}, 4, false, 0},
	{"ReadAt of a cached 4 KiB page, against pread", readInside, iops, readAt, []string{pread}, 1.5, false, 0},
	{"a look at a cached page through a pin of its own, against pread", readInside, iops, pinned, []string{pread}, 10, false, 0},
	{"a look at a cached page through a pin that is held, against pread", readInside, iops, view, []string{pread}, 10, false, 0},
	{"WriteAt of a cached 4 KiB page, guard included, against pwrite (file written in 4 KiB pieces)", writeInside, iops, writeAt, []string{pwrite}, 1.2, false, 0},
	{"WriteAt of a cached 4 KiB page, guard included, against pwrite to tmpfs", writeInside, iops, writeAt, []string{pwriteTmp}, 1, false, 0},
	{"steady stores through a mapping, against a MAP_SHARED file", storeSteady, iops, window, []string{mappedFile}, 0.95, false, 0},
	{"first store to a page, asynchronous mode: 2 us, or against the file's own fault", storeFirst, nanos, window, []string{mappedFile}, 1.5, true, 2000},
	{"server CPU per cached 4 KiB read, against nbdkit file", readDeep, cpuMicros, ourselves, []string{nbdkitFile}, 0.8, true, 0},
	{"server CPU per cached 4 KiB write, against nbdkit file", writeDeep, cpuMicros, ourselves, []string{nbdkitFile}, 0.8, true, 0},
	{"first touch of cold data, sequential, against the raw device", coldStream, bytesPerSecond, ourselves, []string{bareContestant}, 0.9, false, 0},
	{"guards and second leg together, cached writes, against one leg without guards", costOf + writeDeep, iops, ourselves, []string{oneBareLeg}, 0.85, false, 0},
	{"start of a 1 TiB sparse volume, against one of 1 GiB", startOf, seconds, startHuge, []string{startSmall}, 1.2, true, 0},
}

// needed says whether a bar speaks of a contestant in an experiment, or of nobody
// in it.
func needed(experiment, contestant string) bool {
	spoken := false
	for _, b := range bars {
		if b.experiment == experiment {
			if b.contestant == contestant || slices.Contains(b.against, contestant) {
				return true
			}
			spoken = true
		}
	}
	return !spoken
}

// verdict is what became of a bar.
type verdict struct {
	What       string  `json:"what"`
	Experiment string  `json:"experiment"`
	Figure     string  `json:"figure"`
	Bar        float64 `json:"bar"`
	AtMost     bool    `json:"at_most,omitempty"`
	// Against is whom it looks worst against; empty if it was not measured.
	Against string `json:"against,omitempty"`
	// Ours and Theirs are medians of figures; Ratio is that of a round.
	Ours   float64 `json:"ours,omitempty"`
	Theirs float64 `json:"theirs,omitempty"`
	Ratio  spread  `json:"ratio"`
	Met    bool    `json:"met"`
	// Without are those to be compared with that were not there.
	Without []string `json:"without,omitempty"`
}

// judge compares b's contestants. get returns the figures of one by round.
func (b bar) judge(get func(contestant string) map[int]float64) verdict {
	v := verdict{What: b.what, Experiment: b.experiment, Figure: b.figure, Bar: b.ratio, AtMost: b.atMost}
	ours := get(b.contestant)
	for _, peer := range b.against {
		theirs := get(peer)
		all := ratios(ours, theirs)
		if len(all) == 0 {
			v.Without = append(v.Without, peer)
			continue
		}
		s := spreadOf(all)
		if v.Against == "" || b.worse(s.Median, v.Ratio.Median) {
			v.Against, v.Ratio = peer, s
			v.Ours, v.Theirs = spreadOf(values(ours)).Median, spreadOf(values(theirs)).Median
		}
	}
	if v.Against != "" {
		v.Met = v.Ratio.Median == b.ratio || b.worse(b.ratio, v.Ratio.Median) || b.orFigure > 0 && v.Ours <= b.orFigure
	}
	return v
}

// worse says whether ratio x is farther from what is wanted than y.
func (b bar) worse(x, y float64) bool {
	if b.atMost {
		return x > y
	}
	return x < y
}

// shortfall is how far the ratio is from the bar, as a part of the bar: 0.25 is a
// quarter.
func (v verdict) shortfall() float64 {
	d := v.Ratio.Median/v.Bar - 1
	if !v.AtMost {
		d = -d
	}
	return max(0, d)
}

func values(byRound map[int]float64) (all []float64) {
	for _, x := range byRound {
		all = append(all, x)
	}
	slices.Sort(all)
	return all
}
