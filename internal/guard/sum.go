// Package guard computes the checksums that tell whether a block is what was
// written, and lays out what is stored of them beside the block.
//
// It is arithmetic: it keeps no state and does no I/O. Two things are kept
// apart. A sum is the CRC-32C of a whole block in memory: it travels with the
// bytes from where they are copied in, and Replace keeps it up while parts of
// the block are overwritten. A tuple is what a leg stores for a block, of the
// kind that the pool was created with, bound to the block's number.
//
// # Invariants
//
//  1. Replace gives what Sum would give of the block after the change, without
//     reading the rest of it: a bit that flipped there still does not fit.
//  2. A tuple that Make made holds for its block and data. For other data it
//     fails unless the checksums collide: a single burst of errors no longer than
//     the checksum is always found.
//  3. A tuple moved to another block fails there: crc32c for certain where the
//     numbers differ in their low 32 bits alone, t10-dif wherever those differ.
//     crc32c is bound to the pool as well.
//  4. The zero tuple says that nothing is known. Make never makes it.
//
// # Fault model
//
// A tuple read from a leg may be anything. One that Make cannot have made holds
// for nothing, and counts as older than any that it can.
//
// # Sources
//
// CRC-32C is Castagnoli's polynomial (IEEE Trans. Comm. 41, 1993), computed by
// hash/crc32 with the processor's instruction, or twice as fast by folding where the
// processor has AVX-512 (castagnoli_amd64.go). The t10-dif tuple is the
// protection information of T10 SBC-4. Versions are compared as RFC 1982
// compares serial numbers. Tables for several bytes at a step are Kounavis and
// Berry's (ISCC 2005).
package guard

import "hash/crc32"

// BlockSize is the length of what a sum and a tuple cover, in bytes.
const BlockSize = 4096

// ZeroSum is the sum of a block of zeros.
const ZeroSum uint32 = 0x98F94189

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sum is the CRC-32C of a block, or of a part that is to be exchanged.
func Sum(block []byte) uint32 { return castagnoliUpdate(0, block) }

// Replace returns the sum of a block of which old, at off, became new. The two
// are equally long, and end within the block.
func Replace(sum uint32, off int, old, new []byte) uint32 {
	return Exchange(sum, off, len(new), Sum(old), Sum(new))
}

// Exchange is Replace for who has the sums of the n bytes before and after, taken
// as if they were a block, and not the bytes.
//
// The sums of two blocks differ by the remainder of their difference, which is
// zero beside the change: the remainder of the change, times x to the number of
// bits that follow it.
func Exchange(sum uint32, off, n int, before, after uint32) uint32 {
	return sum ^ multiply(before^after, bytePowers[BlockSize-off-n])
}

// bytePowers[k] is x to the power 8k modulo the polynomial: what k bytes that
// follow multiply a remainder by.
var bytePowers = func() (p [BlockSize + 1]uint32) {
	p[0] = 1 << 31 // the remainder 1: the highest power of x is the lowest bit
	for k := 1; k < len(p); k++ {
		p[k] = castagnoli[byte(p[k-1])] ^ p[k-1]>>8
	}
	return p
}()

// multiply returns a times b modulo the polynomial. It has no branch that
// depends on the bits, which are as good as random.
func multiply(a, b uint32) uint32 {
	var product uint32
	for range 32 {
		product = product>>1 ^ crc32.Castagnoli&-(product&1) ^ b&-(a&1)
		a >>= 1
	}
	return product
}
