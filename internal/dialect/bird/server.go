package bird

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
	// writers is how many writes that count subscriptions may be under way at once, each of another tenant.
	writers = 32
)

// ServerConfig is what a server is made of. Authenticate and API must be set.
type ServerConfig struct {
	// Authenticate tells the tenant whose subscriptions a request may manage; Bird knows no lesser right. It
	// answers *subscription.AuthError where there is none; any other error means that it cannot be told now.
	// The request's access key is a bearer's token here.
	Authenticate func(*http.Request) (tenant string, err error)
	// API is the port bound to a tenant. It honours subscription.FormatBird and the options of Bird.
	API func(tenant string) subscription.API
	// Workspace tells a tenant's workspace; nil, or an empty id, is the one of WorkspaceID and OrganizationID.
	Workspace func(tenant string) Workspace
	// AllowAnyURL takes any http or https URL for an endpoint, and not only those of the vendor's pattern: for
	// demonstrations and tests, whose receivers have an address and a port.
	AllowAnyURL bool
	// Log is nil for none.
	Log *slog.Logger
}

// Workspace is what a tenant is at Bird. Both ids are UUIDs in lower case.
type Workspace struct {
	ID             string
	OrganizationID string
}

// server serves the API.
type server struct {
	cfg   ServerConfig
	mux   *http.ServeMux
	slots *semaphore.Weighted
	// turns are held while a tenant's subscriptions are counted and one is written.
	turns [writers]*semaphore.Weighted
}

// request is one request of a tenant.
type request struct {
	*http.Request

	tenant    string
	workspace Workspace
	api       subscription.API
	// readBy sets the connection's read deadline.
	readBy func(time.Time) error
}

// endpoint answers one request; no data means that the answer has no body.
type endpoint func(request) (status int, data any, err error)

// routes are all the API has: methods by path, below a workspace.
func (s *server) routes() map[string]map[string]endpoint {
	return map[string]map[string]endpoint{
		pathSubscriptions: {http.MethodGet: s.list, http.MethodPost: s.create},
		pathSubscription:  {http.MethodGet: s.get, http.MethodPatch: s.update, http.MethodDelete: s.remove},
		pathLogs:          {http.MethodGet: s.logs},
		pathDetails:       {http.MethodGet: s.details},
		pathAvailable:     {http.MethodGet: s.available},
	}
}

// NewServer serves the API below /workspaces/{workspaceId} and
// /organizations/{organizationId}/workspaces/{workspaceId}, where a workspace is a tenant's, named by its id or by
// the tenant's own name. It shows the subscriptions whose format is Bird's and that have one event of a service
// of Bird's, their ids as UUIDs.
func NewServer(cfg ServerConfig) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &server{cfg: cfg, mux: http.NewServeMux(), slots: semaphore.NewWeighted(MaxRequests)}
	for i := range s.turns {
		s.turns[i] = semaphore.NewWeighted(1)
	}
	for path, methods := range s.routes() {
		for _, family := range families {
			s.route(family+path, methods)
		}
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, &refusal{status: http.StatusNotFound, code: codeNotFound, message: "There is no such path"})
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
		tenant, err := s.cfg.Authenticate(asBearer(r))
		if err != nil {
			s.refuse(w, r, err)

			return
		}
		workspace, err := s.entered(r, tenant)
		if err != nil {
			s.refuse(w, r, err)

			return
		}
		serve, ok := methods[r.Method]
		if !ok {
			s.refuse(w, r, &refusal{
				status: http.StatusMethodNotAllowed, code: codeMethod, allow: allow, message: "The method is not allowed: use " + allow,
			})

			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), RequestTimeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, MaxRequestBytes)
		status, data, err := serve(request{
			Request: r.WithContext(ctx), tenant: tenant, workspace: workspace, api: s.cfg.API(tenant),
			readBy: http.NewResponseController(w).SetReadDeadline,
		})
		switch {
		case err != nil:
			s.refuse(w, r, err)
		case data == nil:
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(status)
		default:
			s.write(w, status, data)
		}
	})
}

// asBearer is a request whose access key is a bearer's token; one with another scheme has none.
func asBearer(r *http.Request) *http.Request {
	scheme, key, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	out := r.Clone(r.Context())
	out.Header.Del("Authorization")
	if strings.EqualFold(scheme, "AccessKey") {
		out.Header.Set("Authorization", "Bearer "+strings.TrimSpace(key))
	}

	return out
}

