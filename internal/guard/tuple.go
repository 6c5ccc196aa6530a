package guard

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// TupleSize is the length of what is stored for a block, in bytes.
const TupleSize = 8

// Tuple is what is stored for a block. The zero tuple says that nothing is known
// of it.
//
//	crc32c   0-3  sum, XOR CRC-32C of the pool's id, the block number (8 bytes)
//	              and the version
//	(LE)     4-7  version
//	t10-dif  0-1  guard tag: CRC-16/T10-DIF of the block
//	(BE)     2-3  application tag: version
//	         4-7  reference tag: the low 32 bits of the block number
type Tuple [TupleSize]byte

// Known says whether the tuple says anything of its block.
func (t Tuple) Known() bool { return t != Tuple{} }

// versions is how many versions of a tuple there are, from 1 on. 0 is left to
// the zero tuple; an application tag of 0xFFFF tells disks not to check.
func (k Kind) versions() uint64 {
	switch k {
	case CRC32C:
		return math.MaxUint32
	case T10DIF:
		return math.MaxUint16 - 1
	}
	return 0
}

// Version is the tuple's version, which grows by one with each write of the
// block and goes back to 1 at its end; 0 of a tuple that is not known, or that
// Make cannot have made.
func (k Kind) Version(t Tuple) uint32 {
	var v uint32
	switch k {
	case CRC32C:
		v = binary.LittleEndian.Uint32(t[4:])
	case T10DIF:
		v = uint32(binary.BigEndian.Uint16(t[2:]))
	}
	if uint64(v) > k.versions() {
		return 0
	}
	return v
}

// Newer says whether a is newer than b: whether fewer than half of all versions
// lead from b to a. Any that has a version is newer than one that has none.
func (k Kind) Newer(a, b Tuple) bool {
	va, vb := uint64(k.Version(a)), uint64(k.Version(b))
	if va == 0 || vb == 0 {
		return va > vb
	}
	n := k.versions()
	ahead := (va + n - vb) % n
	return ahead != 0 && ahead < (n+1)/2
}

// Binding is what ties a pool's tuples to it.
type Binding struct {
	kind Kind
	pool uint32 // CRC-32C of the pool's id
}

// NewBinding returns the binding of the pool with that id.
func NewBinding(kind Kind, pool [16]byte) Binding {
	return Binding{kind: kind, pool: crc32.Checksum(pool[:], castagnoli)}
}

// Kind is the kind of the tuples.
func (b *Binding) Kind() Kind { return b.kind }

// Make returns the tuple of a block that holds data, whose sum is sum, and had
// prev before: of the kind None, one that knows nothing.
func (b *Binding) Make(block uint64, sum uint32, data []byte, prev Tuple) (t Tuple) {
	if b.kind == None {
		return t
	}
	version := uint64(b.kind.Version(prev))%b.kind.versions() + 1
	switch b.kind {
	case CRC32C:
		binary.LittleEndian.PutUint32(t[:], sum^b.place(block, uint32(version)))
		binary.LittleEndian.PutUint32(t[4:], uint32(version))
	case T10DIF:
		binary.BigEndian.PutUint16(t[:], crc16(data))
		binary.BigEndian.PutUint16(t[2:], uint16(version))
		binary.BigEndian.PutUint32(t[4:], uint32(block))
	}
	return t
}

// Holds says whether a block's tuple and its data fit. One that knows nothing
// fits anything.
func (b *Binding) Holds(t Tuple, block uint64, data []byte) bool {
	switch {
	case b.kind == None || !t.Known():
		return true
	case b.kind.Version(t) == 0:
		return false
	case b.kind == T10DIF:
		return binary.BigEndian.Uint32(t[4:]) == uint32(block) && binary.BigEndian.Uint16(t[:]) == crc16(data)
	}
	return binary.LittleEndian.Uint32(t[:]) == Sum(data)^b.place(block, b.kind.Version(t))
}

// place is the CRC-32C of the pool's id, the block number and the version: what
// a sum is masked with, so that it fits at its place alone.
//
// It goes byte by byte, for what is handed to package hash/crc32 has to be allocated.
func (b *Binding) place(block uint64, version uint32) uint32 {
	r := ^b.pool
	for range 8 {
		r = castagnoli[byte(r)^byte(block)] ^ r>>8
		block >>= 8
	}
	for range 4 {
		r = castagnoli[byte(r)^byte(version)] ^ r>>8
		version >>= 8
	}
	return ^r
}
