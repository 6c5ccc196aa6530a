// Package programs runs what broke other page caches against Holdfast: programs
// that map a volume into their memory and use it as files were used when Linux,
// ext4 or btrfs lost bytes of theirs. Its tests start real processes that have a
// volume of a real pool mapped, with a cache that is far too small, a flusher and
// a region log that are always at work; and when a program is done they compare
// the legs.
//
// The package itself is empty.
package programs
