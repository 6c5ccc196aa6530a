package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// job is one load of fio.
type job struct {
	name        string
	rw          string // as fio calls it
	blockSize   int
	depth       int
	connections int
	// fsync is after how many writes a flush is sent; 0: never.
	fsync int
	// once has each byte touched once, instead of going on for a turn's time.
	once bool
	// lasts is how long a turn is if not as long as those of other jobs.
	lasts time.Duration
	// extra are more of fio's arguments.
	extra []string
}

// target is where a job goes: an engine of fio and its arguments.
type target []string

// apart is the same on the first processor, which servers then leave alone.
func (t target) apart(yes bool) target {
	if yes {
		return append(t, "--cpus_allowed=0")
	}
	return t
}

// overNBD is a server at a URI.
func overNBD(uri string) target { return target{"--ioengine=nbd", "--uri=" + uri} }

// bareFile is a file without a server or a cache in between; depth is the
// engine's to keep.
func bareFile(path string) target {
	return target{"--ioengine=libaio", "--direct=1", "--filename=" + path}
}

// args are fio's for a job on a volume of a size.
func (j job) args(t target, size int64, runtime time.Duration, seed int) []string {
	args := append([]string{"--name=bench", "--thread", "--group_reporting", "--output-format=json", "--norandommap"}, t...)
	args = append(args,
		"--rw="+j.rw, fmt.Sprintf("--bs=%d", j.blockSize), fmt.Sprintf("--iodepth=%d", j.depth),
		fmt.Sprintf("--numjobs=%d", max(1, j.connections)), fmt.Sprintf("--size=%d", size),
		fmt.Sprintf("--randseed=%d", seed))
	if j.fsync > 0 {
		args = append(args, fmt.Sprintf("--fsync=%d", j.fsync))
	}
	if !j.once {
		if j.lasts > 0 {
			runtime = j.lasts
		}
		args = append(args, "--time_based", fmt.Sprintf("--runtime=%dms", runtime.Milliseconds()))
	}
	return append(args, j.extra...)
}

// fioReport is what is read of fio's JSON.
type fioReport struct {
	Jobs []struct {
		Error int     `json:"error"`
		User  float64 `json:"usr_cpu"` // in percent
		Sys   float64 `json:"sys_cpu"`
		Read  fioSide `json:"read"`
		Write fioSide `json:"write"`
	} `json:"jobs"`
}

// fioSide is one direction of a job.
type fioSide struct {
	IOs   int64   `json:"total_ios"`
	Bytes int64   `json:"io_bytes"`
	IOPS  float64 `json:"iops"`
	Rate  float64 `json:"bw_bytes"`
	Wait  struct {
		Mean       float64            `json:"mean"`
		Percentile map[string]float64 `json:"percentile"`
	} `json:"clat_ns"`
}

// parseFio sums up what fio printed. It may print warnings before its JSON.
func parseFio(out string) (figures, error) {
	start := strings.IndexByte(out, '{')
	if start < 0 {
		return nil, fmt.Errorf("fio printed no JSON: %s", firstLines(out))
	}
	var r fioReport
	if err := json.Unmarshal([]byte(out[start:]), &r); err != nil {
		return nil, fmt.Errorf("fio's JSON: %w", err)
	}
	f := figures{}
	for _, j := range r.Jobs {
		if j.Error != 0 {
			return nil, fmt.Errorf("fio ended with error %d", j.Error)
		}
		f[clientShare] += (j.User + j.Sys) / 100
		for _, side := range []fioSide{j.Read, j.Write} {
			f[operations] += float64(side.IOs)
			f[iops] += side.IOPS
			f[bytesPerSecond] += side.Rate
			f[p99Micros] = max(f[p99Micros], side.Wait.Percentile["99.000000"]/1000)
		}
	}
	if f[operations] == 0 {
		return nil, fmt.Errorf("fio did nothing: %s", firstLines(out[start:]))
	}
	return f, nil
}

// fio runs a job to its end.
func fio(ctx context.Context, j job, t target, size int64, runtime time.Duration, seed int) (figures, error) {
	out, err := output(ctx, "fio", j.args(t, size, runtime, seed)...)
	if err != nil {
		return nil, err
	}
	return parseFio(out)
}
