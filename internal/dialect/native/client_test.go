package native_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const capabilities = `{"provider":"dispatcher","fields":["name","vendorOptions.bird"],"secret":"Settable","visibilityDelay":"2s",` +
	`"naturalKey":["name"],"urlSchemes":["https"],"somethingNew":true}`

// against makes a client of a server that answers the capabilities, and with answer all else.
func against(t *testing.T, answer http.HandlerFunc) *native.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/base/webhooks/capabilities" {
			_, _ = io.WriteString(w, capabilities)

			return
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	client, err := native.NewClient(t.Context(), native.ClientConfig{
		BaseURL: server.URL + "/base/", Token: func(context.Context) (string, error) { return "the-bearer-token", nil }, Timeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}

	return client
}

// one is a subscription as a dispatcher answers it.
func one(id string) string {
	return `{"subscriptionId":"` + id + `","name":"orders","url":"https://example.com","events":["*"],"enabled":true,"state":{"phase":"Active"}}`
}

func TestClientSendsWhatTheAPIAsksFor(t *testing.T) {
	t.Parallel()
	var got []string
	client := against(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, fmt.Sprintf("%s %s %s %s %s %s", r.Method, r.RequestURI, r.Header.Get("Authorization"), r.Header.Get("Accept"),
			r.Header.Get("Content-Type"), body))
		answer := `{"logs":[]}`
		if r.Method == http.MethodPatch {
			answer = one("a/b c")
		}
		_, _ = io.WriteString(w, answer)
	})
	enabled := false
	if _, err := client.Update(t.Context(), "a/b c", subscription.Patch{Enabled: &enabled}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Logs(t.Context(), "x", subscription.LogQuery{Event: "a&b", Limit: 3}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"PATCH /base/webhooks/subscriptions/a%2Fb%20c Bearer the-bearer-token " + native.MediaType + " " + native.MediaType + " {\"enabled\":false}\n",
		"GET /base/webhooks/subscriptions/x/logs?event=a%26b&limit=3 Bearer the-bearer-token " + native.MediaType + "  ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	caps := client.Capabilities()
	if caps.VisibilityDelay != 2*time.Second || !caps.Has(subscription.FieldName) || !caps.Has(subscription.FieldBirdOptions) {
		t.Errorf("the capabilities are the server's, less what the wire cannot say: %+v", caps)
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
	cases := map[string]struct {
		reason string
		answer http.HandlerFunc
		// want is the error, nil where it must be transient: none of the port's.
		want error
		says string
	}{
		"not found":              {"the API says so", refuse(404, `{"message":"x","reason":"NotFound"}`), subscription.ErrNotFound, "no such"},
		"name taken":             {"the API says so", refuse(409, `{"message":"x","reason":"NameTaken"}`), subscription.ErrNameTaken, "name"},
		"invalid":                {"the field is kept", refuse(400, `{"message":"url: too short","reason":"Invalid","field":"url"}`), &subscription.InvalidError{Field: "url", Message: "too short"}, "updating"},
		"unsupported":            {"what is kept", refuse(422, `{"reason":"Unsupported","unsupported":["headers"],"provider":"p"}`), &subscription.UnsupportedError{Provider: "p", What: []string{"headers"}}, "headers"},
		"too large":              {"it will not become smaller", refuse(413, `{"message":"big","reason":"TooLarge"}`), &subscription.InvalidError{Message: "big"}, "big"},
		"bad token":              {"401", refuse(401, `{"message":"unknown token"}`), &subscription.AuthError{Message: "unknown token"}, "unknown token"},
		"foreign 401":            {"an ingress says so", refuse(401, `<html>`), &subscription.AuthError{Message: "Unauthorized"}, "Unauthorized"},
		"no right":               {"403", refuse(403, `{"message":"admin only","reason":"Forbidden"}`), &subscription.AuthError{Forbidden: true, Message: "admin only"}, "admin only"},
		"too fast":               {"seconds", refuse(429, `{}`, "Retry-After", "7"), &subscription.RateLimitedError{After: 7 * time.Second}, "7s"},
		"too fast, explained":    {"why", refuse(429, `{"message":"slow down","reason":"TooManyRequests"}`), &subscription.RateLimitedError{Message: "slow down"}, "slow down"},
		"too fast, when unknown": {"neither seconds nor a date", refuse(429, ``, "Retry-After", "soon"), &subscription.RateLimitedError{}, "too many"},
		"too fast, past":         {"a date that is over", refuse(429, ``, "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"), &subscription.RateLimitedError{}, "too many"},
		"foreign 404":            {"a wrong path or an ingress: nothing is known about the subscription", refuse(404, `404 page not found`), nil, "404: Not Found"},
		"foreign 400":            {"a proxy's, not the input's fault", refuse(400, `bad request`), nil, "400"},
		"wrong path":             {"the API says so", refuse(404, `{"message":"no such path","reason":"NoSuchPath"}`), nil, "no such path"},
		"unavailable":            {"it may work later", refuse(503, `{"message":"later","reason":"Unavailable"}`), nil, "503: later"},
		"redirect":               {"the token stays here", refuse(307, ``, "Location", "https://example.com/"), nil, "307"},
		"no JSON":                {"not the API", refuse(200, `<html>`), nil, "is the URL right"},
		"bad duration":           {"a server's slip is not the input's fault", refuse(200, strings.Replace(one("x"), "{", `{"delivery":{"timeout":"x"},`, 1)), nil, "delivery.timeout"},
		"fraction":               {"seconds may have one", refuse(429, ``, "Retry-After", "1.5"), &subscription.RateLimitedError{After: 1500 * time.Millisecond}, "1.5s"},
		"negative":               {"it asks for nothing", refuse(429, ``, "Retry-After", "-5"), &subscription.RateLimitedError{}, "too many"},
		"for years":              {"a day is the most", refuse(429, ``, "Retry-After", "2000000000"), &subscription.RateLimitedError{After: 24 * time.Hour}, "24h"},
		"date far off":           {"a day is the most", refuse(429, ``, "Retry-After", "Fri, 02 Jan 2990 15:04:05 GMT"), &subscription.RateLimitedError{After: 24 * time.Hour}, "24h"},
		"endless": {"4 MiB are the most", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(" ", native.MaxResponseBytes+1))
		}, nil, "4194304"},
		"cut off": {"half an answer", refuse(200, `{"name":`, "Content-Length", "100"), nil, "reading"},
		"slow": {"2 s is the most here", func(_ http.ResponseWriter, r *http.Request) {
			// The server sees the client go once the body is read.
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, nil, "deadline"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			enabled := true
			_, err := against(t, tc.answer).Update(t.Context(), "x", subscription.Patch{Enabled: &enabled})
			if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "the-bearer-token") {
				t.Fatalf("%s: got %v", tc.reason, err)
			}
			if diff := cmp.Diff(describe(tc.want), describe(err)); diff != "" {
				t.Errorf("%s: %v (-want +got):\n%s", tc.reason, err, diff)
			}
		})
	}
}

