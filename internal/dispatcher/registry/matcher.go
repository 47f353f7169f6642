package registry

import (
	"cmp"
	"slices"
	"strings"
)

// Matcher finds the subscriptions of a tenant whose patterns stand for an event type. It
// is a trie by the dotted segments of the patterns, so the cost of a match depends on the
// type's length and on what matches, not on how many subscriptions there are besides.
//
// One goroutine at a time may use it, Match included: its owner is whoever reads the log
// in order. The grammar is subscription.Pattern's.
type Matcher struct {
	tenants map[string]*node
	byID    map[string]*Subscription

	// Kept from one match to the next, to allocate nothing.
	level, next []*node
	scan        scan
}

// node is what a pattern's segments so far lead to.
type node struct {
	// exact are the children by a segment without "*".
	exact map[string]*node
	// wild are the children by a segment with "*".
	wild *segmentTrie
	// ends are the subscriptions of a pattern that ends here.
	ends entries
	// rest are the subscriptions of a pattern whose last segment is "*" and would come next.
	rest entries
}

// entries are subscriptions sorted by id, none twice.
type entries []*Subscription

const wildcard = "*"

// NewMatcher returns an empty matcher.
func NewMatcher() *Matcher {
	return &Matcher{tenants: make(map[string]*node), byID: make(map[string]*Subscription)}
}

// Put adds a subscription, or replaces the version of it that was there. One that does
// not take events is removed instead.
func (m *Matcher) Put(s *Subscription) {
	m.Remove(s.ID)
	if !s.Takes() {
		return
	}
	m.byID[s.ID] = s
	root := m.tenants[s.Tenant]
	if root == nil {
		root = &node{}
		m.tenants[s.Tenant] = root
	}
	for _, pattern := range s.Events {
		root.put(pattern, s)
	}
}

// Remove takes a subscription out; it does nothing where there is none.
func (m *Matcher) Remove(id string) {
	s, ok := m.byID[id]
	if !ok {
		return
	}
	delete(m.byID, id)
	root := m.tenants[s.Tenant]
	for _, pattern := range s.Events {
		root.remove(pattern, id)
	}
	if root.empty() {
		delete(m.tenants, s.Tenant)
	}
}

// Match appends the tenant's subscriptions that take events of a type to into, each at
// most once, sorted by id, and returns it.
func (m *Matcher) Match(tenant, eventType string, into []*Subscription) []*Subscription {
	root := m.tenants[tenant]
	if root == nil {
		return into
	}
	before := len(into)
	lists := 0
	take := func(found entries) {
		if len(found) > 0 {
			into = append(into, found...)
			lists++
		}
	}
	m.level = append(m.level[:0], root)
	for rest, more := eventType, true; more && len(m.level) > 0; {
		if rest != "" {
			for _, n := range m.level {
				take(n.rest)
			}
		}
		var segment string
		segment, rest, more = strings.Cut(rest, ".")
		m.step(segment)
	}
	for _, n := range m.level {
		take(n.ends)
	}
	clear(m.level)
	if lists < 2 {
		return into
	}
	found := into[before:]
	slices.SortFunc(found, func(a, b *Subscription) int { return cmp.Compare(a.ID, b.ID) })

	return into[:before+len(slices.Compact(found))]
}

// step moves from the nodes reached so far to those that one more segment leads to. Two
// ways never lead to one node, so none is there twice.
func (m *Matcher) step(segment string) {
	m.next = m.next[:0]
	for _, n := range m.level {
		if child := n.exact[segment]; child != nil {
			m.next = append(m.next, child)
		}
		if n.wild != nil {
			m.next = n.wild.match(segment, &m.scan, m.next)
		}
	}
	m.level, m.next = m.next, m.level
}

func (n *node) put(pattern string, s *Subscription) {
	segment, tail, more := strings.Cut(pattern, ".")
	if segment == wildcard && !more {
		n.rest = n.rest.with(s)

		return
	}
	child := n.child(segment)
	if child == nil {
		child = n.grow(segment)
	}
	if !more {
		child.ends = child.ends.with(s)

		return
	}
	child.put(tail, s)
}

// remove undoes put, and lets go of nodes that nothing is left of.
func (n *node) remove(pattern, id string) {
	segment, tail, more := strings.Cut(pattern, ".")
	if segment == wildcard && !more {
		n.rest = n.rest.without(id)

		return
	}
	child := n.child(segment)
	if child == nil {
		// The pattern stood twice among the subscription's events, and is gone.
		return
	}
	if more {
		child.remove(tail, id)
	} else {
		child.ends = child.ends.without(id)
	}
	if child.empty() {
		n.shrink(segment)
	}
}

func (n *node) child(segment string) *node {
	if !strings.Contains(segment, wildcard) {
		return n.exact[segment]
	}
	if n.wild == nil {
		return nil
	}

	return n.wild.get(segment)
}

func (n *node) grow(segment string) *node {
	child := &node{}
	if strings.Contains(segment, wildcard) {
		if n.wild == nil {
			n.wild = &segmentTrie{}
		}
		n.wild.put(segment, child)

		return child
	}
	if n.exact == nil {
		n.exact = make(map[string]*node)
	}
	n.exact[segment] = child

	return child
}

func (n *node) shrink(segment string) {
	if !strings.Contains(segment, wildcard) {
		delete(n.exact, segment)

		return
	}
	n.wild.remove(segment)
	if n.wild.empty() {
		n.wild = nil
	}
}

func (n *node) empty() bool {
	return len(n.exact) == 0 && n.wild == nil && len(n.ends) == 0 && len(n.rest) == 0
}

func (e entries) find(id string) (int, bool) {
	return slices.BinarySearchFunc(e, id, func(s *Subscription, id string) int { return cmp.Compare(s.ID, id) })
}

func (e entries) with(s *Subscription) entries {
	at, found := e.find(s.ID)
	if found {
		e[at] = s

		return e
	}

	return slices.Insert(e, at, s)
}

func (e entries) without(id string) entries {
	at, found := e.find(id)
	if !found {
		return e
	}
	if len(e) == 1 {
		return nil
	}

	return slices.Delete(e, at, at+1)
}
