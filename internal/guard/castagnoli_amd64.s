#include "textflag.h"

// FOLD moves a vector on by what the constants in K say, and adds what comes next.
// Halves of 64 bits are multiplied each by its own constant.
#define FOLD(K, V, T, NEXT) \
	VPCLMULQDQ $0x00, K, V, T; \
	VPCLMULQDQ $0x11, K, V, V; \
	VPTERNLOGQ $0x96, NEXT, T, V

// FOLD128 is the same for 128 bits.
#define FOLD128(K, V, T, NEXT) \
	VPCLMULQDQ $0x00, K, V, T; \
	VPCLMULQDQ $0x11, K, V, V; \
	VPXOR T, V, V; \
	VPXOR NEXT, V, V

// func fold(crc uint32, p *byte, n int, constants *[3][2]uint64) uint32
TEXT ·fold(SB), NOSPLIT, $0-36
	MOVL crc+0(FP), AX
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ constants+24(FP), DX

	VBROADCASTI32X4 (DX), Z16
	VMOVDQU64 (SI), Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQU64 128(SI), Z2
	VMOVDQU64 192(SI), Z3
	// The remainder so far is added to the first 32 bits.
	VMOVD AX, X4
	VPXORQ Z4, Z0, Z0

loop:
	ADDQ $256, SI
	SUBQ $256, CX
	JZ   last
	FOLD(Z16, Z0, Z5, (SI))
	FOLD(Z16, Z1, Z6, 64(SI))
	FOLD(Z16, Z2, Z7, 128(SI))
	FOLD(Z16, Z3, Z8, 192(SI))
	JMP  loop

last:
	VBROADCASTI32X4 16(DX), Z16
	FOLD(Z16, Z0, Z5, Z1)
	FOLD(Z16, Z0, Z5, Z2)
	FOLD(Z16, Z0, Z5, Z3)

	VMOVDQU 32(DX), X6
	VEXTRACTI32X4 $1, Z0, X1
	VEXTRACTI32X4 $2, Z0, X2
	VEXTRACTI32X4 $3, Z0, X3
	FOLD128(X6, X0, X5, X1)
	FOLD128(X6, X0, X5, X2)
	FOLD128(X6, X0, X5, X3)

	// The remainder of 128 bits.
	XORL    AX, AX
	VMOVQ   X0, R8
	VPEXTRQ $1, X0, R9
	CRC32Q  R8, AX
	CRC32Q  R9, AX
	VZEROUPPER
	MOVL    AX, ret+32(FP)
	RET
