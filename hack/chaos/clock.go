package main

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher"
	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
	"github.com/hookline-dev/hookline/internal/dispatcher/tokens"
)

// steppedClock is the real clock, off by as much as it was stepped. Waits take as long as they
// take: a step moves no timer, as on a real machine. Times read before and after a step differ
// by it even where a real clock's monotonic part would hide it, which is the harder case.
type steppedClock struct {
	clockwork.Clock

	offset atomic.Int64
}

func newSteppedClock() *steppedClock { return &steppedClock{Clock: clockwork.NewRealClock()} }

// step makes the clock off by so much.
func (c *steppedClock) step(offset time.Duration) { c.offset.Store(int64(offset)) }

// Now implements clockwork.Clock.
func (c *steppedClock) Now() time.Time { return c.Clock.Now().Add(time.Duration(c.offset.Load())) }

// Since implements clockwork.Clock.
func (c *steppedClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// Until implements clockwork.Clock.
func (c *steppedClock) Until(t time.Time) time.Duration { return t.Sub(c.Now()) }

// clockStep is how far the clock is stepped.
const clockStep = time.Hour

// clockPhase steps the clock of a dispatcher by an hour, back and forth. No process may set the
// machine's clock, so the dispatcher runs inside this program, put together by its own package.
func clockPhase(ctx context.Context, cfg *config) *result {
	r := newResult("clock")

	goroutines := runtime.NumGoroutine()

	lab, err := newLab(ctx, cfg, r.Phase, []*endpoint{
		{tenant: tenantPlain, name: nameEverything, events: []string{patternAll}},
		{tenant: tenantPlain, name: nameOrders, events: []string{patternOrders}},
		{
			tenant: tenantMixed, name: "retried", events: []string{patternAll}, mayDie: true,
			hostile: &hostility{name: "retried", share: hostileShare, patience: 2, acts: []act{
				status(500), retryAfter(503, func() string { return "1" }),
			}},
		},
	})
	if !r.must("preparing", err) {
		return r.end()
	}

	defer lab.close()

	clock := newSteppedClock()

	stop, err := startStepped(ctx, lab, clock)
	if !r.must("starting", err) || !r.must("subscribing", lab.subscribe(ctx)) {
		return r.end()
	}

	publishing, cancel := context.WithCancel(ctx)
	defer cancel()

	lab.publish(publishing)

	// The last step is forward: what was put off while the clock was ahead is due then.
	steps := []time.Duration{0, clockStep, 0, -clockStep, 0, clockStep}
	waiting := make([]int, len(steps))

	for i, offset := range steps {
		clock.step(offset)

		select {
		case <-ctx.Done():
		case <-time.After(cfg.duration / time.Duration(len(steps))):
		}

		_, waiting[i] = lab.book.open()
	}

	stopping := time.AfterFunc(cfg.drain, cancel)
	lab.pubs.finish()
	stopping.Stop()
	r.must("draining", lab.drain(ctx, cfg.drain))
	r.must("ending", stop())
	r.judge(lab.book, maxDuplicates)

	lab.close()
	r.leaks(ctx, goroutines)
	r.Figures["openAfterEachStep"] = waiting
	r.notef("the clock went %v; open deliveries before the next step: %v", steps, waiting)

	return r.end()
}

// startStepped runs a whole dispatcher on a clock.
func startStepped(ctx context.Context, l *lab, clock clockwork.Clock) (stop func() error, err error) {
	schedule, err := delivery.ParseSchedule(retrySchedule)
	if err != nil {
		return nil, fmt.Errorf("reading the schedule: %w", err)
	}

	d, err := dispatcher.New(ctx, dispatcher.Config{
		DataDir: l.launcher.data, Authenticator: tokens.Open(l.launcher.tokens, tokens.Options{Log: quietLog()}),
		Egress: delivery.NewEgressPolicy(loopback), Schedule: schedule, Timeout: time.Second, Version: "chaos",
		Clock: clock, Log: quietLog(),
	})
	if err != nil {
		return nil, fmt.Errorf("building the dispatcher: %w", err)
	}

	var config net.ListenConfig

	listener, err := config.Listen(ctx, "tcp", l.launcher.listen)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}

	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)

	go func() { ended <- d.Run(running, listener) }()

	return func() error {
		cancel()

		if err := <-ended; err != nil {
			return fmt.Errorf("running the dispatcher: %w", err)
		}

		return d.Close()
	}, nil
}
