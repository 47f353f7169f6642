// Package provider turns a provider resource into a ready-made port: the client of its API with the
// credentials read, its rate limit, a deadline on every call, lists shared by all who wait for one, and
// what was refused held once for everybody.
package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

// ErrSecretNotFound answers that a Secret, or the key in it, does not exist.
var ErrSecretNotFound = errors.New("secret not found")

// ErrSecretInvalid answers that a Secret exists and its value cannot be used.
var ErrSecretInvalid = errors.New("secret invalid")

// ErrNotImplemented answers that this release has no client for the kind of API.
var ErrNotImplemented = errors.New("not implemented")

// ErrNoEmbedded answers that the process has no dispatcher of its own.
var ErrNoEmbedded = errors.New("this process runs no dispatcher")

// ErrInvalid answers that a provider's spec is not valid in a way that the API server could not see.
var ErrInvalid = errors.New("invalid provider")

// Secrets reads credentials.
type Secrets interface {
	// Value is the value of one key of a Secret, less one trailing newline. It is read anew each time. The
	// error wraps ErrSecretNotFound or ErrSecretInvalid where one of them is the cause, and never holds a value.
	Value(ctx context.Context, namespace, name, key string) (string, error)
}

// Config is one provider resource as far as calls to it go, its credentials read.
type Config struct {
	// UID, Kind, Namespace and Name are the resource's; Generation is that of the spec this was made from.
	UID        types.UID
	Kind       v1alpha1.ProviderKind
	Namespace  string
	Name       string
	Generation int64
	// Type is the kind of API.
	Type v1alpha1.ProviderType
	// URL is the base of the API; empty for the embedded dispatcher.
	URL string
	// Account is the tenant of a dispatcher or the workspace at a vendor; empty where credentials decide.
	Account string
	// Token is the bearer token; empty for the embedded dispatcher.
	Token string
	// Timeout bounds one request.
	Timeout time.Duration
	// Interval is how old a list may grow.
	Interval time.Duration
	// RequestsPerSecond and Burst limit requests; 0 means no limit.
	RequestsPerSecond int32
	Burst             int32
	// CABundle are the trusted authorities, in PEM; empty means the system's.
	CABundle string
	// ProxyURL is the HTTP proxy; empty means none.
	ProxyURL string
}

// AccountStatus tells which account the configuration stands for; nil where nothing tells.
func (c Config) AccountStatus() *v1alpha1.ProviderAccount {
	if c.URL == "" && c.Account == "" {
		return nil
	}

	return &v1alpha1.ProviderAccount{URL: c.URL, ID: c.Account}
}

// SameAccount tells whether both speak to the same account of the same API, whatever their credentials.
func (c Config) SameAccount(other Config) bool {
	return c.Type == other.Type && c.URL == other.URL && c.Account == other.Account
}

// Configure reads a provider resource and its credentials. fallback is the interval where the spec has none;
// 0 means v1alpha1.DefaultInterval. The error wraps ErrSecretNotFound, ErrSecretInvalid, ErrNotImplemented or
// ErrInvalid where one of them is the cause.
func Configure(ctx context.Context, p v1alpha1.Provider, secrets Secrets, fallback time.Duration) (Config, error) {
	spec := p.Resolved()
	cfg := Config{
		UID: p.GetUID(), Kind: p.ProviderKind(), Namespace: p.GetNamespace(), Name: p.GetName(), Generation: p.GetGeneration(),
		Type: p.Type(), Timeout: spec.TimeoutOrDefault(), Interval: spec.IntervalOrDefault(),
		CABundle: spec.CABundle, ProxyURL: spec.ProxyURL,
	}

	if spec.Interval == "" && fallback > 0 {
		cfg.Interval = fallback
	}

	if limit := spec.RateLimit; limit != nil {
		cfg.RequestsPerSecond, cfg.Burst = limit.RequestsPerSecond, limit.BurstOrDefault()
	}

	dispatcher := spec.Dispatcher
	if dispatcher == nil {
		return cfg, fmt.Errorf("%w: this release cannot speak to %s yet", ErrNotImplemented, cfg.Type)
	}

	cfg.URL, cfg.Account = string(dispatcher.URL), string(dispatcher.Tenant)

	if cfg.URL == "" && cfg.Kind == v1alpha1.ProviderKindNamespaced && cfg.Account != cfg.Namespace {
		return cfg, fmt.Errorf("%w: spec.dispatcher.tenant: at the dispatcher of this installation the tenant is the "+
			"namespace %q; remove the field, or use a ClusterWebhookProvider", ErrInvalid, cfg.Namespace)
	}

	if ref := dispatcher.TokenSecretRef; ref != nil {
		token, err := secrets.Value(ctx, ref.Namespace, ref.Name, ref.Key)
		if err != nil {
			return cfg, fmt.Errorf("spec.dispatcher.tokenSecretRef: %w", err)
		}

		cfg.Token = token
	}

	return cfg, nil
}
