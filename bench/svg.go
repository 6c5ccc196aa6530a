package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// row is one line of a plot: a ratio with its spread, and a mark to compare it
// with.
type row struct {
	label string
	ratio spread
	mark  float64 // 0: none
	good  bool    // on the right side of the mark
}

// The measures of a plot, in pixels.
const (
	rowHeight  = 22
	labelWidth = 620
	plotWidth  = 420
	noteWidth  = 150
	headHeight = 56
	footHeight = 30
	boxHeight  = 10
)

// The colours of a plot, which can be told apart without seeing red or green.
const (
	goodColour = "#1b6ca8"
	badColour  = "#c8641e"
	markColour = "#333333"
	gridColour = "#dddddd"
)

// axis maps ratios to pixels, by their logarithms: twice as fast is as far from
// equal as half as fast.
type axis struct{ low, high float64 }

// axisOf holds 1 and all that is in the rows.
func axisOf(rows []row) axis {
	low, high := 0.5, 2.0
	for _, r := range rows {
		low, high = min(low, r.ratio.Min), max(high, r.ratio.Max)
		if r.mark > 0 {
			low, high = min(low, r.mark), max(high, r.mark)
		}
	}
	return axis{math.Exp2(math.Floor(math.Log2(low))), math.Exp2(math.Ceil(math.Log2(high)))}
}

func (a axis) x(ratio float64) float64 {
	return labelWidth + plotWidth*math.Log2(ratio/a.low)/math.Log2(a.high/a.low)
}

// plot draws rows: a line from the least to the most, a box from quartile to
// quartile, the median as a bar, and the mark as a triangle.
func plot(title, note string, rows []row) string {
	var b strings.Builder
	a := axisOf(rows)
	width, height := labelWidth+plotWidth+noteWidth, headHeight+len(rows)*rowHeight+footHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	text(&b, 10, 20, "start", 15, title)
	text(&b, 10, 38, "start", 11, note)
	bottom := headHeight + len(rows)*rowHeight
	for tick := a.low; tick <= a.high; tick *= 2 {
		colour := gridColour
		if tick == 1 {
			colour = markColour
		}
		line(&b, a.x(tick), headHeight-6, a.x(tick), float64(bottom), colour, 1)
		text(&b, a.x(tick), float64(bottom+16), "middle", 11, fmt.Sprintf("%g", tick))
	}
	for i, r := range rows {
		r.draw(&b, a, float64(headHeight+i*rowHeight+rowHeight/2))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (r row) draw(b *strings.Builder, a axis, y float64) {
	colour := goodColour
	if r.mark > 0 && !r.good {
		colour = badColour
	}
	text(b, labelWidth-10, y+4, "end", 12, r.label)
	line(b, a.x(r.ratio.Min), y, a.x(r.ratio.Max), y, colour, 1)
	fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s" fill-opacity="0.35"/>`+"\n",
		a.x(r.ratio.Q1), y-boxHeight/2, max(1, a.x(r.ratio.Q3)-a.x(r.ratio.Q1)), boxHeight, colour)
	line(b, a.x(r.ratio.Median), y-boxHeight/2-1, a.x(r.ratio.Median), y+boxHeight/2+1, colour, 3)
	said := fmt.Sprintf("%.2f", r.ratio.Median)
	if r.mark > 0 {
		x := a.x(r.mark)
		fmt.Fprintf(b, `<path d="M%.1f %.1f l-4 -7 h8 z" fill="%s"/>`+"\n", x, y-2, markColour)
		said += fmt.Sprintf(" (bar %.2f)", r.mark)
	}
	text(b, labelWidth+plotWidth+12, y+4, "start", 12, said)
}

func line(b *strings.Builder, x1, y1, x2, y2 float64, colour string, width int) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%d"/>`+"\n", x1, y1, x2, y2, colour, width)
}

func text(b *strings.Builder, x, y float64, anchor string, size int, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">`, x, y, anchor, size)
	// A strings.Builder takes everything.
	xml.EscapeText(b, []byte(s))
	b.WriteString("</text>\n")
}

// plots are the report's, by the names of their files.
func (r *result) plots() map[string]string {
	note := fmt.Sprintf("%s, %d processors, %s, %d rounds. Line: least to most; box: quartiles; stroke: median; triangle: bar.",
		r.Machine.Processor, r.Machine.Processors, r.Date.Format("2006-01-02"), r.Rounds)
	var set, speed, processor, late []row
	for _, v := range r.Verdicts {
		if v.Against != "" {
			set = append(set, row{v.What, v.Ratio, v.Bar, v.Met})
		}
	}
	for _, p := range r.Ratios {
		label := p.Experiment + ": " + p.Contestant + " to " + p.Against
		switch r := (row{label: label, ratio: p.Ratio}); p.Figure {
		case cpuMicros:
			processor = append(processor, r)
		case durable:
			late = append(late, r)
		case wholeMicros: // in the report's table
		default:
			speed = append(speed, r)
		}
	}
	return map[string]string{
		"bars.svg":    plot("Ratios and the bars set for them", note, set),
		"ratios.svg":  plot("Ratios of speed; of time or bytes where these are compared", note, speed),
		"durable.svg": plot("Ratios of writes a second, with the time until all is durable", note, late),
		"cpu.svg":     plot("Ratios of server CPU per operation: less is better", note, processor),
	}
}
