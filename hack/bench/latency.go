package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// nameMemory is hookline with its journal in memory, nameDisk the disk alone.
	nameMemory = "hookline, journal in memory"
	nameDisk   = "the disk: 4 KiB, synced"
	// memoryFolder is on a file system in memory, where there is one.
	memoryFolder = "/dev/shm"
	// steadyRate is the load of the first latency, in events a second.
	steadyRate = 1000
	// badOf: of so many endpoints one hangs and one fails.
	badOf, hanging, failing = 10, 3, 7
)

// openResult is the latency from when an event was meant to be published until it was received.
type openResult struct {
	Subject string  `json:"subject"`
	What    string  `json:"what"`
	Rate    float64 `json:"eventsPerSecond"`
	// Latency has the median of the rounds for each percentile.
	Latency latencies   `json:"latency"`
	Rounds  []latencies `json:"rounds"`
}

// The loads of which latency is measured.
const (
	openSteady = "1,000 events/s"
	openHalf   = "half of the maximum"
)

// latency measures under loads of fixed rate.
func (b *bench) latency(ctx context.Context) (err error) {
	half, err := b.halfOfMaximum(ctx)
	if err != nil {
		return err
	}

	subjects := []*subject{}

	defer func() {
		for _, s := range subjects {
			err = errors.Join(err, s.stop())
		}
	}()

	options := []subjectOptions{{kind: kindHookline}, {kind: kindBare}}
	loads := []openResult{
		{Subject: string(kindHookline), What: openSteady, Rate: steadyRate},
		{Subject: string(kindHookline), What: openHalf, Rate: half},
		{Subject: string(kindBare), What: openSteady, Rate: steadyRate},
		{Subject: nameDisk, What: openSteady, Rate: steadyRate},
	}

	// A second journal tells apart what the disk does to latency and what the dispatcher does.
	if dir, err := os.MkdirTemp(memoryFolder, "bench-"); err != nil {
		b.sayf("  no journal in memory: %v", err)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

		options = append(options, subjectOptions{kind: kindHookline, name: nameMemory, dataDir: filepath.Join(dir, "journal")})
		loads = append(loads,
			openResult{Subject: nameMemory, What: openSteady, Rate: steadyRate},
			openResult{Subject: nameMemory, What: openHalf, Rate: half})
	}

	for _, o := range options {
		s, err := b.launchWith(ctx, o, base)
		if err != nil {
			return err
		}

		subjects = append(subjects, s)
	}

	for range b.scale.Rounds {
		for i := range loads {
			got, err := b.openRound(ctx, subjects, &loads[i])
			if err != nil {
				return err
			}

			loads[i].Rounds = append(loads[i].Rounds, got)
		}
	}

	for i := range loads {
		loads[i].Latency = medianLatencies(loads[i].Rounds)
	}

	b.report.Latency = loads

	return nil
}

// openRound measures one load once.
func (b *bench) openRound(ctx context.Context, subjects []*subject, of *openResult) (latencies, error) {
	if of.Subject == nameDisk {
		return b.diskLatencies(ctx, of.Rate)
	}

	s := subjects[slices.IndexFunc(subjects, func(s *subject) bool { return s.name == of.Subject })]

	return b.open(ctx, s, of.Rate, nil)
}

// diskLatencies writes and syncs by a schedule that waits for nobody, as events are published.
func (b *bench) diskLatencies(ctx context.Context, rate float64) (result latencies, err error) {
	file, err := os.Create(filepath.Join(b.work, "disk")) //nolint:gosec // The folder was made here.
	if err != nil {
		return latencies{}, fmt.Errorf("measuring the disk: %w", err)
	}

	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }() //nolint:gosec // It was made here.

	var (
		block   = make([]byte, probeBytes)
		count   = int(rate * b.scale.Open.Seconds())
		samples = make([]time.Duration, 0, count)
		began   = time.Now()
	)

	for i := range count {
		due := began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}

		_, err := file.Write(block)
		if err = errors.Join(ctx.Err(), err, file.Sync()); err != nil {
			return latencies{}, fmt.Errorf("measuring the disk: %w", err)
		}

		samples = append(samples, time.Since(due))
	}

	return distribution(samples), nil
}

