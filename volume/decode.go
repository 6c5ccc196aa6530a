package volume

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/google/uuid"
)

// decode reads a slot. b is the whole slot, or as much of it as there is; pool
// is the size in bytes of the device that it came from. Whatever b holds, decode
// returns a table that keeps invariant 1, or an error that wraps ErrCorrupt or
// ErrUnsupported.
func decode(b []byte, pool int64) (*table, error) {
	body, err := checkHeader(b)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	t := &table{generation: le.Uint64(b[offGeneration:]), compat: le.Uint64(b[offCompat:])}
	copy(t.spare[:], b[offHeaderSpare:headerSize])
	count := le.Uint32(b[offRecords:])
	if count > MaxVolumes {
		return nil, corrupt("it claims %d volumes, the limit is %d", count, MaxVolumes)
	}
	for range count {
		r, n, err := decodeRecord(body)
		if err != nil {
			return nil, err
		}
		t.records = append(t.records, r)
		body = body[n:]
	}
	if len(body) != 0 {
		return nil, corrupt("%d bytes follow its last record", len(body))
	}
	return t, t.check(pool)
}

// checkHeader says whether b begins with a slot whose checksum fits and that
// this release understands, and returns the bytes of its records.
func checkHeader(b []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(b) < headerSize || string(b[:len(magic)]) != magic {
		return nil, corrupt("there is no table")
	}
	n := le.Uint32(b[offLength:])
	if n < headerSize || int64(n) > int64(len(b)) {
		return nil, corrupt("its length is %d bytes", n)
	}
	if got, want := checksum(b[:n]), le.Uint32(b[offCRC:]); got != want {
		return nil, corrupt("its checksum is %08x and should be %08x", got, want)
	}
	if v := le.Uint32(b[offVersion:]); v != formatVersion {
		return nil, fmt.Errorf("%w: its format is %d, this release knows %d", ErrUnsupported, v, formatVersion)
	}
	if f := le.Uint64(b[offROCompat:]) &^ knownROCompat; f != 0 {
		return nil, fmt.Errorf("%w: unknown read-only compatible features %#x", ErrUnsupported, f)
	}
	if f := le.Uint64(b[offIncompat:]) &^ knownIncompat; f != 0 {
		return nil, fmt.Errorf("%w: unknown incompatible features %#x", ErrUnsupported, f)
	}
	if g := le.Uint64(b[offGeneration:]); g == 0 || g == math.MaxUint64 {
		return nil, corrupt("its generation is %d", g)
	}
	return b[headerSize:n], nil
}

// decodeRecord reads the record that b begins with, and returns its length.
func decodeRecord(b []byte) (record, int, error) {
	le := binary.LittleEndian
	var r record
	if len(b) < recordSize {
		return r, 0, corrupt("a record is cut off")
	}
	nameLen, extents := le.Uint32(b[offNameLen:]), le.Uint32(b[offExtents:])
	if nameLen > MaxName {
		return r, 0, corrupt("a name of %d bytes, the limit is %d", nameLen, MaxName)
	}
	r.name = string(b[offName : offName+nameLen])
	if len(bytes.Trim(b[offName+nameLen:offName+MaxName], "\x00")) != 0 {
		return r, 0, corrupt("volume %q: bytes follow its name", r.name)
	}
	if k, f := le.Uint32(b[offKind:]), le.Uint32(b[offFlags:]); kind(k) != kindLinear || f != 0 {
		return r, 0, fmt.Errorf("%w: volume %q is of kind %d, flags %#x", ErrUnsupported, r.name, k, f)
	}
	if extents == 0 || extents > MaxExtents || int(extents) > (len(b)-recordSize)/extentSize {
		return r, 0, corrupt("volume %q: %d extents do not fit", r.name, extents)
	}
	r.size = int64(le.Uint64(b[offSize:]))
	r.id = uuid.UUID(b[offUUID : offUUID+16])
	copy(r.spare[:], b[offRecordSpare:recordSize])
	at := recordSize
	for range extents {
		r.extents = append(r.extents, extent{
			vol:    int64(le.Uint64(b[at:])),
			pool:   int64(le.Uint64(b[at+8:])),
			length: int64(le.Uint64(b[at+16:])),
		})
		at += extentSize
	}
	return r, at, nil
}

// check says whether t keeps invariant 1 in a pool of the given size.
func (t *table) check(pool int64) error {
	names := make(map[string]bool, len(t.records))
	var all []extent
	for i := range t.records {
		r := &t.records[i]
		if err := r.check(pool); err != nil {
			return err
		}
		if names[r.name] {
			return corrupt("two volumes are called %q", r.name)
		}
		names[r.name] = true
		all = append(all, r.extents...)
	}
	slices.SortFunc(all, func(a, b extent) int { return cmp.Compare(a.pool, b.pool) })
	for i := 1; i < len(all); i++ {
		if all[i].pool < all[i-1].pool+all[i-1].length {
			return corrupt("two volumes claim the pool's bytes at %d", all[i].pool)
		}
	}
	return nil
}

// check says whether r alone is sound: its name, its size, and extents that
// cover it within the pool.
func (r *record) check(pool int64) error {
	if err := CheckName(r.name); err != nil {
		return corrupt("%v", err)
	}
	if err := checkSize(r.size); err != nil {
		return corrupt("volume %q: %v", r.name, err)
	}
	end := int64(0)
	for _, e := range r.extents {
		switch {
		case e.vol != end || e.length <= 0 || e.length%BlockSize != 0 || e.length > r.size-end:
			return corrupt("volume %q: an extent of %d bytes at %d, where %d was expected", r.name, e.length, e.vol, end)
		case e.pool < TableSize || e.pool%ExtentAlign != 0:
			return corrupt("volume %q: an extent begins at %d of the pool", r.name, e.pool)
		case e.pool > pool || e.length > pool-e.pool:
			return corrupt("volume %q: an extent of %d bytes at %d leaves the pool of %d bytes", r.name, e.length, e.pool, pool)
		}
		end += e.length
	}
	if end != r.size {
		return corrupt("volume %q: extents cover %d of its %d bytes", r.name, end, r.size)
	}
	return nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}
