package embedded

import (
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// types remembers which event types each tenant used. It is kept in memory whole, at
// most MaxEventTypes for each tenant, so that an append need not read rows.
type types struct {
	mu      sync.Mutex
	tenants map[string]map[string]*seenType
}

type seenType struct {
	first, last, stored time.Time
}

// load reads the rows.
func (t *types) load(j *Journal) error {
	t.tenants = map[string]map[string]*seenType{}
	lower, upper := kindRange(kindType)
	err := j.scan(lower, upper, func(key, value []byte) (bool, error) {
		tenant, name, ok := splitNamed(key)
		if !ok {
			return false, badRow("event type", string(key))
		}
		first, last, err := decodeSeen(name, value)
		if err != nil {
			return false, err
		}
		t.of(tenant)[name] = &seenType{first: first, last: last, stored: last}

		return true, nil
	})
	if err != nil {
		return fmt.Errorf("reading the event types: %w", err)
	}

	return nil
}

// of is the tenant's types; t.mu is held, or nobody else is there yet.
func (t *types) of(tenant string) map[string]*seenType {
	names := t.tenants[tenant]
	if names == nil {
		names = map[string]*seenType{}
		t.tenants[tenant] = names
	}

	return names
}

// see notes an event, and returns the row to write where the stored one is too old.
func (t *types) see(tenant, name string, now time.Time) (row []byte, changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := t.of(tenant)
	seen := names[name]
	if seen == nil {
		if len(names) >= MaxEventTypes {
			return nil, false
		}
		seen = &seenType{first: now}
		names[name] = seen
	}
	if now.After(seen.last) {
		seen.last = now
	}
	if !seen.stored.IsZero() && seen.last.Sub(seen.stored) < typeResolution {
		return nil, false
	}
	seen.stored = seen.last

	return encodeSeen(seen.first, seen.last), true
}

// list returns a tenant's types sorted by name.
func (t *types) list(tenant string) []journal.EventTypeRow {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := make([]journal.EventTypeRow, 0, len(t.tenants[tenant]))
	for name, seen := range t.tenants[tenant] {
		rows = append(rows, journal.EventTypeRow{Name: name, FirstSeen: seen.first.UTC(), LastSeen: seen.last.UTC()})
	}
	sort.Slice(rows, func(a, b int) bool { return rows[a].Name < rows[b].Name })

	return rows
}
