package bird

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// call is one request.
type call struct {
	method string
	path   string
	// id fills {id} in the path, where it has it.
	id *string
	// plain is a path that the documents show below /workspaces alone.
	plain bool
	query url.Values
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
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	key, err := c.cfg.AccessKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("getting an access key: %w", err)
	}
	request, err := c.request(ctx, call, key)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		// The error names the URL, and with it what stands in its query.
		if told, ok := errors.AsType[*url.Error](err); ok {
			err = &url.Error{Op: told.Op, URL: request.URL.Path, Err: told.Err}
		}

		return nil, fmt.Errorf("asking Bird: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxResponseBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading Bird's answer: %w", err)
	}
	if len(body) > MaxResponseBytes {
		return nil, fmt.Errorf("reading Bird's answer: it has more than %d bytes", MaxResponseBytes)
	}
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusMultipleChoices {
		return nil, c.portError(call, response, body, append(slices.Clone(call.secrets), key))
	}

	return body, nil
}

func (c *Client) request(ctx context.Context, call call, key string) (*http.Request, error) {
	path := "/workspaces/" + url.PathEscape(c.cfg.WorkspaceID) + call.path
	if c.cfg.OrganizationID != "" && !call.plain {
		path = "/organizations/" + url.PathEscape(c.cfg.OrganizationID) + path
	}
	if call.id != nil {
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
	request.Header.Set("Accept", jsonMediaType)
	request.Header.Set("Authorization", "AccessKey "+key)
	if call.body != nil {
		request.Header.Set("Content-Type", jsonMediaType)
	}

	return request, nil
}

// told is what a refusal says.
type told struct {
	text  string
	field string
	// documented: it is the vendor's body, and not a proxy's page.
	documented bool
}

// portError makes the port's error of a refusal. A 4xx is about what was sent only where something was, and a
// 404 about a subscription only where one was named and Bird said so: an ingress's 404 does not say that a
// subscription is gone.
func (c *Client) portError(call call, response *http.Response, body []byte, secrets []string) error {
	said := explanation(body)
	explained := subscription.ScrubExplanation(said.text, secrets)
	message := explained
	if message == "" {
		message = http.StatusText(response.StatusCode)
	}
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return &subscription.AuthError{Forbidden: status == http.StatusForbidden, Message: message}
	case status == http.StatusTooManyRequests:
		return &subscription.RateLimitedError{
			After: retryAfter(response.Header.Get("Retry-After"), c.cfg.Clock.Now()), Message: stable(explained),
		}
	case status == http.StatusNotFound && call.id != nil && said.documented:
		return subscription.ErrNotFound
	case call.body != nil && said.documented && slices.Contains(refusedBody, status):
		return &subscription.InvalidError{Field: said.field, Message: stable(message)}
	case call.query.Has(paramService) && said.documented && slices.Contains(refusedService, status):
		return &serviceError{message: fmt.Sprintf("Bird answered %d: %s", status, stable(message))}
	case status >= http.StatusMultipleChoices && status < http.StatusBadRequest:
		return fmt.Errorf("the URL answered %d, a redirect, which is not followed: give the URL it leads to", status)
	default:
		return fmt.Errorf("Bird answered %d: %s", status, stable(message))
	}
}

// refusedBody are the statuses by which a body is refused, refusedService those by which a service may be.
var (
	refusedBody = []int{
		http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity,
	}
	refusedService = []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity}
)

// serviceError answers that Bird has no such service.
type serviceError struct{ message string }

// Error implements error.
func (e *serviceError) Error() string { return e.message }

// explanation reads a refusal: code, message and details in the order of their paths. The field is the one that
// all details are about.
func explanation(body []byte) told {
	var answer struct {
		Code    string                     `json:"code"`
		Message string                     `json:"message"`
		Details map[string]json.RawMessage `json:"details"`
	}
	// A code or details of another kind leave the rest as it is.
	_ = json.Unmarshal(body, &answer)
	if answer.Code == "" && answer.Message == "" {
		return told{}
	}
	out := told{text: strings.Trim(answer.Code+": "+answer.Message, ": "), documented: true}
	var details []string
	for i, path := range slices.Sorted(maps.Keys(answer.Details)) {
		details = append(details, strings.Trim(path+": "+strings.Join(texts(answer.Details[path]), ", "), ": "))
		field := specField(path)
		if i > 0 && field != out.field {
			field = ""
		}
		out.field = field
	}
	if len(details) > 0 {
		out.text += " (" + strings.Join(details, "; ") + ")"
	}

	return out
}

// texts are a detail's: an array of them, or one.
func texts(value json.RawMessage) []string {
	var many []string
	if json.Unmarshal(value, &many) == nil {
		return many
	}
	var one string
	if json.Unmarshal(value, &one) == nil {
		return []string{one}
	}

	return nil
}

// specField is a JSON path as the resource's spec spells the field; empty where it has none.
func specField(path string) string {
	path = strings.TrimPrefix(path, ".body")
	if strings.HasPrefix(path, ".service") {
		return string(subscription.FieldEvents)
	}
	for _, one := range paths {
		if rest, ok := strings.CutPrefix(path, one.path); ok && (rest == "" || strings.ContainsAny(rest[:1], ".[")) {
			return one.field + rest
		}
	}

	return ""
}

// What differs from answer to answer.
var (
	anyID   = regexp.MustCompile(`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)
	anyTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`)
)

// stable takes ids and times out of a message, so that the same refusal reads the same each time.
func stable(message string) string {
	return anyTime.ReplaceAllString(anyID.ReplaceAllString(message, "(id)"), "(time)")
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
