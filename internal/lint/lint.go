// Package lint holds the rules of this repository that no general tool knows,
// as tests over its source: which package may import which, that the layers
// which an explorer schedules wait only at the seam, and how files look.
//
// A rule is a function from a file or a package to what it finds wrong, so that
// each rule is also run on a small source that breaks it.
package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// modulePath is the import path of the repository's root.
const modulePath = "holdfast.dev/holdfast"

// file is one Go source file.
type file struct {
	path string // within the module, with slashes
	test bool
	text string
	fset *token.FileSet
	ast  *ast.File
}

// parse reads a file from its text.
func parse(path, text string) (*file, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &file{path: path, test: strings.HasSuffix(path, "_test.go"), text: text, fset: fset, ast: tree}, nil
}

// load parses every Go file of the module whose root folder is given.
func load(root string) ([]*file, error) {
	var all []*file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skip(rel, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parse(filepath.ToSlash(rel), string(text))
		if err != nil {
			return err
		}
		all = append(all, f)
		return nil
	})
	return all, err
}

// skip says which folders hold no source of ours: what is built, and what the
// go command does not look at either.
func skip(rel, name string) bool {
	return rel == "build" || name == "testdata" || rel != "." && strings.HasPrefix(name, ".")
}

// dir is the folder of f's package within the module; "." is the root.
func (f *file) dir() string {
	if i := strings.LastIndexByte(f.path, '/'); i >= 0 {
		return f.path[:i]
	}
	return "."
}

// imports lists what f imports.
func (f *file) imports() []string {
	var all []string
	for _, spec := range f.ast.Imports {
		// The parser has made sure that it is a string.
		path, _ := strconv.Unquote(spec.Path.Value)
		all = append(all, path)
	}
	return all
}

// at says where something is, for a person.
func (f *file) at(p token.Pos, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", f.path, f.fset.Position(p).Line, fmt.Sprintf(format, args...))
}
