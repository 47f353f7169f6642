package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/pprof"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/dispatcher"
	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
	"github.com/hookline-dev/hookline/internal/dispatcher/ingest"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
	"github.com/hookline-dev/hookline/internal/dispatcher/ledger"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/dispatcher/tokens"
)

// roleCommand begins the command line of a process that the benchmark starts of itself.
const roleCommand = "role"

// role is such a process.
type role struct {
	kind                           kind
	dataDir, tokensDir, cpuProfile string
	schedule                       string
	port                           int
	fsyncDelay                     time.Duration
	log                            *slog.Logger
}

// runRole serves until the context ends.
func runRole(ctx context.Context, args []string, stderr io.Writer) (err error) {
	r := role{log: slog.New(slog.NewJSONHandler(stderr, nil))}
	flags := flag.NewFlagSet(roleCommand, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar((*string)(&r.kind), "kind", "", "what to be: bare, discard or embedded")
	flags.StringVar(&r.dataDir, "data-dir", "", "folder of the journal")
	flags.StringVar(&r.tokensDir, "tokens-dir", "", "folder of the tokens")
	flags.StringVar(&r.cpuProfile, "cpu-profile", "", "file for a profile of the processor")
	flags.StringVar(&r.schedule, "retry-schedule", "", "delays before each attempt, without jitter")
	flags.IntVar(&r.port, "port", 0, "port of the receivers")
	flags.DurationVar(&r.fsyncDelay, "fsync-delay", 0, "time added to each fsync")

	if err := flags.Parse(args); err != nil {
		return errUsage
	}

	stop, err := r.profile()
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, stop()) }()

	switch r.kind {
	case kindBare:
		return r.serve(ctx, newBare(r.port))
	case kindDiscard:
		return r.dispatch(ctx, newDiscardJournal())
	case kindEmbedded:
		store, err := embedded.Open(ctx, embedded.Options{Dir: r.dataDir, FS: slowFS(r.fsyncDelay), Log: r.log})
		if err != nil {
			return fmt.Errorf("opening the journal: %w", err)
		}

		return r.dispatch(ctx, store)
	case kindHookline:
	}

	return fmt.Errorf("-kind: there is no %q", r.kind)
}

// profile begins a profile where one is asked for; the returned function ends it.
func (r *role) profile() (func() error, error) {
	if r.cpuProfile == "" {
		return func() error { return nil }, nil
	}

	file, err := os.Create(r.cpuProfile)
	if err != nil {
		return nil, fmt.Errorf("making the profile: %w", err)
	}

	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("beginning the profile: %w", err), file.Close())
	}

	return func() error {
		pprof.StopCPUProfile()

		return file.Close()
	}, nil
}

// dispatch puts the dispatcher's parts together on a journal, as the library does, and serves.
func (r *role) dispatch(ctx context.Context, store journal.Journal) (err error) {
	defer func() { err = errors.Join(err, store.Close()) }()

	read := ledger.New(store.View(), store.Get)

	subscriptions, err := registry.New(ctx, store, registry.Options{Log: r.log, Ledger: read})
	if err != nil {
		return fmt.Errorf("reading the subscriptions: %w", err)
	}
	defer subscriptions.Close()

	config := delivery.Config{
		Journal: store, Registry: subscriptions, Log: r.log, Egress: delivery.NewEgressPolicy(netip.MustParsePrefix("127.0.0.0/8")),
	}
	if r.schedule != "" {
		if config.Schedule, err = delivery.ParseSchedule(r.schedule); err != nil {
			return fmt.Errorf("-retry-schedule: %w", err)
		}

		// The middle of the jitter: every wait is as long as the schedule says.
		config.Random = func() float64 { return 1.0 / 2 }
	}

	engine, err := delivery.New(config)
	if err != nil {
		return fmt.Errorf("building the delivery engine: %w", err)
	}

	auth := tokens.Open(r.tokensDir, tokens.Options{Log: r.log})
	mux := http.NewServeMux()
	mux.Handle("/events", ingest.New(ingest.Config{
		Appender: store, Authenticator: auth, Types: read, Log: r.log, EventsPerSecond: -1,
	}))
	mux.Handle("/webhooks/", native.NewServer(native.ServerConfig{
		Authenticate: ingest.Administrator(auth), API: subscriptions.Tenant, Log: r.log,
	}))

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return engine.Run(ctx) })
	group.Go(func() error { return r.serve(ctx, mux) })

	return group.Wait() //nolint:wrapcheck // Each says what failed.
}

// serve is the dispatcher's HTTP server, with another handler.
func (r *role) serve(ctx context.Context, handler http.Handler) error {
	var config net.ListenConfig

	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}

	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: dispatcher.ReadHeaderTimeout, ReadTimeout: dispatcher.ReadTimeout,
		WriteTimeout: dispatcher.WriteTimeout, IdleTimeout: dispatcher.IdleTimeout, MaxHeaderBytes: dispatcher.MaxHeaderBytes,
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()

	r.log.Info(startedMessage, "address", listener.Addr().String())

	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}

	return nil
}

// slowFS is the disk with a delay before every fsync returns; nil, the disk itself, without one.
func slowFS(delay time.Duration) vfs.FS {
	if delay <= 0 {
		return nil
	}

	return syncFS{FS: vfs.Default, wait: func() { time.Sleep(delay) }}
}

// syncFS is a file system that does something more, or nothing at all, at each fsync.
type syncFS struct {
	vfs.FS

	wait func()
	// skip leaves the fsync itself out.
	skip bool
}

func (f syncFS) wrap(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}

	return syncFile{File: file, fs: f}, nil
}

// Create implements vfs.FS.
func (f syncFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.Create(name, category))
}

// OpenReadWrite implements vfs.FS.
func (f syncFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.wrap(f.FS.OpenReadWrite(name, category, opts...))
}

// OpenDir implements vfs.FS.
func (f syncFS) OpenDir(name string) (vfs.File, error) { return f.wrap(f.FS.OpenDir(name)) }

// ReuseForWrite implements vfs.FS.
func (f syncFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.ReuseForWrite(oldname, newname, category))
}

// Unwrap implements vfs.FS.
func (f syncFS) Unwrap() vfs.FS { return f.FS }

type syncFile struct {
	vfs.File

	fs syncFS
}

func (f syncFile) sync(do func() error) error {
	if f.fs.wait != nil {
		f.fs.wait()
	}
	if f.fs.skip {
		return nil
	}

	return do()
}

// Sync implements vfs.File.
func (f syncFile) Sync() error { return f.sync(f.File.Sync) }

// SyncData implements vfs.File.
func (f syncFile) SyncData() error { return f.sync(f.File.SyncData) }

// SyncTo implements vfs.File.
func (f syncFile) SyncTo(length int64) (fullSync bool, err error) {
	err = f.sync(func() error {
		fullSync, err = f.File.SyncTo(length)

		return err
	})

	return fullSync, err
}
