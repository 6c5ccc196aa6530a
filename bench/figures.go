package main

import "fmt"

// figures are what one turn gave, by their names.
type figures map[string]float64

// The names of figures.
const (
	operations     = "operations"
	iops           = "per_second"
	bytesPerSecond = "bytes_per_second"
	p99Micros      = "p99_us"
	cpuMicros      = "server_cpu_us_per_operation"
	// wholeMicros is what the machine did for an operation until it was durable: with
	// the client, the kernel's own threads, and whoever else was there.
	wholeMicros = "machine_cpu_us_per_operation_until_durable"
	// durable is how many operations a second there were with the time until they
	// were durable: nobody gains by leaving his write-out for later.
	durable = "per_second_until_durable"
	// clientShare is which part of a processor the client took: at one it is what
	// limits.
	clientShare    = "client_cpu_share"
	settleSeconds  = "settle_seconds"
	nanos          = "ns_per_operation"
	seconds        = "seconds"
	bytesCopied    = "bytes_copied"
	bytesPerRegion = "bytes_per_region"
	bytesPerCached = "resident_bytes_per_cached_byte"
)

// format writes a figure in the unit that its name says.
func format(name string, x float64) string {
	switch name {
	case iops, durable:
		if x >= 1e6 {
			return fmt.Sprintf("%.2f M/s", x/1e6)
		}
		return fmt.Sprintf("%.1f k/s", x/1e3)
	case bytesPerSecond:
		return fmt.Sprintf("%.2f GB/s", x/1e9)
	case p99Micros, cpuMicros, wholeMicros:
		return fmt.Sprintf("%.1f us", x)
	case nanos:
		return fmt.Sprintf("%.0f ns", x)
	case seconds, settleSeconds:
		return fmt.Sprintf("%.1f ms", x*1e3)
	case bytesCopied, bytesPerRegion:
		return fmt.Sprintf("%.2f MiB", x/(1<<20))
	}
	return fmt.Sprintf("%.3f", x)
}

// sample is one turn of one contestant.
type sample struct {
	Experiment string  `json:"experiment"`
	Contestant string  `json:"contestant"`
	Round      int     `json:"round"`
	Figures    figures `json:"figures"`
}

// omission is something that was not measured, and why.
type omission struct {
	What string `json:"what"`
	Why  string `json:"why"`
}
