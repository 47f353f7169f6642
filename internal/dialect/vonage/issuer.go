package vonage

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jonboulle/clockwork"
	"golang.org/x/sync/semaphore"

	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	// TokenLife is how long an issued access token holds, as the vendor's do.
	TokenLife = 2 * time.Hour
	// MinIssuerKeyBytes is the least a given signing key of access tokens may hold.
	MinIssuerKeyBytes = 32
	// MaxTokenRequestBytes bounds the body of a request for a token; BodyTimeout bounds how long it may take.
	MaxTokenRequestBytes = 16 << 10
	// MaxTokenRequests is how many requests for a token may be worked on together.
	MaxTokenRequests = 32
	// issuerName tells the issuer's tokens from other JWTs signed by the same key.
	issuerName = "hookline/vonage"
	// The parameters of a request for a token that are looked at twice.
	paramClientID     = "client_id"
	paramClientSecret = "client_secret"
)

// IssuerConfig is what an issuer is made of. Clients must be set.
type IssuerConfig struct {
	// Clients tells what an OAuth 2.0 client may do: its Access.Scopes are those it may ask for.
	// It answers *subscription.AuthError where id and secret are no client's; any other error
	// means that it cannot be told now.
	Clients func(ctx context.Context, id, secret string) (Access, error)
	// Key signs access tokens: at least MinIssuerKeyBytes, the same in every process that is to take
	// them. Nil is a random one, so that tokens end with the process; clients then ask anew.
	Key []byte
	// Clock is nil for the real one.
	Clock clockwork.Clock
	// Log is nil for none.
	Log *slog.Logger
}

// Issuer is the part of the vendor's Authentication API that programs written for it need: it
// issues access tokens by the client credentials grant at PathToken, and tells what one allows.
// A token is signed and held nowhere: it lasts until its end, also when its client is removed.
type Issuer struct {
	cfg   IssuerConfig
	slots *semaphore.Weighted
}

// NewIssuer makes an issuer.
func NewIssuer(cfg IssuerConfig) (*Issuer, error) {
	switch {
	case cfg.Clients == nil:
		return nil, errors.New("making an issuer of access tokens: Clients is not set")
	case cfg.Key == nil:
		cfg.Key = make([]byte, MinIssuerKeyBytes)
		// It never fails: the process ends where there is no randomness.
		_, _ = rand.Read(cfg.Key)
	case len(cfg.Key) < MinIssuerKeyBytes:
		return nil, fmt.Errorf("making an issuer of access tokens: the key has %d bytes: give at least %d", len(cfg.Key), MinIssuerKeyBytes)
	}
	if cfg.Clock == nil {
		cfg.Clock = clockwork.NewRealClock()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}

	return &Issuer{cfg: cfg, slots: semaphore.NewWeighted(MaxTokenRequests)}, nil
}

// accessClaims are an access token's.
type accessClaims struct {
	jwt.RegisteredClaims

	Scope       string `json:"scope"`
	ClientScope string `json:"client_scope"`
}

