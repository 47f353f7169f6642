package vonage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Provider is what the client calls the vendor in its Capabilities.
const Provider = "vonage"

// Limits of the client.
const (
	// DefaultTimeout bounds one request and its answer.
	DefaultTimeout = 35 * time.Second
	// VisibilityDelay is how long the vendor says that a change may take to show.
	VisibilityDelay = 30 * time.Second
)

// ClientConfig is what a client is made of. BaseURL and Tokens must be set.
type ClientConfig struct {
	// BaseURL is the API's absolute http or https URL, below which the path /webhooks begins; see
	// Region.
	BaseURL string
	// Tokens gives the access tokens; see NewClientCredentials and StaticToken.
	Tokens TokenSource
	// AllowHTTP says that the API takes http endpoints too, as its beta did.
	AllowHTTP bool
	// Transport makes the connections; nil is http.DefaultTransport.
	Transport http.RoundTripper
	// Timeout bounds one request; 0 is DefaultTimeout.
	Timeout time.Duration
	// Clock tells how far off a Retry-After date is; nil is the real one.
	Clock clockwork.Clock
}

// Client is the port over HTTP. It is safe for concurrent use.
type Client struct {
	base      *url.URL
	tokens    TokenSource
	http      *http.Client
	timeout   time.Duration
	clock     clockwork.Clock
	allowHTTP bool
}

var _ subscription.API = (*Client)(nil)

// NewClient makes a client; it asks nothing yet. What is wrong with the configuration is a
// *subscription.InvalidError.
func NewClient(cfg ClientConfig) (*Client, error) {
	base, err := parseURL("url", cfg.BaseURL)
	switch {
	case err != nil:
		return nil, err
	case cfg.Tokens == nil:
		return nil, errors.New("making a client: Tokens is not set")
	}
	c := &Client{
		base: base, tokens: cfg.Tokens, http: httpClient(cfg.Transport), timeout: cfg.Timeout, clock: cfg.Clock,
		allowHTTP: cfg.AllowHTTP,
	}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	if c.clock == nil {
		c.clock = clockwork.NewRealClock()
	}

	return c, nil
}

// parseURL reads the URL of an API. The error does not repeat it: it may hold a password.
func parseURL(field, text string) (*url.URL, error) {
	parsed, err := url.Parse(text)
	switch {
	case err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https":
		return nil, &subscription.InvalidError{Field: field, Message: "it is not an absolute http or https URL"}
	case parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "":
		return nil, &subscription.InvalidError{Field: field, Message: "it has credentials, a query or a fragment: remove them"}
	}

	return parsed, nil
}

func httpClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: transport,
		// A redirect would take the token, or the client's secret, elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Capabilities implements subscription.API.
func (c *Client) Capabilities() subscription.Capabilities { return capabilities(c.allowHTTP) }

// List implements subscription.Subscriptions.
func (c *Client) List(ctx context.Context) ([]subscription.Subscription, error) {
	body, err := c.do(ctx, call{method: http.MethodGet, path: pathSubscriptions})
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	entries, err := entriesOf(body, "subscriptions")
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	list := make([]subscription.Subscription, 0, len(entries))
	for i, entry := range entries {
		one, err := readSubscription(entry)
		if err != nil {
			return nil, fmt.Errorf("listing subscriptions: entry %d: %w", i, err)
		}
		list = append(list, one.port())
	}

	return list, nil
}

// Get implements subscription.Subscriptions.
func (c *Client) Get(ctx context.Context, id string) (subscription.Subscription, error) {
	found, err := c.one(ctx, call{method: http.MethodGet, path: pathSubscription, id: &id})
	if err != nil {
		return subscription.Subscription{}, fmt.Errorf("getting a subscription: %w", err)
	}

	return found.port(), nil
}

