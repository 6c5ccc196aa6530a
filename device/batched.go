package device

// Part is bytes and where they go.
type Part struct {
	P   []byte
	Off int64
	// Sums has the CRC-32C of each block, if P is whole blocks of 4096 bytes at a
	// multiple of that and they are known; otherwise it is nil.
	Sums []uint32
}

// Batched is implemented by devices that can make small scattered writes which
// are about to be flushed cheaper by doing them together.
type Batched interface {
	// WriteBatch writes the first parts, as many as it has something to gain by,
	// and returns how many; the others the caller writes otherwise. The parts do
	// not overlap. After an error the parts from the n-th on may have been written
	// in part, and what is true of WriteAt or WriteGuarded is true of them.
	WriteBatch(parts []Part) (n int, err error)
	// SyncBatch is WriteBatch, and if that takes all parts it may be Flush as well,
	// where the two together take fewer turns than one after the other: then synced is
	// true. Otherwise the caller flushes, who is told there of what went wrong.
	SyncBatch(parts []Part) (n int, synced bool, err error)
}