// describe is the port's error in another, with its fields.
func describe(err error) string {
	if invalid, ok := errors.AsType[*subscription.InvalidError](err); ok {
		return fmt.Sprintf("invalid %+v", *invalid)
	}
	if unsupported, ok := errors.AsType[*subscription.UnsupportedError](err); ok {
		return fmt.Sprintf("unsupported %+v", *unsupported)
	}
	if auth, ok := errors.AsType[*subscription.AuthError](err); ok {
		return fmt.Sprintf("auth %+v", *auth)
	}
	if limited, ok := errors.AsType[*subscription.RateLimitedError](err); ok {
		return fmt.Sprintf("limited %+v", *limited)
	}
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return "not found"
	case errors.Is(err, subscription.ErrNameTaken):
		return "name taken"
	default:
		return "transient"
	}
}

func TestClientNeverRepeatsSecrets(t *testing.T) {
	t.Parallel()
	client := against(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusBadRequest)
		message := strconv.Quote("you sent " + r.Header.Get("Authorization") + string(body) + strings.Repeat("…", 1000))
		_, _ = fmt.Fprintf(w, `{"message":%s,"reason":"Invalid","field":"x"}`, message)
	})
	secret, headers := "signing-secret", []subscription.Header{
		{Name: "X-Key", Value: "header-secret", Sensitive: true}, {Name: "X-Open", Value: "open-value"},
	}
	basic := subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "ann", Password: "basic-secret"}
	_, createErr := client.Create(t.Context(), subscription.Draft{
		Secret: secret, Headers: headers, Authorization: subscription.Authorization{Scheme: subscription.SchemeBearer, Token: "token-secret"},
	})
	_, updateErr := client.Update(t.Context(), "x", subscription.Patch{Secret: &secret, Headers: &headers, Authorization: &basic})
	for _, err := range []error{createErr, updateErr} {
		if err == nil || len(err.Error()) > 700 || !strings.Contains(err.Error(), "open-value") {
			t.Errorf("the server's message is kept, and bounded: %v", err)
		}
		for _, value := range []string{"-secret", "the-bearer-token"} {
			if strings.Contains(fmt.Sprint(err), value) {
				t.Errorf("the error repeats %s: %v", value, err)
			}
		}
	}
}

