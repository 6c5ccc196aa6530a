package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"holdfast.dev/holdfast/internal/config"
)

// result is all that a run gave. It is also the JSON.
type result struct {
	Date     time.Time  `json:"date"`
	Took     float64    `json:"took_seconds"`
	Command  string     `json:"command"`
	Rounds   int        `json:"rounds"`
	Turn     string     `json:"turn"`
	Size     string     `json:"size"`
	Machine  machine    `json:"machine"`
	Verdicts []verdict  `json:"verdicts"`
	Ratios   []pairing  `json:"ratios"`
	LeftOut  []omission `json:"left_out"`
	Failures []omission `json:"failures"`
	Samples  []sample   `json:"samples"`
}

// pairing is a contestant against another in an experiment.
type pairing struct {
	Experiment string `json:"experiment"`
	Contestant string `json:"contestant"`
	Against    string `json:"against"`
	Figure     string `json:"figure"`
	Ours       spread `json:"ours"`
	Theirs     spread `json:"theirs"`
	Ratio      spread `json:"ratio"`
}

func newResult(o options) *result {
	return &result{
		Date: time.Now(), Command: o.command(), Rounds: o.rounds, Turn: o.runtime.String(),
		Size: config.Size(o.size).String(), Machine: describeMachine(),
	}
}

// byRound returns a figure of a contestant in an experiment.
func (r *result) byRound(experiment, contestant, figure string) map[int]float64 {
	found := map[int]float64{}
	for _, s := range r.Samples {
		if x, ok := s.Figures[figure]; ok && s.Experiment == experiment && s.Contestant == contestant {
			found[s.Round] = x
		}
	}
	return found
}

// contestants lists who took part in an experiment, in their order.
func (r *result) contestants(experiment string) (names []string) {
	for _, s := range r.Samples {
		if s.Experiment == experiment && !slices.Contains(names, s.Contestant) {
			names = append(names, s.Contestant)
		}
	}
	return names
}

// experiments lists those that were run, in their order.
func (r *result) experiments() (names []string) {
	for _, s := range r.Samples {
		if !slices.Contains(names, s.Experiment) {
			names = append(names, s.Experiment)
		}
	}
	return names
}

// judge computes all that follows from the samples.
func (r *result) judge() {
	r.Took = time.Since(r.Date).Seconds()
	for _, b := range bars {
		r.Verdicts = append(r.Verdicts, b.judge(func(contestant string) map[int]float64 {
			return r.byRound(b.experiment, contestant, b.figure)
		}))
	}
	for _, e := range r.experiments() {
		names := r.contestants(e)
		for _, peer := range names[1:] {
			for _, figure := range append(mainFigures(e), lateFigures(e)...) {
				ours, theirs := r.byRound(e, names[0], figure), r.byRound(e, peer, figure)
				if all := ratios(ours, theirs); len(all) > 0 {
					r.Ratios = append(r.Ratios, pairing{e, names[0], peer, figure,
						spreadOf(values(ours)), spreadOf(values(theirs)), spreadOf(all)})
				}
			}
		}
	}
}

var writes = regexp.MustCompile(`^(rand)?write |^70/30`)

var sequential = regexp.MustCompile(`\b(128k|1m|nbdcopy)\b`)

// mainFigures are those by which an experiment's contestants are compared.
func mainFigures(experiment string) []string {
	switch {
	case experiment == storeFirst:
		return []string{nanos}
	case experiment == startOf:
		return []string{seconds}
	case experiment == resyncOf:
		return []string{bytesPerRegion}
	case experiment == memoryOf:
		return []string{bytesPerCached}
	case strings.HasPrefix(experiment, "in process"):
		return []string{iops}
	case sequential.MatchString(experiment):
		return []string{bytesPerSecond, cpuMicros}
	}
	return []string{iops, cpuMicros}
}

// lateFigures are those that say what a load cost until all of it was durable.
func lateFigures(experiment string) []string {
	if writes.MatchString(experiment) {
		return []string{durable, wholeMicros}
	}
	return nil
}

// save writes the report into a folder.
func (r *result) save(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	files := map[string]string{"bench.json": string(text) + "\n", "bench.md": r.markdown()}
	for name, plot := range r.plots() {
		files[name] = plot
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("the report: %w", err)
		}
	}
	return nil
}
