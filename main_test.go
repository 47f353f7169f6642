package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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

// TestMetricsAreDocumented: whoever reads /metrics finds every name of ours in the pages.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()

	var pages strings.Builder

	for _, page := range []string{"docs/operations.md", "docs/events.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}

		pages.Write(text)
	}

	name := regexp.MustCompile(`"(hookline_[a-z_]+)"`)
	found := 0

	for _, folder := range []string{"controllers", "internal"} {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}

			code, err := os.ReadFile(path)
			for _, match := range name.FindAllSubmatch(code, -1) {
				found++

				if !strings.Contains(pages.String(), "`"+string(match[1])) {
					t.Errorf("%s has the metric %s, which docs/operations.md does not explain", path, match[1])
				}
			}

			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	if found == 0 {
		t.Error("no metric was found: the test looks for them in the wrong way")
	}
}
