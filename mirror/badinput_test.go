package mirror

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// reseal lets a test change a superblock where it stands and fixes its checksum.
func reseal(t *testing.T, d device.Device, off int64, change func(b []byte)) {
	t.Helper()
	b := get(t, d, off, BlockSize)
	change(b)
	putCRC(b)
	put(t, d, off, b)
}

func putCRC(b []byte) {
	le, end := binary.LittleEndian, BlockSize-4
	le.PutUint32(b[end:], crc32.Checksum(b[:end], crc32.MakeTable(crc32.Castagnoli)))
}

func resealBoth(t *testing.T, l Leg, change func(b []byte)) {
	t.Helper()
	reseal(t, l.Dev, ondisk.HeadOffset, change)
	reseal(t, l.Dev, ondisk.TailOffset(l.Dev.Size()), change)
}

func wipe(t *testing.T, d device.Device, off int64) {
	t.Helper()
	put(t, d, off, bytes.Repeat([]byte{0x5a}, BlockSize))
}

// copyOf returns a leg with the content that l has at this moment.
func copyOf(t *testing.T, l Leg) Leg {
	t.Helper()
	c := Leg{l.Name + "-old", kept{device.NewMem(l.Dev.Size())}}
	put(t, c.Dev, 0, get(t, l.Dev, 0, l.Dev.Size()))
	return c
}

// used opens the pool, writes, and closes it.
func used(t *testing.T, legs []Leg) {
	t.Helper()
	m := open(t, legs, Options{Manual: true})
	put(t, m, 100, []byte("something"))
	must(t, m.Close())
}

// identity is what differs between runs in a leg's lines.
type identity struct{ name, pool, leg string }

func identities(legs []Leg) []identity {
	var all []identity
	for _, l := range legs {
		c := ondisk.ReadCopies(l.Dev)
		if sb := c.Best(); sb != nil {
			all = append(all, identity{l.Name, sb.Pool.String(), sb.Leg.String()})
		}
	}
	return all
}

// names puts names for UUIDs into a line.
func names(text string, of []identity) string {
	for _, i := range of {
		text = strings.ReplaceAll(text, i.pool, "POOL-"+i.name)
		text = strings.ReplaceAll(text, i.leg, "UUID-"+i.name)
	}
	return text
}

