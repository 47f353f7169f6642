package provider

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// Factory makes the client of a provider's API.
type Factory struct {
	// Embedded is the registry of one tenant of the dispatcher in this process; nil where there is none.
	Embedded func(tenant string) subscription.API
	// UserAgent is sent with every request over HTTP.
	UserAgent string
}

// client makes the client for one account; one of a vendor keeps the pace. The error wraps ErrNoEmbedded or
// ErrInvalid where one of them is the cause; a dispatcher elsewhere is asked what it can do, so any error of the port may
// come too.
func (f *Factory) client(ctx context.Context, cfg Config, clock clockwork.Clock, pace *pace) (subscription.API, error) {
	switch {
	case cfg.Type == v1alpha1.ProviderTypeVonage:
		return f.vonage(cfg, clock, pace)
	case cfg.Type == v1alpha1.ProviderTypeDixa:
		return f.dixa(cfg, clock, pace)
	case cfg.Type == v1alpha1.ProviderTypeBird:
		return f.bird(cfg, clock, pace)
	case cfg.URL == "" && f.Embedded == nil:
		return nil, fmt.Errorf("%w: set spec.dispatcher.url and spec.dispatcher.tokenSecretRef", ErrNoEmbedded)
	case cfg.URL == "":
		return f.Embedded(cfg.Account), nil
	default:
		return f.remote(ctx, cfg)
	}
}

// PoolOptions are what a pool can be told. The zero value of each field means its default.
type PoolOptions struct {
	// Clock tells the time. Omitted: the system's.
	Clock clockwork.Clock
	// Observer is told of every call. Omitted: nobody is.
	Observer Observer
	// Interval is the one of providers whose spec has none. Omitted: v1alpha1.DefaultInterval.
	Interval time.Duration
	// ProbeInterval is how long refused credentials rest before they are tried again. Omitted: Interval.
	ProbeInterval time.Duration
}

// Pool keeps the accounts of all providers, each with the last credentials that were read for it.
type Pool struct {
	factory Factory
	secrets Secrets
	options PoolOptions

	mu       sync.Mutex
	accounts map[types.UID]*Account
	paces    map[paceKey]*pace
}

// NewPool is an empty pool.
func NewPool(factory Factory, secrets Secrets, options PoolOptions) *Pool {
	if options.Clock == nil {
		options.Clock = clockwork.NewRealClock()
	}

	if options.Observer == nil {
		options.Observer = func(string, string, string, time.Duration) {}
	}

	if options.Interval <= 0 {
		options.Interval = v1alpha1.DefaultInterval
	}

	if options.ProbeInterval <= 0 {
		options.ProbeInterval = options.Interval
	}

	return &Pool{factory: factory, secrets: secrets, options: options, accounts: map[types.UID]*Account{}, paces: map[paceKey]*pace{}}
}

// Open reads the provider's spec and credentials and is its account, made anew only where they changed. The
// errors are those of Configure, ErrNoEmbedded, and any of the port; after one, Last still has what worked before.
func (p *Pool) Open(ctx context.Context, resource v1alpha1.Provider) (*Account, error) {
	cfg, err := Configure(ctx, resource, p.secrets, p.options.Interval)
	if err != nil {
		return nil, err
	}

	if account, found := p.Last(cfg.UID); found && account.Config() == cfg {
		return account, nil
	}

	// Not under the lock: it may take as long as a request does.
	pace := p.keep(cfg)
	api, err := p.factory.client(ctx, cfg, p.options.Clock, pace)

	p.mu.Lock()
	defer p.mu.Unlock()

	if err != nil {
		p.leave(cfg)

		return nil, err
	}

	account := p.accounts[cfg.UID]
	if account == nil {
		account = newAccount(api, cfg, pace, p.options)
		p.accounts[cfg.UID] = account
	} else {
		p.leave(account.Config())
		account.configure(api, cfg, pace)
	}

	return account, nil
}

// keep is the pace of a configuration, shared where it is to be, until leave.
func (p *Pool) keep(cfg Config) *pace {
	p.mu.Lock()
	defer p.mu.Unlock()

	key := cfg.paceKey()

	kept := p.paces[key]
	if kept == nil {
		kept = &pace{clock: p.options.Clock}
		p.paces[key] = kept
	}

	kept.users++
	kept.limit(cfg.RequestsPerSecond, cfg.Burst)

	return kept
}

// leave drops a pace that nobody keeps any more. The caller holds mu.
func (p *Pool) leave(cfg Config) {
	key := cfg.paceKey()
	if kept := p.paces[key]; kept != nil {
		if kept.users--; kept.users == 0 {
			delete(p.paces, key)
		}
	}
}

// Last is the account as it was last opened, with the last credentials that could be read.
func (p *Pool) Last(uid types.UID) (*Account, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()

	account, found := p.accounts[uid]

	return account, found
}

// Forget drops a provider that is gone and that nothing uses any more.
func (p *Pool) Forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if account, found := p.accounts[uid]; found {
		p.leave(account.Config())
		delete(p.accounts, uid)
	}
}

// Named are the accounts of providers of that name, those included that a later one has replaced.
func (p *Pool) Named(kind v1alpha1.ProviderKind, namespace, name string) []*Account {
	return slices.DeleteFunc(p.All(), func(a *Account) bool {
		cfg := a.Config()

		return cfg.Kind != kind || cfg.Namespace != namespace || cfg.Name != name
	})
}

// All are the accounts, sorted by their provider's UID.
func (p *Pool) All() []*Account {
	p.mu.Lock()
	defer p.mu.Unlock()

	all := make([]*Account, 0, len(p.accounts))
	for _, account := range p.accounts {
		all = append(all, account)
	}

	slices.SortFunc(all, func(a, b *Account) int {
		return strings.Compare(string(a.Config().UID), string(b.Config().UID))
	})

	return all
}
