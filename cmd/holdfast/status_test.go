package main

import (
	"strings"
	"testing"

	"holdfast.dev/holdfast"
)

// A stopped pool's journal is told of by what is to be done with it, an open one's
// by what it does.
func TestDescribeJournal(t *testing.T) {
	for _, c := range []struct {
		name    string
		status  holdfast.JournalStatus
		stopped bool
		want    string
	}{
		{"none", holdfast.JournalStatus{}, false, "none"},
		{"empty", holdfast.JournalStatus{Size: 1 << 20}, true, "1MiB, empty"},
		{"not stopped cleanly", holdfast.JournalStatus{Size: 1 << 20, Replayed: 7}, true, "1MiB, with 7 blocks that are not at home"},
		{"open", holdfast.JournalStatus{Size: 1 << 20, Used: 4096, Mode: "auto", Blocks: 1, Transactions: 2, Replayed: 3}, false,
			"4KiB of 1MiB, auto: 1 blocks of it not at home, 2 transactions, 0 checkpoints, 3 blocks replayed"},
		{"lost", holdfast.JournalStatus{Size: 1 << 20, Lost: 2, Broken: "why"}, false, "2 lost, to be emptied first: why"},
	} {
		if got := describeJournal(&c.status, c.stopped); !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

// What the journal lost is an error in the data as what a scrub finds lost is.
func TestDescribeErrors(t *testing.T) {
	for want, s := range map[string]holdfast.Status{
		"errors  no known data errors":                        {},
		"errors  3 blocks are lost":                           {Scrub: holdfast.ScrubStatus{Lost: 3}},
		"errors  2 blocks or more were lost with the journal": {Journal: holdfast.JournalStatus{Lost: 2}},
	} {
		if got := describeErrors(&s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
