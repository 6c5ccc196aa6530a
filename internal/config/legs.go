package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"holdfast.dev/holdfast/internal/durable"
)

// legsKey is where the list of legs begins.
var legsKey = regexp.MustCompile(`(?m)^[ \t]*legs[ \t]*=[ \t]*\[`)

// SetLegs changes the list of legs in dir's settings, and nothing else there. A
// crash leaves the file as it was or as it is to be.
func SetLegs(dir string, legs []string) error {
	path := filepath.Join(dir, Name)
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := withLegs(path, string(old), legs)
	if err != nil {
		return err
	}
	if err := durable.Replace(path, []byte(text), fileMode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// withLegs returns a settings file with other legs. It checks that nothing but
// these has changed its meaning.
func withLegs(path, text string, legs []string) (string, error) {
	want, err := Parse(path, []byte(text))
	if err != nil {
		return "", err
	}
	want.Legs = legs
	if at := legsKey.FindStringIndex(text); at != nil {
		if n := arrayLen(text[at[1]:]); n >= 0 {
			var list strings.Builder
			for _, l := range legs {
				fmt.Fprintf(&list, "\n    %s,", quote(l))
			}
			changed := text[:at[1]] + list.String() + "\n" + text[at[1]+n:]
			if got, err := Parse(path, []byte(changed)); err == nil && reflect.DeepEqual(got, want) {
				return changed, nil
			}
		}
	}
	return "", fmt.Errorf("%w: %s: the list of legs cannot be changed by a program; write there: legs = %q", ErrInvalid, path, legs)
}

// arrayLen returns how far from the start of text, which is within an array of
// strings, its closing bracket is, or -1.
func arrayLen(text string) int {
	quoted := byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted != 0:
			if c == '\\' && quoted == '"' {
				i++
			} else if c == quoted {
				quoted = 0
			}
		case c == '"' || c == '\'':
			quoted = c
		case c == '#':
			if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
				i += n
			}
		case c == ']':
			return i
		}
	}
	return -1
}
