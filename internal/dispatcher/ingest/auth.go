package ingest

import (
	"net/http"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Principal is who a request speaks for.
type Principal struct {
	// Tenant owns the events it publishes and the subscriptions it administers.
	Tenant string
	// CanPublish allows POST /events.
	CanPublish bool
	// CanAdminister allows the subscription API.
	CanAdminister bool
}

// Authenticator tells who a request speaks for. It is safe for concurrent use.
type Authenticator interface {
	// Authenticate answers *subscription.AuthError where the request's credentials are missing or
	// not accepted; any other error means that it could not be told now. No error holds a token.
	Authenticate(r *http.Request) (Principal, error)
}

// Administrator is the Authenticator for a server of the subscription API: it answers the
// tenant of a request that may administer, *subscription.AuthError with Forbidden where the
// credentials are good but not enough, and the authenticator's own errors.
func Administrator(authenticator Authenticator) func(*http.Request) (string, error) {
	return func(r *http.Request) (string, error) {
		principal, err := authenticator.Authenticate(r)
		if err != nil {
			return "", err //nolint:wrapcheck // The contract promises the authenticator's own error.
		}
		if !principal.CanAdminister {
			return "", &subscription.AuthError{
				Forbidden: true,
				Message:   "this token may not administer subscriptions: use one of the tenant's .admin file",
			}
		}

		return principal.Tenant, nil
	}
}