func TestNewClientRefuses(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	token := func(text string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return text, nil }
	}
	cases := map[string]struct {
		reason string
		config native.ClientConfig
		want   string
		says   string
	}{
		"relative":     {"no host", native.ClientConfig{BaseURL: "/webhooks", Token: token("x")}, "invalid", "url"},
		"other scheme": {"not HTTP", native.ClientConfig{BaseURL: "ftp://x", Token: token("x")}, "invalid", "http"},
		"credentials":  {"they would show in errors", native.ClientConfig{BaseURL: "http://ann:hunter2@x", Token: token("x")}, "invalid", "credentials"},
		"query":        {"it would be lost", native.ClientConfig{BaseURL: "http://x?y=z", Token: token("x")}, "invalid", "query"},
		"no token":     {"nobody calls anonymously", native.ClientConfig{BaseURL: s.url}, "transient", "Token"},
		"bad token":    {"the server does not know it", native.ClientConfig{BaseURL: s.url, Token: token("hunter2")}, "auth", "not known"},
		"publisher's":  {"it may not administer", native.ClientConfig{BaseURL: s.url, Token: token(tokenOf(support, "publish"))}, "auth", ".admin"},
		"nobody there": {"it may come", native.ClientConfig{BaseURL: "http://127.0.0.1:1", Token: token("hunter2")}, "transient", "refused"},
		"another path": {"not the API", native.ClientConfig{BaseURL: s.url + "/v2", Token: token(tokenOf(support, "admin"))}, "transient", "no such path"},
		"token's error": {"it may pass", native.ClientConfig{BaseURL: s.url, Token: func(context.Context) (string, error) {
			return "", errors.New("the Secret is missing")
		}}, "transient", "the Secret is missing"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := native.NewClient(t.Context(), tc.config)
			if kind, _, _ := strings.Cut(describe(err), " "); err == nil || kind != tc.want || !strings.Contains(err.Error(), tc.says) ||
				strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: got %s, %v", tc.reason, describe(err), err)
			}
		})
	}
}

func TestClientKnowsWhatNoServerCanHold(t *testing.T) {
	t.Parallel()
	client := newStage(t, clockwork.NewRealClock()).client(t, support)
	for _, id := range []string{"", ".", "..", "a/b", "nobody", "%2e", "?x", "é", strings.Repeat("x", 5000)} {
		if _, err := client.Get(t.Context(), id); !errors.Is(err, subscription.ErrNotFound) {
			t.Errorf("the id %.20q: %v", id, err)
		}
		if err := client.Delete(t.Context(), id); !errors.Is(err, subscription.ErrNotFound) {
			t.Errorf("deleting the id %.20q: %v", id, err)
		}
	}
}

