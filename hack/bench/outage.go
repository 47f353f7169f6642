package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// outageResult is what an endpoint costs that is down while events wait for it, and how it catches up.
type outageResult struct {
	Waiting int `json:"waiting"`
	// Memory is how much more the process held at most than one that accepted as many, of which only the
	// last waits for its endpoint, which is down too: the median of the rounds.
	Memory int64 `json:"extraBytes"`
	// PerSecond is the rate of catching up.
	PerSecond float64 `json:"deliveriesPerSecond"`
	// Displaced is how many of the deliveries that were caught up with came after more than
	// outageWindow later ones: those that had been tried while it was down wait for their retry.
	Displaced int `json:"displaced"`
	CaughtUp  int `json:"caughtUp"`
}

const (
	// outageLasts is how long the endpoint is down, and catchingUp how long it may then take.
	outageLasts = 5 * time.Second
	catchingUp  = 10 * time.Second
	// catchUpTimeout is how long the first delivery may take once the endpoint is well: it is probed by then.
	catchUpTimeout = 2 * time.Minute
	// outageWindow is how many deliveries may be under way at once, and so pass each other.
	outageWindow = 64
)

// outage starts the real binary on journals in which events wait for one endpoint that answers
// 503, and lets it be well again.
func (b *bench) outage(ctx context.Context) error {
	result := outageResult{Waiting: b.scale.Undelivered}

	few, err := b.sowWaiting(ctx, result.Waiting, 1)
	if err != nil {
		return err
	}

	many, err := b.sowWaiting(ctx, result.Waiting, result.Waiting)
	if err != nil {
		return err
	}

	var extra []int64

	for range b.scale.Rounds {
		without, err := b.bearOutage(ctx, few, nil)
		if err != nil {
			return err
		}

		with, err := b.bearOutage(ctx, many, nil)
		if err != nil {
			return err
		}

		extra = append(extra, with-without)
	}

	result.Memory = median(extra)
	if _, err := b.bearOutage(ctx, many, &result); err != nil {
		return err
	}

	b.report.Outage = &result

	return nil
}

// sowWaiting makes a journal with one endpoint for which the last of its events wait.
func (b *bench) sowWaiting(ctx context.Context, count, waiting int) (*seed, error) {
	return b.sow(ctx, 1, func(ctx context.Context, s *seed) error {
		left := count

		return s.events(ctx, count, func(batch *journal.Batch, of journal.Ref) {
			if left <= waiting {
				batch.Backlog = append(batch.Backlog, of)
			}

			left--
		})
	})
}

// arrivals are the numbers of events in the order in which they arrived, once their endpoint is well.
type arrivals struct {
	mu      sync.Mutex
	well    bool
	since   time.Time
	last    time.Time
	numbers []int64
}

// answer is that of the endpoint.
func (a *arrivals) answer(_ int, of stamp, w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if !a.well {
		w.WriteHeader(http.StatusServiceUnavailable)

		return
	}

	a.last = time.Now()
	if len(a.numbers) == 0 {
		a.since = a.last
	}

	a.numbers = append(a.numbers, of.number)
	w.WriteHeader(http.StatusNoContent)
}

func (a *arrivals) heal() {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.well = true
}

// progress is how many have arrived, and when the first one did.
func (a *arrivals) progress() (count int, since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()

	return len(a.numbers), a.since
}

// bearOutage returns the most that the process held while the endpoint was down. With a result it goes on to
// let it catch up; otherwise the journal is left as it was, but for the attempts.
func (b *bench) bearOutage(ctx context.Context, made *seed, result *outageResult) (memory int64, err error) {
	var arrived arrivals

	b.receiver.current.Store(&collector{load: made.load, began: time.Now(), answer: arrived.answer})
	defer b.receiver.current.Store(nil)

	s, err := b.launch(ctx, subjectOptions{kind: kindHookline, dataDir: made.dir})
	if err != nil {
		return 0, err
	}

	// What is left waits for the next start.
	defer func() { err = errors.Join(err, s.kill()) }()

	watch := s.watchMemory(ctx)

	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(outageLasts):
	}

	memory = watch()
	if result == nil {
		return memory, s.failed()
	}

	arrived.heal()

	for deadline := time.Now().Add(catchUpTimeout); ; time.Sleep(pollEvery) {
		if err := errors.Join(ctx.Err(), s.failed()); err != nil {
			return 0, err
		}

		count, since := arrived.progress()
		if count >= result.Waiting || count > 0 && time.Since(since) > catchingUp {
			break
		}

		if count == 0 && time.Now().After(deadline) {
			return 0, fmt.Errorf("no delivery arrived within %s of the end of an outage", catchUpTimeout)
		}
	}

	arrived.mu.Lock()
	defer arrived.mu.Unlock()

	result.CaughtUp = len(arrived.numbers)
	result.Displaced = displaced(arrived.numbers, outageWindow)

	if took := arrived.last.Sub(arrived.since); took > 0 {
		result.PerSecond = float64(result.CaughtUp) / took.Seconds()
	}

	return memory, nil
}

// displaced counts the numbers that come after more than so many higher ones.
func displaced(numbers []int64, window int) int {
	// highest are the highest numbers so far, in falling order.
	var (
		highest []int64
		count   int
	)

	for _, number := range numbers {
		at := len(highest)
		for at > 0 && highest[at-1] < number {
			at--
		}

		if at > window {
			count++

			continue
		}

		highest = append(highest, 0)
		copy(highest[at+1:], highest[at:])
		highest[at] = number
		highest = highest[:min(len(highest), window+1)]
	}

	return count
}
