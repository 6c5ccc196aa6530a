package lint

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
)

// linesMost is how long a file may be that is not a test: what one person keeps
// in mind, one thing a file.
const linesMost = 400

func checkLength(f *file) []string {
	if n := strings.Count(f.text, "\n"); n > linesMost && !f.test {
		return []string{f.at(f.ast.Package, "%d lines, more than %d: it holds more than one thing", n, linesMost)}
	}
	return nil
}

// unfinished matches marks that put work off: what is to be done belongs where
// work is planned, not in a comment.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

func checkUnfinished(f *file) (found []string) {
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if mark := unfinished.FindString(c.Text); mark != "" {
				found = append(found, f.at(c.Pos(), "a comment with %s", mark))
			}
		}
	}
	return found
}

// checkPackageComment finds packages of which no file says what they are for.
func checkPackageComment(all []*file) (found []string) {
	said := map[string]bool{}
	first := map[string]*file{}
	for _, f := range all {
		if f.test {
			continue
		}
		if first[f.dir()] == nil {
			first[f.dir()] = f
		}
		want := "Package " + f.ast.Name.Name + " "
		if f.ast.Name.Name == "main" {
			want = "Command "
		}
		if strings.HasPrefix(f.ast.Doc.Text(), want) {
			if said[f.dir()] {
				found = append(found, f.at(f.ast.Package, "a second package comment"))
			}
			said[f.dir()] = true
		}
	}
	for dir, f := range first {
		if !said[dir] {
			found = append(found, f.at(f.ast.Package, "no file has a comment that begins with Package %s", f.ast.Name.Name))
		}
	}
	slices.Sort(found)
	return found
}

// checkDocumented finds exported names at the top level without a comment. One
// comment may stand for a whole group of constants, variables or types.
func checkDocumented(f *file) (found []string) {
	if f.test || f.ast.Name.Name == "main" {
		return nil
	}
	report := func(name *ast.Ident, doc *ast.CommentGroup) {
		if name.IsExported() && strings.TrimSpace(doc.Text()) == "" {
			found = append(found, f.at(name.Pos(), "exported %s has no comment", name.Name))
		}
	}
	for _, decl := range f.ast.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			// Methods that an interface asks for say enough by their names.
			if d.Recv == nil {
				report(d.Name, d.Doc)
			} else if !wellKnown[d.Name.Name] && exportedReceiver(d) {
				report(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				checkSpec(spec, d, report)
			}
		}
	}
	return found
}

// wellKnown are methods whose names say what they do, whatever their type is.
var wellKnown = map[string]bool{
	"Error": true, "Unwrap": true, "Is": true, "String": true, "MarshalText": true, "UnmarshalText": true,
	// Those of device.Device and device.Extenter, which are documented there.
	"ReadAt": true, "WriteAt": true, "Flush": true, "Discard": true, "WriteZeroes": true,
	"Size": true, "Close": true, "Extents": true,
}

func exportedReceiver(d *ast.FuncDecl) bool {
	kind := d.Recv.List[0].Type
	if star, ok := kind.(*ast.StarExpr); ok {
		kind = star.X
	}
	name, ok := kind.(*ast.Ident)
	return ok && name.IsExported()
}

// checkSpec reports the names that a declaration makes, each with the comment
// that is nearest to it.
func checkSpec(spec ast.Spec, d *ast.GenDecl, report func(*ast.Ident, *ast.CommentGroup)) {
	nearest := func(docs ...*ast.CommentGroup) *ast.CommentGroup {
		for _, doc := range docs {
			if doc != nil {
				return doc
			}
		}
		return d.Doc
	}
	switch s := spec.(type) {
	case *ast.TypeSpec:
		report(s.Name, nearest(s.Doc, s.Comment))
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if d.Tok == token.CONST || d.Tok == token.VAR {
				report(name, nearest(s.Doc, s.Comment))
			}
		}
	}
}
