// Package seam is the one place where Holdfast's concurrent code waits, wakes,
// starts goroutines, reads the clock, and marks the steps whose order matters.
//
// The packages cache, mirror and volume use seam's Mutex, Cond, Group, Alarm,
// Go, Point and Now, and never sync, channels, go statements or package time
// for those purposes. In ordinary builds every name here is an alias of the
// standard library's or an empty function that the compiler removes: the seam
// costs nothing. Built with the tag explore, each of them reduces to four
// operations of an installed Scheduler (start, step, park, wake), which can
// then run the real code one step at a time and choose every interleaving.
package seam
