package provider

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// Limits of calls.
const (
	// MaxLimiterWait is how long a call waits for its turn under the rate limit; a call that would wait longer
	// answers *subscription.RateLimitedError at once, so that no worker is held.
	MaxLimiterWait = 2 * time.Second
	// DefaultRetryAfter is how long a provider is left alone that answered "too many requests" and no time.
	DefaultRetryAfter = 5 * time.Second
	// MaxRetryAfter is the longest that a provider is left alone, whatever it asks for.
	MaxRetryAfter = 24 * time.Hour
)

// Observer is told of every call: which API, which method of the port, its result ("ok", "not_found",
// "invalid", "unsupported", "unauthorized", "rate_limited", "name_taken", "canceled" or "error") and its time.
type Observer func(api, operation, result string, took time.Duration)

// Account is one provider's port. It implements subscription.API, with a deadline on every call, the rate
// limit, and what the provider refused to all held for all: after a 401 or 403 every call answers so
// without a request until Probe succeeds, after a 429 until its time has passed.
type Account struct {
	clock      clockwork.Clock
	observe    Observer
	lister     *lister
	catalogue  catalogue
	probeEvery time.Duration

	mu  sync.Mutex
	api subscription.API
	cfg Config
	// era counts the clients, so that the answer to one that was replaced is not held against its successor.
	era     int
	pace    *pace
	refused *subscription.AuthError
	probeAt time.Time
	cursor  string
	changed map[string]struct{}
}

var (
	_ subscription.API          = (*Account)(nil)
	_ subscription.SecretReader = (*Account)(nil)
)

func newAccount(api subscription.API, cfg Config, pace *pace, o PoolOptions) *Account {
	a := &Account{clock: o.Clock, observe: o.Observer, probeEvery: o.ProbeInterval, changed: map[string]struct{}{}}
	a.lister = &lister{
		clock: o.Clock, list: a.list, delay: api.Capabilities().VisibilityDelay, writes: map[string]write{},
	}
	a.configure(api, cfg, pace)

	return a
}

// configure puts a new client in the place of the old one. What is known of the account stays.
func (a *Account) configure(api subscription.API, cfg Config, pace *pace) {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.api, a.cfg, a.pace, a.refused = api, cfg, pace, nil
	a.era++
}

// Config is what the account was made from.
func (a *Account) Config() Config {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.cfg
}

// Refused is the last 401 or 403 that is still held, nil where there is none, and how long it is until it is to be
// tried again by Probe.
func (a *Account) Refused() (held *subscription.AuthError, again time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if a.refused == nil {
		return nil, 0
	}

	return a.refused, max(a.probeAt.Sub(a.clock.Now()), 0)
}

// Capabilities implements subscription.API.
func (a *Account) Capabilities() subscription.Capabilities {
	return a.current().Capabilities()
}

func (a *Account) current() subscription.API {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.api
}

// Mark is now in the order of lists, for ListAfter.
func (a *Account) Mark() Mark { return a.lister.mark() }

// ListAfter is a list begun after the mark. All who wait share one.
func (a *Account) ListAfter(ctx context.Context, mark Mark) (View, error) {
	return a.lister.after(ctx, mark)
}

// ListCurrent is a list that is younger than the provider's interval. All who wait share one.
func (a *Account) ListCurrent(ctx context.Context) (View, error) {
	return a.lister.within(ctx, a.Config().Interval)
}

// Written is what a call of ours left of a subscription, nil where it was deleted, as long as the provider may
// not show it yet.
func (a *Account) Written(id string) (sub *subscription.Subscription, found bool) {
	return a.lister.written(id)
}

// Probe asks the provider for a list, also when it refused the credentials before, and forgets the refusal
// when it answers.
func (a *Account) Probe(ctx context.Context) error {
	a.mu.Lock()
	held := a.refused
	a.refused = nil
	a.mu.Unlock()

	_, err := a.ListAfter(ctx, a.Mark())

	a.mu.Lock()
	defer a.mu.Unlock()

	// An answer of another kind says nothing of the credentials: the refusal stands.
	if err != nil && a.refused == nil && held != nil {
		a.refused, a.probeAt = held, a.clock.Now().Add(a.probeEvery)
	}

	return err
}

