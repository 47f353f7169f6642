package ingest

import "sync"

// tenantShare is how many times what is free a tenant may hold: alone three quarters of all, and however many
// tenants send slowly, some stays free for the next one.
const tenantShare = 3

// places shares the requests under way between tenants, or their bytes. How many there are in all it does not
// bound: a tenant that has none always enters.
type places struct {
	most int64

	mu   sync.Mutex
	held map[string]int64
	all  int64
}

func newPlaces(most int64) *places { return &places{most: most, held: map[string]int64{}} }

// enter takes places for a tenant until it leaves with as many; it answers false where the tenant has its share.
func (p *places) enter(tenant string, n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := p.held[tenant]
	if held > 0 && held+n > tenantShare*(p.most-p.all) {
		return false
	}
	p.held[tenant] = held + n
	p.all += n

	return true
}

func (p *places) leave(tenant string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all -= n
	if p.held[tenant] -= n; p.held[tenant] == 0 {
		delete(p.held, tenant)
	}
}
