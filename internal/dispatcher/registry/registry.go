package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// Limits and defaults of a Registry.
const (
	// DefaultPreviousSecretFor is how long a replaced signing secret signs along.
	DefaultPreviousSecretFor = 24 * time.Hour
	// DefaultMaxSubscriptions is the most subscriptions one tenant may have.
	DefaultMaxSubscriptions = 10_000
	// MaxPreviousSecrets is the most replaced secrets that sign along at once; each makes the
	// signature header longer. The oldest goes first.
	MaxPreviousSecrets = 4
	// MaxStateMessage bounds the message of a suspension, in bytes.
	MaxStateMessage = 1024
	// ConflictTimeout is how long a change waits for one that came before it to become visible.
	ConflictTimeout = 5 * time.Second
	// JournalTimeout bounds one change, with its writes to the journal.
	JournalTimeout = 30 * time.Second

	// Waits between attempts to follow the journal, doubling from the first to the last.
	firstFollowWait = 100 * time.Millisecond
	lastFollowWait  = 5 * time.Second
)

// ErrClosed answers a change that was asked of a registry whose journal is closed, or
// that is closed itself. The change may have been made.
var ErrClosed = errors.New("the registry is closed")

// Ledger is what became of deliveries. It speaks of subscriptions by id; the registry
// sees to it that they exist and belong to the tenant who asks.
type Ledger interface {
	// Statuses returns the latest status of each event type, sorted by event.
	Statuses(ctx context.Context, id string) ([]subscription.DeliveryStatus, error)
	// StatusesChangedSince returns whose statuses changed after a cursor, of one tenant. An
	// empty cursor, or one it does not know, stands for the beginning.
	StatusesChangedSince(ctx context.Context, tenant, cursor string) (subscription.Changes, error)
	// Logs returns attempts, newest first. The query's limit is set.
	Logs(ctx context.Context, id string, query subscription.LogQuery) ([]subscription.LogEntry, error)
	// EventTypes returns the types a tenant's publishers have used, sorted by name.
	EventTypes(ctx context.Context, tenant string) ([]subscription.EventType, error)
}

// Options of a Registry.
type Options struct {
	// Clock is nil for the real one.
	Clock clockwork.Clock
	// Log is nil for slog's default.
	Log *slog.Logger
	// Ledger answers the questions after deliveries. Without one the capabilities say so, and
	// those methods answer *subscription.UnsupportedError.
	Ledger Ledger
	// PreviousSecretFor is how long a replaced signing secret signs along: 0 means
	// DefaultPreviousSecretFor, less than 0 not at all.
	PreviousSecretFor time.Duration
	// MaxSubscriptions is the most subscriptions a tenant may have; 0 means DefaultMaxSubscriptions.
	MaxSubscriptions int
	// Formats are the formats of deliveries that subscriptions may have besides CloudEvents.
	Formats map[subscription.Format]Format
}

// Registry is all tenants' subscriptions. What it answers is what the journal holds: a
// change has returned once its version is durable, has its marker in the log, and shows
// in Current, Get and List.
type Registry struct {
	journal journal.Journal
	options Options

	stop    context.CancelFunc
	stopped chan struct{}

	mu       sync.RWMutex
	byID     map[string]*Subscription
	byTenant map[string]map[string]*Subscription
	// reserved are the ids of each tenant's creates that are under way and not shown yet.
	reserved map[string]map[string]bool
	// applied is the place of the last marker that the maps show.
	applied journal.Seq
	// changed is closed, and replaced, when the maps change.
	changed   chan struct{}
	listeners []*func(*Subscription)
}

// New loads the subscriptions of a journal and follows it from then on, until Close or
// until the journal is closed: ctx bounds the loading alone, so that a subscription can
// still be suspended while deliveries drain. The error is of a journal that cannot be
// read, or that holds a version Decode refuses.
func New(ctx context.Context, j journal.Journal, o Options) (*Registry, error) {
	r := &Registry{
		journal: j, options: o.withDefaults(),
		stopped: make(chan struct{}), changed: make(chan struct{}),
		byID: make(map[string]*Subscription), byTenant: make(map[string]map[string]*Subscription),
		reserved: make(map[string]map[string]bool),
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	watching, err := r.watch(following, ctx, true)
	if err != nil {
		stop()

		return nil, err
	}
	go r.follow(following, watching)

	return r, nil
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = clockwork.NewRealClock()
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.PreviousSecretFor == 0 {
		o.PreviousSecretFor = DefaultPreviousSecretFor
	}
	if o.MaxSubscriptions == 0 {
		o.MaxSubscriptions = DefaultMaxSubscriptions
	}

	return o
}

// Close stops following the journal, which stays open. Reads go on with what was known.
func (r *Registry) Close() {
	r.stop()
	<-r.stopped
}

// Tenant is the port for one tenant. It is the same account at each call.
func (r *Registry) Tenant(tenant string) subscription.API {
	return &account{registry: r, tenant: tenant}
}

// Current is the present version of a subscription; false where there is none.
func (r *Registry) Current(id string) (*Subscription, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.byID[id]

	return s, ok
}

// Subscribe has a function called with each version that is written from now on, in the
// log's order, once it is durable and Current shows it. A deleted version has its
// identity alone. The function must not block, and must not change a subscription. After
// cancel no new call begins.
func (r *Registry) Subscribe(listen func(*Subscription)) (cancel func()) {
	entry := &listen
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listeners = append(slices.Clone(r.listeners), entry)

	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.listeners = slices.DeleteFunc(slices.Clone(r.listeners), func(e *func(*Subscription)) bool { return e == entry })
	}
}

