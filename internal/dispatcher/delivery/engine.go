package delivery

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
)

// ErrNotRunning answers a test event or a resend while the engine does not run.
var ErrNotRunning = errors.New("the delivery engine is not running: try again in a moment")

// Engine delivers the events of one journal.
type Engine struct {
	cfg      Config
	sender   *sender
	payloads *payloads
	metrics  *metrics
	// manual are the places for test events and resends.
	manual chan struct{}
	// begun is closed when attempts may start, stopped when Run has returned.
	begun, stopped chan struct{}

	// wakeup and full have the keeper work: soon, and at once; feeding has it feed the hungry.
	wakeup  chan struct{}
	full    chan struct{}
	feeding chan struct{}
	// replaying has the replays looked after; changing is held by who changes which there are.
	replaying chan struct{}
	changing  chan struct{}
	// senders counts the attempts under way.
	senders sync.WaitGroup
	// workers counts those who make them.
	workers sync.WaitGroup
	// sending is what attempts run under. Set by Run, before anything is accepted.
	sending context.Context //nolint:containedctx // It belongs to Run, not to a call.

	mu sync.Mutex
	// accepting: attempts may start.
	accepting bool
	endpoints map[string]*endpoint
	// idle are the workers that wait for an attempt to make.
	idle []*worker
	// tenants are those of the endpoints, lines who waits for the global cap, by class.
	tenants map[string]*tenantState
	lines   [classes]line
	tickets uint64
	// inFlight attempts are under way in all; underWay are those of them that are not late.
	inFlight int
	underWay underWay
	// over are endpoints, and overTenants tenants, with more rows than their cap.
	over        map[*endpoint]bool
	overTenants map[*tenantState]bool
	// seed is for the keys of ordered endpoints.
	seed maphash.Seed
	// hungry are endpoints for the keeper to feed.
	hungry map[string]*endpoint
	// replays are the open ones, by id; running those of them that run. replayInFlight attempts of
	// theirs are under way.
	replays        map[string]*replay
	running        map[*replay]struct{}
	replayInFlight int
	// origins are the events with unplaced deliveries, oldest first.
	origins []*origin
	// read is the last position that was taken in; cursor the last that was settled.
	read, cursor journal.Seq
	pending      pending
	// spare is room for the pending after the one that is settled.
	spare pending
	// retries are held in memory, in all.
	retries int
	// settled is closed, and replaced, after each Settle.
	settled chan struct{}
	// recovered: the reader is past what was in the log at the start, so the rows of before
	// may be fed and delivered.
	recovered bool
	// startedAt is the log's end at the start, and present the subscriptions there were then.
	startedAt journal.Seq
	present   map[string]bool

	// touchedMu is not held while anything else is locked: the registry calls touched.
	touchedMu sync.Mutex
	touchedBy map[string]*registry.Subscription
	// gone are deleted subscriptions whose marker the reader has not reached yet.
	gone map[string]journal.Seq
}

// New builds an engine; the error says what is wrong with the configuration.
func New(cfg Config) (*Engine, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	formats, err := newFormats(&format{timeout: cfg.Timeout, schedule: cfg.Schedule}, cfg.Notifications)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}

	return &Engine{
		cfg:     cfg,
		metrics: m,
		sender: &sender{
			transport: newTransport(cfg.Egress, cfg.Resolver, cfg.RootCAs, cfg.ConnectTo),
			clock:     cfg.Clock, agent: "hookline/" + cfg.Version, formats: formats,
		},
		payloads: &payloads{store: cfg.Journal, limit: payloadBytes, events: make(map[journal.Seq]*payload)},
		manual:   make(chan struct{}, maxManual), begun: make(chan struct{}), stopped: make(chan struct{}),
		wakeup: make(chan struct{}, 1), full: make(chan struct{}, 1), feeding: make(chan struct{}, 1),
		replaying: make(chan struct{}, 1), changing: make(chan struct{}, 1),
		replays: make(map[string]*replay), running: make(map[*replay]struct{}),
		endpoints: make(map[string]*endpoint), hungry: make(map[string]*endpoint),
		tenants: make(map[string]*tenantState), over: make(map[*endpoint]bool), overTenants: make(map[*tenantState]bool),
		seed: maphash.MakeSeed(), settled: make(chan struct{}),
		touchedBy: make(map[string]*registry.Subscription), gone: make(map[string]journal.Seq),
	}, nil
}

