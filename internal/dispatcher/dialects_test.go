package dispatcher_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/dispatcher"
	"github.com/hookline-dev/hookline/internal/dispatcher/tokens"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// subscribed is one subscription of the stage, and how its receiver verifies.
type subscribed struct {
	id     string
	secret string
	verify func(t *testing.T, secret string, got delivered)
	// told sees to it that a body tells the event.
	told func(t *testing.T, body []byte)
}

// accounts are one tenant's clients of all dialects.
type accounts struct {
	native *native.Client
	vonage *vonage.Client
	dixa   *dixa.Client
	beta   *dixa.Client
	bird   *bird.Client
}

func (s *stage) accounts(t *testing.T, tenant string) accounts {
	t.Helper()

	return accounts{
		native: s.native(t, tenant), vonage: s.vonage(t, tenant), dixa: s.dixa(t, tenant, "/v1"), beta: s.dixa(t, tenant, "/beta"),
		bird: s.bird(t, tenant, bird.WorkspaceID(tenant)),
	}
}

func onQueue(id string) *subscription.DixaOptions {
	return &subscription.DixaOptions{Filters: map[string]subscription.DixaFilters{
		"Conversation": {Strategy: "All", Conditions: []subscription.DixaCondition{{Operator: "IsOneOf", Field: "QueueId", Values: []string{id}}}},
	}}
}

// endpoint is a URL whose last part tells which it is.
func endpoint(name string) string { return "https://" + host + "/hooks/" + name }

// subscribe makes a subscription through each vendor's API and through the native one, there
// also in each vendor's format.
func (a accounts) subscribe(t *testing.T) map[string]subscribed {
	t.Helper()
	const (
		connected = "channel.connected.v1"
		created   = "ConversationCreated"
		outbound  = "channels.sms.outbound"
	)
	vonageTold := func(t *testing.T, body []byte) {
		t.Helper()
		equal(t, "the type", connected, member(t, body, "type"))
		equal(t, "the data", "7", member(t, body, "data", "channel", "channelId"))
	}
	dixaTold := func(t *testing.T, body []byte) {
		t.Helper()
		equal(t, "event_fqn", "CONVERSATION_CREATED", member(t, body, "event_fqn"))
		equal(t, "the queue", "q1", member(t, body, "data", "conversation", "queue", "id"))
	}
	birdTold := func(t *testing.T, body []byte) {
		t.Helper()
		equal(t, "service", "channels", member(t, body, "service"))
		equal(t, "event", "sms.outbound", member(t, body, "event"))
		equal(t, "the channel", "c1", member(t, body, "payload", "channelId"))
	}
	nativeTold := func(t *testing.T, body []byte) {
		t.Helper()
		equal(t, "specversion", "1.0", member(t, body, "specversion"))
	}
	filters := []subscription.BirdEventFilter{{Key: "channelId", Value: "c1"}}
	specs := map[string]struct {
		api    subscription.API
		draft  subscription.Draft
		verify func(t *testing.T, secret string, got delivered)
		told   func(t *testing.T, body []byte)
	}{
		"vonage": {a.vonage, subscription.Draft{Name: "vonage", Events: []string{connected}}, verifyVonage, vonageTold},
		"dixa": {
			a.dixa, subscription.Draft{Name: "dixa", Events: []string{created}, Options: subscription.Options{Dixa: onQueue("q1")}}, verifyDixa, dixaTold,
		},
		"bird": {
			a.bird, subscription.Draft{Events: []string{outbound}, Options: subscription.Options{Bird: &subscription.BirdOptions{EventFilters: filters}}},
			verifyBird, birdTold,
		},
		"native": {a.native, subscription.Draft{Name: "native", Events: []string{connected, created, outbound}}, verifyStandard, nativeTold},
		"native-vonage": {
			a.native, subscription.Draft{Name: "native-vonage", Events: []string{"channel.*"}, Delivery: subscription.Delivery{Format: subscription.FormatVonage}},
			verifyVonage, vonageTold,
		},
		"native-dixa": {
			a.native, subscription.Draft{
				Name: "native-dixa", Events: []string{"Conversation*"}, Delivery: subscription.Delivery{Format: subscription.FormatDixa},
				Options: subscription.Options{Dixa: onQueue("q1")},
			}, verifyDixa, dixaTold,
		},
		"native-bird": {
			a.native, subscription.Draft{
				Name: "native-bird", Events: []string{outbound}, Delivery: subscription.Delivery{Format: subscription.FormatBird},
				Options: subscription.Options{Bird: &subscription.BirdOptions{EventFilters: filters}},
			}, verifyBird, birdTold,
		},
	}
	out := map[string]subscribed{}
	for name, spec := range specs {
		spec.draft.URL, spec.draft.Enabled = endpoint(name), true
		made, err := spec.api.Create(t.Context(), spec.draft)
		if err != nil {
			t.Fatalf("creating %s: %v", name, err)
		}
		out[name] = subscribed{id: made.ID, secret: made.Secret, verify: spec.verify, told: spec.told}
	}

	return out
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s, -want +got:\n%s", what, diff)
	}
}

