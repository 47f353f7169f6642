package v1alpha1_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

// testNamespace is where the suite creates what is namespaced. It is the one that the samples use.
const testNamespace = "hookline-demo"

var errNoAssets = errors.New("KUBEBUILDER_ASSETS is not set, so there is no API server to test with: run make test")

var server struct {
	once   sync.Once
	err    error
	env    *envtest.Environment
	client client.Client
}

func TestMain(m *testing.M) {
	code := m.Run()

	if server.env != nil {
		if err := server.env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "Stopping the API server failed:", err)

			code = 1
		}
	}

	os.Exit(code)
}

// apiServer returns a client of a real API server with the CustomResourceDefinitions installed. All tests share it.
func apiServer(t *testing.T) client.Client {
	t.Helper()

	server.once.Do(startAPIServer)

	if server.err != nil {
		t.Fatal(server.err)
	}

	return server.client
}

func startAPIServer() {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		server.err = errNoAssets

		return
	}

	env := &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}

	config, err := env.Start()
	if err != nil {
		server.err = fmt.Errorf("starting the API server: %w", err)

		return
	}

	server.env = env

	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		server.err = fmt.Errorf("registering the types: %w", err)

		return
	}

	server.client, server.err = client.New(config, client.Options{
		Scheme: scheme, FieldValidation: metav1.FieldValidationStrict,
	})
	if server.err != nil {
		return
	}

	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testNamespace}}
	server.err = client.IgnoreAlreadyExists(server.client.Create(testContext(), namespace))
}

// causes are the field errors that an API server answered with, by field; nil when it accepted the object.
func causes(t *testing.T, err error) []metav1.StatusCause {
	t.Helper()

	if err == nil {
		return nil
	}

	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil || !apierrors.IsInvalid(err) {
		t.Fatalf("the API server answered with an error that is not about the object: %v", err)
	}

	return status.Status().Details.Causes
}
