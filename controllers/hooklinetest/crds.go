package hooklinetest

import (
	"fmt"
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/hookline-dev/hookline/config/crd"
)

// TB is what the helpers need of a test: *testing.T, *testing.B and Ginkgo's GinkgoTB() have it.
type TB interface {
	Helper()
	Cleanup(func())
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// CRDs are the CustomResourceDefinitions of Hookline, sorted by name.
func CRDs() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	files, err := crd.Files()
	if err != nil {
		return nil, fmt.Errorf("reading the CustomResourceDefinitions: %w", err)
	}
	crds := make([]*apiextensionsv1.CustomResourceDefinition, 0, len(files))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		definition := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(files[name], definition); err != nil {
			return nil, fmt.Errorf("decoding %s: %w", name, err)
		}
		crds = append(crds, definition)
	}

	return crds, nil
}

// InstallCRDs creates or updates Hookline's CustomResourceDefinitions and waits until they are served.
func InstallCRDs(t TB, config *rest.Config) {
	t.Helper()
	definitions, err := CRDs()
	if err != nil {
		t.Fatalf("Reading the CustomResourceDefinitions: %v", err)
	}
	if _, err := envtest.InstallCRDs(config, envtest.CRDInstallOptions{CRDs: definitions}); err != nil {
		t.Fatalf("Installing the CustomResourceDefinitions: %v", err)
	}
}
