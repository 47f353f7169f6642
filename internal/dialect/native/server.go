package native

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Limits of the server.
const (
	// RequestTimeout bounds one request; a test event or a resend, which waits for an endpoint,
	// has OperationTimeout.
	RequestTimeout   = 30 * time.Second
	OperationTimeout = 75 * time.Second
	// BodyTimeout bounds how long a request's body may take to arrive.
	BodyTimeout = 10 * time.Second
	// MaxRequests is how many requests may be under way at once.
	MaxRequests = 128
	// busyRetryAfter is asked for with 503.
	busyRetryAfter = time.Second
)

// Operations are what the API has beyond the port. The server has seen to it that the
// subscription exists and belongs to the tenant before it calls one; they answer with the
// port's errors.
type Operations interface {
	// SendTest sends a test event to a subscription, once, and tells the attempt. An empty type
	// stands for the dispatcher's own.
	SendTest(ctx context.Context, id, eventType string) (subscription.LogEntry, error)
	// Resend sends the event at a position of the log again, once, and tells the attempt;
	// subscription.ErrNotFound where the event is no longer kept.
	Resend(ctx context.Context, id string, position uint64) (subscription.LogEntry, error)
	// DeadLetters returns dead letters after a position, in order, at most limit; fewer do not
	// mean the end, none does.
	DeadLetters(ctx context.Context, id string, after uint64, limit int) ([]DeadLetter, error)
	// Endpoint tells how a subscription's endpoint is at the moment.
	Endpoint(ctx context.Context, id string) (Endpoint, error)

	Replays
}

// DeadLetter is a delivery that was given up.
type DeadLetter struct {
	// Position is where the event is kept, to ask for a resend by.
	Position uint64
	// DeliveryID is empty where no attempt was made.
	DeliveryID string
	EventID    string
	Event      string
	// Reason is one CamelCase word, such as AttemptsExhausted.
	Reason   string
	At       time.Time
	Attempts int32
	// Last is the last attempt, nil where none was made; its payload is left out.
	Last *subscription.LogEntry
	// Payload is the event as CloudEvents JSON.
	Payload []byte
}

// ServerConfig is what a server is made of. Authenticate and API must be set.
type ServerConfig struct {
	// Authenticate tells the tenant a request may administer. It answers
	// *subscription.AuthError where it may not; any other error means that it cannot be told now.
	Authenticate func(*http.Request) (tenant string, err error)
	// API is the port bound to a tenant.
	API func(tenant string) subscription.API
	// Operations are bound to a tenant likewise; nil answers them as unsupported.
	Operations func(tenant string) Operations
	// Log is nil for none.
	Log *slog.Logger
}

// server serves the API.
type server struct {
	cfg   ServerConfig
	mux   *http.ServeMux
	slots *semaphore.Weighted
}

// request is one request of a tenant.
type request struct {
	*http.Request

	tenant string
	api    subscription.API
	// readBy sets the connection's read deadline.
	readBy func(time.Time) error
}

// endpoint answers one request with a value for the wire; nil means no content.
type endpoint func(request) (any, error)

// routes are all the API has: methods by path.
func (s *server) routes() map[string]map[string]endpoint {
	return map[string]map[string]endpoint{
		pathSubscriptions: {http.MethodGet: s.list, http.MethodPost: s.create},
		pathSubscription:  {http.MethodGet: s.get, http.MethodPatch: s.update, http.MethodDelete: s.remove},
		pathStatuses:      {http.MethodGet: s.statuses},
		pathLogs:          {http.MethodGet: s.logs},
		pathDeadLetters:   {http.MethodGet: s.deadLetters},
		pathResend:        {http.MethodPost: s.resend},
		pathEndpoint:      {http.MethodGet: s.endpoint},
		pathReplays:       {http.MethodGet: s.replays, http.MethodPost: s.startReplay},
		pathReplay:        {http.MethodGet: s.replay, http.MethodPatch: s.setReplay, http.MethodDelete: s.cancelReplay},
		pathTest:          {http.MethodPost: s.test},
		pathChanges:       {http.MethodGet: s.changes},
		pathEventTypes:    {http.MethodGet: s.eventTypes},
		pathCapabilities:  {http.MethodGet: s.capabilities},
	}
}

