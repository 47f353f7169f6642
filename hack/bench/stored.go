package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// startResult is a start with events that are still to be delivered.
type startResult struct {
	Undelivered int `json:"undelivered"`
	// Ready is until it serves, First until the first delivery has arrived: medians, each from
	// the start of the process.
	Ready time.Duration `json:"readyNanoseconds"`
	First time.Duration `json:"firstDeliveryNanoseconds"`
	// Memory is what it held when the first delivery arrived.
	Memory int64 `json:"bytes"`
}

// firstTimeout is how long a first delivery may take.
const firstTimeout = 60 * time.Second

// startUp times starts of the real binary on a journal with undelivered events.
func (b *bench) startUp(ctx context.Context) error {
	made, err := b.sow(ctx, base, func(ctx context.Context, s *seed) error {
		return s.events(ctx, b.scale.Undelivered, func(batch *journal.Batch, of journal.Ref) {
			batch.Backlog = append(batch.Backlog, of)
		})
	})
	if err != nil {
		return err
	}

	var (
		result       = startResult{Undelivered: b.scale.Undelivered}
		ready, first []time.Duration
	)

	for range max(b.scale.Rounds, 1) {
		c := &collector{load: made.load, began: time.Now()}
		b.receiver.current.Store(c)

		s, err := b.launch(ctx, subjectOptions{kind: kindHookline, dataDir: made.dir})
		if err != nil {
			return err
		}

		for deadline := time.Now().Add(firstTimeout); c.first.Load() == 0 && err == nil; time.Sleep(time.Millisecond) {
			if err = errors.Join(ctx.Err(), s.failed()); err == nil && time.Now().After(deadline) {
				err = fmt.Errorf("no delivery arrived within %s", firstTimeout)
			}
		}

		result.Memory = max(result.Memory, s.rss())
		b.receiver.current.Store(nil)

		// What is left is for the next start.
		if err := errors.Join(err, s.kill()); err != nil {
			return err
		}

		ready = append(ready, s.readyAfter)
		first = append(first, time.Duration(c.first.Load()))
	}

	result.Ready, result.First = median(ready), median(first)
	b.report.Start = &result

	return nil
}

// attemptsResult is how long the latest attempts of one subscription take, asked by the API.
type attemptsResult struct {
	Attempts int `json:"attempts"`
	// Of is how many subscriptions they belong to.
	Of int `json:"subscriptions"`
	// Warm is the median of requests after the first one; Cold that of first requests after a
	// start with the journal's files dropped from the page cache.
	Warm time.Duration `json:"warmNanoseconds"`
	Cold time.Duration `json:"coldNanoseconds"`
	// ColdRead is how much such a request had read from the disk, in bytes, median.
	ColdRead int64 `json:"coldReadBytes"`
	// Dropped is false where the page cache could not be dropped: cold is then a new process alone.
	Dropped bool `json:"pageCacheDropped"`
}

const (
	// latest is how many attempts are asked for.
	latest = 100
	// attemptsEach is how many attempts the journal keeps of one subscription.
	attemptsEach = 1000
	warmRequests = 50
)

// attempts times the log of attempts on a journal full of them.
func (b *bench) attempts(ctx context.Context) error {
	result := attemptsResult{Attempts: b.scale.Attempts, Of: max(1, b.scale.Attempts/attemptsEach), Dropped: true}

	made, err := b.sow(ctx, result.Of, func(ctx context.Context, s *seed) error { return s.attempts(ctx, b.scale.Attempts) })
	if err != nil {
		return err
	}

	var (
		warm, cold []time.Duration
		read       []int64
	)

	for round := range max(b.scale.Rounds, 1) {
		if err := dropCache(made.dir); err != nil {
			result.Dropped = false
			b.sayf("  cold is a new process alone: %v", err)
		}

		first, bytes, later, err := b.ask(ctx, made, round)
		if err != nil {
			return err
		}

		cold, read, warm = append(cold, first), append(read, bytes), append(warm, later...)
	}

	result.Cold, result.ColdRead, result.Warm = median(cold), median(read), median(warm)
	b.report.Attempts = &result

	return nil
}

// ask starts the real binary on the journal and asks for a subscription's attempts.
func (b *bench) ask(ctx context.Context, made *seed, round int) (first time.Duration, read int64, later []time.Duration, err error) {
	s, err := b.launch(ctx, subjectOptions{kind: kindHookline, dataDir: made.dir})
	if err != nil {
		return 0, 0, nil, err
	}

	defer func() { err = errors.Join(err, s.stop()) }()

	client, err := s.client(ctx)
	if err != nil {
		return 0, 0, nil, err
	}

	id := made.ids[(round+1)*len(made.ids)/(b.scale.Rounds+2)]
	before := s.readBytes()

	for i := range warmRequests {
		began := time.Now()

		entries, err := client.Logs(ctx, id, subscription.LogQuery{Limit: latest})
		if err != nil {
			return 0, 0, nil, fmt.Errorf("asking for attempts: %w", err)
		}
		if len(entries) != latest {
			return 0, 0, nil, fmt.Errorf("asking for attempts: %d came, not %d", len(entries), latest)
		}

		if i == 0 {
			first, read = time.Since(began), s.readBytes()-before
		} else {
			later = append(later, time.Since(began))
		}
	}

	return first, read, later, nil
}

// attemptsInRow is how many attempts of one subscription come one after the other.
const attemptsInRow = 100

