package hooklinetest

import (
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Provider is a provider of webhook subscriptions in memory, with one account for each tenant. It stands in
// the place of the embedded dispatcher.
type Provider struct {
	clock        clockwork.Clock
	capabilities Capabilities

	mu       sync.Mutex
	accounts map[string]*Account
}

// Option changes what NewProvider makes.
type Option func(*Provider)

// WithClock sets the clock that times and the visibility delay follow. The default is the system's.
func WithClock(clock clockwork.Clock) Option {
	return func(p *Provider) { p.clock = clock }
}

// WithCapabilities changes what the provider has and lacks. change is given the dispatcher's capabilities.
func WithCapabilities(change func(*Capabilities)) Option {
	return func(p *Provider) { change(&p.capabilities) }
}

// WithVisibilityDelay makes List, Get and the delivery statuses lag: a write stays invisible to them for
// that long, by the provider's clock. The replies to writes are never late.
func WithVisibilityDelay(delay time.Duration) Option {
	return WithCapabilities(func(c *Capabilities) { c.VisibilityDelay = delay })
}

// NewProvider makes a provider with no subscriptions.
func NewProvider(options ...Option) *Provider {
	p := &Provider{
		clock:        clockwork.NewRealClock(),
		capabilities: DispatcherCapabilities(),
		accounts:     map[string]*Account{},
	}
	for _, option := range options {
		option(p)
	}

	return p
}

// DispatcherCapabilities are those of Hookline's dispatcher, in a fresh value that may be changed.
func DispatcherCapabilities() Capabilities {
	fields := map[Field]bool{}
	for _, field := range []Field{
		subscription.FieldName, subscription.FieldURL, subscription.FieldEvents, subscription.FieldEnabled,
		subscription.FieldSecret, subscription.FieldBasic, subscription.FieldBearer, subscription.FieldHeaders,
		subscription.FieldHeaderSecrets, subscription.FieldFormat, subscription.FieldTimeout,
		subscription.FieldMaxAttempts, subscription.FieldMaxInFlight, subscription.FieldRateLimit, subscription.FieldOrdering,
		subscription.FieldBirdOptions, subscription.FieldDixaOptions,
	} {
		fields[field] = true
	}

	return Capabilities{
		Provider:    "dispatcher",
		Fields:      fields,
		NamesUnique: true,
		Wildcards:   true,
		Secret:      subscription.SecretSettable,
		Resumable:   true,
		Statuses:    true,
		Logs:        true,
		NaturalKey:  []Field{subscription.FieldName},
		URLSchemes:  []string{"https", "http"},
	}
}

// Account is the account of one tenant; it is made when it is first asked for.
func (p *Provider) Account(tenant string) *Account {
	p.mu.Lock()
	defer p.mu.Unlock()

	account, found := p.accounts[tenant]
	if !found {
		account = &Account{
			tenant:       tenant,
			clock:        p.clock,
			capabilities: p.capabilities,
			records:      map[string]*record{},
		}
		p.accounts[tenant] = account
	}

	return account
}

// Tenant is Account, in the form that the controllers ask for.
func (p *Provider) Tenant(tenant string) API { return p.Account(tenant) }

// Requests are all requests to all accounts since the provider was made, or since ResetRequests, in the
// order in which each account received them.
func (p *Provider) Requests() []Request {
	var all []Request
	for _, account := range p.all() {
		all = append(all, account.Requests()...)
	}

	return all
}

// RequestCount is how many requests all accounts have received in all, ResetRequests or not.
func (p *Provider) RequestCount() int {
	count := 0
	for _, account := range p.all() {
		count += account.RequestCount()
	}

	return count
}

func (p *Provider) all() []*Account {
	p.mu.Lock()
	defer p.mu.Unlock()

	accounts := make([]*Account, 0, len(p.accounts))
	for _, account := range p.accounts {
		accounts = append(accounts, account)
	}

	return accounts
}
