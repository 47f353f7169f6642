package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// machine is what the figures were measured on.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	// Fsync is how long one write of 4 KiB with fsync takes on the disk of the journals, median.
	Fsync time.Duration `json:"fsyncNanoseconds"`
}

// versions are what was measured.
type versions struct {
	Hookline string `json:"hookline"`
	Go       string `json:"go"`
	Pebble   string `json:"pebble"`
}

const pebbleModule = "github.com/cockroachdb/pebble/v2"

// fsyncPolicy says when the subjects sync; it stands in the report.
const fsyncPolicy = "Every 202 waits for an fsync of the journal's write-ahead log, shared by all publishers that waited (group commit). " +
	"Outcomes of deliveries are synced with the next commit, or within 10 ms. bare and discard sync nothing."

// describe fills in what is known before anything is measured.
func (r *report) describe(ctx context.Context, b *bench) {
	r.At = b.began.UTC().Truncate(time.Second)
	r.Quick, r.Scale, r.MemoryLimit, r.FsyncPolicy = b.quick, b.scale, b.memoryLimit, fsyncPolicy
	r.Machine = machine{
		CPU:    field("/proc/cpuinfo", "model name"),
		Cores:  runtime.NumCPU(),
		Memory: memoryText(field("/proc/meminfo", "MemTotal")),
		Kernel: kernel(),
		Fsync:  measureFsync(b.work),
	}
	r.Versions = versions{Go: runtime.Version(), Pebble: moduleVersion(pebbleModule)}

	if b.binary == "" {
		return
	}

	if text, err := exec.CommandContext(ctx, b.binary, "version").Output(); err == nil { //nolint:gosec // The caller names it.
		r.Versions.Hookline = strings.TrimSpace(string(text))
	}
}

// field is the value of the first line "name : value" of a file of /proc; unknown where there is none.
func field(path, name string) string {
	content, err := os.ReadFile(path) //nolint:gosec // Files of /proc.
	if err != nil {
		return unknown
	}

	for line := range strings.Lines(string(content)) {
		key, value, found := strings.Cut(line, ":")
		if found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}

	return unknown
}

const unknown = "unknown"

func memoryText(text string) string {
	kib, err := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
	if err != nil {
		return unknown
	}

	return fmt.Sprintf("%.1f GiB", float64(kib)/(1<<20))
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}

	return runtime.GOOS + " " + strings.TrimSpace(string(release))
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknown
	}

	for _, dep := range info.Deps {
		if dep.Path == path {
			return dep.Version
		}
	}

	return unknown
}

// probeBytes is what a look at the disk writes before it syncs.
const probeBytes = 4 << 10

// measureFsync is the median of many small synced writes; 0 where the disk cannot be asked.
func measureFsync(dir string) time.Duration {
	const writes = 101

	file, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0
	}

	defer func() { _ = os.Remove(file.Name()) }()
	defer func() { _ = file.Close() }()

	block := make([]byte, probeBytes)
	took := make([]time.Duration, 0, writes)

	for range writes {
		began := time.Now()

		if _, err := file.Write(block); err != nil {
			return 0
		}

		if err := file.Sync(); err != nil {
			return 0
		}

		took = append(took, time.Since(began))
	}

	slices.Sort(took)

	return took[len(took)/2]
}
