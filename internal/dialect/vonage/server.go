package vonage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Limits of the server.
const (
	// RequestTimeout bounds one request.
	RequestTimeout = 30 * time.Second
	// BodyTimeout bounds how long a request's body may take to arrive.
	BodyTimeout = 10 * time.Second
	// MaxRequests is how many requests may be under way at once.
	MaxRequests = 128
	// busyRetryAfter is asked for with 503.
	busyRetryAfter = time.Second
)

// cacheControl is the vendor's on every answer.
const cacheControl = "max-age=5, must-revalidate, private"

// Access is what a request's access token allows.
type Access struct {
	// Tenant owns the subscriptions.
	Tenant string
	// Scopes are the token's.
	Scopes []Scope
	// ClientScopes are what the token's client could have asked for; nil stands for Scopes. The
	// vendor answers 401 where only the token lacks a scope, and 403 where its client does.
	ClientScopes []Scope
}

// ServerConfig is what a server is made of. Authenticate and API must be set.
type ServerConfig struct {
	// Authenticate tells what a request may do. It answers *subscription.AuthError where its
	// credentials are missing or not accepted; any other error means that it cannot be told now.
	Authenticate func(*http.Request) (Access, error)
	// API is the port bound to a tenant. It honours subscription.FormatVonage.
	API func(tenant string) subscription.API
	// Catalogue are event types to list besides those that the API knows: see Catalogue.
	Catalogue []subscription.EventType
	// AllowHTTP takes http endpoints too, as the vendor's beta did; its general availability takes
	// https alone.
	AllowHTTP bool
	// Log is nil for none.
	Log *slog.Logger
}

// server serves the API.
type server struct {
	cfg   ServerConfig
	caps  subscription.Capabilities
	mux   *http.ServeMux
	slots *semaphore.Weighted
}

// request is one request of a tenant.
type request struct {
	*http.Request

	api subscription.API
	// readBy sets the connection's read deadline.
	readBy func(time.Time) error
}

// endpoint answers one request with a value for the wire.
type endpoint struct {
	scope Scope
	serve func(request) (any, error)
}

// routes are all the API has: methods by path.
func (s *server) routes() map[string]map[string]endpoint {
	return map[string]map[string]endpoint{
		pathSubscriptions: {
			http.MethodGet: {ScopeRead, s.list}, http.MethodPost: {ScopeWrite, s.create},
		},
		pathSubscription: {
			http.MethodGet: {ScopeRead, s.get}, http.MethodPatch: {ScopeWrite, s.update}, http.MethodDelete: {ScopeWrite, s.remove},
		},
		pathEventTypes: {http.MethodGet: {ScopeRead, s.eventTypes}},
	}
}

// NewServer serves the Webhooks API at /webhooks/. It shows the subscriptions whose format is
// Vonage's alone.
func NewServer(cfg ServerConfig) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &server{cfg: cfg, caps: serverCapabilities(cfg.AllowHTTP), mux: http.NewServeMux(), slots: semaphore.NewWeighted(MaxRequests)}
	for path, methods := range s.routes() {
		s.route(path, methods)
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, &refusal{status: http.StatusNotFound, message: "The API has no such path"})
	})

	return s
}

// serverCapabilities are what the server takes: the API's, the format that it sets itself, and
// sets by wildcard, which the vendor has without saying how they are written: by Hookline's
// own grammar.
func serverCapabilities(allowHTTP bool) subscription.Capabilities {
	caps := capabilities(allowHTTP)
	caps.Wildcards = true
	caps.Fields[subscription.FieldFormat] = true

	return caps
}

// Speaks tells whether a request means this API rather than another at the same paths: its
// Accept header names a version of it, be it one that there is not, or it without a version.
func Speaks(r *http.Request) bool {
	return slices.ContainsFunc(acceptable(r.Header), func(mediaType string) bool {
		version, ok := strings.CutPrefix(mediaType, mediaTypeTree)

		return ok && (version == "" || version[0] == '.' || version[0] == '+')
	})
}

// acceptable are the media types that a request takes.
func acceptable(header http.Header) []string {
	var types []string
	for _, line := range header.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			mediaType, params, err := mime.ParseMediaType(part)
			if err != nil {
				continue
			}
			if weight, err := strconv.ParseFloat(params["q"], 64); err == nil && weight <= 0 {
				continue
			}
			types = append(types, mediaType)
		}
	}

	return types
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.slots.TryAcquire(1) {
		s.refuse(w, r, &refusal{status: http.StatusServiceUnavailable, message: "Too many requests are under way: try again"})

		return
	}
	defer s.slots.Release(1)
	s.mux.ServeHTTP(w, r)
}

