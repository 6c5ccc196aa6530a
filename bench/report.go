package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// markdown is the report for people.
func (r *result) markdown() string {
	var b strings.Builder
	r.writeHead(&b)
	r.writeVerdicts(&b)
	r.writeRatios(&b)
	r.writeDurable(&b)
	r.writeFigures(&b)
	writeList(&b, "Left out", r.LeftOut)
	writeList(&b, "Failed", r.Failures)
	return b.String()
}

func (r *result) writeHead(b *strings.Builder) {
	m := &r.Machine
	fmt.Fprintf(b, "# Holdfast and its peers, %s\n\n", r.Date.Format(time.DateOnly))
	fmt.Fprintf(b, "%s, %d processors, %.0f GiB, Linux %s, %s; load when it began: %s.\n", m.Processor, m.Processors,
		float64(m.Memory)/(1<<30), m.Kernel, m.Go, m.Load)
	for _, program := range slices.Sorted(maps.Keys(m.Versions)) {
		fmt.Fprintf(b, "%s: %s. ", program, m.Versions[program])
	}
	fmt.Fprintf(b, "\n\n`%s`: %d rounds, turns of %s, volumes of %s, %v in all.\n\n", r.Command, r.Rounds, r.Turn, r.Size,
		time.Duration(r.Took*float64(time.Second)).Round(time.Second))
}

func (r *result) writeVerdicts(b *strings.Builder) {
	b.WriteString("## Bars\n\nEach ratio is of figures of the same round: the median, and in brackets the least and the most.\n\n")
	b.WriteString("| what | ours | theirs | ratio | bar | |\n|---|---|---|---|---|---|\n")
	for _, v := range r.Verdicts {
		fmt.Fprintf(b, "| %s | %s\n", v.What, v.cells())
	}
	b.WriteByte('\n')
}

// cells are the rest of a verdict's row.
func (v verdict) cells() string {
	limit := fmt.Sprintf("at least %.2f", v.Bar)
	if v.AtMost {
		limit = fmt.Sprintf("at most %.2f", v.Bar)
	}
	if v.Against == "" {
		return fmt.Sprintf("| | | %s | not measured |", limit)
	}
	said := "met"
	if !v.Met {
		said = fmt.Sprintf("**not met**, by %.0f %%", 100*v.shortfall())
	}
	if len(v.Without) > 0 {
		said += "; without " + strings.Join(v.Without, ", ")
	}
	return fmt.Sprintf("%s | %s (%s) | %s | %s | %s |", format(v.Figure, v.Ours), format(v.Figure, v.Theirs), v.Against,
		v.Ratio.brackets(), limit, said)
}

// brackets writes a ratio and its spread.
func (s spread) brackets() string { return fmt.Sprintf("%.2f (%.2f to %.2f)", s.Median, s.Min, s.Max) }

func (r *result) writeRatios(b *strings.Builder) {
	b.WriteString("## Ratios\n\nThe first contestant's figure divided by the other's, round by round: by speed more is better; ")
	b.WriteString("by server CPU per operation, time and bytes less is.\n\n")
	b.WriteString("| experiment | against | by | ours | theirs | ratio | CPU ours | CPU theirs | ratio |\n|---|---|---|---|---|---|---|---|---|\n")
	for i, p := range r.Ratios {
		if p.Figure == cpuMicros || isLate(p) {
			continue // in the row of the pairing before, or in the table of its own
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |", p.Experiment, p.Against, figureNames[p.Figure], p.cells())
		if next := i + 1; next < len(r.Ratios) && r.Ratios[next].Figure == cpuMicros {
			fmt.Fprintf(b, " %s |\n", r.Ratios[next].cells())
		} else {
			b.WriteString(" | | |\n")
		}
	}
	b.WriteByte('\n')
}

// writeDurable compares what writes cost with all that they leave to be done.
func (r *result) writeDurable(b *strings.Builder) {
	if !slices.ContainsFunc(r.Ratios, isLate) {
		return
	}
	b.WriteString("## Until all is durable\n\nThe same writes, with the time that a flush took after them, ")
	b.WriteString("and all that the machine did for one of them until then: client, server and kernel.\n\n")
	b.WriteString("| experiment | against | ours | theirs | ratio | machine CPU ours | theirs | ratio |\n|---|---|---|---|---|---|---|---|\n")
	for _, p := range r.Ratios {
		switch p.Figure {
		case durable:
			fmt.Fprintf(b, "| %s | %s | %s |", p.Experiment, p.Against, p.cells())
		case wholeMicros:
			fmt.Fprintf(b, " %s |\n", p.cells())
		}
	}
	b.WriteByte('\n')
}

// isLate says whether a pairing is by a figure of the table until all is durable.
func isLate(p pairing) bool { return p.Figure == durable || p.Figure == wholeMicros }

// cells are a pairing's figures.
func (p *pairing) cells() string {
	return fmt.Sprintf("%s | %s | %s", format(p.Figure, p.Ours.Median), format(p.Figure, p.Theirs.Median), p.Ratio.brackets())
}

// figureNames are what figures are called in tables.
var figureNames = map[string]string{
	iops: "speed", bytesPerSecond: "speed", nanos: "time", seconds: "time",
	bytesPerRegion: "copied for each region", bytesPerCached: "resident for each cached byte",
	bytesCopied: "copied", clientShare: "processors that fio took",
}

// alone are the figures that stand for themselves.
func alone(experiment string) []string {
	switch {
	case strings.HasPrefix(experiment, limitOf+"fio"):
		return []string{iops, clientShare}
	case strings.HasPrefix(experiment, limitOf+"bare"):
		return mainFigures(experiment)[:1]
	case strings.HasPrefix(experiment, limitOf):
		return []string{nanos}
	case experiment == resyncOf:
		return []string{bytesCopied, bytesPerRegion, seconds}
	case experiment == memoryOf:
		return []string{bytesPerCached}
	}
	return nil
}

func (r *result) writeFigures(b *strings.Builder) {
	b.WriteString("## The machine's limits, resync and memory\n\n| what | who | by | median | least | most |\n|---|---|---|---|---|---|\n")
	for _, e := range r.experiments() {
		for _, figure := range alone(e) {
			for _, c := range r.contestants(e) {
				if all := values(r.byRound(e, c, figure)); len(all) > 0 {
					s := spreadOf(all)
					fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", e, c, figureNames[figure], format(figure, s.Median), format(figure, s.Min), format(figure, s.Max))
				}
			}
		}
	}
	b.WriteByte('\n')
}

func writeList(b *strings.Builder, title string, all []omission) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "## %s\n\n", title)
	for _, o := range all {
		fmt.Fprintf(b, "- %s: %s\n", o.What, o.Why)
	}
	b.WriteByte('\n')
}
