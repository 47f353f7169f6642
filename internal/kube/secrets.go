// Package kube is what needs a cluster outside reconciling. It implements interfaces that the packages below
// it declare.
package kube

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/internal/provider"
)

// Secrets reads single values from Secrets.
type Secrets struct {
	// Reader must read from the API server and not from a cache, so that no cache holds secret values.
	Reader client.Reader
}

var _ provider.Secrets = Secrets{}

// Value implements provider.Secrets.
func (s Secrets) Value(ctx context.Context, namespace, name, key string) (string, error) {
	var secret corev1.Secret

	err := s.Reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &secret)

	switch {
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("%w: there is no Secret %s in namespace %s; create it", provider.ErrSecretNotFound, name, namespace)
	case err != nil:
		return "", fmt.Errorf("reading Secret %s of namespace %s: %w", name, namespace, err)
	default:
		return ValueOf(&secret, key)
	}
}

// ValueOf is the value of one key, less one trailing newline. The error wraps provider.ErrSecretNotFound where
// the key is missing, and provider.ErrSecretInvalid where the value is empty or no text.
func ValueOf(secret *corev1.Secret, key string) (string, error) {
	data, found := secret.Data[key]
	if !found {
		return "", fmt.Errorf("%w: Secret %s has no key %s; add it", provider.ErrSecretNotFound, secret.Name, key)
	}

	value := strings.TrimSuffix(string(data), "\n")
	value = strings.TrimSuffix(value, "\r")

	switch {
	case value == "":
		return "", fmt.Errorf("%w: key %s of Secret %s is empty; set its value", provider.ErrSecretInvalid, key, secret.Name)
	case !utf8.ValidString(value):
		return "", fmt.Errorf("%w: key %s of Secret %s is not text; store the value as it is written, in UTF-8",
			provider.ErrSecretInvalid, key, secret.Name)
	default:
		return value, nil
	}
}
