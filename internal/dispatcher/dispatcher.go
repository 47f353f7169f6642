// Package dispatcher is Hookline's data plane as a library: it accepts events, matches
// them with subscriptions, signs, delivers, retries and remembers. It knows no
// Kubernetes; what it needs from outside it declares: an Authenticator and an
// EgressPolicy.
package dispatcher

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
	"github.com/hookline-dev/hookline/internal/dispatcher/ingest"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
	"github.com/hookline-dev/hookline/internal/dispatcher/ledger"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// Limits of the HTTP server that faces publishers and API clients.
const (
	// ReadHeaderTimeout bounds how long a client may take to send its request's headers.
	ReadHeaderTimeout = 10 * time.Second
	// ReadTimeout bounds a whole request, its body included.
	ReadTimeout = 60 * time.Second
	// WriteTimeout bounds a request from the end of its headers to the end of its answer.
	WriteTimeout = 90 * time.Second
	// IdleTimeout is how long an idle connection is kept.
	IdleTimeout = 2 * time.Minute
	// MaxHeaderBytes bounds a request's headers.
	MaxHeaderBytes = 64 << 10
	// AcceptDrain is how long requests under way may take to end once the process stops, and
	// DeliveryDrain how long deliveries in flight may after that; together 25 s.
	AcceptDrain   = 5 * time.Second
	DeliveryDrain = 20 * time.Second
	// RetentionInterval is how often the log is trimmed.
	RetentionInterval = time.Minute
)

// shards are those of the embedded journal.
var shards = []journal.Shard{0}

