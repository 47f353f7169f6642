package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/cmd/processtest"
)

// root is the project's folder, seen from this package.
const root = "../../.."

// TestDemo plays the whole demo with the real programs: the local control plane, the
// operator under its own rights, and the samples.
func TestDemo(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set: run make test, which builds the control plane and sets it")
	}

	bin := t.TempDir()
	hookline, localcluster := filepath.Join(bin, "hookline"), filepath.Join(bin, "localcluster")

	for module, program := range map[string]string{".": hookline, filepath.Join("hack", "localcluster"): localcluster} {
		if err := processtest.Build(t.Context(), module, program); err != nil {
			t.Fatal(err)
		}
	}

	t.Setenv("CI", "true")

	if err := run(t.Context(), []string{"--binary", hookline, "--localcluster", localcluster, "--root", root}); err != nil {
		t.Fatal(err)
	}
}

func TestPrerequisites(t *testing.T) {
	err := run(t.Context(), []string{"--binary", filepath.Join(t.TempDir(), "nothing")})
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "run make demo") {
		t.Errorf("a missing program is named in one line with what to do: %v", err)
	}
}

func TestExpectationsCanFail(t *testing.T) {
	for _, e := range expectations {
		// A resource without a status has reached nothing.
		if held, evidence := e.Held(observed{subscription: newSubscription(e.Name), received: tally{Requests: 1}}); held {
			t.Errorf("%s holds with nothing to show: %s", e.Name, evidence)
		}
	}
}

func newSubscription(name string) *v1alpha1.WebhookSubscription {
	subscription := &v1alpha1.WebhookSubscription{}
	subscription.Name = name

	return subscription
}
