package dispatcher

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// documentsPath is below which the OpenAPI documents stand, each as the dialect's name with ".yaml".
const documentsPath = "/openapi/"

// documents serves the OpenAPI documents of all dialects to whoever has a token of any kind.
type documents struct {
	// authenticate answers *subscription.AuthError where a request has no token that is known; any
	// other error means that it cannot be told now.
	authenticate func(*http.Request) error
	log          *slog.Logger
}

// document is a dialect's document; nil where there is no such dialect.
func document(name string) []byte {
	switch name {
	case "native.yaml":
		return native.OpenAPI()
	case "vonage.yaml":
		return vonage.OpenAPI()
	case "dixa.yaml":
		return dixa.OpenAPI()
	case "bird.yaml":
		return bird.OpenAPI()
	default:
		return nil
	}
}

// ServeHTTP implements http.Handler.
func (d documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")

	err := d.authenticate(r)
	if refused, ok := errors.AsType[*subscription.AuthError](err); ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="hookline"`)
		d.refuse(w, http.StatusUnauthorized, refused.Message)

		return
	}
	if err != nil {
		d.log.Error("Could not answer a request", "method", r.Method, "path", r.URL.Path, "error", err)
		w.Header().Set("Retry-After", "1")
		d.refuse(w, http.StatusServiceUnavailable, "it cannot be told now whose token it is: try again")

		return
	}

	text := document(strings.TrimPrefix(r.URL.Path, documentsPath))
	switch {
	case text == nil:
		d.refuse(w, http.StatusNotFound, "there is no such document: use native.yaml, vonage.yaml, dixa.yaml or bird.yaml")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		d.refuse(w, http.StatusMethodNotAllowed, "this path has the methods GET and HEAD")
	default:
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(text) // What the connection makes of it is the client's business.
	}
}

func (d documents) refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(native.Error{Message: message}); err != nil {
		d.log.Debug("Could not write an answer", "error", err)
	}
}

// known tells whether a request has a token of any kind: a tenant's own, or one that the issuer issued.
func (d *Dispatcher) known(issuer *vonage.Issuer) func(*http.Request) error {
	return func(r *http.Request) error {
		if _, err := issuer.Authenticate(r); err == nil {
			return nil
		}
		_, err := d.cfg.Authenticator.Authenticate(r)

		return err //nolint:wrapcheck // The contract promises the authenticator's own error.
	}
}
