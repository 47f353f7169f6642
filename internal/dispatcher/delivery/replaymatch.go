package delivery

import (
	"slices"
	"sync"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
)

// presentMatcher matches events of the past with the subscriptions as they are now. It holds
// those of the tenants that replays run for, as long as they do.
type presentMatcher struct {
	registry *registry.Registry
	passes   func(sub *registry.Subscription, among []*registry.Subscription, eventType string, event []byte) bool
	// matcher is nil where nothing is held; tenants are those it knows.
	matcher *registry.Matcher
	tenants map[string]bool
	cancel  func()
	matches []*registry.Subscription

	mu sync.Mutex
	// changed are ids of subscriptions whose versions are to be read again.
	changed map[string]bool
}

func (m *presentMatcher) note(version *registry.Subscription) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changed[version.ID] = true
}

// follow makes the matcher know a tenant's subscriptions, and a subscription of it in the
// version given.
func (m *presentMatcher) follow(sub *registry.Subscription) {
	if m.matcher == nil {
		m.matcher, m.tenants, m.changed = registry.NewMatcher(), map[string]bool{}, map[string]bool{}
		m.cancel = m.registry.Subscribe(m.note)
	}
	m.mu.Lock()
	changed := m.changed
	m.changed = map[string]bool{}
	m.mu.Unlock()
	for id := range changed {
		if current, ok := m.registry.Current(id); ok && m.tenants[current.Tenant] {
			m.matcher.Put(current)
		} else {
			m.matcher.Remove(id)
		}
	}
	if !m.tenants[sub.Tenant] {
		m.tenants[sub.Tenant] = true
		for _, one := range m.registry.Present(sub.Tenant) {
			m.matcher.Put(one)
		}
	}
	m.matcher.Put(sub)
}

// match tells whether an event is for a subscription that follow was called with last.
func (m *presentMatcher) match(id string, event *journal.Event) bool {
	m.matches = m.matcher.Match(event.Tenant, event.Type, m.matches[:0])
	defer clear(m.matches)
	at := slices.IndexFunc(m.matches, func(sub *registry.Subscription) bool { return sub.ID == id })

	return at >= 0 && (m.passes == nil || m.passes(m.matches[at], m.matches, event.Type, event.Body))
}

// forget lets go of everything.
func (m *presentMatcher) forget() {
	if m.matcher == nil {
		return
	}
	m.cancel()
	m.matcher, m.tenants, m.matches = nil, nil, nil
}
