package guard

import (
	"hash/crc32"

	"golang.org/x/sys/cpu"
)

// folds says that the processor multiplies polynomials 512 bits at a time.
var folds = cpu.X86.HasAVX512F && cpu.X86.HasAVX512VPCLMULQDQ && cpu.X86.HasSSE42

const (
	// foldBytes is what one round of fold takes.
	foldBytes = 256
	// foldLeast is where folding is faster than what package hash/crc32 does.
	foldLeast = 2 * foldBytes
)

// foldConstants are what 128 bits are multiplied by that are moved on by 2048, 512 and
// 128 bits: the remainders of x^(d+32) and x^(d-32), for their halves.
var foldConstants = [3][2]uint64{
	{xPower(2048 + 32), xPower(2048 - 32)},
	{xPower(512 + 32), xPower(512 - 32)},
	{xPower(128 + 32), xPower(128 - 32)},
}

// xPower is x^n modulo the polynomial, as fold wants it: with its bits in the reverse
// order, as all remainders of a CRC-32C are kept, and shifted left by one, for a product of
// reversed numbers comes out one place too far right.
func xPower(n int) uint64 {
	const one = 1 << 31
	r := uint32(one)
	for range n {
		r = r>>1 ^ crc32.Castagnoli&-(r&1)
	}
	return uint64(r) << 1
}

// fold continues the remainder of a CRC-32C, not inverted, over n bytes, a multiple of
// foldBytes. Four vectors of 512 bits are each multiplied on over what the others hold
// and added to what comes next; at the end they are added up in the same way to 128
// bits, whose remainder is that of all. (Gopal and others, Fast CRC Computation for
// Generic Polynomials Using PCLMULQDQ Instruction, Intel, 2009.)
//
//go:noescape
func fold(crc uint32, p *byte, n int, constants *[3][2]uint64) uint32

// castagnoliUpdate is the CRC-32C of p, going on from that of what came before.
func castagnoliUpdate(crc uint32, p []byte) uint32 {
	if !folds || len(p) < foldLeast {
		return crc32.Update(crc, castagnoli, p)
	}
	n := len(p) &^ (foldBytes - 1)
	crc = ^fold(^crc, &p[0], n, &foldConstants)
	return crc32.Update(crc, castagnoli, p[n:])
}