// Run owns the journal's shard and delivers until ctx ends. Then it starts nothing more,
// lets attempts under way finish within the grace, settles, and returns nil. It returns an
// error, after the same drain, when the journal fails or the shard is lost. It runs once.
func (e *Engine) Run(ctx context.Context) error {
	defer close(e.stopped)
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	owned, err := e.own(ctx, life)
	if err != nil || owned == nil {
		return err
	}
	cancelListening := e.cfg.Registry.Subscribe(e.touched)
	defer cancelListening()
	reader, err := e.recover(ctx)
	if err == nil {
		err = e.restoreReplays(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	sending, abort := context.WithCancel(life)
	defer abort()
	e.begin(sending)

	failed := make(chan struct{})
	var failure sync.Once
	fail := func(err error) error {
		if err != nil {
			failure.Do(func() { close(failed) })
		}

		return err
	}
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	keeping, stopKeeping := context.WithCancel(life)
	defer stopKeeping()
	var group errgroup.Group
	group.Go(func() error { return fail(reader.run(reading)) })
	group.Go(func() error { return fail(e.keep(life, keeping, owned.epoch)) })
	group.Go(func() error { return fail(owned.watch(keeping)) })
	group.Go(func() error { return fail(e.runReplays(reading)) })

	select {
	case <-ctx.Done():
	case <-failed:
	}
	stopReading()
	e.drain(abort)
	stopKeeping()
	err = group.Wait()
	e.sender.transport.CloseIdleConnections()

	return err
}

// ownership is a shard that is owned, and word of its loss.
type ownership struct {
	epoch journal.Epoch
	news  <-chan journal.Ownership
}

// own waits until the shard is owned; nil without an error where ctx ended first.
func (e *Engine) own(ctx, life context.Context) (*ownership, error) {
	news, err := e.cfg.Journal.Own(life)
	if err != nil {
		return nil, fmt.Errorf("asking to own the journal: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil, nil //nolint:nilnil // There was nothing to do and nothing failed.
		case change, ok := <-news:
			if !ok {
				return nil, fmt.Errorf("asking to own the journal: %w", journal.ErrClosed)
			}
			if change.Shard == 0 && change.Gained {
				return &ownership{epoch: change.Epoch, news: news}, nil
			}
		}
	}
}

// watch returns an error once the shard is lost.
func (o *ownership) watch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case change, ok := <-o.news:
			if !ok {
				return fmt.Errorf("owning the journal: %w", journal.ErrClosed)
			}
			if change.Shard == 0 && (!change.Gained || change.Epoch != o.epoch) {
				return fmt.Errorf("owning the journal: %w", journal.ErrFenced)
			}
		}
	}
}

func (e *Engine) begin(sending context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sending = sending
	e.accepting = true
	close(e.begun)
	e.wake()
}

// drain starts nothing more, waits for what is under way, and breaks off what takes too
// long: that is not counted as an attempt.
func (e *Engine) drain(abort context.CancelFunc) {
	e.mu.Lock()
	e.accepting = false
	for _, ep := range e.endpoints {
		if ep.pause != nil {
			ep.pause.Stop()
			ep.pause = nil
		}
		e.stopProbing(ep)
	}
	for rp := range e.running {
		rp.stopWaiting()
	}
	e.dismiss()
	e.mu.Unlock()

	done := make(chan struct{})
	go func() {
		e.senders.Wait()
		close(done)
	}()
	timer := time.NewTimer(max(e.cfg.ShutdownGrace-settleReserve, e.cfg.ShutdownGrace/2))
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		e.mu.Lock()
		e.cfg.Log.Warn("Broke off deliveries that took longer than the shutdown's grace", "inFlight", e.inFlight)
		e.mu.Unlock()
	}
	abort()
	<-done
	e.workers.Wait()

	// What still holds the cursor is placed, so that the next start need not match it again.
	e.mu.Lock()
	defer e.mu.Unlock()
	e.placeOlder(time.Time{})
}

// touched takes note of a subscription's new version. The registry calls it.
func (e *Engine) touched(version *registry.Subscription) {
	e.touchedMu.Lock()
	defer e.touchedMu.Unlock()
	e.touchedBy[version.ID] = version
	if version.Deleted {
		e.gone[version.ID] = version.Seq
	}
	e.wake()
}

func (e *Engine) isGone(id string) bool {
	e.touchedMu.Lock()
	defer e.touchedMu.Unlock()
	_, gone := e.gone[id]

	return gone
}

// forget drops the note of a deleted subscription once no event before its marker can
// come any more.
func (e *Engine) forget(id string, read journal.Seq) {
	e.touchedMu.Lock()
	defer e.touchedMu.Unlock()
	if seq, gone := e.gone[id]; gone && seq <= read {
		delete(e.gone, id)
	}
}

// applyTouched makes the endpoints follow the registry.
func (e *Engine) applyTouched() {
	e.touchedMu.Lock()
	touched := maps.Clone(e.touchedBy)
	clear(e.touchedBy)
	e.touchedMu.Unlock()

	e.mu.Lock()
	defer e.mu.Unlock()
	for id, version := range touched {
		ep := e.endpointOf(id, version.Deleted)
		if version.Deleted {
			e.markDeleted(ep)

			continue
		}
		e.configure(ep, version)
		if !ep.sendable {
			e.evictQueue(ep)
		}
		e.pump(ep)
	}
}

// markDeleted drops what an endpoint has, in memory now and in its rows by and by.
func (e *Engine) markDeleted(ep *endpoint) {
	e.dropReplays(ep.id)
	if ep.deleted && !ep.sendable && len(ep.queue) == 0 {
		e.wantMore(ep)

		return
	}
	ep.deleted, ep.sendable = true, false
	e.forgetCircuit(ep)
	e.part(ep)
	e.evictQueue(ep)
	e.wantMore(ep)
}

// noted has the keeper settle: within the interval, or at once where much is pending. The
// caller holds the lock.
func (e *Engine) noted() {
	if e.pending.size() >= settleOutcomes {
		select {
		case e.full <- struct{}{}:
		default:
		}
	}
	e.wake()
}

// wake has the keeper work within the settle interval.
func (e *Engine) wake() {
	select {
	case e.wakeup <- struct{}{}:
	default:
	}
}
