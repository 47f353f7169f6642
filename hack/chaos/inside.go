package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
	"github.com/hookline-dev/hookline/internal/dispatcher/ingest"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
	"github.com/hookline-dev/hookline/internal/dispatcher/ledger"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/dispatcher/tokens"
)

// insideGrace is how long a dispatcher inside this program may take to end: its power is cut,
// or everything is delivered.
const insideGrace = time.Second

// loopback is where deliveries of a run may go.
var loopback = netip.MustParsePrefix("127.0.0.0/8")

// insideOptions are those of a dispatcher inside this program.
type insideOptions struct {
	fs         vfs.FS
	dir        string
	freeSpace  func() (embedded.Space, error)
	tokens     string
	address    string
	generation int
}

// inside is a dispatcher inside this program, put together of the real parts: on a file system
// that can do what a disk does at its worst, and that no process is allowed to mount.
type inside struct {
	store  *embedded.Journal
	ledger *ledger.Ledger
	subs   *registry.Registry
	server *http.Server
	cancel context.CancelFunc
	ended  chan error
}

// startInside opens the journal and serves.
func startInside(ctx context.Context, o insideOptions) (*inside, error) {
	quiet := slog.New(slog.DiscardHandler)

	store, err := embedded.Open(ctx, embedded.Options{Dir: o.dir, FS: o.fs, Log: quiet, FreeSpace: o.freeSpace})
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}

	i := &inside{store: store, ledger: ledger.New(store.View(), store.Get), ended: make(chan error, 1)}

	if err := i.serve(ctx, o, quiet); err != nil {
		return nil, errors.Join(err, store.Close())
	}

	return i, nil
}

func (i *inside) serve(ctx context.Context, o insideOptions, quiet *slog.Logger) error {
	var err error

	if i.subs, err = registry.New(ctx, i.store, registry.Options{Log: quiet, Ledger: i.ledger}); err != nil {
		return fmt.Errorf("reading the subscriptions: %w", err)
	}

	schedule, err := delivery.ParseSchedule(retrySchedule)
	if err != nil {
		return fmt.Errorf("reading the schedule: %w", err)
	}

	engine, err := delivery.New(delivery.Config{
		Journal: i.store, Registry: i.subs, Log: quiet, Egress: delivery.NewEgressPolicy(loopback),
		Schedule: schedule, Timeout: time.Second, ShutdownGrace: insideGrace, Version: strconv.Itoa(o.generation),
	})
	if err != nil {
		return fmt.Errorf("building the engine: %w", err)
	}

	authenticator := tokens.Open(o.tokens, tokens.Options{Log: quiet})

	mux := http.NewServeMux()
	mux.Handle("/events", ingest.New(ingest.Config{
		Appender: i.store, Authenticator: authenticator, Types: i.ledger, Log: quiet,
	}))
	mux.Handle("/webhooks/", native.NewServer(native.ServerConfig{
		Authenticate: ingest.Administrator(authenticator), API: i.subs.Tenant, Log: quiet,
	}))

	var config net.ListenConfig

	listener, err := config.Listen(ctx, "tcp", o.address)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}

	i.server = &http.Server{
		ReadHeaderTimeout: receiverLimit, ErrorLog: nowhere(),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(generationHeader, strconv.Itoa(o.generation))
			mux.ServeHTTP(w, r)
		}),
	}

	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	i.cancel = cancel

	go func() { _ = i.server.Serve(listener) }()
	go func() { i.ended <- engine.Run(running) }()

	return nil
}

// stop ends the dispatcher.
func (i *inside) stop() error {
	err := i.server.Close()

	i.cancel()

	err = errors.Join(err, <-i.ended)
	i.subs.Close()

	return errors.Join(err, i.store.Close())
}

// letters are the dead letters of an endpoint.
func (i *inside) letters(ctx context.Context, e *endpoint, after uint64) (all []letter, err error) {
	for {
		page, err := i.ledger.DeadLetters(ctx, e.tenant, e.id, journal.Seq(after), letterPage)
		if err != nil || len(page) == 0 {
			return all, err //nolint:wrapcheck // The ledger says what it was doing.
		}

		for n := range page {
			all = append(all, letter{Position: uint64(page[n].Seq), EventID: page[n].Event.ID, Reason: page[n].Reason})
		}

		after = all[len(all)-1].Position
	}
}
