// Package vendortest_test proves that a WebhookSubscription is kept true at each vendor: the real controllers
// speak the vendor's API, through a proxy that injects faults, to the dispatcher that plays the vendor.
package vendortest_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/hookline-dev/hookline/controllers/hooklinetest"
	"github.com/hookline-dev/hookline/internal/dispatcher"
)

const (
	// patience is how long a case waits for what it expects, in real time. Nothing takes that long but on a
	// machine that is busy with other things.
	patience = 30 * time.Second
	// glance is how often a condition is looked at.
	glance = 50 * time.Millisecond
)

var (
	// apiServer is the configuration of the one API server that all cases share.
	apiServer *rest.Config
	// upstream plays all vendors, for all cases; each case has a tenant of its own.
	upstream *dispatcher.Dispatcher
	// upstreamURL is where it listens.
	upstreamURL string
	// tokens are those of the tenants.
	tokens tenantTokens
	// quiet collects what the quiet checks find.
	quiet quietChecks
)

func TestVendors(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set, so there is no API server to test with: run make test")
	}
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(patience)
	SetDefaultEventuallyPollingInterval(glance)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "Vendors")
}

var _ = BeforeSuite(func(ctx context.Context) {
	env := &envtest.Environment{}
	config, err := env.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(env.Stop()).To(Succeed()) })
	config.QPS, config.Burst = -1, -1
	apiServer = config
	hooklinetest.InstallCRDs(GinkgoTB(), config)
	startUpstream(ctx)
})

// startUpstream starts the dispatcher that plays the vendors. It gets no events here, so it delivers nothing.
func startUpstream(ctx context.Context) {
	GinkgoHelper()
	var err error
	upstream, err = dispatcher.New(ctx, dispatcher.Config{
		DataDir: filepath.Join(GinkgoTB().TempDir(), "journal"), Authenticator: &tokens,
	})
	Expect(err).NotTo(HaveOccurred())
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	upstreamURL = "http://" + listener.Addr().String()
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- upstream.Run(running, listener) }()
	DeferCleanup(func() {
		stop()
		Expect(<-ended).To(Succeed())
		Expect(upstream.Close()).To(Succeed())
		http.DefaultClient.CloseIdleConnections()
	})
}

// Every case ends with a quiet check that runs while the next cases do: see world.finish.
var _ = AfterSuite(func() {
	Expect(quiet.wait()).To(BeEmpty())
})
