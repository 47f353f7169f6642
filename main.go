// Command hookline runs Hookline: the controllers that make WebhookSubscriptions true, the
// dispatcher that delivers events, or both in one process.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers"
	"github.com/hookline-dev/hookline/internal/cmd/backup"
	"github.com/hookline-dev/hookline/internal/cmd/options"
	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dispatcher"
	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
	"github.com/hookline-dev/hookline/internal/dispatcher/tokens"
	"github.com/hookline-dev/hookline/internal/provider"
)

// version is the release; the build sets it.
var version = "dev"

const usage = `Hookline makes WebhookSubscriptions true and delivers events to them.

Usage: hookline COMMAND [flags]

Commands:
  all         controllers and dispatcher in one process, one replica, journal on a volume
  manager     controllers alone, any number of replicas, leader election
  dispatcher  the dispatcher alone, without Kubernetes
  backup      copy the journal of a running dispatcher
  version     print the version

"hookline COMMAND --help" lists a command's flags.
`

const (
	// exitUsage is the exit code of a wrong command line.
	exitUsage = 2
	// The Lease of hookline all belongs to its journal, not to a process: one that was killed takes
	// it up again at once when it is back. So it may last long, and an API server that is away for
	// less than leaseRenewal does not end publishing.
	leaseDuration = 60 * time.Second
	leaseRenewal  = 50 * time.Second
	leaseRetry    = 5 * time.Second
	// electionTimeout is how long hookline all waits for the Lease of another journal: longer than
	// a Lease lasts, so that only a living holder ends this process.
	electionTimeout = leaseDuration + 15*time.Second
	// shutdownTimeout bounds the end of all parts: the dispatcher's 25 s and a little more.
	shutdownTimeout = 35 * time.Second
	// healthTimeout bounds a request to the health listener.
	healthTimeout = 5 * time.Second
)

var errNotServing = errors.New("the dispatcher does not serve yet")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once, even when stopping hangs.
	context.AfterFunc(ctx, stop)

	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)

	switch {
	case err == nil:
	case errors.Is(err, options.ErrUsage):
		os.Exit(exitUsage)
	default:
		fmt.Fprintln(os.Stderr, "hookline: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)

		return options.ErrUsage
	}

	switch command := options.Command(args[0]); command {
	case options.All, options.Manager, options.Dispatcher:
		opts, err := options.Parse(command, args[1:], stdout, stderr)
		if errors.Is(err, pflag.ErrHelp) {
			return nil
		}
		if err != nil {
			return err //nolint:wrapcheck // It has been explained where it was found.
		}

		// Libraries that know no other log write to the standard one: net/http among them.
		slog.SetDefault(opts.Log)
		opts.Log.Info("Started hookline", "command", command, "version", version)

		if command == options.Dispatcher {
			return runDispatcher(ctx, opts)
		}

		return runManager(ctx, opts)
	case "backup":
		return backup.Run(ctx, args[1:], stdout, stderr) //nolint:wrapcheck // It has been explained where it was found.
	case "version", "--version":
		fmt.Fprintln(stdout, versionText())

		return nil
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)

		return nil
	default:
		fmt.Fprintf(stderr, "hookline: unknown command %q: use all, manager, dispatcher or backup\n\n%s", args[0], usage)

		return options.ErrUsage
	}
}

// versionText is the release, and the commit it was built from where the build recorded one.
func versionText() string {
	words := []string{"hookline", version}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				words = append(words, setting.Value)
			}
		}

		words = append(words, info.GoVersion)
	}

	return strings.Join(words, " ")
}

