package hooklinetest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/segmentio/ksuid"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Account is one tenant's account at a Provider: the API that the controllers call, and beside it the
// provider's own side, by which a test looks and intervenes. What a test does there is not recorded as a
// request and meets no faults.
type Account struct {
	tenant       string
	clock        clockwork.Clock
	capabilities Capabilities

	mu         sync.Mutex
	records    map[string]*record
	script     []*scripted
	requests   []*Request
	received   int
	eventTypes []EventType
	// changes counts the writes of delivery statuses; it is the cursor of StatusesChangedSince.
	changes int64
}

var _ API = (*Account)(nil)

// record is one subscription with its past, so that readers can lag behind writers.
type record struct {
	versions []version
	secrets  []string // the current one last
	statuses map[string]DeliveryStatus
	changed  int64
	logs     []LogEntry
}

// version is what a subscription was from one time on.
type version struct {
	at      time.Time
	deleted bool
	sub     Subscription
}

// latest is the truth.
func (r *record) latest() version { return r.versions[len(r.versions)-1] }

// visible is what a reader sees at a time, when writes take that long to show.
func (r *record) visible(now time.Time, delay time.Duration) (Subscription, bool) {
	for _, v := range slices.Backward(r.versions) {
		if delay == 0 || !v.at.Add(delay).After(now) {
			return v.sub, !v.deleted
		}
	}

	return Subscription{}, false
}

// call receives one request: it records it, lets a scripted fault have its way, and otherwise does it.
func (a *Account) call(ctx context.Context, request Request, do func() (id string, err error)) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sending the request: %w", err)
	}
	a.mu.Lock()
	request.Tenant = a.tenant
	request.Time = a.clock.Now()
	fault := a.nextFault(request.Op)
	if fault != nil {
		request.Fault = fault.name
	}
	a.received++
	a.requests = append(a.requests, &request)
	a.mu.Unlock()

	if fault != nil && !fault.applied {
		if err := fault.fail(ctx, a); err != nil {
			return err
		}
	}

	if fault != nil && fault.wait > 0 {
		<-a.clock.After(fault.wait)
	}

	a.mu.Lock()
	id, err := do()
	if id != "" {
		request.ID = id
	}
	a.mu.Unlock()
	if err == nil && fault != nil && fault.applied {
		return fault.fail(ctx, a)
	}

	return err
}

// Capabilities implements API.
func (a *Account) Capabilities() Capabilities { return a.capabilities }

