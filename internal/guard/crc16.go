package guard

import "encoding/binary"

// difPolynomial is that of the T10 guard tag: x^16 + x^15 + x^11 + x^9 + x^8 +
// x^7 + x^5 + x^4 + x^2 + x + 1.
const difPolynomial = 0x8BB7

// difStep is how many bytes crc16 takes at a time: 16, so that its tables are 8
// KiB and leave most of a first-level cache to the data.
const difStep = 16

// difTables[k][b] is the remainder of the byte b with k bytes of zeros after it.
var difTables = func() (t [difStep][256]uint16) {
	for b := range t[0] {
		r := uint16(b) << 8
		for range 8 {
			r = r<<1 ^ difPolynomial&-(r>>15)
		}
		t[0][b] = r
	}
	for k := 1; k < difStep; k++ {
		for b, r := range t[k-1] {
			t[k][b] = r<<8 ^ t[0][r>>8]
		}
	}
	return t
}()

// crc16 is the CRC-16/T10-DIF of data.
func crc16(data []byte) uint16 {
	var r uint16
	t := &difTables
	for ; len(data) >= difStep; data = data[difStep:] {
		hi := binary.BigEndian.Uint64(data) ^ uint64(r)<<48
		lo := binary.BigEndian.Uint64(data[8:])
		r = t[15][hi>>56] ^ t[14][byte(hi>>48)] ^ t[13][byte(hi>>40)] ^ t[12][byte(hi>>32)] ^
			t[11][byte(hi>>24)] ^ t[10][byte(hi>>16)] ^ t[9][byte(hi>>8)] ^ t[8][byte(hi)] ^
			t[7][lo>>56] ^ t[6][byte(lo>>48)] ^ t[5][byte(lo>>40)] ^ t[4][byte(lo>>32)] ^
			t[3][byte(lo>>24)] ^ t[2][byte(lo>>16)] ^ t[1][byte(lo>>8)] ^ t[0][byte(lo)]
	}
	for _, b := range data {
		r = r<<8 ^ t[0][byte(r>>8)^b]
	}
	return r
}
