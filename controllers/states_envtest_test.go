package controllers_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"github.com/hookline-dev/hookline/controllers/hooklinetest"
)

const (
	// updateVariable, set to anything, writes the files under statesDirectory in place of comparing with them.
	updateVariable = "HOOKLINE_UPDATE_TESTDATA"
	// statesDirectory holds one object for each kind and state, as the controllers left it, for whatever judges
	// objects: Argo CD's health checks, kstatus.
	statesDirectory = "../config/argocd/resource_customizations/hookline.dev"
	// anyTime and anyNamespace stand for every time and for the namespace of the case.
	anyTime      = "2026-01-01T00:00:00Z"
	anyNamespace = "team"
)

// state compares an object with <kind>/testdata/<name>.yaml in statesDirectory, or writes it there. What differs from run
// to run is replaced: times, uids, ids, digests, the namespace.
func (w *world) state(object client.Object, name string) {
	GinkgoHelper()
	content, err := w.normalised(object)
	Expect(err).NotTo(HaveOccurred())
	gvk, err := apiutil.GVKForObject(object, hooklinetest.Scheme())
	Expect(err).NotTo(HaveOccurred())
	path := filepath.Join(statesDirectory, gvk.Kind, "testdata", name+".yaml")
	if os.Getenv(updateVariable) != "" {
		Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
		Expect(os.WriteFile(path, content, 0o644)).To(Succeed())

		return
	}
	want, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred(), "set %s=1 to write it", updateVariable)
	Expect(cmp.Diff(string(want), string(content))).To(BeEmpty(), "%s; set %s=1 to accept", path, updateVariable)
}

// volatile are texts that differ from run to run, and what stands for each.
var volatile = []struct {
	pattern *regexp.Regexp
	stands  string
}{
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), anyTime},
	{regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`), "00000000-0000-4000-8000-000000000000"},
	{regexp.MustCompile(`\b[0-9A-Za-z]{27}\b`), "2V1lVz6FeKOuVLEpSU6M0aqkM9b"},
}

// digests are the values under these keys, which depend on the uid of the object.
var digests = regexp.MustCompile(`(?m)^(\s*(?:digest|credentialsDigest|hookline\.dev/create-pending): ).*$`)

func (w *world) normalised(object client.Object) ([]byte, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("converting %s: %w", object.GetName(), err)
	}
	gvk, err := apiutil.GVKForObject(object, hooklinetest.Scheme())
	if err != nil {
		return nil, fmt.Errorf("naming the kind of %s: %w", object.GetName(), err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(gvk)
	u.SetManagedFields(nil)
	u.SetResourceVersion("")
	u.SetLabels(nil)
	u.SetCreationTimestamp(metav1.NewTime(must(time.Parse(time.RFC3339, anyTime))))
	text, err := yaml.Marshal(u.Object)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", object.GetName(), err)
	}
	normal := strings.ReplaceAll(string(text), w.ns, anyNamespace)
	normal = digests.ReplaceAllString(normal, "${1}normalised")
	for _, v := range volatile {
		normal = v.pattern.ReplaceAllString(normal, v.stands)
	}

	return []byte(normal), nil
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}

	return value
}
