package bird_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	accessKey    = "AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGhIj"
	documentedID = "cb28a94e-8557-4394-80ea-5bbd2170d434"
	// documentedOne is the vendor's example, with a member that it does not have.
	documentedOne = `{"id":"cb28a94e-8557-4394-80ea-5bbd2170d434","organizationId":"823fbfaf-f14e-4693-b55a-8ec1c17d649e",` +
		`"workspaceId":"b4e02c85-c6d2-4b15-8885-e09671799c61","service":"channels","event":"sms.outbound","eventFilters":null,` +
		`"url":"https://example.com/webhook","status":"active","createdAt":"2024-11-15T13:34:45.775630149Z","updatedAt":"2024-11-15T13:34:45Z","new":[1]}`
)

// against makes a client of a server that answers with a function.
func against(t *testing.T, change func(*bird.ClientConfig), answer http.HandlerFunc) *bird.Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	cfg := bird.ClientConfig{
		BaseURL: server.URL, AccessKey: func(context.Context) (string, error) { return accessKey, nil }, WorkspaceID: workspaceID,
		Timeout: 2 * time.Second, Clock: clockwork.NewFakeClockAt(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)),
	}
	if change != nil {
		change(&cfg)
	}
	client, err := bird.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}

	return client
}

// answers are what a server says, by method and the path's end; the first that fits counts.
type answers []struct{ method, end, body string }

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, one := range a {
		if r.Method == one.method && strings.HasSuffix(r.URL.Path, one.end) {
			_, _ = io.WriteString(w, one.body)

			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, `{"code":"NotFound","message":"no"}`)
}

