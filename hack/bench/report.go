package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// report is everything that one run found; it is what the JSON holds.
type report struct {
	At          time.Time `json:"at"`
	Took        string    `json:"took"`
	Quick       bool      `json:"quick"`
	Machine     machine   `json:"machine"`
	Versions    versions  `json:"versions"`
	FsyncPolicy string    `json:"fsyncPolicy"`
	MemoryLimit string    `json:"memoryLimit"`
	Scale       scale     `json:"scale"`

	Throughput []throughput     `json:"throughput,omitempty"`
	Latency    []openResult     `json:"latency,omitempty"`
	Isolation  *isolationResult `json:"isolation,omitempty"`
	Matching   []matchingResult `json:"matching,omitempty"`
	Memory     []memory         `json:"memory,omitempty"`
	Start      *startResult     `json:"start,omitempty"`
	Attempts   *attemptsResult  `json:"latestAttempts,omitempty"`
	Retries    *retriesResult   `json:"retries,omitempty"`
	Drain      *drainResult     `json:"drain,omitempty"`
	Outage     *outageResult    `json:"outage,omitempty"`

	Targets []target `json:"targets,omitempty"`
}

// target is a figure that is to be reached.
type target struct {
	Name string `json:"name"`
	// Value is what was measured; Limit what it must be at least, or at most.
	Value   float64 `json:"value"`
	Limit   float64 `json:"limit"`
	AtLeast bool    `json:"atLeast"`
	// Aim is what is hoped for beyond the limit; 0: nothing more.
	Aim  float64 `json:"aim,omitempty"`
	Unit string  `json:"unit"`
	Met  bool    `json:"met"`
}

// Units of targets.
const (
	unitRatio  = "×"
	unitTime   = "ms"
	unitNanos  = "ns"
	unitMemory = "MiB"
)

func (t target) text(value float64) string {
	switch t.Unit {
	case unitRatio:
		return fmt.Sprintf("%.2f", value)
	case unitTime:
		return fmt.Sprintf("%.1f ms", value)
	default:
		return fmt.Sprintf("%.0f %s", value, t.Unit)
	}
}

func (t target) bound() string {
	word := "at most "
	if t.AtLeast {
		word = "at least "
	}

	text := word + t.text(t.Limit)
	if t.Aim > 0 {
		text += ", aim " + t.text(t.Aim)
	}

	return text
}

func (t target) verdict() string {
	switch {
	case !t.Met:
		return "**missed**"
	case t.Aim > 0 && t.Value >= t.Aim:
		return "met, and the aim"
	default:
		return "met"
	}
}

// atLeast and atMost add a target; what must be at least something is a ratio.
func (r *report) atLeast(name string, value, limit, aim float64) {
	r.Targets = append(r.Targets, target{
		Name: name, Unit: unitRatio, Value: value, Limit: limit, AtLeast: true, Aim: aim, Met: value >= limit,
	})
}

func (r *report) atMost(name, unit string, value, limit float64) {
	r.Targets = append(r.Targets, target{Name: name, Unit: unit, Value: value, Limit: limit, Met: value > 0 && value <= limit})
}

// missed are the targets that were not reached, in words.
func (r *report) missed() []string {
	var out []string

	for _, t := range r.Targets {
		if !t.Met {
			out = append(out, fmt.Sprintf("%s: %s, wanted %s", t.Name, t.text(t.Value), t.bound()))
		}
	}

	return out
}

// judge holds what was measured against what is to be reached; what was not measured is left out.
func (r *report) judge() {
	r.judgeThroughput()
	r.judgeLatency()
	r.judgeMatching()
	r.judgeMemory()
	r.judgeStored()
}

// goals are what a cell of the headline is to reach.
type goals struct {
	cell                             cell
	bare, bareAim, discard, slowDown float64
}

func headlineGoals() []goals {
	cells := headline()

	return []goals{
		{cell: cells[0], bare: 0.60, bareAim: 0.75, discard: 0.80, slowDown: 0.80},
		{cell: cells[1], bare: 0.40, bareAim: 0.60, discard: 0.60, slowDown: 0.70},
		{cell: cells[2], bare: 0.70, bareAim: 0.85, discard: 0.85},
	}
}

// ratio is the median of the rounds' ratios between two subjects in a cell.
func (r *report) ratio(c cell, of, by string) (float64, bool) {
	one, other := r.find(c, of), r.find(c, by)
	if one == nil || other == nil {
		return 0, false
	}

	quotients := ratios(one.EventsPerSecond, other.EventsPerSecond)

	return median(quotients), len(quotients) > 0
}

