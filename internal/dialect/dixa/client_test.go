package dixa_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"
	"golang.org/x/time/rate"

	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	apiToken = "the-api-token"
	// documentedOne is the vendor's example, which lacks the url, with a member that it does not have.
	documentedOne = `{"id":"cb452b81-6748-40ab-af85-6559b371bc5d","name":"Dashboard Integration",` +
		`"subscribedEvents":["ConversationCreated","ConversationClosed"],"headers":{"Authorization":"Basic d2ViaG9va191c2VyOndlYmhvb2tfcGFzc3dvcmQ="},` +
		`"secretKey":"4g4h988p468g785965b780684bde5546c52gge658d76b4q33fb69c526ea4bdbc","enabled":true,"createdAt":"2023-08-01T09:30:15Z",` +
		`"createdBy":"e979cc3b-17b2-4850-b049-13c758763d1c","updatedAt":"2023-08-02T15:09:30Z","updatedBy":"64b777c3-eb82-49fb-bb3e-294afb5d840c","new":[1]}`
)

// against makes a client of a server that answers with a function.
func against(t *testing.T, change func(*dixa.ClientConfig), answer http.HandlerFunc) *dixa.Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	cfg := dixa.ClientConfig{
		BaseURL: server.URL + "/v1", Token: func(context.Context) (string, error) { return apiToken, nil },
		Timeout: 2 * time.Second, Limiter: rate.NewLimiter(rate.Inf, 0),
		Clock: clockwork.NewFakeClockAt(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)),
	}
	if change != nil {
		change(&cfg)
	}
	client, err := dixa.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}

	return client
}