// Each kind of bad input gets one line that says what was found and what to do,
// and nothing is written.
func TestBadInput(t *testing.T) {
	for _, c := range []struct {
		name  string
		legs  int
		spoil func(t *testing.T, legs []Leg) []Leg
		want  error
		line  string
	}{
		{"no legs", 1, func(t *testing.T, legs []Leg) []Leg { return nil },
			ErrInvalid, "invalid option: 0 legs were given, a pool has from 1 to 4"},
		{"too many legs", 4, func(t *testing.T, legs []Leg) []Leg { return append(legs, legs[0]) },
			ErrInvalid, "invalid option: 5 legs were given, a pool has from 1 to 4"},
		{"missing", 2, func(t *testing.T, legs []Leg) []Leg { return legs[1:] },
			ErrMissing, "leg is missing: leg 0 (UUID-a) of pool POOL-a was not given, and was in sync with b: give it too; if it was used since without those given, it holds later writes"},
		{"missing after a crash", 2, func(t *testing.T, legs []Leg) []Leg {
			open(t, legs, Options{Manual: true}).Abandon()
			return legs[:1]
		}, ErrMissing, "leg is missing: leg 1 (UUID-b) of pool POOL-a was not given, and was in sync with a: give it too; the pool was not closed cleanly, so what is missing may hold later writes"},
		{"another pool's", 2, func(t *testing.T, legs []Leg) []Leg { return []Leg{legs[0], {"z", formatted(t, 1)[0].Dev}} },
			ErrForeign, "leg belongs to another pool: a is of pool POOL-a and z of pool POOL-z: give the legs of one pool"},
		{"given twice", 2, func(t *testing.T, legs []Leg) []Leg { return []Leg{legs[0], {"A", legs[0].Dev}} },
			ErrDuplicate, "leg given twice: a and A are both leg 0 (UUID-a): give each leg once"},
		{"older", 2, func(t *testing.T, legs []Leg) []Leg {
			old := copyOf(t, legs[1])
			used(t, legs)
			return []Leg{legs[0], old}
		}, ErrStale, "leg is out of date: b-old is at generation 1 and a at 4: it missed writes, so its data must not be used; give the copy of leg 1 (UUID-b) that is up to date"},
		{"older and alone", 2, func(t *testing.T, legs []Leg) []Leg {
			old := copyOf(t, legs[1])
			used(t, legs)
			return []Leg{old}
		}, ErrMissing, "leg is missing: leg 0 (UUID-a) of pool POOL-a was not given, and was in sync with b-old: give it too; if it was used since without those given, it holds later writes"},
		{"cut short", 2, func(t *testing.T, legs []Leg) []Leg {
			short := Leg{"b", kept{device.NewMem(3 << 20 >> 1)}}
			put(t, short.Dev, 0, get(t, legs[1].Dev, 0, short.Dev.Size()))
			return []Leg{legs[0], short}
		}, ErrTooSmall, "leg is too small: b is 1572864 bytes and was made with 2363392: was it cut short?"},
		{"both superblocks broken", 2, func(t *testing.T, legs []Leg) []Leg {
			wipe(t, legs[1].Dev, ondisk.HeadOffset)
			reseal(t, legs[1].Dev, ondisk.TailOffset(legs[1].Dev.Size()), func(b []byte) { b[72]++ })
			return legs
		}, ErrCorrupt, "b: leg is damaged: both superblocks are unusable (at 4096: no superblock there; at 2359296: superblock was written for byte 2359297)"},
		{"blank", 1, func(t *testing.T, legs []Leg) []Leg { return memLegs(1, 4<<20) },
			ErrCorrupt, "a: leg is damaged: both superblocks are unusable (at 4096: no superblock there; at 4190208: no superblock there)"},
		{"tiny", 1, func(t *testing.T, legs []Leg) []Leg { return memLegs(1, 512) },
			ErrCorrupt, "a: leg is damaged: both superblocks are unusable (at 4096: memory device: read of 4096 bytes at 4096: outside the device: 4096 bytes at 4096 of a device of 512; at -4096: no room for a superblock)"},
		{"newer format", 1, func(t *testing.T, legs []Leg) []Leg {
			resealBoth(t, legs[0], func(b []byte) { b[8] = 2 })
			return legs
		}, ErrUnsupported, "a: leg uses unknown features: format version 2, known is 1: use a newer program"},
		{"unknown incompatible feature", 1, func(t *testing.T, legs []Leg) []Leg {
			resealBoth(t, legs[0], func(b []byte) { b[32] = 0x40 })
			return legs
		}, ErrUnsupported, "a: leg uses unknown features: incompatible features 0x40: use a newer program"},
		{"unknown read-only compatible feature", 1, func(t *testing.T, legs []Leg) []Leg {
			resealBoth(t, legs[0], func(b []byte) { b[24] = 2 })
			return legs
		}, ErrUnsupported, "leg uses unknown features: a has features 0x2 that this program may read but not write: use a newer program"},
		{"other geometry", 2, func(t *testing.T, legs []Leg) []Leg {
			resealBoth(t, legs[1], func(b []byte) { binary.LittleEndian.PutUint64(b[112:], 2*testRegion) })
			return legs
		}, ErrCorrupt, "leg is damaged: a and b disagree about sizes and places (data 262144 and 262144 bytes, regions 16384 and 32768)"},
		{"changed apart", 2, func(t *testing.T, legs []Leg) []Leg {
			resealBoth(t, legs[1], func(b []byte) { b[120] = byte(ondisk.PoolOpen) })
			return legs
		}, ErrCorrupt, "leg is damaged: a and b disagree at generation 1: one of them was changed on its own"},
		{"no member", 2, func(t *testing.T, legs []Leg) []Leg {
			resealBoth(t, legs[1], func(b []byte) { b[56]++; b[320+32]++ })
			return legs
		}, ErrForeign, "leg belongs to another pool: b (UUID-b) is no leg of pool POOL-a as a knows it: it was replaced or removed, leave it out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := formatted(t, c.legs)
			known := identities(all)
			legs := c.spoil(t, all)
			var before [][]byte
			for _, l := range legs {
				before = append(before, get(t, l.Dev, 0, l.Dev.Size()))
			}
			_, err := Open(legs, Options{Manual: true})
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if got := names(err.Error(), append(known, identities(legs)...)); got != c.line {
				t.Errorf("line is\n%s\nwant\n%s", got, c.line)
			}
			for i, l := range legs {
				if !bytes.Equal(before[i], get(t, l.Dev, 0, l.Dev.Size())) {
					t.Errorf("leg %s was changed", l.Name)
				}
			}
		})
	}
}

// With one superblock broken the other serves, and the broken one is repaired.
func TestOneSuperblockBroken(t *testing.T) {
	for _, tail := range []bool{false, true} {
		legs := formatted(t, 2)
		at := int64(ondisk.HeadOffset)
		if tail {
			at = ondisk.TailOffset(legs[0].Dev.Size())
		}
		wipe(t, legs[0].Dev, at)
		r, err := Check(legs)
		must(t, err)
		if r.Sound() || !strings.Contains(r.Problems[0], "a: superblock at") {
			t.Fatalf("Check says %q", r.Problems)
		}
		var log bytes.Buffer
		m := open(t, legs, logged(&log))
		if !strings.Contains(log.String(), `level=WARN msg="one superblock is broken: the other serves, and it is written anew" event=leg-repaired leg=a`) {
			t.Errorf("logged %s", &log)
		}
		must(t, m.Close())
		wantSound(t, legs)
	}
}

