package dixa

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// DefaultBaseURL is the vendor's own API.
const DefaultBaseURL = "https://dev.dixa.io/v1"

// Paths of the API, below its base URL, which ends with its version.
const (
	pathWebhooks = "/webhooks"
	pathWebhook  = pathWebhooks + "/{id}"
	pathStatuses = pathWebhook + "/delivery-status"
	pathLogs     = pathStatuses + "/logs/{event}"
)

// versions are the paths that the API stands below: the same operations twice.
var versions = []string{"/v1", "/beta"}

// The vendor's messages.
const (
	messageInvalid  = "Invalid value in request"
	messageDecoding = "Decoding failure in request"
	messageNotFound = "The requested resource could not be found"
	messageInternal = "There was an internal server error while processing the request"
)

// headerDetail tells what the vendor's messages leave out: the field, the problem and the fix, in
// printable ASCII. A client that does not know it loses nothing.
const headerDetail = "Hookline-Detail"

// Limits of the wire.
const (
	// MaxRequestBytes bounds a request's body.
	MaxRequestBytes = 1 << 20
	// MaxResponseBytes bounds an answer's body, as a client reads it and the server writes logs.
	MaxResponseBytes = 4 << 20
	// LogDepth is how many log entries of one event type the server answers at most; the vendor does not say.
	LogDepth = 100
	// RequestsPerSecond and Burst are what the vendor allows one token.
	RequestsPerSecond = 10
	Burst             = 4
)

// openAPI is the API as an OpenAPI 3.1 document.
//
//go:embed openapi.yaml
var openAPI []byte

// OpenAPI is the API as an OpenAPI 3.1 document, in YAML.
func OpenAPI() []byte { return slices.Clone(openAPI) }

// authorizationHeader is the header that an authorization becomes.
const authorizationHeader = "Authorization"

// Types of authorization.
const (
	basicAuth = "BasicAuth"
	tokenAuth = "TokenAuth"
	noAuth    = "NoAuth"
)

// Types of delivery status.
const (
	deliveryDetail   = "DeliveryDetail"
	noRecentDelivery = "NoRecentDelivery"
)

// Fields is the body of a create and of a patch; absent ones have their default, or stay.
type Fields struct {
	Name          *string             `json:"name,omitempty"`
	URL           *string             `json:"url,omitempty"`
	Authorization *Authorization      `json:"authorization,omitempty"`
	CustomHeaders *map[string]string  `json:"customHeaders,omitempty"`
	Events        *[]string           `json:"events,omitempty"`
	Enabled       *bool               `json:"enabled,omitempty"`
	Filters       *map[string]Filters `json:"filters,omitempty"`
}

// Authorization is what a delivery's Authorization header is made from.
type Authorization struct {
	Username *string `json:"username,omitempty"`
	Password *string `json:"password,omitempty"`
	Value    *string `json:"value,omitempty"`
	Type     string  `json:"_type"`
}

// Filters combine conditions on one event family.
type Filters struct {
	Type       string      `json:"_type"`
	Strategy   string      `json:"strategy"`
	Conditions []Condition `json:"conditions"`
}

// Condition compares one field with a set of values.
type Condition struct {
	Type   string   `json:"_type"`
	Field  string   `json:"field"`
	Values []string `json:"values"`
}

// Subscription is one subscription as it is answered. Secrets are readable.
type Subscription struct {
	ID               string             `json:"id"`
	Name             string             `json:"name"`
	SubscribedEvents []string           `json:"subscribedEvents"`
	URL              string             `json:"url"`
	Headers          map[string]string  `json:"headers"`
	SecretKey        string             `json:"secretKey"`
	Enabled          bool               `json:"enabled"`
	CreatedAt        string             `json:"createdAt"`
	CreatedBy        string             `json:"createdBy"`
	UpdatedAt        string             `json:"updatedAt"`
	UpdatedBy        string             `json:"updatedBy"`
	Filters          map[string]Filters `json:"filters,omitempty"`
}

// DeliveryDetail is one attempt. Type is DeliveryDetail in a status, where NoRecentDelivery stands
// alone, and absent in a log.
type DeliveryDetail struct {
	Timestamp    string  `json:"deliveryTimestamp,omitempty"`
	Success      *bool   `json:"success,omitempty"`
	ResponseCode *int    `json:"responseCode,omitempty"`
	ResponseText *string `json:"responseText,omitempty"`
	Type         string  `json:"_type,omitempty"`
}

// EventStatus is the latest attempt of one event type.
type EventStatus struct {
	Event  string         `json:"event"`
	Status DeliveryDetail `json:"deliveryStatus"`
}

// LogEntry is one attempt with what was sent, JSON as a string.
type LogEntry struct {
	Detail  DeliveryDetail `json:"deliveryDetail"`
	Payload string         `json:"payload"`
}

// dataBody is every success's envelope, messageBody every refusal's body.
type (
	dataBody struct {
		Data any `json:"data"`
	}
	messageBody struct {
		Message string `json:"message"`
	}
)

