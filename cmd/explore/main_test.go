//go:build explore

package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestMain lets this program be the one that searches for a hunt.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "--search" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func explored(args ...string) (status int, out, errs string) {
	var o, e bytes.Buffer
	status = run(args, &o, &e)
	return status, o.String(), e.String()
}

// What cannot be done is refused, with the reason.
func TestRefuses(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--scenario nowhere", `there is no scenario "nowhere"`},
		{"--mutant 1999", `there is no mutant "1999"`},
		{"--replay hf0:sync-2004:-::1", `version "hf0"; this program knows "hf1"`},
		{"--replay hf1:nowhere:-::1", `there is no scenario "nowhere" here`},
		{"--replay hf1:sync-2004:1999::1", `there is no mutant "1999"`},
		{"--scenario two-syncs --replay hf1:sync-2004:-::1", `it is one of scenario "sync-2004", not "two-syncs"`},
		{"--mutant 2006 --replay hf1:sync-2004:2004::1", `it is one of mutant "2004", not "2006"`},
		{"--replay hf1:sync-2004:-::1", "the schedule made other steps than when it was recorded"},
		{"--replay nonsense", "not a schedule"},
		{"--colour", "unknown flag"},
	} {
		if status, _, errs := explored(strings.Fields(c.args)...); status != exitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("%s: status %d, %q, want %q", c.args, status, errs, c.want)
		}
	}
}

// A mutant is found, its story told, and its schedule replays.
func TestFindsAMutant(t *testing.T) {
	status, out, errs := explored("--mutant", "2004", "--seed", "1")
	if status != exitOK || !strings.Contains(out, "1 of 1 mutants were found") || !strings.Contains(out, "claims page 1") {
		t.Fatalf("status %d\n%s%s", status, out, errs)
	}
	schedule := regexp.MustCompile(`hf1:\S+`).FindString(out)
	status, story, errs := explored("--replay", schedule)
	if status != exitFailure || !strings.Contains(out, strings.TrimSpace(story)) || errs != "" {
		t.Errorf("%s: status %d, %s\n%s", schedule, status, errs, story)
	}
	if status, out, _ = explored("--mutant", "2004", "--preemptions", "0", "--more", "0"); status != exitFailure || !strings.Contains(out, "MISSED") {
		t.Errorf("without a preemption: status %d\n%s", status, out)
	}
}

// The code as it is passes, and too few schedules are a failure.
func TestCounts(t *testing.T) {
	args := []string{"--scenario", "sync-2004", "--preemptions", "1", "--more", "100"}
	if status, out, _ := explored(args...); status != exitOK || !strings.Contains(out, "0 scenarios found something") {
		t.Errorf("status %d\n%s", status, out)
	}
	if status, out, _ := explored(append(args, "--least", "1000000")...); status != exitFailure || !strings.Contains(out, "less than the 1000000") {
		t.Errorf("status %d\n%s", status, out)
	}
}

func TestLists(t *testing.T) {
	if status, out, _ := explored("--list"); status != exitOK || !strings.Contains(out, "sync-2004") || !strings.Contains(out, "flush-joined") {
		t.Errorf("status %d\n%s", status, out)
	}
}
