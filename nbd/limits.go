package nbd

import "time"

// A connection holds at most: inputSize, two batches of batchSize, buffers for
// maxInflightBytes, each rounded up to a power of two and a page besides, and one
// request record for each of maxInflight. That is about 68 MiB for a client that
// does its worst and 1.5 MiB for one that is idle.
const (
	// MaxPayload is the longest READ or WRITE in bytes. Clients that were not
	// told sizes may send this much, and must not be cut off for it.
	MaxPayload = 32 << 20

	// preferredBlock is the page size of what lies behind the exports.
	preferredBlock = 4096

	// maxDiscard is the longest payload of a refused WRITE that is read and
	// thrown away to stay in step. No client library known sends more than this
	// in one request; beyond it the connection ends.
	maxDiscard = 64 << 20

	// maxString is the protocol's limit on names, queries and messages.
	maxString = 4096

	// maxOption is the longest option that is looked at: a name, and some tens
	// of information requests or metadata queries of full length.
	maxOption = 256 << 10

	// maxOptionDiscard is the longest option that is thrown away to stay in
	// step. Nobody has a reason to send more before the handshake is over.
	maxOptionDiscard = 1 << 20

	// handshakeInput is the input buffer before transmission: what a client
	// costs that connects and says nothing.
	handshakeInput = 4 << 10

	// inputSize is the input buffer in transmission. One read takes in what the
	// socket holds; 1 MiB is more than the default socket buffers, and keeps the
	// share of requests that must be moved to the front of it small.
	inputSize = 1 << 20

	// batchSize is when gathered replies are written although more requests
	// wait. It exceeds a depth of 32 with 4 KiB each, and stays within the
	// processor's second-level cache.
	batchSize = 256 << 10

	// maxInflight is how many requests of one connection may wait at once; the
	// reader stops at more. Clients use up to 128.
	maxInflight = 256

	// maxInflightBytes is how many bytes those requests may hold in buffers: one
	// request of MaxPayload, or 128 of nbdcopy's 256 KiB.
	maxInflightBytes = MaxPayload

	// maxWorkers is how many of them are worked on at once: above it, disks no
	// longer gain from depth.
	maxWorkers = 64

	// maxShort is the longest read that is done together with others, at most
	// maxTogether of them: each is sent when all are done, so they should take
	// about as long, and as many fit one call of a disk. Nor is the export asked for
	// holes first, which would take as long as the read.
	maxShort    = 16 << 10
	maxTogether = 16

	// maxReading is how many workers have short reads. What comes while all do is
	// gathered, and done together: so a disk has enough to do, and each call of it
	// many reads, the more the less the processor keeps up.
	maxReading = 4

	// maxGather is how many replies one write takes.
	maxGather = 64

	// maxStatusExtents is how many extents one BLOCK_STATUS reply lists. Clients
	// ask on from where the answer ends.
	maxStatusExtents = 4096

	// maxReadChunks is how many chunks a structured READ is split into; what
	// remains is sent as data.
	maxReadChunks = 64

	// minHole is the shortest hole in bytes that gets a chunk of its own: below
	// it, the chunks cost the client more than the zeros.
	minHole = 4096

	// DefaultMaxConns is how many connections a server has at once, if Options
	// does not say. It leaves room for several clients with 16 each.
	DefaultMaxConns = 128

	// DefaultHandshakeTimeout is how long a client may take until transmission
	// begins, if Options does not say.
	DefaultHandshakeTimeout = 10 * time.Second

	// DefaultDrainTimeout is how long Shutdown waits for clients to take their
	// last replies, if Options does not say.
	DefaultDrainTimeout = 5 * time.Second
)