// halfOfMaximum is half of what the headline measured; without it, of a measurement of its own.
func (b *bench) halfOfMaximum(ctx context.Context) (rate float64, err error) {
	most := b.report.find(headline()[0], string(kindHookline))
	if most == nil {
		s, err := b.launchWith(ctx, subjectOptions{kind: kindHookline}, base)
		if err != nil {
			return 0, err
		}

		most = &throughput{cell: headline()[0], Subject: s.name}
		if err := errors.Join(b.measure(ctx, s, most.cell, most), s.stop()); err != nil {
			return 0, err
		}
	}

	return most.events() / 2, nil
}

// open warms a subject up and applies a load of fixed rate.
func (b *bench) open(ctx context.Context, s *subject, rate float64, change func(*load)) (latencies, error) {
	l := load{
		fanOut: 1, endpoints: base, payload: payloadSmall, duration: b.scale.WarmUp, rate: rate, keep: true,
	}
	if change != nil {
		change(&l)
	}

	if _, err := b.apply(ctx, s, l); err != nil {
		return latencies{}, err
	}

	l.duration = b.scale.Open

	result, err := b.apply(ctx, s, l)
	if err != nil {
		return latencies{}, err
	}

	return distribution(result.latencies), nil
}

// isolationResult compares endpoints that are well with and without others that are not.
type isolationResult struct {
	Rate    float64     `json:"eventsPerSecond"`
	Without []latencies `json:"without"`
	With    []latencies `json:"with"`
	// Worst is the median of the rounds' p99 with bad endpoints, and Allowed that of what they may be:
	// the larger of 1.5 times and 5 ms more than without.
	Worst   time.Duration `json:"withP99Nanoseconds"`
	Allowed time.Duration `json:"allowedP99Nanoseconds"`
	Plain   time.Duration `json:"withoutP99Nanoseconds"`
}

const (
	isolationFactor = 1.5
	isolationSlack  = 5 * time.Millisecond
)

// allowedP99 is what the others' p99 may be beside bad endpoints.
func allowedP99(plain time.Duration) time.Duration {
	return max(time.Duration(isolationFactor*float64(plain)), plain+isolationSlack)
}

// isolation measures the same endpoints with and without bad ones beside them, in turn.
func (b *bench) isolation(ctx context.Context) error {
	result := isolationResult{Rate: steadyRate}

	for round := range b.scale.Rounds {
		for turn := range 2 {
			bad := (round+turn)%2 == 1

			got, err := b.isolated(ctx, bad)
			if err != nil {
				return err
			}

			if bad {
				result.With = append(result.With, got)
			} else {
				result.Without = append(result.Without, got)
			}
		}
	}

	var plain, worst, allowed []time.Duration

	for i := range result.With {
		plain = append(plain, result.Without[i].P99)
		worst = append(worst, result.With[i].P99)
		allowed = append(allowed, allowedP99(result.Without[i].P99))
	}

	result.Plain, result.Worst, result.Allowed = median(plain), median(worst), median(allowed)
	b.report.Isolation = &result

	return nil
}

func isGood(endpoint int) bool { return endpoint%badOf != hanging && endpoint%badOf != failing }

// goodOf is how many of the first events go to good endpoints.
func goodOf(events int64) int64 {
	const badEach = 2

	good := events / badOf * (badOf - badEach)
	for endpoint := range int(events % badOf) {
		if isGood(endpoint) {
			good++
		}
	}

	return good
}

// isolated is one run with a subject of its own.
func (b *bench) isolated(ctx context.Context, bad bool) (got latencies, err error) {
	s, err := b.launchWith(ctx, subjectOptions{kind: kindHookline}, base)
	if err != nil {
		return got, err
	}
	// Attempts at endpoints that hang are still under way, and need no grace.
	defer func() { err = errors.Join(err, s.kill()) }()

	return b.open(ctx, s, steadyRate, func(l *load) {
		l.counts = isGood
		// What fails is retried and what hangs may never arrive: the good endpoints' events are
		// what must have, each once.
		l.settled = func(accepted int64, c *collector) bool { return c.kept() >= goodOf(accepted) }

		if bad {
			l.answer = answerBadly
		}
	})
}

// answerBadly hangs and fails where it should.
func answerBadly(endpoint int, _ stamp, w http.ResponseWriter, r *http.Request) {
	switch endpoint % badOf {
	case hanging:
		<-r.Context().Done()
	case failing:
		w.WriteHeader(http.StatusInternalServerError)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (r *isolationResult) String() string {
	return fmt.Sprintf("p99 %s, %s beside bad endpoints", durationText(r.Plain), durationText(r.Worst))
}
