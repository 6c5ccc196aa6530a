package main

import (
	"context"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is where figures were taken.
type machine struct {
	Processor  string            `json:"processor"`
	Processors int               `json:"processors"`
	Memory     int64             `json:"memory_bytes"`
	Kernel     string            `json:"kernel"`
	Go         string            `json:"go"`
	Load       string            `json:"load_at_start"`
	Versions   map[string]string `json:"versions"`
}

// versionCommands say how programs tell their versions.
var versionCommands = map[string][]string{
	"fio": {"--version"}, "nbdkit": {"--version"}, "nbd-server": {"-V"}, "qemu-nbd": {"--version"},
	"mkfs.btrfs": {"--version"}, "nbdcopy": {"--version"},
}

func describeMachine() machine {
	m := machine{Processors: runtime.NumCPU(), Go: runtime.Version(), Versions: map[string]string{}}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.Processor = processorName(string(text))
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.TrimSpace(string(text))
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for program, args := range versionCommands {
		if out, err := output(ctx, program, args...); err == nil {
			line, _, _ := strings.Cut(out, "\n")
			m.Versions[program] = strings.TrimSpace(line)
		}
	}
	return m
}

// processorName finds the first model in /proc/cpuinfo; arm64 has numbers only.
func processorName(cpuinfo string) string {
	for _, key := range []string{"model name", "CPU part"} {
		for line := range strings.Lines(cpuinfo) {
			name, value, _ := strings.Cut(line, ":")
			if strings.TrimSpace(name) == key {
				return strings.TrimSpace(value)
			}
		}
	}
	return "unknown"
}
