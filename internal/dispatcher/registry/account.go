package registry

import (
	"cmp"
	"context"
	"fmt"
	"net/textproto"
	"slices"

	"github.com/segmentio/ksuid"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Provider is what the registry calls itself in its Capabilities.
const Provider = "dispatcher"

// account is the port for one tenant.
type account struct {
	registry *Registry
	tenant   string
}

var _ subscription.API = (*account)(nil)

// Capabilities says what the dispatcher has: every field, and the vendors' options where their
// formats are among Options.Formats.
func (a *account) Capabilities() subscription.Capabilities {
	hasLedger := a.registry.options.Ledger != nil
	_, hasBird := a.registry.options.Formats[subscription.FormatBird]
	_, hasDixa := a.registry.options.Formats[subscription.FormatDixa]

	return subscription.Capabilities{
		Provider: Provider,
		Fields: map[subscription.Field]bool{
			subscription.FieldName: true, subscription.FieldURL: true, subscription.FieldEvents: true,
			subscription.FieldEnabled: true, subscription.FieldSecret: true,
			subscription.FieldBasic: true, subscription.FieldBearer: true,
			subscription.FieldHeaders: true, subscription.FieldHeaderSecrets: true,
			subscription.FieldFormat: true, subscription.FieldTimeout: true, subscription.FieldMaxAttempts: true,
			subscription.FieldMaxInFlight: true, subscription.FieldRateLimit: true, subscription.FieldOrdering: true,
			subscription.FieldBirdOptions: hasBird, subscription.FieldDixaOptions: hasDixa,
		},
		NamesUnique: true,
		Wildcards:   true,
		Secret:      subscription.SecretSettable,
		Resumable:   true,
		Statuses:    hasLedger,
		Logs:        hasLedger,
		NaturalKey:  []subscription.Field{subscription.FieldName},
		URLSchemes:  []string{"https", "http"},
	}
}

// List implements subscription.Subscriptions. The order is that of the ids.
func (a *account) List(context.Context) ([]subscription.Subscription, error) {
	r := a.registry
	r.mu.RLock()
	held := make([]*Subscription, 0, len(r.byTenant[a.tenant]))
	for _, s := range r.byTenant[a.tenant] {
		held = append(held, s)
	}
	r.mu.RUnlock()
	slices.SortFunc(held, func(a, b *Subscription) int { return cmp.Compare(a.ID, b.ID) })
	list := make([]subscription.Subscription, 0, len(held))
	for _, s := range held {
		list = append(list, s.public())
	}

	return list, nil
}

// Get implements subscription.Subscriptions.
func (a *account) Get(_ context.Context, id string) (subscription.Subscription, error) {
	s, err := a.find(id)
	if err != nil {
		return subscription.Subscription{}, err
	}

	return s.public(), nil
}

func (a *account) find(id string) (*Subscription, error) {
	s, ok := a.registry.Current(id)
	if !ok || s.Tenant != a.tenant {
		return nil, subscription.ErrNotFound
	}

	return s, nil
}

// Create implements subscription.Subscriptions. The secret is in the answer where it was
// generated, and nowhere afterwards. It is read, and generated, as the format has it.
func (a *account) Create(ctx context.Context, draft subscription.Draft) (subscription.Created, error) {
	if err := a.checkDraft(draft); err != nil {
		return subscription.Created{}, err
	}
	fresh, generated, err := a.fresh(draft)
	if err != nil {
		return subscription.Created{}, err
	}
	release, err := a.registry.reserve(a.tenant, fresh.ID)
	if err != nil {
		return subscription.Created{}, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, JournalTimeout)
	defer cancel()
	written, err := a.registry.write(ctx, fresh, 0)
	if err != nil {
		return subscription.Created{}, err
	}

	return subscription.Created{Subscription: written.public(), Secret: generated}, nil
}

// fresh is the first version by a draft, and its secret where that was generated.
func (a *account) fresh(draft subscription.Draft) (s *Subscription, generated string, err error) {
	now := a.registry.now()
	id, err := ksuid.NewRandomWithTime(now)
	if err != nil {
		return nil, "", fmt.Errorf("making an id: %w", err)
	}
	signing := draft.Secret
	if signing == "" {
		generated = a.registry.generateSecret(draft.Delivery.Format)
		signing = generated
	}

	return &Subscription{
		Subscription: subscription.Subscription{
			ID: id.String(), Name: draft.Name, URL: draft.URL, Events: slices.Clone(draft.Events), Enabled: draft.Enabled,
			State:         subscription.State{Phase: subscription.Active, Since: now},
			Authorization: normalAuthorization(draft.Authorization),
			Headers:       normalHeaders(draft.Headers),
			Delivery:      draft.Delivery,
			Options:       draft.Options.Clone(),
			CreatedAt:     now, UpdatedAt: now,
		},
		Tenant:  a.tenant,
		Secrets: []Secret{{Text: signing}},
	}, generated, nil
}

// normalHeaders are the headers sorted by name in canonical form.
func normalHeaders(headers []subscription.Header) []subscription.Header {
	out := slices.Clone(headers)
	for i := range out {
		out[i].Name = textproto.CanonicalMIMEHeaderKey(out[i].Name)
	}
	slices.SortFunc(out, func(a, b subscription.Header) int { return cmp.Compare(a.Name, b.Name) })

	return out
}

// Update implements subscription.Subscriptions. A suspension ends with Patch.Resume, and
// with any effective change of url, events, enabled, secret, authorization, headers or
// delivery.format. A patch that changes nothing writes nothing.
func (a *account) Update(ctx context.Context, id string, patch subscription.Patch) (subscription.Subscription, error) {
	if _, err := a.find(id); err != nil {
		return subscription.Subscription{}, err
	}
	if err := a.checkPatch(patch); err != nil {
		return subscription.Subscription{}, err
	}
	s, err := a.registry.change(ctx, a.tenant, id, func(current *Subscription) (*Subscription, error) {
		return a.registry.patched(current, patch)
	})
	if err != nil {
		return subscription.Subscription{}, err
	}

	return s.public(), nil
}

// Delete implements subscription.Subscriptions.
func (a *account) Delete(ctx context.Context, id string) error {
	_, err := a.registry.change(ctx, a.tenant, id, func(current *Subscription) (*Subscription, error) {
		gone := &Subscription{Tenant: current.Tenant, Deleted: true}
		gone.ID, gone.Name = current.ID, current.Name

		return gone, nil
	})

	return err
}

// EventTypes implements subscription.Catalogue: the types that the tenant's publishers
// have used, so it is not complete in the sense of the Capabilities.
func (a *account) EventTypes(ctx context.Context) ([]subscription.EventType, error) {
	ledger, err := a.ledger("event types")
	if err != nil {
		return nil, err
	}

	return ledger.EventTypes(ctx, a.tenant)
}

// Statuses implements subscription.Deliveries.
func (a *account) Statuses(ctx context.Context, id string) ([]subscription.DeliveryStatus, error) {
	ledger, err := a.ledger("delivery statuses")
	if err != nil {
		return nil, err
	}
	if _, err := a.find(id); err != nil {
		return nil, err
	}

	return ledger.Statuses(ctx, id)
}

// StatusesChangedSince implements subscription.Deliveries. Deleted subscriptions are left out.
func (a *account) StatusesChangedSince(ctx context.Context, cursor string) (subscription.Changes, error) {
	ledger, err := a.ledger("delivery statuses")
	if err != nil {
		return subscription.Changes{}, err
	}
	changes, err := ledger.StatusesChangedSince(ctx, a.tenant, cursor)
	if err != nil {
		return subscription.Changes{}, err
	}
	changes.IDs = slices.DeleteFunc(changes.IDs, func(id string) bool {
		_, err := a.find(id)

		return err != nil
	})

	return changes, nil
}

// Logs implements subscription.Deliveries.
func (a *account) Logs(ctx context.Context, id string, query subscription.LogQuery) ([]subscription.LogEntry, error) {
	ledger, err := a.ledger("delivery logs")
	if err != nil {
		return nil, err
	}
	if _, err := a.find(id); err != nil {
		return nil, err
	}
	if query, err = query.Validated(); err != nil {
		return nil, err
	}

	return ledger.Logs(ctx, id, query)
}

func (a *account) ledger(what string) (Ledger, error) {
	if a.registry.options.Ledger == nil {
		return nil, &subscription.UnsupportedError{Provider: Provider, What: []string{what}}
	}

	return a.registry.options.Ledger, nil
}
