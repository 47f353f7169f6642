package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/dispatcher/ingest"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// routes are what the listener serves: nothing without authentication.
func (d *Dispatcher) routes() (http.Handler, error) {
	key, err := readTokenKey(d.cfg.DataDir, d.log)
	if err != nil {
		return nil, err
	}
	issuer, err := vonage.NewIssuer(vonage.IssuerConfig{Clients: d.vonageClient, Key: key, Clock: d.clock, Log: d.log})
	if err != nil {
		return nil, fmt.Errorf("building the Vonage API: %w", err)
	}
	administrator := ingest.Administrator(d.cfg.Authenticator)

	mux := http.NewServeMux()
	mux.Handle("/events", ingest.New(ingest.Config{
		Appender: d.journal, Authenticator: d.cfg.Authenticator, Types: d.ledger, Clock: d.clock, Log: d.log,
		Metrics: d.cfg.Metrics, EventsPerSecond: d.cfg.PublishRate,
	}))
	mux.Handle("/webhooks/", either{
		speaks: func(r *http.Request) bool {
			if vonage.Speaks(r) {
				return true
			}
			// A program for Vonage that forgot the header is told so by Vonage's API: nobody else has such a token.
			_, err := issuer.Authenticate(r)

			return err == nil
		},
		then: vonage.NewServer(vonage.ServerConfig{
			Authenticate: d.vonageAccess(issuer), API: d.Tenant, Catalogue: vonage.Catalogue(),
			AllowHTTP: d.cfg.VendorAnyEndpoint, Log: d.log,
		}),
		otherwise: native.NewServer(native.ServerConfig{
			Authenticate: administrator, API: d.Tenant, Operations: d.operations, Log: d.log,
		}),
	})
	mux.Handle(vonage.PathToken, issuer)

	dixaServer := dixa.NewServer(dixa.ServerConfig{
		Authenticate: administrator, API: d.Tenant, Secrets: d.secret, Credentials: d.credentials,
		Notification: d.cfg.dixa(), Log: d.log, Clock: d.clock,
	})
	for _, version := range []string{"/v1", "/beta"} {
		mux.Handle(version+"/webhooks", dixaServer)
		mux.Handle(version+"/webhooks/", dixaServer)
	}

	birdServer := bird.NewServer(bird.ServerConfig{
		Authenticate: administrator, API: d.Tenant, AllowAnyURL: d.cfg.VendorAnyEndpoint, Log: d.log,
	})
	mux.Handle("/workspaces/", birdServer)
	mux.Handle("/organizations/", birdServer)

	mux.Handle("/openapi/", documents{authenticate: d.known(issuer), log: d.log})

	return bodies{mux}, nil
}

// BodyTimeout is how long a body may take to arrive that its path does not read, such as one of a path that there
// is not: the server reads it before it answers. Paths that read their bodies bound that themselves.
const BodyTimeout = 10 * time.Second

// bodies bounds how long the bodies of requests may take.
type bodies struct{ next http.Handler }

// ServeHTTP implements http.Handler.
func (b bodies) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		// A connection without deadlines is none that could be slow.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(BodyTimeout))
	}
	b.next.ServeHTTP(w, r)
}

// either serves what speaks one API, and otherwise another at the same paths: the headers that tell them apart
// are in Vary.
type either struct {
	speaks          func(*http.Request) bool
	then, otherwise http.Handler
}

// ServeHTTP implements http.Handler.
func (e either) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept, Authorization")
	if e.speaks(r) {
		e.then.ServeHTTP(w, r)

		return
	}
	e.otherwise.ServeHTTP(w, r)
}

// vonageAccess tells what a request to the Vonage API may do: by a token that the issuer issued,
// or by one of the tenant's own.
func (d *Dispatcher) vonageAccess(issuer *vonage.Issuer) func(*http.Request) (vonage.Access, error) {
	return func(r *http.Request) (vonage.Access, error) {
		access, err := issuer.Authenticate(r)
		if _, refused := errors.AsType[*subscription.AuthError](err); !refused {
			return access, err //nolint:wrapcheck // The server tells its own package's errors.
		}
		principal, err := d.cfg.Authenticator.Authenticate(r)
		if err != nil {
			return vonage.Access{}, err //nolint:wrapcheck // The contract promises the authenticator's own error.
		}

		return accessOf(principal), nil
	}
}

// accessOf is what a principal may do at the Vonage API, which has no right to publish.
func accessOf(principal ingest.Principal) vonage.Access {
	access := vonage.Access{Tenant: principal.Tenant}
	if principal.CanAdminister {
		access.Scopes = []vonage.Scope{vonage.ScopeRead, vonage.ScopeWrite}
	}

	return access
}

// vonageClient tells what an OAuth 2.0 client may do: its id is a tenant, and its secret one of
// the tenant's tokens.
func (d *Dispatcher) vonageClient(ctx context.Context, id, secret string) (vonage.Access, error) {
	r := (&http.Request{Header: http.Header{"Authorization": {"Bearer " + secret}}}).WithContext(ctx)
	principal, err := d.cfg.Authenticator.Authenticate(r)
	if err != nil {
		return vonage.Access{}, err //nolint:wrapcheck // As above.
	}
	if principal.Tenant != id {
		return vonage.Access{}, &subscription.AuthError{Message: "the token is not one of this tenant"}
	}

	return accessOf(principal), nil
}

// current is a tenant's subscription with its secret values, subscription.ErrNotFound where
// there is none.
func (d *Dispatcher) current(tenant, id string) (*registry.Subscription, error) {
	s, ok := d.registry.Current(id)
	if !ok || s.Tenant != tenant {
		return nil, subscription.ErrNotFound
	}

	return s, nil
}

// secret is a subscription's current signing secret.
func (d *Dispatcher) secret(_ context.Context, tenant, id string) (string, error) {
	s, err := d.current(tenant, id)
	if err != nil {
		return "", err
	}

	return s.Secrets[0].Text, nil
}

// credentials are a subscription's authorization and headers with their secret values.
func (d *Dispatcher) credentials(
	_ context.Context, tenant, id string,
) (subscription.Authorization, []subscription.Header, error) {
	s, err := d.current(tenant, id)
	if err != nil {
		return subscription.Authorization{}, nil, err
	}

	return s.Authorization, s.Headers, nil
}
