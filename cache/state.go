package cache

import (
	"fmt"
	"math/bits"
	"strings"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/mutant"
)

// PageSize is the unit of caching, in bytes.
const PageSize = 4096

const (
	sectorsPerPage = PageSize / device.SectorSize
	allSectors     = 1<<sectorsPerPage - 1
)

// word is the whole state of one page. A page's word changes only through the
// functions in page.go, and all of it but readers, freq and waiters only by
// whoever holds the page's lock; amapped is set, and guarded cleared, also by a
// reader as he enters, and read pins come and go while nobody holds it.
//
//	bit    0  locked     one task owns the page
//	bit    1  waiters    somebody sleeps until the word changes
//	bit    2  present    the frame exists and is charged to the budget
//	bit    3  writeback  the frame is being written to the backing
//	bit    4  reserved   the owner has agreed to the page being dirty
//	bit    5  shadow     what was written during write-out waits in a shadow
//	bit    6  failed     the last write-out failed
//	bit    7  ahead      a reader that comes here triggers read-ahead
//	bit    8  queued     an entry of the reclaim queues names the page
//	bits  9-10  freq     how often it was used lately, up to 3
//	bit   11  snapped    the write-out is from a snapshot: the frame may change
//	bit   12  held       dirty for its holder alone, without the DIRTY tag
//	bit   13  wmapped    mapped writable in another address space
//	bit   14  amapped    mapped where stores are not announced, since it is present
//	bit   15  guarded    the page's sum is known: see guard.go
//	bits 16-23  dirty    a bit for each 512-byte sector
//	bits 24-31  valid    a bit for each 512-byte sector
//	bits 32-47  readers  how many tasks copy from the page at this moment
//	bits 48-54  wpins    how many write pins there are
//	bits 55-61  rpins    how many read pins there are
//	bit   62  damaged    the page does not fit its sum: nobody may read it
//	bit   63  sealed     the leaf that holds the word is being given back
//
// No bit is spare.
//
// Who makes which transition, always with the page locked:
//
//	from              to                        function
//	absent            present                   install (fill.go), writePage (write.go)
//	invalid sectors   valid                     finishFill, mergeFill (fill.go), writePage
//	clean             dirty, reserved           writePage
//	dirty             writeback                 claim (claim.go)
//	writeback         clean                     complete (claim.go)
//	writeback         dirty, failed             complete, when the write failed
//	writeback         dirty, failed, damaged    complete, when the page does not fit its sum
//	damaged           sound                     overwrite (guard.go), zeroPinned
//	any               guarded, and back         overwrite, finishFill, completePage, claim
//	guarded           not guarded               Handle.Pin to write, WriteFault
//	clean             dirty                     redirty (flush.go), when a flush failed
//	writeback         writeback, shadow, dirty  writePage, policy copy
//	writeback, shadow dirty                     complete
//	writeback, snapped writeback, dirty         writePage
//	clean             dirty, held               Hold.writePage (hold.go)
//	held              dirty                     Hold.Release
//	any               dirty, wmapped            Attachment.WriteFault (attach.go)
//	dirty, wmapped    writeback                 claim, after the mappers' Protect
//	pinned, wmapped   writeback, wmapped        claim, without it
//	any               amapped, not guarded      Attachment.ReadFault, WriteFault
//	amapped           dirty                     soil (async.go), after a Collect
//	any               pinned, and back          Handle.Pin, Pin.Release (pin.go)
//	pinned            dirty, pinned to write    zeroPinned (drop.go), until zeroAgain
//	clean             absent                    evict (reclaim.go)
//	any but writeback absent                    drop (drop.go)
type word uint64

const (
	locked    word = 1 << 0
	waiters   word = 1 << 1
	present   word = 1 << 2
	writeback word = 1 << 3
	reserved  word = 1 << 4
	shadow    word = 1 << 5
	failed    word = 1 << 6
	ahead     word = 1 << 7
	queued    word = 1 << 8
	freqOne   word = 1 << 9
	freqMask  word = 3 << 9
	snapped   word = 1 << 11
	held      word = 1 << 12
	wmapped   word = 1 << 13
	amapped   word = 1 << 14
	guarded   word = 1 << 15
	readerOne word = 1 << 32
	wpinOne   word = 1 << 48
	rpinOne   word = 1 << 55
	damaged   word = 1 << 62
	sealed    word = 1 << 63

	dirtyShift        = 16
	validShift        = 24
	dirtyMask    word = allSectors << dirtyShift
	validMask    word = allSectors << validShift
	readersMask  word = 0xffff << 32
	wpinsMask    word = maxPins << 48
	rpinsMask    word = maxPins << 55
	pinsMask          = wpinsMask | rpinsMask
	contentsMask      = present | reserved | shadow | failed | ahead | freqMask | wmapped | amapped | guarded | damaged | dirtyMask | validMask
)

