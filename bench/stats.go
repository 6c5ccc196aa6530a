package main

import (
	"math"
	"slices"
)

// spread is what is told of several figures.
type spread struct {
	Median float64 `json:"median"`
	Q1     float64 `json:"q1"`
	Q3     float64 `json:"q3"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

// spreadOf sums up figures, of which there is at least one.
func spreadOf(all []float64) spread {
	s := slices.Sorted(slices.Values(all))
	return spread{
		Median: quantile(s, 0.5), Q1: quantile(s, 0.25), Q3: quantile(s, 0.75),
		Min: s[0], Max: s[len(s)-1], N: len(s),
	}
}

// quantile interpolates between the two nearest of sorted figures.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	below := int(math.Floor(at))
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

// ratios divides figures round by round, where both have one and it means
// something.
func ratios(a, b map[int]float64) []float64 {
	var all []float64
	for round, x := range a {
		if y := b[round]; x > 0 && y > 0 {
			all = append(all, x/y)
		}
	}
	return all
}