func wireAuthorization(auth subscription.Authorization) *Authorization {
	switch auth.SchemeOrNone() {
	case subscription.SchemeBasic:
		return &Authorization{Type: basicAuth, Username: &auth.Username, Password: &auth.Password}
	case subscription.SchemeBearer:
		return &Authorization{Type: tokenAuth, Value: &auth.Token}
	default:
		return &Authorization{Type: noAuth}
	}
}

// port reads an authorization; each type has its own members, and no others.
func (a Authorization) port() (subscription.Authorization, error) {
	none := subscription.Authorization{}
	switch a.Type {
	case basicAuth:
		if a.Username == nil || a.Password == nil || a.Value != nil {
			return none, wrongField("authorization", "%s has username and password, and no value", basicAuth)
		}

		return subscription.Authorization{Scheme: subscription.SchemeBasic, Username: *a.Username, Password: *a.Password}, nil
	case tokenAuth:
		if a.Value == nil || a.Username != nil || a.Password != nil {
			return none, wrongField("authorization", "%s has value, and neither username nor password", tokenAuth)
		}

		return subscription.Authorization{Scheme: subscription.SchemeBearer, Token: *a.Value}, nil
	case noAuth:
		if a.Username != nil || a.Password != nil || a.Value != nil {
			return none, wrongField("authorization", "%s has no credentials: remove them", noAuth)
		}

		return subscription.Authorization{Scheme: subscription.SchemeNone}, nil
	default:
		return none, wrongField("authorization._type", "use %s, %s or %s", basicAuth, tokenAuth, noAuth)
	}
}

// headerValue is the Authorization header of deliveries; empty where there is none.
func headerValue(auth subscription.Authorization) string {
	switch auth.SchemeOrNone() {
	case subscription.SchemeBasic:
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(auth.Username+":"+auth.Password))
	case subscription.SchemeBearer:
		return "Bearer " + auth.Token
	default:
		return ""
	}
}

// readHeaderValue takes an Authorization header apart; one of another scheme is none.
func readHeaderValue(value string) subscription.Authorization {
	scheme, rest, _ := strings.Cut(value, " ")
	switch strings.ToLower(scheme) {
	case "basic":
		if text, err := base64.StdEncoding.DecodeString(rest); err == nil {
			username, password, _ := strings.Cut(string(text), ":")

			return subscription.Authorization{Scheme: subscription.SchemeBasic, Username: username, Password: password}
		}
	case "bearer":
		return subscription.Authorization{Scheme: subscription.SchemeBearer, Token: rest}
	}

	return subscription.Authorization{}
}

// wireHeaders are the headers of deliveries as one map: custom ones, and the Authorization header.
func wireHeaders(auth subscription.Authorization, headers []subscription.Header) map[string]string {
	out := make(map[string]string, len(headers)+1)
	for _, header := range headers {
		out[header.Name] = header.Value
	}
	if value := headerValue(auth); value != "" {
		out[authorizationHeader] = value
	}

	return out
}

// customHeaders are what a request sets headers by.
func customHeaders(headers []subscription.Header) *map[string]string {
	out := wireHeaders(subscription.Authorization{}, headers)

	return &out
}

// portHeaders sorts a map of headers by their canonical names.
func portHeaders(headers map[string]string) []subscription.Header {
	out := make([]subscription.Header, 0, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		out = append(out, subscription.Header{Name: textproto.CanonicalMIMEHeaderKey(name), Value: headers[name]})
	}
	slices.SortStableFunc(out, func(a, b subscription.Header) int { return strings.Compare(a.Name, b.Name) })

	return out
}

func wireFilters(options *subscription.DixaOptions) map[string]Filters {
	if options == nil {
		return nil
	}
	out := make(map[string]Filters, len(options.Filters))
	for family, filters := range options.Filters {
		conditions := make([]Condition, 0, len(filters.Conditions))
		for _, condition := range filters.Conditions {
			conditions = append(conditions, Condition{Type: condition.Operator, Field: condition.Field, Values: condition.Values})
		}
		out[family] = Filters{Type: combinedFilters, Strategy: filters.Strategy, Conditions: conditions}
	}

	return out
}

// portFilters are the options that filters make; none make nil.
func portFilters(filters map[string]Filters) *subscription.DixaOptions {
	if len(filters) == 0 {
		return nil
	}
	out := &subscription.DixaOptions{Filters: make(map[string]subscription.DixaFilters, len(filters))}
	for family, one := range filters {
		conditions := make([]subscription.DixaCondition, 0, len(one.Conditions))
		for _, condition := range one.Conditions {
			conditions = append(conditions, subscription.DixaCondition{
				Operator: condition.Type, Field: condition.Field, Values: condition.Values,
			})
		}
		out.Filters[family] = subscription.DixaFilters{Strategy: one.Strategy, Conditions: conditions}
	}

	return out
}

func wireDetail(at time.Time, success bool, code int, text string) DeliveryDetail {
	return DeliveryDetail{Timestamp: wireTime(at), Success: &success, ResponseCode: &code, ResponseText: &text}
}

// marshal writes a value as JSON, with no more escaped than JSON asks for.
func marshal(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}

	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
