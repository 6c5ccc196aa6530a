package main

import (
	"runtime"
	"runtime/debug"
)

// versionCmd prints the release, or the commit that it was built from.
type versionCmd struct{}

// Run is called by the parser.
func (versionCmd) Run(c console) error {
	version, commit := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = ", commit " + s.Value
			}
		}
	}
	c.printf("holdfast %s%s, %s %s/%s\n", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