// Authenticate tells what a request's access token allows, *subscription.AuthError where it has
// none that this issuer issued and that holds. It fits ServerConfig.
func (i *Issuer) Authenticate(r *http.Request) (Access, error) {
	token := bearer(r)
	if token == "" {
		return Access{}, &subscription.AuthError{Message: tokenMissing.Description}
	}
	var found accessClaims
	_, err := jwt.ParseWithClaims(token, &found, func(*jwt.Token) (any, error) { return i.cfg.Key, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(issuerName),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(i.cfg.Clock.Now))
	if err != nil || found.Subject == "" {
		return Access{}, &subscription.AuthError{Message: tokenInvalid.Description}
	}

	return Access{Tenant: found.Subject, Scopes: scopes(found.Scope), ClientScopes: scopes(found.ClientScope)}, nil
}

func scopes(text string) []Scope {
	var out []Scope
	for name := range strings.FieldsSeq(text) {
		out = append(out, Scope(name))
	}

	return out
}

func scopeText(scopes []Scope) string {
	names := make([]string, 0, len(scopes))
	for _, scope := range scopes {
		names = append(names, string(scope))
	}

	return strings.Join(names, " ")
}

// grantError is a refusal of the token endpoint, by RFC 6749, section 5.2.
type grantError struct {
	status int
	code   string
	text   string
	// header goes with the status.
	header http.Header
}

// Error implements error.
func (e *grantError) Error() string { return e.code + ": " + e.text }

func badGrant(code, text string) error {
	return &grantError{status: http.StatusBadRequest, code: code, text: text}
}

// ServeHTTP implements http.Handler for PathToken.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	var value any
	issued, err := i.issue(w, r)
	refused, isRefused := errors.AsType[*grantError](err)
	switch {
	case err == nil:
		value = issued
	case isRefused:
		status, value = refused.status, oauthBody{Error: refused.code, Description: refused.text}
		maps.Copy(w.Header(), refused.header)
	default:
		i.cfg.Log.Error("Could not issue an access token", "error", err)
		w.Header().Set("Retry-After", seconds(busyRetryAfter))
		status = http.StatusServiceUnavailable
		value = oauthBody{Error: "temporarily_unavailable", Description: "It cannot be told now who the client is: try again"}
	}
	body, err := json.Marshal(value)
	if err != nil {
		// Texts and numbers can always be written.
		panic("vonage: writing a token: " + err.Error())
	}
	w.Header().Set("Content-Type", jsonMediaType+"; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // What the connection makes of it is the client's business.
}

func (i *Issuer) issue(w http.ResponseWriter, r *http.Request) (tokenBody, error) {
	if r.Method != http.MethodPost {
		return tokenBody{}, &grantError{
			status: http.StatusMethodNotAllowed, code: "invalid_request", text: "Send a POST",
			header: http.Header{"Allow": {http.MethodPost}},
		}
	}
	if err := readForm(w, r); err != nil {
		return tokenBody{}, err
	}
	// Whoever has no token yet may be anyone: a slot is taken once the body is here, so that slow ones hold none.
	if !i.slots.TryAcquire(1) {
		return tokenBody{}, &grantError{
			status: http.StatusServiceUnavailable, code: "temporarily_unavailable", text: "Too many requests are under way: try again",
			header: http.Header{"Retry-After": {seconds(busyRetryAfter)}},
		}
	}
	defer i.slots.Release(1)
	if r.PostForm.Get("grant_type") != "client_credentials" {
		return tokenBody{}, badGrant("unsupported_grant_type", "The grant_type must be client_credentials")
	}
	access, err := i.client(r)
	if err != nil {
		return tokenBody{}, err
	}
	asked := scopes(r.PostForm.Get("scope"))
	for _, scope := range asked {
		if !slices.Contains(access.Scopes, scope) {
			return tokenBody{}, badGrant("invalid_scope", "The client may not have one of the scopes")
		}
	}
	if len(asked) == 0 {
		asked = access.Scopes
	}

	return i.sign(access, asked)
}

// readForm reads a request's form, bounded in size and time.
func readForm(w http.ResponseWriter, r *http.Request) error {
	refusal := func(status int, text string) *grantError {
		return &grantError{status: status, code: "invalid_request", text: text}
	}
	if encoded(r.Header) {
		refused := refusal(http.StatusUnsupportedMediaType,
			"The body must be sent as it is: remove the header Content-Encoding and what it says was done")
		refused.header = http.Header{"Accept-Encoding": {identity}}

		return refused
	}
	r.Body = http.MaxBytesReader(w, r.Body, MaxTokenRequestBytes)
	// As of any body: see readBody.
	readBy := http.NewResponseController(w).SetReadDeadline
	bounded := readBy(time.Now().Add(BodyTimeout)) == nil
	err := r.ParseForm()
	if err == nil && bounded {
		_ = readBy(time.Time{})
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return refusal(http.StatusRequestEntityTooLarge, fmt.Sprintf("The body has more than %d bytes", MaxTokenRequestBytes))
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refusal(http.StatusRequestTimeout, "The body came too slowly")
	case err != nil:
		return refusal(http.StatusBadRequest, "The body is not a form")
	}

	return nil
}

// client tells what the client may do. Its credentials stand in the form, or in HTTP Basic.
func (i *Issuer) client(r *http.Request) (Access, error) {
	id, secret := r.PostForm.Get(paramClientID), r.PostForm.Get(paramClientSecret)
	unknown := &grantError{status: http.StatusBadRequest, code: "invalid_client", text: "No client has this client_id and client_secret"}
	if user, password, ok := r.BasicAuth(); ok {
		// RFC 6749, section 2.3.1: both are form-encoded first.
		var idErr, secretErr error
		id, idErr = url.QueryUnescape(user)
		secret, secretErr = url.QueryUnescape(password)
		unknown.status, unknown.header = http.StatusUnauthorized, http.Header{"Www-Authenticate": {"Basic"}}
		if idErr != nil || secretErr != nil {
			return Access{}, unknown
		}
	}
	if id == "" || secret == "" {
		return Access{}, unknown
	}
	ctx, cancel := context.WithTimeout(r.Context(), RequestTimeout)
	defer cancel()
	access, err := i.cfg.Clients(ctx, id, secret)
	if _, ok := errors.AsType[*subscription.AuthError](err); ok {
		return Access{}, unknown
	}
	if err != nil {
		return Access{}, fmt.Errorf("looking for a client: %w", err)
	}

	return access, nil
}

func (i *Issuer) sign(access Access, asked []Scope) (tokenBody, error) {
	now := i.cfg.Clock.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, accessClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuerName, Subject: access.Tenant,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(TokenLife)),
			// Two tokens of a second differ: a client tells by it that it got another one.
			ID: rand.Text(),
		},
		Scope: scopeText(asked), ClientScope: scopeText(access.Scopes),
	}).SignedString(i.cfg.Key)
	if err != nil {
		return tokenBody{}, fmt.Errorf("signing an access token: %w", err)
	}

	return tokenBody{AccessToken: token, ExpiresIn: int64(TokenLife.Seconds()), TokenType: "Bearer"}, nil
}
