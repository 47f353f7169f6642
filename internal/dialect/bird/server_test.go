package bird_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// TestIDsStay holds the ids on the wire to what they have always been: clients and receivers keep them.
func TestIDsStay(t *testing.T) {
	t.Parallel()
	want := []string{
		"10aea350-9cc6-52bb-8d78-455ca1a6aaee", "036ff540-a5ac-5989-8ac2-5d6f009c49b8", "b3c6bb2c-ae7e-56e0-ac42-22933d0bb9ee", "6f89fa48-1df3-5be1-b468-69d6e5422ea0",
	}
	got := []string{
		bird.WireID("2V1lVz6FeKOuVLEpSU6M0aqkM9b"), bird.WorkspaceID(support), bird.OrganizationID(support), bird.RequestID("delivery-event-3"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-always +now:\n%s", diff)
	}
}

// trouble is an account that does what a function does.
type trouble struct {
	subscription.API

	list func(ctx context.Context) ([]subscription.Subscription, error)
}

func (a trouble) List(ctx context.Context) ([]subscription.Subscription, error) { return a.list(ctx) }

// troubled is a server over such an account.
func troubled(t *testing.T, to *log, list func(ctx context.Context) ([]subscription.Subscription, error)) string {
	t.Helper()
	server := httptest.NewServer(bird.NewServer(bird.ServerConfig{
		Authenticate: func(*http.Request) (string, error) { return support, nil },
		API:          func(string) subscription.API { return trouble{list: list} },
		Log:          slog.New(slog.NewTextHandler(to, nil)),
	}))
	t.Cleanup(server.Close)

	return server.URL + "/workspaces/" + bird.WorkspaceID(support) + "/webhook-subscriptions"
}

func TestTheDispatchersTroubleIsLoggedAndNotTold(t *testing.T) {
	t.Parallel()
	log := &log{}
	url := troubled(t, log, func(context.Context) ([]subscription.Subscription, error) {
		return nil, errors.New("the disk is on fire")
	})
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"code":"InternalError","message":"The request failed here: it may work later, and may have had its effect"}`
	if body := read(t, response); response.StatusCode != http.StatusInternalServerError || body != want {
		t.Errorf("the answer is %d %s", response.StatusCode, body)
	}
	if !strings.Contains(log.String(), "the disk is on fire") {
		t.Errorf("the log lacks the trouble: %s", log.String())
	}
}

func TestRequestsUnderWayAreBounded(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	url := troubled(t, &log{}, func(ctx context.Context) ([]subscription.Subscription, error) {
		entered <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}

		return nil, nil
	})
	var slow sync.WaitGroup
	for range bird.MaxRequests {
		slow.Go(func() {
			response, err := http.Get(url)
			if err != nil {
				t.Error(err)

				return
			}
			if body := read(t, response); response.StatusCode != http.StatusOK || body != `{"results":[],"nextPageToken":""}` {
				t.Errorf("a slow request answers %d %s", response.StatusCode, body)
			}
		})
	}
	for range bird.MaxRequests {
		<-entered
	}
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	if read(t, response); response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") != "1" {
		t.Errorf("one more than may be under way answers %d", response.StatusCode)
	}
	close(release)
	slow.Wait()
}

func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock(), nil)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+inWorkspace+"/webhook-subscriptions",
		strings.NewReader(`{"event":"`+strings.Repeat("n", bird.MaxRequestBytes)+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "AccessKey "+keyOf(support, "admin"))
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	if body := read(t, response); response.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(body, `"PayloadTooLarge"`) {
		t.Errorf("the answer is %d %s", response.StatusCode, body)
	}
}

// TestRefusalsAreBounded sees that a body that is wrong all over is not answered with one many times its size.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock(), nil)
	cases := map[string]struct {
		reason string
		body   string
		says   string
	}{
		"Filters": {
			"filters beyond the most are told by their number", `{"eventFilters":[` + strings.Repeat("{},", 300_000) + `{}]}`,
			"300001 filters: the most is 10",
		},
		"Members": {
			"so many members are not told one by one", `{` + strings.Repeat(`"a":1,`, 150_000) + `"b":2}`, `property \"a\" is unsupported`,
		},
		"MembersOfFilters": {
			"nor those of filters", `{"eventFilters":[` + strings.Repeat(`{"a":1,`+strings.Repeat(`"b":1,`, 10_000)+`"c":1},`, 9) + `{}]}`,
			`property \"a\" is unsupported`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+inWorkspace+"/webhook-subscriptions", strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "AccessKey "+keyOf(support, "admin"))
			response, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			body := read(t, response)
			var told struct {
				Details map[string][]string `json:"details"`
			}
			if err := json.Unmarshal([]byte(body), &told); err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			texts := 0
			for _, some := range told.Details {
				texts += len(some)
			}
			if response.StatusCode != http.StatusUnprocessableEntity || texts == 0 || texts > bird.MaxProblems || !strings.Contains(body, tc.says) {
				t.Errorf("%s: %d, %d bytes, %d texts", tc.reason, response.StatusCode, len(body), texts)
			}
		})
	}
}

// contenders is how many creates of one combination are under way at once.
const contenders = 20

