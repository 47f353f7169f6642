package dixa

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"
	"golang.org/x/time/rate"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Provider is what the client calls the vendor in its Capabilities.
const Provider = "dixa"

// Limits of the client.
const (
	// DefaultTimeout bounds one request and its answer, once it is this client's turn to send it.
	DefaultTimeout = 35 * time.Second
	// VisibilityDelay is how long a write is taken to stay invisible. The vendor does not say: as long as at the
	// slowest vendor that does.
	VisibilityDelay = 30 * time.Second
	// clientBurst is one less than the vendor allows, so that a request that arrives sooner than the one
	// before it did is not one too many.
	clientBurst = Burst - 1
	// maxRetryAfter bounds what a server may ask to wait.
	maxRetryAfter = 24 * time.Hour
)

// ClientConfig is what a client is made of. BaseURL and Token must be set.
type ClientConfig struct {
	// BaseURL is the API's absolute http or https URL with its version, below which the path /webhooks
	// begins: see DefaultBaseURL.
	BaseURL string
	// Token gives the API token of a request; it is asked each time. Its errors must hold no token.
	Token func(ctx context.Context) (string, error)
	// Bearer sends the token after "Bearer ". The vendor's own programs send it raw, as its document says.
	Bearer bool
	// Limiter spaces the requests; nil is one of its own within the vendor's bounds. Clients that share a
	// token share one.
	Limiter *rate.Limiter
	// Transport makes the connections; nil is http.DefaultTransport.
	Transport http.RoundTripper
	// Timeout bounds one request; 0 is DefaultTimeout.
	Timeout time.Duration
	// Clock tells how far off a Retry-After date is; nil is the real one.
	Clock clockwork.Clock
}

// specFilters are the filters as the resource's spec spells them.
const specFilters = string(subscription.FieldDixaOptions) + ".filters"

// Client is the port over HTTP. It is safe for concurrent use.
type Client struct {
	cfg     ClientConfig
	base    *url.URL
	http    *http.Client
	changes *changes
	hidden  *hidden
}

var _ subscription.API = (*Client)(nil)