// List implements API.
func (a *Account) List(ctx context.Context) ([]Subscription, error) {
	var list []Subscription
	err := a.call(ctx, Request{Op: OpList}, func() (string, error) {
		now := a.clock.Now()
		for _, r := range a.records {
			if sub, found := r.visible(now, a.capabilities.VisibilityDelay); found {
				list = append(list, a.shown(sub))
			}
		}

		return "", nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(x, y Subscription) int { return strings.Compare(x.ID, y.ID) })

	return list, nil
}

// Get implements API.
func (a *Account) Get(ctx context.Context, id string) (Subscription, error) {
	var out Subscription
	err := a.call(ctx, Request{Op: OpGet, ID: id}, func() (string, error) {
		sub, err := a.see(id)
		out = a.shown(sub)

		return id, err
	})
	if err != nil {
		return Subscription{}, err
	}

	return out, nil
}

// see is what a reader finds under an id; called with the lock held.
func (a *Account) see(id string) (Subscription, error) {
	r, found := a.records[id]
	if !found {
		return Subscription{}, subscription.ErrNotFound
	}
	sub, found := r.visible(a.clock.Now(), a.capabilities.VisibilityDelay)
	if !found {
		return Subscription{}, subscription.ErrNotFound
	}

	return sub, nil
}

// living is the record under an id that is not deleted; called with the lock held.
func (a *Account) living(id string) (*record, error) {
	r, found := a.records[id]
	if !found || r.latest().deleted {
		return nil, subscription.ErrNotFound
	}

	return r, nil
}

// shown is a subscription as the API tells it, without what is not read back.
func (a *Account) shown(sub Subscription) Subscription {
	sub = sub.Clone()
	if a.capabilities.CredentialsReadable {
		return sub
	}
	sub.Authorization.Password = ""
	sub.Authorization.Token = ""
	for i := range sub.Headers {
		if sub.Headers[i].Sensitive {
			sub.Headers[i].Value = ""
		}
	}

	return sub
}

// Create implements API.
func (a *Account) Create(ctx context.Context, draft Draft) (Created, error) {
	var out Created
	err := a.call(ctx, Request{Op: OpCreate, Draft: &draft}, func() (string, error) {
		created, err := a.create(draft)
		out = created

		return created.ID, err
	})
	if err != nil {
		return Created{}, err
	}

	return out, nil
}

func (a *Account) create(draft Draft) (Created, error) {
	if err := draft.Validate(a.capabilities); err != nil {
		return Created{}, err
	}
	if err := a.checkOptions(draft.Delivery.Format, draft.Options); err != nil {
		return Created{}, err
	}
	if err := a.checkUnique("", draft.Name); err != nil {
		return Created{}, err
	}

	return a.insert(draft), nil
}

// insert adds a draft that was checked; called with the lock held.
func (a *Account) insert(draft Draft) Created {
	now := a.clock.Now()
	sub := Subscription{
		ID: ksuid.New().String(), Name: draft.Name, URL: draft.URL, Events: draft.Events, Enabled: draft.Enabled,
		State: State{Phase: subscription.Active}, Authorization: draft.Authorization, Headers: draft.Headers,
		Delivery: draft.Delivery, Options: draft.Options, CreatedAt: now, UpdatedAt: now,
	}.Clone()
	sub.Headers = canonical(sub.Headers)
	secret, generated := draft.Secret, ""
	if secret == "" {
		generated = generateSecret(a.capabilities.SecretTextFor(draft.Delivery.Format))
		secret = generated
	}
	a.records[sub.ID] = &record{
		versions: []version{{at: now, sub: sub}},
		secrets:  []string{secret},
		statuses: map[string]DeliveryStatus{},
	}

	return Created{Subscription: a.shown(sub), Secret: generated}
}

// Update implements API.
func (a *Account) Update(ctx context.Context, id string, patch Patch) (Subscription, error) {
	var out Subscription
	err := a.call(ctx, Request{Op: OpUpdate, ID: id, Patch: &patch}, func() (string, error) {
		sub, err := a.update(id, patch)
		out = a.shown(sub)

		return id, err
	})
	if err != nil {
		return Subscription{}, err
	}

	return out, nil
}

func (a *Account) update(id string, patch Patch) (Subscription, error) {
	r, err := a.living(id)
	if err != nil {
		return Subscription{}, err
	}
	if err := patch.Validate(a.capabilities); err != nil {
		return Subscription{}, err
	}
	if err := a.checkImmutable(patch); err != nil {
		return Subscription{}, err
	}
	if patch.Name != nil {
		if err := a.checkUnique(id, *patch.Name); err != nil {
			return Subscription{}, err
		}
	}
	sub := r.latest().sub.Clone()
	if patch.Empty() {
		return sub, nil
	}
	moved := patch.URL != nil && *patch.URL != sub.URL
	patched(&sub, patch)
	if err := a.checkOptions(sub.Delivery.Format, sub.Options); err != nil {
		return Subscription{}, err
	}
	if patch.Resume || moved && a.capabilities.Resumable {
		// Another endpoint has given no reason to be suspended.
		sub.State = State{Phase: subscription.Active}
	}
	if patch.Secret != nil {
		r.secrets = append(r.secrets, *patch.Secret)
	}
	a.write(r, sub)

	return sub, nil
}

// patched applies a patch to a subscription.
func patched(sub *Subscription, patch Patch) {
	set(&sub.Name, patch.Name)
	set(&sub.URL, patch.URL)
	set(&sub.Events, patch.Events)
	set(&sub.Enabled, patch.Enabled)
	set(&sub.Authorization, patch.Authorization)
	set(&sub.Headers, patch.Headers)
	set(&sub.Delivery, patch.Delivery)
	set(&sub.Options, patch.Options)
	*sub = sub.Clone()
	sub.Headers = canonical(sub.Headers)
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// write adds a version; called with the lock held.
func (a *Account) write(r *record, sub Subscription) {
	sub.UpdatedAt = a.clock.Now()
	r.versions = append(r.versions, version{at: sub.UpdatedAt, sub: sub})
}

// Delete implements API.
func (a *Account) Delete(ctx context.Context, id string) error {
	return a.call(ctx, Request{Op: OpDelete, ID: id}, func() (string, error) {
		r, err := a.living(id)
		if err != nil {
			return id, err
		}
		r.versions = append(r.versions, version{at: a.clock.Now(), deleted: true})

		return id, nil
	})
}

// EventTypes implements API. It has what was delivered, and what SetEventTypes put there.
func (a *Account) EventTypes(ctx context.Context) ([]EventType, error) {
	var out []EventType
	err := a.call(ctx, Request{Op: OpEventTypes}, func() (string, error) {
		out = slices.Clone(a.eventTypes)

		return "", nil
	})

	return out, err
}

// Statuses implements API.
func (a *Account) Statuses(ctx context.Context, id string) ([]DeliveryStatus, error) {
	var out []DeliveryStatus
	err := a.call(ctx, Request{Op: OpStatuses, ID: id}, func() (string, error) {
		if !a.capabilities.Statuses {
			return id, a.unsupported("deliveryStatuses")
		}
		if _, err := a.see(id); err != nil {
			return id, err
		}
		for _, status := range a.records[id].statuses {
			out = append(out, status)
		}

		return id, nil
	})
	slices.SortFunc(out, func(x, y DeliveryStatus) int { return strings.Compare(x.Event, y.Event) })

	return out, err
}

// StatusesChangedSince implements API.
func (a *Account) StatusesChangedSince(ctx context.Context, cursor string) (Changes, error) {
	var out Changes
	err := a.call(ctx, Request{Op: OpStatusesChangedSince}, func() (string, error) {
		if !a.capabilities.Statuses {
			return "", a.unsupported("deliveryStatuses")
		}
		// A cursor that cannot be read, or that is ahead of this account's, is one it no longer knows.
		since, err := strconv.ParseInt(cursor, 10, 64)
		if err != nil || since > a.changes {
			since = 0
		}
		for id, r := range a.records {
			if r.changed > since && !r.latest().deleted {
				out.IDs = append(out.IDs, id)
			}
		}
		slices.Sort(out.IDs)
		out.Next = strconv.FormatInt(a.changes, 10)

		return "", nil
	})

	return out, err
}

// Logs implements API.
func (a *Account) Logs(ctx context.Context, id string, query LogQuery) ([]LogEntry, error) {
	var out []LogEntry
	err := a.call(ctx, Request{Op: OpLogs, ID: id}, func() (string, error) {
		if !a.capabilities.Logs {
			return id, a.unsupported("eventLogs")
		}
		if _, err := a.see(id); err != nil {
			return id, err
		}
		limit := query.Limit
		switch {
		case limit < 0 || limit > subscription.MaxLogLimit:
			return id, &subscription.InvalidError{
				Field: "limit", Message: fmt.Sprintf("%d is not within 1 to %d", limit, subscription.MaxLogLimit),
			}
		case limit == 0:
			limit = subscription.DefaultLogLimit
		}
		for _, entry := range a.records[id].logs {
			if len(out) < limit && (query.Event == "" || query.Event == entry.Event) {
				out = append(out, entry)
			}
		}

		return id, nil
	})

	return out, err
}