// TestFiveOfManyAreCreated sees that creates at once do not pass the limit together.
func TestFiveOfManyAreCreated(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock(), nil)
	client := s.client(t, support, nil)
	answers := make(chan error, contenders)
	for range contenders {
		go func() {
			_, err := client.Create(t.Context(), subscription.Draft{URL: "https://example.com", Events: []string{"channels.sms.inbound"}, Enabled: true})
			answers <- err
		}()
	}
	created := 0
	for range contenders {
		err := <-answers
		if invalid, ok := errors.AsType[*subscription.InvalidError](err); ok && invalid.Field == "vendorOptions.bird.eventFilters" {
			continue
		}
		if err != nil {
			t.Error(err)
		}
		created++
	}
	if list, err := client.List(t.Context()); err != nil || created != bird.MaxMatching || len(list) != bird.MaxMatching {
		t.Errorf("%d were created, %d are there: %v", created, len(list), err)
	}
}

// TestDetailsAreBounded sees that an answer with many attempts at a large event keeps within its bound.
func TestDetailsAreBounded(t *testing.T) {
	t.Parallel()
	const attempts = 10
	payload := []byte(`{"specversion":"1.0","type":"channels.sms.inbound","data":"` + strings.Repeat("x", bird.MaxResponseBytes/4) + `"}`)
	entries := make([]subscription.LogEntry, attempts)
	for i := range entries {
		entries[i] = subscription.LogEntry{DeliveryID: "d", Attempt: int32(attempts - i), ResponseCode: 500, Payload: payload}
	}
	server := httptest.NewServer(bird.NewServer(bird.ServerConfig{
		Authenticate: func(*http.Request) (string, error) { return support, nil },
		API:          func(string) subscription.API { return logged{entries: entries} },
	}))
	t.Cleanup(server.Close)
	response, err := http.Get(server.URL + "/workspaces/support/webhook-subscriptions/" + bird.WireID("id") + "/logs/details?requestId=" + bird.RequestID("d"))
	if err != nil {
		t.Fatal(err)
	}
	body := read(t, response)
	if len(body) > bird.MaxResponseBytes || strings.Count(body, `"attempt":`) != attempts || strings.Count(body, `"requestBody":`) != 3 {
		t.Errorf("%d bytes, %d attempts, %d with what was sent", len(body), strings.Count(body, `"attempt":`), strings.Count(body, `"requestBody":`))
	}
}

// TestOneCombinationInAnyOrder sees that the order of filters makes no other combination, and that values do.
func TestOneCombinationInAnyOrder(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock(), nil)
	client := s.client(t, support, nil)
	create := func(options *subscription.BirdOptions) error {
		_, err := client.Create(t.Context(), subscription.Draft{
			URL: "https://example.com", Events: []string{"channels.sms.inbound"}, Enabled: true, Options: subscription.Options{Bird: options},
		})

		return err
	}
	for i := range bird.MaxMatching {
		one := filters("channelId", "c", "messageStatus", "sent")
		if i%2 == 1 {
			one = filters("messageStatus", "sent", "channelId", "c")
		}
		if err := create(one); err != nil {
			t.Fatal(err)
		}
	}
	if err := create(filters("messageStatus", "sent", "channelId", "c")); err == nil {
		t.Error("a sixth is created")
	}
	if err := create(filters("messageStatus", "delivered", "channelId", "c")); err != nil {
		t.Errorf("another value is another combination: %v", err)
	}
}

// TestWhatWasSent sees that details tell what was sent as far as it is known.
func TestWhatWasSent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ payload, want string }{
		"Event":     {`{"specversion":"1.0","type":"channels.sms.inbound","data":{"a":1}}`, `"requestBody":"{\"service\":\"channels\",\"event\":\"sms.inbound\",\"payload\":{\"a\":1}}"`},
		"Body":      {`{"service":"channels"}`, `"requestBody":"{\"service\":\"channels\"}"`},
		"Trimmed":   {``, ""},
		"NeverSent": {`{"specversion":"1.0","type":"order.paid"}`, ""},
	} {
		server := httptest.NewServer(bird.NewServer(bird.ServerConfig{
			Authenticate: func(*http.Request) (string, error) { return support, nil },
			API: func(string) subscription.API {
				return logged{entries: []subscription.LogEntry{{DeliveryID: "d", Attempt: 1, Payload: []byte(c.payload)}}}
			},
		}))
		response, err := http.Get(server.URL + "/workspaces/support/webhook-subscriptions/" + bird.WireID("id") + "/logs/details?requestId=" + bird.RequestID("d"))
		if err != nil {
			t.Fatal(err)
		}
		if body := read(t, response); !strings.Contains(body, c.want) || c.want == "" && strings.Contains(body, "requestBody") {
			t.Errorf("%s: the answer is %s", name, body)
		}
		server.Close()
	}
}

// logged is an account with one subscription and its logs.
type logged struct {
	subscription.API

	entries []subscription.LogEntry
}

func (logged) List(context.Context) ([]subscription.Subscription, error) {
	return []subscription.Subscription{{
		ID: "id", Events: []string{"channels.sms.inbound"}, Delivery: subscription.Delivery{Format: subscription.FormatBird},
	}}, nil
}

func (a logged) Logs(context.Context, string, subscription.LogQuery) ([]subscription.LogEntry, error) {
	return a.entries, nil
}
