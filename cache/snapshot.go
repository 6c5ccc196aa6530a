package cache

import "bytes"

// snapshotCount is how many snapshots there are at once. Their 4 MiB come beside the
// budget, for a write-out that had to wait for room that only write-outs make would
// wait for ever. A snapshot is a copy of frames that others than the cache can change
// at any moment: the holder of a pin, or a process that has the memory mapped. It is
// what is written, to all legs, so nobody can make them differ. Who has one waits for
// nothing but the backing.
const snapshotCount = 16

// changedUnannounced says whether the frame of a page that was written from a
// snapshot is no longer what was written, although nobody has said that he would
// change it since: somebody wrote to the memory behind the cache's back. It is
// counted, as his doing and nobody else's, unless those who have the page mapped
// need not say so; either way the page is dirty again. Requires
// the page locked and w its word.
func (r *run) changedUnannounced(pg *page, w word) bool {
	if !r.m.exposed.Load() || w.dirty() != 0 || w.pinnedToWrite() || r.mask != 0 {
		return false
	}
	at := (pg.n - r.n) * PageSize
	if bytes.Equal(r.bytes()[at:at+PageSize], r.m.arena.frames(pg.n, 1)) {
		return false
	}
	if w.has(amapped) {
		// Most likely a store that need not be announced, and has yet to be found.
		return true
	}
	r.m.c.counters.unannounced.Add(1)
	r.m.tell(pg.n)
	return true
}