// A superblock that is newer than the other, and valid, wins.
func TestNewerSuperblockWins(t *testing.T) {
	legs := formatted(t, 1)
	old := get(t, legs[0].Dev, ondisk.HeadOffset, BlockSize)
	used(t, legs)
	put(t, legs[0].Dev, ondisk.HeadOffset, old)
	m := open(t, legs, Options{Manual: true})
	if g := m.Status().Generation; g != 6 {
		t.Errorf("generation is %d, want 6: the newer superblock had 4", g)
	}
	must(t, m.Close())
}

func TestFormatRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		legs []Leg
		o    FormatOptions
		want error
		line string
	}{
		{"no legs", nil, FormatOptions{}, ErrInvalid, "invalid option: 0 legs: a pool has from 1 to 4"},
		{"too small", memLegs(2, LegSize(testData)-1), FormatOptions{Size: testData}, ErrTooSmall,
			"leg is too small: a is 2363391 bytes, and a leg for 262144 bytes of data takes 2363392"},
		{"no room at all", memLegs(1, 1<<20), FormatOptions{}, ErrTooSmall,
			"leg is too small: a is 1048576 bytes, and a leg takes at least 2105344"},
		{"odd size", memLegs(1, 4<<20), FormatOptions{Size: 5000}, ErrInvalid,
			"invalid option: data size 5000 is not a multiple of 4096 up to 4503599627370496"},
		{"odd region", memLegs(1, 4<<20), FormatOptions{Size: 4096, RegionSize: 5000}, ErrInvalid,
			"invalid option: region size 5000 is not a power of two from 4096 to 4294967296"},
		{"small region", memLegs(1, 4<<20), FormatOptions{Size: 8 << 30, RegionSize: 4096}, ErrInvalid,
			"invalid option: region size 4096 makes 2097152 regions of 8589934592 bytes, and the log holds 1048576: use larger regions"},
	} {
		err := Format(c.legs, c.o)
		if !errors.Is(err, c.want) || err.Error() != c.line {
			t.Errorf("%s: got\n%v\nwant\n%s", c.name, err, c.line)
		}
	}
	legs := formatted(t, 1)
	if err := Format(legs, FormatOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("a leg of a pool was formatted: %v", err)
	}
	if _, err := Open(legs, Options{Policy: "often"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("unknown policy: %v", err)
	}
}

// A torn log block is no error; two torn slots make their regions dirty.
func TestTornLog(t *testing.T) {
	legs := formatted(t, 2)
	g := ondisk.NewGeometry(testData, testRegion, guard.None, 0)
	m := open(t, legs, Options{Manual: true})
	put(t, m, 3*testRegion, []byte("x")) // the third write of the block: slot 1
	m.Abandon()
	wipe(t, legs[0].Dev, g.LogOff()+ondisk.LogSlotOffset(0, 0))
	wipe(t, legs[1].Dev, g.LogOff()+ondisk.LogSlotOffset(0, 0))
	var log bytes.Buffer
	m = open(t, legs, logged(&log))
	if c := m.Status().Regions; c.MaybeDirty != 1 || strings.Contains(log.String(), "level=WARN") {
		t.Errorf("after the older slots were torn: %+v, %s", c, &log)
	}
	m.Abandon()
	for slot := range uint64(2) {
		wipe(t, legs[1].Dev, g.LogOff()+ondisk.LogSlotOffset(0, slot))
	}
	m = open(t, legs, logged(&log))
	if c := m.Status(); c.Regions.MaybeDirty != 16 || c.Resync.RegionsLeft != 16 {
		t.Errorf("after both slots were torn: %+v", c)
	}
	if !strings.Contains(log.String(), `neither slot of a block can be read: all its regions count as dirty" event=leg-repaired leg=b block=0`) {
		t.Errorf("logged %s", &log)
	}
}

// A slot that cannot be read takes none of the others with it.
func TestBadSectorInTheLog(t *testing.T) {
	legs := formatted(t, 2)
	g := ondisk.NewGeometry(testData, testRegion, guard.None, 0)
	m := open(t, legs, Options{Manual: true})
	put(t, m, 3*testRegion, []byte("x")) // the third write of the block: slot 1
	m.Abandon()
	front, faults := faulty(legs)
	for _, f := range faults {
		f.Add(faultdev.Rule{On: faultdev.Read, Off: g.LogOff(), Len: BlockSize, Forever: true, Err: device.ErrIO})
	}
	var log bytes.Buffer
	m = open(t, front, logged(&log))
	if c := m.Status().Regions; c.MaybeDirty != 1 || strings.Contains(log.String(), "level=WARN") {
		t.Errorf("with the older slots on bad sectors: %+v, %s", c, &log)
	}
}
