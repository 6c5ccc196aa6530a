package ondisk

import (
	"encoding/binary"
	"hash/crc32"
	"unsafe"
)

// offCRC is where a block of metadata has its checksum, over all before it.
const offCRC = BlockSize - 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal puts the checksum on a block.
func seal(b []byte) {
	binary.LittleEndian.PutUint32(b[offCRC:], crc32.Checksum(b[:offCRC], castagnoli))
}

// sealed says whether a block has the right one.
func sealed(b []byte) bool {
	return binary.LittleEndian.Uint32(b[offCRC:]) == crc32.Checksum(b[:offCRC], castagnoli)
}

// AlignedBytes returns n bytes that start at a multiple of BlockSize, so that
// devices opened for direct I/O take them without a copy.
func AlignedBytes(n int) []byte {
	b := make([]byte, n+BlockSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (BlockSize - 1)
	return b[skip : skip+n : skip+n]
}
