package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
)

// matchingResult is the cost of one match among many subscriptions.
type matchingResult struct {
	Subscriptions int           `json:"subscriptions"`
	PerEvent      time.Duration `json:"perEventNanoseconds"`
	Matches       float64       `json:"matchesPerEvent"`
}

// patternMix says what the subscriptions of the measurement take; it stands in the report.
const patternMix = "80 % exact names (service7.entity3.created), 15 % a prefix (prefix3.*), " +
	"5 % a wildcard within a segment (service7.ent*-3.created); one pattern each, event types drawn evenly among them"

// matchFor is how long each size is measured.
const matchFor = time.Second

// matching measures the matcher alone, which has no process of its own.
func (b *bench) matching(ctx context.Context) error {
	for _, size := range []int{10_000, 100_000} {
		if err := ctx.Err(); err != nil {
			return err //nolint:wrapcheck // It says that the run was ended.
		}

		b.report.Matching = append(b.report.Matching, measureMatching(size, b.scale.Rounds, matchFor))
	}

	return nil
}

// mixed is the i-th subscription's pattern, and an event type that it takes.
func mixed(i int) (pattern, eventType string) {
	const of, exact, prefix = 20, 16, 19

	switch service := i % base; {
	case i%of < exact:
		pattern = fmt.Sprintf("service%d.entity%d.created", service, i)

		return pattern, pattern
	case i%of < prefix:
		return fmt.Sprintf("prefix%d.*", i), fmt.Sprintf("prefix%d.entity.created", i)
	default:
		return fmt.Sprintf("service%d.ent*-%d.created", service, i), fmt.Sprintf("service%d.entity-%d.created", service, i)
	}
}

func measureMatching(size, rounds int, duration time.Duration) matchingResult {
	matcher := registry.NewMatcher()
	types := make([]string, 0, size)

	for i := range size {
		sub := &registry.Subscription{Tenant: tenant}
		sub.ID, sub.Enabled = fmt.Sprintf("%08d", i), true

		pattern, eventType := mixed(i)
		sub.Events = []string{pattern}
		types = append(types, eventType)

		matcher.Put(sub)
	}

	random := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // The same order at each run.
	random.Shuffle(size, func(i, j int) { types[i], types[j] = types[j], types[i] })

	const between = 1000

	var (
		found   []*registry.Subscription
		times   []time.Duration
		matches int
		events  int
	)

	for range max(1, rounds) {
		began, count := time.Now(), 0

		for time.Since(began) < duration {
			for range between {
				found = matcher.Match(tenant, types[events%size], found[:0])
				matches += len(found)
				events++
			}

			count += between
		}

		times = append(times, time.Since(began)/time.Duration(count))
	}

	return matchingResult{Subscriptions: size, PerEvent: median(times), Matches: float64(matches) / float64(events)}
}
