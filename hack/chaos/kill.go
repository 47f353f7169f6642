package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	// maxDuplicates is the share of deliveries that may arrive again with a SIGKILL every 5 s.
	maxDuplicates = 0.01
	// maxMemoryGrowth is how much more than a fresh process on the same journal a drained one may
	// hold. Its caches account for it: 32 MiB of payloads, 8 MiB of blocks, and memtables.
	maxMemoryGrowth = 64 << 20
	// maxMoreFiles is how many more files: the store's tables stay open, up to its own limit.
	maxMoreFiles = 64
	// settleLimit is how long descriptors and memory may take to come down.
	settleLimit = 30 * time.Second
	// quietFor is how long nothing may arrive once everything has.
	quietFor = time.Second
	// restFor is the least time between two outages of one endpoint.
	restFor = 15 * time.Second
	// goneEvents are published before an endpoint answers 410: few enough for no circuit to open.
	goneEvents = 3
)

// campaign is one run of the main phase.
type campaign struct {
	*lab

	mu      sync.Mutex
	process *process
	kills   int
	terms   int
	slowest time.Duration
	// scripts are faults that take their time.
	scripts sync.WaitGroup
	cycles  int
	gone    sync.Mutex
	// rested is when an endpoint may have its next outage: the attempts of a delivery span one.
	rested map[*endpoint]time.Time
}

// killPhase runs the binary under kills and hostile receivers.
func killPhase(ctx context.Context, cfg *config) *result {
	r := newResult("kill")

	lab, err := newLab(ctx, cfg, r.Phase, standardEndpoints())
	if !r.must("preparing", err) {
		return r.end()
	}

	defer lab.close()

	if cfg.enclosed != nil {
		r.notef("no name changes its answer: %v", cfg.enclosed)
	}

	c := &campaign{lab: lab, rested: map[*endpoint]time.Time{}}
	faults := plan(cfg.seed, cfg.duration)
	printPlan(cfg.progress, cfg.seed, faults)

	if c.process, err = lab.launcher.start(ctx); !r.must("starting", err) {
		return r.end()
	}

	defer func() { _ = c.current().kill() }()

	fresh, err := vitalsOf(c.current().pid())
	if !r.must("looking at the process", err) || !r.must("subscribing", lab.subscribe(ctx)) {
		return r.end()
	}

	for _, missing := range lab.notOffered {
		r.notef("left out, for the dispatcher does not offer it: %s", missing)
	}

	publishing, cancel := context.WithCancel(ctx)
	defer cancel()

	lab.publish(publishing)

	r.must("the schedule", c.run(ctx, cfg.duration, faults))
	c.scripts.Wait()

	stopping := time.AfterFunc(cfg.drain, cancel)
	lab.pubs.finish()
	stopping.Stop()

	r.must("draining", lab.drain(ctx, cfg.drain))

	c.aftermath(ctx, r, fresh)

	verdict := r.judge(lab.book, maxDuplicates)
	r.check("kills", "at least 1", c.kills, c.kills > 0)
	r.Figures["kills"], r.Figures["terminations"], r.Figures["suspensions"] = c.kills, c.terms, c.cycles
	r.Figures["slowestStart"], r.Figures["slowestStop"] = lab.launcher.slowest.String(), c.slowest.String()
	r.Figures["answers"] = lab.pubs.answers()
	r.notef("%d kills, %d terminations, %d suspensions; %d of %d tries came to a failure; answers %v",
		c.kills, c.terms, c.cycles, verdict.Tries-verdict.Delivered-verdict.Duplicates, verdict.Tries, lab.pubs.answers())

	return r.end()
}

// current is the process that runs now.
func (c *campaign) current() *process {
	c.mu.Lock()
	defer c.mu.Unlock()

	return c.process
}