// openDispatcher builds the dispatcher that the flags describe, and its store of tokens.
func openDispatcher(
	ctx context.Context, opts options.Options, metrics prometheus.Registerer,
) (*dispatcher.Dispatcher, *tokens.Store, error) {
	store := tokens.Open(opts.Data.TokensDir, tokens.Options{Log: opts.Log})

	d, err := dispatcher.New(ctx, dispatcher.Config{
		DataDir:           opts.Data.DataDir,
		Authenticator:     store,
		Egress:            delivery.NewEgressPolicy(opts.Data.AllowedPrivate...),
		EndpointCAs:       opts.Data.EndpointCAs,
		ConnectTo:         opts.Data.ConnectTo,
		Schedule:          opts.Data.Schedule,
		Timeout:           opts.Data.Timeout,
		PreviousSecretFor: opts.Data.PreviousSecretFor,
		Retention:         opts.Data.Retention,
		PublishRate:       opts.Data.PublishRate,
		VendorAnyEndpoint: opts.Data.VendorAnyEndpoint,
		DixaOrganization:  func(tenant string) dixa.Organization { return opts.Data.DixaOrganizations[tenant] },
		Version:           version,
		Log:               opts.Log,
		Metrics:           metrics,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("building the dispatcher: %w", err)
	}

	return d, store, nil
}

// serve runs a dispatcher and what it needs until the context ends.
func serve(ctx context.Context, d *dispatcher.Dispatcher, store *tokens.Store, address string) error {
	var config net.ListenConfig

	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening on --listen-address: %w", err)
	}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return store.Run(ctx) })
	group.Go(func() error { return d.Run(ctx, listener) })

	return group.Wait() //nolint:wrapcheck // Run says what failed.
}

// runDispatcher is hookline dispatcher.
func runDispatcher(ctx context.Context, opts options.Options) (err error) {
	d, store, err := openDispatcher(ctx, opts, prometheus.NewRegistry())
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, d.Close()) }()

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(ctx, d, store, opts.Data.ListenAddress) })
	group.Go(func() error { return serveHealth(ctx, opts.HealthAddress, d.Ready()) })

	return group.Wait() //nolint:wrapcheck // Each says what failed.
}

// runManager is hookline manager and hookline all: the controllers, and for all the
// dispatcher beside them, both only while this process holds the Lease.
func runManager(ctx context.Context, opts options.Options) (err error) {
	logger := logr.FromSlogHandler(opts.Log.Handler())
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)

	config, err := restConfig(opts.Kube.Kubeconfig)
	if err != nil {
		return err
	}

	factory := provider.Factory{UserAgent: "hookline/" + version}

	var (
		d     *dispatcher.Dispatcher
		store *tokens.Store
	)

	if opts.HasDispatcher() {
		if d, store, err = openDispatcher(ctx, opts, ctrlmetrics.Registry); err != nil {
			return err
		}

		defer func() { err = errors.Join(err, d.Close()) }()

		factory.Embedded = d.Tenant
	}

	mgr, err := newManager(config, opts, d)
	if err != nil {
		return err
	}

	if d != nil {
		if err := addDispatcher(mgr, d, store, opts); err != nil {
			return err
		}
	}

	err = controllers.SetupWithManager(mgr, controllers.Options{
		Factory:                 factory,
		InstallationID:          opts.Kube.InstallationID,
		DeletionGrace:           opts.Kube.DeletionGrace,
		StatusWritesPerSecond:   opts.Kube.StatusWritesPerSecond,
		MaxConcurrentReconciles: opts.Kube.MaxConcurrentReconcile,
		UsePriorityQueue:        &opts.Kube.PriorityQueue,
	})
	if err != nil {
		return fmt.Errorf("setting up the controllers: %w", err)
	}

	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the controllers: %w", err)
	}

	return nil
}

// restConfig is the cluster that the flag names, or the environment.
func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := ctrl.GetConfig()
		if err != nil {
			return nil, fmt.Errorf("finding the cluster: set --kubeconfig, or KUBECONFIG, or run in a Pod: %w", err)
		}

		return config, nil
	}

	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading --kubeconfig: %w", err)
	}

	// As GetConfig does: the API server's own priority and fairness limit what is asked of it, and the client's default,
	// 5 requests a second, is less than what --status-writes-per-second allows.
	config.QPS = -1

	return config, nil
}