func TestClientSendsWhatTheVendorDocuments(t *testing.T) {
	t.Parallel()
	var got []string
	client := against(t, nil, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Method, r.RequestURI, r.Header.Get("Authorization"), body)))
		if strings.Contains(r.URL.Path, "delivery-status") || r.URL.Path == "/v1/webhooks" && r.Method == http.MethodGet {
			_, _ = io.WriteString(w, `{"data":[]}`)

			return
		}
		_, _ = io.WriteString(w, `{"data":`+documentedOne+`}`)
	})
	created, err := client.Create(t.Context(), subscription.Draft{
		Name: "Dashboard Integration", URL: "https://example.com/a?b=c&d=<>", Events: []string{"ConversationCreated"}, Enabled: true,
		Authorization: subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "webhook_user", Password: "webhook_password"},
		Headers:       []subscription.Header{{Name: "X-Team", Value: "support"}},
		Options: subscription.Options{Dixa: &subscription.DixaOptions{Filters: map[string]subscription.DixaFilters{
			"Conversation": {Strategy: "All", Conditions: []subscription.DixaCondition{{Operator: "IsOneOf", Field: "QueueId", Values: []string{"q"}}}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(created.Secret, "4g4h988p") {
		t.Error("the secret is not the answer's")
	}
	for _, patch := range []subscription.Patch{
		{},
		{Name: new("New name"), Enabled: new(false), Authorization: &subscription.Authorization{Scheme: subscription.SchemeBearer, Token: "t"}},
		{Authorization: &subscription.Authorization{}, Headers: &[]subscription.Header{}, Options: &subscription.Options{}},
	} {
		if _, err := client.Update(t.Context(), created.ID, patch); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Logs(t.Context(), created.ID, subscription.LogQuery{Event: "ConversationCreated"}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client.Delete(t.Context(), created.ID); err != nil {
		t.Fatal(err)
	}
	one := "/v1/webhooks/cb452b81-6748-40ab-af85-6559b371bc5d"
	want := []string{
		`POST /v1/webhooks the-api-token {"name":"Dashboard Integration","url":"https://example.com/a?b=c&d=<>",` +
			`"authorization":{"username":"webhook_user","password":"webhook_password","_type":"BasicAuth"},"customHeaders":{"X-Team":"support"},` +
			`"events":["ConversationCreated"],"enabled":true,"filters":{"Conversation":{"_type":"CombinedFilters","strategy":"All",` +
			`"conditions":[{"_type":"IsOneOf","field":"QueueId","values":["q"]}]}}}`,
		"GET " + one + " the-api-token",
		"PATCH " + one + ` the-api-token {"name":"New name","authorization":{"value":"t","_type":"TokenAuth"},"enabled":false}`,
		"PATCH " + one + ` the-api-token {"authorization":{"_type":"NoAuth"},"customHeaders":{},"filters":{}}`,
		"GET " + one + "/delivery-status/logs/ConversationCreated the-api-token",
		"GET /v1/webhooks the-api-token",
		"DELETE " + one + " the-api-token",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClientReadsTheVendorsExamples(t *testing.T) {
	t.Parallel()
	client := against(t, func(cfg *dixa.ClientConfig) { cfg.Bearer = true }, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+apiToken {
			w.WriteHeader(http.StatusUnauthorized)

			return
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/delivery-status"):
			_, _ = io.WriteString(w, `{"data":[{"event":"ConversationCreated","deliveryStatus":{"deliveryTimestamp":"2023-09-15T12:00:00.000Z","success":true,`+
				`"responseCode":200,"responseText":"OK","_type":"DeliveryDetail"}},{"event":"ConversationClosed","deliveryStatus":{"_type":"NoRecentDelivery"}}]}`)
		case strings.Contains(r.URL.Path, "/logs/"):
			entry := `{"deliveryDetail":{"deliveryTimestamp":"2023-09-15T%s:00:00.000Z","success":%s,"responseCode":500,"responseText":"x"},"payload":"{ \"event_id\": \"%s\" }"}`
			_, _ = fmt.Fprintf(w, `{"data":[%s,%s,%s]}`, fmt.Sprintf(entry, "08", "false", "a"), fmt.Sprintf(entry, "12", "true", "a"), fmt.Sprintf(entry, "10", "true", "b"))
		default:
			_, _ = io.WriteString(w, `{"data":[`+documentedOne+`]}`)
		}
	})
	list, err := client.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]subscription.Subscription{{
		ID: "cb452b81-6748-40ab-af85-6559b371bc5d", Name: "Dashboard Integration", Events: []string{"ConversationCreated", "ConversationClosed"},
		Enabled:       true,
		Authorization: subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "webhook_user", Password: "webhook_password"},
		CreatedAt:     time.Date(2023, 8, 1, 9, 30, 15, 0, time.UTC), UpdatedAt: time.Date(2023, 8, 2, 15, 9, 30, 0, time.UTC),
	}}, list); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	statuses, err := client.Statuses(t.Context(), list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]subscription.DeliveryStatus{{
		Event: "ConversationCreated", Success: true, ResponseCode: 200, ResponseText: "OK", Timestamp: time.Date(2023, 9, 15, 12, 0, 0, 0, time.UTC),
	}}, statuses); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	logs, err := client.Logs(t.Context(), list[0].ID, subscription.LogQuery{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range logs {
		got = append(got, fmt.Sprintf("%s %s #%d %t %s", entry.Timestamp.Format(time.TimeOnly), entry.EventID, entry.Attempt, entry.Success, entry.Payload))
	}
	if diff := cmp.Diff([]string{
		`12:00:00 a #2 true { "event_id": "a" }`, `10:00:00 b #1 true { "event_id": "b" }`, `08:00:00 a #1 false { "event_id": "a" }`,
	}, got); diff != "" {
		t.Errorf("newest first, attempts of an event numbered (-want +got):\n%s", diff)
	}
}

func TestClientMakesThePortsErrors(t *testing.T) {
	t.Parallel()
	refuse := func(status int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		reason string
		answer http.HandlerFunc
		// want is the error, nil where it must be transient: none of the port's.
		want error
		says string
	}{
		"not found":     {"the API says so", refuse(404, `{"message":"The requested resource could not be found"}`), subscription.ErrNotFound, "no such"},
		"foreign 404":   {"an ingress says nothing of a subscription", refuse(404, "404 page not found"), nil, "404 page not found"},
		"invalid":       {"the vendor's words", refuse(400, `{"message":"Decoding failure in request"}`), &subscription.InvalidError{Message: "Decoding failure in request"}, "Decoding"},
		"invalid, more": {"and what Hookline's server adds", refuse(400, `{"message":"Decoding failure in request"}`, "Hookline-Detail", "url: too short"), &subscription.InvalidError{Message: "Decoding failure in request: url: too short"}, "too short"},
		"plain":         {"plain text explains too", refuse(400, `Invalid value for: body (at 'url')`), &subscription.InvalidError{Message: "Invalid value for: body (at 'url')"}, "at 'url'"},
		"secrets":       {"no secret comes back", refuse(400, `{"message":"s3cret in c3VwcG9ydDpzM2NyZXQ= at the-api-token, header-value"}`), &subscription.InvalidError{Message: "*** in *** at ***, ***"}, "***"},
		"proxy's 400":   {"a page is not the input's fault", refuse(400, `<html>`), nil, "400"},
		"conflict":      {"the likely meaning", refuse(409, ``), subscription.ErrNameTaken, "name"},
		"name taken":    {"or the one that is told", refuse(409, `{"message":"Names are unique"}`), subscription.ErrNameTaken, "Names are unique"},
		"too many":      {"another conflict is told in the vendor's words", refuse(409, `{"message":"An organization has 10 webhooks at most"}`), &subscription.InvalidError{Message: "An organization has 10 webhooks at most"}, "at most"},
		"bad token":     {"401", refuse(401, ``), &subscription.AuthError{Message: "Unauthorized"}, "Unauthorized"},
		"no right":      {"403", refuse(403, `{"message":"no"}`), &subscription.AuthError{Forbidden: true, Message: "no"}, "no"},
		"too fast":      {"seconds", refuse(429, `{}`, "Retry-After", "1.5"), &subscription.RateLimitedError{After: 1500 * time.Millisecond}, "1.5s"},
		"too fast, why": {"in the vendor's words", refuse(429, `{"message":"Wait a little"}`, "Retry-After", "2"), &subscription.RateLimitedError{After: 2 * time.Second, Message: "Wait a little"}, "a little"},
		"date":          {"a date", refuse(429, ``, "Retry-After", "Sat, 01 Aug 2026 12:00:07 GMT"), &subscription.RateLimitedError{After: 7 * time.Second}, "7s"},
		"garbage":       {"neither", refuse(429, ``, "Retry-After", "soon"), &subscription.RateLimitedError{}, "too many"},
		"negative":      {"in the past", refuse(429, ``, "Retry-After", "-3"), &subscription.RateLimitedError{}, "too many"},
		"for ever":      {"bounded", refuse(429, ``, "Retry-After", "1e300"), &subscription.RateLimitedError{After: 24 * time.Hour}, "24h"},
		"trouble":       {"it may work later", refuse(500, `{"message":"There was an internal server error while processing the request"}`), nil, "500: There was"},
		"redirect":      {"the token stays here", refuse(307, ``, "Location", "https://example.com/"), nil, "not followed"},
		"no JSON":       {"not the API", refuse(200, `<html>`), nil, `expected {"data":…}`},
		"no envelope":   {"not the API", refuse(200, documentedOne), nil, `expected {"data":…}`},
		"half":          {"what lacks would be taken for changed", refuse(200, `{"data":{"id":"cb452b81-6748-40ab-af85-6559b371bc5d","name":"x","enabled":true}}`), nil, "documented shape"},
		"another":       {"another than was asked for", refuse(200, `{"data":`+strings.Replace(documentedOne, "cb452b81", "cb452b82", 1)+`}`), nil, "that was asked for"},
		"endless": {"4 MiB are the most", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(" ", dixa.MaxResponseBytes+1))
		}, nil, "4194304"},
		"slow": {"2 s is the most here", func(_ http.ResponseWriter, r *http.Request) {
			// The server sees the client go once the body is read.
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, nil, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := against(t, nil, c.answer)
			_, err := client.Update(t.Context(), "cb452b81-6748-40ab-af85-6559b371bc5d", subscription.Patch{
				Name:          new("New name"),
				Authorization: &subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "support", Password: "s3cret"},
				Headers:       &[]subscription.Header{{Name: "X-Key", Value: "header-value", Sensitive: true}},
			})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%s: got %v, want it to say %q", c.reason, err, c.says)
			}
			for _, secret := range []string{"s3cret", "header-value", apiToken, "c3VwcG9y"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds %q: %v", secret, err)
				}
			}
			if diff := cmp.Diff(fmt.Sprintf("%#v", portError(c.want)), fmt.Sprintf("%#v", portError(err))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// portError is the error of the port's kinds in a chain, by value; nil where there is none.
func portError(err error) any {
	if invalid, ok := errors.AsType[*subscription.InvalidError](err); ok {
		return *invalid
	}
	if auth, ok := errors.AsType[*subscription.AuthError](err); ok {
		return *auth
	}
	if limited, ok := errors.AsType[*subscription.RateLimitedError](err); ok {
		return *limited
	}
	for _, known := range []error{subscription.ErrNotFound, subscription.ErrNameTaken} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}

	return nil
}

func TestClientTellsGoneFromInvalid(t *testing.T) {
	t.Parallel()
	client := against(t, nil, func(w http.ResponseWriter, r *http.Request) {
		status := map[string]int{http.MethodPatch: 400, http.MethodGet: 404}[r.Method]
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"message":"Invalid value in request"}`)
	})
	_, err := client.Update(t.Context(), "cb452b81-6748-40ab-af85-6559b371bc5d", subscription.Patch{Name: new("New name")})
	if !errors.Is(err, subscription.ErrNotFound) {
		t.Errorf("a patch that is refused since its subscription is gone answers %v", err)
	}
}

func TestClientRemembersHeadersThatDoNotShow(t *testing.T) {
	t.Parallel()
	shows := `{}`
	client := against(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		one := strings.Replace(documentedOne, `{"Authorization":"Basic d2ViaG9va191c2VyOndlYmhvb2tfcGFzc3dvcmQ="}`, shows, 1)
		_, _ = io.WriteString(w, `{"data":`+one+`}`)
	})
	headers := []subscription.Header{{Name: "X-Team", Value: "support"}}
	created, err := client.Create(t.Context(), subscription.Draft{
		Name: "Dashboard", URL: "https://example.com", Events: []string{"TypingStarted"}, Enabled: true, Headers: headers,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Get(t.Context(), created.ID)
	if diff := cmp.Diff(headers, got.Headers); err != nil || diff != "" {
		t.Errorf("headers that were written and that no answer shows are there: %v\n%s", err, diff)
	}
	// What shows is the truth, less what is the vendor's own.
	shows = `{"x-team":"sales","Content-Type":"application/json"}`
	got, err = client.Get(t.Context(), created.ID)
	if diff := cmp.Diff([]subscription.Header{{Name: "X-Team", Value: "sales"}}, got.Headers); err != nil || diff != "" {
		t.Errorf("what shows is the truth: %v\n%s", err, diff)
	}
}

// TestClientRemembersURLsThatDoNotShow: the vendor's schema requires the url, and its examples lack it.
func TestClientRemembersURLsThatDoNotShow(t *testing.T) {
	t.Parallel()
	answer := documentedOne
	client := against(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)

			return
		}
		_, _ = io.WriteString(w, `{"data":`+answer+`}`)
	})
	created, err := client.Create(t.Context(), subscription.Draft{
		Name: "Dashboard", URL: "https://example.com/1", Events: []string{"TypingStarted"}, Enabled: true,
	})
	if err != nil || created.URL != "https://example.com/1" {
		t.Fatalf("a URL that was written and that no answer shows is there: %q, %v", created.URL, err)
	}
	updated, err := client.Update(t.Context(), created.ID, subscription.Patch{Name: new("Board")})
	if err != nil || updated.URL != "https://example.com/1" {
		t.Errorf("a patch of something else leaves it: %q, %v", updated.URL, err)
	}
	if updated, err = client.Update(t.Context(), created.ID, subscription.Patch{URL: new("https://example.com/2")}); err != nil || updated.URL != "https://example.com/2" {
		t.Errorf("a patch of it changes it: %q, %v", updated.URL, err)
	}
	if got, err := client.Get(t.Context(), created.ID); err != nil || got.URL != "https://example.com/2" {
		t.Errorf("it is remembered: %q, %v", got.URL, err)
	}
	answer = strings.Replace(documentedOne, `"headers"`, `"url":"https://example.com/3","headers"`, 1)
	if got, err := client.Get(t.Context(), created.ID); err != nil || got.URL != "https://example.com/3" {
		t.Errorf("what shows is the truth: %q, %v", got.URL, err)
	}
	if err := client.Delete(t.Context(), created.ID); err != nil {
		t.Fatal(err)
	}
	answer = documentedOne
	if got, err := client.Get(t.Context(), created.ID); err != nil || got.URL != "" {
		t.Errorf("one that was deleted is forgotten: %q, %v", got.URL, err)
	}
}

// TestNoSpellingOfASecretComesBack: a message may quote the request as it was written.
func TestNoSpellingOfASecretComesBack(t *testing.T) {
	t.Parallel()
	const password = `p"a<s\s word/"`
	for name, spell := range map[string]func(body string) string{
		"quoted":  func(body string) string { return "cannot read " + body },
		"escaped": func(string) string { return `cannot read {"password":"p\"a\u003cs\\s word/\""}` },
		"query":   func(string) string { return "cannot read password=" + url.QueryEscape(password) },
		"path":    func(string) string { return "cannot read " + url.PathEscape(password) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := against(t, nil, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				text, _ := json.Marshal(map[string]string{"message": spell(string(body))})
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write(text)
			})
			_, err := client.Create(t.Context(), subscription.Draft{
				Name: "Dashboard", URL: "https://example.com", Events: []string{"TypingStarted"}, Enabled: true,
				Authorization: subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "support", Password: password},
			})
			says := strings.ReplaceAll(fmt.Sprint(err), "password", "")
			if !strings.Contains(says, "cannot read") || !strings.Contains(says, "***") || strings.Contains(says, "word") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestHalfAListIsNone: the vendor documents no pages of this list, and other lists of its have them.
func TestHalfAListIsNone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason string
		meta   string
		fails  bool
	}{
		"None":     {"the documented answer", ``, false},
		"Null":     {"the last page of other lists", `,"meta":{"previous":null,"next":null}`, false},
		"Empty":    {"nor is that another", `,"meta":{"next":""}`, false},
		"Odd":      {"unknown members are passed over", `,"meta":[1],"new":{}`, false},
		"Next":     {"what is on the next page would look deleted", `,"meta":{"next":"/v1/webhooks?pageKey=x"}`, true},
		"NextPage": {"however it is told", `,"meta":{"next":{"pageKey":"x"}}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := against(t, nil, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"data":[`+documentedOne+`]`+c.meta+`}`)
			})
			list, err := client.List(t.Context())
			if _, shape := errors.AsType[*subscription.ShapeError](err); shape != c.fails || !c.fails && len(list) != 1 {
				t.Errorf("%s: %d subscriptions, %v", c.reason, len(list), err)
			}
		})
	}
}

// TestStatusesAreOfTheDocumentedShape: an entry that cannot be read is not taken for no delivery.
func TestStatusesAreOfTheDocumentedShape(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason string
		entry  string
		fails  bool
	}{
		"None":      {"no recent delivery", `{"event":"TypingStarted","deliveryStatus":{"_type":"NoRecentDelivery"}}`, false},
		"Untyped":   {"a detail tells itself", `{"event":"TypingStarted","deliveryStatus":{"success":true,"new":1}}`, false},
		"NoStatus":  {"there is no status", `{"event":"TypingStarted"}`, true},
		"NoSuccess": {"a detail without its success", `{"event":"TypingStarted","deliveryStatus":{"_type":"DeliveryDetail","responseCode":200}}`, true},
		"NoEvent":   {"of no event", `{"deliveryStatus":{"_type":"NoRecentDelivery"}}`, true},
		"NoObject":  {"nothing at all", `7`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := against(t, nil, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"data":[`+c.entry+`]}`) })
			_, err := client.Statuses(t.Context(), "cb452b81-6748-40ab-af85-6559b371bc5d")
			if _, shape := errors.AsType[*subscription.ShapeError](err); shape != c.fails {
				t.Errorf("%s: %v", c.reason, err)
			}
		})
	}
}