func sorted(names ...string) []string { return slices.Sorted(slices.Values(names)) }

// lists compares what each dialect lists.
func (a accounts) lists(t *testing.T, want map[string][]string) {
	t.Helper()
	for name, api := range map[string]subscription.API{
		"native": a.native, "vonage": a.vonage, "dixa": a.dixa, "beta": a.beta, "bird": a.bird,
	} {
		equal(t, name+" lists", sorted(want[name]...), sorted(names(t, api)...))
	}
}

// events are one event for each vendor that passes the filters, and two that do not.
func events(round string) []string {
	return []string{
		event("other-queue-"+round, "ConversationCreated", `{"conversation":{"queue":{"id":"q2"}}}`),
		event("other-channel-"+round, "channels.sms.outbound", `{"channelId":"c2"}`),
		event("unmatched-"+round, "nobody.asks", `{}`),
		event("vonage-"+round, "channel.connected.v1", `{"channel":{"channelId":"7"}}`),
		event("dixa-"+round, "ConversationCreated", `{"conversation":{"queue":{"id":"q1"}}}`),
		event("bird-"+round, "channels.sms.outbound", `{"id":"m","channelId":"c1"}`),
	}
}

// TestFourDialects drives all dialects over one dispatcher: what each client makes, what its
// receivers get and verify, and what each API tells of it.
func TestFourDialects(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	a := s.accounts(t, support)
	made := a.subscribe(t)
	a.lists(t, map[string][]string{
		"native": {"vonage", "dixa", "bird", "native", "native-vonage", "native-dixa", "native-bird"},
		"vonage": {"vonage", "native-vonage"},
		"dixa":   {"dixa", "native-dixa"}, "beta": {"dixa", "native-dixa"},
		"bird": {"bird", "native-bird"},
	})

	s.publish(t, support, events("1")...)
	s.publish(t, sales, events("of another tenant")...)
	for name, one := range made {
		want := 1
		if name == "native" {
			want = 5
		}
		for _, got := range s.receiver.wait(t, "/hooks/"+name, want) {
			one.verify(t, one.secret, got)
			one.told(t, got.body)
		}
	}

	t.Run("Deliveries", func(t *testing.T) { a.tell(t, s, made) })
	t.Run("Changes", func(t *testing.T) { a.change(t, s, made) })
	t.Run("Isolation", func(t *testing.T) { s.isolates(t, made) })

	// Whatever else would have been sent has been by now: events of one log reach an endpoint in its order.
	for name, want := range map[string]int{"dixa": 2, "native-dixa": 2, "native-bird": 2, "bird": 1, "vonage": 1, "native-vonage": 2} {
		if got := s.receiver.at("/hooks/" + name); len(got) != want {
			t.Errorf("%s got %d notifications, want %d", name, len(got), want)
		}
	}
}

// tell reads statuses and logs through the APIs that have them.
func (a accounts) tell(t *testing.T, s *stage, made map[string]subscribed) {
	t.Helper()
	list, err := a.native.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range list {
		name := one.URL[strings.LastIndex(one.URL, "/")+1:]
		if name == "native" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			a.tellOne(t, a.native, one.ID, s.receiver.at("/hooks/" + name)[0])
		})
	}
	t.Run("by Dixa", func(t *testing.T) { a.tellOne(t, a.dixa, made["dixa"].id, s.receiver.at("/hooks/dixa")[0]) })
	t.Run("by Bird", func(t *testing.T) {
		got := s.receiver.at("/hooks/bird")[0]
		request := got.header.Get("Messagebird-Request-Id")
		logs := a.tellOne(t, a.bird, made["bird"].id, delivered{})
		equal(t, "the log's id is the one that the receiver got", request, logs.DeliveryID)
		details := s.send(t, http.MethodGet,
			"/workspaces/"+bird.WorkspaceID(support)+"/webhook-subscriptions/"+made["bird"].id+"/logs/details?requestId="+request,
			http.Header{"Authorization": {"AccessKey " + tokenOf(support, "admin")}}, "")
		results, _ := member(t, []byte(details.body), "results").([]any)
		if len(results) != 1 {
			t.Fatalf("the details are %d %s", details.status, details.body)
		}
		attempt, _ := results[0].(map[string]any)
		equal(t, "the details have what was sent", any(string(got.body)), attempt["requestBody"])
	})
	types, err := a.vonage.EventTypes(t.Context())
	if err != nil || !slices.ContainsFunc(types, func(e subscription.EventType) bool { return e.Name == "nobody.asks" }) ||
		!slices.ContainsFunc(types, func(e subscription.EventType) bool { return e.Name == "agent.presencechanged.v1" }) {
		t.Errorf("Vonage's catalogue has the documented types, and what was published: %v, %v", types, err)
	}
}

