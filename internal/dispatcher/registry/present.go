package registry

import (
	"cmp"
	"slices"
)

// Present are a tenant's subscriptions as they are now, sorted by id.
func (r *Registry) Present(tenant string) []*Subscription {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]*Subscription, 0, len(r.byTenant[tenant]))
	for _, s := range r.byTenant[tenant] {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Subscription) int { return cmp.Compare(a.ID, b.ID) })

	return all
}