// NewClient makes a client; it asks nothing yet. What is wrong with the configuration is a
// *subscription.InvalidError.
func NewClient(cfg ClientConfig) (*Client, error) {
	base, err := url.Parse(cfg.BaseURL)
	switch {
	case err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https":
		return nil, &subscription.InvalidError{Field: "url", Message: "it is not an absolute http or https URL"}
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, &subscription.InvalidError{Field: "url", Message: "it has credentials, a query or a fragment: remove them"}
	case cfg.Token == nil:
		return nil, errors.New("making a client: Token is not set")
	}
	if cfg.Limiter == nil {
		cfg.Limiter = rate.NewLimiter(RequestsPerSecond, clientBurst)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Clock == nil {
		cfg.Clock = clockwork.NewRealClock()
	}

	return &Client{
		cfg: cfg, base: base, changes: newChanges(), hidden: newHidden(),
		http: &http.Client{
			Transport: cfg.Transport,
			// A redirect would take the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Capabilities implements subscription.API. What the vendor leaves open is taken for absent: that names are
// unique, that a new secret could be had, that a suspension shows.
func (c *Client) Capabilities() subscription.Capabilities {
	return subscription.Capabilities{
		Provider: Provider,
		Fields: map[subscription.Field]bool{
			subscription.FieldName: true, subscription.FieldURL: true, subscription.FieldEvents: true, subscription.FieldEnabled: true,
			subscription.FieldBasic: true, subscription.FieldBearer: true,
			subscription.FieldHeaders: true, subscription.FieldHeaderSecrets: true, subscription.FieldDixaOptions: true,
		},
		Secret: subscription.SecretProviderMade, SecretText: subscription.SecretTextHex, SecretReadable: true, CredentialsReadable: true,
		Statuses: true, Logs: true, Catalogue: true,
		VisibilityDelay: VisibilityDelay,
		NaturalKey:      []subscription.Field{subscription.FieldName, subscription.FieldURL},
		URLSchemes:      []string{"https", "http"},
	}
}

// List implements subscription.Subscriptions.
func (c *Client) List(ctx context.Context) ([]subscription.Subscription, error) {
	entries, err := c.entries(ctx, call{method: http.MethodGet, path: pathWebhooks})
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	list := make([]subscription.Subscription, 0, len(entries))
	for i, entry := range entries {
		one, err := readSubscription(entry)
		if err != nil {
			return nil, fmt.Errorf("listing subscriptions: entry %d: %w", i, err)
		}
		list = append(list, c.hidden.reveal(one))
	}

	return list, nil
}

// Get implements subscription.Subscriptions.
func (c *Client) Get(ctx context.Context, id string) (subscription.Subscription, error) {
	found, err := c.one(ctx, call{method: http.MethodGet, path: pathWebhook, id: &id})
	if err != nil {
		return subscription.Subscription{}, fmt.Errorf("getting a subscription: %w", err)
	}

	return c.hidden.reveal(found), nil
}

// Secret reads a subscription's secretKey, in the vendor's text form; subscription.ErrNotFound where there is
// no such subscription. The port has no place for it but in the answer to a create, which may be lost.
func (c *Client) Secret(ctx context.Context, id string) (string, error) {
	found, err := c.one(ctx, call{method: http.MethodGet, path: pathWebhook, id: &id})
	if err != nil {
		return "", fmt.Errorf("reading a signing secret: %w", err)
	}
	if found.SecretKey == "" {
		return "", fmt.Errorf("reading a signing secret: %w", shapeError(`a "secretKey"`))
	}

	return found.SecretKey, nil
}

// Create implements subscription.Subscriptions.
func (c *Client) Create(ctx context.Context, draft subscription.Draft) (subscription.Created, error) {
	if err := draft.Validate(c.Capabilities()); err != nil {
		return subscription.Created{}, err
	}
	if err := checkFilters(specFilters, draft.Options.Dixa); err != nil {
		return subscription.Created{}, err
	}
	body := Fields{
		Name: &draft.Name, URL: &draft.URL, Authorization: wireAuthorization(draft.Authorization),
		CustomHeaders: customHeaders(draft.Headers), Events: &draft.Events, Enabled: &draft.Enabled,
	}
	if filters := wireFilters(draft.Options.Dixa); len(filters) > 0 {
		body.Filters = &filters
	}
	answer, err := c.one(ctx, call{
		method: http.MethodPost, path: pathWebhooks, body: body, secrets: secretsOf(&draft.Authorization, draft.Headers),
	})
	if err != nil {
		return subscription.Created{}, fmt.Errorf("creating a subscription: %w", err)
	}
	if answer.SecretKey == "" {
		return subscription.Created{}, fmt.Errorf("creating a subscription: %w", shapeError(`a "secretKey"`))
	}
	c.hidden.wrote(answer, &draft.URL, &draft.Headers)

	return subscription.Created{Subscription: c.hidden.reveal(answer), Secret: answer.SecretKey}, nil
}

// Update implements subscription.Subscriptions. The vendor documents no patch of nothing, so that is a
// Get; and no 404 of a patch, so a refusal is seen not to be one.
func (c *Client) Update(ctx context.Context, id string, patch subscription.Patch) (subscription.Subscription, error) {
	if err := patch.Validate(c.Capabilities()); err != nil {
		return subscription.Subscription{}, err
	}
	body := Fields{Name: patch.Name, URL: patch.URL, Events: patch.Events, Enabled: patch.Enabled}
	var headers []subscription.Header
	if patch.Headers != nil {
		headers = *patch.Headers
		body.CustomHeaders = customHeaders(headers)
	}
	if patch.Authorization != nil {
		body.Authorization = wireAuthorization(*patch.Authorization)
	}
	if patch.Options != nil {
		if err := checkFilters(specFilters, patch.Options.Dixa); err != nil {
			return subscription.Subscription{}, err
		}
		filters := wireFilters(patch.Options.Dixa)
		if filters == nil {
			filters = map[string]Filters{}
		}
		body.Filters = &filters
	}
	if body == (Fields{}) {
		return c.Get(ctx, id)
	}
	updated, err := c.one(ctx, call{
		method: http.MethodPatch, path: pathWebhook, id: &id, body: body, secrets: secretsOf(patch.Authorization, headers),
	})
	if _, refused := errors.AsType[*subscription.InvalidError](err); refused {
		if _, gone := c.Get(ctx, id); errors.Is(gone, subscription.ErrNotFound) {
			err = subscription.ErrNotFound
		}
	}
	if err != nil {
		return subscription.Subscription{}, fmt.Errorf("updating a subscription: %w", err)
	}
	c.hidden.wrote(updated, patch.URL, patch.Headers)

	return c.hidden.reveal(updated), nil
}

// secretsOf are the values of a request that no error may repeat.
func secretsOf(auth *subscription.Authorization, headers []subscription.Header) []string {
	var secrets []string
	if auth != nil {
		secrets = append(secrets, auth.Password, auth.Token)
		if auth.SchemeOrNone() == subscription.SchemeBasic {
			secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(auth.Username+":"+auth.Password)))
		}
	}
	for _, header := range headers {
		if header.Sensitive {
			secrets = append(secrets, header.Value)
		}
	}

	return secrets
}

// Delete implements subscription.Subscriptions.
func (c *Client) Delete(ctx context.Context, id string) error {
	if _, err := c.do(ctx, call{method: http.MethodDelete, path: pathWebhook, id: &id}); err != nil {
		return fmt.Errorf("deleting a subscription: %w", err)
	}
	c.hidden.forget(id)

	return nil
}

// EventTypes implements subscription.Catalogue: see Catalogue.
func (c *Client) EventTypes(context.Context) ([]subscription.EventType, error) {
	return Catalogue(), nil
}

// call is one request.
type call struct {
	method string
	path   string
	// id fills {id} in the path, and event {event}, where it has them.
	id    *string
	event string
	// body is written as JSON; nil is none.
	body any
	// secrets are values of the body that no error may repeat.
	secrets []string
}

// do makes a call and answers the body of a success. Errors are the port's.
func (c *Client) do(ctx context.Context, call call) ([]byte, error) {
	if call.id != nil {
		if _, ok := parseID(*call.id); !ok {
			// Ids are UUIDs: this one is nobody's.
			return nil, subscription.ErrNotFound
		}
	}
	if err := c.cfg.Limiter.Wait(ctx); err != nil {
		return nil, fmt.Errorf("waiting for a turn, since Dixa takes %d requests a second: %w", RequestsPerSecond, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	token, err := c.cfg.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("getting a token: %w", err)
	}
	request, err := c.request(ctx, call, token)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking Dixa: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxResponseBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading Dixa's answer: %w", err)
	}
	if len(body) > MaxResponseBytes {
		return nil, fmt.Errorf("reading Dixa's answer: it has more than %d bytes", MaxResponseBytes)
	}
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusMultipleChoices {
		return nil, c.portError(call, response, body, append(slices.Clone(call.secrets), token))
	}

	return body, nil
}

func (c *Client) request(ctx context.Context, call call, token string) (*http.Request, error) {
	path := call.path
	if call.id != nil {
		path = strings.Replace(path, "{id}", url.PathEscape(*call.id), 1)
	}
	path = strings.Replace(path, "{event}", url.PathEscape(call.event), 1)
	var body io.Reader
	if call.body != nil {
		text, err := marshal(call.body)
		if err != nil {
			return nil, errors.New("writing the request: it cannot be written as JSON")
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, call.method, c.base.JoinPath(path).String(), body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	if c.cfg.Bearer {
		token = "Bearer " + token
	}
	request.Header.Set("Accept", jsonMediaType)
	request.Header.Set(authorizationHeader, token)
	if call.body != nil {
		request.Header.Set("Content-Type", jsonMediaType)
	}

	return request, nil
}

// portError makes the port's error of a refusal. A 400 is about what was sent only where something was, and
// a 404 about a subscription only where one was named and Dixa said so: an ingress's 404 does not say
// that a subscription is gone.
func (c *Client) portError(call call, response *http.Response, body []byte, secrets []string) error {
	text, isDixas := explanation(body)
	if detail := response.Header.Get(headerDetail); detail != "" {
		text += ": " + detail
	}
	explained := subscription.ScrubExplanation(text, secrets)
	message := explained
	if message == "" {
		message = http.StatusText(response.StatusCode)
	}
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return &subscription.AuthError{Forbidden: status == http.StatusForbidden, Message: message}
	case status == http.StatusTooManyRequests:
		return &subscription.RateLimitedError{
			After: retryAfter(response.Header.Get("Retry-After"), c.cfg.Clock.Now()), Message: explained,
		}
	case status == http.StatusNotFound && call.id != nil && isDixas:
		return subscription.ErrNotFound
	case status == http.StatusConflict && call.body != nil && (text == "" || ofName.MatchString(text)):
		// Dixa documents no conflict. One of a name is the likeliest; where it says another, its words count.
		return &subscription.NameTakenError{Message: explained}
	case call.body != nil && text != "" && slices.Contains(refusedBody, status):
		return &subscription.InvalidError{Message: message}
	case status >= http.StatusMultipleChoices && status < http.StatusBadRequest:
		return fmt.Errorf("the URL answered %d, a redirect, which is not followed: give the URL it leads to", status)
	default:
		return fmt.Errorf("Dixa answered %d: %s", status, message)
	}
}

// explanation is what a refusal says, and whether it is the documented body. Plain text is taken too, since
// that is how the vendor's kind of server refuses what it was not taught to; a page of a proxy's is not.
func explanation(body []byte) (text string, documented bool) {
	var told messageBody
	if json.Unmarshal(body, &told) == nil && told.Message != "" {
		return told.Message, true
	}
	text = strings.TrimSpace(string(body))
	if json.Valid(body) || strings.HasPrefix(text, "<") {
		return "", false
	}

	return text, false
}

// ofName finds that a text is about a name.
var ofName = regexp.MustCompile(`(?i)\bnames?\b`)

// refusedBody are the statuses by which a body is refused.
var refusedBody = []int{
	http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
	http.StatusUnprocessableEntity,
}

// retryAfter reads a Retry-After header: seconds, also with a fraction, or a date. The answer is 0 where it is
// neither or past, and at most maxRetryAfter.
func retryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	if number, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(number) || number <= 0 {
			return 0
		}

		return time.Duration(math.Ceil(min(number, maxRetryAfter.Seconds()) * float64(time.Second)))
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}

	return min(max(0, at.Sub(now)), maxRetryAfter)
}
