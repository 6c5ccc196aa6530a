package config

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed holdfast.toml.in
var template string

// fileMode lets everybody read the settings: there is nothing secret in them.
const fileMode = 0o644

// Write makes the settings file of a pool in dir, with every setting explained
// and those that only repeat a default commented out. It fails if there is one.
func Write(dir string, c Config) error {
	path := filepath.Join(dir, Name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(render(c))
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// render fills the template. It is given only what Validate allows.
func render(c Config) string {
	d := Default()
	d.Derive()
	c.Derive()
	line := func(key string, value, usual any) string {
		s := fmt.Sprintf("%s = %v", key, value)
		if _, number := value.(float64); !number {
			s = fmt.Sprintf("%s = %s", key, quote(fmt.Sprint(value)))
		}
		if value == usual {
			return "# " + s
		}
		return s
	}
	var legs strings.Builder
	for _, l := range c.Legs {
		fmt.Fprintf(&legs, "    %s,\n", quote(l))
	}
	return strings.NewReplacer(
		"@legs@", legs.String(),
		"@deadline@", line("deadline", c.Deadline, d.Deadline),
		"@policy@", line("policy", c.RegionLog.Policy, d.RegionLog.Policy),
		"@period@", line("period", c.RegionLog.Period, d.RegionLog.Period),
		"@journal@", line("mode", c.Journal.Mode, d.Journal.Mode),
		"@budget@", line("budget", c.Cache.Budget, d.Cache.Budget),
		"@dirty_limit@", line("dirty_limit", c.Cache.DirtyLimit, d.Cache.DirtyLimit),
		"@dirty_background@", line("dirty_background", c.Cache.DirtyBackground, d.Cache.DirtyBackground),
		"@dirty_age@", line("dirty_age", c.Cache.DirtyAge, d.Cache.DirtyAge),
		"@scrub_share@", line("share", c.Scrub.Share, d.Scrub.Share),
		"@resync_share@", line("share", c.Resync.Share, d.Resync.Share),
		"@unix@", line("unix", c.NBD.Unix, d.NBD.Unix),
		"@tcp@", tcpLine(c.NBD.TCP),
		"@attach@", line("unix", c.Attach.Unix, d.Attach.Unix),
		"@allow@", allowLine(c.Attach.Allow),
		"@announced@", announcedLine(c.Attach.Announced),
		"@volumes@", volumes(c),
	).Replace(template)
}

func tcpLine(addr string) string {
	if addr == "" {
		return `# tcp = "127.0.0.1:10809"`
	}
	return "tcp = " + quote(addr)
}

func allowLine(uids []uint32) string {
	if len(uids) == 0 {
		return "# allow = [1000]"
	}
	s, _ := json.Marshal(uids) // numbers in TOML look the same
	return "allow = " + string(s)
}

func announcedLine(yes bool) string {
	if !yes {
		return "# announced = false"
	}
	return "announced = true"
}

func volumes(c Config) string {
	if len(c.Volumes) == 0 {
		return "# [volumes.main]\n# stability = \"wait\"\n"
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.Volumes)) {
		key := name
		if strings.Contains(name, ".") {
			key = quote(name) // a bare dot would make two keys of it
		}
		fmt.Fprintf(&b, "[volumes.%s]\nstability = %q\n", key, c.Stability(name))
	}
	return b.String()
}

// quote writes s as a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}
