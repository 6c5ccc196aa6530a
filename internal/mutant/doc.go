// Package mutant switches old mistakes back on, so that the explorer can show that
// it finds them.
//
// A mutant is a place in the code where, in builds with the tag explore and only
// while it is switched on, something is done as somebody once did it, in Linux or
// here. Ordinary builds have no switch: On is false there, and the compiler leaves
// the mistake out.
package mutant

// ID names a mutant.
type ID uint8
