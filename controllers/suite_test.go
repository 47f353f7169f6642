package controllers_test

import (
	"os"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/hookline-dev/hookline/controllers/hooklinetest"
)

const (
	// patience is how long a case waits for what it expects, in real time. Nothing takes that long but on a
	// machine that is busy with other things.
	patience = 20 * time.Second
	// glance is how often a condition is looked at.
	glance = 50 * time.Millisecond
)

var (
	// apiServer is the configuration of the one API server that all cases share.
	apiServer *rest.Config
	// quiet collects what the quiet checks find.
	quiet quietChecks
)

func TestControllers(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set, so there is no API server to test with: run make test")
	}
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(patience)
	SetDefaultEventuallyPollingInterval(glance)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "Controllers")
}

var _ = BeforeSuite(func() {
	env := &envtest.Environment{}
	config, err := env.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(env.Stop()).To(Succeed()) })
	config.QPS, config.Burst = -1, -1
	apiServer = config
	hooklinetest.InstallCRDs(GinkgoTB(), config)
})

// Every case ends with a quiet check that runs while the next cases do: see world.finish.
var _ = AfterSuite(func() {
	Expect(quiet.wait()).To(BeEmpty())
})
