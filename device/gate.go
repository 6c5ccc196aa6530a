package device

import "sync/atomic"

// gateShut is the bit of a gate's word that says it was closed; the bits below
// it count the calls inside.
const gateShut = 1 << 62

// gate lets calls in until it is closed, and tells the closer when the last of
// them has left. Without it a descriptor could be closed, and its number reused
// by another file, under a running call.
type gate struct {
	word atomic.Int64
	last chan struct{} // closed when the last call leaves a closed gate
}

func newGate() gate { return gate{last: make(chan struct{})} }

// enter lets a call in; each success is followed by one leave.
func (g *gate) enter() error {
	for {
		w := g.word.Load()
		if w&gateShut != 0 {
			return ErrClosed
		}
		if g.word.CompareAndSwap(w, w+1) {
			return nil
		}
	}
}

// leave ends a call. Nobody enters a closed gate, so its count reaches zero
// once.
func (g *gate) leave() {
	if g.word.Add(-1) == gateShut {
		close(g.last)
	}
}

// shut closes the gate and waits for the calls inside to leave. A second shut
// fails with ErrClosed.
func (g *gate) shut() error {
	for {
		w := g.word.Load()
		if w&gateShut != 0 {
			return ErrClosed
		}
		if !g.word.CompareAndSwap(w, w|gateShut) {
			continue
		}
		if w != 0 {
			<-g.last
		}
		return nil
	}
}