// PollChanges asks whose delivery statuses changed since it last asked, and remembers them until SetChanged
// says that they were looked at. It is for one caller at a time.
func (a *Account) PollChanges(ctx context.Context) ([]string, error) {
	a.mu.Lock()
	cursor := a.cursor
	a.mu.Unlock()

	changes, err := a.StatusesChangedSince(ctx, cursor)
	if err != nil {
		return nil, err
	}

	a.mu.Lock()
	defer a.mu.Unlock()

	a.cursor = changes.Next
	for _, id := range changes.IDs {
		a.changed[id] = struct{}{}
	}

	return changes.IDs, nil
}

// Changed tells whether delivery statuses of a subscription changed since SetChanged last said they did not.
func (a *Account) Changed(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()

	_, changed := a.changed[id]

	return changed
}

// SetChanged says whether delivery statuses of a subscription have still to be looked at.
func (a *Account) SetChanged(id string, changed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if changed {
		a.changed[id] = struct{}{}
	} else {
		delete(a.changed, id)
	}
}

// List implements subscription.API. ListAfter and ListCurrent share what this asks for each time.
func (a *Account) List(ctx context.Context) ([]subscription.Subscription, error) {
	return a.list(ctx)
}

func (a *Account) list(ctx context.Context) (subs []subscription.Subscription, err error) {
	err = a.call(ctx, "List", func(ctx context.Context, api subscription.API) error {
		subs, err = api.List(ctx)

		return err
	})

	return subs, err
}

// Get implements subscription.API.
func (a *Account) Get(ctx context.Context, id string) (sub subscription.Subscription, err error) {
	err = a.call(ctx, "Get", func(ctx context.Context, api subscription.API) error {
		sub, err = api.Get(ctx, id)

		return err
	})

	return sub, err
}

// Secret implements subscription.SecretReader. Where Capabilities.SecretReadable is not set it answers
// *subscription.UnsupportedError, without a request.
func (a *Account) Secret(ctx context.Context, id string) (secret string, err error) {
	err = a.call(ctx, "Secret", func(ctx context.Context, api subscription.API) error {
		reader, readable := api.(subscription.SecretReader)
		if !readable {
			return &subscription.UnsupportedError{
				Provider: api.Capabilities().Provider, What: []string{"reading the signing secret back"},
			}
		}

		secret, err = reader.Secret(ctx, id)

		return err
	})

	return secret, err
}

// Create implements subscription.API.
func (a *Account) Create(ctx context.Context, draft subscription.Draft) (created subscription.Created, err error) {
	err = a.call(ctx, "Create", func(ctx context.Context, api subscription.API) error {
		created, err = api.Create(ctx, draft)

		return err
	})
	if err == nil {
		a.lister.wrote(created.ID, new(created.Clone()))
	}

	return created, err
}

// Update implements subscription.API.
func (a *Account) Update(ctx context.Context, id string, patch subscription.Patch) (sub subscription.Subscription, err error) {
	err = a.call(ctx, "Update", func(ctx context.Context, api subscription.API) error {
		sub, err = api.Update(ctx, id, patch)

		return err
	})
	if err == nil {
		a.lister.wrote(id, new(sub.Clone()))
	}

	return sub, err
}

// Delete implements subscription.API.
func (a *Account) Delete(ctx context.Context, id string) error {
	err := a.call(ctx, "Delete", func(ctx context.Context, api subscription.API) error { return api.Delete(ctx, id) })
	if err == nil {
		// ErrNotFound is no such proof: the provider may not show yet what was created a moment ago.
		a.lister.wrote(id, nil)
	}

	if err == nil || errors.Is(err, subscription.ErrNotFound) {
		a.SetChanged(id, false)
	}

	return err
}

// EventTypes implements subscription.API.
func (a *Account) EventTypes(ctx context.Context) (types []subscription.EventType, err error) {
	err = a.call(ctx, "EventTypes", func(ctx context.Context, api subscription.API) error {
		types, err = api.EventTypes(ctx)

		return err
	})

	return types, err
}

