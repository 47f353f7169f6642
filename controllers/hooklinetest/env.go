package hooklinetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/controllers"
	"github.com/hookline-dev/hookline/internal/provider"
)

const (
	// InstallationID stands in the names that the controllers of an Env derive.
	InstallationID = "hooklinetest"
	// LabelEnv is the label by which an Env that is bound to namespaces tells its ClusterWebhookProviders from
	// those of others; see ClusterProviderLabels.
	LabelEnv = "hooklinetest." + v1alpha1.GroupName + "/env"

	// startTimeout is how long the controllers may take to be ready.
	startTimeout = time.Minute
	// stopTimeout is how long they may take to end.
	stopTimeout = 30 * time.Second
	// logVerbosity is more than anything that Hookline logs has, and less than that at which the client of the API
	// server logs what it receives, Secrets included.
	logVerbosity = 5
)

// Env is Hookline's controllers, running in the test's process against its API server.
type Env struct {
	// Client reads and writes the API server directly, without a cache; what it writes is not in Writes.
	Client client.Client
	// Provider is what stands in the place of the dispatcher.
	Provider *Provider
	// Writes are what the controllers wrote.
	Writes *Writes

	t       TB
	config  *rest.Config
	options startOptions
	cancel  context.CancelFunc
	ended   chan error
}

type startOptions struct {
	provider   *Provider
	clock      clockwork.Clock
	namespaces []string
	log        io.Writer
	grace      time.Duration
	poll       time.Duration
	keep       bool
}

// StartOption changes what Start runs.
type StartOption func(*startOptions)

// UseProvider sets the provider that stands in the place of the dispatcher. Omitted: a new one.
func UseProvider(p *Provider) StartOption { return func(o *startOptions) { o.provider = p } }

// UseClock sets the controllers' clock, delays included, so that a test can put it forward; a Clock goes well
// with it. Give the same one to the provider. Omitted: the system's clock.
func UseClock(clock clockwork.Clock) StartOption { return func(o *startOptions) { o.clock = clock } }

// InNamespaces binds the controllers to namespaces, so that several can share an API server. Of the
// ClusterWebhookProviders they then see those alone that carry the labels of ClusterProviderLabels, for the first
// of the namespaces. Omitted: all.
func InNamespaces(namespaces ...string) StartOption {
	return func(o *startOptions) { o.namespaces = namespaces }
}

// ClusterProviderLabels are the labels by which an Env that is bound to namespaces knows its
// ClusterWebhookProviders; namespace is the first of them.
func ClusterProviderLabels(namespace string) map[string]string {
	return map[string]string{LabelEnv: namespace}
}

// LogTo sets where the log goes, as lines of JSON, debug messages included. Omitted: nowhere.
func LogTo(w io.Writer) StartOption { return func(o *startOptions) { o.log = w } }

// DeletionGrace sets how long a deletion that the provider prevents is tried. Omitted: for ever.
func DeletionGrace(grace time.Duration) StartOption {
	return func(o *startOptions) { o.grace = grace }
}

// PollDeliveries sets how often the provider is asked whose delivery statuses changed. Omitted: as Hookline
// does by itself.
func PollDeliveries(interval time.Duration) StartOption {
	return func(o *startOptions) { o.poll = interval }
}

// StopMyself leaves it to the caller to call Stop; otherwise the test's cleanup does.
func StopMyself() StartOption { return func(o *startOptions) { o.keep = true } }

// Scheme has all types that a test of Hookline's resources needs.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))

	return scheme
}

// Start runs Hookline's controllers until the test ends. The CustomResourceDefinitions must be installed, see
// InstallCRDs. It returns when the controllers watch; failures end the test.
func Start(t TB, config *rest.Config, options ...StartOption) *Env {
	t.Helper()
	e := &Env{t: t, config: config, Writes: &Writes{}}
	for _, option := range options {
		option(&e.options)
	}
	if e.options.provider == nil {
		e.options.provider = NewProvider()
	}
	e.Provider = e.options.provider
	direct, err := client.New(config, client.Options{Scheme: Scheme()})
	if err != nil {
		t.Fatalf("Making a client: %v", err)
	}
	e.Client = direct
	e.Restart()
	if !e.options.keep {
		t.Cleanup(e.Stop)
	}

	return e
}

