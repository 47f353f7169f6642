package bird

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"regexp"
	"slices"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// DefaultBaseURL is the vendor's own API.
const DefaultBaseURL = "https://api.bird.com"

// Paths of the API, below /workspaces/{workspaceId}.
const (
	pathSubscriptions = "/webhook-subscriptions"
	pathSubscription  = pathSubscriptions + "/{id}"
	pathLogs          = pathSubscription + "/logs"
	pathDetails       = pathLogs + "/details"
	pathAvailable     = "/available-webhooks"
)

// families are the paths that a workspace stands at: the current one, and that of the older documents.
var families = []string{"/workspaces/{workspace}", "/organizations/{organization}/workspaces/{workspace}"}

// Query parameters.
const (
	paramLimit     = "limit"
	paramPageToken = "pageToken"
	paramService   = "service"
	paramExecution = "executionStatus"
	paramRequestID = "requestId"
	// paramFilter begins the filters of a list. The vendor's document calls them SearchFilters, and its example
	// writes SearchFilter[service]: both are taken.
	paramFilter         = "SearchFilter"
	paramFilterService  = paramFilter + "[" + paramService + "]"
	paramFiltersService = paramFilter + "s[" + paramService + "]"
)

// Codes of refusals. InvalidPayload is the vendor's; the others it does not tell.
const (
	codePayload      = "InvalidPayload"
	codeRequest      = "InvalidRequest"
	codeUnauthorized = "Unauthorized"
	codeForbidden    = "Forbidden"
	codeNotFound     = "NotFound"
	codeMethod       = "MethodNotAllowed"
	codeTooLarge     = "PayloadTooLarge"
	codeMediaType    = "UnsupportedMediaType"
	codeTimeout      = "RequestTimeout"
	codeTooMany      = "TooManyRequests"
	codeInternal     = "InternalError"

	messagePayload = "One or more fields provided in the request body are malformed"
)

// Limits of the wire.
const (
	// MaxRequestBytes bounds a request's body.
	MaxRequestBytes = 1 << 20
	// MaxResponseBytes bounds an answer's body, as a client reads it and the server writes details of logs.
	MaxResponseBytes = 4 << 20
	// DefaultPageSize and MaxPageSize are the results of one page.
	DefaultPageSize = 10
	MaxPageSize     = 100
	// MaxPageToken bounds a page token, in bytes.
	MaxPageToken = 8000
	// MaxMatching is how many subscriptions one event with one combination of filters may have.
	MaxMatching = 5
	// MaxProblems bounds how many texts a refusal's details have, so that a body that is wrong all over is not
	// answered with one many times its size.
	MaxProblems = 100
	// MaxFilters bounds the filters of one subscription, MaxFilterKey, MaxFilterValue and MaxTemplate the texts,
	// in characters; the vendor names no bounds.
	MaxFilters     = 10
	MaxFilterKey   = 128
	MaxFilterValue = 256
	MaxTemplate    = 128
)

// openAPI is the API as an OpenAPI 3.1 document.
//
//go:embed openapi.yaml
var openAPI []byte

// OpenAPI is the API as an OpenAPI 3.1 document, in YAML.
func OpenAPI() []byte { return slices.Clone(openAPI) }

// patternURL is the vendor's own: https, a host of a name with a dot, no port, no query without a path.
const patternURL = `^https://([a-zA-Z0-9-]+\.)+[a-zA-Z]{2,}(/[^\s]*)?$`

var allowedURL = regexp.MustCompile(patternURL)

// Values of status.
const (
	statusActive   = "active"
	statusInactive = "inactive"
)

// Values of executionStatus. The vendor shows the first alone.
const (
	executionSucceeded = "succeeded"
	executionFailed    = "failed"
)

