package lint

import (
	"slices"
	"strings"
	"testing"
)

// rules are those that look at one file.
var rules = map[string]func(*file) []string{
	"seam":       checkSeam,
	"floors":     checkFloors,
	"length":     checkLength,
	"unfinished": checkUnfinished,
	"documented": checkDocumented,
}

// The whole repository keeps every rule.
func TestRepository(t *testing.T) {
	all, err := load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(all, func(f *file) bool { return f.path == "device/device.go" }) {
		t.Fatal("device/device.go is not among the files: the rules look at something else")
	}
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			for _, f := range all {
				for _, found := range rule(f) {
					t.Error(found)
				}
			}
		})
	}
	t.Run("package comments", func(t *testing.T) {
		for _, found := range checkPackageComment(all) {
			t.Error(found)
		}
	})
}

// Every rule finds what it is there to find, and nothing in what looks alike.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		rule, path, source string
		want               string // in the one finding; empty: nothing is found
	}{
		{"seam", "cache/a.go", "package cache\nfunc f() { go f() }", "a.go:2: a go statement"},
		{"seam", "cache/a_test.go", "package cache\nfunc f() { go f() }", ""},
		{"seam", "nbd/a.go", "package nbd\nfunc f() { go f() }", ""},
		{"seam", "mirror/a.go", "package mirror\nvar c chan int", "a channel;"},
		{"seam", "mirror/a.go", "package mirror\nfunc f() { c <- 1 }", "sent to"},
		{"seam", "mirror/a.go", "package mirror\nfunc f() { <-c }", "received from"},
		{"seam", "mirror/a.go", "package mirror\nfunc f() { select {} }", "select"},
		{"seam", "volume/a.go", "package volume\nimport \"sync\"\nvar mu sync.Mutex", "use seam.Mutex"},
		{"seam", "volume/a.go", "package volume\nimport s \"sync\"\nvar mu s.Mutex", "use seam.Mutex"},
		{"seam", "volume/a.go", "package volume\nimport \"sync\"\nvar m sync.Map", ""},
		{"seam", "volume/a.go", "package volume\nimport \"sync/atomic\"\nvar n atomic.Int64", ""},
		{"seam", "cache/a.go", "package cache\nimport \"time\"\nvar t = time.Now()", "use seam.Now"},
		{"seam", "cache/a.go", "package cache\nimport \"time\"\nfunc f() { time.Sleep(1) }", "use seam.Alarm"},
		{"seam", "cache/a.go", "package cache\nimport \"time\"\nvar d time.Duration", ""},
		{"seam", "cache/a.go", "package cache\nvar time struct{ Now int }\nvar t = time.Now", ""},

		{"floors", "device/a.go", "package device\nimport \"holdfast.dev/holdfast/mirror\"", "device may not import"},
		{"floors", "mirror/a.go", "package mirror\nimport \"holdfast.dev/holdfast/cache\"", "mirror may not import"},
		{"floors", "cmd/holdfast/a.go", "package main\nimport \"holdfast.dev/holdfast/cache\"", "may not import"},
		{"floors", "cmd/holdfast/a.go", "package main\nimport \"holdfast.dev/holdfast\"", ""},
		{"floors", "nbd/a.go", "package nbd\nimport \"holdfast.dev/holdfast\"", "nbd may not import"},
		{"floors", "mirror/a.go", "package mirror\nimport \"holdfast.dev/holdfast/device\"", ""},
		{"floors", "mirror/a.go", "package mirror\nimport \"holdfast.dev/holdfast/internal/seam\"", ""},
		{"floors", "mirror/a_test.go", "package mirror\nimport \"holdfast.dev/holdfast/device/powercut\"", ""},
		{"floors", "internal/seam/a.go", "package seam\nimport \"holdfast.dev/holdfast/device\"", "may not import"},
		{"floors", "attic/a.go", "package attic", "no place"},
		{"floors", "device/a.go", "package device\nimport \"C\"", "cgo"},

		{"length", "nbd/a.go", "package nbd\n" + strings.Repeat("\n", linesMost), "more than one thing"},
		{"length", "nbd/a.go", "package nbd\n" + strings.Repeat("\n", linesMost-1), ""},
		{"length", "nbd/a_test.go", "package nbd\n" + strings.Repeat("\n", linesMost), ""},

		{"unfinished", "nbd/a.go", "package nbd\n// TO" + "DO: more", "a comment with"},
		{"unfinished", "nbd/a_test.go", "package nbd\nvar a = 1 // FIX" + "ME", "a comment with"},
		{"unfinished", "nbd/a.go", "package nbd\n// what is left to do", ""},

		{"documented", "nbd/a.go", "package nbd\nfunc F() {}", "exported F"},
		{"documented", "nbd/a.go", "package nbd\n// F does.\nfunc F() {}", ""},
		{"documented", "nbd/a.go", "package nbd\nfunc f() {}", ""},
		{"documented", "nbd/a.go", "package nbd\ntype T struct{}", "exported T"},
		{"documented", "nbd/a.go", "package nbd\n// T is.\ntype T struct{}\nfunc (t *T) Do() {}", "exported Do"},
		{"documented", "nbd/a.go", "package nbd\n// T is.\ntype T struct{}\nfunc (t *T) Error() string { return \"\" }", ""},
		{"documented", "nbd/a.go", "package nbd\ntype t struct{}\nfunc (t) Do() {}", ""},
		{"documented", "nbd/a.go", "package nbd\nconst (\n\tA = 1 // one\n)", ""},
		{"documented", "nbd/a.go", "package nbd\n// These count.\nconst (\n\tA = 1\n)", ""},
		{"documented", "nbd/a.go", "package nbd\nvar V int", "exported V"},
	} {
		f, err := parse(c.path, c.source)
		if err != nil {
			t.Fatalf("%q: %v", c.source, err)
		}
		switch found := rules[c.rule](f); {
		case c.want == "" && len(found) > 0:
			t.Errorf("%s finds %q in %q, which keeps the rule", c.rule, found, c.source)
		case c.want != "" && (len(found) != 1 || !strings.Contains(found[0], c.want)):
			t.Errorf("%s finds %q in %q, want one finding with %q", c.rule, found, c.source, c.want)
		}
	}
}

func TestPackageCommentRule(t *testing.T) {
	for _, c := range []struct {
		name    string
		sources map[string]string // by path
		want    string
	}{
		{"none", map[string]string{"nbd/a.go": "package nbd", "nbd/b.go": "// About.\npackage nbd"}, "no file has"},
		{"only a test has one", map[string]string{"nbd/a.go": "package nbd", "nbd/a_test.go": "// Package nbd serves.\npackage nbd"}, "no file has"},
		{"one", map[string]string{"nbd/a.go": "// Package nbd serves.\npackage nbd", "nbd/b.go": "package nbd"}, ""},
		{"two", map[string]string{"nbd/a.go": "// Package nbd serves.\npackage nbd", "nbd/b.go": "// Package nbd is.\npackage nbd"}, "a second"},
		{"a command", map[string]string{"cmd/x/a.go": "// Command x does.\npackage main"}, ""},
	} {
		var all []*file
		for path, source := range c.sources {
			f, err := parse(path, source)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
		found := strings.Join(checkPackageComment(all), "\n")
		if c.want == "" && found != "" || !strings.Contains(found, c.want) {
			t.Errorf("%s: found %q, want %q", c.name, found, c.want)
		}
	}
}
