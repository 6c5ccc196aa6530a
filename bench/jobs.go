package main

import "time"

// The sizes of requests.
const (
	page   = 4 << 10
	middle = 128 << 10
	large  = 1 << 20
)

// steady is how long a turn has to be for Holdfast's write-out to be in it as it is
// in the long run: pages are written out when they are five to ten seconds old.
const steady = 15 * time.Second

// The names of experiments that a bar speaks of.
const (
	readDeep    = "randread 4k qd32"
	writeDeep   = "randwrite 4k qd32"
	writeSteady = "randwrite 4k qd32, 15 s long"
	readStream  = "read 128k qd8"
	writeStream = "write 128k qd8"
	flushEach   = "randwrite 4k flush 1"
	flushSome   = "randwrite 4k flush 32"
	coldStream  = "cold read 1m qd4"
	costOf      = "cost: "
	readInside  = "in process: read 4k"
	writeInside = "in process: write 4k"
	storeSteady = "in process: steady store"
	storeFirst  = "in process: first store"
	startOf     = "start"
	resyncOf    = "resync"
	memoryOf    = "memory"
	limitOf     = "limit: "
	tightRead   = "cache of a fourth: randread 4k qd32"
	tightMixed  = "cache of a fourth: 70/30 4k qd32"
	coldRandom  = "cold randread 4k qd32"
	copyIn      = "nbdcopy in"
	copyOut     = "nbdcopy out"
)

// warmJobs go to volumes that are wholly in memory.
var warmJobs = []job{
	{name: readDeep, rw: "randread", blockSize: page, depth: 32},
	{name: writeDeep, rw: "randwrite", blockSize: page, depth: 32},
	{name: readStream, rw: "read", blockSize: middle, depth: 8},
	{name: writeStream, rw: "write", blockSize: middle, depth: 8},
	{name: flushEach, rw: "randwrite", blockSize: page, depth: 1, fsync: 1},
	{name: flushSome, rw: "randwrite", blockSize: page, depth: 32, fsync: 32},
	{name: "randread 4k qd1", rw: "randread", blockSize: page, depth: 1},
	{name: "randwrite 4k qd1", rw: "randwrite", blockSize: page, depth: 1},
	{name: "randread 4k qd1 x4", rw: "randread", blockSize: page, depth: 1, connections: 4},
	{name: "randread 4k qd32 x4", rw: "randread", blockSize: page, depth: 32, connections: 4},
	{name: "randwrite 4k qd1 x4", rw: "randwrite", blockSize: page, depth: 1, connections: 4},
	{name: "randwrite 4k qd32 x4", rw: "randwrite", blockSize: page, depth: 32, connections: 4},
	{name: "read 1m qd4", rw: "read", blockSize: large, depth: 4},
	{name: "write 1m qd4", rw: "write", blockSize: large, depth: 4},
	{name: writeSteady, rw: "randwrite", blockSize: page, depth: 32, lasts: steady},
	{name: "70/30 4k qd32", rw: "randrw", blockSize: page, depth: 32, extra: []string{"--rwmixread=70"}},
}

// quickJobs is how many of warmJobs, from the first on, a quick run has: those
// that bars speak of.
const quickJobs = 6

// costJobs go to Holdfast in its variants.
var costJobs = []job{
	{name: costOf + writeDeep, rw: "randwrite", blockSize: page, depth: 32},
	{name: costOf + readDeep, rw: "randread", blockSize: page, depth: 32},
	{name: costOf + flushEach, rw: "randwrite", blockSize: page, depth: 1, fsync: 1},
	{name: costOf + writeStream, rw: "write", blockSize: middle, depth: 8},
	{name: costOf + flushSome, rw: "randwrite", blockSize: page, depth: 32, fsync: 32},
}

// quickCostJobs is the same of costJobs.
const quickCostJobs = 1

// coldJobs go to volumes of which nothing is in memory.
var coldJobs = []job{
	{name: coldStream, rw: "read", blockSize: large, depth: 4, once: true},
	{name: coldRandom, rw: "randread", blockSize: page, depth: 32},
}

// tightJobs go to volumes four times as large as the memory that their server
// may use.
var tightJobs = []job{
	{name: tightRead, rw: "randread", blockSize: page, depth: 32},
	{name: tightMixed, rw: "randrw", blockSize: page, depth: 32, extra: []string{"--rwmixread=70"}},
}

// firstOf is the part of jobs that a run has.
func firstOf(jobs []job, quick bool, n int) []job {
	if quick {
		return jobs[:n]
	}
	return jobs
}
