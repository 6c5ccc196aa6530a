# make run     builds ./holdfast and serves a small pool
# make test    checks everything; installs what it lacks first, on Debian
# make explore  the code in every order, and every mutant found
# make soak    a pool in a rough place for SOAKTIME: fio, kills, rot, pulled legs, scrubs
# make linear  histories of contended sectors, checked for LINEARTIME
# make hunt    the tests that choose at random, HUNTS times, each with a seed of its own
# make bench   Holdfast and its peers side by side; the report goes to build/bench
# make bench-quick   the same, what the bars need only, in under three minutes
# make fuzz    every fuzz test, for FUZZTIME each
# make clean   removes what was built; never a pool

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

FUZZTIME ?= 30s
SOAKTIME ?= 1h
LINEARTIME ?= 1h
HUNTS ?= 10
BENCH ?=

.PHONY: build run test prepare style vet race cuts explore interop mapped soak linear hunt fuzz clean bench bench-quick bench-smoke bench-prepare

build:
	CGO_ENABLED=0 go build -trimpath -o holdfast ./cmd/holdfast

run: build
	./holdfast up

test: prepare style vet race cuts explore interop mapped bench-smoke

prepare:
	./interop/prepare

style:
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:" $$unformatted; exit 1; fi

vet:
	go vet ./...
	go vet -tags invariants ./...
	go vet -tags explore ./...
	GOARCH=arm64 go vet ./...
	go tool staticcheck ./...
	go tool staticcheck -tags invariants ./...
	go tool staticcheck -tags explore ./...

# -count=1: some tests build programs, and the cache of results does not know from what.
race:
	go test -race -tags invariants -count=1 -timeout 20m $$(go list ./... | grep -v '/interop$$')

# Power cuts of pools that run in one goroutine, where the race detector, which
# takes most of the time, has nothing to find: at random, and after every
# operation of a disk in every sequence of three deeds. The stage before has some
# of each.
cuts:
	go test -tags invariants -count=1 -timeout 20m . -run 'TestCrash$$' -v -args -cases 1500
	go test -tags invariants -count=1 -timeout 20m ./mirror -run 'TestCrash$$|TestCrashLife|TestEveryCut' -v -args -cases 8000 -sequence 3

# Everything that tasks can do to each other in each scenario with two preemptions, and
# some of what lies beyond; and every old mistake put back, one at a time, and found.
explore:
	go test -tags explore -timeout 20m ./explore/... ./cmd/explore
	go build -tags explore -o build/explore ./cmd/explore
	./build/explore --least 1000000

# -v for what the tests measure.
interop:
	HOLDFAST_INTEROP=1 go test -race -count=1 -timeout 20m -v ./interop

# A million operations of fsx on a mapped volume: a quarter of them for each policy
# in each mode; and volumes that are resized under who has them mapped.
mapped:
	go test -count=1 -timeout 20m ./programs -run Fsx -v -args -ops 250000
	go test -count=1 -timeout 20m ./attach -run Resize -v -args -resize-ops 50000

# A pool in use for SOAKTIME while it is killed, rots, and loses legs.
soak: prepare
	HOLDFAST_INTEROP=1 HOLDFAST_SOAK=$(SOAKTIME) go test -count=1 -timeout 0 -v -run '^TestSoak$$' ./interop

# Many clients on few sectors, errors and kills: each sector's history must have an
# order. A wrong one is printed, and drawn under build.
linear: prepare
	HOLDFAST_INTEROP=1 HOLDFAST_LINEAR=$(LINEARTIME) go test -race -count=1 -timeout 0 -v -run '^TestLinear' ./interop

# Eight packages at once, so that everybody has to wait for a processor at any time.
hunt: prepare
	go test -race -tags invariants -p 8 -count=$(HUNTS) -timeout 0 ./...
	HOLDFAST_INTEROP=1 go test -race -count=$(HUNTS) -timeout 0 -v -run 'Kill|Kernel|Fio|Linear' ./interop

# What it measures and how to read it is in docs/performance.md. BENCH are more
# flags, such as BENCH='-only 4k -rounds 7'.
bench: build bench-prepare
	go run ./bench $(BENCH)

bench-quick: build bench-prepare
	go run ./bench -quick $(BENCH)

# That all of it still runs; what it measures in so short a time says nothing.
bench-smoke: bench-prepare
	HOLDFAST_INTEROP=1 go test -count=1 -timeout 5m -run Smoke ./bench

bench-prepare:
	./bench/prepare

fuzz:
	for package in $$(go list ./...); do \
		for name in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

clean:
	rm -rf holdfast build
