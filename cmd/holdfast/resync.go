package main

import (
	"fmt"
	"time"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/internal/config"
)

// resyncCmd says how far the legs are made equal, and how much time that may take.
type resyncCmd struct {
	Dir   string  `arg:"" help:"Directory of the pool."`
	Share float64 `help:"Spend this part of the time on it, above 0 up to 1, until the server stops; left out: as it was."`
}

// Run is called by the parser.
func (cmd resyncCmd) Run(c console) error {
	if cmd.Share != 0 {
		if _, err := askFor(cmd.Dir, request{Op: "resync", Share: cmd.Share}, controlPatience); err != nil {
			return err
		}
	}
	s, err := statusCmd{Dir: cmd.Dir}.ask()
	if err != nil {
		return err
	}
	c.printf("%s\n", describeResync(&s))
	return nil
}

// describeResync says how far the resync is.
func describeResync(s *holdfast.Status) string {
	y := &s.Resync
	if y.RegionsLeft == 0 {
		return fmt.Sprintf("none needed; %d regions were made equal since the start, %v read, %v written",
			y.RegionsDone, roughly(int64(y.BytesRead)), roughly(int64(y.BytesWritten)))
	}
	if s.State == holdfast.StateStopped {
		return fmt.Sprintf("%d regions (%v) await it, when the pool is served", y.RegionsLeft, config.Size(y.RegionsLeft*s.RegionSize))
	}
	total := max(y.RegionsTotal, y.RegionsLeft)
	return fmt.Sprintf("running: %d of %d regions, %v left, %s", total-y.RegionsLeft, total,
		config.Size(y.RegionsLeft*s.RegionSize), describeRate(y.Rate, y.SecondsLeft))
}

// describeRate says how fast something goes on, and how long it will.
func describeRate(rate int64, secondsLeft float64) string {
	if rate <= 0 {
		return "time left unknown"
	}
	return fmt.Sprintf("%s a second, about %v left", roughly(rate), inSeconds(secondsLeft))
}

// roughly is a number of bytes of which the first digits are of interest.
func roughly(n int64) string {
	value, unit := float64(n), 0
	for value >= 1024 && unit < 4 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f%s", value, []string{"B", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// inSeconds is a time without fractions of a second.
func inSeconds(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second)
}
