package ondisk

import (
	"encoding/binary"
	"hash/crc32"
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
