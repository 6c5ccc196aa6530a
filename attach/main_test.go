package attach

import (
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

var seedFlag = flag.Uint64("seed", 0, "seed of everything random; 0 takes HOLDFAST_SEED, or one by chance")

// roleVar says what a process that a test starts from this binary is.
const roleVar = "HOLDFAST_ATTACH_ROLE"

// unguardedVar makes a server do without a guardian.
const unguardedVar = "HOLDFAST_ATTACH_UNGUARDED"

func TestMain(m *testing.M) {
	if os.Getenv(unguardedVar) == "" {
		RunGuardian()
	}
	// The race detector makes every program that ends wait for a second.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	switch os.Getenv(roleVar) {
	case "client":
		clientMain()
	case "server":
		serverMain()
	default:
		goleak.VerifyTestMain(m)
	}
}

// newRand returns the source of a test's choices, and prints its seed.
func newRand(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed, _ = strconv.ParseUint(os.Getenv("HOLDFAST_SEED"), 10, 64)
	}
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
