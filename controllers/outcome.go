package controllers

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// outcomeKind says what a reconcile that did not come to its end waits for.
type outcomeKind string

const (
	outcomeSynced      outcomeKind = "synced"
	outcomeStalled     outcomeKind = "stalled"
	outcomeWaiting     outcomeKind = "waiting"
	outcomeRateLimited outcomeKind = "rate_limited"
	outcomeTransient   outcomeKind = "error"
	outcomeConflict    outcomeKind = "conflict"
	outcomePaused      outcomeKind = "paused"
	outcomeDeleted     outcomeKind = "deleted"
)

// conflictDelay is how soon a reconcile is repeated that worked on an object somebody else had changed.
const conflictDelay = 100 * time.Millisecond

// outcome ends a reconcile before its last phase. It is an error so that phases return it as one.
type outcome struct {
	kind outcomeKind
	// reason and message are those of Ready, and of Stalled or Reconciling.
	reason  string
	message string
	// after is when to try again; 0: when something that is watched changes.
	after time.Duration
	// cause is the error behind it, for the log; nil where there is none.
	cause error
	// again repeats the reconcile at once: what was learnt changes the next.
	again bool
	// quiet leaves the conditions of a resource alone that was as asked for: nothing says that it no longer is.
	quiet bool
}

// quietly makes the outcome quiet.
func (o *outcome) quietly() *outcome {
	o.quiet = true

	return o
}

// because keeps the error behind the outcome for the log.
func (o *outcome) because(err error) *outcome {
	o.cause = err

	return o
}

// Error implements error.
func (o *outcome) Error() string { return o.reason + ": " + o.message }

// Unwrap implements the errors package's interface.
func (o *outcome) Unwrap() error { return o.cause }

// terminal stalls the resource: nothing happens until somebody changes something.
func terminal(reason, format string, args ...any) *outcome {
	return &outcome{kind: outcomeStalled, reason: reason, message: fmt.Sprintf(format, args...)}
}

// waiting waits for something else. after 0 means that its coming is watched.
func waiting(after time.Duration, reason, format string, args ...any) *outcome {
	return &outcome{kind: outcomeWaiting, reason: reason, message: fmt.Sprintf(format, args...), after: after}
}

// rateLimited waits until the provider may be asked again.
func rateLimited(after time.Duration, explained string) *outcome {
	return &outcome{
		kind: outcomeRateLimited, reason: v1alpha1.ReasonRateLimited, after: after,
		// How long to wait, which such an explanation tells too, is another each time.
		message: "The provider asked to slow down and is asked again when its time has passed" +
			saying(numbers.ReplaceAllString(explained, "(number)")),
	}
}

// numbers are those that stand in a text.
var numbers = regexp.MustCompile(`\d+(\.\d+)?`)

// saying is a provider's own explanation as a sentence after another; empty where there is none.
func saying(explained string) string {
	if explained = scrub(explained); explained == "" {
		return ""
	}

	return ". The provider says: " + explained
}

// transient is tried again with growing delays. Its message is the cause alone: what was being done when it
// struck changes from one try to the next.
func transient(err error) *outcome {
	return &outcome{
		kind: outcomeTransient, reason: v1alpha1.ReasonRetrying, cause: err,
		message: "Trying again: " + scrub(root(err).Error()),
	}
}

// root is the error at the beginning of a chain.
func root(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}

		err = next
	}
}

// outcomeOf classifies an error. What is not known is transient.
func outcomeOf(err error) *outcome {
	var (
		out         *outcome
		invalid     *subscription.InvalidError
		unsupported *subscription.UnsupportedError
		refused     *subscription.AuthError
		limited     *subscription.RateLimitedError
	)

	switch {
	case errors.As(err, &out):
		return out
	case apierrors.IsConflict(err):
		return &outcome{kind: outcomeConflict, after: conflictDelay, cause: err}
	case errors.As(err, &unsupported):
		return terminal(v1alpha1.ReasonUnsupportedByProvider,
			"The provider does not support %s: remove it from the spec, or choose another provider", specFields(unsupported.What))
	case errors.As(err, &invalid) && invalid.Field == string(subscription.FieldSecret):
		return terminal(v1alpha1.ReasonSecretInvalid, "The signing secret cannot be used: %s", scrub(invalid.Message))
	case errors.As(err, &invalid):
		return terminal(v1alpha1.ReasonRejected, "The provider refused the subscription: %s", scrub(invalid.Error()))
	case errors.As(err, &refused):
		return waiting(0, v1alpha1.ReasonProviderNotReady, "The provider did not accept its credentials, see the provider's conditions")
	case errors.As(err, &limited):
		return rateLimited(limited.After, limited.Message)
	case errors.Is(err, provider.ErrSecretNotFound):
		return waiting(0, v1alpha1.ReasonSecretNotFound, "%s", scrub(err.Error()))
	case errors.Is(err, provider.ErrSecretInvalid):
		return terminal(v1alpha1.ReasonSecretInvalid, "%s", scrub(err.Error()))
	case errors.Is(err, provider.ErrNoEmbedded), errors.Is(err, provider.ErrInvalid):
		return terminal(v1alpha1.ReasonInvalidSpec, "%s", scrub(err.Error()))
	case errors.Is(err, context.DeadlineExceeded):
		out := transient(err)
		out.message = "Trying again: the provider did not answer in time"

		return out
	default:
		return transient(err)
	}
}
