// Package faultdev wraps a block device and makes its operations fail, wait or
// stop halfway, by rules.
//
// Fault model: an operation that fails does not reach the device beneath, or
// with Rule.Short only its first bytes do. The device itself stays sound:
// without rules, and after Heal, everything goes through. Flush is one
// operation like the others; that a failed flush may lose what was written is
// the business of package powercut.
//
// Lock order: Device.mu is held while rules are looked through, never while an
// operation waits or runs.
package faultdev

import (
	"sync"
	"time"

	"holdfast.dev/holdfast/device"
)

// Kind is a set of kinds of operations.
type Kind uint8

// The kinds. A vectored transfer counts once for each buffer.
const (
	Read Kind = 1 << iota
	Write
	Flush
	Discard
	Zero

	Any    = Read | Write | Flush | Discard | Zero
	Change = Write | Discard | Zero
)

// Rule says what happens to which operations. An operation is first held, then
// delayed, then failed, as far as the rule says so.
type Rule struct {
	// On is the kinds of operations that the rule is for.
	On Kind
	// Off and Len limit it to operations that touch the range, which a flush
	// never does. A Len of zero is no limit.
	Off, Len int64
	// Nth is which such operation it meets first, counted from 1, from when the
	// rule was added. Zero is 1.
	Nth int
	// Forever makes it meet all that follow as well.
	Forever bool

	// Hang holds the operation until Release or Heal.
	Hang bool
	// Delay holds it for so long.
	Delay time.Duration
	// Err fails it; nil lets it go through.
	Err error
	// Short lets so many of its first bytes through before Err.
	Short int64
}

// Armed is a rule that was added.
type Armed struct {
	rule Rule
	seen int // operations the rule is for; guarded by Device.mu

	once     sync.Once
	released chan struct{}
	reached  chan struct{} // one element for each operation met, as far as it holds them
}

// reachedMax is how many operations are told apart through Reached before
// somebody looks.
const reachedMax = 1024

// Device is a device with rules.
type Device struct {
	under device.Device

	mu    sync.Mutex
	rules []*Armed     // in the order added; guarded by mu
	count map[Kind]int // operations begun, of each kind; guarded by mu
}

// New returns a device without rules over under, which it closes with itself.
func New(under device.Device) *Device {
	return &Device{under: under, count: make(map[Kind]int)}
}

// Add adds a rule. Of the rules that meet an operation the oldest applies; the
// others count it as seen.
func (d *Device) Add(r Rule) *Armed {
	r.Nth = max(r.Nth, 1)
	a := &Armed{rule: r, released: make(chan struct{}), reached: make(chan struct{}, reachedMax)}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules = append(d.rules, a)
	return a
}

// Heal removes all rules and lets go on what they hold.
func (d *Device) Heal() {
	d.mu.Lock()
	rules := d.rules
	d.rules = nil
	d.mu.Unlock()
	for _, a := range rules {
		a.Release()
	}
}

// Count returns how many operations of the kinds were begun, failed ones
// included.
func (d *Device) Count(of Kind) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for k, c := range d.count {
		if k&of != 0 {
			n += c
		}
	}
	return n
}

// Release lets go on what the rule holds, and holds nothing after.
func (a *Armed) Release() { a.once.Do(func() { close(a.released) }) }

// Reached receives once for each operation that the rule met, before it is held
// or delayed.
func (a *Armed) Reached() <-chan struct{} { return a.reached }

// meet counts an operation and returns the rule that applies to it, or nil.
func (d *Device) meet(k Kind, off, n int64) *Armed {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count[k]++
	var hit *Armed
	for _, a := range d.rules {
		if !a.rule.covers(k, off, n) {
			continue
		}
		a.seen++
		if hit == nil && (a.seen == a.rule.Nth || a.seen > a.rule.Nth && a.rule.Forever) {
			hit = a
		}
	}
	return hit
}

func (r *Rule) covers(k Kind, off, n int64) bool {
	if r.On&k == 0 {
		return false
	}
	return r.Len == 0 || off < r.Off+r.Len && r.Off < off+n
}

// do runs an operation under the rules. run does its first n bytes.
func (d *Device) do(k Kind, off, n int64, run func(n int64) (int, error)) (int, error) {
	a := d.meet(k, off, n)
	if a == nil {
		return run(n)
	}
	select {
	case a.reached <- struct{}{}:
	default:
	}
	if a.rule.Hang {
		<-a.released
	}
	if a.rule.Delay > 0 {
		time.Sleep(a.rule.Delay)
	}
	if a.rule.Err == nil {
		return run(n)
	}
	done := 0
	if short := min(a.rule.Short, n); short > 0 {
		var err error
		if done, err = run(short); err != nil {
			return done, err
		}
	}
	return done, &device.OpError{Op: names[k], Name: "fault device", Off: off, Len: n, Err: a.rule.Err}
}

var names = map[Kind]string{Read: "read", Write: "write", Flush: "flush", Discard: "discard", Zero: "zero"}

// ReadAt reads len(p) bytes at off.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	return d.do(Read, off, int64(len(p)), func(n int64) (int, error) { return d.under.ReadAt(p[:n], off) })
}

// WriteAt writes p at off.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	return d.do(Write, off, int64(len(p)), func(n int64) (int, error) { return d.under.WriteAt(p[:n], off) })
}

// Flush flushes the device beneath.
func (d *Device) Flush() error {
	_, err := d.do(Flush, 0, 0, func(int64) (int, error) { return 0, d.under.Flush() })
	return err
}

// Discard discards the range.
func (d *Device) Discard(off, n int64) error {
	_, err := d.do(Discard, off, n, func(n int64) (int, error) { return 0, d.under.Discard(off, n) })
	return err
}

// WriteZeroes zeroes the range.
func (d *Device) WriteZeroes(off, n int64) error {
	_, err := d.do(Zero, off, n, func(n int64) (int, error) { return 0, d.under.WriteZeroes(off, n) })
	return err
}

// Extents lists the extents of the device beneath; no rule is for it.
func (d *Device) Extents(off, n int64, yield func(device.Extent) bool) error {
	return device.Extents(d.under, off, n, yield)
}

// Size is the size of the device beneath.
func (d *Device) Size() int64 { return d.under.Size() }

// Close closes the device beneath. What is held stays held: when it is let go
// it finds the device closed.
func (d *Device) Close() error { return d.under.Close() }

var _ device.Extenter = (*Device)(nil)