// Create implements subscription.Subscriptions.
func (c *Client) Create(ctx context.Context, draft subscription.Draft) (subscription.Created, error) {
	given := draft.Secret
	draft, err := checkedDraft(draft, c.Capabilities())
	if err != nil {
		return subscription.Created{}, err
	}
	answer, err := c.one(ctx, call{
		method: http.MethodPost, path: pathSubscriptions, body: wireDraft(draft), secrets: []string{given, draft.Secret},
	})
	if err != nil {
		return subscription.Created{}, fmt.Errorf("creating a subscription: %w", err)
	}
	created := subscription.Created{Subscription: answer.port()}
	if given != "" {
		return created, nil
	}
	if _, err := Key(answer.Secret); err != nil {
		return subscription.Created{}, fmt.Errorf("creating a subscription: %w", shapeError(`a Base64 "secret", since none was given`))
	}
	created.Secret = answer.Secret

	return created, nil
}

// Update implements subscription.Subscriptions. The vendor documents no update of nothing, so
// that is a Get.
func (c *Client) Update(ctx context.Context, id string, patch subscription.Patch) (subscription.Subscription, error) {
	given := patch.Secret
	patch, err := checkedPatch(patch, c.Capabilities())
	if err != nil {
		return subscription.Subscription{}, err
	}
	body := wirePatch(patch)
	if body.empty() {
		return c.Get(ctx, id)
	}
	var secrets []string
	if given != nil {
		secrets = []string{*given, *patch.Secret}
	}
	updated, err := c.one(ctx, call{method: http.MethodPatch, path: pathSubscription, id: &id, body: body, secrets: secrets})
	if err != nil {
		return subscription.Subscription{}, fmt.Errorf("updating a subscription: %w", err)
	}

	return updated.port(), nil
}

// Delete implements subscription.Subscriptions.
func (c *Client) Delete(ctx context.Context, id string) error {
	if _, err := c.do(ctx, call{method: http.MethodDelete, path: pathSubscription, id: &id}); err != nil {
		return fmt.Errorf("deleting a subscription: %w", err)
	}

	return nil
}

// EventTypes implements subscription.Catalogue.
func (c *Client) EventTypes(ctx context.Context) ([]subscription.EventType, error) {
	body, err := c.do(ctx, call{method: http.MethodGet, path: pathEventTypes})
	if err != nil {
		return nil, fmt.Errorf("reading event types: %w", err)
	}
	entries, err := entriesOf(body, "eventTypes")
	if err != nil {
		return nil, fmt.Errorf("reading event types: %w", err)
	}
	types := make([]subscription.EventType, 0, len(entries))
	for i, entry := range entries {
		var one EventType
		if err := json.Unmarshal(entry, &one); err != nil || one.Name == "" {
			return nil, fmt.Errorf("reading event types: entry %d: %w", i, shapeError(`{"name","description","jsonSchema"}`))
		}
		types = append(types, one.port())
	}

	return merged(types, nil), nil
}

// Statuses implements subscription.Deliveries: the vendor has none.
func (c *Client) Statuses(context.Context, string) ([]subscription.DeliveryStatus, error) {
	return nil, lacking("delivery statuses")
}

// StatusesChangedSince implements subscription.Deliveries: the vendor has none.
func (c *Client) StatusesChangedSince(context.Context, string) (subscription.Changes, error) {
	return subscription.Changes{}, lacking("delivery statuses")
}

// Logs implements subscription.Deliveries: the vendor has none.
func (c *Client) Logs(context.Context, string, subscription.LogQuery) ([]subscription.LogEntry, error) {
	return nil, lacking("delivery logs")
}

func lacking(what string) error {
	return &subscription.UnsupportedError{Provider: Provider, What: []string{what}}
}

// shapeError answers a response that is not what the vendor documents.
func shapeError(expected string) error {
	return &subscription.ShapeError{Expected: expected}
}

