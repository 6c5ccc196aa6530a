package lint

import (
	"maps"
	"slices"
	"strings"
)

// floors lists, for each package, the packages of Holdfast that it may import:
// data flows down one floor at a time, and a floor knows only the one beneath
// it, which for those above a device is the interface in package device. The
// journal is a half floor: the mirror writes for it, and it reads devices only
// after a crash.
//
// A package that is missing here is a finding, so that its place is decided.
var floors = map[string][]string{
	"device":                 {},
	"device/deadline":        {"device"},
	"device/devicetest":      {"device"},
	"device/faultdev":        {"device"},
	"device/powercut":        {"device"},
	"journal":                {"device"},
	"mirror":                 {"device", "journal", "mirror/internal/ondisk"},
	"mirror/internal/ondisk": {"device", "journal"},
	"volume":                 {"device"},
	"cache":                  {"device"},
	"nbd":                    {"device"},
	"attach":                 {"device", "cache", "internal/uffd"},
	"internal/config":        {"volume", "cache", "device/deadline"},
	"internal/uffd":          {},
	".":                      {"device", "device/deadline", "mirror", "volume", "cache", "nbd", "attach", "internal/config"},
	"cmd/holdfast":           {".", "internal/config"},
	"explore":                {},
	"explore/scenario":       {"explore", "device", "device/powercut", "mirror", "volume", "cache"},
	"cmd/explore":            {"explore", "explore/scenario"},
	"bench":                  {".", "attach", "nbd", "device", "internal/config"},
	"interop":                {},
	"programs":               {},
}

// helpers are the packages that stand beside the house and may be used by all
// of it, with what they may import themselves: each other, where that is said
// here, and nothing of the house.
var helpers = map[string][]string{
	"internal/invariants":  {},
	"internal/durable":     {},
	"internal/seam":        {},
	"internal/mutant":      {},
	"internal/rangelock":   {"internal/invariants", "internal/seam"},
	"internal/groupcommit": {"internal/invariants", "internal/mutant", "internal/seam"},
	"internal/guard":       {},
	"internal/aio":         {},
	"internal/limitlog":    {},
	"internal/eventlog":    {},
	"internal/clients":     {},
	"internal/lint":        {},
}

// checkFloors finds imports that lead up or past a floor. Tests stand on
// whatever they need: a mirror's test cuts the power of simulated disks.
func checkFloors(f *file) (found []string) {
	if f.test {
		return nil
	}
	allowed, helper := helpers[f.dir()]
	if !helper {
		var house bool
		if allowed, house = floors[f.dir()]; !house {
			return []string{f.at(f.ast.Package, "package %s has no place in the table of floors (%s)",
				f.dir(), "internal/lint/floors.go")}
		}
		allowed = append(slices.Collect(maps.Keys(helpers)), allowed...)
	}
	for i, path := range f.imports() {
		rel, ours := within(path)
		if ours && !slices.Contains(allowed, rel) {
			found = append(found, f.at(f.ast.Imports[i].Pos(), "%s may not import %s", f.dir(), path))
		}
		if path == "C" {
			found = append(found, f.at(f.ast.Imports[i].Pos(), "cgo: Holdfast is one static binary"))
		}
	}
	return found
}

// within returns the folder of one of the module's packages.
func within(path string) (rel string, ours bool) {
	if path == modulePath {
		return ".", true
	}
	return strings.CutPrefix(path, modulePath+"/")
}
