package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRestConfig: a kubeconfig named by flag is used with no limit of the client's own, like one found by itself.
func TestRestConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")

	const text = `apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: "https://192.0.2.1:6443"}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
users: [{name: a, user: {}}]
current-context: a
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	t.Setenv("KUBECONFIG", path)

	for _, flag := range []string{"", path} {
		config, err := restConfig(flag)
		if err != nil {
			t.Fatal(err)
		}

		if config.QPS >= 0 || config.Host != "https://192.0.2.1:6443" {
			t.Errorf("with --kubeconfig=%q: %v requests a second to %s", flag, config.QPS, config.Host)
		}
	}
}
