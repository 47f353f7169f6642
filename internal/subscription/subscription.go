package subscription

import (
	"slices"
	"time"
)

// Limits that hold for every implementation of the port. An implementation may be
// narrower (see Capabilities), never wider.
const (
	// MinNameLength and MaxNameLength bound a subscription's name, in characters.
	MinNameLength = 3
	MaxNameLength = 128
	// MaxURLLength bounds the endpoint's URL, in bytes.
	MaxURLLength = 2048
	// MaxEvents bounds the number of event patterns of one subscription.
	MaxEvents = 100
	// MaxHeaders bounds the number of custom headers of one subscription.
	MaxHeaders = 32
	// MaxHeaderValueLength bounds one custom header's value, in bytes.
	MaxHeaderValueLength = 4096
	// MinSecretBytes is the least a given signing secret may hold, in bytes of key material.
	MinSecretBytes = 32
	// GeneratedSecretBytes is how much key material a generated signing secret holds.
	GeneratedSecretBytes = 64
)

// Subscription is one subscription as its provider reports it. What the provider does
// not report (see Capabilities) is the zero value.
type Subscription struct {
	// ID is the provider's identifier: opaque, unique within the account.
	ID string
	// Name is the human's name for it, 3–128 characters; empty where the provider has no names.
	Name string
	// URL is the endpoint deliveries are posted to.
	URL string
	// Events are the event types or patterns it receives, in the provider's own order.
	Events []string
	// Enabled is what its owner wants.
	Enabled bool
	// State is what the provider decided: it may suspend a subscription its owner wants enabled.
	State State
	// Authorization is what each delivery's Authorization header is made from. Its secret
	// parts are empty unless Capabilities.CredentialsReadable.
	Authorization Authorization
	// Headers are sent with each delivery, sorted by name. The value of a sensitive one is
	// empty unless Capabilities.CredentialsReadable.
	Headers []Header
	// Delivery says how deliveries are made; zero fields mean the provider's default.
	Delivery Delivery
	// Options are what only one vendor knows.
	Options Options
	// CreatedAt and UpdatedAt are the provider's times; zero where it has none.
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Draft is a subscription to be created.
type Draft struct {
	Name    string
	URL     string
	Events  []string
	Enabled bool
	// Secret is the signing secret in the provider's text form. Empty asks the provider to
	// generate one, which Create then returns.
	Secret        string
	Authorization Authorization
	Headers       []Header
	Delivery      Delivery
	Options       Options
}

// Patch is a change of one subscription: nil fields stay as they are.
type Patch struct {
	Name    *string
	URL     *string
	Events  *[]string
	Enabled *bool
	// Secret replaces the signing secret. Where the provider can, the one before it signs
	// along for a while, so that receivers may change over.
	Secret *string
	// Authorization replaces it; the scheme None removes it.
	Authorization *Authorization
	Headers       *[]Header
	Delivery      *Delivery
	Options       *Options
	// Resume asks a provider that suspended the subscription to send again.
	Resume bool
}

// Empty tells whether the patch changes nothing.
func (p Patch) Empty() bool {
	return p.Name == nil && p.URL == nil && p.Events == nil && p.Enabled == nil && p.Secret == nil &&
		p.Authorization == nil && p.Headers == nil && p.Delivery == nil && p.Options == nil && !p.Resume
}

// Created is Create's answer.
type Created struct {
	Subscription
	// Secret is the signing secret in the provider's text form, where it was generated there;
	// some providers also echo a given one.
	Secret string
}

// Phase is the provider's side of "is it being delivered to".
type Phase string

// The phases.
const (
	Active    Phase = "Active"
	Suspended Phase = "Suspended"
)

// State is what the provider decided about a subscription.
type State struct {
	// Phase is Active or Suspended; empty counts as Active.
	Phase Phase
	// Reason is one CamelCase word why it is suspended, such as Gone.
	Reason string
	// Message explains the reason to a human.
	Message string
	// Since is when the phase began; zero where unknown.
	Since time.Time
}

// IsSuspended tells whether the provider has stopped delivering of its own accord.
func (s State) IsSuspended() bool { return s.Phase == Suspended }

// Scheme is a way to make the Authorization header of a delivery.
type Scheme string

// The schemes. The zero value counts as None.
const (
	SchemeNone   Scheme = "None"
	SchemeBasic  Scheme = "Basic"
	SchemeBearer Scheme = "Bearer"
)

// Authorization is what a delivery's Authorization header is made from.
type Authorization struct {
	Scheme Scheme
	// Username and Password belong to SchemeBasic.
	Username string
	Password string
	// Token belongs to SchemeBearer.
	Token string
}

// SchemeOrNone is the scheme, None where it is not set.
func (a Authorization) SchemeOrNone() Scheme {
	if a.Scheme == "" {
		return SchemeNone
	}

	return a.Scheme
}

// Header is one custom header of a delivery.
type Header struct {
	// Name is the header's name in canonical form, as net/http writes it.
	Name  string
	Value string
	// Sensitive values come from a Secret and are not read back.
	Sensitive bool
}

// Format is the shape and the signature of a delivery.
type Format string

// The formats. The zero value is the provider's own.
const (
	FormatCloudEvents Format = "CloudEvents"
	FormatVonage      Format = "Vonage"
	FormatDixa        Format = "Dixa"
	FormatBird        Format = "Bird"
)

// Ordering says what waits for what.
type Ordering string

// The orderings. The zero value counts as OrderingNone.
const (
	OrderingNone  Ordering = "None"
	OrderingByKey Ordering = "ByKey"
)

// Delivery says how deliveries of one subscription are made. Zero fields mean the
// provider's default.
type Delivery struct {
	Format Format
	// Timeout is how long one attempt may take, from dial to the response's end.
	Timeout time.Duration
	// MaxAttempts is how often one delivery is tried, the first attempt included.
	MaxAttempts int32
	// MaxInFlight is how many attempts may be under way at once.
	MaxInFlight int32
	// RateLimit is how many attempts may start in a second.
	RateLimit int32
	Ordering  Ordering
}

// Options are what only one vendor knows; at most one is set.
type Options struct {
	Bird *BirdOptions
	Dixa *DixaOptions
}

// BirdOptions are Bird's.
type BirdOptions struct {
	// EventFilters are ANDed; keys are unique.
	EventFilters []BirdEventFilter
	Template     string
}

// BirdEventFilter is one of Bird's filters, such as channelId=….
type BirdEventFilter struct {
	Key   string
	Value string
}

// DixaOptions are Dixa's.
type DixaOptions struct {
	// Filters by event family, such as Conversation.
	Filters map[string]DixaFilters
}

// DixaFilters combine conditions on one event family.
type DixaFilters struct {
	// Strategy is All or Any.
	Strategy   string
	Conditions []DixaCondition
}

// DixaCondition compares one field with a set of values.
type DixaCondition struct {
	// Operator is IsOneOf or IsNotOneOf.
	Operator string
	// Field is InitialChannel, OperationOrigin or QueueId.
	Field  string
	Values []string
}

// EventType is one entry of a provider's catalogue.
type EventType struct {
	Name        string
	Description string
	// Schema is a JSON Schema of the event's data; nil where unknown.
	Schema []byte
	// FirstSeen and LastSeen are when the provider saw such an event; zero where unknown.
	FirstSeen time.Time
	LastSeen  time.Time
}

// DeliveryStatus is the latest outcome of one event type's deliveries.
type DeliveryStatus struct {
	Event   string
	Success bool
	// ResponseCode is the endpoint's HTTP status; 0 where there was no response.
	ResponseCode int
	// ResponseText is the status's text, or why there was no response. It holds nothing secret.
	ResponseText string
	// Timestamp is when that attempt ended.
	Timestamp time.Time
}

// LogEntry is one attempt at a delivery.
type LogEntry struct {
	// DeliveryID identifies the delivery: the same over its retries.
	DeliveryID string
	// EventID and Event are the event's id and type.
	EventID string
	Event   string
	// Attempt counts from 1.
	Attempt      int32
	Timestamp    time.Time
	Success      bool
	ResponseCode int
	ResponseText string
	Latency      time.Duration
	// ResponseBody is the endpoint's answer, cut to what the provider keeps.
	ResponseBody []byte
	// Payload is the body that was sent; nil where the provider no longer has it.
	Payload []byte
	// Position is where the provider keeps the event, to ask for a resend by; 0 where it cannot.
	Position uint64
}

// LogQuery selects log entries.
type LogQuery struct {
	// Event restricts to one event type; empty means all.
	Event string
	// Limit is the most entries wanted; 0 means DefaultLogLimit.
	Limit int
}

// DefaultLogLimit is how many log entries a query without a limit gets; MaxLogLimit is
// the most it may ask for.
const (
	DefaultLogLimit = 25
	MaxLogLimit     = 1000
)

// Changes answers StatusesChangedSince.
type Changes struct {
	// IDs are the subscriptions with a status that changed, each once.
	IDs []string
	// Next is the cursor to ask with the next time.
	Next string
}

// Clone is a copy that shares no slice with s.
func (s Subscription) Clone() Subscription {
	s.Events = slices.Clone(s.Events)
	s.Headers = slices.Clone(s.Headers)
	s.Options = s.Options.Clone()

	return s
}

// Clone is a copy that shares nothing with o.
func (o Options) Clone() Options {
	var out Options
	if o.Bird != nil {
		bird := *o.Bird
		bird.EventFilters = slices.Clone(bird.EventFilters)
		out.Bird = &bird
	}
	if o.Dixa != nil {
		dixa := DixaOptions{Filters: make(map[string]DixaFilters, len(o.Dixa.Filters))}
		for family, filters := range o.Dixa.Filters {
			conditions := slices.Clone(filters.Conditions)
			for i := range conditions {
				conditions[i].Values = slices.Clone(conditions[i].Values)
			}
			filters.Conditions = conditions
			dixa.Filters[family] = filters
		}
		out.Dixa = &dixa
	}

	return out
}
