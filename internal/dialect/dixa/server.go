package dixa

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"
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
	// busyRetryAfter is asked for where that many are.
	busyRetryAfter = time.Second
	// maxDetail bounds the header Hookline-Detail, in bytes.
	maxDetail = 512
)

// ServerConfig is what a server is made of. Authenticate, API, Secrets and Credentials must be set.
type ServerConfig struct {
	// Authenticate tells the tenant whose subscriptions a request may manage; Dixa knows no lesser right. It
	// answers *subscription.AuthError where there is none; any other error means that it cannot be told now.
	// The request's token, which clients send raw or as a bearer's, is a bearer's here.
	Authenticate func(*http.Request) (tenant string, err error)
	// API is the port bound to a tenant. It honours subscription.FormatDixa and the options of Dixa.
	API func(tenant string) subscription.API
	// Secrets tells a subscription's current signing secret, and Credentials its authorization and headers
	// with their secret values: Dixa shows them to who may read the subscription. Both answer
	// subscription.ErrNotFound where there is none.
	Secrets     func(ctx context.Context, tenant, id string) (string, error)
	Credentials func(ctx context.Context, tenant, id string) (subscription.Authorization, []subscription.Header, error)
	// Notification writes the payloads that logs show: the one that delivers.
	Notification Notification
	// Log is nil for none.
	Log *slog.Logger
	// Clock is nil for the real one; requests are counted by it.
	Clock clockwork.Clock
}

// server serves the API.
type server struct {
	cfg      ServerConfig
	mux      *http.ServeMux
	slots    *semaphore.Weighted
	limiters *limiters
}

// request is one request of a tenant.
type request struct {
	*http.Request

	tenant string
	api    subscription.API
	// readBy sets the connection's read deadline.
	readBy func(time.Time) error
}

// endpoint answers one request; no data means that the answer has no body.
type endpoint func(request) (status int, data any, err error)

// routes are all the API has: methods by path, below each version.
func (s *server) routes() map[string]map[string]endpoint {
	return map[string]map[string]endpoint{
		pathWebhooks: {http.MethodGet: s.list, http.MethodPost: s.create},
		pathWebhook:  {http.MethodGet: s.get, http.MethodPatch: s.update, http.MethodDelete: s.remove},
		pathStatuses: {http.MethodGet: s.statuses},
		pathLogs:     {http.MethodGet: s.logs},
	}
}

// NewServer serves the API at /v1/webhooks and /beta/webhooks. It shows the subscriptions whose format is
// Dixa's alone, their ids as UUIDs.
func NewServer(cfg ServerConfig) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = clockwork.NewRealClock()
	}
	s := &server{cfg: cfg, mux: http.NewServeMux(), slots: semaphore.NewWeighted(MaxRequests), limiters: newLimiters(cfg.Clock)}
	for path, methods := range s.routes() {
		for _, version := range versions {
			s.route(version+path, methods)
		}
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, &refusal{status: http.StatusNotFound, message: messageNotFound})
	})

	return s
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.slots.TryAcquire(1) {
		s.refuse(w, r, &subscription.RateLimitedError{After: busyRetryAfter})

		return
	}
	defer s.slots.Release(1)
	s.mux.ServeHTTP(w, r)
}

// route serves the methods of one path.
func (s *server) route(path string, methods map[string]endpoint) {
	allow := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		r, token := asBearer(r)
		tenant, err := s.cfg.Authenticate(r)
		if err != nil {
			s.refuse(w, r, err)

			return
		}
		// Tokens that are good are few, so guessed ones cannot crowd them out.
		if wait, ok := s.limiters.allow(token); !ok {
			s.refuse(w, r, &subscription.RateLimitedError{After: wait})

			return
		}
		serve, ok := methods[r.Method]
		if !ok {
			s.refuse(w, r, &refusal{status: http.StatusMethodNotAllowed, allow: allow, message: "Method not allowed"})

			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), RequestTimeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, MaxRequestBytes)
		status, data, err := serve(request{
			Request: r.WithContext(ctx), tenant: tenant, api: s.cfg.API(tenant), readBy: http.NewResponseController(w).SetReadDeadline,
		})
		switch {
		case err != nil:
			s.refuse(w, r, err)
		case data == nil:
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(status)
		default:
			s.write(w, status, dataBody{data})
		}
	})
}

