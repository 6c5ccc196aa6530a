//go:build !amd64

package guard

import "hash/crc32"

// castagnoliUpdate is the CRC-32C of p, going on from that of what came before: package
// hash/crc32 uses the instruction that arm64 has for it.
func castagnoliUpdate(crc uint32, p []byte) uint32 { return crc32.Update(crc, castagnoli, p) }