// Restart runs the controllers anew, as a crash and a restart of the process would: only what is in the API
// server and at the provider is remembered. Call Stop first. It is not for use by several goroutines.
func (e *Env) Restart() {
	e.t.Helper()
	if e.cancel != nil {
		e.t.Fatalf("Starting the controllers: they run already, call Stop first")
	}
	mgr, err := e.manager()
	if err != nil {
		e.t.Fatalf("Starting the controllers: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel, e.ended = cancel, make(chan error, 1)
	go func(ended chan<- error) { ended <- mgr.Start(ctx) }(e.ended)
	watching, stop := context.WithTimeout(ctx, startTimeout)
	defer stop()
	if !mgr.GetCache().WaitForCacheSync(watching) {
		e.Stop()
		e.t.Fatalf("Starting the controllers: the caches did not fill within %s", startTimeout)
	}
}

// Stop ends the controllers and waits until they have. It may be called more than once.
func (e *Env) Stop() {
	e.t.Helper()
	if e.cancel == nil {
		return
	}
	e.cancel()
	e.cancel = nil
	select {
	case err := <-e.ended:
		if err != nil && !errors.Is(err, context.Canceled) {
			e.t.Logf("The controllers ended with: %v", err)
		}
	case <-time.After(stopTimeout):
		e.t.Logf("The controllers did not end within %s", stopTimeout)
	}
}

func (e *Env) manager() (ctrl.Manager, error) {
	options := controllers.ManagerOptions()
	options.Scheme = Scheme()
	options.Metrics = metricsserver.Options{BindAddress: "0"}
	options.HealthProbeBindAddress = "0"
	options.LeaderElection = false
	options.Logger = e.logger()
	bind(&options.Cache, e.options.namespaces)
	mgr, err := ctrl.NewManager(e.Writes.Wrap(e.config), options)
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	setup := controllers.Options{
		Factory:            provider.Factory{Embedded: e.Provider.Tenant, UserAgent: "hooklinetest"},
		InstallationID:     InstallationID,
		DeletionGrace:      e.options.grace,
		StatusPollInterval: e.options.poll,
		Metrics:            prometheus.NewRegistry(),
		SkipNameValidation: new(true),
	}
	if e.options.clock != nil {
		setup.Clock = e.options.clock
		setup.NewQueue = newQueue(e.options.clock)
	}
	if err := controllers.SetupWithManager(mgr, setup); err != nil {
		return nil, fmt.Errorf("adding the controllers: %w", err)
	}

	return mgr, nil
}

// bind restricts a cache to namespaces, and to the cluster providers labelled for the first.
func bind(options *cache.Options, namespaces []string) {
	if len(namespaces) == 0 {
		return
	}
	options.DefaultNamespaces = map[string]cache.Config{}
	for _, namespace := range namespaces {
		options.DefaultNamespaces[namespace] = cache.Config{}
	}
	options.ByObject = map[client.Object]cache.ByObject{
		&v1alpha1.ClusterWebhookProvider{}: {Label: labels.SelectorFromSet(ClusterProviderLabels(namespaces[0]))},
	}
}

func (e *Env) logger() logr.Logger {
	if e.options.log == nil {
		return logr.Discard()
	}

	// Several goroutines log; funcr does not keep them apart.
	var mu sync.Mutex

	return funcr.NewJSON(func(line string) {
		mu.Lock()
		defer mu.Unlock()
		// A log that cannot be written has nobody to be told.
		_, _ = fmt.Fprintln(e.options.log, line)
	}, funcr.Options{LogTimestamp: true, Verbosity: logVerbosity})
}
