package cache

import (
	"runtime"
	"sync/atomic"

	"holdfast.dev/holdfast/internal/seam"
)

// leafPages is how many words are allocated together: 512, so that a leaf is
// one 4 KiB page of words, and half a one of sums, for 2 MiB of volume.
const leafPages = 512

// leaf holds the words and the sums of leafPages neighbouring pages. Its memory follows what
// is cached, not the volume's size: it comes with the first page that is used
// and goes when reclaim has forgotten the last.
type leaf struct {
	words [leafPages]atomic.Uint64
	// sums has the CRC-32C of each page whose word says guarded. Whoever has
	// locked the page may look at it.
	sums [leafPages]uint32
	// queued counts the pages that the reclaim queues name. A leaf with any
	// stays.
	queued atomic.Int32
}

// directoryLeaves is how many leaves one directory lists: a GiB of volume, in one
// 4 KiB page of pointers. It stays once it has been made, and those of a volume of
// a TiB that is hardly used are neither made nor looked through by Go's collector.
const directoryLeaves = 512

type directory [directoryLeaves]atomic.Pointer[leaf]

// leaves finds a mapping's leaves.
type leaves []atomic.Pointer[directory]

func newLeaves(pages int64) leaves {
	const span = leafPages * directoryLeaves
	return make(leaves, (pages+span-1)/span)
}

// slot returns where the leaf of page n stands, or nil if its directory is not there.
func (d leaves) slot(n int64) *atomic.Pointer[leaf] {
	if dir := d[n/(leafPages*directoryLeaves)].Load(); dir != nil {
		return &dir[n/leafPages%directoryLeaves]
	}
	return nil
}

// at returns the leaf of page n, or nil if it is not there.
func (d leaves) at(n int64) *leaf {
	if slot := d.slot(n); slot != nil {
		return slot.Load()
	}
	return nil
}

// find returns the word of page n, or nil if its leaf is not there.
func (d leaves) find(n int64) *atomic.Uint64 {
	if l := d.at(n); l != nil {
		return &l.words[n%leafPages]
	}
	return nil
}

// make returns the word of page n and allocates its leaf if need be. A sealed
// word is waited for: release either takes its leaf out or unseals it at once.
func (d leaves) make(n int64) *atomic.Uint64 {
	slot := d.slot(n)
	if slot == nil {
		d[n/(leafPages*directoryLeaves)].CompareAndSwap(nil, new(directory))
		slot = d.slot(n)
	}
	for {
		l := slot.Load()
		if l == nil {
			l = new(leaf)
			if !slot.CompareAndSwap(nil, l) {
				continue
			}
		}
		w := &l.words[n%leafPages]
		if !word(w.Load()).has(sealed) {
			return w
		}
		seam.Point("cache.sealed", uint64(n))
		runtime.Gosched()
	}
}

// release gives the leaf that holds page n back if nothing in it is in use. It
// seals every word, which only succeeds from zero; whoever holds a pointer to a
// sealed word looks the page up afresh.
func (d leaves) release(n int64) {
	slot := d.slot(n)
	if slot == nil {
		return
	}
	l := slot.Load()
	if l == nil || l.queued.Load() != 0 {
		return
	}
	seam.Point("cache.seal", uint64(n))
	for i := range l.words {
		if !l.words[i].CompareAndSwap(0, uint64(sealed)) {
			for j := range i {
				l.words[j].Store(0)
			}
			return
		}
	}
	slot.CompareAndSwap(l, nil)
}
