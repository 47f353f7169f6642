package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/jonboulle/clockwork"
	"golang.org/x/time/rate"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// vonage is the client of Vonage Contact Center. It asks nothing yet.
func (f *Factory) vonage(cfg Config, clock clockwork.Clock, pace *pace) (subscription.API, error) {
	transport, err := f.transport(cfg)
	if err != nil {
		return nil, err
	}

	tokens, err := vonageTokens(cfg, transport, clock)
	if err != nil {
		return nil, invalidSpec("spec.vonage", err)
	}

	client, err := vonage.NewClient(vonage.ClientConfig{
		BaseURL: cfg.URL, Tokens: tokens, Transport: &paced{pace: pace, next: transport}, Timeout: cfg.Timeout, Clock: clock,
		// What is called without TLS is not the vendor, who takes https endpoints alone.
		AllowHTTP: isPlain(cfg.URL),
	})
	if err != nil {
		return nil, invalidSpec("spec.vonage", err)
	}

	return client, nil
}

// vonageTokens gives the access tokens: those that the token endpoint issues, through the same CA bundle and proxy, or
// the one from the Secret.
func vonageTokens(cfg Config, transport http.RoundTripper, clock clockwork.Clock) (vonage.TokenSource, error) {
	if cfg.ClientID == "" {
		return vonage.StaticToken(cfg.token), nil
	}

	return vonage.NewClientCredentials(vonage.ClientCredentials{
		TokenURL: cfg.TokenURL, ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret,
		Transport: transport, Timeout: cfg.Timeout, Clock: clock,
	})
}

// dixa is the client of Dixa. It asks nothing yet.
func (f *Factory) dixa(cfg Config, clock clockwork.Clock, pace *pace) (subscription.API, error) {
	transport, err := f.transport(cfg)
	if err != nil {
		return nil, err
	}

	client, err := dixa.NewClient(dixa.ClientConfig{
		BaseURL: cfg.URL, Token: cfg.token, Timeout: cfg.Timeout, Clock: clock,
		Transport: &paced{pace: pace, next: transport},
		// The transport spaces the requests, together with those of other providers that have this token.
		Limiter: rate.NewLimiter(rate.Inf, 0),
	})
	if err != nil {
		return nil, invalidSpec("spec.dixa", err)
	}

	return client, nil
}

// bird is the client of Bird. It asks nothing yet.
func (f *Factory) bird(cfg Config, clock clockwork.Clock, pace *pace) (subscription.API, error) {
	transport, err := f.transport(cfg)
	if err != nil {
		return nil, err
	}

	client, err := bird.NewClient(bird.ClientConfig{
		BaseURL: cfg.URL, AccessKey: cfg.token, WorkspaceID: cfg.Account, OrganizationID: cfg.Organization,
		Transport: &paced{pace: pace, next: transport}, Timeout: cfg.Timeout, Clock: clock,
		// As above: the vendor takes https endpoints alone, and only those of its pattern.
		AllowAnyURL: isPlain(cfg.URL),
	})
	if err != nil {
		return nil, invalidSpec("spec.bird", err)
	}

	return client, nil
}

// token is the one of the Secret.
func (c Config) token(context.Context) (string, error) { return c.Token, nil }

func isPlain(url string) bool { return strings.HasPrefix(strings.ToLower(url), "http://") }

// invalidSpec is a client's refusal of its configuration as one of the provider's spec.
func invalidSpec(arm string, err error) error {
	if invalid, is := errors.AsType[*subscription.InvalidError](err); is {
		return fmt.Errorf("%w: %s.%s: %s", ErrInvalid, arm, invalid.Field, invalid.Message)
	}

	return err
}
