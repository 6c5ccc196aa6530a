// Package powercut simulates disks that lose their power: what was not flushed
// may be gone, in part or whole, in any order.
//
// Fault model, for each disk on its own:
//
//  1. Each 512-byte sector survives a cut as its durable version or as any
//     version written since: sectors of one write, and writes of one sector,
//     are kept or lost independently.
//  2. A flush that returned nil makes the versions durable that were complete
//     when it was issued. A write in flight beside the flush is not covered,
//     even if it completes first.
//  3. A write in flight at the cut may have reached any of its sectors. A flush
//     in flight at the cut makes nothing durable.
//  4. A discard or a zeroing is a write of zeros. A write of part of a sector is
//     one of the whole sector, as it reads afterwards.
//  5. Sectors are never torn inside, and what is durable never rots.
//
// Versions of a sector are in the order in which their writes completed. Reads
// see the newest. Every operation ends with ErrPowerLost from the cut on; what
// survives is taken from there on to fresh disks, by Survivors one state at a
// time, chosen by a seed, or by Enumerate all of them while they are few.
//
// Between the issue and the completion of an operation lies a seam.Point, so
// that a scheduler can put anything in between; and one before a read.
//
// Lock: the Supply's mutex guards all its disks, so that a cut is one moment for
// all of them. It is never held across a seam.Point.
package powercut

import (
	"fmt"
	"sync"

	"holdfast.dev/holdfast/device"
)

// ErrPowerLost is what the operation that the cut fell into, and every one
// after it, fails with.
var ErrPowerLost = fmt.Errorf("the power was cut: %w", device.ErrIO)

// Supply is the power that several disks share. The zero Supply is on and has
// no disks.
type Supply struct {
	mu sync.Mutex
	// All below is guarded by mu.
	disks []*Disk
	ops   int
	cutAt int // the operation that the power fails in, as ops counts; 0: none
	lost  bool
}

// NewDisk adds a disk of size bytes, all zeros, to the supply.
func (s *Supply) NewDisk(name string, size int64) *Disk {
	return s.add(name, size, newStore())
}

// add adds a disk with the given durable content, which it takes over.
func (s *Supply) add(name string, size int64, durable *store) *Disk {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &Disk{name: name, size: size, supply: s, durable: durable, view: durable.clone()}
	s.disks = append(s.disks, d)
	return d
}

// Disks returns the supply's disks in the order in which they were added.
func (s *Supply) Disks() []*Disk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Disk(nil), s.disks...)
}

// Ops returns how many operations were begun on all disks. Reads are not
// counted, nor are operations on no bytes: a cut at one of them leaves what a
// cut at the next leaves.
func (s *Supply) Ops() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ops
}

// CutAfter cuts the power in the n-th operation from here on, as Ops counts
// them: that one may be done in part, and it and all later ones fail. With n
// below one the power goes at once.
func (s *Supply) CutAfter(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutAt = s.ops + n
	s.lost = s.lost || n < 1
}

// Cut cuts the power.
func (s *Supply) Cut() { s.CutAfter(0) }

// Lost says whether the power was cut.
func (s *Supply) Lost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// begun counts an operation and says whether the power holds until its end, as
// far as can be told at its issue. Requires s.mu.
func (s *Supply) begun() error {
	s.ops++
	if s.ops == s.cutAt {
		s.lost = true
	}
	return s.power()
}

// power returns ErrPowerLost after the cut. Requires s.mu.
func (s *Supply) power() error {
	if s.lost {
		return ErrPowerLost
	}
	return nil
}
