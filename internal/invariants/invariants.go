// Package invariants checks, in builds with the tag invariants, what must hold
// whatever happens.
//
// A check guarded by
//
//	if invariants.Enabled { ... }
//
// is removed by the compiler in builds without the tag. Only a defect of
// Holdfast itself may fail one: bad input, a failing device or a lying client
// is an error, never a failed invariant.
package invariants

import "fmt"

// Check panics with the formatted message if invariants are checked and ok is
// false. Where building the arguments costs something, guard the call with
// Enabled.
func Check(ok bool, format string, args ...any) {
	if Enabled && !ok {
		panic("invariant violated: " + fmt.Sprintf(format, args...))
	}
}
