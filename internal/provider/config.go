// Package provider turns a provider resource into a ready-made port: the client of its API with the
// credentials read, its rate limit, a deadline on every call, lists shared by all who wait for one, and
// what was refused held once for everybody.
package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
)

// Limits at vendors.
const (
	// MaxVendorCall bounds one call at a vendor, which may make several requests.
	MaxVendorCall = time.Minute
	// DixaBurst is how many requests are made at once at Dixa where the spec has no limit: one less than its document
	// allows, so that a request that arrives sooner than the one before it did is not one too many.
	DixaBurst = dixa.Burst - 1
)

// ErrSecretNotFound answers that a Secret, or the key in it, does not exist.
var ErrSecretNotFound = errors.New("secret not found")

// ErrSecretInvalid answers that a Secret exists and its value cannot be used.
var ErrSecretInvalid = errors.New("secret invalid")

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
	// URL is the base of the API in use, without a slash at its end; empty for the embedded dispatcher.
	URL string
	// Account is the tenant of a dispatcher or the workspace at Bird; empty where credentials decide.
	Account string
	// Organization is the one at Bird that the older form of its paths names; empty for the other form.
	Organization string
	// Token is the bearer token, API token or access key; empty for the embedded dispatcher and where there is a
	// ClientID.
	Token string
	// TokenURL issues tokens to the OAuth 2.0 client of ClientID and ClientSecret; all are empty where there is none.
	TokenURL     string
	ClientID     string
	ClientSecret string
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

// AccountStatus tells which account the configuration stands for; nil where nothing tells. Nothing in it comes from a
// Secret.
func (c Config) AccountStatus() *v1alpha1.ProviderAccount {
	if c.URL == "" && c.Account == "" {
		return nil
	}

	return &v1alpha1.ProviderAccount{URL: c.URL, ID: c.Account}
}

// SameAccount tells whether both certainly speak to the same account of the same API. A provider resource stands for
// one account, whatever its credentials come to be. Of two, the spec tells where it names the account; where the
// credentials alone decide, they are the same only with the same client or token.
func (c Config) SameAccount(other Config) bool {
	switch {
	case c.Type != other.Type || c.URL != other.URL || c.Account != other.Account:
		return false
	case c.UID != "" && c.UID == other.UID:
		return true
	case c.Type == v1alpha1.ProviderTypeVonage || c.Type == v1alpha1.ProviderTypeDixa:
		return c.ClientID == other.ClientID && c.Token == other.Token
	default:
		return true
	}
}

// callTimeout bounds one call: at vendors it may make several requests, each bounded by Timeout.
func (c Config) callTimeout() time.Duration {
	if c.Type == v1alpha1.ProviderTypeDispatcher {
		return c.Timeout
	}

	return max(c.Timeout, MaxVendorCall)
}

// Lateness is how long a provider may still work on a request whose answer nobody waits for any more: as long as it is
// waited for. A call of the embedded dispatcher has ended when it returns.
func (c Config) Lateness() time.Duration {
	if c.Type == v1alpha1.ProviderTypeDispatcher && c.URL == "" {
		return 0
	}

	return c.Timeout
}

// Configure reads a provider resource and its credentials. fallback is the interval where the spec has none;
// 0 means v1alpha1.DefaultInterval. The error wraps ErrSecretNotFound, ErrSecretInvalid or ErrInvalid
// where one of them is the cause.
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

	var err error

	switch {
	case spec.Dispatcher != nil:
		err = configureDispatcher(ctx, &cfg, spec.Dispatcher, secrets)
	case spec.Vonage != nil:
		err = configureVonage(ctx, &cfg, spec.Vonage, secrets)
	case spec.Dixa != nil:
		err = configureDixa(ctx, &cfg, spec.Dixa, secrets)
	case spec.Bird != nil:
		err = configureBird(ctx, &cfg, spec.Bird, secrets)
	default:
		err = fmt.Errorf("%w: spec: set one of dispatcher, vonage, dixa and bird", ErrInvalid)
	}

	if limit := spec.RateLimit; limit != nil {
		cfg.RequestsPerSecond, cfg.Burst = limit.RequestsPerSecond, limit.BurstOrDefault()
	}

	return cfg, err
}