func TestClientSendsWhatTheVendorDocuments(t *testing.T) {
	t.Parallel()
	var got []string
	client := against(t, func(cfg *bird.ClientConfig) { cfg.OrganizationID = organizationID }, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "AccessKey "+accessKey || r.Header.Get("Accept") != "application/json" ||
			(len(body) > 0) != (r.Header.Get("Content-Type") == "application/json") {
			t.Errorf("the headers are %v", r.Header)
		}
		path := strings.Replace(r.RequestURI, "/organizations/"+organizationID+inWorkspace, "{o}", 1)
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Method, strings.Replace(path, inWorkspace, "{w}", 1), body)))
		answers{
			{"GET", "/webhook-subscriptions", `{"results":[]}`}, {"GET", "/logs", `{"results":[]}`},
			{"GET", "/available-webhooks", `{"results":[{"service":"channels","events":[{"name":"sms.outbound","filterKeys":["channelId"]}]}]}`},
			{r.Method, "", documentedOne},
		}.ServeHTTP(w, r)
	})
	created, err := client.Create(t.Context(), subscription.Draft{
		URL: "https://example.com/a?b=c&d=<>", Events: []string{"channels.sms.outbound"}, Secret: vectorKey,
		Options: subscription.Options{Bird: &subscription.BirdOptions{
			EventFilters: []subscription.BirdEventFilter{{Key: "channelId", Value: "c"}}, Template: "text",
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if created.Secret != "" || created.ID != documentedID {
		t.Error("a given secret is not generated")
	}
	for _, patch := range []subscription.Patch{
		{},
		{URL: new("https://example.com"), Enabled: new(true), Secret: new(vectorKey)},
		{Options: &subscription.Options{Bird: filters("messageStatus", "sent")}},
		{Options: &subscription.Options{Bird: &subscription.BirdOptions{Template: "twilio"}}},
	} {
		if _, err := client.Update(t.Context(), documentedID, patch); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{second(client.List(t.Context())), client.Delete(t.Context(), documentedID)} {
		if err != nil {
			t.Error(err)
		}
	}
	one := "{o}/webhook-subscriptions/" + documentedID
	want := []string{
		`POST {o}/webhook-subscriptions {"service":"channels","event":"sms.outbound","url":"https://example.com/a?b=c&d=<>",` +
			`"signingKey":"KeV+/HGoIQrxuE5YPCRR6AuQOJveldYNNhbVi1i22qk=","eventFilters":[{"key":"channelId","value":"c"}],"template":"text"}`,
		"PATCH " + one + ` {"status":"inactive"}`,
		"GET " + one,
		"PATCH " + one + ` {"url":"https://example.com","signingKey":"KeV+/HGoIQrxuE5YPCRR6AuQOJveldYNNhbVi1i22qk=","status":"active"}`,
		"GET " + one,
		"PATCH " + one + ` {"eventFilters":[{"key":"messageStatus","value":"sent"}]}`,
		"PATCH " + one + ` {"eventFilters":[],"template":"twilio"}`,
		"GET {o}/webhook-subscriptions?limit=100",
		"DELETE " + one,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got = nil
	for _, err := range []error{
		second(client.Statuses(t.Context(), documentedID)), second(client.Logs(t.Context(), documentedID, subscription.LogQuery{Limit: 50})),
		second(client.EventTypes(t.Context())),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{
		"GET " + one, "GET " + one + "/logs?limit=2", "GET " + one, "GET " + one + "/logs?limit=50",
		"GET {w}/available-webhooks?service=channels", "GET {w}/available-webhooks?service=numbers",
		"GET {w}/available-webhooks?service=payments", "GET {w}/available-webhooks?service=conversations",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func second[V any](_ V, err error) error { return err }

func TestClientRefusesWhatTheVendorWould(t *testing.T) {
	t.Parallel()
	client := against(t, nil, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s was sent", r.Method, r.URL.Path) })
	for name, c := range map[string]struct {
		change func(*subscription.Draft)
		field  string
	}{
		"Port":      {func(d *subscription.Draft) { d.URL = "https://example.com:8443/" }, "url"},
		"Address":   {func(d *subscription.Draft) { d.URL = "https://192.0.2.1/" }, "url"},
		"Query":     {func(d *subscription.Draft) { d.URL = "https://example.com?a=b" }, "url"},
		"HTTP":      {func(d *subscription.Draft) { d.URL = "http://example.com" }, "url"},
		"Service":   {func(d *subscription.Draft) { d.Events = []string{"order.paid"} }, "events"},
		"Bare":      {func(d *subscription.Draft) { d.Events = []string{"channels"} }, "events"},
		"TwoEvents": {func(d *subscription.Draft) { d.Events = []string{"channels.sms.inbound", "channels.sms.outbound"} }, "events"},
		"Wildcard":  {func(d *subscription.Draft) { d.Events = []string{"channels.*"} }, "events"},
		"Key":       {func(d *subscription.Draft) { d.Secret = "conformance" }, "secretRef"},
		"Filter":    {func(d *subscription.Draft) { d.Options.Bird = filters("a", "") }, "vendorOptions.bird.eventFilters[0].value"},
	} {
		draft := subscription.Draft{URL: "https://example.com", Events: []string{"channels.sms.outbound"}, Enabled: true}
		c.change(&draft)
		_, err := client.Create(t.Context(), draft)
		invalid, ok := errors.AsType[*subscription.InvalidError](err)
		if !ok || invalid.Field != c.field {
			t.Errorf("%s: got %v, want the field %s", name, err, c.field)
		}
	}
	if _, err := client.Get(t.Context(), "2V1lVz6FeKOuVLEpSU6M0aqkM9b"); !errors.Is(err, subscription.ErrNotFound) {
		t.Errorf("an id that is no UUID: %v", err)
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
		"not found":   {"the API says so", refuse(404, `{"code":"x","message":"not found"}`), subscription.ErrNotFound, "no such"},
		"foreign 404": {"an ingress says nothing of a subscription", refuse(404, "404 page not found"), nil, "404: Not Found"},
		"invalid": {
			"the vendor's words, details in order", refuse(422, `{"code":"InvalidPayload","message":"malformed","details":{".status":["b","c"],".b":"x","a":[]}}`),
			&subscription.InvalidError{Message: "InvalidPayload: malformed (.b: x; .status: b, c; a)"}, "malformed",
		},
		"field": {
			"details of one field name it", refuse(422, `{"code":"InvalidPayload","message":"m","details":{".url":["not so"]}}`),
			&subscription.InvalidError{Field: "url", Message: "InvalidPayload: m (.url: not so)"}, "not so",
		},
		"body path": {
			"a path may begin with the body", refuse(400, `{"code":"c","message":"m","details":{".body.eventFilters[1].key":["x"]}}`),
			&subscription.InvalidError{Field: "vendorOptions.bird.eventFilters[1].key", Message: "c: m (.body.eventFilters[1].key: x)"}, "x",
		},
		"other field":   {"a longer name is another", refuse(422, `{"code":"c","details":{".urls":["x"]}}`), &subscription.InvalidError{Message: "c (.urls: x)"}, "x"},
		"odd details":   {"details of another kind leave the rest", refuse(422, `{"code":"c","message":"m","details":7}`), &subscription.InvalidError{Message: "c: m"}, "m"},
		"secrets":       {"no secret comes back", refuse(422, `{"message":"KeV+/HGoIQrxuE5YPCRR6AuQOJveldYNNhbVi1i22qk= by AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGhIj"}`), &subscription.InvalidError{Message: "*** by ***"}, "***"},
		"deterministic": {"nor what differs from answer to answer", refuse(422, `{"message":"request cb28a94e-8557-4394-80ea-5bbd2170d434 at 2026-08-01T12:00:00.123Z"}`), &subscription.InvalidError{Message: "request (id) at (time)"}, "request"},
		"proxy's 400":   {"a page is not the input's fault", refuse(400, `<html>`), nil, "400: Bad Request"},
		"conflict":      {"a conflict is of values", refuse(409, `{"code":"c"}`), &subscription.InvalidError{Message: "c"}, "c"},
		"bad key":       {"401", refuse(401, ``), &subscription.AuthError{Message: "Unauthorized"}, "Unauthorized"},
		"no right":      {"403 keeps the id that it names", refuse(403, `{"code":"Forbidden","message":"use b4e02c85-c6d2-4b15-8885-e09671799c61"}`), &subscription.AuthError{Forbidden: true, Message: "Forbidden: use b4e02c85-c6d2-4b15-8885-e09671799c61"}, "use"},
		"too fast":      {"seconds", refuse(429, `{}`, "Retry-After", "1.5"), &subscription.RateLimitedError{After: 1500 * time.Millisecond}, "1.5s"},
		"too fast, why": {"in the vendor's words", refuse(429, `{"code":"c","message":"Until 2026-08-01T12:00:00Z"}`, "Retry-After", "2"), &subscription.RateLimitedError{After: 2 * time.Second, Message: "c: Until (time)"}, "Until"},
		"date":          {"a date", refuse(429, ``, "Retry-After", "Sat, 01 Aug 2026 12:00:07 GMT"), &subscription.RateLimitedError{After: 7 * time.Second}, "7s"},
		"garbage":       {"neither", refuse(429, ``, "Retry-After", "soon"), &subscription.RateLimitedError{}, "too many"},
		"negative":      {"in the past", refuse(429, ``, "Retry-After", "-3"), &subscription.RateLimitedError{}, "too many"},
		"for ever":      {"bounded", refuse(429, ``, "Retry-After", "1e300"), &subscription.RateLimitedError{After: 24 * time.Hour}, "24h"},
		"trouble":       {"it may work later", refuse(500, `{"code":"InternalError","message":"boom"}`), nil, "500: InternalError: boom"},
		"redirect":      {"the key stays here", refuse(307, ``, "Location", "https://example.com/"), nil, "not followed"},
		"no JSON":       {"not the API", refuse(200, `<html>`), nil, `documented shape`},
		"another API":   {"the vendor's other product", refuse(200, `{"id":"cb28a94e-8557-4394-80ea-5bbd2170d434","url":"https://x.example","events":["a"],"status":"active"}`), nil, `"service","event"`},
		"no UUID":       {"an id that no path could hold", refuse(200, strings.Replace(documentedOne, "cb28a94e-8557", "../../x", 1)), nil, "UUID"},
		"another":       {"another than was asked for", refuse(200, strings.Replace(documentedOne, "cb28a94e", "cb28a94f", 1)), nil, "that was asked for"},
		"endless": {"4 MiB are the most", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(" ", bird.MaxResponseBytes+1))
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
			_, err := client.Update(t.Context(), documentedID, subscription.Patch{Secret: new(vectorKey)})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%s: got %v, want it to say %q", c.reason, err, c.says)
			}
			for _, secret := range []string{vectorKey, accessKey} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds a secret: %v", err)
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
	if unsupported, ok := errors.AsType[*subscription.UnsupportedError](err); ok {
		return *unsupported
	}
	for _, known := range []error{subscription.ErrNotFound, subscription.ErrNameTaken} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}

	return nil
}

// listed is a page of subscriptions by number.
func listed(next string, numbers ...int) string {
	entries := make([]string, 0, len(numbers))
	for _, number := range numbers {
		entries = append(entries, strings.Replace(documentedOne, "cb28a94e", fmt.Sprintf("%08d", number), 1))
	}

	return `{"results":[` + strings.Join(entries, ",") + `],"nextPageToken":` + next + `}`
}

func TestClientTurnsPages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason string
		pages  []string
		want   int
		says   string
	}{
		"One":       {"no token is the last page", []string{listed(`null`, 1, 2)}, 2, ""},
		"Several":   {"a token leads on, also past an empty page", []string{listed(`"a+/="`, 1, 2), listed(`"b"`), listed(`""`, 3)}, 3, ""},
		"Twice":     {"what stands on two pages is one", []string{listed(`"a"`, 1, 2), listed(`""`, 2, 3)}, 3, ""},
		"Circle":    {"a token that comes again leads nowhere", []string{listed(`"a"`, 1), listed(`"b"`, 2), listed(`"a"`, 3)}, 0, "nextPageToken"},
		"NoResults": {"half a list is none", []string{listed(`"a"`, 1), `{"nextPageToken":""}`}, 0, "documented shape"},
		"NoToken":   {"a token is a string", []string{listed(`7`, 1)}, 0, "nextPageToken"},
		"BadEntry":  {"an entry that cannot be read is not passed over", []string{`{"results":[{"id":"x"}]}`}, 0, "entry 0"},
		"Error":     {"nor is a page", []string{listed(`"a"`, 1), ""}, 0, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next := map[string]string{"": c.pages[0]}
			for i, page := range c.pages[1:] {
				for _, token := range []string{"a+/=", "a", "b"} {
					if strings.Contains(c.pages[i], `"nextPageToken":"`+token+`"`) {
						next[token] = page
					}
				}
			}
			client := against(t, nil, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("limit") != "100" {
					t.Errorf("the limit is %q", r.URL.Query().Get("limit"))
				}
				page := next[r.URL.Query().Get("pageToken")]
				if page == "" {
					w.WriteHeader(http.StatusNotFound)
				}
				_, _ = io.WriteString(w, page)
			})
			list, err := client.List(t.Context())
			if c.says == "" && (err != nil || len(list) != c.want) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%s: %d subscriptions, %v", c.reason, len(list), err)
			}
		})
	}
}

func TestClientEndsAnEndlessList(t *testing.T) {
	t.Parallel()
	pages := 0
	client := against(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		pages++
		_, _ = io.WriteString(w, listed(fmt.Sprintf(`"%d"`, pages), pages))
	})
	if _, err := client.List(t.Context()); err == nil || !strings.Contains(err.Error(), "more than 100 pages") || pages != bird.MaxPages {
		t.Errorf("after %d pages: %v", pages, err)
	}
}

func TestClientReadsTheVendorsExamples(t *testing.T) {
	t.Parallel()
	paused := strings.Replace(documentedOne, `"status":"active"`, `"status":"blocked","statusDescription":"too many failures since 2024-11-15T13:34:45Z"`, 1)
	inactive := strings.Replace(strings.Replace(documentedOne, `"status":"active"`, `"status":"inactive"`, 1),
		`"eventFilters":null`, `"eventFilters":[{"key":"channelId","value":"c"}],"template":"text"`, 1)
	client := against(t, nil, answers{{"GET", "", `{"results":[` + documentedOne + "," + strings.Replace(inactive, "cb28", "0000", 1) + "," +
		strings.Replace(paused, "cb28", "1111", 1) + `]}`}}.ServeHTTP)
	list, err := client.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	one := subscription.Subscription{
		ID: documentedID, URL: "https://example.com/webhook", Events: []string{"channels.sms.outbound"}, Enabled: true,
		CreatedAt: time.Date(2024, 11, 15, 13, 34, 45, 775630149, time.UTC), UpdatedAt: time.Date(2024, 11, 15, 13, 34, 45, 0, time.UTC),
	}
	off, blocked := one.Clone(), one.Clone()
	off.ID, off.Enabled = strings.Replace(one.ID, "cb28", "0000", 1), false
	off.Options.Bird = filters("channelId", "c")
	off.Options.Bird.Template = "text"
	blocked.ID = strings.Replace(one.ID, "cb28", "1111", 1)
	blocked.State = subscription.State{
		Phase: subscription.Suspended, Reason: "UnknownStatus", Message: "Bird says blocked: too many failures since (time)",
	}
	if diff := cmp.Diff([]subscription.Subscription{one, off, blocked}, list); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// entry is a log entry of a minute.
func entry(id string, minute, attempts, code int, status string) string {
	return fmt.Sprintf(`{"requestId":%q,"attemptCount":%d,"httpStatusCode":%d,"executionStatus":%q,"createdAt":"2025-07-12T00:%02d:00Z"}`,
		id, attempts, code, status, minute)
}

func TestClientReadsLogs(t *testing.T) {
	t.Parallel()
	a, b, c := entry("a", 1, 1, 200, "succeeded"), entry("b", 2, 2, 500, "failed"), entry("c", 3, 1, 0, "exhausted")
	page := func(next string, entries ...string) string {
		return `{"results":[` + strings.Join(entries, ",") + `],"nextPageToken":"` + next + `"}`
	}
	full := []string{"03 c #1 false 0 exhausted ", "02 b #2 false 500 Internal Server Error no", `01 b #1 false 0 timeout `, "01 a #1 true 200 OK "}
	details := `{"results":[{"attempt":1,"httpStatusCode":0,"executionStatus":"failed","createdAt":"2025-07-12T00:01:30Z","error":"timeout"},` +
		`{"attempt":2,"httpStatusCode":500,"createdAt":"2025-07-12T00:02:30Z","responseBody":"no","requestBody":"{}"}]}`
	for name, tc := range map[string]struct {
		reason  string
		pages   map[string]string
		details string
		limit   int
		want    []string
	}{
		"YoungestFirst": {"as Hookline's server sorts them", map[string]string{"": page("", c, b, a)}, details, 10, full},
		"OldestFirst":   {"or the other way round", map[string]string{"": page("", a, b, c)}, details, 10, full},
		"OldestPages":   {"the youngest are on the last page", map[string]string{"": page("x", a, b), "x": page("", c)}, details, 1, full[:1]},
		"Enough":        {"no more pages than needed", map[string]string{"": page("never", c, b)}, details, 1, full[:1]},
		"BareDetails":   {"an array alone will do, and members are taken from the delivery", map[string]string{"": page("", b)}, `[{},{}]`, 10, []string{"02 b #2 false 500 Internal Server Error ", "02 b #1 false 500 Internal Server Error "}},
		"NoDetails":     {"without attempts the last one stands alone", map[string]string{"": page("", b)}, `{"results":[]}`, 10, []string{"02 b #2 false 500 Internal Server Error "}},
		"Dropped":       {"nor where the logs have dropped them", map[string]string{"": page("", b)}, "", 10, []string{"02 b #2 false 500 Internal Server Error "}},
		"None":          {"no deliveries", map[string]string{"": page("")}, "", 10, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := against(t, nil, func(w http.ResponseWriter, r *http.Request) {
				token := r.URL.Query().Get("pageToken")
				if token == "never" {
					t.Error("a page too many was asked for")
				}
				list := answers{{"GET", "/logs", tc.pages[token]}, {"GET", documentedID, documentedOne}}
				if tc.details != "" {
					list = append(list, struct{ method, end, body string }{"GET", "/details", tc.details})
				}
				list.ServeHTTP(w, r)
			})
			logs, err := client.Logs(t.Context(), documentedID, subscription.LogQuery{Limit: tc.limit})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, one := range logs {
				if one.Event != "channels.sms.outbound" || one.EventID != one.DeliveryID {
					t.Errorf("the entry is %+v", one)
				}
				got = append(got, fmt.Sprintf("%s %s #%d %t %d %s %s", one.Timestamp.Format("04"), one.DeliveryID, one.Attempt, one.Success,
					one.ResponseCode, one.ResponseText, one.ResponseBody))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			statuses, err := client.Statuses(t.Context(), documentedID)
			if err != nil || len(statuses) != min(1, len(tc.want)) {
				t.Fatalf("%d statuses, %v", len(statuses), err)
			}
			if len(statuses) > 0 && (statuses[0].Event != "channels.sms.outbound" || !strings.HasPrefix(tc.want[0], statuses[0].Timestamp.Format("04"))) {
				t.Errorf("the status is %+v", statuses[0])
			}
		})
	}
}

func TestClientReadsTheCatalogue(t *testing.T) {
	t.Parallel()
	client := against(t, nil, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("service") {
		case "channels":
			_, _ = io.WriteString(w, `{"results":[{"service":"channels","events":[{"name":"sms.outbound","filterKeys":["channelId"]},`+
				`{"name":"sms.inbound"},{"name":"apple business chat.inbound"},{"name":"carrier pigeon.inbound"}]}]}`)
		case "payments":
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"code":"InvalidPayload","message":"unknown service"}`)
		default:
			_, _ = io.WriteString(w, `{"results":[]}`)
		}
	})
	types, err := client.EventTypes(t.Context())
	if diff := cmp.Diff([]subscription.EventType{
		{Name: "channels.apple-business-chat.inbound", Description: "It cannot be filtered."},
		{Name: "channels.sms.inbound", Description: "It cannot be filtered."},
		{Name: "channels.sms.outbound", Description: "It can be filtered by channelId."},
	}, types); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for name, status := range map[string]int{"refused": 422, "trouble": 500, "foreign": 404} {
		client := against(t, nil, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("service") != "numbers" && status != 422 {
				_, _ = io.WriteString(w, `{"results":[]}`)

				return
			}
			w.WriteHeader(status)
			if status != 404 {
				_, _ = io.WriteString(w, `{"code":"c"}`)
			}
		})
		if _, err := client.EventTypes(t.Context()); err == nil || portError(err) != nil {
			t.Errorf("%s: half a catalogue is none: %v", name, err)
		}
	}
	s := newStage(t, clockwork.NewRealClock(), nil)
	served, err := s.client(t, support, nil).EventTypes(t.Context())
	if diff := cmp.Diff(bird.Catalogue(), served); err != nil || diff != "" {
		t.Errorf("the server's is the package's: %v\n%s", err, diff)
	}
}

// TestCreateInactive sees that a create whose second half fails is not taken for one that did not happen.
func TestCreateInactive(t *testing.T) {
	t.Parallel()
	client := against(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusTooManyRequests)

			return
		}
		_, _ = io.WriteString(w, documentedOne)
	})
	_, err := client.Create(t.Context(), subscription.Draft{URL: "https://example.com", Events: []string{"channels.sms.outbound"}})
	if err == nil || portError(err) != nil || !strings.Contains(err.Error(), "inactive") {
		t.Errorf("got %v", err)
	}
}

// TestFiltersAreCleared sees that filters go, one way or the other, or that it is told.
func TestFiltersAreCleared(t *testing.T) {
	t.Parallel()
	filtered := strings.Replace(documentedOne, `"eventFilters":null`, `"eventFilters":[{"key":"a","value":"b"}]`, 1)
	for name, c := range map[string]struct {
		clears string
		want   any
	}{
		"ByArray": {`[]`, nil}, "ByNull": {`null`, nil},
		"Never": {`never`, subscription.UnsupportedError{Provider: "bird", What: []string{"vendorOptions.bird.eventFilters (removed from an existing subscription)"}}},
	} {
		client := against(t, nil, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if string(body) == `{"eventFilters":`+c.clears+`}` {
				_, _ = io.WriteString(w, documentedOne)

				return
			}
			_, _ = io.WriteString(w, filtered)
		})
		updated, err := client.Update(t.Context(), documentedID, subscription.Patch{Options: &subscription.Options{}})
		if diff := cmp.Diff(c.want, portError(err)); diff != "" || c.want == nil && (err != nil || updated.Options.Bird != nil) {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestOptionsGoThereAndBack(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock(), nil)
	client := s.client(t, support, nil)
	options := subscription.Options{Bird: filters("channelId", "c", "messageStatus", "sent")}
	options.Bird.Template = "text"
	created, err := client.Create(t.Context(), subscription.Draft{
		URL: "https://example.com", Events: []string{"channels.sms.outbound"}, Enabled: true, Options: options,
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(options, created.Options); diff != "" {
		t.Errorf("Create (-want +got):\n%s", diff)
	}
	for _, want := range []subscription.Options{options, {Bird: filters("channelId", "d")}, {Bird: &subscription.BirdOptions{Template: "twilio"}}, {}} {
		updated, err := client.Update(t.Context(), created.ID, subscription.Patch{Options: &want})
		if diff := cmp.Diff(want, updated.Options); err != nil || diff != "" {
			t.Errorf("Update: %v (-want +got):\n%s", err, diff)
		}
		got, err := client.Get(t.Context(), created.ID)
		if diff := cmp.Diff(want, got.Options); err != nil || diff != "" {
			t.Errorf("Get: %v (-want +got):\n%s", err, diff)
		}
	}
}

// TestLogsOfRetries sees that attempts go there and back.
func TestLogsOfRetries(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(exchangeStart)
	s := newStage(t, clock, nil)
	client := s.client(t, support, nil)
	created, err := client.Create(t.Context(), subscription.Draft{URL: "https://example.com", Events: []string{"channels.sms.outbound"}, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	p := &player{stage: s, clock: clock}
	if err := p.retry(t, created.ID, "channels.sms.outbound", func(outcome *journal.Outcome) {
		outcome.Attempt.Success, outcome.Attempt.ResponseCode, outcome.Attempt.ResponseText = false, 0, "no answer"
		outcome.Result, outcome.NextAttempt = journal.Retry, clock.Now().Add(time.Hour)
	}); err != nil {
		t.Fatal(err)
	}
	logs, err := client.Logs(t.Context(), created.ID, subscription.LogQuery{Event: "channels.sms.outbound"})
	if err != nil || len(logs) != 2 {
		t.Fatalf("%d entries: %v", len(logs), err)
	}
	if logs[0].Attempt != 2 || !logs[0].Success || string(logs[0].ResponseBody) != "thanks" || logs[1].Success || logs[1].ResponseText != "no answer" ||
		string(logs[1].Payload) != `{"service":"channels","event":"sms.outbound","payload":{"id":"message-1","status":"sent"}}` {
		t.Errorf("the entries are %+v", logs)
	}
	if other, err := client.Logs(t.Context(), created.ID, subscription.LogQuery{Event: "channels.sms.inbound"}); err != nil || len(other) != 0 {
		t.Errorf("%d entries of another event: %v", len(other), err)
	}
}

// TestNoSpellingOfASigningKeyComesBack: a message may quote the request as it was written.
func TestNoSpellingOfASigningKeyComesBack(t *testing.T) {
	t.Parallel()
	const key = `k"e<y\of a subscription that is long enough/"`
	for name, spell := range map[string]func(body string) string{
		"quoted":  func(body string) string { return "cannot read " + body },
		"escaped": func(string) string { return `cannot read "k\"e\u003cy\\of a subscription that is long enough/\""` },
		"query":   func(string) string { return "cannot read " + url.QueryEscape(key) },
		"path":    func(string) string { return "cannot read " + url.PathEscape(key) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := against(t, nil, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				text, _ := json.Marshal(map[string]any{"code": "c", "details": map[string][]string{".body": {spell(string(body))}}})
				w.WriteHeader(http.StatusUnprocessableEntity)
				_, _ = w.Write(text)
			})
			_, err := client.Create(t.Context(), subscription.Draft{
				URL: "https://example.com", Events: []string{"channels.sms.inbound"}, Enabled: true, Secret: key,
			})
			if says := fmt.Sprint(err); !strings.Contains(says, "cannot read") || !strings.Contains(says, "***") || strings.Contains(says, "enough") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestClientConfig(t *testing.T) {
	t.Parallel()
	key := func(context.Context) (string, error) { return "", errors.New("no key yet") }
	for _, wrong := range []string{"", "api.bird.com", "ftp://api.bird.com", "https://u:opensesame@api.bird.com", "https://api.bird.com/?a=b"} {
		_, err := bird.NewClient(bird.ClientConfig{BaseURL: wrong, AccessKey: key, WorkspaceID: workspaceID})
		if _, ok := errors.AsType[*subscription.InvalidError](err); !ok || strings.Contains(err.Error(), "opensesame") {
			t.Errorf("%q: got %v", wrong, err)
		}
	}
	if _, err := bird.NewClient(bird.ClientConfig{BaseURL: bird.DefaultBaseURL, AccessKey: key}); err == nil {
		t.Error("a client without a workspace is made")
	}
	if _, err := bird.NewClient(bird.ClientConfig{BaseURL: bird.DefaultBaseURL, WorkspaceID: workspaceID}); err == nil {
		t.Error("a client without an access key is made")
	}
	client, err := bird.NewClient(bird.ClientConfig{BaseURL: bird.DefaultBaseURL, AccessKey: key, WorkspaceID: workspaceID})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.List(t.Context()); err == nil || !strings.Contains(err.Error(), "no key yet") {
		t.Errorf("the key's error is handed on: %v", err)
	}
}

// TestSpacesGoThereAndBack sees that the port names the one platform with spaces by dashes.
func TestSpacesGoThereAndBack(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock(), nil)
	client := s.client(t, support, nil)
	events := []string{"channels.apple-business-chat.inbound"}
	created, err := client.Create(t.Context(), subscription.Draft{URL: "https://example.com", Events: events, Enabled: true})
	if diff := cmp.Diff(events, created.Events); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	held, err := s.registry.Tenant(support).List(t.Context())
	if err != nil || len(held) != 1 || cmp.Diff(events, held[0].Events) != "" {
		t.Errorf("the registry has %+v, %v", held, err)
	}
}

// TestChangesInTurn sees that each subscription has its turn, and that a change is told once.
func TestChangesInTurn(t *testing.T) {
	t.Parallel()
	const count = 25
	numbers := make([]int, count)
	for i := range numbers {
		numbers[i] = i
	}
	var (
		asked []string
		log   = map[string]string{}
		gone  = fmt.Sprintf("%08d", 3)
	)
	client := against(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/webhook-subscriptions") {
			_, _ = io.WriteString(w, listed(`""`, numbers...))

			return
		}
		number, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, inWorkspace+"/webhook-subscriptions/"), "-")
		asked = append(asked, number)
		if number == gone {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"code":"NotFound"}`)

			return
		}
		_, _ = io.WriteString(w, `{"results":[`+log[number]+`]}`)
	})
	log["00000001"], log["00000024"] = entry("a", 1, 1, 200, "succeeded"), entry("b", 1, 1, 200, "succeeded")
	var told []string
	cursor := ""
	changes := func() {
		t.Helper()
		got, err := client.StatusesChangedSince(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		told = nil
		for _, id := range got.IDs {
			told = append(told, id[:8])
		}
		cursor = got.Next
	}
	want := func(when string, ids ...string) {
		t.Helper()
		if diff := cmp.Diff(ids, told); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	if changes(); len(asked) != 20 {
		t.Errorf("the first call asks after %d", len(asked))
	}
	want("what is seen first with a log has changed", "00000001")
	changes()
	want("the others have their turn", "00000024")
	if asked[20] != "00000020" || asked[25] != "00000000" {
		t.Errorf("the second call goes on at %s, and around at %s", asked[20], asked[25])
	}
	changes()
	want("without a change nothing is told")
	log["00000001"] = entry("a", 1, 2, 500, "failed")
	changes()
	want("another attempt is a change", "00000001")
	cursor = "another-client.9"
	changes()
	want("another's cursor is the beginning", "00000001", "00000024")
	numbers = numbers[:10]
	cursor = ""
	changes()
	want("what is gone is told no more", "00000001")
}