func (w word) has(f word) bool     { return w&f != 0 }
func (w word) dirty() uint8        { return uint8(w >> dirtyShift) }
func (w word) valid() uint8        { return uint8(w >> validShift) }
func (w word) readers() int        { return int(w & readersMask >> 32) }
func (w word) freq() int           { return int(w & freqMask >> 9) }
func (w word) pinnedToWrite() bool { return w.has(wpinsMask) && !mutant.On(mutant.PinWrittenFromFrame) }

// needsOwner says whether the page is, or may at any moment become, something
// that has to be written out.
func (w word) needsOwner() bool { return w.dirty() != 0 || w.has(writeback|wpinsMask) }

func dirtyBits(mask uint8) word { return word(mask) << dirtyShift }
func validBits(mask uint8) word { return word(mask) << validShift }

// touched is w with its frequency one higher, up to the highest.
func (w word) touched() word {
	if w&freqMask == freqMask {
		return w
	}
	return w + freqOne
}

// sectorMask is the mask of the sectors that [a, b) of a page touches.
func sectorMask(a, b int) uint8 {
	first, last := a/device.SectorSize, (b-1)/device.SectorSize
	return uint8(allSectors>>(sectorsPerPage-1-last+first)) << first
}

// partialSectors is the mask of the sectors that [a, b) of a page covers only
// in part.
func partialSectors(a, b int) uint8 {
	var m uint8
	if a%device.SectorSize != 0 {
		m |= 1 << (a / device.SectorSize)
	}
	if b%device.SectorSize != 0 {
		m |= 1 << (b / device.SectorSize)
	}
	return m
}

// checkWord asserts what must hold of every page that nobody has locked.
func checkWord(n int64, w word) {
	if !invariants.Enabled {
		return
	}
	ok := func(c bool, what string) {
		if !c {
			invariants.Check(false, "cache: page %d: %s: %v", n, what, w)
		}
	}
	ok(w.dirty()&^w.valid() == 0, "a dirty sector is not valid")
	ok(w.valid() == 0 || w.has(present), "a valid sector without a frame")
	ok(!w.has(present) || w.has(queued), "present, but reclaim does not know it")
	ok(!w.has(writeback) || w.has(present), "written out without a frame")
	ok(!w.has(shadow) || w.has(writeback) && w.dirty() != 0, "a shadow without write-out")
	ok(!w.has(failed) || w.dirty() != 0 || w.has(writeback), "failed, but clean")
	ok(w.has(reserved) == w.needsOwner(), "the owner's consent does not fit")
	ok(!w.has(snapped) || w.has(writeback), "snapped, but not written out")
	ok(!w.has(shadow) || !w.has(pinsMask), "pinned, with a shadow")
	ok(!w.has(pinsMask|wmapped|amapped) || w.valid() == allSectors, "pinned or mapped, but not wholly valid")
	ok(!w.has(wmapped) || w.dirty() == allSectors || w.pinnedToWrite(), "mapped writable, but not dirty")
	ok(!w.has(guarded) || w.valid() == allSectors && !w.has(wmapped|amapped|wpinsMask), "guarded, and in other hands or not wholly valid")
	ok(!w.has(damaged) || w.has(guarded) && w.has(failed), "damaged, but not by its guard")
	ok(!w.has(held) || w.dirty() != 0 && !w.has(writeback|wmapped|wpinsMask), "held, and in other hands")
}

func (w word) String() string {
	var s []string
	for _, f := range []struct {
		bit  word
		name string
	}{{locked, "locked"}, {waiters, "waiters"}, {present, "present"}, {writeback, "writeback"},
		{reserved, "reserved"}, {shadow, "shadow"}, {failed, "failed"}, {ahead, "ahead"},
		{queued, "queued"}, {snapped, "snapped"}, {held, "held"}, {wmapped, "wmapped"}, {amapped, "amapped"},
		{guarded, "guarded"}, {damaged, "damaged"}, {sealed, "sealed"}} {
		if w.has(f.bit) {
			s = append(s, f.name)
		}
	}
	return fmt.Sprintf("{%s dirty=%08b valid=%08b readers=%d pins=%d+%d freq=%d}", strings.Join(s, " "),
		bits.Reverse8(w.dirty()), bits.Reverse8(w.valid()), w.readers(), w&wpinsMask/wpinOne, w&rpinsMask/rpinOne, w.freq())
}