func (r *report) judgeThroughput() {
	const subject = string(kindHookline)

	for _, g := range headlineGoals() {
		name := fmt.Sprintf("%d publishers, fan-out %d", g.cell.Publishers, g.cell.FanOut)

		if ratio, ok := r.ratio(g.cell, subject, string(kindBare)); ok {
			r.atLeast(name+": of bare", ratio, g.bare, g.bareAim)
		}
		if ratio, ok := r.ratio(g.cell, subject, string(kindDiscard)); ok {
			r.atLeast(name+": of the same parts without a journal", ratio, g.discard, 0)
		}
		if ratio, ok := r.ratio(g.cell, nameSlow, subject); ok && g.slowDown > 0 {
			r.atLeast(name+": 1 ms added to each fsync, of its own figure", ratio, g.slowDown, 0)
		}
	}
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

func (r *report) judgeLatency() {
	const steady99, steady999, half99 = 10, 50, 30

	for _, l := range r.Latency {
		if l.Subject != string(kindHookline) {
			continue
		}

		switch l.What {
		case openSteady:
			r.atMost("publish to receipt at 1,000/s, p99", unitTime, milliseconds(l.Latency.P99), steady99)
			r.atMost("publish to receipt at 1,000/s, p99.9", unitTime, milliseconds(l.Latency.P999), steady999)
		case openHalf:
			r.atMost("publish to receipt at half of the maximum, p99", unitTime, milliseconds(l.Latency.P99), half99)
		}
	}

	if r.Isolation != nil {
		r.atMost("p99 of 80 endpoints beside 10 that hang and 10 that fail", unitTime,
			milliseconds(r.Isolation.Worst), milliseconds(r.Isolation.Allowed))
	}
}

func (r *report) judgeMatching() {
	limits := map[int]float64{10_000: 2_000, 100_000: 5_000}

	for _, m := range r.Matching {
		if limit := limits[m.Subscriptions]; limit > 0 {
			r.atMost(fmt.Sprintf("matching one event, %d subscriptions", m.Subscriptions), unitNanos, float64(m.PerEvent), limit)
		}
	}
}

func (r *report) judgeMemory() {
	const idle, full = 150, 300

	for _, m := range r.Memory {
		if m.What == memoryIdle {
			r.atMost(fmt.Sprintf("memory with %d subscriptions, idle", r.Scale.Many), unitMemory, float64(m.Bytes)/mebibyte, idle)
		}
	}

	most := int64(0)

	for _, t := range r.Throughput {
		if t.Subject == string(kindHookline) {
			most = max(most, t.Memory)
		}
	}

	if most > 0 {
		r.atMost("memory under full load, the most of all loads", unitMemory, float64(most)/mebibyte, full)
	}
}

func (r *report) judgeStored() {
	const (
		startWithin      = 2000
		warmWithin       = 20
		coldWithin       = 100
		retriesWithin    = 100
		ofDeliveringRate = 1.0
		outageMemory     = 32
	)

	if o := r.Outage; o != nil {
		r.atMost(fmt.Sprintf("memory for %d events that wait for an endpoint that is down", o.Waiting), unitMemory,
			float64(o.Memory)/mebibyte, outageMemory)
	}

	if r.Start != nil {
		r.atMost(fmt.Sprintf("start with %d undelivered events, until the first delivery", r.Start.Undelivered), unitTime,
			milliseconds(r.Start.First), startWithin)
	}

	if r.Attempts != nil {
		name := fmt.Sprintf("latest %d attempts of one subscription out of %d, ", latest, r.Attempts.Attempts)
		r.atMost(name+"warm", unitTime, milliseconds(r.Attempts.Warm), warmWithin)
		r.atMost(name+"cold", unitTime, milliseconds(r.Attempts.Cold), coldWithin)
	}

	if r.Retries != nil {
		r.atMost("lateness of retries, p99.9", unitTime, milliseconds(r.Retries.Lateness.P999), retriesWithin)
	}

	if most := r.find(headline()[0], string(kindHookline)); r.Drain != nil && most != nil {
		r.atLeast(fmt.Sprintf("%d retries due at once, of the delivery rate at fan-out 1", r.Drain.Due),
			r.Drain.PerSecond/most.deliveries(), ofDeliveringRate, 0)
	}
}

func (r *report) writeJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the figures: %w", err)
	}

	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil { //nolint:gosec // The caller names it.
		return fmt.Errorf("making the folder of -out: %w", err)
	}

	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil { //nolint:gosec // The caller names it.
		return fmt.Errorf("writing the figures: %w", err)
	}

	return nil
}

// readJSON reads what writeJSON wrote.
func readJSON(path string) (*report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading -from: %w", err)
	}

	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("reading -from: %w", err)
	}

	return &r, nil
}

// The lines of the page between which the last run stands.
const (
	docsBegin = "<!-- begin: written by make bench -->"
	docsEnd   = "<!-- end: written by make bench -->"
)

var errMarkers = errors.New("the page has no part to replace")

// writeDocs puts the last run between the markers of a page and leaves the rest as it is.
func writeDocs(path, text string) error {
	page, err := os.ReadFile(path) //nolint:gosec // The caller names it.
	if err != nil {
		return fmt.Errorf("reading -docs: %w", err)
	}

	before, rest, begun := strings.Cut(string(page), docsBegin)
	_, after, ended := strings.Cut(rest, docsEnd)

	if !begun || !ended {
		return fmt.Errorf("writing -docs: %w: put the lines %q and %q into %s", errMarkers, docsBegin, docsEnd, path)
	}

	page = []byte(before + docsBegin + "\n\n" + text + "\n" + docsEnd + after)
	if err := os.WriteFile(path, page, 0o644); err != nil { //nolint:gosec // A page for everyone to read.
		return fmt.Errorf("writing -docs: %w", err)
	}

	return nil
}