// asBearer is a request whose token is a bearer's, and the token: Dixa's clients send it raw, and its prose
// says "Bearer".
func asBearer(r *http.Request) (out *http.Request, token string) {
	text := strings.TrimSpace(r.Header.Get(authorizationHeader))
	scheme, rest, more := strings.Cut(text, " ")
	switch {
	case text == "" || more && !strings.EqualFold(scheme, "bearer"):
		return r, ""
	case more:
		token = strings.TrimSpace(rest)
	default:
		token = text
	}
	out = r.Clone(r.Context())
	out.Header.Set(authorizationHeader, "Bearer "+token)

	return out, token
}

// refusal is an answer that the port has no error for.
type refusal struct {
	status  int
	message string
	// detail says more than the vendor's message does.
	detail string
	allow  string
	// acceptEncoding goes with 415 where the Content-Encoding is not taken, and with no other.
	acceptEncoding string
}

// Error implements error.
func (e *refusal) Error() string { return strings.TrimSuffix(e.message+": "+e.detail, ": ") }

// invalidValue refuses a path.
func invalidValue(detail string) error {
	return &refusal{status: http.StatusBadRequest, message: messageInvalid, detail: detail}
}

// refuse answers with an error.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	told := s.refusal(w.Header(), r, err)
	if told.allow != "" {
		w.Header().Set("Allow", told.allow)
	}
	if told.acceptEncoding != "" {
		w.Header().Set("Accept-Encoding", told.acceptEncoding)
	}
	if told.detail != "" {
		w.Header().Set(headerDetail, printable(told.detail))
	}
	s.write(w, told.status, messageBody{told.message})
}

// refusal is an error as the vendor would tell it: bodies of 401, 403 and 429 are not documented.
func (s *server) refusal(header http.Header, r *http.Request, err error) *refusal {
	if own, ok := errors.AsType[*refusal](err); ok {
		return own
	}
	if auth, ok := errors.AsType[*subscription.AuthError](err); ok {
		if auth.Forbidden {
			return &refusal{status: http.StatusForbidden, message: "Forbidden", detail: auth.Message}
		}
		header.Set("WWW-Authenticate", "Bearer")

		return &refusal{status: http.StatusUnauthorized, message: "Unauthorized", detail: auth.Message}
	}
	if limited, ok := errors.AsType[*subscription.RateLimitedError](err); ok {
		header.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(limited.After.Seconds())))))

		return &refusal{status: http.StatusTooManyRequests, message: "Too many requests"}
	}
	if invalid, ok := errors.AsType[*subscription.InvalidError](err); ok {
		told := subscription.InvalidError{Field: wireField(invalid.Field), Message: invalid.Message}

		return &refusal{status: http.StatusBadRequest, message: messageDecoding, detail: told.Error()}
	}
	if unsupported, ok := errors.AsType[*subscription.UnsupportedError](err); ok {
		return &refusal{status: http.StatusBadRequest, message: messageDecoding, detail: unsupported.Error()}
	}
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return &refusal{status: http.StatusNotFound, message: messageNotFound}
	case errors.Is(err, subscription.ErrNameTaken):
		return &refusal{
			status: http.StatusBadRequest, message: messageInvalid,
			detail: "name: another subscription has this name, and names are unique",
		}
	}
	// The rest is the dispatcher's own trouble: operators read it in the log.
	if !errors.Is(err, context.Canceled) {
		s.cfg.Log.Error("Could not answer a request", "method", r.Method, "path", r.URL.Path, "error", err)
	}

	return &refusal{status: http.StatusInternalServerError, message: messageInternal}
}

// wireField is a port's field as the wire spells it.
func wireField(field string) string {
	if rest, ok := strings.CutPrefix(field, string(subscription.FieldHeaders)); ok {
		return "customHeaders" + rest
	}
	if field == string(subscription.FieldBasic) || field == string(subscription.FieldBearer) {
		return "authorization"
	}

	return field
}

// printable is a text as a header may carry it.
func printable(text string) string {
	if len(text) > maxDetail {
		text = text[:maxDetail]
	}

	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}

		return r
	}, text)
}

// write sends a value.
func (s *server) write(w http.ResponseWriter, status int, value any) {
	body, err := marshal(value)
	if err != nil {
		s.cfg.Log.Error("Could not write an answer", "error", err)
		status, body = http.StatusInternalServerError, []byte(`{"message":"`+messageInternal+`"}`)
	}
	w.Header().Set("Content-Type", jsonMediaType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // What the connection makes of it is the client's business.
}
