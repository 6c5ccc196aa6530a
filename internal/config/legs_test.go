package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSetLegs(t *testing.T) {
	for _, c := range []struct{ name, before, after string }{
		{"one line", "# mine\nlegs = [\"a\", 'b]'] # both\n[cache]\nbudget = \"1G\"\n",
			"# mine\nlegs = [\n    \"a\",\n    \"new \\\" ]\",\n] # both\n[cache]\nbudget = \"1G\"\n"},
		{"many lines", "legs = [\n \"a\", # ] the first\n \"\\\"]\",\n]\n", "legs = [\n    \"a\",\n    \"new \\\" ]\",\n]\n"},
		{"not for a program", "\"legs\" = [\"a\"]\n", ""},
		{"none at all", "legs = 3\n", ""},
		{"a text like it", "nbd.unix = \"\"\"\nlegs = [\n\"\"\"\nlegs = [\"a\"]\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, Name)
			if err := os.WriteFile(path, []byte(c.before), 0o600); err != nil {
				t.Fatal(err)
			}
			err := SetLegs(dir, []string{"a", `new " ]`})
			got, _ := os.ReadFile(path)
			if c.after == "" {
				if !errors.Is(err, ErrInvalid) || string(got) != c.before {
					t.Errorf("%v\n%s", err, got)
				}
				return
			}
			if err != nil || string(got) != c.after {
				t.Errorf("%v\n%s", err, got)
			}
			if all, _ := os.ReadDir(dir); len(all) != 1 {
				t.Errorf("left behind: %v", all)
			}
		})
	}
	dir := t.TempDir()
	c := Default()
	c.Legs = []string{"x"}
	if err := errors.Join(Write(dir, c), SetLegs(dir, []string{"y", "z"})); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if b, _ := os.ReadFile(filepath.Join(dir, Name)); err != nil || !slices.Equal(got.Legs, []string{"y", "z"}) || !strings.Contains(string(b), "# The copies of the mirror") {
		t.Errorf("%v, %v\n%s", got.Legs, err, b)
	}
}