// tellOne waits until an API tells of the one delivery of a subscription, whose payload is what
// the receiver got.
func (a accounts) tellOne(t *testing.T, api subscription.API, id string, got delivered) subscription.LogEntry {
	t.Helper()
	var statuses []subscription.DeliveryStatus
	eventually(t, "there is a delivery status", func() bool {
		var err error
		if statuses, err = api.Statuses(t.Context(), id); err != nil {
			t.Fatalf("reading statuses: %v", err)
		}

		return len(statuses) > 0
	})
	if len(statuses) != 1 || !statuses[0].Success || statuses[0].ResponseCode != http.StatusOK {
		t.Errorf("the delivery statuses are %+v", statuses)
	}
	logs, err := api.Logs(t.Context(), id, subscription.LogQuery{Event: statuses[0].Event})
	if err != nil || len(logs) != 1 || !logs[0].Success || logs[0].Attempt != 1 {
		t.Fatalf("the logs are %+v, %v", logs, err)
	}
	equal(t, "the payload in the log is what was sent", string(got.body), string(logs[0].Payload))

	return logs[0]
}

// change disables one through Vonage, deletes one through Bird, renames one through Dixa and
// changes a format through the native API, and publishes again.
func (a accounts) change(t *testing.T, s *stage, made map[string]subscribed) {
	t.Helper()
	off := false
	if _, err := a.vonage.Update(t.Context(), made["vonage"].id, subscription.Patch{Enabled: &off}); err != nil {
		t.Fatalf("disabling through Vonage: %v", err)
	}
	if err := a.bird.Delete(t.Context(), made["bird"].id); err != nil {
		t.Fatalf("deleting through Bird: %v", err)
	}
	if _, err := a.dixa.Update(t.Context(), made["dixa"].id, subscription.Patch{Name: new("renamed")}); err != nil {
		t.Fatalf("renaming through Dixa: %v", err)
	}
	seen, err := a.native.Get(t.Context(), made["vonage"].id)
	if err != nil || seen.Enabled || seen.Delivery.Format != subscription.FormatVonage {
		t.Errorf("the native API sees what Vonage's changed: %+v, %v", seen, err)
	}
	if list := names(t, a.native); slices.Contains(list, "bird") {
		t.Errorf("the native API sees what Bird's deleted: %v", list)
	}
	// A subscription that changes its format changes the API that shows it.
	if _, err := a.native.Update(t.Context(), made["native"].id, subscription.Patch{
		Delivery: &subscription.Delivery{Format: subscription.FormatVonage},
	}); err != nil {
		t.Fatalf("changing a format: %v", err)
	}
	if list := names(t, a.vonage); !slices.Contains(list, "native") {
		t.Errorf("Vonage shows what has its format now: %v", list)
	}
	s.publish(t, support, events("2")...)
	for _, name := range []string{"dixa", "native-dixa", "native-vonage", "native-bird"} {
		for _, got := range s.receiver.wait(t, "/hooks/"+name, 2) {
			made[name].verify(t, made[name].secret, got)
		}
	}
	native := s.receiver.wait(t, "/hooks/native", 10)
	// One secret serves both formats; Vonage's has its text without the prefix.
	for _, got := range native[5:] {
		verifyVonage(t, strings.TrimPrefix(made["native"].secret, subscription.SecretPrefix), got)
	}
}

