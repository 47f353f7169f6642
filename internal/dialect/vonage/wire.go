package vonage

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strings"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Paths of the API, below its base URL. {id} is a subscription's id.
const (
	pathSubscriptions = "/webhooks/subscriptions"
	pathSubscription  = pathSubscriptions + "/{id}"
	pathEventTypes    = "/webhooks/event-types"
	// PathToken is where the Authentication API issues access tokens.
	PathToken = "/Auth/connect/token"
)

const (
	// MediaType is the one version of the API there is. Requests must name it in Accept.
	MediaType = "application/vnd.newvoicemedia.v1+json"
	// mediaTypeTree begins the media types of all versions.
	mediaTypeTree = "application/vnd.newvoicemedia"
	jsonMediaType = "application/json"
	formMediaType = "application/x-www-form-urlencoded"
)

// Scope is a right that an access token carries.
type Scope string

// The scopes.
const (
	// ScopeRead is asked for by every GET.
	ScopeRead Scope = "admin:read"
	// ScopeWrite is asked for by POST and PATCH, which is documented, and by DELETE, which is not.
	ScopeWrite Scope = "admin:write"
)

// Limits of the wire.
const (
	// MaxRequestBytes bounds a request's body.
	MaxRequestBytes = 1 << 20
	// MaxResponseBytes bounds an answer's body that a client reads.
	MaxResponseBytes = 4 << 20
)

// openAPI is the API as an OpenAPI 3.1 document.
//
//go:embed openapi.yaml
var openAPI []byte

// OpenAPI is the API as an OpenAPI 3.1 document, in YAML.
func OpenAPI() []byte { return slices.Clone(openAPI) }

// Names of members that errors name and answers must have.
const (
	memberID      = "subscriptionId"
	memberName    = "name"
	memberURL     = "url"
	memberEvents  = "events"
	memberEnabled = "enabled"
	memberSecret  = "secret"
)

// Subscription is one subscription on the wire. Secret is in the answer to a create alone.
type Subscription struct {
	SubscriptionID string   `json:"subscriptionId"`
	Name           string   `json:"name"`
	URL            string   `json:"url"`
	Events         []string `json:"events"`
	Enabled        bool     `json:"enabled"`
	Secret         string   `json:"secret,omitempty"`
}

// fields is the body of a create and of an update; absent ones have their default, or stay.
type fields struct {
	SubscriptionID *string   `json:"subscriptionId,omitempty"`
	Name           *string   `json:"name,omitempty"`
	URL            *string   `json:"url,omitempty"`
	Events         *[]string `json:"events,omitempty"`
	Enabled        *bool     `json:"enabled,omitempty"`
	Secret         *string   `json:"secret,omitempty"`
}

// EventType is one entry of the catalogue. JSONSchema describes the event's data, in draft 2020-12.
type EventType struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	JSONSchema  json.RawMessage `json:"jsonSchema,omitempty"`
}

// The envelopes of lists, and what stands in them.
type (
	subscriptionList struct {
		Subscriptions []Subscription `json:"subscriptions"`
	}
	eventTypeList struct {
		EventTypes []EventType `json:"eventTypes"`
	}
)

// messageBody is the body of most refusals.
type messageBody struct {
	Message string `json:"message"`
}

// oauthBody is the body of a refusal of the access token, and of those of the token endpoint.
type oauthBody struct {
	Description string `json:"error_description,omitempty"`
	Error       string `json:"error"`
}

// tokenBody is the token endpoint's answer. ExpiresIn is in seconds.
type tokenBody struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
	TokenType   string `json:"token_type"`
}

func wireSubscription(s subscription.Subscription) Subscription {
	return Subscription{
		SubscriptionID: s.ID, Name: s.Name, URL: s.URL, Events: append([]string{}, s.Events...), Enabled: s.Enabled,
	}
}

func (s Subscription) port() subscription.Subscription {
	return subscription.Subscription{ID: s.SubscriptionID, Name: s.Name, URL: s.URL, Events: s.Events, Enabled: s.Enabled}
}

// draft is what a create asks for, enabled unless it says else, to be delivered as Vonage does.
func (f fields) draft() subscription.Draft {
	draft := subscription.Draft{Enabled: true, Delivery: subscription.Delivery{Format: subscription.FormatVonage}}
	put(&draft.Name, f.Name)
	put(&draft.URL, f.URL)
	put(&draft.Events, f.Events)
	put(&draft.Enabled, f.Enabled)
	put(&draft.Secret, f.Secret)

	return draft
}

func put[V any](into, value *V) {
	if value != nil {
		*into = *value
	}
}

func (f fields) patch() subscription.Patch {
	return subscription.Patch{Name: f.Name, URL: f.URL, Events: f.Events, Enabled: f.Enabled, Secret: f.Secret}
}

func wireDraft(d subscription.Draft) fields {
	out := fields{Name: &d.Name, URL: &d.URL, Events: &d.Events, Enabled: &d.Enabled}
	if d.Secret != "" {
		out.Secret = &d.Secret
	}

	return out
}

func wirePatch(p subscription.Patch) fields {
	return fields{Name: p.Name, URL: p.URL, Events: p.Events, Enabled: p.Enabled, Secret: p.Secret}
}

func (f fields) empty() bool { return f == fields{} }

func wireEventType(t subscription.EventType) EventType {
	return EventType{Name: t.Name, Description: t.Description, JSONSchema: t.Schema}
}

func (t EventType) port() subscription.EventType {
	return subscription.EventType{Name: t.Name, Description: t.Description, Schema: t.JSONSchema}
}

// byName orders event types.
func byName(a, b subscription.EventType) int { return strings.Compare(a.Name, b.Name) }

// capabilities are what the API has. Only https endpoints are documented for its general
// availability; its beta took http ones too.
func capabilities(allowHTTP bool) subscription.Capabilities {
	schemes := []string{"https"}
	if allowHTTP {
		schemes = append(schemes, "http")
	}

	return subscription.Capabilities{
		Provider: Provider,
		Fields: map[subscription.Field]bool{
			subscription.FieldName: true, subscription.FieldURL: true, subscription.FieldEvents: true,
			subscription.FieldEnabled: true, subscription.FieldSecret: true,
		},
		NamesUnique: true,
		// Wildcards exist, but their grammar is documented nowhere: sets are expanded from the catalogue.
		Wildcards:       false,
		Secret:          subscription.SecretSettable,
		SecretText:      subscription.SecretTextBase64,
		Catalogue:       true,
		VisibilityDelay: VisibilityDelay,
		NaturalKey:      []subscription.Field{subscription.FieldName},
		URLSchemes:      schemes,
	}
}
