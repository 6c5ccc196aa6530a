package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ourselves is the contestant that everything is compared with: two legs, guards
// of CRC-32C, every setting as it is made, but for the size of the cache.
const ourselves = "holdfast"

// volumeName is what every pool's volume is called.
const volumeName = "main"

// variant is a way in which pools differ from ourselves.
type variant struct {
	name string
	// create are more arguments of holdfast create, serve of holdfast serve.
	create, serve []string
	legs          int // 0: 2
	// policy and period are the region log's; "" leaves them.
	policy, period string
}

// The names of the variants that bars speak of.
const (
	oneBareLeg = "one leg, no guards"
)

// variants are what a setting, and so what it buys, costs.
var variants = []variant{
	{name: oneBareLeg, legs: 1, create: []string{"--guards", "none"}},
	{name: "one leg", legs: 1},
	{name: "guards none", create: []string{"--guards", "none"}},
	{name: "guards t10-dif", create: []string{"--guards", "t10-dif"}},
	{name: "stability copy", create: []string{"--stability", "copy"}},
	{name: "journal never", serve: []string{"--journal", "never"}},
	{name: "journal always", serve: []string{"--journal", "always"}},
	{name: "region log idle", policy: "idle"},
	{name: "region log never", policy: "never"},
}

// kind is a server of such a pool.
func (v variant) kind(binary string) kind {
	return kind{name: v.name, needs: []string{"nbdcopy"}, make: func(s *server) error { return v.make(s, binary) }}
}

// itself is the pool without a variation.
func itself(binary string) kind { return variant{name: ourselves}.kind(binary) }

func (v variant) make(s *server, binary string) error {
	dir := filepath.Join(s.h.run, "pool")
	legs := []string{filepath.Join(s.h.files, "leg0"), filepath.Join(s.h.files, "leg1")}
	if v.legs > 0 {
		legs = legs[:v.legs]
	}
	args := []string{"create", dir, "--size", fmt.Sprint(s.size), "--volume", volumeName}
	for _, leg := range legs {
		args = append(args, "--leg", leg)
	}
	if _, err := output(s.h.ctx, binary, append(args, v.create...)...); err != nil {
		return err
	}
	if err := v.configure(filepath.Join(dir, "holdfast.toml"), s); err != nil {
		return err
	}
	s.export, s.socket = volumeName, filepath.Join(dir, "nbd.sock")
	s.args = append([]string{binary, "serve", dir}, v.serve...)
	s.backing = func() []string { return legs }
	s.settle = func(ctx context.Context) error {
		_, err := output(ctx, binary, "flush", dir)
		return err
	}
	return nil
}

// configure puts settings into the file that create made, in which all of them
// stand commented out.
func (v variant) configure(path string, s *server) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	settings := string(text)
	put := func(heading, line string) {
		settings = strings.Replace(settings, heading+"\n", heading+"\n"+line+"\n", 1)
	}
	if s.budget > 0 {
		put("[cache]", fmt.Sprintf("budget = %d", s.budget))
	}
	if v.policy != "" {
		put("[region_log]", fmt.Sprintf("policy = %q", v.policy))
	}
	if v.period != "" {
		put("[region_log]", fmt.Sprintf("period = %q", v.period))
	}
	return os.WriteFile(path, []byte(settings), 0o644)
}

// poolStatus is what is read of holdfast status --json.
type poolStatus struct {
	RegionSize int64 `json:"region_size"`
	Regions    struct {
		Total int64 `json:"total"`
		Clean int64 `json:"clean"`
	} `json:"regions"`
	Cache struct {
		Resident int64 `json:"resident"`
	} `json:"cache"`
	Resync struct {
		RegionsLeft  int64 `json:"regions_left"`
		RegionsDone  int64 `json:"regions_done"`
		BytesRead    int64 `json:"bytes_read"`
		BytesWritten int64 `json:"bytes_written"`
	} `json:"resync"`
}

// status asks a pool's running server.
func (s *server) status(ctx context.Context) (p poolStatus, err error) {
	out, err := output(ctx, s.args[0], "status", s.args[2], "--json")
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal([]byte(out), &p)
}
