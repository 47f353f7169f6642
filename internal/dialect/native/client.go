package native

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Limits of the client.
const (
	// DefaultTimeout bounds one request and its answer; the server's RequestTimeout is no longer.
	DefaultTimeout = RequestTimeout + 5*time.Second
	// maxPages bounds the pages of one list, against a server whose pages never end.
	maxPages = 10_000
	// maxRetryAfter is the longest that a Retry-After is honoured.
	maxRetryAfter = 24 * time.Hour
)

// ClientConfig is what a client is made of.
type ClientConfig struct {
	// BaseURL is the API's absolute http or https URL, below which the path /webhooks begins.
	BaseURL string
	// Token gives the bearer token of a request; it is asked each time. Its errors must hold no token.
	Token func(ctx context.Context) (string, error)
	// Transport makes the connections; nil is http.DefaultTransport.
	Transport http.RoundTripper
	// Timeout bounds one request; 0 is DefaultTimeout.
	Timeout time.Duration
}

// Client is the port over HTTP. It is safe for concurrent use.
type Client struct {
	base         *url.URL
	token        func(ctx context.Context) (string, error)
	http         *http.Client
	timeout      time.Duration
	capabilities subscription.Capabilities
}

var _ subscription.API = (*Client)(nil)

// NewClient asks the server what it can do, so it fails as a request does where the server
// does not answer or does not take the token (*subscription.AuthError). What is wrong with the
// configuration is a *subscription.InvalidError.
func NewClient(ctx context.Context, cfg ClientConfig) (*Client, error) {
	base, err := url.Parse(cfg.BaseURL)
	switch {
	case err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https":
		return nil, &subscription.InvalidError{Field: "url", Message: "it is not an absolute http or https URL"}
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, &subscription.InvalidError{Field: "url", Message: "it has credentials, a query or a fragment: remove them"}
	case cfg.Token == nil:
		return nil, errors.New("making a client: Token is not set")
	}
	c := &Client{
		base: base, token: cfg.Token, timeout: cfg.Timeout,
		http: &http.Client{
			Transport: cfg.Transport,
			// A redirect would take the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	body, err := c.do(ctx, call{method: http.MethodGet, path: pathCapabilities})
	if err != nil {
		return nil, fmt.Errorf("asking for the capabilities: %w", err)
	}
	answer, err := read[Capabilities](body, capabilityMembers)
	if err != nil {
		return nil, fmt.Errorf("asking for the capabilities: %w", err)
	}
	if c.capabilities, err = answer.port(); err != nil {
		return nil, fmt.Errorf("asking for the capabilities: %w", err)
	}

	return c, nil
}

// Capabilities implements subscription.API: the server's, as they were when the client was
// made, less what the wire cannot say.
func (c *Client) Capabilities() subscription.Capabilities { return c.capabilities }

// List implements subscription.Subscriptions. It asks page by page; a subscription that
// stands all the while is in it.
func (c *Client) List(ctx context.Context) ([]subscription.Subscription, error) {
	all := []subscription.Subscription{}
	after := ""
	for range maxPages {
		params := url.Values{paramLimit: {strconv.Itoa(MaxPageLimit)}}
		if after != "" {
			params.Set(paramAfter, after)
		}
		body, err := c.do(ctx, call{method: http.MethodGet, path: pathSubscriptions, query: params})
		if err != nil {
			return nil, fmt.Errorf("listing subscriptions: %w", err)
		}
		entries, err := readList[Subscription](body, "subscriptions", subscriptionMembers)
		if err != nil {
			return nil, fmt.Errorf("listing subscriptions: %w", err)
		}
		for _, entry := range entries {
			one, err := entry.port()
			if err != nil {
				return nil, fmt.Errorf("listing subscriptions: reading %q: %w", entry.SubscriptionID, asTransient(err))
			}
			all = append(all, one)
		}
		page, err := read[struct {
			Next string `json:"next"`
		}](body, nil)
		if err != nil {
			return nil, fmt.Errorf("listing subscriptions: %w", err)
		}
		if page.Next == "" {
			return all, nil
		}
		if page.Next <= after {
			return nil, errors.New("listing subscriptions: the server's pages do not move on")
		}
		after = page.Next
	}

	return nil, fmt.Errorf("listing subscriptions: there are more than %d pages", maxPages)
}

// asTransient hides that what the server wrote is invalid: the caller's input is not at fault.
func asTransient(err error) error {
	if _, ok := errors.AsType[*subscription.InvalidError](err); ok {
		return errors.New(err.Error())
	}

	return err
}

// Get implements subscription.Subscriptions.
func (c *Client) Get(ctx context.Context, id string) (subscription.Subscription, error) {
	return c.one(ctx, "getting a subscription", call{method: http.MethodGet, path: pathSubscription, id: &id})
}

// one makes a call that answers one subscription, the one it names.
func (c *Client) one(ctx context.Context, doing string, call call) (subscription.Subscription, error) {
	body, err := c.do(ctx, call)
	if err != nil {
		return subscription.Subscription{}, fmt.Errorf("%s: %w", doing, err)
	}
	answer, err := read[Subscription](body, subscriptionMembers)
	if err == nil && answer.SubscriptionID != *call.id {
		err = shapeError("the subscription that was asked for")
	}
	if err != nil {
		return subscription.Subscription{}, fmt.Errorf("%s: %w", doing, err)
	}
	out, err := answer.port()
	if err != nil {
		return subscription.Subscription{}, fmt.Errorf("%s: reading the answer: %w", doing, asTransient(err))
	}

	return out, nil
}

// Create implements subscription.Subscriptions.
func (c *Client) Create(ctx context.Context, draft subscription.Draft) (subscription.Created, error) {
	body, err := c.do(ctx, call{
		method: http.MethodPost, path: pathSubscriptions, body: wireDraft(draft),
		secrets: secretsOf(draft.Secret, &draft.Authorization, draft.Headers),
	})
	if err != nil {
		return subscription.Created{}, fmt.Errorf("creating a subscription: %w", err)
	}
	answer, err := read[Subscription](body, subscriptionMembers)
	if err == nil && draft.Secret == "" && answer.Secret == "" {
		err = shapeError(`a "secret", since none was given`)
	}
	if err != nil {
		return subscription.Created{}, fmt.Errorf("creating a subscription: %w", err)
	}
	created, err := answer.port()
	if err != nil {
		return subscription.Created{}, fmt.Errorf("creating a subscription: reading the answer: %w", asTransient(err))
	}

	return subscription.Created{Subscription: created, Secret: answer.Secret}, nil
}

// Update implements subscription.Subscriptions.
func (c *Client) Update(ctx context.Context, id string, patch subscription.Patch) (subscription.Subscription, error) {
	secret := ""
	if patch.Secret != nil {
		secret = *patch.Secret
	}
	var headers []subscription.Header
	if patch.Headers != nil {
		headers = *patch.Headers
	}

	return c.one(ctx, "updating a subscription", call{
		method: http.MethodPatch, path: pathSubscription, id: &id, body: wirePatch(patch),
		secrets: secretsOf(secret, patch.Authorization, headers),
	})
}

// secretsOf are the values of a request that no error may repeat.
func secretsOf(secret string, authorization *subscription.Authorization, headers []subscription.Header) []string {
	secrets := []string{secret}
	if authorization != nil {
		secrets = append(secrets, authorization.Password, authorization.Token)
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
	if _, err := c.do(ctx, call{method: http.MethodDelete, path: pathSubscription, id: &id}); err != nil {
		return fmt.Errorf("deleting a subscription: %w", err)
	}

	return nil
}

// EventTypes implements subscription.Catalogue.
func (c *Client) EventTypes(ctx context.Context) ([]subscription.EventType, error) {
	entries, err := list[EventType](ctx, c, call{method: http.MethodGet, path: pathEventTypes}, "eventTypes", eventTypeMembers)
	if err != nil {
		return nil, fmt.Errorf("reading event types: %w", err)
	}
	types := make([]subscription.EventType, 0, len(entries))
	for _, eventType := range entries {
		types = append(types, eventType.port())
	}

	return types, nil
}

// Statuses implements subscription.Deliveries.
func (c *Client) Statuses(ctx context.Context, id string) ([]subscription.DeliveryStatus, error) {
	entries, err := list[DeliveryStatus](
		ctx, c, call{method: http.MethodGet, path: pathStatuses, id: &id}, "deliveryStatuses", statusMembers,
	)
	if err != nil {
		return nil, fmt.Errorf("reading delivery statuses: %w", err)
	}
	statuses := make([]subscription.DeliveryStatus, 0, len(entries))
	for _, status := range entries {
		statuses = append(statuses, status.port())
	}

	return statuses, nil
}

// StatusesChangedSince implements subscription.Deliveries.
func (c *Client) StatusesChangedSince(ctx context.Context, cursor string) (subscription.Changes, error) {
	params := url.Values{}
	if cursor != "" {
		params.Set(paramSince, cursor)
	}
	body, err := c.do(ctx, call{method: http.MethodGet, path: pathChanges, query: params})
	if err != nil {
		return subscription.Changes{}, fmt.Errorf("reading changed delivery statuses: %w", err)
	}
	answer, err := read[changes](body, changeMembers)
	if err != nil {
		return subscription.Changes{}, fmt.Errorf("reading changed delivery statuses: %w", err)
	}

	return subscription.Changes{IDs: answer.SubscriptionIDs, Next: answer.Next}, nil
}

// Logs implements subscription.Deliveries.
func (c *Client) Logs(ctx context.Context, id string, query subscription.LogQuery) ([]subscription.LogEntry, error) {
	params := url.Values{}
	if query.Event != "" {
		params.Set(paramEvent, query.Event)
	}
	if query.Limit != 0 {
		params.Set(paramLimit, strconv.Itoa(query.Limit))
	}
	entries, err := list[LogEntry](ctx, c, call{method: http.MethodGet, path: pathLogs, id: &id, query: params}, "logs", logMembers)
	if err != nil {
		return nil, fmt.Errorf("reading logs: %w", err)
	}
	logs := make([]subscription.LogEntry, 0, len(entries))
	for _, wire := range entries {
		entry, err := wire.port()
		if err != nil {
			return nil, fmt.Errorf("reading logs: %w", err)
		}
		logs = append(logs, entry)
	}

	return logs, nil
}

// list makes a call that answers all entries of a list.
func list[W any](ctx context.Context, c *Client, call call, member string, members []string) ([]W, error) {
	body, err := c.do(ctx, call)
	if err != nil {
		return nil, err
	}

	return readList[W](body, member, members)
}

// call is one request.
type call struct {
	method string
	path   string
	// id fills {id} in the path, where it has one.
	id    *string
	query url.Values
	// body is written as JSON; nil is none.
	body any
	// secrets are values of the body that no error may repeat.
	secrets []string
}

// do makes a call and answers the body of a success. Errors are the port's.
func (c *Client) do(ctx context.Context, call call) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	token, err := c.token(ctx)
	if err != nil {
		return nil, fmt.Errorf("getting a token: %w", err)
	}
	request, err := c.request(ctx, call, token)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the dispatcher: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxResponseBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading the dispatcher's answer: %w", err)
	}
	if len(body) > MaxResponseBytes {
		return nil, fmt.Errorf("the dispatcher's answer has more than %d bytes", MaxResponseBytes)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, portError(response, body, append(slices.Clone(call.secrets), token))
	}

	return body, nil
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
	target := c.base.JoinPath(path)
	target.RawQuery = call.query.Encode()
	var body io.Reader
	if call.body != nil {
		text, err := marshal(call.body)
		if err != nil {
			return nil, errors.New("writing the request: it cannot be written as JSON")
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, call.method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	request.Header.Set("Accept", MediaType)
	request.Header.Set("Authorization", "Bearer "+token)
	if call.body != nil {
		request.Header.Set("Content-Type", MediaType)
	}

	return request, nil
}

// portError makes the port's error of a refusal. What no server of this API wrote is
// transient: an ingress that answers 404 does not say that a subscription is gone.
func portError(response *http.Response, body []byte, secrets []string) error {
	var wire Error
	_ = json.Unmarshal(body, &wire)
	message := subscription.ScrubExplanation(wire.Message, secrets)
	switch {
	case wire.Reason == reasonInvalid:
		// The message names the field too, for those who read nothing else.
		field := subscription.ScrubExplanation(wire.Field, secrets)

		return &subscription.InvalidError{Field: field, Message: strings.TrimPrefix(message, field+": ")}
	case wire.Reason == reasonUnsupported:
		return &subscription.UnsupportedError{Provider: wire.Provider, What: wire.Unsupported}
	case wire.Reason == reasonNotFound:
		return subscription.ErrNotFound
	case wire.Reason == reasonNameTaken:
		// Its message is that of the error itself.
		return subscription.ErrNameTaken
	case wire.Reason == reasonTooLarge:
		return &subscription.InvalidError{Message: message}
	case response.StatusCode == http.StatusUnauthorized, response.StatusCode == http.StatusForbidden:
		return &subscription.AuthError{
			Forbidden: response.StatusCode == http.StatusForbidden, Message: orStatus(message, response.StatusCode),
		}
	case response.StatusCode == http.StatusTooManyRequests:
		return &subscription.RateLimitedError{After: retryAfter(response.Header.Get("Retry-After"), time.Now()), Message: message}
	default:
		return fmt.Errorf("the dispatcher answered %d: %s", response.StatusCode, orStatus(message, response.StatusCode))
	}
}

func orStatus(message string, status int) string {
	if message == "" {
		return http.StatusText(status)
	}

	return message
}

// retryAfter reads a Retry-After header: seconds, also with a fraction, or a date. The answer is
// 0 where it is neither or past, and at most maxRetryAfter.
func retryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(seconds) || seconds <= 0 {
			return 0
		}

		return time.Duration(math.Ceil(min(seconds, maxRetryAfter.Seconds()) * float64(time.Second)))
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}

	return min(max(0, at.Sub(now)), maxRetryAfter)
}
