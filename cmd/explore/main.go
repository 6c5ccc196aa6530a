//go:build explore

// Command explore (draft)
package main

import (
	"flag"
	"fmt"
	"runtime"
	"time"

	"holdfast.dev/holdfast/explore"
	"holdfast.dev/holdfast/explore/scenario"
	"holdfast.dev/holdfast/internal/mutant"
)

func main() {
	name := flag.String("scenario", "", "")
	mut := flag.String("mutant", "", "")
	pre := flag.Int("p", 2, "")
	rnd := flag.Int("random", 0, "")
	most := flag.Int("most", 0, "")
	lim := flag.Duration("time", time.Minute, "")
	flag.Parse()
	runtime.GOMAXPROCS(1)
	if err := mutant.Switch(*mut); err != nil {
		panic(err)
	}
	for _, s := range scenario.All() {
		if *name != "" && s.Name != *name {
			continue
		}
		r := explore.Search{Scenario: s, Mutant: *mut, Preemptions: *pre, Most: *most, Time: *lim, Random: *rnd, Seed: 1}.Run()
		fmt.Printf("%s: %+v\n", s.Name, r)
		if r.Finding != nil {
			sch := explore.Shrink(s, r.Schedule)
			fmt.Println(sch)
			_, st, err := explore.Replay(s, sch)
			fmt.Println(st, err)
			fmt.Println(r.Finding.Stack)
		}
	}
}