// entriesOf are what an envelope's only member lists.
func entriesOf(body []byte, member string) ([]json.RawMessage, error) {
	var envelope map[string]json.RawMessage
	var entries []json.RawMessage
	if json.Unmarshal(body, &envelope) != nil || json.Unmarshal(envelope[member], &entries) != nil || entries == nil {
		return nil, shapeError(`{"` + member + `":[…]}`)
	}

	return entries, nil
}

// readSubscription reads one subscription, none of whose documented members may be missing: what
// is absent would be taken for changed. Unknown ones are passed over.
func readSubscription(body []byte) (Subscription, error) {
	var (
		members map[string]json.RawMessage
		out     Subscription
	)
	err := json.Unmarshal(body, &members)
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	for _, name := range []string{memberID, memberName, memberURL, memberEvents, memberEnabled} {
		if value, ok := members[name]; err != nil || !ok || string(value) == "null" {
			return Subscription{}, shapeError(`{"subscriptionId","name","url","events":[…],"enabled"}`)
		}
	}
	if out.SubscriptionID == "" {
		return Subscription{}, shapeError(`a "subscriptionId" that is not empty`)
	}

	return out, nil
}

// call is one request.
type call struct {
	method string
	path   string
	// id fills {id} in the path, where it has one.
	id *string
	// body is written as JSON; nil is none.
	body any
	// secrets are values of the body that no error may repeat.
	secrets []string
}

// one makes a call that answers one subscription, the one it names.
func (c *Client) one(ctx context.Context, call call) (Subscription, error) {
	body, err := c.do(ctx, call)
	if err != nil {
		return Subscription{}, err
	}
	answer, err := readSubscription(body)
	if err == nil && call.id != nil && answer.SubscriptionID != *call.id {
		err = shapeError("the subscription that was asked for")
	}

	return answer, err
}

// answer is a response, read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do makes a call and answers the body of a success. A token that is not accepted is replaced
// once, where there is another. Errors are the port's.
func (c *Client) do(ctx context.Context, call call) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	token, err := c.tokens.Token(ctx, "")
	if err != nil {
		return nil, err
	}
	got, err := c.send(ctx, call, token)
	if err != nil {
		return nil, err
	}
	if got.status == http.StatusUnauthorized {
		// A call that was not authorized was not carried out: it may be repeated, whatever it is.
		fresh, err := c.tokens.Token(ctx, token)
		if err != nil {
			return nil, err
		}
		if fresh != token {
			token = fresh
			if got, err = c.send(ctx, call, token); err != nil {
				return nil, err
			}
		}
	}
	if got.status < http.StatusOK || got.status >= http.StatusMultipleChoices {
		return nil, c.portError(call, got, append(slices.Clone(call.secrets), token))
	}

	return got.body, nil
}

func (c *Client) send(ctx context.Context, call call, token string) (answer, error) {
	request, err := c.request(ctx, call, token)
	if err != nil {
		return answer{}, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("asking the API: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxResponseBytes+1))
	if err != nil {
		return answer{}, fmt.Errorf("reading the API's answer: %w", err)
	}
	if len(body) > MaxResponseBytes {
		return answer{}, fmt.Errorf("reading the API's answer: it has more than %d bytes", MaxResponseBytes)
	}

	return answer{status: response.StatusCode, header: response.Header, body: body}, nil
}

// request makes a call's request. An id that can stand in no path is nobody's.
func (c *Client) request(ctx context.Context, call call, token string) (*http.Request, error) {
	path := call.path
	if call.id != nil {
		if *call.id == "" || *call.id == "." || *call.id == ".." {
			return nil, subscription.ErrNotFound
		}
		path = strings.Replace(path, "{id}", url.PathEscape(*call.id), 1)
	}
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
	request.Header.Set("Accept", MediaType)
	request.Header.Set("Authorization", "bearer "+token)
	if call.body != nil {
		request.Header.Set("Content-Type", jsonMediaType)
	}

	return request, nil
}
