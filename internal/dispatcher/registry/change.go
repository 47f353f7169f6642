package registry

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// write puts a version in the journal and waits until the registry shows it.
func (r *Registry) write(ctx context.Context, next *Subscription, expect journal.Revision) (*Subscription, error) {
	version, err := encode(next)
	if err != nil {
		return nil, err
	}
	version.Revision = expect + 1
	written, err := r.journal.PutSubscription(ctx, version, expect)
	switch {
	case errors.Is(err, journal.ErrNameTaken):
		return nil, subscription.ErrNameTaken
	case err != nil:
		return nil, fmt.Errorf("writing subscription %s to the journal: %w", next.ID, err)
	}
	if err := r.waitUntil(ctx, func() bool { return r.applied >= written.Seq }); err != nil {
		return nil, err
	}

	return Decode(written)
}

// change reads, modifies and writes one subscription until nobody came between. modify
// gets the present version and returns the next, a copy; nil where there is nothing to
// change, and the present one is the answer; or why it may not be changed so. An empty
// tenant stands for any.
func (r *Registry) change(
	ctx context.Context, tenant, id string, modify func(current *Subscription) (*Subscription, error),
) (*Subscription, error) {
	ctx, cancel := context.WithTimeout(ctx, JournalTimeout)
	defer cancel()
	for {
		current, ok := r.Current(id)
		if !ok || tenant != "" && current.Tenant != tenant {
			return nil, subscription.ErrNotFound
		}
		next, err := modify(current)
		if err != nil {
			return nil, err
		}
		if next == nil {
			return current, nil
		}
		written, err := r.write(ctx, next, current.Revision)
		if !errors.Is(err, journal.ErrRevision) {
			return written, err
		}
		if err := r.waitPast(ctx, current); err != nil {
			return nil, err
		}
	}
}

// waitPast waits until the registry shows another version than the one given.
func (r *Registry) waitPast(ctx context.Context, stale *Subscription) error {
	ctx, cancel := context.WithTimeout(ctx, ConflictTimeout)
	defer cancel()

	return r.waitUntil(ctx, func() bool {
		current, ok := r.byID[stale.ID]

		return !ok || current.Revision > stale.Revision
	})
}

// Suspend stops deliveries to a subscription of the dispatcher's own accord, with one
// CamelCase word why and an explanation that holds nothing secret. It stays as it is
// where it is suspended already; ErrNotFound where there is none.
func (r *Registry) Suspend(ctx context.Context, id, reason, message string) error {
	return r.suspend(ctx, id, reason, message, func(*Subscription) bool { return true })
}

// SuspendSeen is Suspend for what an attempt with one version's settings found out. It
// does nothing where the settings have changed meanwhile in a way that lifts suspensions, or
// the owner has resumed: what the old endpoint answered says nothing of the new one.
func (r *Registry) SuspendSeen(ctx context.Context, seen *Subscription, reason, message string) error {
	return r.suspend(ctx, seen.ID, reason, message, func(current *Subscription) bool {
		return !lifts(seen, current) && current.State.Since.Equal(seen.State.Since)
	})
}

func (r *Registry) suspend(
	ctx context.Context, id, reason, message string, holds func(current *Subscription) bool,
) error {
	suspended := false
	s, err := r.change(ctx, "", id, func(current *Subscription) (*Subscription, error) {
		suspended = !current.State.IsSuspended() && holds(current)
		if !suspended {
			return nil, nil //nolint:nilnil // Nothing is what there is to change.
		}
		next := current.copy()
		next.State = subscription.State{
			Phase: subscription.Suspended, Reason: reason, Message: cut(message, MaxStateMessage), Since: r.now(),
		}

		return next, nil
	})
	if err != nil {
		return fmt.Errorf("suspending subscription %s: %w", id, err)
	}
	if suspended {
		r.options.Log.Info("Suspended a subscription", "tenant", s.Tenant, "subscription", id, "reason", reason)
	}

	return nil
}

