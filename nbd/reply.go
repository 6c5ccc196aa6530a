package nbd

import (
	"encoding/binary"

	"holdfast.dev/holdfast/internal/invariants"
)

// The put functions write one message to the start of p and return its length.
// Only headers are written: the data of a READ is already behind them.

func putSimple(p []byte, code uint32, cookie uint64) int {
	binary.BigEndian.PutUint32(p, magicSimple)
	binary.BigEndian.PutUint32(p[4:], code)
	binary.BigEndian.PutUint64(p[8:], cookie)
	return simpleHeaderSize
}

func putChunk(p []byte, flags, typ uint16, cookie uint64, length int) int {
	binary.BigEndian.PutUint32(p, magicStructured)
	binary.BigEndian.PutUint16(p[4:], flags)
	binary.BigEndian.PutUint16(p[6:], typ)
	binary.BigEndian.PutUint64(p[8:], cookie)
	binary.BigEndian.PutUint32(p[16:], uint32(length))
	return chunkHeaderSize
}

func putData(p []byte, flags uint16, cookie, off uint64, n int) int {
	putChunk(p, flags, chunkData, cookie, 8+n)
	binary.BigEndian.PutUint64(p[chunkHeaderSize:], off)
	return dataHeaderSize
}

func putHole(p []byte, flags uint16, cookie, off uint64, n int) int {
	putChunk(p, flags, chunkHole, cookie, 8+4)
	binary.BigEndian.PutUint64(p[chunkHeaderSize:], off)
	binary.BigEndian.PutUint32(p[chunkHeaderSize+8:], uint32(n))
	return holeChunkSize
}

func putError(p []byte, cookie uint64, why *refusal) int {
	n := errorHeaderSize + len(why.text)
	putChunk(p, chunkDone, chunkError, cookie, n-chunkHeaderSize)
	putReason(p, why)
	return n
}

func putErrorOffset(p []byte, cookie, off uint64, why *refusal) int {
	n := errorHeaderSize + len(why.text)
	putChunk(p, chunkDone, chunkErrorOffset, cookie, n+8-chunkHeaderSize)
	putReason(p, why)
	binary.BigEndian.PutUint64(p[n:], off)
	return n + 8
}

func putReason(p []byte, why *refusal) {
	binary.BigEndian.PutUint32(p[chunkHeaderSize:], why.code)
	binary.BigEndian.PutUint16(p[chunkHeaderSize+4:], uint16(len(why.text)))
	copy(p[errorHeaderSize:], why.text)
}

// putRefusal writes the reply to a command that was not done.
func (c *conn) putRefusal(p []byte, cookie uint64, why *refusal) int {
	c.count.errors.Add(1)
	if c.structured {
		return putError(p, cookie, why)
	}
	return putSimple(p, why.code, cookie)
}

// putDone writes the reply, without data, to a command that was done. Only READ
// must be answered by a chunk then; for the others a simple reply is shorter.
func (c *conn) putDone(p []byte, cmd *command) int {
	if c.structured && cmd.typ == cmdRead {
		return putChunk(p, chunkDone, chunkNone, cmd.cookie, 0)
	}
	return putSimple(p, nbdOK, cmd.cookie)
}

// readHeaderSize is the size of what precedes the data of a READ that is
// answered in one piece.
func (c *conn) readHeaderSize() int {
	if c.structured {
		return dataHeaderSize
	}
	return simpleHeaderSize
}

// putReadHeader writes what precedes the data of a READ, all of which was read.
func (c *conn) putReadHeader(p []byte, cmd *command) {
	n := 0
	if c.structured {
		n = putData(p, chunkDone, cmd.cookie, cmd.off, int(cmd.length))
	} else {
		n = putSimple(p, nbdOK, cmd.cookie)
	}
	if invariants.Enabled {
		invariants.Check(n == c.readHeaderSize(), "nbd: header of %d bytes before READ data", n)
	}
}
