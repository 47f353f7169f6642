package processtest

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

// TestAllRunsOnce: hookline all refuses to run as two. The second process, on a journal of its
// own, does not get the Lease; it never becomes ready, and ends with an error that says why.
func TestAllRunsOnce(t *testing.T) {
	w := newWorld(t)
	kubeconfig := startCluster(t)

	all := func(data, health string) *process {
		return w.controllers("all", kubeconfig, health, "--data-dir", data, "--tokens-dir", w.tokens, "--listen-address", freeAddress(t))
	}

	first := all(w.data, w.health)
	w.eventually("the first process to be ready", func() bool { return answers("http://"+w.health+"/readyz") == http.StatusOK })

	health := freeAddress(t)
	second := all(filepath.Join(t.TempDir(), "journal"), health)
	w.eventually("the second process to answer", func() bool { return answers("http://"+health+"/healthz") == http.StatusOK })

	if status := answers("http://" + health + "/readyz"); status == http.StatusOK {
		t.Error("the second process says that it is ready")
	}

	select {
	case err := <-second.done:
		if err == nil || !strings.Contains(second.log.String(), "another process holds the Lease default/hookline") {
			t.Errorf("the second process ended with %v\n%s", err, second.log)
		}
	case <-time.After(2 * limit):
		t.Fatal("the second process goes on")
	}

	// Killed and started again, it has its Lease back at once: the Lease is the journal's. A
	// Lease lasts a minute, which is as long as eventually waits.
	if err := w.end(first, syscall.SIGKILL); err == nil {
		t.Error("a killed process ended without an error")
	}

	killed := time.Now()
	first = all(w.data, w.health)
	w.eventually("the first process to be ready again", func() bool { return answers("http://"+w.health+"/readyz") == http.StatusOK })
	t.Logf("ready again %s after the kill", time.Since(killed).Round(time.Millisecond))

	if err := w.end(first, syscall.SIGTERM); err != nil {
		t.Errorf("the first process ended with %v\n%s", err, first.log)
	}
}

// TestManagerAndDispatcher: the parts apart do what they do together. The manager speaks the
// native API to a dispatcher that knows no Kubernetes.
func TestManagerAndDispatcher(t *testing.T) {
	w := newWorld(t)
	kubeconfig := startCluster(t)
	r := newReceiver(t)
	d := w.start()

	health := freeAddress(t)
	m := w.controllers("manager", kubeconfig, health)
	w.eventually("the manager to be ready", func() bool { return answers("http://"+health+"/readyz") == http.StatusOK })

	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}

	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}

	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}

	subscription := &v1alpha1.WebhookSubscription{
		ObjectMeta: metav1.ObjectMeta{Name: "orders", Namespace: "default"},
		Spec:       v1alpha1.WebhookSubscriptionSpec{URL: r.url, Events: []string{"order.*"}},
	}

	for _, object := range []client.Object{
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "dispatcher-token", Namespace: "default"},
			StringData: map[string]string{"token": token},
		},
		&v1alpha1.WebhookProvider{
			ObjectMeta: metav1.ObjectMeta{Name: "elsewhere", Namespace: "default"},
			Spec: v1alpha1.WebhookProviderSpec{
				ProviderSettings: v1alpha1.ProviderSettings{Default: new(true)},
				Dispatcher: &v1alpha1.DispatcherProvider{
					URL: v1alpha1.ProviderURL(d.url), Tenant: "acme",
					TokenSecretRef: &v1alpha1.SecretKeyReference{Name: "dispatcher-token", Key: "token"},
				},
			},
		},
		subscription,
	} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatalf("%v\n%s", err, m.log)
		}
	}

	current := func(done func(v1alpha1.WebhookSubscriptionStatus) bool) func() bool {
		return func() bool {
			return c.Get(t.Context(), client.ObjectKeyFromObject(subscription), subscription) == nil && done(subscription.Status)
		}
	}

	w.eventually("the subscription to be made", current(func(s v1alpha1.WebhookSubscriptionStatus) bool {
		return s.SubscriptionID != "" && meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady)
	}))

	if accepted, err := publish(t.Context(), d, "order.created.v1", []string{"one"}); err != nil || len(accepted) != 1 {
		t.Fatalf("accepted %v: %v", accepted, err)
	}

	w.eventually("the delivery and its status", current(func(s v1alpha1.WebhookSubscriptionStatus) bool {
		missing, _ := r.missing([]string{"one"})

		return len(missing) == 0 && len(s.DeliveryStatuses) == 1 && s.DeliveryStatuses[0].Success
	}))

	// What the manager made, it deletes.
	if err := c.Delete(t.Context(), subscription); err != nil {
		t.Fatal(err)
	}

	w.eventually("the subscription to be deleted there", func() bool {
		_, body, err := call(t.Context(), http.MethodGet, d.url+"/webhooks/subscriptions", "", nil)

		return err == nil && !bytes.Contains(body, []byte(r.url))
	})

	if err := w.end(m, syscall.SIGTERM); err != nil {
		t.Errorf("the manager ended with %v\n%s", err, m.log)
	}

	if strings.Contains(m.log.String()+d.log.String(), token) {
		t.Error("a log holds the token")
	}
}

// controllers runs a command that has controllers.
func (w *world) controllers(command, kubeconfig, health string, args ...string) *process {
	w.t.Helper()

	p := &process{log: &bytes.Buffer{}, done: make(chan error, 1)}
	p.cmd = exec.Command(w.binary, append([]string{
		command, "--kubeconfig", kubeconfig, "--leader-election-namespace", "default",
		"--health-bind-address", health, "--metrics-bind-address", "0",
	}, args...)...)
	p.cmd.Stderr = p.log

	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}

	go func() { p.done <- p.cmd.Wait() }()

	w.t.Cleanup(func() { _ = p.cmd.Process.Kill() })

	return p
}

// startCluster runs an API server with Hookline's kinds, and returns an administrator's kubeconfig.
func startCluster(t *testing.T) string {
	t.Helper()

	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set: run make test, which builds the control plane and sets it")
	}

	environment := &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join("..", "..", "..", "config", "crd", "bases")}}
	if _, err := environment.Start(); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Error(err)
		}
	})

	user, err := environment.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}

	content, err := user.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}

	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}

	return path
}

// answers is the status of a GET; 0 where there is no answer.
func answers(url string) int {
	response, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer response.Body.Close()

	return response.StatusCode
}