// Config is what a dispatcher is made of.
type Config struct {
	// DataDir is the journal's folder; it is made where missing.
	DataDir string
	// Authenticator tells which tenant a request speaks for.
	Authenticator ingest.Authenticator
	// Egress decides where deliveries may go; nil denies private and special-purpose ranges.
	Egress delivery.EgressPolicy
	// EndpointCAs are the authorities that endpoints' certificates are checked with; nil means the system's.
	EndpointCAs *x509.CertPool
	// ConnectTo names, by host in lower case, the address (host:port) that deliveries dial in its place.
	ConnectTo map[string]string
	// Schedule are the delays before each attempt; nil is the engine's own.
	Schedule delivery.Schedule
	// Timeout bounds one attempt; 0 is the engine's own.
	Timeout time.Duration
	// PreviousSecretFor is how long a replaced signing secret signs along; 0 is the registry's own.
	PreviousSecretFor time.Duration
	// Retention is how long settled events stay in the log; 0 is the journal's own.
	Retention time.Duration
	// PublishRate is how many events a tenant may publish in a second; 0 is ingest's own.
	PublishRate float64
	// VendorAnyEndpoint has the APIs of Vonage and Bird take any http or https endpoint. Their documents
	// allow https alone, and Bird's neither an address nor a port.
	VendorAnyEndpoint bool
	// DixaOrganization tells whose events notifications in Dixa's format are; nil, or an empty
	// answer, is the tenant's name with a UUID made of it.
	DixaOrganization func(tenant string) dixa.Organization
	// Version is the release, for the User-Agent of deliveries.
	Version string
	Clock   clockwork.Clock
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Dispatcher is one dispatcher on one journal.
type Dispatcher struct {
	log      *slog.Logger
	journal  *embedded.Journal
	registry *registry.Registry
	ledger   *ledger.Ledger
	engine   *delivery.Engine
	handler  http.Handler
	clock    clockwork.Clock
	cfg      Config
	// notifications are the vendors' ways to deliver.
	notifications map[subscription.Format]subscription.Notification

	identity string
	ready    chan struct{}
	closed   sync.Once
}

// New opens the journal and builds what works on it. Close lets go of it again.
func New(ctx context.Context, cfg Config) (*Dispatcher, error) {
	if cfg.Clock == nil {
		cfg.Clock = clockwork.NewRealClock()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}

	if cfg.Retention == 0 {
		cfg.Retention = journal.DefaultRetention
	}

	store, err := embedded.Open(ctx, embedded.Options{
		Dir: cfg.DataDir, Clock: cfg.Clock, Log: cfg.Log, Metrics: cfg.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the journal in %s: %w", cfg.DataDir, err)
	}

	d, err := assemble(ctx, cfg, store)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}

	return d, nil
}

func assemble(ctx context.Context, cfg Config, store *embedded.Journal) (*Dispatcher, error) {
	d := &Dispatcher{
		log: cfg.Log, journal: store, clock: cfg.Clock, cfg: cfg, notifications: cfg.notifications(), ready: make(chan struct{}),
	}
	d.ledger = ledger.New(store.View(), store.Get, ledger.WithBody(d.sent))

	var err error
	if d.registry, err = registry.New(ctx, store, registry.Options{
		Clock: cfg.Clock, Log: cfg.Log, Ledger: d.ledger, PreviousSecretFor: cfg.PreviousSecretFor, Formats: Formats(),
	}); err != nil {
		return nil, fmt.Errorf("reading the subscriptions: %w", err)
	}

	if d.engine, err = delivery.New(delivery.Config{
		Journal: store, Registry: d.registry, Clock: cfg.Clock, Log: cfg.Log, Metrics: cfg.Metrics,
		Egress: cfg.Egress, RootCAs: cfg.EndpointCAs, ConnectTo: cfg.ConnectTo,
		Schedule: cfg.Schedule, Timeout: cfg.Timeout, Version: cfg.Version,
		Notifications: d.notifications, Passes: passes, ShutdownGrace: DeliveryDrain,
	}); err != nil {
		return nil, fmt.Errorf("building the delivery engine: %w", err)
	}

	if d.handler, err = d.routes(); err != nil {
		return nil, err
	}

	if d.identity, err = readIdentity(cfg.DataDir); err != nil {
		return nil, err
	}

	return d, nil
}

// Identity tells this journal from every other one, for as long as it exists.
func (d *Dispatcher) Identity() string { return d.identity }

// Handler serves POST /events, the subscription API in each dialect, and their documents.
func (d *Dispatcher) Handler() http.Handler { return d.handler }

// Tenant is the port, bound to one tenant.
func (d *Dispatcher) Tenant(tenant string) subscription.API { return d.registry.Tenant(tenant) }

// Ready is closed once the dispatcher serves.
func (d *Dispatcher) Ready() <-chan struct{} { return d.ready }

// Run serves on the listener and delivers until the context ends or the journal fails. It
// then stops accepting, lets what is under way end or writes it down, and returns. It may be
// called once; Close comes after it.
func (d *Dispatcher) Run(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           d.handler,
		ReadHeaderTimeout: ReadHeaderTimeout,
		ReadTimeout:       ReadTimeout,
		WriteTimeout:      WriteTimeout,
		IdleTimeout:       IdleTimeout,
		MaxHeaderBytes:    MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}

	// The engine outlives the listener: what was accepted last still gets its chance.
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()

	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving %s: %w", listener.Addr(), err)
		}

		return nil
	})
	group.Go(func() error {
		if err := d.engine.Run(engineCtx); err != nil {
			return fmt.Errorf("delivering: %w", err)
		}

		return nil
	})
	group.Go(func() error { return d.watchJournal(groupCtx) })
	group.Go(func() error { return d.serveControl(groupCtx) })
	group.Go(func() error { return d.retain(groupCtx) })
	group.Go(func() error {
		<-groupCtx.Done()
		d.stopAccepting(server)
		stopEngine()

		return nil
	})

	close(d.ready)
	d.log.Info("Started the dispatcher", "address", listener.Addr().String())

	err := group.Wait()
	d.log.Info("Stopped the dispatcher")

	return err
}

// stopAccepting closes the listener at once and gives requests under way their time.
func (d *Dispatcher) stopAccepting(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), AcceptDrain)
	defer cancel()

	if err := server.Shutdown(ctx); err != nil {
		d.log.Warn("Cut off requests that were under way", "error", err)
		_ = server.Close()
	}
}

// watchJournal ends the dispatcher when the journal can no longer write.
func (d *Dispatcher) watchJournal(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.journal.Failed():
		return fmt.Errorf("the journal failed: %w", err)
	}
}

// retain trims the log now and then.
func (d *Dispatcher) retain(ctx context.Context) error {
	ticker := d.clock.NewTicker(RetentionInterval)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.Chan():
			if _, err := journal.Retain(ctx, d.journal, shards, d.clock.Now(), d.cfg.Retention); err != nil && ctx.Err() == nil {
				d.log.Error("Failed to trim the log", "error", err)
			}
		}
	}
}

// Close lets go of the journal. It is called after Run has returned.
func (d *Dispatcher) Close() error {
	var err error

	d.closed.Do(func() {
		d.registry.Close()
		if err = d.journal.Close(); err != nil {
			err = fmt.Errorf("closing the journal: %w", err)
		}
	})

	return err
}
