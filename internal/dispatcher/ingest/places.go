package ingest

import "sync"

// tenantShare is how many times the free places a tenant may hold: alone three quarters of all, and however many
// tenants send slowly, some places stay free for the next one.
const tenantShare = 3

// places shares the requests under way between tenants.
type places struct {
	most int

	mu   sync.Mutex
	held map[string]int
	all  int
}

func newPlaces(most int) *places { return &places{most: most, held: map[string]int{}} }

// enter takes a place for a tenant until leave is called; it answers false where the tenant has its share.
func (p *places) enter(tenant string) (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[tenant] >= max(1, tenantShare*(p.most-p.all)) {
		return nil, false
	}
	p.held[tenant]++
	p.all++

	return func() { p.leave(tenant) }, true
}

func (p *places) leave(tenant string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.held[tenant]--; p.held[tenant] == 0 {
		delete(p.held, tenant)
	}
}