// Statuses implements subscription.API.
func (a *Account) Statuses(ctx context.Context, id string) (statuses []subscription.DeliveryStatus, err error) {
	err = a.call(ctx, "Statuses", func(ctx context.Context, api subscription.API) error {
		statuses, err = api.Statuses(ctx, id)

		return err
	})

	return statuses, err
}

// StatusesChangedSince implements subscription.API.
func (a *Account) StatusesChangedSince(ctx context.Context, cursor string) (changes subscription.Changes, err error) {
	err = a.call(ctx, "StatusesChangedSince", func(ctx context.Context, api subscription.API) error {
		changes, err = api.StatusesChangedSince(ctx, cursor)

		return err
	})

	return changes, err
}

// Logs implements subscription.API.
func (a *Account) Logs(ctx context.Context, id string, query subscription.LogQuery) (entries []subscription.LogEntry, err error) {
	err = a.call(ctx, "Logs", func(ctx context.Context, api subscription.API) error {
		entries, err = api.Logs(ctx, id, query)

		return err
	})

	return entries, err
}

// call makes one call: held refusals first, then the turn under the rate limit, then the deadline.
func (a *Account) call(ctx context.Context, operation string, request func(context.Context, subscription.API) error) error {
	a.mu.Lock()
	api, cfg, era, pace, refused := a.api, a.cfg, a.era, a.pace, a.refused
	a.mu.Unlock()

	if refused != nil {
		return refused
	}

	if rest, said := pace.rest(); rest > 0 {
		return &subscription.RateLimitedError{After: rest, Message: said}
	}

	// A vendor's client may make several requests: its transport waits for the turn of each.
	if cfg.Type == v1alpha1.ProviderTypeDispatcher {
		if err := pace.turn(ctx); err != nil {
			return ownLimit(err)
		}
	}

	ctx, cancel := context.WithTimeout(ctx, cfg.callTimeout())
	defer cancel()

	began := a.clock.Now()

	err := request(ctx, api)
	if _, ours := errors.AsType[*turnError](err); ours {
		err = ownLimit(err)
	} else {
		err = a.hold(era, pace, err)
	}

	a.observe(api.Capabilities().Provider, operation, Result(err), a.clock.Since(began))

	return err
}

// ownLimit makes the port's error of a turn under the rate limit that is too far off. Others stay as they are.
func ownLimit(err error) error {
	if late, is := errors.AsType[*turnError](err); is {
		return &subscription.RateLimitedError{After: late.wait}
	}

	return err
}

// hold keeps a refusal that is not about one subscription, and returns the error: one of too many requests says
// how long the provider is now left alone.
func (a *Account) hold(era int, pace *pace, err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()

	if refused, is := errors.AsType[*subscription.AuthError](err); is && era == a.era {
		a.refused, a.probeAt = refused, a.clock.Now().Add(a.probeEvery)
	}

	limited, is := errors.AsType[*subscription.RateLimitedError](err)
	if !is {
		return err
	}

	after := min(limited.After, MaxRetryAfter)
	if after <= 0 {
		after = DefaultRetryAfter
	}

	pace.hold(after, limited.Message)

	return &subscription.RateLimitedError{After: after, Message: limited.Message}
}

// Result is the class of a call's error, one word of a small set, for metrics.
func Result(err error) string {
	var (
		invalid     *subscription.InvalidError
		unsupported *subscription.UnsupportedError
		refused     *subscription.AuthError
		limited     *subscription.RateLimitedError
	)

	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, subscription.ErrNotFound):
		return "not_found"
	case errors.Is(err, subscription.ErrNameTaken):
		return "name_taken"
	case errors.As(err, &invalid):
		return "invalid"
	case errors.As(err, &unsupported):
		return "unsupported"
	case errors.As(err, &refused):
		return "unauthorized"
	case errors.As(err, &limited):
		return "rate_limited"
	case errors.Is(err, context.Canceled):
		return "canceled"
	default:
		return "error"
	}
}

// ListDue is how long it is until the latest list is older than the provider's interval; the whole interval
// where there is no list yet.
func (a *Account) ListDue() time.Duration {
	interval := a.Config().Interval
	if began, found := a.lister.began(); found {
		return interval - a.clock.Since(began)
	}

	return interval
}