// isolates sees to it that another tenant's credentials, weaker ones and none see nothing.
func (s *stage) isolates(t *testing.T, made map[string]subscribed) {
	t.Helper()
	other := s.accounts(t, sales)
	other.lists(t, nil)
	for name, api := range map[string]subscription.API{"native": other.native, "vonage": other.vonage, "dixa": other.dixa, "native-bird": other.native} {
		if _, err := api.Get(t.Context(), made[name].id); !errors.Is(err, subscription.ErrNotFound) {
			t.Errorf("another tenant gets %s: %v", name, err)
		}
		if err := api.Delete(t.Context(), made[name].id); !errors.Is(err, subscription.ErrNotFound) {
			t.Errorf("another tenant deletes %s: %v", name, err)
		}
	}
	_, err := s.bird(t, sales, bird.WorkspaceID(support)).List(t.Context())
	if auth, ok := errors.AsType[*subscription.AuthError](err); !ok || !auth.Forbidden {
		t.Errorf("another tenant's workspace: %v", err)
	}
	paths := []string{
		"/webhooks/subscriptions", "/webhooks/event-types", "/webhooks/capabilities", "/v1/webhooks", "/beta/webhooks", "/v1/webhooks/" + made["dixa"].id,
		"/workspaces/" + bird.WorkspaceID(support) + "/webhook-subscriptions",
		"/organizations/" + bird.OrganizationID(support) + "/workspaces/" + bird.WorkspaceID(support) + "/webhook-subscriptions",
	}
	schemes := map[string]string{"/webhooks": "Bearer ", "/v1": "", "/beta": "Bearer ", "/workspaces": "AccessKey ", "/organizations": "AccessKey "}
	for _, path := range paths {
		scheme := schemes["/"+strings.Split(path, "/")[1]]
		for _, accept := range []string{"application/json", vonage.MediaType} {
			for credential, want := range map[string]int{
				"":                                   http.StatusUnauthorized,
				scheme + strings.Repeat("x", 40):     http.StatusUnauthorized,
				scheme + tokenOf(support, "publish"): http.StatusForbidden,
			} {
				header := http.Header{"Accept": {accept}}
				if credential != "" {
					header.Set("Authorization", credential)
				}
				if got := s.send(t, http.MethodGet, path, header, ""); got.status != want {
					if accept == vonage.MediaType && strings.HasSuffix(path, "capabilities") {
						// Vonage has no such path, whoever asks.
						continue
					}
					t.Errorf("GET %s by %.20q: %d %s, want %d", path, credential, got.status, got.body, want)
				}
			}
		}
	}
}

// TestDocuments gets each dialect's document by each kind of token, and by none.
func TestDocuments(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	documents := map[string][]byte{
		"native": native.OpenAPI(), "vonage": vonage.OpenAPI(), "dixa": dixa.OpenAPI(), "bird": bird.OpenAPI(),
	}
	issued := s.accessToken(t)
	for name, document := range documents {
		for _, token := range []string{tokenOf(support, "publish"), tokenOf(sales, "admin"), issued} {
			got := s.send(t, http.MethodGet, "/openapi/"+name+".yaml", http.Header{"Authorization": {"Bearer " + token}}, "")
			if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/yaml" {
				t.Errorf("%s: %d %s", name, got.status, got.header.Get("Content-Type"))
			}
			equal(t, name+" is the document that is held to the handlers", string(document), got.body)
		}
	}
	cases := map[string]struct {
		reason       string
		method, path string
		token        string
		want         int
		text         string
	}{
		"NoToken":    {"nothing without authentication", http.MethodGet, "/openapi/native.yaml", "", http.StatusUnauthorized, "Bearer"},
		"WrongToken": {"nor with a token that is not known", http.MethodGet, "/openapi/native.yaml", "x", http.StatusUnauthorized, "not known"},
		"Unknown":    {"there are four", http.MethodGet, "/openapi/other.yaml", tokenOf(support, "admin"), http.StatusNotFound, "bird.yaml"},
		"Method":     {"they are read alone", http.MethodPost, "/openapi/native.yaml", tokenOf(support, "admin"), http.StatusMethodNotAllowed, "GET"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if tc.token != "" {
				header.Set("Authorization", "Bearer "+tc.token)
			}
			if got := s.send(t, tc.method, tc.path, header, ""); got.status != tc.want || !strings.Contains(got.body, tc.text) {
				t.Errorf("%s: %d %s", tc.reason, got.status, got.body)
			}
		})
	}
}

// accessToken is one that the token endpoint issues.
func (s *stage) accessToken(t *testing.T) string {
	t.Helper()
	form := fmt.Sprintf("grant_type=client_credentials&client_id=%s&client_secret=%s", support, tokenOf(support, "admin"))
	got := s.send(t, http.MethodPost, vonage.PathToken, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form)
	token, _ := member(t, []byte(got.body), "access_token").(string)
	if got.status != http.StatusOK || token == "" {
		t.Fatalf("asking for a token: %d %s", got.status, got.body)
	}

	return token
}