// run goes through the schedule.
func (c *campaign) run(ctx context.Context, duration time.Duration, faults []fault) error {
	began := time.Now()

	for _, f := range faults {
		if err := c.waitUntil(ctx, began.Add(f.At)); err != nil {
			return err
		}

		if err := c.apply(ctx, f); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}

	return c.waitUntil(ctx, began.Add(duration))
}

// waitUntil waits, and watches that the dispatcher does not end of its own accord.
func (c *campaign) waitUntil(ctx context.Context, at time.Time) error {
	p := c.current()

	select {
	case <-ctx.Done():
		return fmt.Errorf("waiting for the next fault: %w", ctx.Err())
	case <-p.done:
		return fmt.Errorf("the dispatcher ended of its own accord: %w: %s", p.err, c.launcher.lastWords())
	case <-time.After(time.Until(at)):
		return nil
	}
}

// apply does what the schedule says.
func (c *campaign) apply(ctx context.Context, f fault) error {
	switch f.Kind {
	case faultKill, faultTerm:
		return c.restart(ctx, f.Kind)
	case faultOutage:
		// The endpoints that never misbehave have outages: they come back.
		healthy := c.healthy()
		e := healthy[f.Target%len(healthy)]
		if time.Now().Before(c.rested[e]) {
			return nil
		}

		c.rested[e] = time.Now().Add(restFor)
		c.receivers.set(c.receivers.out, e, true)
		c.after(f.Lasts, func() { c.receivers.set(c.receivers.out, e, false) })
	case faultName:
		if err := c.name(nameAnswers[1+f.Target%(len(nameAnswers)-1)]); err != nil {
			return err
		}

		c.after(f.Lasts, func() {
			if err := c.name(nameAnswers[0]); err != nil {
				c.book.complainf("run", "%v", err)
			}
		})
	case faultGone:
		c.scripts.Go(func() {
			if err := c.depart(ctx, f.Lasts); err != nil {
				c.book.complainf("suspension", "%v", err)
			}
		})
	}

	return nil
}

func (c *campaign) healthy() (list []*endpoint) {
	for _, e := range c.endpoints {
		if e.hostile == nil && e.tenant != tenantDeparted {
			list = append(list, e)
		}
	}

	return list
}

func (c *campaign) after(wait time.Duration, do func()) {
	c.scripts.Go(func() {
		time.Sleep(wait)
		do()
	})
}

// restart ends the process and starts the next at once.
func (c *campaign) restart(ctx context.Context, kind faultKind) error {
	p := c.current()

	if kind == faultKill {
		c.kills++

		if err := p.kill(); err != nil {
			return err
		}
	} else {
		c.terms++

		took, err := p.terminate()
		if err != nil {
			return err
		}

		c.slowest = max(c.slowest, took)
	}

	next, err := c.launcher.start(ctx)
	if err != nil {
		return err
	}

	c.mu.Lock()
	defer c.mu.Unlock()

	c.process = next

	return nil
}

// depart has the endpoint of one tenant answer 410 to events that were acknowledged before,
// waits for its suspension and resumes it.
func (c *campaign) depart(ctx context.Context, lasts time.Duration) error {
	const limit = time.Minute

	c.gone.Lock()
	defer c.gone.Unlock()

	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	var e *endpoint

	for _, one := range c.endpoints {
		if one.tenant == tenantDeparted {
			e = one
		}
	}

	// Until all are acknowledged nothing is decided: what is published to a suspended subscription is not owed to it.
	c.receivers.set(c.receivers.out, e, true)

	c.cycles++
	one := &publisher{
		publishers: c.pubs, name: fmt.Sprintf("%s-%d", tenantDeparted, c.cycles), tenant: tenantDeparted, token: c.tokens[tenantDeparted],
		types: eventTypes, dice: rand.New(rand.NewPCG(1, uint64(c.cycles))), //nolint:gosec // As above.
	}

	if err := one.publish(ctx, goneEvents); err != nil {
		return err
	}

	c.receivers.set(c.receivers.gone, e, true)
	c.receivers.set(c.receivers.out, e, false)

	err := c.eventually(ctx, func(client subscription.API) (bool, error) {
		now, err := client.Get(ctx, e.id)

		return now.State.IsSuspended(), err
	})
	if err != nil {
		return fmt.Errorf("waiting for a suspension after 410: %w", err)
	}

	time.Sleep(lasts)
	c.receivers.set(c.receivers.gone, e, false)

	err = c.eventually(ctx, func(client subscription.API) (bool, error) {
		now, err := client.Update(ctx, e.id, subscription.Patch{Resume: true})

		return err == nil && !now.State.IsSuspended(), err
	})
	if err != nil {
		return fmt.Errorf("resuming after a suspension: %w", err)
	}

	return nil
}

