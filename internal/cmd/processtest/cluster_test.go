package processtest

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// TestAllRunsOnce: hookline all refuses to run as two. The second process, on a journal of its
// own, does not get the Lease; it never becomes ready, and ends with an error that says why.
func TestAllRunsOnce(t *testing.T) {
	w := newWorld(t)
	kubeconfig := startCluster(t)

	all := func(data, health string) *process {
		p := &process{log: &bytes.Buffer{}, done: make(chan error, 1)}
		p.cmd = exec.Command(w.binary, "all",
			"--kubeconfig", kubeconfig, "--leader-election-namespace", "default", "--data-dir", data, "--tokens-dir", w.tokens,
			"--listen-address", freeAddress(t), "--health-bind-address", health, "--metrics-bind-address", "0")
		p.cmd.Stderr = p.log

		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}

		go func() { p.done <- p.cmd.Wait() }()

		t.Cleanup(func() { _ = p.cmd.Process.Kill() })

		return p
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
	case <-time.After(limit):
		t.Fatal("the second process goes on")
	}

	if err := w.end(first, syscall.SIGTERM); err != nil {
		t.Errorf("the first process ended with %v\n%s", err, first.log)
	}
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