// TestVonageClients: a client is a tenant with one of its tokens, and may do what the token may.
func TestVonageClients(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	cases := map[string]struct {
		reason     string
		id, secret string
		scope      string
		want       int
		text       string
		// list is what the token then answers a list with.
		list int
	}{
		"Admin":        {"an administrator has both scopes", support, tokenOf(support, "admin"), "", 200, "access_token", 200},
		"AdminReads":   {"or the one asked for", support, tokenOf(support, "admin"), "admin:read", 200, "access_token", 200},
		"AdminWrites":  {"and then lacks the other", support, tokenOf(support, "admin"), "admin:write", 200, "access_token", 401},
		"Publisher":    {"a publisher has none", support, tokenOf(support, "publish"), "", 200, "access_token", 403},
		"PublisherAsk": {"and may ask for none", support, tokenOf(support, "publish"), "admin:read", 400, "invalid_scope", 0},
		"OtherTenant":  {"the token is another tenant's", support, tokenOf(sales, "admin"), "", 400, "invalid_client", 0},
		"Unknown":      {"the token is nobody's", support, "hunter2", "", 400, "invalid_client", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			form := fmt.Sprintf("grant_type=client_credentials&client_id=%s&client_secret=%s&scope=%s", tc.id, tc.secret, tc.scope)
			got := s.send(t, http.MethodPost, vonage.PathToken, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form)
			if got.status != tc.want || !strings.Contains(got.body, tc.text) {
				t.Fatalf("%s: %d %s", tc.reason, got.status, got.body)
			}
			if tc.list == 0 {
				return
			}
			token, _ := member(t, []byte(got.body), "access_token").(string)
			list := s.send(t, http.MethodGet, "/webhooks/subscriptions", http.Header{"Authorization": {"bearer " + token}, "Accept": {vonage.MediaType}}, "")
			if list.status != tc.list {
				t.Errorf("%s: the list answers %d %s, want %d", tc.reason, list.status, list.body, tc.list)
			}
		})
	}
	// A program that has a token of the tenant's needs no token endpoint.
	static := s.send(t, http.MethodGet, "/webhooks/subscriptions", http.Header{
		"Authorization": {"bearer " + tokenOf(support, "admin")}, "Accept": {vonage.MediaType},
	}, "")
	if static.status != http.StatusOK || static.body != `{"subscriptions":[]}` {
		t.Errorf("a tenant's own token: %d %s", static.status, static.body)
	}
	// An access token of Vonage's is none of the other APIs'.
	for path, want := range map[string]int{"/webhooks/subscriptions": http.StatusBadRequest, "/v1/webhooks": http.StatusUnauthorized} {
		header := http.Header{"Authorization": {"Bearer " + s.accessToken(t)}, "Accept": {native.MediaType}}
		if got := s.send(t, http.MethodGet, path, header, ""); got.status != want {
			t.Errorf("GET %s by an access token of Vonage's: %d %s", path, got.status, got.body)
		}
	}
}

// TestVonageTokensOutliveRestarts: a program keeps its access token for the two hours that it was told.
func TestVonageTokensOutliveRestarts(t *testing.T) {
	t.Parallel()
	dir, tokensDir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(tokensDir, support+".admin"), []byte(tokenOf(support, "admin")), 0o600); err != nil {
		t.Fatal(err)
	}
	serve := func(r *http.Request) *httptest.ResponseRecorder {
		t.Helper()
		d, err := dispatcher.New(t.Context(), dispatcher.Config{DataDir: dir, Authenticator: tokens.Open(tokensDir, tokens.Options{})})
		if err != nil {
			t.Fatal(err)
		}
		recorder := httptest.NewRecorder()
		d.Handler().ServeHTTP(recorder, r)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}

		return recorder
	}
	ask := httptest.NewRequestWithContext(t.Context(), http.MethodPost, vonage.PathToken, strings.NewReader(
		"grant_type=client_credentials&client_id="+support+"&client_secret="+tokenOf(support, "admin")))
	ask.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	token, _ := member(t, serve(ask).Body.Bytes(), "access_token").(string)

	list := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/webhooks/subscriptions", nil)
	list.Header = http.Header{"Authorization": {"bearer " + token}, "Accept": {vonage.MediaType}}
	if got := serve(list); got.Code != http.StatusOK {
		t.Errorf("after a restart its token answers %d %s", got.Code, got.Body)
	}
}
