package bird

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Provider is what the client calls the vendor in its Capabilities.
const Provider = "bird"

// Limits of the client.
const (
	// DefaultTimeout bounds one request and its answer.
	DefaultTimeout = 35 * time.Second
	// VisibilityDelay is how long a write is taken to stay invisible. The vendor does not say: as long as at the
	// slowest vendor that does.
	VisibilityDelay = 30 * time.Second
	// MaxPages bounds how many pages of subscriptions, MaxLogPages how many of logs are read.
	MaxPages    = 100
	MaxLogPages = 10
	// MaxDetails bounds how many retried deliveries one call of Logs asks the attempts of.
	MaxDetails = 20
	// maxRetryAfter bounds what a server may ask to wait.
	maxRetryAfter = 24 * time.Hour
)

// ClientConfig is what a client is made of. BaseURL, AccessKey and WorkspaceID must be set.
type ClientConfig struct {
	// BaseURL is the API's absolute http or https URL, below which the path /workspaces begins: see
	// DefaultBaseURL.
	BaseURL string
	// AccessKey gives the access key of a request; it is asked each time. Its errors must hold no key.
	AccessKey func(ctx context.Context) (string, error)
	// WorkspaceID is the workspace whose subscriptions are managed.
	WorkspaceID string
	// OrganizationID, where it is set, puts the paths of subscriptions below /organizations/{organizationId}, as
	// the older documents have them.
	OrganizationID string
	// AllowAnyURL leaves it to the server which URLs an endpoint may have. Bird's own takes those of its pattern
	// alone; a Hookline dispatcher may take more.
	AllowAnyURL bool
	// Transport makes the connections; nil is http.DefaultTransport.
	Transport http.RoundTripper
	// Timeout bounds one request; 0 is DefaultTimeout.
	Timeout time.Duration
	// Clock tells how far off a Retry-After date is; nil is the real one.
	Clock clockwork.Clock
}

// Client is the port over HTTP. It is safe for concurrent use.
type Client struct {
	cfg     ClientConfig
	base    *url.URL
	http    *http.Client
	changes *changes
}

var _ subscription.API = (*Client)(nil)

