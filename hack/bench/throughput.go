package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// base is how many subscriptions there are where nothing else is said.
	base = 100
	// fsyncAdded is what the slow variant adds to each fsync.
	fsyncAdded = time.Millisecond
	// nameSlow is that variant in the tables.
	nameSlow = "hookline, fsync +1 ms"

	fewPublishers  = 64
	manyPublishers = 256
)

// cell is one combination of dimensions.
type cell struct {
	Publishers    int `json:"publishers"`
	FanOut        int `json:"fanOut"`
	Subscriptions int `json:"subscriptions"`
	Payload       int `json:"payloadBytes"`
}

func (c cell) String() string {
	return fmt.Sprintf("%d publishers, fan-out %d, %d subscriptions, %s", c.Publishers, c.FanOut, c.Subscriptions, sizeText(c.Payload))
}

func (c cell) load(duration time.Duration) load {
	return load{publishers: c.Publishers, fanOut: c.FanOut, endpoints: c.Subscriptions, payload: c.Payload, duration: duration}
}

// throughput is what one subject did in one cell.
type throughput struct {
	cell

	Subject string `json:"subject"`
	// EventsPerSecond are the rounds; the same rounds of two subjects were measured side by side.
	EventsPerSecond []float64 `json:"eventsPerSecond"`
	// CPU is the subject's processor time for one event, median.
	CPU time.Duration `json:"cpuPerEventNanoseconds"`
	// Memory is the most it held, in bytes.
	Memory int64 `json:"peakBytes"`

	cpus []time.Duration
}

func (t *throughput) events() float64 { return median(t.EventsPerSecond) }

func (t *throughput) deliveries() float64 { return t.events() * float64(t.FanOut) }

func (t *throughput) add(r loadResult) {
	t.EventsPerSecond = append(t.EventsPerSecond, r.eventsPerSecond())
	t.Memory = max(t.Memory, r.peak)

	if r.accepted > 0 {
		t.cpus = append(t.cpus, r.cpu/time.Duration(r.accepted))
		t.CPU = median(t.cpus)
	}
}

// headline are the cells that have targets.
func headline() []cell {
	return []cell{
		{manyPublishers, 1, base, payloadSmall},
		{fewPublishers, 1, base, payloadSmall},
		{manyPublishers, tenfold, base, payloadSmall},
	}
}

// throughput measures the headline: every subject in every cell, in turn, so that what else
// the machine does meets all of them; the order changes from round to round.
func (b *bench) throughput(ctx context.Context) error {
	return b.side(ctx, headline(), base, b.scale.Rounds, []subjectOptions{
		{kind: kindHookline}, {kind: kindBare}, {kind: kindDiscard},
		{kind: kindEmbedded, name: nameSlow, fsyncDelay: fsyncAdded},
	})
}

// grid measures one dimension at a time around the headline, once.
func (b *bench) grid(ctx context.Context) error {
	three := []subjectOptions{{kind: kindHookline}, {kind: kindBare}, {kind: kindDiscard}}

	around := []cell{
		{fewPublishers, tenfold, base, payloadSmall},
		{manyPublishers, 1, base, payloadMiddle},
		{manyPublishers, 1, base, payloadLarge},
		{manyPublishers, tenfold, base, payloadMiddle},
	}
	if err := b.side(ctx, around, base, 1, three); err != nil {
		return err
	}
	if err := b.side(ctx, []cell{{manyPublishers, 1, 1, payloadSmall}}, 1, 1, three); err != nil {
		return err
	}

	if err := b.idleMemory(ctx); err != nil {
		return err
	}

	many := []cell{{manyPublishers, 1, b.scale.Many, payloadSmall}, {manyPublishers, tenfold, b.scale.Many, payloadSmall}}

	return b.side(ctx, many, b.scale.Many, 1, three)
}

// side measures subjects side by side.
func (b *bench) side(ctx context.Context, cells []cell, subscriptions, rounds int, options []subjectOptions) (err error) {
	var subjects []*subject

	defer func() {
		for _, s := range subjects {
			err = errors.Join(err, s.stop())
		}
	}()

	for _, o := range options {
		s, err := b.launchWith(ctx, o, subscriptions)
		if err != nil {
			return err
		}

		subjects = append(subjects, s)
	}

	for _, c := range cells {
		results := make([]throughput, len(subjects))
		for i, s := range subjects {
			results[i] = throughput{cell: c, Subject: s.name}
		}

		for round := range rounds {
			for turn := range subjects {
				at := (turn + round) % len(subjects)
				if err := b.measure(ctx, subjects[at], c, &results[at]); err != nil {
					return err
				}
			}
		}

		for i := range results {
			b.sayf("  %s: %s: %.0f events/s", c, results[i].Subject, results[i].events())
		}

		b.report.Throughput = append(b.report.Throughput, results...)
	}

	return nil
}

// measure warms a subject up and measures it once.
func (b *bench) measure(ctx context.Context, s *subject, c cell, into *throughput) error {
	if _, err := b.apply(ctx, s, c.load(b.scale.WarmUp)); err != nil {
		return err
	}

	result, err := b.apply(ctx, s, c.load(b.scale.Window))
	if err != nil {
		return err
	}

	into.add(result)

	return nil
}

// find is what a subject did in a cell; nil where it was not measured.
func (r *report) find(c cell, subject string) *throughput {
	at := slices.IndexFunc(r.Throughput, func(t throughput) bool { return t.cell == c && t.Subject == subject })
	if at < 0 {
		return nil
	}

	return &r.Throughput[at]
}

// memory is how much memory a subject held.
type memory struct {
	What  string `json:"what"`
	Bytes int64  `json:"bytes"`
}

// idleTime is how long nothing happens before a process counts as idle.
const idleTime = 3 * time.Second

// idleMemory measures the real binary with many subscriptions and nothing to do: after it has
// created them, and after a start with them.
func (b *bench) idleMemory(ctx context.Context) (err error) {
	s, err := b.launchWith(ctx, subjectOptions{kind: kindHookline}, b.scale.Many)
	if err != nil {
		return err
	}

	time.Sleep(idleTime)
	b.report.Memory = append(b.report.Memory, memory{What: memoryCreated, Bytes: s.rss()})

	if err := s.stop(); err != nil {
		return err
	}

	s, err = b.launch(ctx, subjectOptions{kind: kindHookline, dataDir: s.dataDir})
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, s.stop()) }()

	time.Sleep(idleTime)
	b.report.Memory = append(b.report.Memory, memory{What: memoryIdle, Bytes: s.rss()})

	return nil
}

// What memory was measured of.
const (
	memoryCreated = "idle after they were created"
	memoryIdle    = "idle after a start"
)
