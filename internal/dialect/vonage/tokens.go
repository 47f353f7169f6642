package vonage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Limits of access tokens.
const (
	// TokenLeeway is how long before its end a token is replaced, or half its life where that is shorter.
	TokenLeeway = time.Minute
	// DefaultTokenLife is how long a token is kept that does not say when it ends.
	DefaultTokenLife = 10 * time.Minute
)

// TokenSource gives access tokens. It is safe for concurrent use.
type TokenSource interface {
	// Token gives a token that is not the refused one, if it has another. refused is empty, or a
	// token that the API did not accept. Errors are the port's, and hold nothing secret.
	Token(ctx context.Context, refused string) (string, error)
}

// StaticToken is a source whose tokens somebody else renews. read is asked each time; its
// errors must hold no token.
func StaticToken(read func(ctx context.Context) (string, error)) TokenSource { return static(read) }

type static func(ctx context.Context) (string, error)

// Token implements TokenSource.
func (s static) Token(ctx context.Context, _ string) (string, error) {
	token, err := s(ctx)
	if err != nil {
		return "", fmt.Errorf("reading the access token: %w", err)
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", &subscription.AuthError{Message: "the access token is empty"}
	}

	return token, nil
}

// Region is where the APIs of a region are: emea, nam or apac, in any case.
func Region(name string) (apiURL, tokenURL string, err error) {
	region := strings.ToLower(name)
	switch region {
	case "emea", "nam", "apac":
		return "https://" + region + ".api.newvoicemedia.com", "https://" + region + ".cc.vonage.com" + PathToken, nil
	default:
		return "", "", &subscription.InvalidError{
			Field: "region", Message: fmt.Sprintf("%q is no region: use EMEA, NAM or APAC", clip(name)),
		}
	}
}

// ClientCredentials obtain access tokens by the OAuth 2.0 client credentials grant.
type ClientCredentials struct {
	// TokenURL is the Authentication API's endpoint; see Region.
	TokenURL string
	ClientID string
	// ClientSecret is never in an error.
	ClientSecret string
	// Transport makes the connections; nil is http.DefaultTransport.
	Transport http.RoundTripper
	// Timeout bounds one request for a token; 0 is DefaultTimeout.
	Timeout time.Duration
	// Clock tells when a token ends; nil is the real one.
	Clock clockwork.Clock
}

// credentials are a source that keeps a token until shortly before its end.
type credentials struct {
	grant   clientcredentials.Config
	http    *http.Client
	timeout time.Duration
	clock   clockwork.Clock

	// turn is held while a token is asked for, so that callers at once ask once; unlike a mutex,
	// one may give up waiting for it.
	turn chan struct{}
	mu   sync.Mutex
	kept string
	end  time.Time
}

// NewClientCredentials makes a source that asks for both scopes. Its errors are
// *subscription.AuthError where the credentials are not accepted, *subscription.RateLimitedError,
// and others that are transient.
func NewClientCredentials(cfg ClientCredentials) (TokenSource, error) {
	if _, err := parseURL("tokenURL", cfg.TokenURL); err != nil {
		return nil, err
	}
	c := &credentials{
		grant: clientcredentials.Config{
			ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret, TokenURL: cfg.TokenURL,
			Scopes: []string{string(ScopeRead), string(ScopeWrite)}, AuthStyle: oauth2.AuthStyleInParams,
		},
		http: httpClient(cfg.Transport), timeout: cfg.Timeout, clock: cfg.Clock, turn: make(chan struct{}, 1),
	}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	if c.clock == nil {
		c.clock = clockwork.NewRealClock()
	}

	return c, nil
}

// Token implements TokenSource.
func (c *credentials) Token(ctx context.Context, refused string) (string, error) {
	if token := c.current(refused); token != "" {
		return token, nil
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for an access token: %w", ctx.Err())
	}
	// Somebody else may have brought one meanwhile.
	if token := c.current(refused); token != "" {
		return token, nil
	}

	return c.fetch(ctx)
}

// current is the token kept, if it is good yet and not the refused one.
func (c *credentials) current(refused string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == "" || c.kept == refused || !c.clock.Now().Before(c.end) {
		return ""
	}

	return c.kept
}

func (c *credentials) fetch(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, c.http), c.timeout)
	defer cancel()
	asked := c.clock.Now()
	token, err := c.grant.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("asking for an access token: %w", c.portError(err))
	}
	if token.AccessToken == "" || !strings.EqualFold(token.Type(), "bearer") {
		return "", fmt.Errorf("asking for an access token: %w", shapeError(tokenShape))
	}
	life := DefaultTokenLife
	if !token.Expiry.IsZero() {
		// The library has added expires_in to the real time.
		life = time.Until(token.Expiry)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept, c.end = token.AccessToken, asked.Add(life-min(TokenLeeway, life/2))

	return c.kept, nil
}

// tokenShape is what the token endpoint documents.
const tokenShape = `{"access_token","expires_in","token_type":"Bearer"} of the token URL`

// unreadableAnswers are how the library begins what it says of an answer that is no token.
var unreadableAnswers = []string{"oauth2: cannot parse", "oauth2: server response missing access_token"}

// portError makes the port's error of what the token endpoint answered.
func (c *credentials) portError(err error) error {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok || refused.Response == nil {
		// The library tells by its text alone that there was an answer and that it could not be read.
		if slices.ContainsFunc(unreadableAnswers, func(text string) bool { return strings.HasPrefix(err.Error(), text) }) {
			return shapeError(tokenShape)
		}

		// The secret goes in the body, which such errors do not repeat.
		return err
	}
	status := refused.Response.StatusCode
	// The library reads it only where the Content-Type says that it is JSON.
	var told oauthBody
	_ = json.Unmarshal(refused.Body, &told) // What is no JSON tells nothing.
	message := told.Error
	if told.Description != "" {
		message = strings.TrimPrefix(message+": "+told.Description, ": ")
	}
	explained := subscription.ScrubExplanation(message, []string{c.grant.ClientSecret})
	message = orStatus(explained, status)
	switch {
	case status == http.StatusTooManyRequests:
		return &subscription.RateLimitedError{
			After: retryAfter(refused.Response.Header.Get("Retry-After"), c.clock.Now()), Message: explained,
		}
	case told.Error == "invalid_scope", told.Error == "unauthorized_client", status == http.StatusForbidden:
		return &subscription.AuthError{Forbidden: true, Message: message}
	case told.Error == "invalid_client", told.Error == "invalid_grant", status == http.StatusUnauthorized:
		return &subscription.AuthError{Message: message}
	default:
		return fmt.Errorf("the token endpoint answered %d: %s", status, message)
	}
}