// route serves the methods of one path.
func (s *server) route(path string, methods map[string]endpoint) {
	allow := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		access, err := s.cfg.Authenticate(r)
		if err != nil {
			s.refuse(w, r, err)

			return
		}
		if !slices.Contains(acceptable(r.Header), MediaType) {
			s.refuse(w, r, malformed("Invalid api-version! Valid values: '%s'", MediaType))

			return
		}
		endpoint, ok := methods[r.Method]
		if !ok {
			s.refuse(w, r, &refusal{status: http.StatusMethodNotAllowed, allow: allow, message: "The path has the methods " + allow})

			return
		}
		if err := access.require(endpoint.scope); err != nil {
			s.refuse(w, r, err)

			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), RequestTimeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, MaxRequestBytes)
		value, err := endpoint.serve(request{
			Request: r.WithContext(ctx), api: s.cfg.API(access.Tenant), readBy: http.NewResponseController(w).SetReadDeadline,
		})
		if err != nil {
			s.refuse(w, r, err)

			return
		}
		s.write(w, http.StatusOK, value)
	})
}

// require refuses a request without a scope.
func (a Access) require(scope Scope) error {
	switch {
	case slices.Contains(a.Scopes, scope):
		return nil
	case slices.Contains(a.ClientScopes, scope):
		return &refusal{status: http.StatusUnauthorized, message: "Unauthorized"}
	default:
		return &refusal{status: http.StatusForbidden, message: "The scope " + string(scope) + " is required"}
	}
}

// refusal is an answer that the port has no error for.
type refusal struct {
	status  int
	message string
	allow   string
	// acceptEncoding goes with 415 where the Content-Encoding is not taken, and with no other.
	acceptEncoding string
}

// Error implements error.
func (e *refusal) Error() string { return e.message }

// The documented bodies of 401.
var (
	tokenMissing = oauthBody{Description: "The access token is missing", Error: "invalid_request"}
	tokenInvalid = oauthBody{Description: "The access token is invalid or has expired", Error: "invalid_token"}
)

// refuse answers with an error.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, body := s.wireError(w.Header(), r, err)
	s.write(w, status, body)
}

// wireError is an error's status and body; what goes with the status goes into the header.
func (s *server) wireError(header http.Header, r *http.Request, err error) (int, any) {
	if own, ok := errors.AsType[*refusal](err); ok {
		if own.allow != "" {
			header.Set("Allow", own.allow)
		}
		if own.acceptEncoding != "" {
			header.Set("Accept-Encoding", own.acceptEncoding)
		}
		switch own.status {
		case http.StatusServiceUnavailable:
			header.Set("Retry-After", seconds(busyRetryAfter))
		case http.StatusUnauthorized, http.StatusForbidden:
			header.Set("WWW-Authenticate", `Bearer error="insufficient_scope"`)
		}

		return own.status, messageBody{own.message}
	}
	if auth, ok := errors.AsType[*subscription.AuthError](err); ok {
		switch {
		case auth.Forbidden:
			return http.StatusForbidden, messageBody{auth.Message}
		case bearer(r) == "":
			header.Set("WWW-Authenticate", "Bearer")

			return http.StatusUnauthorized, tokenMissing
		default:
			header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)

			return http.StatusUnauthorized, tokenInvalid
		}
	}
	if invalid, ok := errors.AsType[*subscription.InvalidError](err); ok {
		told := &subscription.InvalidError{Field: wireField(invalid.Field), Message: invalid.Message}

		return http.StatusBadRequest, messageBody{told.Error()}
	}
	if unsupported, ok := errors.AsType[*subscription.UnsupportedError](err); ok {
		return http.StatusBadRequest, messageBody{unsupported.Error()}
	}
	if limited, ok := errors.AsType[*subscription.RateLimitedError](err); ok {
		if limited.After > 0 {
			header.Set("Retry-After", seconds(limited.After))
		}

		return http.StatusTooManyRequests, messageBody{"Too many requests"}
	}
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return http.StatusNotFound, messageBody{"No subscription has this subscriptionId"}
	case errors.Is(err, subscription.ErrNameTaken):
		return http.StatusConflict, messageBody{"name: another subscription has this name, and names are unique"}
	}
	// The rest is the dispatcher's own trouble: operators read it in the log.
	if !errors.Is(err, context.Canceled) {
		s.cfg.Log.Error("Could not answer a request", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	header.Set("Retry-After", seconds(busyRetryAfter))

	return http.StatusServiceUnavailable, messageBody{"It could not be done now, or not be told whether it was done: look and try again"}
}

// seconds writes a Retry-After header.
func seconds(wait time.Duration) string { return strconv.Itoa(int(math.Ceil(wait.Seconds()))) }

// bearer is a request's bearer token; empty where it has none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}

	return strings.TrimSpace(token)
}

// write sends a value. The vendor promises JSON and names no media type.
func (s *server) write(w http.ResponseWriter, status int, value any) {
	body, err := marshal(value)
	if err != nil {
		// A schema that is no JSON is the only way here.
		s.cfg.Log.Error("Could not write an answer", "error", err)
		status, body = http.StatusInternalServerError, []byte(`{"message":"The answer could not be written"}`)
	}
	w.Header().Set("Content-Type", jsonMediaType+"; charset=utf-8")
	w.Header().Set("Cache-Control", cacheControl)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // What the connection makes of it is the client's business.
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
