package vonage

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	// maxRetryAfter is the longest that a Retry-After is honoured.
	maxRetryAfter = 24 * time.Hour
)

// explanation is what refusals are known to be explained by, and what the gateways in front of
// such APIs commonly answer with.
type explanation struct {
	Message          string              `json:"message"`
	ErrorDescription string              `json:"error_description"`
	Detail           string              `json:"detail"`
	Title            string              `json:"title"`
	Error            string              `json:"error"`
	Errors           map[string][]string `json:"errors"`
}

// explain is the vendor's own explanation of a refusal; empty where there is none.
func explain(body []byte) string {
	var found explanation
	// Members that fit are read though another does not; what is no JSON explains nothing.
	_ = json.Unmarshal(body, &found)
	var parts []string
	for _, field := range slices.Sorted(maps.Keys(found.Errors)) {
		parts = append(parts, field+": "+strings.Join(found.Errors[field], " "))
	}
	wrong := strings.Join(parts, "; ")
	for _, text := range []string{found.Message, found.ErrorDescription, wrong, found.Detail, found.Title, found.Error} {
		if text = strings.TrimSpace(text); text != "" {
			return text
		}
	}

	return ""
}

// portError makes the port's error of a refusal. A 400 is about what was sent only where
// something was, and a 404 about a subscription only where one was named and the API said so: a
// proxy's page, or an ingress's, does not say that a subscription is gone.
func (c *Client) portError(call call, got answer, secrets []string) error {
	explained := subscription.ScrubExplanation(explain(got.body), secrets)
	message := orStatus(explained, got.status)
	switch got.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return &subscription.AuthError{Forbidden: got.status == http.StatusForbidden, Message: message}
	case http.StatusTooManyRequests:
		return &subscription.RateLimitedError{After: retryAfter(got.header.Get("Retry-After"), c.clock.Now()), Message: explained}
	case http.StatusNotFound, http.StatusGone:
		switch {
		case call.id == nil:
		case explained == "":
			return fmt.Errorf("the API answered %d: %w", got.status, shapeError(`{"message"} with a status that denies a subscription`))
		default:
			return subscription.ErrNotFound
		}
	case http.StatusConflict:
		if call.body != nil {
			return &subscription.NameTakenError{Message: explained}
		}
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		if sent, ok := call.body.(fields); ok && sent.Name != nil && saysNameTaken(message) {
			return &subscription.NameTakenError{Message: explained}
		}
		if call.body != nil {
			return &subscription.InvalidError{Message: message}
		}
	}
	if got.status >= http.StatusMultipleChoices && got.status < http.StatusBadRequest {
		return fmt.Errorf("the URL answered %d, a redirect, which is not followed: give the URL it leads to", got.status)
	}

	return fmt.Errorf("the API answered %d: %s", got.status, message)
}

// saysNameTaken tells whether a refusal is that of a name: how the vendor answers that is
// documented nowhere, and 400 is as likely as 409.
func saysNameTaken(message string) bool {
	message = strings.ToLower(message)
	for _, taken := range []string{"unique", "already", "in use", "taken", "duplicate"} {
		if strings.Contains(message, "name") && strings.Contains(message, taken) {
			return true
		}
	}

	return false
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