// eventually asks the API until it is so; in between the dispatcher may be killed.
func (c *campaign) eventually(ctx context.Context, done func(subscription.API) (bool, error)) error {
	var last error

	for {
		client, err := c.admin(tenantDeparted).port(ctx)
		if err == nil {
			var ok bool
			if ok, err = done(client); ok {
				return nil
			}
		}

		if err != nil && ctx.Err() == nil {
			last = err
		}

		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// aftermath looks for what was left behind: descriptors, memory, deliveries made again.
func (c *campaign) aftermath(ctx context.Context, r *result, fresh vitals) {
	c.receivers.plain.SetKeepAlivesEnabled(false)
	c.receivers.secure.SetKeepAlivesEnabled(false)

	p := c.current()

	drained, err := comesDown(ctx, p.pid(), settleLimit, func(v vitals) bool {
		return v.Sockets <= fresh.Sockets && v.RSS <= fresh.RSS+maxMemoryGrowth
	})
	if !r.must("looking at the process", err) {
		return
	}

	r.check("sockets after the drain", fmt.Sprintf("at most %d", fresh.Sockets), drained.Sockets, drained.Sockets <= fresh.Sockets)
	connections := c.receivers.connections.Load()
	r.check("connections to receivers after the drain", "0", connections, connections == 0)

	before := c.book.tried()

	took, err := p.terminate()
	c.slowest = max(c.slowest, took)

	if !r.must("ending in good order", err) {
		return
	}

	next, err := c.launcher.start(ctx)
	if !r.must("starting on what is left", err) {
		return
	}

	c.mu.Lock()
	c.process = next
	c.mu.Unlock()

	time.Sleep(quietFor)

	r.none("deliveries made again after an orderly end", c.book.tried()-before)

	again, err := vitalsOf(next.pid())
	if !r.must("looking at the process", err) {
		return
	}

	r.Figures["memory"] = map[string]int64{"start": fresh.RSS, "drained": drained.RSS, "startedAgain": again.RSS}
	r.check("memory after the drain", fmt.Sprintf("at most %d MiB more than a fresh process", maxMemoryGrowth>>20),
		fmt.Sprintf("%d MiB, fresh %d MiB", drained.RSS>>20, again.RSS>>20), drained.RSS <= again.RSS+maxMemoryGrowth)
	r.check("files after the drain", fmt.Sprintf("at most %d more", maxMoreFiles),
		fmt.Sprintf("%d, fresh %d", drained.Files, again.Files), drained.Files <= again.Files+maxMoreFiles)

	faults, errorLines, err := faultsIn(c.launcher.logs)
	if r.must("reading the log", err) {
		r.none("panics in the log", len(faults))
		r.Figures["errorLines"] = errorLines
		r.Failures = append(r.Failures, faults...)
	}
}

// comesDown waits until a process's vitals are as they should be, and returns the last.
func comesDown(ctx context.Context, pid int, limit time.Duration, down func(vitals) bool) (vitals, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	for {
		now, err := vitalsOf(pid)
		if err != nil || down(now) {
			return now, err
		}

		select {
		case <-ctx.Done():
			return now, nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}
