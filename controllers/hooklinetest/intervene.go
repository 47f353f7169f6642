package hooklinetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/ksuid"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Subscriptions are all that the account truly has, whatever its readers see, sorted by name and id, with
// the credentials that they send.
func (a *Account) Subscriptions() []Subscription {
	a.mu.Lock()
	defer a.mu.Unlock()

	var all []Subscription
	for _, r := range a.records {
		if v := r.latest(); !v.deleted {
			all = append(all, v.sub.Clone())
		}
	}
	slices.SortFunc(all, func(x, y Subscription) int {
		if order := strings.Compare(x.Name, y.Name); order != 0 {
			return order
		}

		return strings.Compare(x.ID, y.ID)
	})

	return all
}

// Find is the subscription of a name; false where there is none.
func (a *Account) Find(name string) (Subscription, bool) {
	for _, sub := range a.Subscriptions() {
		if sub.Name == name {
			return sub, true
		}
	}

	return Subscription{}, false
}

// Secrets are the signing secrets that a subscription has had, the current one last; nil where there is no
// such subscription.
func (a *Account) Secrets(id string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()

	r, found := a.records[id]
	if !found {
		return nil
	}

	return slices.Clone(r.secrets)
}

// Add makes a subscription as somebody else would, and returns its id. Unlike Create it does not mind a name
// that is taken, so that a test can make two of one name.
func (a *Account) Add(draft Draft) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if err := draft.Validate(a.capabilities); err != nil {
		return "", fmt.Errorf("adding the subscription %s: %w", draft.Name, err)
	}

	return a.insert(draft).ID, nil
}

// Edit changes a subscription as somebody else would: in the provider's portal, say.
func (a *Account) Edit(id string, change func(*Subscription)) error {
	a.mu.Lock()
	defer a.mu.Unlock()

	r, err := a.living(id)
	if err != nil {
		return fmt.Errorf("editing the subscription %s: %w", id, err)
	}
	sub := r.latest().sub.Clone()
	change(&sub)
	a.write(r, sub)

	return nil
}

// Remove deletes a subscription as somebody else would.
func (a *Account) Remove(id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()

	r, err := a.living(id)
	if err != nil {
		return fmt.Errorf("removing the subscription %s: %w", id, err)
	}
	r.versions = append(r.versions, version{at: a.clock.Now(), deleted: true})

	return nil
}

// Suspend stops deliveries to a subscription, as a provider does whose receiver answered 410 Gone. reason is
// one CamelCase word. The suspension counts as a change of delivery statuses.
func (a *Account) Suspend(id, reason, message string) error {
	err := a.Edit(id, func(sub *Subscription) {
		sub.State = State{Phase: subscription.Suspended, Reason: reason, Message: message, Since: a.clock.Now()}
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.touch(a.records[id])

	return nil
}

// SetStatuses replaces the delivery statuses of those event types; others stay.
func (a *Account) SetStatuses(id string, statuses ...DeliveryStatus) error {
	a.mu.Lock()
	defer a.mu.Unlock()

	r, err := a.living(id)
	if err != nil {
		return fmt.Errorf("setting the delivery statuses of %s: %w", id, err)
	}
	for _, status := range statuses {
		r.statuses[status.Event] = status
	}
	a.touch(r)

	return nil
}

// touch moves the cursor of StatusesChangedSince past a change; called with the lock held.
func (a *Account) touch(r *record) {
	a.changes++
	r.changed = a.changes
}

// Deliver records one attempt at a delivery, as if the provider had made it: in the log, in the delivery statuses
// and in the catalogue of event types. What the entry leaves out of EventID, DeliveryID, Attempt, Timestamp and
// Payload is filled in.
func (a *Account) Deliver(id string, entry LogEntry) error {
	a.mu.Lock()
	defer a.mu.Unlock()

	r, err := a.living(id)
	if err != nil {
		return fmt.Errorf("delivering to the subscription %s: %w", id, err)
	}
	now := a.clock.Now()
	if entry.EventID == "" {
		entry.EventID = ksuid.New().String()
	}
	if entry.DeliveryID == "" {
		entry.DeliveryID = "msg_" + ksuid.New().String()
	}
	if entry.Timestamp.IsZero() {
		entry.Timestamp = now
	}
	if entry.Payload == nil {
		entry.Payload = fmt.Appendf(nil, `{"id":%q,"type":%q}`, entry.EventID, entry.Event)
	}
	entry.Attempt = max(entry.Attempt, 1)
	r.logs = slices.Insert(r.logs, 0, entry)
	r.statuses[entry.Event] = DeliveryStatus{
		Event: entry.Event, Success: entry.Success, ResponseCode: entry.ResponseCode, ResponseText: entry.ResponseText,
		Timestamp: entry.Timestamp,
	}
	a.touch(r)
	a.saw(entry.Event, now)

	return nil
}

// saw puts an event type into the catalogue; called with the lock held.
func (a *Account) saw(name string, now time.Time) {
	at, found := slices.BinarySearchFunc(a.eventTypes, name, func(t EventType, name string) int {
		return strings.Compare(t.Name, name)
	})
	if !found {
		a.eventTypes = slices.Insert(a.eventTypes, at, EventType{Name: name, FirstSeen: now})
	}
	a.eventTypes[at].LastSeen = now
}

// SetEventTypes replaces the catalogue.
func (a *Account) SetEventTypes(types ...EventType) {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.eventTypes = slices.SortedFunc(slices.Values(types), func(x, y EventType) int {
		return strings.Compare(x.Name, y.Name)
	})
}

// Requests are those received since the account was made or ResetRequests, oldest first.
func (a *Account) Requests(ops ...Op) []Request {
	a.mu.Lock()
	defer a.mu.Unlock()

	var out []Request
	for _, request := range a.requests {
		if len(ops) == 0 || slices.Contains(ops, request.Op) {
			out = append(out, *request)
		}
	}

	return out
}

// RequestCount is how many requests were received in all, ResetRequests or not.
func (a *Account) RequestCount() int {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.received
}

// ResetRequests forgets the requests received so far.
func (a *Account) ResetRequests() {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.requests = nil
}