// TestVendorOptions takes options there and back, and what the registry says of them.
func TestVendorOptions(t *testing.T) {
	t.Parallel()
	client := newStage(t, clockwork.NewRealClock()).client(t, support)
	options := subscription.Options{Dixa: &subscription.DixaOptions{Filters: map[string]subscription.DixaFilters{
		"Conversation": {Strategy: "Any", Conditions: []subscription.DixaCondition{
			{Operator: "IsOneOf", Field: "QueueId", Values: []string{"1", "2"}},
			{Operator: "IsNotOneOf", Field: "InitialChannel", Values: []string{"Email"}},
		}},
	}}}
	draft := subscription.Draft{
		Name: "orders", URL: "https://example.com", Events: []string{"*"}, Enabled: true, Options: options,
		Delivery: subscription.Delivery{Format: subscription.FormatDixa},
	}
	created, err := client.Create(t.Context(), draft)
	if err != nil {
		t.Fatalf("creating with a vendor's options: %v", err)
	}
	if diff := cmp.Diff(options, created.Options); diff != "" {
		t.Errorf("created, -want +got:\n%s", diff)
	}
	got, err := client.Get(t.Context(), created.ID)
	if diff := cmp.Diff(options, got.Options); err != nil || diff != "" {
		t.Errorf("%v, read, -want +got:\n%s", err, diff)
	}
	// They go together with their format.
	_, err = client.Update(t.Context(), created.ID, subscription.Patch{Delivery: &subscription.Delivery{}})
	if invalid, ok := errors.AsType[*subscription.InvalidError](err); !ok || invalid.Field != "vendorOptions.dixa" {
		t.Errorf("the format without its options: %v", err)
	}
	updated, err := client.Update(t.Context(), created.ID, subscription.Patch{Delivery: &subscription.Delivery{}, Options: &subscription.Options{}})
	if err != nil || updated.Options.Dixa != nil || updated.Delivery.Format != "" {
		t.Errorf("removed: %+v, %v", updated, err)
	}
	bird := subscription.Options{Bird: &subscription.BirdOptions{
		Template: "text", EventFilters: []subscription.BirdEventFilter{{Key: "channelId", Value: "1"}},
	}}
	_, err = client.Update(t.Context(), created.ID, subscription.Patch{Options: &bird})
	if invalid, ok := errors.AsType[*subscription.InvalidError](err); !ok || invalid.Field != "vendorOptions.bird" {
		t.Errorf("another format's options: %v", err)
	}
}

func TestLongListsComeInPages(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	api := s.registry.Tenant(support)
	client := s.client(t, support)
	// Each takes 100 KiB, so a page ends by its bytes long before its limit, and the whole
	// would not fit into one answer.
	want := map[string]bool{}
	var headers []subscription.Header
	for i := range 25 {
		headers = append(headers, subscription.Header{Name: fmt.Sprintf("X-%d", i), Value: strings.Repeat("v", subscription.MaxHeaderValueLength)})
	}
	for i := range 60 {
		created, err := api.Create(t.Context(), subscription.Draft{
			Name: fmt.Sprintf("orders-%d", i), URL: "https://example.com/hooks", Events: []string{"*"}, Headers: headers,
		})
		if err != nil {
			t.Fatal(err)
		}
		want[created.ID] = true
	}
	list, err := client.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, one := range list {
		got[one.ID] = true
	}
	if diff := cmp.Diff(want, got); diff != "" || len(list) != len(want) {
		t.Errorf("%d of %d: %s", len(list), len(want), diff)
	}
}