func TestClientConfig(t *testing.T) {
	t.Parallel()
	token := func(context.Context) (string, error) { return "", errors.New("no token yet") }
	for _, wrong := range []string{"", "dev.dixa.io/v1", "ftp://dev.dixa.io", "https://u:opensesame@dev.dixa.io", "https://dev.dixa.io/?a=b"} {
		_, err := dixa.NewClient(dixa.ClientConfig{BaseURL: wrong, Token: token})
		if _, ok := errors.AsType[*subscription.InvalidError](err); !ok || strings.Contains(err.Error(), "opensesame") {
			t.Errorf("%q: got %v", wrong, err)
		}
	}
	if _, err := dixa.NewClient(dixa.ClientConfig{BaseURL: dixa.DefaultBaseURL}); err == nil {
		t.Error("a client without a token is made")
	}
	client, err := dixa.NewClient(dixa.ClientConfig{BaseURL: dixa.DefaultBaseURL, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.List(t.Context()); err == nil || !strings.Contains(err.Error(), "no token yet") {
		t.Errorf("the token's error is handed on: %v", err)
	}
}

// TestClientKeepsToTheVendorsPace uses up the burst and then waits for its turn; a server by the real clock
// never says 429.
func TestClientKeepsToTheVendorsPace(t *testing.T) {
	t.Parallel()
	limiters := dixa.NewLimiters(clockwork.NewRealClock())
	client := against(t, func(cfg *dixa.ClientConfig) { cfg.Limiter = nil }, func(w http.ResponseWriter, _ *http.Request) {
		if !limiters.Allow("token") {
			w.WriteHeader(http.StatusTooManyRequests)

			return
		}
		_, _ = io.WriteString(w, `{"data":[]}`)
	})
	begun := time.Now()
	for range dixa.Burst + 3 {
		if _, err := client.List(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took < 250*time.Millisecond {
		t.Errorf("%d requests took %s", dixa.Burst+3, took)
	}
}

// TestClientSaysThatItsTurnComesTooLate has one request an hour, and used it up.
func TestClientSaysThatItsTurnComesTooLate(t *testing.T) {
	t.Parallel()
	limiter := rate.NewLimiter(rate.Every(time.Hour), 1)
	limiter.Allow()
	client := against(t, func(cfg *dixa.ClientConfig) { cfg.Limiter = limiter }, func(http.ResponseWriter, *http.Request) {
		t.Error("the request was made before its turn")
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := client.List(ctx); err == nil || !strings.Contains(err.Error(), "turn") {
		t.Errorf("a turn that cannot come in time is an error at once: %v", err)
	}
}

func TestLimitersAreBounded(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClock()
	limiters := dixa.NewLimiters(clock)
	for i := range dixa.MaxLimited + 10 {
		if !limiters.Allow(fmt.Sprint(i)) {
			t.Fatal("the first request of a token is refused")
		}
	}
	if limiters.Len() > dixa.MaxLimited {
		t.Errorf("%d tokens are held", limiters.Len())
	}
	clock.Advance(time.Second)
	limiters.Allow("another")
	if limiters.Len() != 1 {
		t.Errorf("%d tokens are held, and all but one are idle", limiters.Len())
	}
}

// TestChangesAreAskedInTurn sees to it that one call asks after no more than its share, and that all get theirs.
func TestChangesAreAskedInTurn(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	client := s.client(t, support, nil)
	var ids []string
	for i := range 25 {
		created, err := client.Create(t.Context(), subscription.Draft{
			Name: fmt.Sprintf("subscription-%d", i), URL: "https://example.com", Events: []string{"TypingStarted"}, Enabled: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, created.ID)
		if err := s.settle(t.Context(), support, created.ID, "TypingStarted", func(*journal.Outcome) {}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(ids)
	first, err := client.StatusesChangedSince(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := client.StatusesChangedSince(t.Context(), first.Next)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.IDs) != 20 || len(second.IDs) != 5 {
		t.Errorf("the calls tell of %d and %d changes", len(first.IDs), len(second.IDs))
	}
	if diff := cmp.Diff(ids, slices.Sorted(slices.Values(slices.Concat(first.IDs, second.IDs)))); diff != "" {
		t.Errorf("each is told of once (-want +got):\n%s", diff)
	}
	if err := client.Delete(t.Context(), ids[3]); err != nil {
		t.Fatal(err)
	}
	all, err := s.client(t, support, nil).StatusesChangedSince(t.Context(), second.Next)
	if err != nil || len(all.IDs) != 20 {
		t.Errorf("another client's cursor is the beginning: %d changes, %v", len(all.IDs), err)
	}
	if again, err := client.StatusesChangedSince(t.Context(), ""); err != nil || slices.Contains(again.IDs, ids[3]) || len(again.IDs) != 24 {
		t.Errorf("the deleted one is left out: %d changes, %v", len(again.IDs), err)
	}
}

// TestSecret reads the secret that a lost answer had.
func TestSecret(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	client := s.client(t, support, nil)
	created, err := client.Create(t.Context(), subscription.Draft{
		Name: "Dashboard", URL: "https://example.com", Events: []string{"TypingStarted"}, Enabled: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Secret(t.Context(), created.ID)
	if err != nil || got != created.Secret || len(got) != 64 {
		t.Errorf("the secret that is read is another: %v", err)
	}
	if _, err := s.client(t, sales, nil).Secret(t.Context(), created.ID); !errors.Is(err, subscription.ErrNotFound) {
		t.Errorf("another tenant's: %v", err)
	}
}

// TestFilters sees that filters go there and back.
func TestFilters(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	client := s.client(t, support, nil)
	options := subscription.Options{Dixa: &subscription.DixaOptions{Filters: map[string]subscription.DixaFilters{
		"Conversation": {Strategy: "Any", Conditions: []subscription.DixaCondition{
			{Operator: "IsOneOf", Field: "InitialChannel", Values: []string{"Email"}}, {Operator: "IsNotOneOf", Field: "QueueId", Values: []string{"a", "b"}},
		}},
	}}}
	draft := subscription.Draft{Name: "Dashboard", URL: "https://example.com", Events: []string{"TypingStarted"}, Enabled: true, Options: options}
	created, err := client.Create(t.Context(), draft)
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Get(t.Context(), created.ID)
	if diff := cmp.Diff(options, got.Options); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	updated, err := client.Update(t.Context(), created.ID, subscription.Patch{Options: &subscription.Options{}})
	if err != nil || updated.Options.Dixa != nil {
		t.Errorf("filters that are removed are still there: %v", err)
	}
	draft.Options.Dixa.Filters["Conversation"].Conditions[1].Values = nil
	_, err = client.Create(t.Context(), draft)
	if invalid, ok := errors.AsType[*subscription.InvalidError](err); !ok || invalid.Field != "vendorOptions.dixa.filters.Conversation.conditions[1].values" {
		t.Errorf("filters without values are refused by name: %v", err)
	}
}
