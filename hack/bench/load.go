package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxEvents bounds a load in count.
	maxEvents = 2_000_000
	// settleTime is how long after a load all of it may take to arrive.
	settleTime = 60 * time.Second
	// pollEvery is how often it is looked whether it has.
	pollEvery = 2 * time.Millisecond
	// restTime is between two loads, for what goes on in the background.
	restTime = 250 * time.Millisecond
	// openPublishers is how many requests of a load of fixed rate may be under way at once.
	openPublishers = 256
	// maxTypes is how many event types a load has at the most.
	maxTypes = 5000
)

// load is what is asked of a subject.
type load struct {
	publishers int
	fanOut     int
	// endpoints is how many subscriptions there are.
	endpoints int
	payload   int
	duration  time.Duration
	// rate is how many events are sent in a second, on a schedule that does not wait for the
	// subject; 0: each publisher sends the next event when the one before is answered.
	rate float64
	// keep, counts and answer are the collector's.
	keep   bool
	counts func(endpoint int) bool
	answer func(endpoint int, of stamp, w http.ResponseWriter, r *http.Request)
	// settled tells when all that is to arrive has; nil: when every event has, fanOut times.
	settled func(accepted int64, c *collector) bool
}

// loadResult is what became of it.
type loadResult struct {
	accepted, received int64
	// took is from the first publish to the last receipt, so a subject that accepts faster than
	// it delivers gains nothing by it.
	took      time.Duration
	latencies []time.Duration
	// cpu is what the subject's process spent, peak the most memory it held.
	cpu  time.Duration
	peak int64
}

func (r loadResult) eventsPerSecond() float64 {
	if r.took <= 0 {
		return 0
	}

	return float64(r.accepted) / r.took.Seconds()
}

// loads numbers the loads of this process.
var loads atomic.Int64

// apply puts a load on a subject.
func (b *bench) apply(ctx context.Context, s *subject, l load) (loadResult, error) {
	c := &collector{load: loads.Add(1), began: time.Now(), keep: l.keep, counts: l.counts, answer: l.answer}
	b.receiver.current.Store(c)
	defer b.receiver.current.Store(nil)

	watch := s.watchMemory(ctx)
	before := s.cpu()

	accepted, err := publish(ctx, s.publishURL(l.fanOut), l, c)
	if err == nil {
		err = awaitDelivered(ctx, s, l, c, accepted)
	}

	result := loadResult{
		accepted: accepted, received: c.received.Load(), took: time.Duration(c.last.Load()), latencies: c.samples(),
		cpu: s.cpu() - before, peak: watch(),
	}
	if err != nil {
		return result, fmt.Errorf("a load on %s: %w", s.name, err)
	}

	time.Sleep(restTime)

	return result, nil
}

// awaitDelivered waits until what was accepted has arrived.
func awaitDelivered(ctx context.Context, s *subject, l load, c *collector, accepted int64) error {
	settled := l.settled
	if settled == nil {
		settled = func(accepted int64, c *collector) bool { return c.received.Load() >= accepted*int64(l.fanOut) }
	}

	for deadline := time.Now().Add(settleTime); !settled(accepted, c); time.Sleep(pollEvery) {
		if err := errors.Join(ctx.Err(), s.failed()); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("of %d accepted events at fan-out %d, %d deliveries arrived within %s",
				accepted, l.fanOut, c.received.Load(), settleTime)
		}
	}

	return nil
}

// publish sends events until the load's time is over, and returns how many were accepted.
// Every answer but 202 is an error: a subject that refuses is not measured.
func publish(ctx context.Context, url string, l load, c *collector) (int64, error) {
	publishers := l.publishers
	if l.rate > 0 {
		publishers = openPublishers
	}

	transport := &http.Transport{MaxIdleConnsPerHost: publishers, DisableCompression: true}
	defer transport.CloseIdleConnections()

	p := &publication{
		client: &http.Client{Transport: transport, Timeout: requestTimeout}, url: url, load: l, collector: c,
		types: int64(min(l.endpoints, maxTypes)),
	}
	if l.fanOut > 1 {
		p.types = max(1, p.types/tenfold)
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	shared := newTemplate(l.payload, l.fanOut)

	var group sync.WaitGroup
	for range publishers {
		group.Go(func() {
			if err := p.run(ctx, shared.clone()); err != nil {
				cancel(err)
			}
		})
	}

	group.Wait()

	return p.accepted.Load(), context.Cause(ctx)
}

// publication is one load on its way.
type publication struct {
	client    *http.Client
	url       string
	load      load
	collector *collector
	types     int64
	next      atomic.Int64
	accepted  atomic.Int64
}

// run is one publisher.
func (p *publication) run(ctx context.Context, event template) error {
	for ctx.Err() == nil {
		number := p.next.Add(1) - 1
		meant := time.Since(p.collector.began)

		if p.load.rate > 0 {
			// Latency counts from here, however late the event goes out: a subject that stalls
			// is charged with all that would have been sent meanwhile.
			meant = time.Duration(float64(number) / p.load.rate * float64(time.Second))
		}
		if meant >= p.load.duration || number >= maxEvents {
			return nil
		}

		time.Sleep(time.Until(p.collector.began.Add(meant)))

		if err := p.send(ctx, event.fill(p.collector.load, number, meant, int(number%p.types))); err != nil {
			return err
		}

		p.accepted.Add(1)
	}

	return nil
}

func (p *publication) send(ctx context.Context, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("publishing: %w", err)
	}

	request.Header.Set("Content-Type", "application/cloudevents+json")
	request.Header.Set("Authorization", "Bearer "+token)

	response, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("publishing: %w", err)
	}

	defer func() { _ = response.Body.Close() }()

	const maxAnswer = 4 << 10

	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("publishing: %w", err)
	}

	if response.StatusCode != http.StatusAccepted {
		return errors.New("publishing: the answer is " + strconv.Itoa(response.StatusCode) + ": " + string(answer))
	}

	return nil
}
