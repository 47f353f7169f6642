package native

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Paths of the API, below its base URL. Those with {id} take a subscription's id.
const (
	pathSubscriptions = "/webhooks/subscriptions"
	pathSubscription  = pathSubscriptions + "/{id}"
	pathStatuses      = pathSubscription + "/delivery-statuses"
	pathLogs          = pathSubscription + "/logs"
	pathDeadLetters   = pathSubscription + "/dead-letters"
	pathResend        = pathSubscription + "/resend"
	pathTest          = pathSubscription + "/test"
	pathChanges       = "/webhooks/delivery-statuses/changes"
	pathEventTypes    = "/webhooks/event-types"
	pathCapabilities  = "/webhooks/capabilities"
)

// MediaType is the API's own; application/json is taken for it.
const (
	MediaType     = "application/vnd.hookline.v1+json"
	jsonMediaType = "application/json"
)

// openAPI is the API as an OpenAPI 3.1 document.
//
//go:embed openapi.yaml
var openAPI []byte

// OpenAPI is the API as an OpenAPI 3.1 document, in YAML.
func OpenAPI() []byte { return slices.Clone(openAPI) }

// Names of query parameters and of fields that errors name.
const (
	paramAfter = "after"
	paramEvent = "event"
	paramLimit = "limit"
	paramSince = "since"

	fieldTimeout = string(subscription.FieldTimeout)
)

// Limits of the wire.
const (
	// MaxRequestBytes bounds a request's body.
	MaxRequestBytes = 1 << 20
	// MaxResponseBytes bounds an answer's body. What could be longer comes in pages, or leaves
	// payloads out.
	MaxResponseBytes = 4 << 20
	// MaxPageLimit is the most entries a page of subscriptions or dead letters may have, and
	// DefaultPageLimit how many a page without a limit has.
	MaxPageLimit     = 1000
	DefaultPageLimit = 100
	// pageBytes is where a page ends early: what is left of MaxResponseBytes holds one more entry.
	pageBytes = 2 << 20
)

// Subscription is one subscription on the wire. Secret values are never in it, but for the
// generated signing secret in the answer to a create.
type Subscription struct {
	SubscriptionID string         `json:"subscriptionId"`
	Name           string         `json:"name"`
	URL            string         `json:"url"`
	Events         []string       `json:"events"`
	Enabled        bool           `json:"enabled"`
	Secret         string         `json:"secret,omitempty"`
	State          State          `json:"state"`
	Authorization  *Authorization `json:"authorization,omitempty"`
	Headers        []Header       `json:"headers,omitempty"`
	Delivery       *Delivery      `json:"delivery,omitempty"`
	VendorOptions  *VendorOptions `json:"vendorOptions,omitempty"`
	CreatedAt      time.Time      `json:"createdAt,omitzero"`
	UpdatedAt      time.Time      `json:"updatedAt,omitzero"`
}