// reserve counts a create under way against its tenant's limit, until it shows or until
// release.
func (r *Registry) reserve(tenant, id string) (release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.byTenant[tenant])+len(r.reserved[tenant]) >= r.options.MaxSubscriptions {
		return nil, &subscription.InvalidError{
			Message: fmt.Sprintf("the tenant has the most subscriptions allowed, %d: delete one first", r.options.MaxSubscriptions),
		}
	}
	if r.reserved[tenant] == nil {
		r.reserved[tenant] = make(map[string]bool)
	}
	r.reserved[tenant][id] = true

	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.release(tenant, id)
	}, nil
}

// release needs the lock.
func (r *Registry) release(tenant, id string) {
	delete(r.reserved[tenant], id)
	if len(r.reserved[tenant]) == 0 {
		delete(r.reserved, tenant)
	}
}

// now is the time as it comes back from the journal.
func (r *Registry) now() time.Time { return r.options.Clock.Now().UTC().Round(0) }

// copy shares no slice with s and can be changed.
func (s *Subscription) copy() *Subscription {
	out := *s
	out.Subscription = s.Subscription.Clone()
	out.Secrets = slices.Clone(s.Secrets)

	return &out
}

// patched is the next version by a patch; nil where it changes nothing. The error is of a
// patch that does not fit the rest of the subscription.
func (r *Registry) patched(current *Subscription, patch subscription.Patch) (*Subscription, error) {
	next := current.copy()
	set(&next.Name, patch.Name)
	set(&next.URL, patch.URL)
	set(&next.Enabled, patch.Enabled)
	set(&next.Delivery, patch.Delivery)
	if patch.Events != nil {
		next.Events = slices.Clone(*patch.Events)
	}
	if patch.Authorization != nil {
		next.Authorization = normalAuthorization(*patch.Authorization)
	}
	if patch.Headers != nil {
		next.Headers = normalHeaders(*patch.Headers)
	}
	if patch.Options != nil {
		next.Options = patch.Options.Clone()
	}
	now := r.now()
	if patch.Secret != nil && *patch.Secret != current.Secrets[0].Text {
		next.Secrets = rotated(current.Secrets, *patch.Secret, now, r.options.PreviousSecretFor)
	}
	if err := r.checkFit(current, next, patch.Secret); err != nil {
		return nil, err
	}
	if next.State.IsSuspended() && (patch.Resume || lifts(current, next)) {
		next.State = subscription.State{Phase: subscription.Active, Since: now}
	}
	if same(current, next) {
		return nil, nil //nolint:nilnil // As above.
	}
	next.Secrets = slices.DeleteFunc(next.Secrets, func(s Secret) bool { return s.expired(now) })
	if formatOf(current) != formatOf(next) {
		next.Secrets = r.readable(formatOf(next), next.Secrets)
	}
	next.UpdatedAt = now

	return next, nil
}

func set[V any](field, value *V) {
	if value != nil {
		*field = *value
	}
}

// lifts tells whether the step from one version to another ends a suspension: whatever
// may make the endpoint answer differently does.
func lifts(from, to *Subscription) bool {
	return from.URL != to.URL || from.Enabled != to.Enabled || from.Authorization != to.Authorization ||
		from.Secrets[0].Text != to.Secrets[0].Text || formatOf(from) != formatOf(to) ||
		!slices.Equal(from.Events, to.Events) || !slices.Equal(from.Headers, to.Headers)
}

func same(a, b *Subscription) bool {
	return !lifts(a, b) && a.Name == b.Name && a.Delivery == b.Delivery && a.State == b.State &&
		reflect.DeepEqual(a.Options, b.Options)
}

// rotated puts a secret before those there are. The one it replaces signs along for a
// while; those past their time go.
func rotated(secrets []Secret, text string, now time.Time, overlap time.Duration) []Secret {
	out := []Secret{{Text: text}}
	for _, old := range secrets {
		if old.Until.IsZero() {
			old.Until = now.Add(overlap)
		}
		if !old.expired(now) && old.Text != text && len(out) <= MaxPreviousSecrets {
			out = append(out, old)
		}
	}

	return out
}

// normalAuthorization is the one form of "none", so that equal ones compare equal.
func normalAuthorization(a subscription.Authorization) subscription.Authorization {
	if a.SchemeOrNone() == subscription.SchemeNone {
		return subscription.Authorization{}
	}

	return a
}

// cut shortens a text to a number of bytes without parting a character.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}

	return strings.TrimSpace(text[:most])
}
