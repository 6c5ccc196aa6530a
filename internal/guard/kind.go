package guard

import (
	"errors"
	"fmt"
)

// Kind says what is stored for a block.
type Kind uint8

const (
	// None stores nothing.
	None Kind = iota
	// CRC32C stores the block's sum, bound to pool and block number.
	CRC32C
	// T10DIF stores the protection information that SCSI disks know.
	T10DIF
)

// ErrKind says that a name names no kind of guard.
var ErrKind = errors.New("no such kind of guard")

var kindNames = [...]string{None: "none", CRC32C: "crc32c", T10DIF: "t10-dif"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("guard kind %d", uint8(k))
}

// Parse returns the kind of that name.
func Parse(name string) (Kind, error) {
	for k, n := range kindNames {
		if n == name {
			return Kind(k), nil
		}
	}
	return None, fmt.Errorf("%w: %q: possible are %q, %q and %q", ErrKind, name, None, CRC32C, T10DIF)
}

// MarshalText returns the kind's name.
func (k Kind) MarshalText() ([]byte, error) {
	if int(k) >= len(kindNames) {
		return nil, fmt.Errorf("%w: number %d", ErrKind, uint8(k))
	}
	return []byte(kindNames[k]), nil
}

// UnmarshalText is Parse.
func (k *Kind) UnmarshalText(name []byte) error {
	parsed, err := Parse(string(name))
	if err == nil {
		*k = parsed
	}
	return err
}
