package config

import (
	"reflect"
	"slices"
	"strings"
)

// maxTypos is how many letters may differ for a known key to be suggested.
const maxTypos = 2

// wild stands for a name that the file's writer chooses: a volume's.
const wild = "NAME"

// suggest says what the writer of an unknown key may have meant: the nearest
// known key, or else all there are.
func suggest(key []string) string {
	known := keys(reflect.TypeFor[Config](), nil)
	best, score := "", maxTypos+1
	for _, k := range known {
		if d := distance(last(k), last(key)); d < score {
			best, score = strings.Join(k, "."), d
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	var all []string
	for _, k := range known {
		all = append(all, strings.Join(k, "."))
	}
	return "known keys are " + strings.Join(all, ", ")
}

func last(k []string) string { return k[len(k)-1] }

// keys lists the keys, tables among them, that a value of type t may have.
func keys(t reflect.Type, under []string) [][]string {
	var all [][]string
	for f := range t.Fields() {
		k := append(slices.Clone(under), f.Tag.Get("toml"))
		all = append(all, k)
		switch f.Type.Kind() {
		case reflect.Struct:
			all = append(all, keys(f.Type, k)...)
		case reflect.Map:
			all = append(all, keys(f.Type.Elem(), append(slices.Clone(k), wild))...)
		}
	}
	return all
}

// distance is the number of letters to insert, delete or replace that turns a
// into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