// NewServer serves the native API at /webhooks/.
func NewServer(cfg ServerConfig) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &server{cfg: cfg, mux: http.NewServeMux(), slots: semaphore.NewWeighted(MaxRequests)}
	for path, methods := range s.routes() {
		s.route(path, methods)
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, &statusError{
			status: http.StatusNotFound, reason: reasonNoSuchPath, message: "the API has no such path: see " + pathSubscriptions,
		})
	})

	return s
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.slots.TryAcquire(1) {
		s.refuse(w, r, errBusy)

		return
	}
	defer s.slots.Release(1)
	s.mux.ServeHTTP(w, r)
}

var errBusy = &statusError{
	status: http.StatusServiceUnavailable, reason: reasonUnavailable, message: "too many requests are under way: try again",
}

// route serves the methods of one path.
func (s *server) route(path string, methods map[string]endpoint) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		tenant, err := s.cfg.Authenticate(r)
		if err != nil {
			s.refuse(w, r, err)

			return
		}
		serve, ok := methods[r.Method]
		if !ok {
			s.refuse(w, r, methodError(methods))

			return
		}
		if negotiate(r.Header) == "" {
			s.refuse(w, r, &statusError{
				status: http.StatusNotAcceptable, reason: reasonAccept,
				message: "the Accept header has neither " + MediaType + " nor " + jsonMediaType,
			})

			return
		}
		timeout := RequestTimeout
		if path == pathTest || path == pathResend {
			timeout = OperationTimeout
		}
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, MaxRequestBytes)
		value, err := serve(request{
			Request: r.WithContext(ctx), tenant: tenant, api: s.cfg.API(tenant),
			readBy: http.NewResponseController(w).SetReadDeadline,
		})
		if err != nil {
			s.refuse(w, r, err)

			return
		}
		if value == nil {
			w.WriteHeader(http.StatusNoContent)

			return
		}
		writeJSON(w, r, http.StatusOK, value)
	})
}

func methodError(methods map[string]endpoint) *statusError {
	allow := []string{}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete} {
		if _, ok := methods[method]; ok {
			allow = append(allow, method)
		}
	}

	return &statusError{
		status: http.StatusMethodNotAllowed, reason: reasonMethod, allow: strings.Join(allow, ", "),
		message: "this path has the methods " + strings.Join(allow, ", "),
	}
}

// negotiate is the media type that a request wants its answer in: JSON, or the API's own where the
// request names that and likes it no less; empty where it takes neither.
func negotiate(header http.Header) string {
	weights := map[string]float64{}
	for part := range strings.SplitSeq(strings.Join(header.Values("Accept"), ","), ",") {
		mediaType, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		weight, err := strconv.ParseFloat(params["q"], 64)
		if err != nil {
			weight = 1
		}
		weights[mediaType] = weight
	}
	// Of what fits a type, the most specific counts.
	weightOf := func(mediaType string) float64 {
		for _, fitting := range []string{mediaType, "application/*", "*/*"} {
			if weight, ok := weights[fitting]; ok {
				return weight
			}
		}

		return 0
	}
	_, named := weights[MediaType]
	own, plain := weightOf(MediaType), weightOf(jsonMediaType)
	switch {
	case strings.TrimSpace(strings.Join(header.Values("Accept"), "")) == "":
		return jsonMediaType
	case plain > 0 && (!named || own < plain):
		return jsonMediaType
	case own > 0:
		return MediaType
	default:
		return ""
	}
}

// statusError is a refusal the port has no error for.
type statusError struct {
	status  int
	reason  string
	message string
	allow   string
	// acceptEncoding goes with 415 where the Content-Encoding is not taken, and with no other.
	acceptEncoding string
}

// Error implements error.
func (e *statusError) Error() string { return e.message }

