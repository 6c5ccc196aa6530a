package powercut

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"holdfast.dev/holdfast/device/devicetest"
)

// Random stories: every sampled state is one that a simple model allows: for
// each sector the durable version or a later one.
func TestSamplesFitTheModel(t *testing.T) {
	const count = 64
	seed := devicetest.Seed(t)
	for run := range uint64(300) {
		rng := devicetest.Rand(seed, run)
		s := new(Supply)
		d := s.NewDisk("disk", 64<<20)
		allowed := make([][]byte, count) // by sector: the durable version, then later ones
		for i := range allowed {
			allowed[i] = []byte{0}
		}
		s.CutAfter(1 + rng.IntN(30))
		for !s.Lost() {
			step(t, rng, s, d, allowed)
		}
		for range 4 {
			left := s.Survivors(rng, Mixed)[0]
			for i, c := range []byte(content(t, left, count)) {
				if c == '.' {
					c = 0
				}
				if !bytes.Contains(allowed[i], []byte{c}) {
					t.Fatalf("run %d: sector %d is %q, allowed %q", run, i, c, allowed[i])
				}
			}
		}
	}
}

func step(t *testing.T, rng *rand.Rand, s *Supply, d *Disk, allowed [][]byte) {
	from := rng.IntN(len(allowed))
	n := 1 + rng.IntN(len(allowed)-from)
	mark := byte(0)
	var err error
	switch rng.IntN(4) {
	case 0:
		if err = d.Flush(); err == nil {
			for i, a := range allowed {
				allowed[i] = a[len(a)-1:]
			}
			return
		}
		n = 0
	case 1:
		err = d.Discard(int64(from)*sectorSize, int64(n)*sectorSize)
	default:
		mark = byte(1 + s.Ops()%200)
		if mark == '.' {
			mark = '!'
		}
		_, err = d.WriteAt(bytes.Repeat([]byte{mark}, n*sectorSize), int64(from)*sectorSize)
	}
	for i := from; i < from+n; i++ {
		allowed[i] = append(allowed[i], mark)
	}
	if err != nil && !errors.Is(err, ErrPowerLost) {
		t.Fatal(err)
	}
}
