// Package config reads and writes holdfast.toml, the settings of one pool.
//
// The file is read strictly: an unknown key, a value of the wrong type or out
// of its bounds refuses the whole file, with a line for every fault at once.
// What it does not say has a default. The file is the administrator's: after
// create only its list of legs is written, when legs are added or taken away.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device/deadline"
)

// Name is what the file is called in the pool's directory.
const Name = "holdfast.toml"

// sizeLimit in bytes is what a settings file may take; a larger one is a mistake.
const sizeLimit = 1 << 20

// ErrInvalid is wrapped by every error about what the file says.
var ErrInvalid = errors.New("settings refused")

// Config is what holdfast.toml says, completed with defaults.
type Config struct {
	Legs      []string          `toml:"legs"`
	Deadline  Duration          `toml:"deadline"`
	RegionLog RegionLog         `toml:"region_log"`
	Journal   Journal           `toml:"journal"`
	Cache     Cache             `toml:"cache"`
	Scrub     Scrub             `toml:"scrub"`
	Resync    Resync            `toml:"resync"`
	NBD       NBD               `toml:"nbd"`
	Attach    Attach            `toml:"attach"`
	Volumes   map[string]Volume `toml:"volumes"`
}

// RegionLog says when the mark of a region that was written to is taken back.
type RegionLog struct {
	Policy string   `toml:"policy"`
	Period Duration `toml:"period"`
}

// Journal says what is written to the journal.
type Journal struct {
	Mode string `toml:"mode"`
}

// Cache bounds memory.
type Cache struct {
	Budget          Size     `toml:"budget"`
	DirtyLimit      Size     `toml:"dirty_limit"`
	DirtyBackground Size     `toml:"dirty_background"`
	DirtyAge        Duration `toml:"dirty_age"`
}

// Scrub says how a scrub goes about it, if whoever starts it does not.
type Scrub struct {
	Share float64 `toml:"share"`
}

// Resync says how legs are made equal.
type Resync struct {
	Share float64 `toml:"share"`
}

// NBD says where volumes are served. An empty address serves nothing.
type NBD struct {
	Unix string `toml:"unix"`
	TCP  string `toml:"tcp"`
}

// Attach says where volumes are mapped into other processes, and for whom. An
// empty path maps for nobody.
type Attach struct {
	Unix string `toml:"unix"`
	// Allow are the numbers of the users who may, beside the server's own.
	Allow []uint32 `toml:"allow"`
	// Announced has each first store to a page announced, also where the kernel
	// could let it through by itself.
	Announced bool `toml:"announced"`
}

// Volume holds what can be set for one volume.
type Volume struct {
	Stability string `toml:"stability"`
}

// The values that the policies may take.
const (
	PolicyVerified = "verified"
	PolicyIdle     = "idle"
	PolicyNever    = "never"

	JournalAuto   = "auto"
	JournalAlways = "always"
	JournalNever  = "never"

	StabilityWait = "wait"
	StabilityCopy = "copy"
)

// Default returns the settings of a pool whose file says nothing but its legs.
func Default() Config {
	return Config{
		Deadline:  Duration(deadline.Default),
		RegionLog: RegionLog{Policy: PolicyVerified, Period: Duration(5 * time.Second)},
		Journal:   Journal{Mode: JournalAuto},
		Cache:     Cache{Budget: 256 << 20, DirtyAge: Duration(5 * time.Second)},
		Scrub:     Scrub{Share: 0.5},
		Resync:    Resync{Share: 0.8}, // meanwhile one leg less can be done without
		NBD:       NBD{Unix: "nbd.sock"},
		Attach:    Attach{Unix: "attach.sock"},
	}
}

// Derive fills what depends on other settings and was left out.
func (c *Config) Derive() {
	if c.Cache.DirtyLimit == 0 {
		c.Cache.DirtyLimit = Size(cache.DefaultDirtyLimit(int64(c.Cache.Budget)))
	}
	if c.Cache.DirtyBackground == 0 {
		c.Cache.DirtyBackground = Size(cache.DefaultBackground(int64(c.Cache.DirtyLimit)))
	}
}

// Stability is the policy of the named volume.
func (c *Config) Stability(volume string) string {
	if s := c.Volumes[volume].Stability; s != "" {
		return s
	}
	return StabilityWait
}

// Load reads the settings in dir.
func Load(dir string) (Config, error) {
	path := filepath.Join(dir, Name)
	f, err := os.Open(path)
	if err != nil {
		return Config{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, sizeLimit+1))
	if err != nil {
		return Config{}, err
	}
	return Parse(path, b)
}

// Parse reads settings from b; path is for messages.
func Parse(path string, b []byte) (Config, error) {
	if len(b) > sizeLimit {
		return Config{}, fmt.Errorf("%w: %s is larger than %d bytes", ErrInvalid, path, sizeLimit)
	}
	c := Default()
	d := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, explain(path, err)
	}
	c.Derive()
	if err := c.Validate(); err != nil {
		return Config{}, prefix(path, err)
	}
	return c, nil
}

// explain turns the parser's error into one line for each fault.
func explain(path string, err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var all []error
		for i := range unknown.Errors {
			e := &unknown.Errors[i]
			line, _ := e.Position()
			all = append(all, fmt.Errorf("%w: %s:%d: unknown key %s; %s",
				ErrInvalid, path, line, strings.Join(e.Key(), "."), suggest(e.Key())))
		}
		return errors.Join(all...)
	}
	var wrong *toml.DecodeError
	if errors.As(err, &wrong) {
		line, _ := wrong.Position()
		what := strings.TrimPrefix(wrong.Error(), "toml: ")
		if k := strings.Join(wrong.Key(), "."); k != "" {
			what = k + ": " + what
		}
		return fmt.Errorf("%w: %s:%d: %s", ErrInvalid, path, line, what)
	}
	return fmt.Errorf("%w: %s: %v", ErrInvalid, path, err)
}

// prefix puts the file's name before each of the joined errors.
func prefix(path string, err error) error {
	var all []error
	for _, e := range split(err) {
		all = append(all, fmt.Errorf("%w: %s: %w", ErrInvalid, path, e))
	}
	return errors.Join(all...)
}

// split returns the errors that errors.Join put together.
func split(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
