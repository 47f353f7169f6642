package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testModule = "example.com/house"

// TestCheck gives each rule an import that keeps it and one that breaks it.
func TestCheck(t *testing.T) {
	ours := func(paths ...string) []string {
		out := make([]string, 0, len(paths))
		for _, p := range paths {
			out = append(out, testModule+"/"+p)
		}

		return out
	}

	tests := map[string]struct {
		reason string
		path   string
		pkg    pkg
		// want holds the imports that break a rule.
		want []string
	}{
		"MainImportsAll": {
			reason: "main wires everything.",
			pkg:    pkg{Imports: ours("api/v1alpha1", "controllers", "internal/kube", "internal/dispatcher/journal", "config/crd")},
		},
		"DownIsAllowed": {
			reason: "Imports may skip layers on the way down.",
			path:   "controllers",
			pkg:    pkg{Imports: ours("api/v1alpha1", "controllers/plan", "internal/provider", "internal/subscription", "config/crd")},
		},
		"UpIsRefused": {
			reason: "A provider must not know the controllers.",
			path:   "internal/provider",
			pkg:    pkg{Imports: ours("controllers", "internal/kube", "internal/dialect/native")},
			want:   ours("controllers", "internal/kube"),
		},
		"NobodyImportsMain": {
			reason: "The root is above everything.",
			path:   "controllers",
			pkg:    pkg{Imports: []string{testModule}},
			want:   []string{testModule},
		},
		"APIFromBelow": {
			reason: "The data plane must not know the resources.",
			path:   "internal/dispatcher/registry",
			pkg:    pkg{Imports: ours("api/v1alpha1", "internal/subscription")},
			want:   ours("api/v1alpha1"),
		},
		"APIFromDialect": {
			reason: "A wire must not know the resources.",
			path:   "internal/dialect/vonage",
			pkg:    pkg{Imports: ours("api/v1alpha1")},
			want:   ours("api/v1alpha1"),
		},
		"APIImportsTheNounsAlone": {
			reason: "api validates with the pattern grammar of the port and needs nothing else.",
			path:   "api/v1alpha1",
			pkg:    pkg{Imports: ours("internal/subscription", "internal/provider", "controllers")},
			want:   ours("controllers", "internal/provider"),
		},
		"DialectImportsAnother": {
			reason: "Each wire stands alone.",
			path:   "internal/dialect/bird",
			pkg:    pkg{Imports: ours("internal/dialect/dixa", "internal/dialect/bird/wire", "internal/dialect")},
			want:   ours("internal/dialect/dixa"),
		},
		"NativeImportsVonage": {
			reason: "native extends Vonage's API.",
			path:   "internal/dialect/native",
			pkg:    pkg{Imports: ours("internal/dialect/vonage", "internal/dialect/dixa")},
			want:   ours("internal/dialect/dixa"),
		},
		"VonageImportsNative": {
			reason: "What is extended must not know the extension.",
			path:   "internal/dialect/vonage",
			pkg:    pkg{Imports: ours("internal/dialect/native")},
			want:   ours("internal/dialect/native"),
		},
		"DispatcherImportsKubernetes": {
			reason: "The data plane is a plain process.",
			path:   "internal/dispatcher/delivery",
			pkg: pkg{
				Imports: []string{"k8s.io/api/core/v1", "sigs.k8s.io/yaml"},
				Deps:    []string{"k8s.io/api/core/v1", "sigs.k8s.io/yaml", "k8s.io/klog/v2", "net/http"},
			},
			want: []string{"k8s.io/api/core/v1", "k8s.io/klog/v2", "sigs.k8s.io/yaml"},
		},
		"DispatcherTestsImportKubernetes": {
			reason: "What needs a cluster to be tested does not belong there.",
			path:   "internal/dispatcher",
			pkg:    pkg{XTestImports: []string{"k8s.io/client-go/rest"}},
			want:   []string{"k8s.io/client-go/rest"},
		},
		"SubscriptionImportsOurs": {
			reason: "The port is the bottom, for its tests too.",
			path:   "internal/subscription",
			pkg:    pkg{Imports: ours("internal/dialect/native"), TestImports: ours("api/v1alpha1", "internal/subscription/subscriptiontest")},
			want:   ours("api/v1alpha1", "internal/dialect/native"),
		},
		"SubscriptionDoesIO": {
			reason: "The nouns are values; its tests may read files.",
			path:   "internal/subscription",
			pkg: pkg{
				Imports:     []string{"net/url", "net/http", "os", "time"},
				TestImports: []string{"os"},
			},
			want: []string{"net/http", "os"},
		},
		"ConfigIsData": {
			reason: "It is embedded files, for those who install them.",
			path:   "config/crd",
			pkg:    pkg{Imports: ours("api/v1alpha1", "internal/subscription")},
			want:   ours("api/v1alpha1", "internal/subscription"),
		},
		"HackIsImported": {
			reason: "Tools of the workshop are no part of the product, in tests neither.",
			path:   "internal/kube",
			pkg:    pkg{Imports: ours("hack/bench"), TestImports: ours("hack/loadtest")},
			want:   ours("hack/bench", "hack/loadtest"),
		},
		"HackImportsAll": {
			reason: "A benchmark drives every part.",
			path:   "hack/bench",
			pkg:    pkg{Imports: ours("internal/dispatcher", "api/v1alpha1")},
		},
		"TestsMayUseSuitesAndAPI": {
			reason: "Conformance suites are shared; envtest suites need the resources.",
			path:   "internal/dialect/native",
			pkg: pkg{
				TestImports:  ours("internal/subscription/subscriptiontest", "controllers/hooklinetest", "config/crd"),
				XTestImports: ours("internal/dispatcher/registry", "api/v1alpha1"),
			},
		},
		"TestsPointDownToo": {
			reason: "A test that needs a layer above is a test of that layer.",
			path:   "internal/provider",
			pkg:    pkg{TestImports: ours("controllers")},
			want:   ours("controllers"),
		},
		"SuitesAreForTests": {
			reason: "A package's own files get no such exception.",
			path:   "internal/provider",
			pkg:    pkg{Imports: ours("controllers/hooklinetest")},
			want:   ours("controllers/hooklinetest"),
		},
		"NewFolder": {
			reason: "The house has these folders and no others.",
			path:   "pkg/util",
			want:   []string{""},
		},
		"NameThatOnlyBeginsAlike": {
			reason: "internal/dispatcherx is not in internal/dispatcher.",
			path:   "internal/dispatcherx",
			want:   []string{""},
		},
	}

	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			tc.pkg.ImportPath = testModule
			if tc.path != "" {
				tc.pkg.ImportPath += "/" + tc.path
			}

			var got []string
			for _, v := range check(testModule, []pkg{tc.pkg}) {
				got = append(got, v.to)
			}

			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("\n%s\ncheck(...): -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestRunReadsARealModule lets the go command list a module that breaks rules.
func TestRunReadsARealModule(t *testing.T) {
	dir := t.TempDir()

	for name, content := range map[string]string{
		"go.mod":                                 "module " + testModule + "\n\ngo 1.26.0\n\nrequire k8s.io/klog v0.0.0\n\nreplace k8s.io/klog => ./hack/klog\n",
		"hack/klog/go.mod":                       "module k8s.io/klog\n\ngo 1.26.0\n",
		"hack/klog/klog.go":                      "package klog\n",
		"api/v1alpha1/doc.go":                    "package v1alpha1\n",
		"internal/subscription/doc.go":           "package subscription\n",
		"internal/subscription/doc_test.go":      "package subscription_test\n\nimport _ \"" + testModule + "/api/v1alpha1\"\n",
		"internal/dialect/native/native.go":      "package native\n\nimport _ \"k8s.io/klog\"\n",
		"internal/dispatcher/registry/server.go": "package registry\n\nimport _ \"" + testModule + "/internal/dialect/native\"\n",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))

		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}

		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	violations, checked, err := run(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}

	if checked != 4 {
		t.Errorf("Checked %d packages, want 4", checked)
	}

	var got []string
	for _, v := range violations {
		got = append(got, v.String())
	}

	want := []string{
		testModule + "/internal/dispatcher/registry imports k8s.io/klog: " +
			"the dispatcher knows no Kubernetes, by way of other packages neither (go mod why says which)",
		testModule + "/internal/subscription (test files) imports " + testModule + "/api/v1alpha1: " +
			"internal/subscription imports nothing of ours",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("run(...): -want, +got:\n%s", diff)
	}
}

func TestRunReportsAModuleThatCannotBeListed(t *testing.T) {
	if _, _, err := run(t.Context(), t.TempDir()); err == nil {
		t.Error("A folder that is in no module must be an error, not a pass")
	}
}
