package config_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	systemNamespace = "hookline-system"
	fieldOwner      = client.FieldOwner("install")
)

// assets is the folder with the control plane's programs.
func assets(t *testing.T) string {
	t.Helper()

	folder := os.Getenv("KUBEBUILDER_ASSETS")
	if folder == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set: run make test, which builds the control plane and sets it")
	}

	return folder
}

// render is what kustomize makes of a folder, one object each.
func render(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()

	// go test reuses a result while the files are the same that the test itself looked at.
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			_, err = os.Stat(path)
		}

		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	output, err := exec.CommandContext(t.Context(), filepath.Join(assets(t), "kubectl"), "kustomize", folder).Output()
	if err != nil {
		t.Fatalf("rendering %s: %v", folder, err)
	}

	var objects []*unstructured.Unstructured

	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(output), len(output))

	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatalf("reading what %s renders to: %v", folder, err)
		}

		objects = append(objects, object)
	}
}

// find returns the rendered object of a kind and name as its type.
func find[T any](t *testing.T, objects []*unstructured.Unstructured, kind, name string) *T {
	t.Helper()

	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name })
	if i < 0 {
		t.Fatalf("there is no %s %s", kind, name)
	}

	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(objects[i].Object, typed); err != nil {
		t.Fatal(err)
	}

	return typed
}

// TestInstall applies config/default to a real API server, twice, and then the provider.
func TestInstall(t *testing.T) {
	environment := &envtest.Environment{BinaryAssetsDirectory: assets(t)}

	config, err := environment.Start()
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Error(err)
		}
	})

	c, err := client.New(config, client.Options{Scheme: clientgoscheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}

	objects := render(t, "default")
	apply(t, c, objects)

	before := versions(t, c, objects)

	apply(t, c, objects)

	if after := versions(t, c, objects); !maps.Equal(before, after) {
		t.Errorf("applying the installation again changed something: %v, %v", before, after)
	}

	if _, err := envtest.InstallCRDs(config, envtest.CRDInstallOptions{Paths: []string{filepath.Join("crd", "bases")}}); err != nil {
		t.Fatal(err)
	}

	apply(t, c, render(t, "default-provider"))

	t.Run("pod security", func(t *testing.T) { testPodSecurity(t, c, objects) })
	t.Run("samples of GitOps", func(t *testing.T) { testSyncWaves(t, c) })
}

func apply(t *testing.T, c client.Client, objects []*unstructured.Unstructured) {
	t.Helper()

	for _, object := range objects {
		if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object.DeepCopy()), fieldOwner); err != nil {
			t.Fatalf("applying %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

// versions are the resource versions by kind and name. A CustomResourceDefinition's changes by
// itself while it is being established, so its generation is taken.
func versions(t *testing.T, c client.Client, objects []*unstructured.Unstructured) map[string]string {
	t.Helper()

	found := map[string]string{}

	for _, object := range objects {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(object.GroupVersionKind())

		if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), live); err != nil {
			t.Fatal(err)
		}

		version := live.GetResourceVersion()
		if object.GetKind() == "CustomResourceDefinition" {
			version = strings.Repeat("g", int(live.GetGeneration()))
		}

		found[object.GetKind()+" "+object.GetName()] = version
	}

	return found
}

// testPodSecurity: the pod is admitted where Pod Security enforces restricted, and the same
// pod with one right more is not, so the namespace's level is at work.
func testPodSecurity(t *testing.T, c client.Client, objects []*unstructured.Unstructured) {
	t.Helper()

	set := find[appsv1.StatefulSet](t, objects, "StatefulSet", "hookline")

	pod := func(change func(*corev1.Pod)) error {
		template := set.Spec.Template.DeepCopy()
		p := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		p.Name, p.Namespace = "hookline-0", systemNamespace

		// What the StatefulSet's controller would add: the claim of its template.
		for _, claim := range set.Spec.VolumeClaimTemplates {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name + "-hookline-0"},
			}})
		}

		change(p)

		return c.Create(t.Context(), p, client.DryRunAll)
	}

	if err := pod(func(*corev1.Pod) {}); err != nil {
		t.Errorf("the pod is not admitted: %v", err)
	}

	cases := map[string]struct {
		reason string
		change func(*corev1.Pod)
	}{
		"privileged": {reason: "no container may take over its node", change: func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext.Privileged = new(true)
			p.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil
		}},
		"root": {reason: "no container may run as root", change: func(p *corev1.Pod) {
			p.Spec.SecurityContext.RunAsNonRoot = nil
			p.Spec.SecurityContext.RunAsUser = nil
		}},
		"seccomp": {reason: "system calls are confined", change: func(p *corev1.Pod) { p.Spec.SecurityContext.SeccompProfile = nil }},
	}

	for name, tc := range cases {
		if err := pod(tc.change); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %s, got %v", name, tc.reason, err)
		}
	}
}

// testSyncWaves: the example of docs/gitops.md is valid.
func testSyncWaves(t *testing.T, c client.Client) {
	t.Helper()

	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}); err != nil {
		t.Fatal(err)
	}

	content, err := os.ReadFile(filepath.Join("argocd", "example-sync-waves.yaml"))
	if err != nil {
		t.Fatal(err)
	}

	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), len(content))

	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}

		apply(t, c, []*unstructured.Unstructured{object})
	}
}

// TestLeastRights: the operator may do what it needs, by name, and nothing more.
func TestLeastRights(t *testing.T) {
	objects := render(t, "default")
	role := find[rbacv1.ClusterRole](t, objects, "ClusterRole", "hookline-manager")

	for _, rule := range role.Rules {
		for _, text := range slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs) {
			if text == "*" {
				t.Errorf("the rule for %v has a wildcard", rule.Resources)
			}
		}

		// The owner reference deletes generated Secrets, by the garbage collector.
		if slices.Contains(rule.Resources, "secrets") && slices.ContainsFunc(rule.Verbs, func(v string) bool { return strings.HasPrefix(v, "delete") }) {
			t.Error("the operator may delete Secrets")
		}

		// Specs are their users'.
		if slices.Contains(rule.Resources, "webhooksubscriptions") && (slices.Contains(rule.Verbs, "create") || slices.Contains(rule.Verbs, "delete")) {
			t.Error("the operator may create or delete the resources of its users")
		}
	}

	for _, name := range []string{"hookline-view", "hookline-edit", "hookline-admin"} {
		level := strings.TrimPrefix(name, "hookline-")
		if find[rbacv1.ClusterRole](t, objects, "ClusterRole", name).Labels["rbac.authorization.k8s.io/aggregate-to-"+level] != "true" {
			t.Errorf("%s is not added to the cluster's role %s", name, level)
		}
	}
}
