package attach

import "sync/atomic"

// blockPages is how many pages one bit of blocks stands for: what one page
// table maps, so that taking write access away makes none that is not there.
const blockPages = 512

// blocks remembers in which parts of a window stores were ever allowed.
type blocks []atomic.Uint64

func newBlocks(pages int64) blocks {
	return make(blocks, (pages/blockPages+64)/64)
}

func (b blocks) mark(first, count int64) {
	for i := first / blockPages; i <= (first+count-1)/blockPages; i++ {
		if bit := uint64(1) << (i % 64); b[i/64].Load()&bit == 0 {
			b[i/64].Or(bit)
		}
	}
}

func (b blocks) has(i int64) bool { return b[i/64].Load()&(1<<(i%64)) != 0 }

// each calls f with the parts of [first, end) in which stores were allowed,
// ascending, neighbours as one.
func (b blocks) each(first, end int64, f func(first, count int64)) {
	for n := first; n < end; {
		if !b.has(n / blockPages) {
			n = (n/blockPages + 1) * blockPages
			continue
		}
		from := n
		for n < end && b.has(n/blockPages) {
			n = (n/blockPages + 1) * blockPages
		}
		f(from, min(n, end)-from)
	}
}