// NewClient makes a client; it asks nothing yet. What is wrong with the configuration is a
// *subscription.InvalidError.
func NewClient(cfg ClientConfig) (*Client, error) {
	base, err := url.Parse(cfg.BaseURL)
	switch {
	case err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https":
		return nil, wrongField("url", "it is not an absolute http or https URL")
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, wrongField("url", "it has credentials, a query or a fragment: remove them")
	case cfg.WorkspaceID == "":
		return nil, wrongField("workspaceId", "it is empty: give the id of the workspace, as Bird shows it")
	case cfg.AccessKey == nil:
		return nil, errors.New("making a client: AccessKey is not set")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Clock == nil {
		cfg.Clock = clockwork.NewRealClock()
	}

	return &Client{
		cfg: cfg, base: base, changes: newChanges(),
		http: &http.Client{
			Transport: cfg.Transport,
			// A redirect would take the access key elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Capabilities implements subscription.API. A subscription has one event and no name; neither its event nor a
// name can be given later.
func (c *Client) Capabilities() subscription.Capabilities {
	schemes := []string{"https"}
	if c.cfg.AllowAnyURL {
		schemes = append(schemes, "http")
	}

	return subscription.Capabilities{
		Provider: Provider,
		Fields: map[subscription.Field]bool{
			subscription.FieldURL: true, subscription.FieldEvents: true, subscription.FieldEnabled: true,
			subscription.FieldSecret: true, subscription.FieldBirdOptions: true,
		},
		MaxEvents: 1,
		Secret:    subscription.SecretSettable, SecretText: subscription.SecretTextPlain,
		Statuses: true, Logs: true, Catalogue: true,
		VisibilityDelay: VisibilityDelay,
		Immutable:       []subscription.Field{subscription.FieldEvents},
		NaturalKey:      []subscription.Field{subscription.FieldURL, subscription.FieldEvents, subscription.FieldBirdOptions},
		URLSchemes:      schemes,
	}
}

// List implements subscription.Subscriptions: all pages, at most MaxPages.
func (c *Client) List(ctx context.Context) ([]subscription.Subscription, error) {
	var (
		list []subscription.Subscription
		seen = map[string]bool{}
	)
	err := c.pages(ctx, call{method: http.MethodGet, path: pathSubscriptions}, MaxPages, func(entry []byte) error {
		one, err := readSubscription(entry)
		if err != nil {
			return err
		}
		// One that was changed while pages were turned may stand on two.
		if !seen[one.ID] {
			seen[one.ID] = true
			list = append(list, one.port())
		}

		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
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

// Create implements subscription.Subscriptions. Bird makes no signing key and signs nothing without one, so one
// is made here where none is given. Bird creates active subscriptions alone: one that is to be disabled is
// set to inactive right after, and may get an event between the two.
func (c *Client) Create(ctx context.Context, draft subscription.Draft) (subscription.Created, error) {
	if err := c.checkDraft(draft); err != nil {
		return subscription.Created{}, err
	}
	generated := ""
	if draft.Secret == "" {
		generated = GenerateSecret()
		draft.Secret = generated
	}
	service, event, _ := splitEvent(draft.Events[0])
	body := Fields{Service: service, Event: wireEvent(event), URL: &draft.URL, SigningKey: &draft.Secret}
	if options := draft.Options.Bird; options != nil {
		if len(options.EventFilters) > 0 {
			body.EventFilters = wireFilters(options)
		}
		if options.Template != "" {
			body.Template = &options.Template
		}
	}
	created, err := c.one(ctx, call{method: http.MethodPost, path: pathSubscriptions, body: body, secrets: []string{draft.Secret}})
	if err != nil {
		return subscription.Created{}, fmt.Errorf("creating a subscription: %w", err)
	}
	if !draft.Enabled {
		id := created.ID
		created, err = c.one(ctx, call{method: http.MethodPatch, path: pathSubscription, id: &id, body: Fields{Status: statusInactive}})
		if err != nil {
			// None of the port's errors: they would say that there is no subscription.
			return subscription.Created{}, errors.New("setting a new subscription, which is active until then, to inactive: " + err.Error())
		}
	}

	return subscription.Created{Subscription: created.port(), Secret: generated}, nil
}

// checkDraft checks a draft by what Bird has. The port would read another key from the secret's text, so that
// is judged apart.
func (c *Client) checkDraft(draft subscription.Draft) error {
	secret := draft.Secret
	if secret != "" {
		draft.Secret = placeholderSecret
	}
	if err := draft.Validate(c.Capabilities()); err != nil {
		return err
	}
	if secret != "" {
		if err := checkSigningKey(secret); err != nil {
			return err
		}
	}
	if err := checkEvents(draft.Events); err != nil {
		return err
	}
	if err := c.checkURL(draft.URL); err != nil {
		return err
	}

	return CheckOptions(draft.Options.Bird)
}

// checkURL refuses what Bird's server would.
func (c *Client) checkURL(text string) error {
	if c.cfg.AllowAnyURL || allowedURL.MatchString(text) {
		return nil
	}

	return wrongField(string(subscription.FieldURL), "Bird takes https URLs of a host name with a dot alone, without a port, "+
		"an address or a query without a path: give one such as https://example.com/hooks")
}

// checkPatch is checkDraft for a patch.
func (c *Client) checkPatch(patch subscription.Patch) error {
	secret := patch.Secret
	if secret != nil {
		patch.Secret = &placeholderSecret
	}
	if err := patch.Validate(c.Capabilities()); err != nil {
		return err
	}
	if secret != nil {
		if err := checkSigningKey(*secret); err != nil {
			return err
		}
	}
	if patch.URL != nil {
		if err := c.checkURL(*patch.URL); err != nil {
			return err
		}
	}
	if patch.Events != nil {
		return &subscription.UnsupportedError{
			Provider: Provider, What: []string{string(subscription.FieldEvents) + " (of an existing subscription)"},
		}
	}
	if patch.Options != nil {
		return CheckOptions(patch.Options.Bird)
	}

	return nil
}

// Update implements subscription.Subscriptions. Bird documents no patch of nothing, so that is a Get. Filters
// are cleared by an empty array and, where that has no effect, by null: Bird does not say which does.
func (c *Client) Update(ctx context.Context, id string, patch subscription.Patch) (subscription.Subscription, error) {
	if err := c.checkPatch(patch); err != nil {
		return subscription.Subscription{}, err
	}
	body := Fields{URL: patch.URL, SigningKey: patch.Secret}
	var secrets []string
	if patch.Secret != nil {
		secrets = append(secrets, *patch.Secret)
	}
	if patch.Enabled != nil {
		body.Status = wireStatus(*patch.Enabled)
	}
	if patch.Options != nil {
		template, err := c.newTemplate(ctx, id, patch.Options.Bird)
		if err != nil {
			return subscription.Subscription{}, fmt.Errorf("updating a subscription: %w", err)
		}
		body.EventFilters, body.Template = wireFilters(patch.Options.Bird), template
	}
	if body == (Fields{}) {
		return c.Get(ctx, id)
	}
	updated, err := c.patch(ctx, id, body, secrets)
	if err == nil && patch.Options != nil && len(wireFilters(patch.Options.Bird)) == 0 && len(updated.EventFilters) > 0 {
		updated, err = c.patch(ctx, id, Fields{EventFilters: jsonNull{}}, nil)
		if err == nil && len(updated.EventFilters) > 0 {
			err = &subscription.UnsupportedError{
				Provider: Provider, What: []string{specOptions + ".eventFilters (removed from an existing subscription)"},
			}
		}
	}
	if err != nil {
		return subscription.Subscription{}, fmt.Errorf("updating a subscription: %w", err)
	}

	return updated.port(), nil
}

// jsonNull is null where an empty value would be left out.
type jsonNull struct{}

// MarshalJSON implements json.Marshaler.
func (jsonNull) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

func (c *Client) patch(ctx context.Context, id string, body Fields, secrets []string) (Subscription, error) {
	return c.one(ctx, call{method: http.MethodPatch, path: pathSubscription, id: &id, body: body, secrets: secrets})
}

// newTemplate is what to send for the template; nil is nothing. Bird does not say that a template may be empty, so
// that is sent only where there is one to take away.
func (c *Client) newTemplate(ctx context.Context, id string, options *subscription.BirdOptions) (*string, error) {
	if options != nil && options.Template != "" {
		return &options.Template, nil
	}
	current, err := c.one(ctx, call{method: http.MethodGet, path: pathSubscription, id: &id})
	if err != nil || current.Template == "" {
		return nil, err
	}

	return new(""), nil
}

// Delete implements subscription.Subscriptions.
func (c *Client) Delete(ctx context.Context, id string) error {
	if _, err := c.do(ctx, call{method: http.MethodDelete, path: pathSubscription, id: &id}); err != nil {
		return fmt.Errorf("deleting a subscription: %w", err)
	}

	return nil
}

// EventTypes implements subscription.Catalogue: the events of every service of Bird's. A service that Bird
// says it does not have has none, as long as there is another.
func (c *Client) EventTypes(ctx context.Context) ([]subscription.EventType, error) {
	var (
		all     []AvailableWebhooks
		refused error
		known   int
	)
	for _, service := range services {
		one, err := c.available(ctx, service)
		switch _, invalid := errors.AsType[*serviceError](err); {
		case invalid:
			refused = err
		case err != nil:
			return nil, fmt.Errorf("reading the catalogue: %w", err)
		default:
			known++
			all = slices.Concat(all, one)
		}
	}
	if known == 0 {
		return nil, fmt.Errorf("reading the catalogue: %w", refused)
	}

	return portCatalogue(all), nil
}
