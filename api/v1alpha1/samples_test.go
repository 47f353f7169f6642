package v1alpha1_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

const (
	samplesFolder = "../../config/samples"
	refusedPrefix = "# Refused: "
	// minRefusals is how many refusals the folder of invalid samples shows at least.
	minRefusals = 15
)

// manifest is one YAML file of samples.
type manifest struct {
	file    string
	objects []*unstructured.Unstructured
	// refusal is what the first line predicts; empty for a sample that is valid.
	refusal string
}

func readManifests(t *testing.T, folder string) []manifest {
	t.Helper()

	files, err := filepath.Glob(filepath.Join(samplesFolder, folder, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}

	manifests := make([]manifest, 0, len(files))

	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}

		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}

		first, _, _ := strings.Cut(string(content), "\n")
		refusal, _ := strings.CutPrefix(first, refusedPrefix)

		if !strings.HasPrefix(first, "# ") {
			t.Errorf("%s does not begin with a comment that teaches", file)
		}

		if !strings.HasPrefix(first, refusedPrefix) {
			refusal = ""
		}

		manifests = append(manifests, manifest{file: filepath.Base(file), objects: decode(t, file, content), refusal: refusal})
	}

	return manifests
}

func decode(t *testing.T, file string, content []byte) []*unstructured.Unstructured {
	t.Helper()

	var objects []*unstructured.Unstructured

	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))

	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}

		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}

		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(document, &object.Object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}

		objects = append(objects, object)
	}
}

// apply creates the object, or replaces the one that exists.
func apply(t *testing.T, object *unstructured.Unstructured, options ...client.CreateOption) error {
	t.Helper()

	api, ctx := apiServer(t), testContext()
	copied := object.DeepCopy()

	err := api.Create(ctx, copied, options...)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}

	existing := copied.DeepCopy()
	if err := api.Get(ctx, client.ObjectKeyFromObject(copied), existing); err != nil {
		return err
	}

	copied = object.DeepCopy()
	copied.SetResourceVersion(existing.GetResourceVersion())

	return api.Update(ctx, copied)
}

// applySamples applies the valid samples, those of vendors last, and removes them at the end of the test.
func applySamples(t *testing.T) []manifest {
	t.Helper()

	manifests := slices.Concat(readManifests(t, "."), readManifests(t, "vendors"))

	for _, m := range manifests {
		for _, object := range m.objects {
			if err := apply(t, object); err != nil {
				t.Fatalf("%s: the API server refuses it: %v", m.file, err)
			}

			if object.GetKind() == "Namespace" {
				continue
			}

			t.Cleanup(func() {
				if err := apiServer(t).Delete(testContext(), object); err != nil {
					t.Errorf("%s: deleting it: %v", m.file, err)
				}
			})
		}
	}

	return manifests
}

// TestSamplesAreAccepted applies every sample to the real API server, twice, and checks it in Go.
func TestSamplesAreAccepted(t *testing.T) {
	var subscriptions int

	for _, m := range applySamples(t) {
		for _, object := range m.objects {
			if err := apply(t, object); err != nil {
				t.Errorf("%s: applying it again: %v", m.file, err)
			}

			checked, ok := typed(t, object)
			if !ok {
				continue
			}

			if errs := validate(verdictCase{object: checked}); len(errs) > 0 {
				t.Errorf("%s: Validate() refuses it: %v", m.file, errs)
			}

			if object.GetKind() == v1alpha1.KindWebhookSubscription {
				subscriptions++
			}
		}
	}

	if subscriptions < 10 {
		t.Errorf("%d subscriptions are among the samples, not 7 and one for each vendor", subscriptions)
	}
}

func typed(t *testing.T, object *unstructured.Unstructured) (client.Object, bool) {
	t.Helper()

	var into client.Object

	switch object.GetKind() {
	case v1alpha1.KindWebhookSubscription:
		into = &v1alpha1.WebhookSubscription{}
	case v1alpha1.KindWebhookProvider:
		into = &v1alpha1.WebhookProvider{}
	case v1alpha1.KindClusterWebhookProvider:
		into = &v1alpha1.ClusterWebhookProvider{}
	default:
		return nil, false
	}

	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into); err != nil {
		t.Fatal(err)
	}

	return into, true
}

// TestInvalidSamplesAreRefused applies every invalid sample to the real API server, on top of the valid ones, and
// demands the message that its first line predicts.
func TestInvalidSamplesAreRefused(t *testing.T) {
	applySamples(t)

	manifests := readManifests(t, "invalid")
	if len(manifests) < minRefusals {
		t.Errorf("%d invalid samples, not at least %d", len(manifests), minRefusals)
	}

	for _, m := range manifests {
		if m.refusal == "" || len(m.objects) != 1 {
			t.Errorf("%s: the first line does not say %q and the message, or it holds more than one object", m.file, refusedPrefix)

			continue
		}

		err := apply(t, m.objects[0], client.DryRunAll)
		if err == nil {
			t.Errorf("%s: the API server accepts it", m.file)

			continue
		}

		if !strings.Contains(err.Error(), m.refusal) {
			t.Errorf("%s: the API server does not say\n  %s\nbut\n  %v", m.file, m.refusal, err)
		}
	}
}

// TestInvalidSamplesShowEveryRule fails where a CEL rule is not shown by an invalid sample. Of the rules that forbid
// a change one is enough.
func TestInvalidSamplesShowEveryRule(t *testing.T) {
	var shown []string
	for _, m := range readManifests(t, "invalid") {
		shown = append(shown, m.refusal)
	}

	for kind, definition := range definitions(t) {
		for _, r := range rulesOf(definition) {
			forbidsChange := func(message string) bool { return strings.Contains(message, "cannot be changed, because") }
			covered := slices.ContainsFunc(shown, func(refusal string) bool {
				return refusal != "" && strings.Contains(r.message, refusal) || forbidsChange(r.message) && forbidsChange(refusal)
			})

			if !covered {
				t.Errorf("%s %s: no invalid sample is refused with %q", kind, r.path, r.message)
			}
		}
	}
}

// TestSamplesAreListed compares each kustomization with the files beside it.
func TestSamplesAreListed(t *testing.T) {
	for _, folder := range []string{".", "vendors"} {
		content, err := os.ReadFile(filepath.Join(samplesFolder, folder, "kustomization.yaml"))
		if err != nil {
			t.Fatal(err)
		}

		var kustomization struct {
			Resources []string `json:"resources"`
		}
		if err := yaml.Unmarshal(content, &kustomization); err != nil {
			t.Fatal(err)
		}

		var files []string
		for _, m := range readManifests(t, folder) {
			files = append(files, m.file)
		}

		slices.Sort(kustomization.Resources)

		if !slices.Equal(files, kustomization.Resources) {
			t.Errorf("%s: the files %v are not the resources %v", folder, files, kustomization.Resources)
		}
	}
}