// attempts settles attempts, and nothing else of their deliveries: a row of each subscription, in
// the order of their ids, round after round, so that those of each stand in several tables. From
// a random order the store would need minutes to bring them into this one.
func (s *seed) attempts(ctx context.Context, count int) error {
	began := time.Now().Add(-time.Hour)

	slices.Sort(s.ids)

	for done := 0; done < count; {
		batch := journal.Batch{Cursor: 1, Outcomes: make([]journal.Outcome, min(seedBatch, count-done))}
		for i := range batch.Outcomes {
			number := done + i
			of := number / attemptsInRow % len(s.ids)
			ref := journal.Ref{Subscription: s.ids[of], Seq: 1}
			batch.Outcomes[i] = journal.Outcome{
				Ref: ref, Tenant: tenant, Result: journal.Delivered, Attempt: &journal.Attempt{
					DeliveryID: fmt.Sprintf("msg_%032d", number), EventID: fmt.Sprintf("seed-%d", number),
					EventType: fmt.Sprintf(typeOne, of), Number: 1, At: began.Add(time.Duration(number) * time.Microsecond),
					Latency: time.Millisecond, Success: true, ResponseCode: http.StatusNoContent,
					ResponseText: http.StatusText(http.StatusNoContent),
				},
			}
		}

		if err := s.store.Settle(ctx, 0, s.epoch, batch); err != nil {
			return fmt.Errorf("settling: %w", err)
		}

		done += len(batch.Outcomes)
	}

	return nil
}

// retriesResult is how late retries are.
type retriesResult struct {
	Retries  int           `json:"retries"`
	Wait     time.Duration `json:"waitNanoseconds"`
	Lateness latencies     `json:"lateness"`
	// Early are those that came before they were due.
	Early int `json:"early"`
}

const (
	// retryWait is the wait before the second attempt.
	retryWait = 2 * time.Second
	// failEvery is which first attempts fail: so few that no circuit opens, which makes retries wait on purpose.
	failEvery = 3
)

// retries has first attempts fail, one in a few, and looks when the second ones come.
func (b *bench) retries(ctx context.Context) (err error) {
	// The jitter is taken out, so that it is known when a retry is due: the parts are put
	// together here for this.
	s, err := b.launchWith(ctx, subjectOptions{kind: kindEmbedded, schedule: "0s," + retryWait.String()}, base)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, s.stop()) }()

	const rate = 200

	var (
		mu     sync.Mutex
		failed = map[int64]time.Time{}
		late   []time.Duration
	)

	l := load{
		fanOut: 1, endpoints: base, payload: payloadSmall, rate: rate,
		duration: time.Duration(b.scale.Retries) * time.Second / rate,
	}
	l.answer = func(_ int, of stamp, w http.ResponseWriter, _ *http.Request) {
		now := time.Now()

		mu.Lock()
		defer mu.Unlock()

		at, again := failed[of.number]
		if !again && of.number%failEvery != 0 {
			w.WriteHeader(http.StatusNoContent)

			return
		}

		if !again {
			failed[of.number] = now

			w.WriteHeader(http.StatusInternalServerError)

			return
		}

		late = append(late, now.Sub(at)-retryWait)

		w.WriteHeader(http.StatusNoContent)
	}
	l.settled = func(accepted int64, c *collector) bool {
		mu.Lock()
		defer mu.Unlock()

		return len(late) == len(failed) && c.received.Load() >= accepted+int64(len(failed))
	}

	if _, err := b.apply(ctx, s, l); err != nil {
		return err
	}

	mu.Lock()
	defer mu.Unlock()

	early := 0

	for _, by := range late {
		if by < 0 {
			early++
		}
	}

	b.report.Retries = &retriesResult{Retries: len(late), Wait: retryWait, Lateness: distribution(slices.Clone(late)), Early: early}

	return nil
}

// drainResult is how fast retries go out that are due at once.
type drainResult struct {
	Due int `json:"due"`
	// Took is from the first to the last delivery.
	Took      time.Duration `json:"tookNanoseconds"`
	PerSecond float64       `json:"deliveriesPerSecond"`
	Memory    int64         `json:"peakBytes"`
}

// drainTimeout bounds the drain.
const drainTimeout = 5 * time.Minute

// drain starts the real binary on a journal whose retries are all due.
func (b *bench) drain(ctx context.Context) (err error) {
	due := time.Now().Add(-time.Minute)

	made, err := b.sow(ctx, base, func(ctx context.Context, s *seed) error {
		return s.events(ctx, b.scale.Due, func(batch *journal.Batch, of journal.Ref) {
			batch.Outcomes = append(batch.Outcomes, journal.Outcome{
				Ref: of, Tenant: tenant, Result: journal.Retry, NextAttempt: due,
			})
		})
	})
	if err != nil {
		return err
	}

	c := &collector{load: made.load, began: time.Now()}
	b.receiver.current.Store(c)
	defer b.receiver.current.Store(nil)

	s, err := b.launch(ctx, subjectOptions{kind: kindHookline, dataDir: made.dir})
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, s.stop()) }()

	watch := s.watchMemory(ctx)

	for deadline := time.Now().Add(drainTimeout); c.received.Load() < int64(b.scale.Due); time.Sleep(pollEvery) {
		if err := errors.Join(ctx.Err(), s.failed()); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("of %d retries that were due, %d arrived within %s", b.scale.Due, c.received.Load(), drainTimeout)
		}
	}

	result := drainResult{Due: b.scale.Due, Took: time.Duration(c.last.Load() - c.first.Load()), Memory: watch()}
	if result.Took > 0 {
		result.PerSecond = float64(result.Due) / result.Took.Seconds()
	}

	b.report.Drain = &result

	return nil
}