// entered is the workspace of a tenant, if it is the one that the path names.
func (s *server) entered(r *http.Request, tenant string) (Workspace, error) {
	var own Workspace
	if s.cfg.Workspace != nil {
		own = s.cfg.Workspace(tenant)
	}
	if own.ID == "" {
		own.ID = WorkspaceID(tenant)
	}
	if own.OrganizationID == "" {
		own.OrganizationID = OrganizationID(tenant)
	}
	for _, named := range []struct{ what, given, own string }{
		{"workspace", r.PathValue("workspace"), own.ID}, {"organization", r.PathValue("organization"), own.OrganizationID},
	} {
		inPath := named.what == "workspace" || strings.HasPrefix(r.Pattern, "/organizations/")
		if inPath && named.given != tenant && !strings.EqualFold(named.given, named.own) {
			return Workspace{}, &subscription.AuthError{
				Forbidden: true, Message: "This access key belongs to the " + named.what + " " + named.own + ": use that id in the path",
			}
		}
	}

	return own, nil
}

// refusal is an answer that the port has no error for.
type refusal struct {
	status  int
	code    string
	message string
	details problems
	allow   string
	// acceptEncoding goes with 415 where the Content-Encoding is not taken, and with no other.
	acceptEncoding string
}

// Error implements error.
func (e *refusal) Error() string { return e.code + ": " + e.message }

// badRequest refuses a request that is no request of this API.
func badRequest(message string) error {
	return &refusal{status: http.StatusBadRequest, code: codeRequest, message: message}
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
	s.write(w, told.status, errorBody{Code: told.code, Message: told.message, Details: told.details})
}

// refusal is an error as the vendor would tell it.
func (s *server) refusal(header http.Header, r *http.Request, err error) *refusal {
	if own, ok := errors.AsType[*refusal](err); ok {
		return own
	}
	if auth, ok := errors.AsType[*subscription.AuthError](err); ok {
		if auth.Forbidden {
			return &refusal{status: http.StatusForbidden, code: codeForbidden, message: auth.Message}
		}
		header.Set("WWW-Authenticate", "AccessKey")

		return &refusal{status: http.StatusUnauthorized, code: codeUnauthorized, message: "The access key is missing or not valid"}
	}
	if limited, ok := errors.AsType[*subscription.RateLimitedError](err); ok {
		header.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(limited.After.Seconds())))))

		return &refusal{status: http.StatusTooManyRequests, code: codeTooMany, message: "There are too many requests"}
	}
	if invalid, ok := errors.AsType[*subscription.InvalidError](err); ok {
		return payloadRefusal(invalid.Field, invalid.Message)
	}
	if unsupported, ok := errors.AsType[*subscription.UnsupportedError](err); ok {
		return payloadRefusal("", unsupported.Error())
	}
	if errors.Is(err, subscription.ErrNotFound) {
		return &refusal{status: http.StatusNotFound, code: codeNotFound, message: "There is no such webhook subscription in this workspace"}
	}
	// The rest is the dispatcher's own trouble: operators read it in the log.
	if !errors.Is(err, context.Canceled) {
		s.cfg.Log.Error("Could not answer a request", "method", r.Method, "path", r.URL.Path, "error", err)
	}

	return &refusal{
		status: http.StatusInternalServerError, code: codeInternal,
		message: "The request failed here: it may work later, and may have had its effect",
	}
}

// payloadRefusal refuses a field of the port.
func payloadRefusal(field, message string) *refusal {
	return &refusal{
		status: http.StatusUnprocessableEntity, code: codePayload, message: messagePayload, details: problems{wirePath(field): {message}},
	}
}

// paths are the port's fields and what they are on the wire.
var paths = []struct{ field, path string }{
	{string(subscription.FieldURL), ".url"}, {string(subscription.FieldSecret), ".signingKey"},
	{string(subscription.FieldEvents), ".event"}, {string(subscription.FieldEnabled), ".status"},
	{specOptions + ".eventFilters", ".eventFilters"}, {specOptions + ".template", ".template"},
}

// wirePath is a port's field as a JSON path.
func wirePath(field string) string {
	for _, one := range paths {
		if rest, ok := strings.CutPrefix(field, one.field); ok {
			return one.path + rest
		}
	}

	return "."
}

// write sends a value.
func (s *server) write(w http.ResponseWriter, status int, value any) {
	body, err := marshal(value)
	if err != nil {
		s.cfg.Log.Error("Could not write an answer", "error", err)
		status, body = http.StatusInternalServerError, []byte(`{"code":"`+codeInternal+`","message":"The answer could not be written"}`)
	}
	w.Header().Set("Content-Type", jsonMediaType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // What the connection makes of it is the client's business.
}
