package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written as 4096, 256MiB, 4G or 10GB.
type Size int64

// units maps a suffix, in lower case, to bytes. As with dd and qemu-img a bare
// letter counts in powers of 1024; only a B after it means powers of 1000.
var units = map[string]int64{
	"": 1, "b": 1,
	"k": 1 << 10, "kib": 1 << 10, "kb": 1e3,
	"m": 1 << 20, "mib": 1 << 20, "mb": 1e6,
	"g": 1 << 30, "gib": 1 << 30, "gb": 1e9,
	"t": 1 << 40, "tib": 1 << 40, "tb": 1e12,
	"p": 1 << 50, "pib": 1 << 50, "pb": 1e15,
}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	digits := strings.TrimLeft(t, "0123456789")
	number, suffix := t[:len(t)-len(digits)], strings.TrimSpace(digits)
	unit, ok := units[strings.ToLower(suffix)]
	if number == "" || !ok {
		return fmt.Errorf("%q is not a size: write a whole number and a unit, such as 4096, 256MiB or 4G", t)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return fmt.Errorf("%q is too large for a size", t)
	}
	*s = Size(n * unit)
	return nil
}

// String writes s with the largest unit that divides it.
func (s Size) String() string {
	for _, u := range []string{"PiB", "TiB", "GiB", "MiB", "KiB"} {
		if n := units[strings.ToLower(u)]; s != 0 && int64(s)%n == 0 {
			return strconv.FormatInt(int64(s)/n, 10) + u
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText writes s as String does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Duration is a time, written as 500ms, 5s or 1m30s.
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("%q is not a duration: write it as 500ms, 5s or 1m30s", text)
	}
	*d = Duration(v)
	return nil
}

// String writes d as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes d as String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
