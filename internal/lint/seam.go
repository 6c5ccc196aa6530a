package lint

import (
	"go/ast"
	"go/token"
	"slices"
)

// seamed are the packages whose every wait and wake goes through package seam,
// so that a scheduler can take its place.
var seamed = []string{"cache", "journal", "mirror", "volume", "internal/rangelock", "internal/groupcommit"}

// seamHas names, for what a seamed package must not use, what it uses instead.
var seamHas = map[string]string{
	"sync.Mutex":           "seam.Mutex",
	"sync.RWMutex":         "seam.Mutex",
	"sync.Cond":            "seam.Cond",
	"sync.NewCond":         "seam.NewCond",
	"sync.WaitGroup":       "seam.Group",
	"sync.Once":            "a seam.Mutex",
	"time.Now":             "seam.Now",
	"time.Since":           "seam.Now",
	"time.Until":           "seam.Now",
	"time.Sleep":           "seam.Alarm",
	"time.After":           "seam.Alarm",
	"time.AfterFunc":       "seam.Alarm",
	"time.NewTimer":        "seam.Alarm",
	"time.NewTicker":       "seam.Alarm",
	"time.Tick":            "seam.Alarm",
	"context.WithTimeout":  "seam.Alarm",
	"context.WithDeadline": "seam.Alarm",
}

// checkSeam finds what would let a seamed package wait, wake, or tell the time
// without its scheduler.
func checkSeam(f *file) (found []string) {
	if f.test || !slices.Contains(seamed, f.dir()) {
		return nil
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, f.at(n.Pos(), "a go statement; use seam.Go or seam.Group"))
		case *ast.SelectStmt:
			found = append(found, f.at(n.Pos(), "a select statement; use seam.Cond or seam.Alarm"))
		case *ast.SendStmt:
			found = append(found, f.at(n.Pos(), "a channel is sent to; use seam.Cond or seam.Alarm"))
		case *ast.ChanType:
			found = append(found, f.at(n.Pos(), "a channel; use seam.Cond or seam.Alarm"))
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				found = append(found, f.at(n.Pos(), "a channel is received from; use seam.Cond or seam.Alarm"))
			}
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok {
				name := f.imported(pkg.Name) + "." + n.Sel.Name
				if instead, ok := seamHas[name]; ok {
					found = append(found, f.at(n.Pos(), "%s; use %s", name, instead))
				}
			}
		}
		return true
	})
	return found
}

// imported is the path of the package that f knows by a name, or "".
func (f *file) imported(name string) string {
	for i, spec := range f.ast.Imports {
		path := f.imports()[i]
		if spec.Name != nil && spec.Name.Name == name || spec.Name == nil && path == name {
			return path
		}
	}
	return ""
}