// newManager is a manager with leader election: by process for controllers alone, by journal
// where there is a dispatcher.
func newManager(config *rest.Config, opts options.Options, d *dispatcher.Dispatcher) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("registering the kinds: %w", err)
	}

	managerOptions := controllers.ManagerOptions()
	managerOptions.Scheme = scheme
	managerOptions.LeaderElection = true
	managerOptions.LeaderElectionNamespace = opts.Kube.LeaseNamespace
	managerOptions.HealthProbeBindAddress = opts.HealthAddress
	managerOptions.GracefulShutdownTimeout = new(shutdownTimeout)
	managerOptions.Metrics = metricsserver.Options{
		BindAddress:    opts.MetricsAddress,
		SecureServing:  true,
		FilterProvider: filters.WithAuthenticationAndAuthorization,
	}

	if d != nil {
		lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, opts.Kube.LeaseNamespace,
			controllers.LeaderElectionID, resourcelock.ResourceLockConfig{Identity: d.Identity()}, config, leaseRenewal)
		if err != nil {
			return nil, fmt.Errorf("preparing the Lease: %w", err)
		}

		managerOptions.LeaderElectionResourceLockInterface = lock
		managerOptions.LeaseDuration = new(leaseDuration)
		managerOptions.RenewDeadline = new(leaseRenewal)
		managerOptions.RetryPeriod = new(leaseRetry)
	}

	mgr, err := ctrl.NewManager(config, managerOptions)
	if err != nil {
		return nil, fmt.Errorf("building the manager: %w", err)
	}

	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("adding the health check: %w", err)
	}

	if !opts.HasDispatcher() {
		if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
			return nil, fmt.Errorf("adding the readiness check: %w", err)
		}
	}

	return mgr, nil
}

// addDispatcher runs the dispatcher while this process holds the Lease. Where another one
// keeps it, the process ends: hookline all is one replica, and a second one would accept
// events into a journal that nobody reads.
func addDispatcher(mgr ctrl.Manager, d *dispatcher.Dispatcher, store *tokens.Store, opts options.Options) error {
	err := mgr.AddReadyzCheck("dispatcher", func(*http.Request) error {
		select {
		case <-d.Ready():
			return nil
		default:
			return errNotServing
		}
	})
	if err != nil {
		return fmt.Errorf("adding the readiness check: %w", err)
	}

	err = mgr.Add(manager.RunnableFunc(func(ctx context.Context) error { return serve(ctx, d, store, opts.Data.ListenAddress) }))
	if err != nil {
		return fmt.Errorf("adding the dispatcher: %w", err)
	}

	err = mgr.Add(alone{elected: mgr.Elected(), lease: opts.Kube.LeaseNamespace + "/" + controllers.LeaderElectionID})
	if err != nil {
		return fmt.Errorf("adding the guard against a second process: %w", err)
	}

	return nil
}

// alone ends the process where it does not get the Lease within electionTimeout.
type alone struct {
	elected <-chan struct{}
	lease   string
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: it watches the election, so
// it runs before it.
func (alone) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable.
func (a alone) Start(ctx context.Context) error {
	timer := time.NewTimer(electionTimeout)
	defer timer.Stop()

	select {
	case <-ctx.Done():
		return nil
	case <-a.elected:
		return nil
	case <-timer.C:
		return fmt.Errorf("another process holds the Lease %s: hookline all is one replica; "+
			"to run several, use hookline manager with a hookline dispatcher", a.lease)
	}
}

// serveHealth answers /healthz always, and /readyz once ready is closed, until the context ends.
func serveHealth(ctx context.Context, address string, ready <-chan struct{}) error {
	var config net.ListenConfig

	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening on --health-bind-address: %w", err)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-ready:
			fmt.Fprintln(w, "ok")
		default:
			http.Error(w, "the dispatcher does not serve yet", http.StatusServiceUnavailable)
		}
	})

	server := &http.Server{Handler: mux, ReadHeaderTimeout: healthTimeout, ReadTimeout: healthTimeout, WriteTimeout: healthTimeout}
	// What is under way at the end is a probe, which is made again.
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()

	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving health: %w", err)
	}

	return nil
}