func configureDispatcher(
	ctx context.Context, c *Config, spec *v1alpha1.ClusterDispatcherProvider, secrets Secrets,
) (err error) {
	c.URL, c.Account = string(spec.URL), string(spec.Tenant)

	if c.URL == "" && c.Kind == v1alpha1.ProviderKindNamespaced && c.Account != c.Namespace {
		return fmt.Errorf("%w: spec.dispatcher.tenant: at the dispatcher of this installation the tenant is the "+
			"namespace %q; remove the field, or use a ClusterWebhookProvider", ErrInvalid, c.Namespace)
	}

	if spec.TokenSecretRef != nil {
		c.Token, err = credential(ctx, secrets, "spec.dispatcher.tokenSecretRef", *spec.TokenSecretRef)
	}

	return err
}

// Keys of the Secret of an OAuth 2.0 client.
const (
	keyClientID     = "client_id"
	keyClientSecret = "client_secret"
)

func configureVonage(ctx context.Context, c *Config, spec *v1alpha1.ClusterVonageProvider, secrets Secrets) (err error) {
	c.URL, c.TokenURL = string(spec.URL), string(spec.TokenURL)

	if spec.Region != "" {
		apiURL, tokenURL, err := vonage.Region(string(spec.Region))
		if err != nil {
			return invalidSpec("spec.vonage", err)
		}

		c.URL, c.TokenURL = apiURL, cmp.Or(c.TokenURL, tokenURL)
	}

	c.URL = strings.TrimRight(c.URL, "/")

	if spec.ClientCredentials == nil {
		c.TokenURL = ""
		if spec.TokenSecretRef == nil {
			return fmt.Errorf("%w: spec.vonage: set one of clientCredentials and tokenSecretRef", ErrInvalid)
		}

		c.Token, err = credential(ctx, secrets, "spec.vonage.tokenSecretRef", *spec.TokenSecretRef)

		return err
	}

	ref := v1alpha1.ClusterSecretKeyReference{
		Namespace: spec.ClientCredentials.SecretRef.Namespace, Name: spec.ClientCredentials.SecretRef.Name,
	}

	const field = "spec.vonage.clientCredentials.secretRef"

	ref.Key = keyClientID
	if c.ClientID, err = credential(ctx, secrets, field, ref); err != nil {
		return err
	}

	ref.Key = keyClientSecret
	c.ClientSecret, err = credential(ctx, secrets, field, ref)

	return err
}

func configureDixa(ctx context.Context, c *Config, spec *v1alpha1.ClusterDixaProvider, secrets Secrets) (err error) {
	c.URL = dixaURL(string(spec.URL))
	c.RequestsPerSecond, c.Burst = dixa.RequestsPerSecond, DixaBurst
	c.Token, err = credential(ctx, secrets, "spec.dixa.tokenSecretRef", spec.TokenSecretRef)

	return err
}

// dixaURL is the base of Dixa's API with its version, which the spec need not name.
func dixaURL(text string) string {
	text = strings.TrimRight(text, "/")

	switch {
	case text == "":
		return dixa.DefaultBaseURL
	case strings.HasSuffix(text, "/v1"), strings.HasSuffix(text, "/beta"):
		return text
	default:
		return text + "/v1"
	}
}

func configureBird(ctx context.Context, c *Config, spec *v1alpha1.ClusterBirdProvider, secrets Secrets) (err error) {
	c.URL = cmp.Or(strings.TrimRight(string(spec.URL), "/"), bird.DefaultBaseURL)
	c.Account, c.Organization = string(spec.WorkspaceID), string(spec.OrganizationID)
	c.Token, err = credential(ctx, secrets, "spec.bird.accessKeySecretRef", spec.AccessKeySecretRef)

	return err
}

// credential reads one value that is sent in a header or a form. field is the one that refers to it.
func credential(ctx context.Context, secrets Secrets, field string, ref v1alpha1.ClusterSecretKeyReference) (string, error) {
	value, err := secrets.Value(ctx, ref.Namespace, ref.Name, ref.Key)
	if err != nil {
		return "", fmt.Errorf("%s: %w", field, err)
	}

	// What is pasted with a line break or a space at its end would be refused by the provider, and nobody would see why.
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s: %w: key %s of Secret %s holds a space, a line break or another character that no token has; "+
			"store the token alone", field, ErrSecretInvalid, ref.Key, ref.Name)
	}

	return value, nil
}