// refuse answers with an error.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, body := s.wireError(w.Header(), r, err)
	writeJSON(w, r, status, body)
}

// wireError is an error's status and body; what goes with the status goes into the header.
func (s *server) wireError(header http.Header, r *http.Request, err error) (int, Error) {
	if invalid, ok := errors.AsType[*subscription.InvalidError](err); ok {
		return http.StatusBadRequest, Error{Message: invalid.Error(), Reason: reasonInvalid, Field: invalid.Field}
	}
	if unsupported, ok := errors.AsType[*subscription.UnsupportedError](err); ok {
		return http.StatusUnprocessableEntity, Error{
			Message: unsupported.Error(), Reason: reasonUnsupported, Unsupported: unsupported.What, Provider: unsupported.Provider,
		}
	}
	if auth, ok := errors.AsType[*subscription.AuthError](err); ok {
		if auth.Forbidden {
			header.Set("WWW-Authenticate", `Bearer realm="hookline", error="insufficient_scope"`)

			return http.StatusForbidden, Error{Message: auth.Message, Reason: reasonForbidden}
		}
		challenge := `Bearer realm="hookline"`
		if r.Header.Get("Authorization") != "" {
			challenge += `, error="invalid_token"`
		}
		header.Set("WWW-Authenticate", challenge)

		return http.StatusUnauthorized, Error{Message: auth.Message, Reason: reasonAuth}
	}
	if limited, ok := errors.AsType[*subscription.RateLimitedError](err); ok {
		if limited.After > 0 {
			header.Set("Retry-After", strconv.Itoa(int(math.Ceil(limited.After.Seconds()))))
		}

		return http.StatusTooManyRequests, Error{Message: cmp.Or(limited.Message, "too many requests"), Reason: reasonRateLimited}
	}
	if conflict, ok := errors.AsType[*ConflictError](err); ok {
		return http.StatusConflict, Error{Message: conflict.Error(), Reason: reasonConflict, Field: conflict.Field}
	}
	if own, ok := errors.AsType[*statusError](err); ok {
		if own.allow != "" {
			header.Set("Allow", own.allow)
		}
		if own.acceptEncoding != "" {
			header.Set("Accept-Encoding", own.acceptEncoding)
		}
		if own.status == http.StatusServiceUnavailable {
			header.Set("Retry-After", strconv.Itoa(int(busyRetryAfter.Seconds())))
		}

		return own.status, Error{Message: own.message, Reason: own.reason}
	}
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return http.StatusNotFound, Error{Message: subscription.ErrNotFound.Error(), Reason: reasonNotFound}
	case errors.Is(err, ErrNoReplay):
		return http.StatusNotFound, Error{Message: ErrNoReplay.Error(), Reason: reasonNotFound}
	case errors.Is(err, subscription.ErrNameTaken):
		return http.StatusConflict, Error{Message: subscription.ErrNameTaken.Error(), Reason: reasonNameTaken}
	}
	// The rest is the dispatcher's own trouble: operators read it in the log.
	if !errors.Is(err, context.Canceled) {
		s.cfg.Log.Error("Could not answer a request", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	header.Set("Retry-After", strconv.Itoa(int(busyRetryAfter.Seconds())))

	return http.StatusServiceUnavailable, Error{
		Message: "the dispatcher could not do it now, or not tell whether it did: look and try again", Reason: reasonUnavailable,
	}
}

// writeJSON sends a value in the media type that the client prefers, and in JSON where it takes none.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, value any) {
	body, err := marshal(value)
	if err != nil {
		// A provider's schema that is no JSON is the only way here.
		status, body = http.StatusInternalServerError, []byte(`{"message":"the answer could not be written"}`)
	}
	w.Header().Set("Content-Type", cmp.Or(negotiate(r.Header), jsonMediaType))
	w.Header().Set("Cache-Control", "no-store")
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
		return nil, err //nolint:wrapcheck // Each caller says what it was writing.
	}

	return out.Bytes(), nil
}
