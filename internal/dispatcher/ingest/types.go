package ingest

import (
	"context"
	"fmt"
	"sync"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// MaxEventTypes is how many event types one tenant may use.
const MaxEventTypes = 10_000

// TypeSource tells the types a tenant's events have had so far; ledger.Ledger is one.
type TypeSource interface {
	EventTypes(ctx context.Context, tenant string) ([]subscription.EventType, error)
}

// typeBook counts each tenant's event types, from what the journal knows at the tenant's
// first event on. A type admitted for an append that then failed stays counted until the
// process restarts, which errs on the safe side by as much as was tried.
type typeBook struct {
	source TypeSource
	limit  int

	mu      sync.Mutex
	tenants map[string]*tenantTypes
}

type tenantTypes struct {
	mu    sync.Mutex
	names map[string]struct{}
}

func newTypeBook(source TypeSource, limit int) *typeBook {
	return &typeBook{source: source, limit: limit, tenants: map[string]*tenantTypes{}}
}

// of is the tenant's types. It fails where the journal cannot tell them.
func (b *typeBook) of(ctx context.Context, tenant string) (*tenantTypes, error) {
	b.mu.Lock()
	types, ok := b.tenants[tenant]
	if !ok {
		types = &tenantTypes{}
		b.tenants[tenant] = types
	}
	b.mu.Unlock()

	types.mu.Lock()
	defer types.mu.Unlock()
	if types.names != nil {
		return types, nil
	}
	names := map[string]struct{}{}
	if b.source != nil {
		rows, err := b.source.EventTypes(ctx, tenant)
		if err != nil {
			return nil, fmt.Errorf("reading the tenant's event types: %w", err)
		}
		for _, row := range rows {
			names[row.Name] = struct{}{}
		}
	}
	types.names = names

	return types, nil
}

// admit counts a type; it answers an error where that would be one too many.
func (t *tenantTypes) admit(name string, limit int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.names[name]; known {
		return nil
	}
	if len(t.names) >= limit {
		return attributeError(attrType, "%q would be one more than the %d event types a tenant may use: "+
			"keep what varies in subject or data", clip(name), limit)
	}
	t.names[name] = struct{}{}

	return nil
}