// State is what the dispatcher decided about a subscription.
type State struct {
	Phase   string    `json:"phase"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// Authorization makes a delivery's Authorization header. Password and token are write-only.
type Authorization struct {
	Scheme   string `json:"scheme"`
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Token    string `json:"token,omitempty"`
}

// Header is one custom header. The value of a sensitive one is write-only.
type Header struct {
	Name      string `json:"name"`
	Value     string `json:"value,omitempty"`
	Sensitive bool   `json:"sensitive,omitempty"`
}

// Delivery says how deliveries are made. Timeout is a duration such as "15s".
type Delivery struct {
	Format      string `json:"format,omitempty"`
	Timeout     string `json:"timeout,omitempty"`
	MaxAttempts int32  `json:"maxAttempts,omitempty"`
	MaxInFlight int32  `json:"maxInFlight,omitempty"`
	RateLimit   int32  `json:"rateLimit,omitempty"`
	Ordering    string `json:"ordering,omitempty"`
}

// createRequest is the body of a create.
type createRequest struct {
	Name          string         `json:"name"`
	URL           string         `json:"url"`
	Events        []string       `json:"events"`
	Enabled       *bool          `json:"enabled,omitempty"`
	Secret        string         `json:"secret,omitempty"`
	Authorization *Authorization `json:"authorization,omitempty"`
	Headers       []Header       `json:"headers,omitempty"`
	Delivery      *Delivery      `json:"delivery,omitempty"`
	VendorOptions *VendorOptions `json:"vendorOptions,omitempty"`
}

// updateRequest is the body of an update; absent fields stay as they are.
type updateRequest struct {
	Name          *string        `json:"name,omitempty"`
	URL           *string        `json:"url,omitempty"`
	Events        *[]string      `json:"events,omitempty"`
	Enabled       *bool          `json:"enabled,omitempty"`
	Secret        *string        `json:"secret,omitempty"`
	Authorization *Authorization `json:"authorization,omitempty"`
	Headers       *[]Header      `json:"headers,omitempty"`
	Delivery      *Delivery      `json:"delivery,omitempty"`
	VendorOptions *VendorOptions `json:"vendorOptions,omitempty"`
	Resume        bool           `json:"resume,omitempty"`
}

// testRequest and resendRequest are the bodies of those operations.
type testRequest struct {
	Event string `json:"event"`
}

type resendRequest struct {
	Position uint64 `json:"position"`
}

// The envelopes of lists. Next, where it is set, is the parameter "after" of the next page.
type (
	subscriptionList struct {
		Subscriptions []Subscription `json:"subscriptions"`
		Next          string         `json:"next,omitempty"`
	}
	eventTypeList struct {
		EventTypes []EventType `json:"eventTypes"`
	}
	statusList struct {
		DeliveryStatuses []DeliveryStatus `json:"deliveryStatuses"`
	}
	logList struct {
		Logs []LogEntry `json:"logs"`
	}
	deadLetterList struct {
		DeadLetters []deadLetter `json:"deadLetters"`
		Next        uint64       `json:"next,omitempty"`
	}
	changes struct {
		SubscriptionIDs []string `json:"subscriptionIds"`
		Next            string   `json:"next"`
	}
)

// EventType is one entry of the catalogue.
type EventType struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	JSONSchema  json.RawMessage `json:"jsonSchema,omitempty"`
	FirstSeen   time.Time       `json:"firstSeen,omitzero"`
	LastSeen    time.Time       `json:"lastSeen,omitzero"`
}

// DeliveryStatus is the latest outcome of one event type's deliveries.
type DeliveryStatus struct {
	Event             string    `json:"event"`
	Success           bool      `json:"success"`
	ResponseCode      int       `json:"responseCode"`
	ResponseText      string    `json:"responseText"`
	DeliveryTimestamp time.Time `json:"deliveryTimestamp"`
}

// LogEntry is one attempt. Latency is a duration such as "12.5ms". A body stands as text, or
// as Base64 in the member of that name where it is no plain text.
type LogEntry struct {
	DeliveryID         string    `json:"deliveryId"`
	EventID            string    `json:"eventId"`
	Event              string    `json:"event"`
	Attempt            int32     `json:"attempt"`
	Timestamp          time.Time `json:"timestamp"`
	Success            bool      `json:"success"`
	ResponseCode       int       `json:"responseCode"`
	ResponseText       string    `json:"responseText"`
	Latency            string    `json:"latency"`
	ResponseBody       string    `json:"responseBody,omitempty"`
	ResponseBodyBase64 string    `json:"responseBodyBase64,omitempty"`
	Payload            string    `json:"payload,omitempty"`
	PayloadBase64      string    `json:"payloadBase64,omitempty"`
	Position           uint64    `json:"position,omitempty"`
}

// deadLetter is a delivery that was given up.
type deadLetter struct {
	Position      uint64    `json:"position"`
	DeliveryID    string    `json:"deliveryId,omitempty"`
	EventID       string    `json:"eventId"`
	Event         string    `json:"event"`
	Reason        string    `json:"reason"`
	Timestamp     time.Time `json:"timestamp"`
	Attempts      int32     `json:"attempts"`
	Last          *LogEntry `json:"last,omitempty"`
	Payload       string    `json:"payload,omitempty"`
	PayloadBase64 string    `json:"payloadBase64,omitempty"`
}

// Capabilities is what the API can do, field for field the port's.
type Capabilities struct {
	Provider        string   `json:"provider"`
	Fields          []string `json:"fields"`
	NamesUnique     bool     `json:"namesUnique"`
	Wildcards       bool     `json:"wildcards"`
	MaxEvents       int      `json:"maxEvents,omitempty"`
	Secret          string   `json:"secret"`
	Resumable       bool     `json:"resumable"`
	Statuses        bool     `json:"statuses"`
	Logs            bool     `json:"logs"`
	Catalogue       bool     `json:"catalogue"`
	VisibilityDelay string   `json:"visibilityDelay"`
	NaturalKey      []string `json:"naturalKey"`
	URLSchemes      []string `json:"urlSchemes"`
}

// Error is the body of every refusal. Message alone is Vonage's.
type Error struct {
	Message string `json:"message"`
	// Reason is one of the reasons below: what the status alone does not tell.
	Reason string `json:"reason,omitempty"`
	// Field is the field at fault, as the resource's spec spells it.
	Field string `json:"field,omitempty"`
	// Unsupported are what Provider does not support.
	Unsupported []string `json:"unsupported,omitempty"`
	Provider    string   `json:"provider,omitempty"`
}

// The reasons.
const (
	reasonInvalid     = "Invalid"
	reasonNotFound    = "NotFound"
	reasonNameTaken   = "NameTaken"
	reasonConflict    = "Conflict"
	reasonUnsupported = "Unsupported"
	reasonNoSuchPath  = "NoSuchPath"
	reasonMethod      = "MethodNotAllowed"
	reasonMediaType   = "UnsupportedMediaType"
	reasonAccept      = "NotAcceptable"
	reasonTooLarge    = "TooLarge"
	reasonAuth        = "Unauthorized"
	reasonForbidden   = "Forbidden"
	reasonRateLimited = "TooManyRequests"
	reasonUnavailable = "Unavailable"
)

// wireSubscription leaves every secret value out, whatever the port reports.
func wireSubscription(s subscription.Subscription) Subscription {
	phase := s.State.Phase
	if phase == "" {
		phase = subscription.Active
	}
	out := Subscription{
		SubscriptionID: s.ID, Name: s.Name, URL: s.URL, Events: orEmpty(s.Events), Enabled: s.Enabled,
		State:   State{Phase: string(phase), Reason: s.State.Reason, Message: s.State.Message, Since: s.State.Since},
		Headers: wireHeaders(s.Headers), VendorOptions: wireOptions(s.Options),
		CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
	}
	for i := range out.Headers {
		if out.Headers[i].Sensitive {
			out.Headers[i].Value = ""
		}
	}
	if scheme := s.Authorization.SchemeOrNone(); scheme != subscription.SchemeNone {
		out.Authorization = &Authorization{Scheme: string(scheme), Username: s.Authorization.Username}
	}
	if s.Delivery != (subscription.Delivery{}) {
		out.Delivery = wireDelivery(s.Delivery)
	}

	return out
}

func (s Subscription) port() (subscription.Subscription, error) {
	if s.SubscriptionID == "" {
		return subscription.Subscription{}, shapeError(`a "subscriptionId" that is not empty`)
	}
	delivery, err := s.Delivery.port()
	if err != nil {
		return subscription.Subscription{}, err
	}

	return subscription.Subscription{
		ID: s.SubscriptionID, Name: s.Name, URL: s.URL, Events: s.Events, Enabled: s.Enabled,
		State: subscription.State{
			Phase: subscription.Phase(s.State.Phase), Reason: s.State.Reason, Message: s.State.Message, Since: s.State.Since,
		},
		Authorization: s.Authorization.port(),
		Headers:       portHeaders(s.Headers),
		Delivery:      delivery,
		Options:       s.VendorOptions.port(),
		CreatedAt:     s.CreatedAt, UpdatedAt: s.UpdatedAt,
	}, nil
}

func wireAuthorization(a subscription.Authorization) *Authorization {
	return &Authorization{Scheme: string(a.SchemeOrNone()), Username: a.Username, Password: a.Password, Token: a.Token}
}

func (a *Authorization) port() subscription.Authorization {
	if a == nil {
		return subscription.Authorization{}
	}

	return subscription.Authorization{
		Scheme: subscription.Scheme(a.Scheme), Username: a.Username, Password: a.Password, Token: a.Token,
	}
}

func wireHeaders(headers []subscription.Header) []Header {
	out := make([]Header, 0, len(headers))
	for _, header := range headers {
		out = append(out, Header(header))
	}

	return out
}

func portHeaders(headers []Header) []subscription.Header {
	if len(headers) == 0 {
		return nil
	}
	out := make([]subscription.Header, 0, len(headers))
	for _, header := range headers {
		out = append(out, subscription.Header(header))
	}

	return out
}

func wireDelivery(d subscription.Delivery) *Delivery {
	out := &Delivery{
		Format: string(d.Format), MaxAttempts: d.MaxAttempts, MaxInFlight: d.MaxInFlight,
		RateLimit: d.RateLimit, Ordering: string(d.Ordering),
	}
	if d.Timeout != 0 {
		out.Timeout = d.Timeout.String()
	}

	return out
}

func (d *Delivery) port() (subscription.Delivery, error) {
	if d == nil {
		return subscription.Delivery{}, nil
	}
	out := subscription.Delivery{
		Format: subscription.Format(d.Format), MaxAttempts: d.MaxAttempts, MaxInFlight: d.MaxInFlight,
		RateLimit: d.RateLimit, Ordering: subscription.Ordering(d.Ordering),
	}
	if d.Timeout == "" {
		return out, nil
	}
	timeout, err := time.ParseDuration(d.Timeout)
	if err != nil {
		return subscription.Delivery{}, &subscription.InvalidError{
			Field: fieldTimeout, Message: "it is not a duration: write one such as 15s",
		}
	}
	out.Timeout = timeout

	return out, nil
}

func (r createRequest) port() (subscription.Draft, error) {
	delivery, err := r.Delivery.port()
	if err != nil {
		return subscription.Draft{}, err
	}

	return subscription.Draft{
		Name: r.Name, URL: r.URL, Events: r.Events, Enabled: r.Enabled == nil || *r.Enabled, Secret: r.Secret,
		Authorization: r.Authorization.port(), Headers: portHeaders(r.Headers), Delivery: delivery,
		Options: r.VendorOptions.port(),
	}, nil
}

func wireDraft(d subscription.Draft) createRequest {
	out := createRequest{
		Name: d.Name, URL: d.URL, Events: orEmpty(d.Events), Enabled: &d.Enabled, Secret: d.Secret, Headers: wireHeaders(d.Headers),
		VendorOptions: wireOptions(d.Options),
	}
	if d.Authorization != (subscription.Authorization{}) {
		out.Authorization = wireAuthorization(d.Authorization)
	}
	if d.Delivery != (subscription.Delivery{}) {
		out.Delivery = wireDelivery(d.Delivery)
	}

	return out
}

func (r updateRequest) port() (subscription.Patch, error) {
	patch := subscription.Patch{
		Name: r.Name, URL: r.URL, Events: r.Events, Enabled: r.Enabled, Secret: r.Secret, Resume: r.Resume,
	}
	if r.Authorization != nil {
		authorization := r.Authorization.port()
		patch.Authorization = &authorization
	}
	if r.Headers != nil {
		headers := portHeaders(*r.Headers)
		patch.Headers = &headers
	}
	if r.Delivery != nil {
		delivery, err := r.Delivery.port()
		if err != nil {
			return subscription.Patch{}, err
		}
		patch.Delivery = &delivery
	}
	if r.VendorOptions != nil {
		options := r.VendorOptions.port()
		patch.Options = &options
	}

	return patch, nil
}

func wirePatch(p subscription.Patch) updateRequest {
	out := updateRequest{Name: p.Name, URL: p.URL, Enabled: p.Enabled, Secret: p.Secret, Resume: p.Resume}
	if p.Events != nil {
		events := orEmpty(*p.Events)
		out.Events = &events
	}
	if p.Authorization != nil {
		out.Authorization = wireAuthorization(*p.Authorization)
	}
	if p.Headers != nil {
		headers := wireHeaders(*p.Headers)
		out.Headers = &headers
	}
	if p.Delivery != nil {
		out.Delivery = wireDelivery(*p.Delivery)
	}
	if p.Options != nil {
		out.VendorOptions = wireOptions(*p.Options)
		if out.VendorOptions == nil {
			// Nothing in them removes those there are.
			out.VendorOptions = &VendorOptions{}
		}
	}

	return out
}

func wireStatus(s subscription.DeliveryStatus) DeliveryStatus {
	return DeliveryStatus{
		Event: s.Event, Success: s.Success, ResponseCode: s.ResponseCode, ResponseText: s.ResponseText, DeliveryTimestamp: s.Timestamp,
	}
}

func (s DeliveryStatus) port() subscription.DeliveryStatus {
	return subscription.DeliveryStatus{
		Event: s.Event, Success: s.Success, ResponseCode: s.ResponseCode, ResponseText: s.ResponseText, Timestamp: s.DeliveryTimestamp,
	}
}

func wireEventType(t subscription.EventType) EventType {
	return EventType{Name: t.Name, Description: t.Description, JSONSchema: t.Schema, FirstSeen: t.FirstSeen, LastSeen: t.LastSeen}
}

func (t EventType) port() subscription.EventType {
	return subscription.EventType{
		Name: t.Name, Description: t.Description, Schema: t.JSONSchema, FirstSeen: t.FirstSeen, LastSeen: t.LastSeen,
	}
}

func wireLogEntry(e subscription.LogEntry) LogEntry {
	out := LogEntry{
		DeliveryID: e.DeliveryID, EventID: e.EventID, Event: e.Event, Attempt: e.Attempt, Timestamp: e.Timestamp, Success: e.Success,
		ResponseCode: e.ResponseCode, ResponseText: e.ResponseText, Latency: e.Latency.String(), Position: e.Position,
	}
	out.ResponseBody, out.ResponseBodyBase64 = textOrBase64(e.ResponseBody)
	out.Payload, out.PayloadBase64 = textOrBase64(e.Payload)

	return out
}

func (e LogEntry) port() (subscription.LogEntry, error) {
	latency, err := time.ParseDuration(e.Latency)
	if err != nil {
		return subscription.LogEntry{}, fmt.Errorf("reading latency: %w", err)
	}
	responseBody, err := fromTextOrBase64(e.ResponseBody, e.ResponseBodyBase64)
	if err != nil {
		return subscription.LogEntry{}, fmt.Errorf("reading responseBodyBase64: %w", err)
	}
	payload, err := fromTextOrBase64(e.Payload, e.PayloadBase64)
	if err != nil {
		return subscription.LogEntry{}, fmt.Errorf("reading payloadBase64: %w", err)
	}

	return subscription.LogEntry{
		DeliveryID: e.DeliveryID, EventID: e.EventID, Event: e.Event, Attempt: e.Attempt, Timestamp: e.Timestamp, Success: e.Success,
		ResponseCode: e.ResponseCode, ResponseText: e.ResponseText, Latency: latency,
		ResponseBody: responseBody, Payload: payload, Position: e.Position,
	}, nil
}

func wireDeadLetter(l DeadLetter) deadLetter {
	out := deadLetter{
		Position: l.Position, DeliveryID: l.DeliveryID, EventID: l.EventID, Event: l.Event,
		Reason: l.Reason, Timestamp: l.At, Attempts: l.Attempts,
	}
	if l.Last != nil {
		last := wireLogEntry(*l.Last)
		out.Last = &last
	}
	out.Payload, out.PayloadBase64 = textOrBase64(l.Payload)

	return out
}

func wireCapabilities(c subscription.Capabilities) Capabilities {
	fields := []string{}
	for _, field := range slices.Sorted(maps.Keys(c.Fields)) {
		if c.Fields[field] {
			fields = append(fields, string(field))
		}
	}
	key := []string{}
	for _, field := range c.NaturalKey {
		key = append(key, string(field))
	}

	return Capabilities{
		Provider: c.Provider, Fields: fields, NamesUnique: c.NamesUnique, Wildcards: c.Wildcards, MaxEvents: c.MaxEvents,
		Secret: string(c.Secret), Resumable: c.Resumable, Statuses: c.Statuses, Logs: c.Logs, Catalogue: c.Catalogue,
		VisibilityDelay: c.VisibilityDelay.String(), NaturalKey: key, URLSchemes: orEmpty(c.URLSchemes),
	}
}

// port is what is left of the capabilities over this wire: secret values are not read back.
func (c Capabilities) port() (subscription.Capabilities, error) {
	delay, err := time.ParseDuration(c.VisibilityDelay)
	if err != nil {
		return subscription.Capabilities{}, fmt.Errorf("reading visibilityDelay: %w", err)
	}
	out := subscription.Capabilities{
		Provider: c.Provider, Fields: make(map[subscription.Field]bool, len(c.Fields)), NamesUnique: c.NamesUnique,
		Wildcards: c.Wildcards, MaxEvents: c.MaxEvents, Secret: subscription.SecretMode(c.Secret), Resumable: c.Resumable,
		Statuses: c.Statuses, Logs: c.Logs, Catalogue: c.Catalogue, VisibilityDelay: delay, URLSchemes: c.URLSchemes,
	}
	for _, field := range c.Fields {
		out.Fields[subscription.Field(field)] = true
	}
	for _, field := range c.NaturalKey {
		out.NaturalKey = append(out.NaturalKey, subscription.Field(field))
	}

	return out, nil
}

// orEmpty makes an empty list of none, so that it is written as [].
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}

	return list
}
