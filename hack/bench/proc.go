package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// memoryEvery is how often memory is looked at while a load is on.
	memoryEvery = 50 * time.Millisecond
	// ticksPerSecond is the unit of times in /proc, which is the same on every Linux.
	ticksPerSecond = 100
	mebibyte       = 1 << 20
)

// rss is how much memory a process holds, in bytes: pages of its program and shared ones
// included. 0: not known.
func (s *subject) rss() int64 {
	kib, err := strconv.ParseInt(strings.TrimSuffix(field(s.proc("status"), "VmRSS"), " kB"), 10, 64)
	if err != nil {
		return 0
	}

	return kib << 10
}

func (s *subject) proc(file string) string {
	return fmt.Sprintf("/proc/%d/%s", s.cmd.Process.Pid, file)
}

// readBytes is how much the process has had read from the disk, past the page cache. 0: not known.
func (s *subject) readBytes() int64 {
	count, _ := strconv.ParseInt(field(s.proc("io"), "read_bytes"), 10, 64)

	return count
}

// cpu is how much processor time the process has spent. 0: not known.
func (s *subject) cpu() time.Duration {
	content, err := os.ReadFile(s.proc("stat")) //nolint:gosec // A file of /proc.
	if err != nil {
		return 0
	}

	return cpuOf(string(content))
}

// cpuOf reads user and system time from a line of /proc/PID/stat.
func cpuOf(stat string) time.Duration {
	// The name in parentheses may hold spaces; after it, the times are the 12th and 13th fields.
	const user, system = 11, 12

	_, rest, _ := strings.Cut(stat, ") ")

	fields := strings.Fields(rest)
	if len(fields) <= system {
		return 0
	}

	ticks := int64(0)
	for _, at := range []int{user, system} {
		count, _ := strconv.ParseInt(fields[at], 10, 64)
		ticks += count
	}

	return time.Duration(ticks) * (time.Second / ticksPerSecond)
}

// watchMemory looks at a process's memory until the returned function is called, which
// answers the most that was seen.
func (s *subject) watchMemory(ctx context.Context) func() int64 {
	ctx, cancel := context.WithCancel(ctx)
	peak := make(chan int64, 1)

	go func() {
		ticker := time.NewTicker(memoryEvery)
		defer ticker.Stop()

		for most := s.rss(); ; most = max(most, s.rss()) {
			select {
			case <-ctx.Done():
				peak <- max(most, s.rss())

				return
			case <-ticker.C:
			}
		}
	}()

	return func() int64 {
		cancel()

		return <-peak
	}
}