// watch is one watch of the journal, and what ends it.
type watch struct {
	versions <-chan journal.Version
	end      context.CancelFunc
}

// watch begins a watch that lasts as long as following, and shows what the journal holds.
func (r *Registry) watch(following, loading context.Context, strict bool) (watch, error) {
	following, end := context.WithCancel(following)
	versions, err := r.journal.Watch(following)
	if err != nil {
		end()

		return watch{}, fmt.Errorf("watching the journal's subscriptions: %w", err)
	}
	if err := r.load(loading, strict); err != nil {
		end()

		return watch{}, err
	}

	return watch{versions, end}, nil
}

// follow shows what the journal says until ctx ends or the journal is closed.
func (r *Registry) follow(ctx context.Context, watching watch) {
	defer close(r.stopped)
	for {
		for version := range watching.versions {
			r.take(version)
		}
		watching.end()
		next, err := r.again(ctx)
		if err != nil {
			return
		}
		watching = next
	}
}

// again starts to follow anew where the journal closed the watch, with what was missed.
// The error means that there is nothing to follow any more.
func (r *Registry) again(ctx context.Context) (watch, error) {
	for wait := firstFollowWait; ; wait = min(2*wait, lastFollowWait) {
		if err := ctx.Err(); err != nil {
			return watch{}, err
		}
		watching, err := r.watch(ctx, ctx, false)
		switch {
		case err == nil:
			r.options.Log.Info("Followed the journal's subscriptions anew")

			return watching, nil
		case errors.Is(err, journal.ErrClosed):
			return watch{}, err
		}
		r.options.Log.Error("Failed to follow the journal's subscriptions", "error", err, "retryAfter", wait)
		select {
		case <-ctx.Done():
		case <-r.options.Clock.After(wait):
		}
	}
}

// load shows what the journal holds now. It is called with a watch under way, which
// brings whatever is written after the position that is loaded.
func (r *Registry) load(ctx context.Context, strict bool) error {
	_, at, err := r.journal.View().Bounds(ctx)
	if err != nil {
		return fmt.Errorf("reading the journal's bounds: %w", err)
	}
	if at == 0 {
		// The log is empty, new or trimmed to its end: what there is holds now.
		at = journal.LatestSeq
	}
	versions, err := r.journal.Subscriptions(ctx, at)
	if err != nil {
		return fmt.Errorf("reading the journal's subscriptions: %w", err)
	}
	held := make(map[string]bool, len(versions))
	for _, version := range versions {
		held[version.ID] = true
		s, err := Decode(version)
		if err != nil && strict {
			return err
		}
		if err != nil {
			r.options.Log.Error("Failed to read a subscription", "error", err)

			continue
		}
		r.show(s)
	}
	for _, gone := range r.missing(held) {
		r.show(gone)
	}
	if at != journal.LatestSeq {
		r.reach(at)
	}

	return nil
}

// missing are deleted versions of the subscriptions that are shown and not held any more.
func (r *Registry) missing(held map[string]bool) []*Subscription {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var gone []*Subscription
	for id, s := range r.byID {
		if held[id] {
			continue
		}
		deleted := &Subscription{Tenant: s.Tenant, Revision: s.Revision + 1, Seq: s.Seq, Deleted: true}
		deleted.ID, deleted.Name = s.ID, s.Name
		gone = append(gone, deleted)
	}

	return gone
}

// take shows one version that the watch brought.
func (r *Registry) take(version journal.Version) {
	r.mu.RLock()
	old := version.Seq <= r.applied
	r.mu.RUnlock()
	if old {
		return
	}
	s, err := Decode(version)
	if err != nil {
		// Whoever delivers meets the same marker in the log and refuses it there.
		r.options.Log.Error("Failed to read a subscription", "error", err)
		r.reach(version.Seq)

		return
	}
	r.show(s)
}

// reach moves applied forward and wakes those who wait.
func (r *Registry) reach(seq journal.Seq) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(seq)
}

// advance needs the lock.
func (r *Registry) advance(seq journal.Seq) {
	r.applied = max(r.applied, seq)
	close(r.changed)
	r.changed = make(chan struct{})
}

// show makes a version the present one and tells the listeners. One goroutine at a time
// calls it: New before it returns, follow from then on.
func (r *Registry) show(s *Subscription) {
	r.mu.Lock()
	if current, ok := r.byID[s.ID]; ok && current.Revision >= s.Revision {
		r.mu.Unlock()

		return
	}
	if s.Deleted {
		r.remove(s)
	} else {
		r.insert(s)
	}
	r.advance(s.Seq)
	listeners := r.listeners
	r.mu.Unlock()
	for _, listen := range listeners {
		(*listen)(s)
	}
}

func (r *Registry) insert(s *Subscription) {
	r.release(s.Tenant, s.ID)
	r.byID[s.ID] = s
	tenant := r.byTenant[s.Tenant]
	if tenant == nil {
		tenant = make(map[string]*Subscription)
		r.byTenant[s.Tenant] = tenant
	}
	tenant[s.ID] = s
}

func (r *Registry) remove(s *Subscription) {
	delete(r.byID, s.ID)
	delete(r.byTenant[s.Tenant], s.ID)
	if len(r.byTenant[s.Tenant]) == 0 {
		delete(r.byTenant, s.Tenant)
	}
}

// waitUntil waits until what is shown satisfies done, which is called with the lock held.
func (r *Registry) waitUntil(ctx context.Context, done func() bool) error {
	for {
		r.mu.RLock()
		ok, changed := done(), r.changed
		r.mu.RUnlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the registry to follow the journal: %w", ctx.Err())
		case <-r.stopped:
			return ErrClosed
		}
	}
}
