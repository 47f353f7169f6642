package subscription

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrNotFound answers that the account has no such subscription.
var ErrNotFound = errors.New("no such subscription")

// ErrNameTaken answers that another subscription of the account has the name.
var ErrNameTaken = errors.New("another subscription has this name")

// NameTakenError is ErrNameTaken with the provider's own explanation.
type NameTakenError struct {
	// Message holds nothing secret; empty where the provider explained nothing.
	Message string
}

// Error implements error.
func (e *NameTakenError) Error() string {
	if e.Message == "" {
		return ErrNameTaken.Error()
	}

	return ErrNameTaken.Error() + ": " + e.Message
}

// Unwrap makes it an ErrNameTaken.
func (e *NameTakenError) Unwrap() error { return ErrNameTaken }

// InvalidError answers that the provider refuses a value.
type InvalidError struct {
	// Field is the field as the resource's spec spells it, empty where the provider did not say.
	Field string
	// Message says what is wrong and how to mend it. It holds nothing secret.
	Message string
}

// Error implements error.
func (e *InvalidError) Error() string {
	if e.Field == "" {
		return e.Message
	}

	return e.Field + ": " + e.Message
}

// UnsupportedError answers that the provider cannot honour fields or an operation.
type UnsupportedError struct {
	// Provider is Capabilities.Provider.
	Provider string
	// What are the fields or operations, such as "delivery.ordering".
	What []string
}

// Error implements error.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("provider %s does not support %s", e.Provider, strings.Join(e.What, ", "))
}

// AuthError answers that the provider does not accept the credentials (401) or does not
// allow them what was asked (403).
type AuthError struct {
	// Forbidden: the credentials are good but not enough.
	Forbidden bool
	// Message is the provider's explanation, with nothing secret in it.
	Message string
}

// Error implements error.
func (e *AuthError) Error() string {
	if e.Forbidden {
		return "the credentials do not allow this: " + e.Message
	}

	return "the credentials were not accepted: " + e.Message
}

// RateLimitedError answers that there were too many requests.
type RateLimitedError struct {
	// After is how long to wait; 0 where the provider did not say.
	After time.Duration
	// Message is the provider's explanation, with nothing secret in it; empty where it explained nothing.
	Message string
}

// Error implements error.
func (e *RateLimitedError) Error() string {
	text := "too many requests"
	if e.After > 0 {
		text += fmt.Sprintf(", retry after %s", e.After)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}

	return text
}

// ShapeError answers that the provider's response is not of the shape that its API documents: a proxy's page, or
// another API. It is transient.
type ShapeError struct {
	// Expected says what the response should have been, such as {"subscriptions":[…]}. It holds nothing of the response.
	Expected string
}

// Error implements error.
func (e *ShapeError) Error() string {
	return fmt.Sprintf("the answer is not of the documented shape, expected %s: is the URL right?", e.Expected)
}