// TestClientKnowsADispatchersAnswer: what is not one is an error that says what was expected, and never an empty list.
func TestClientKnowsADispatchersAnswer(t *testing.T) {
	t.Parallel()
	list := func(ctx context.Context, c *native.Client) error { _, err := c.List(ctx); return err }
	get := func(ctx context.Context, c *native.Client) error { _, err := c.Get(ctx, "x"); return err }
	create := func(ctx context.Context, c *native.Client) error {
		_, err := c.Create(ctx, subscription.Draft{})
		return err
	}
	types := func(ctx context.Context, c *native.Client) error { _, err := c.EventTypes(ctx); return err }
	statuses := func(ctx context.Context, c *native.Client) error { _, err := c.Statuses(ctx, "x"); return err }
	changes := func(ctx context.Context, c *native.Client) error {
		_, err := c.StatusesChangedSince(ctx, "")
		return err
	}
	logs := func(ctx context.Context, c *native.Client) error {
		_, err := c.Logs(ctx, "x", subscription.LogQuery{})
		return err
	}
	const members = `expected {"subscriptionId","name","url","events","enabled","state"}`
	cases := map[string]struct {
		reason string
		do     func(context.Context, *native.Client) error
		answer string
		// want is in the error; empty where there is none.
		want string
	}{
		"List":           {"a list, with members that are not known", list, `{"subscriptions":[` + strings.Replace(one("x"), "{", `{"more":1,`, 1) + `],"total":1}`, ""},
		"ListNothing":    {"nothing is no empty list", list, ``, `expected {"subscriptions":[…]}`},
		"ListNull":       {"nor is null", list, `null`, `expected {"subscriptions":[…]}`},
		"ListEmpty":      {"nor an object", list, `{}`, `expected {"subscriptions":[…]}`},
		"ListNullInside": {"nor null inside", list, `{"subscriptions":null}`, `expected {"subscriptions":[…]}`},
		"ListBare":       {"another API's", list, `[]`, `expected {"subscriptions":[…]}`},
		"ListNext":       {"another API's pages", list, `{"subscriptions":[],"next":7}`, `expected a JSON object`},
		"ListLacks":      {"what is absent would be taken for changed", list, `{"subscriptions":[` + one("x") + `,{"subscriptionId":"y"}]}`, "entry 1: the answer is not of the documented shape, " + members},
		"ListNoID":       {"an id is never empty", list, `{"subscriptions":[` + one("") + `]}`, `"subscriptionId" that is not empty`},
		"ListNullEntry":  {"an entry is never null", list, `{"subscriptions":[null]}`, members},
		"Get":            {"a subscription", get, one("x"), ""},
		"GetNothing":     {"a proxy's empty page", get, ``, members},
		"GetNull":        {"a member that is null", get, strings.Replace(one("x"), `true`, `null`, 1), members},
		"GetKind":        {"a member of another kind", get, strings.Replace(one("x"), `true`, `"yes"`, 1), members},
		"GetOther":       {"another subscription", get, one("y"), "the subscription that was asked for"},
		"Create":         {"none was given, so one is made", create, strings.Replace(one("x"), "{", `{"secret":"whsec_x",`, 1), ""},
		"CreateNoSecret": {"the secret that was made shows here alone", create, one("x"), `expected a "secret"`},
		"Types":          {"event types", types, `{"eventTypes":[{"name":"a"}]}`, ""},
		"TypesEmpty":     {"no envelope", types, `{}`, `expected {"eventTypes":[…]}`},
		"TypesNoName":    {"a type has a name", types, `{"eventTypes":[{}]}`, `expected {"name"}`},
		"StatusesEmpty":  {"no envelope", statuses, `{}`, `expected {"deliveryStatuses":[…]}`},
		"StatusesLack":   {"a status tells whether it is one of success", statuses, `{"deliveryStatuses":[{"event":"a"}]}`, `expected {"event","success",`},
		"ChangesEmpty":   {"a cursor that is lost would begin anew", changes, `{}`, `expected {"subscriptionIds","next"}`},
		"LogsEmpty":      {"no envelope", logs, `{}`, `expected {"logs":[…]}`},
		"LogsLack":       {"an attempt has a latency", logs, `{"logs":[{"deliveryId":"d"}]}`, `expected {"deliveryId","eventId",`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tc.do(t.Context(), against(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tc.answer) }))
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("%s: %v", tc.reason, err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%s: want an error with %s, got %v", tc.reason, tc.want, err)
			case describe(err) != "transient":
				t.Errorf("%s: want a transient error, got %s", tc.reason, describe(err))
			}
		})
	}
}

func TestPagesThatDoNotMoveOn(t *testing.T) {
	t.Parallel()
	client := against(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"subscriptions":[],"next":"same"}`)
	})
	if _, err := client.List(t.Context()); err == nil || !strings.Contains(err.Error(), "do not move on") {
		t.Errorf("got %v", err)
	}
}

func TestLogsFitIntoOneAnswer(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	client := s.client(t, support)
	created, err := client.Create(t.Context(), subscription.Draft{Name: "orders", URL: "https://example.com/hooks", Events: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	// Quotation marks double on the wire, and the receiver's answers take Base64.
	payload := []byte(`{"data":"` + strings.Repeat(`\"`, 400<<10) + `"}`)
	for i := range 900 {
		body := []byte("{}")
		if i > 896 {
			body = payload
		}
		err := s.settle(t.Context(), support, created.ID, "order.paid", body, func(outcome *journal.Outcome) {
			fail(outcome)
			outcome.Attempt.ResponseBody = []byte(strings.Repeat("\x00", journal.MaxFailureBody))
			outcome.Result, outcome.Reason = journal.DeadLettered, journal.ReasonGone
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	logs, err := client.Logs(t.Context(), created.ID, subscription.LogQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if len(logs) < 100 || len(logs) >= 900 || string(logs[0].Payload) != string(payload) {
		t.Errorf("%d entries, the first with %d bytes of payload", len(logs), len(logs[0].Payload))
	}
	for i, entry := range logs {
		if i > 0 && entry.Position >= logs[i-1].Position {
			t.Fatalf("entry %d is not older than the one before", i)
		}
	}
}
