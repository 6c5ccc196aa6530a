package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of processor time in /proc: Linux tells programs a hundredth of
// a second on every architecture, whatever it counts in itself.
const tick = 10 * time.Millisecond

// procStat is what is needed of /proc/PID/stat.
type procStat struct {
	pid, parent int
	// ticks are those of the process and of its children that it has waited for.
	ticks int64
}

// parseStat reads a line of /proc/PID/stat. The second field is the program's
// name in parentheses, and may hold anything.
func parseStat(line string) (s procStat, err error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return s, fmt.Errorf("no name in %q", line)
	}
	if s.pid, err = strconv.Atoi(strings.TrimSpace(line[:open])); err != nil {
		return s, err
	}
	// From the state on, the third field.
	fields := strings.Fields(line[end+1:])
	const parent, utime, cstime = 1, 11, 14
	if len(fields) <= cstime {
		return s, fmt.Errorf("%d fields after the name in %q", len(fields), line)
	}
	if s.parent, err = strconv.Atoi(fields[parent]); err != nil {
		return s, err
	}
	for _, f := range fields[utime : cstime+1] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return s, err
		}
		s.ticks += n
	}
	return s, nil
}

// processes lists all there are. One that ends meanwhile is not among them.
func processes() ([]procStat, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var all []procStat
	for _, path := range paths {
		line, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		s, err := parseStat(string(line))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// family picks root and its descendants.
func family(all []procStat, root int) []procStat {
	children := map[int][]procStat{}
	var found []procStat
	for _, s := range all {
		children[s.parent] = append(children[s.parent], s)
		if s.pid == root {
			found = append(found, s)
		}
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found
}

// cpuTime is the processor time that a server has taken, with its children: some
// serve each connection from a process of its own.
func cpuTime(pid int) (time.Duration, error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	var ticks int64
	for _, s := range family(all, pid) {
		ticks += s.ticks
	}
	return time.Duration(ticks) * tick, nil
}

// parseBusy reads from /proc/stat how long the processors have been busy, all
// together.
func parseBusy(text string) (time.Duration, error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	// user, nice, system, idle, iowait, irq, softirq; what follows is not ours, or
	// counted already.
	const idle, iowait, most = 4, 5, 8
	if len(fields) < most || fields[0] != "cpu" {
		return 0, fmt.Errorf("no processors in %q", line)
	}
	var ticks int64
	for i, f := range fields[1:most] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		if i+1 != idle && i+1 != iowait {
			ticks += n
		}
	}
	return time.Duration(ticks) * tick, nil
}

// busyTime is parseBusy of this machine.
func busyTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseBusy(string(text))
}

// parseStatus reads the sizes of /proc/PID/status, in bytes by their names.
func parseStatus(text string) map[string]int64 {
	sizes := map[string]int64{}
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); len(f) == 2 && f[1] == "kB" {
			if n, err := strconv.ParseInt(f[0], 10, 64); err == nil {
				sizes[name] = n << 10
			}
		}
	}
	return sizes
}

// residentSize is the memory that a process and its descendants have.
func residentSize(pid int) (int64, error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, s := range family(all, pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
		if err != nil {
			return 0, err
		}
		sum += parseStatus(string(text))["VmRSS"]
	}
	return sum, nil
}