// Fields is the body of a create and of a patch, as a client writes it; absent ones have their default, or stay.
type Fields struct {
	Service      string  `json:"service,omitempty"`
	Event        string  `json:"event,omitempty"`
	URL          *string `json:"url,omitempty"`
	SigningKey   *string `json:"signingKey,omitempty"`
	Status       string  `json:"status,omitempty"`
	EventFilters any     `json:"eventFilters,omitempty"`
	Template     *string `json:"template,omitempty"`
}

// EventFilter is one condition on an event.
type EventFilter struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Subscription is one subscription as it is answered. SigningKey is in the answer to the request that set it
// alone. StatusReason explains Status to a human; how the vendor calls it is not shown.
type Subscription struct {
	ID             string        `json:"id"`
	OrganizationID string        `json:"organizationId"`
	WorkspaceID    string        `json:"workspaceId"`
	Service        string        `json:"service"`
	Event          string        `json:"event"`
	EventFilters   []EventFilter `json:"eventFilters"`
	Template       string        `json:"template,omitempty"`
	URL            string        `json:"url"`
	SigningKey     string        `json:"signingKey,omitempty"`
	Status         string        `json:"status"`
	StatusReason   string        `json:"statusReason,omitempty"`
	CreatedAt      string        `json:"createdAt"`
	UpdatedAt      string        `json:"updatedAt"`
}

// AvailableWebhooks are the events of one service.
type AvailableWebhooks struct {
	Service string           `json:"service"`
	Events  []AvailableEvent `json:"events"`
}

// AvailableEvent is one event to subscribe to, with the keys it can be filtered by.
type AvailableEvent struct {
	Name       string   `json:"name"`
	FilterKeys []string `json:"filterKeys"`
}

// LogEntry is one delivery with all its attempts.
type LogEntry struct {
	RequestID       string `json:"requestId"`
	AttemptCount    int32  `json:"attemptCount"`
	HTTPStatusCode  int    `json:"httpStatusCode"`
	ExecutionStatus string `json:"executionStatus"`
	CreatedAt       string `json:"createdAt"`
}

// Attempt is one attempt at a delivery. The vendor says that there is one for each, with the bodies of request
// and response, and does not show their names.
type Attempt struct {
	RequestID       string `json:"requestId"`
	Attempt         int32  `json:"attempt"`
	HTTPStatusCode  int    `json:"httpStatusCode"`
	ExecutionStatus string `json:"executionStatus"`
	CreatedAt       string `json:"createdAt"`
	RequestBody     string `json:"requestBody,omitempty"`
	ResponseBody    string `json:"responseBody,omitempty"`
	// Error is why there was no response.
	Error string `json:"error,omitempty"`
}

// page is one page of a list; an empty token says that it is the last.
type page[R any] struct {
	Results       []R    `json:"results"`
	NextPageToken string `json:"nextPageToken"`
}

// results is a list without pages.
type results[R any] struct {
	Results []R `json:"results"`
}

// errorBody is every refusal's body. Details tell what is wrong by JSON path, such as .eventFilters[0].key.
type errorBody struct {
	Code    string              `json:"code"`
	Message string              `json:"message"`
	Details map[string][]string `json:"details,omitempty"`
}

func wireStatus(enabled bool) string {
	if enabled {
		return statusActive
	}

	return statusInactive
}

func executionStatus(success bool) string {
	if success {
		return executionSucceeded
	}

	return executionFailed
}

// wireFilters are never nil: the vendor's answers have an array.
func wireFilters(options *subscription.BirdOptions) []EventFilter {
	out := []EventFilter{}
	if options == nil {
		return out
	}
	for _, filter := range options.EventFilters {
		out = append(out, EventFilter(filter))
	}

	return out
}

// portOptions are the options that filters and a template make; none make nil.
func portOptions(filters []EventFilter, template string) *subscription.BirdOptions {
	if len(filters) == 0 && template == "" {
		return nil
	}
	out := &subscription.BirdOptions{Template: template}
	for _, filter := range filters {
		out.EventFilters = append(out.EventFilters, subscription.BirdEventFilter(filter))
	}

	return out
}

// wireTime writes a time as the vendor does.
func wireTime(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

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
