package nbd

// Magic numbers of the handshake and the transmission.
const (
	magicServer     = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption     = 0x49484156454f5054 // "IHAVEOPT"
	magicOptReply   = 0x0003e889045565a9
	magicRequest    = 0x25609513
	magicSimple     = 0x67446698
	magicStructured = 0x668e33ef
)

// Sizes of fixed parts, in bytes.
const (
	optionHeaderSize   = 16
	optReplyHeaderSize = 20
	requestHeaderSize  = 28
	simpleHeaderSize   = 16
	chunkHeaderSize    = 20
	dataHeaderSize     = chunkHeaderSize + 8     // with the offset that precedes the data
	holeChunkSize      = chunkHeaderSize + 8 + 4 // offset, length
	errorHeaderSize    = chunkHeaderSize + 4 + 2 // error, message length
	exportNamePadding  = 124                     // zeros after EXPORT_NAME's answer, unless NO_ZEROES
)

// Handshake flags; the client's answer uses the same bits.
const (
	handshakeFixedNewstyle = 1 << 0
	handshakeNoZeroes      = 1 << 1
)

// Transmission flags.
const (
	flagHasFlags     = 1 << 0
	flagReadOnly     = 1 << 1
	flagSendFlush    = 1 << 2
	flagSendFUA      = 1 << 3
	flagSendTrim     = 1 << 5
	flagSendZeroes   = 1 << 6
	flagSendDF       = 1 << 7
	flagCanMultiConn = 1 << 8
	flagSendCache    = 1 << 10
	flagSendFastZero = 1 << 11
)

// Options.
const (
	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optStartTLS        = 5
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMeta        = 9
	optSetMeta         = 10
	optExtendedHeaders = 11
)

// Replies to options.
const (
	repAck         = 1
	repServer      = 2
	repInfo        = 3
	repMetaContext = 4

	repErrUnsup    = 1<<31 + 1
	repErrInvalid  = 1<<31 + 3
	repErrUnknown  = 1<<31 + 6
	repErrShutdown = 1<<31 + 7
	repErrTooBig   = 1<<31 + 9
)

// Items of information in answers to INFO and GO.
const (
	infoExport      = 0
	infoName        = 1
	infoDescription = 2
	infoBlockSize   = 3
)

// Commands.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisc        = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdCache       = 5
	cmdWriteZeroes = 6
	cmdBlockStatus = 7
)

// Command flags.
const (
	cmdFlagFUA      = 1 << 0
	cmdFlagNoHole   = 1 << 1
	cmdFlagDF       = 1 << 2
	cmdFlagReqOne   = 1 << 3
	cmdFlagFastZero = 1 << 4
)

// Chunks of structured replies.
const (
	chunkDone = 1 << 0 // flag: the reply's last chunk

	chunkNone        = 0
	chunkData        = 1
	chunkHole        = 2
	chunkBlockStatus = 5
	chunkError       = 1<<15 + 1
	chunkErrorOffset = 1<<15 + 2
)

// The one metadata context, its number on the wire, and its status bits.
const (
	contextAllocation   = "base:allocation"
	contextNamespace    = "base:"
	contextAllocationID = 1

	stateHole = 1 << 0
	stateZero = 1 << 1
)

// Error numbers on the wire. They are the protocol's, whatever the host's are.
const (
	nbdOK        = 0
	nbdEPERM     = 1
	nbdEIO       = 5
	nbdEINVAL    = 22
	nbdENOSPC    = 28
	nbdENOTSUP   = 95
	nbdESHUTDOWN = 108
)
