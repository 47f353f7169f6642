package dixa_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// TestWireIDsStay holds the ids on the wire to what they have always been: clients keep them.
func TestWireIDsStay(t *testing.T) {
	t.Parallel()
	if got := dixa.WireID("2V1lVz6FeKOuVLEpSU6M0aqkM9b"); got != "a19faf3a-af90-50d6-a833-dbc52581e89e" {
		t.Errorf("the id is %s now", got)
	}
}

// trouble is an account that does what a function does.
type trouble struct {
	subscription.API

	list func(ctx context.Context) ([]subscription.Subscription, error)
}

func (a trouble) List(ctx context.Context) ([]subscription.Subscription, error) { return a.list(ctx) }

// troubled is a server over such an account, by a clock that lets every request pass.
func troubled(t *testing.T, to *log, list func(ctx context.Context) ([]subscription.Subscription, error)) string {
	t.Helper()
	server := httptest.NewServer(dixa.NewServer(dixa.ServerConfig{
		// Each request has a token of its own.
		Authenticate: func(*http.Request) (string, error) { return support, nil },
		API:          func(string) subscription.API { return trouble{list: list} },
		Log:          slog.New(slog.NewTextHandler(to, nil)), Clock: clockwork.NewFakeClock(),
	}))
	t.Cleanup(server.Close)

	return server.URL
}

func TestTheDispatchersTroubleIsLoggedAndNotTold(t *testing.T) {
	t.Parallel()
	log := &log{}
	url := troubled(t, log, func(context.Context) ([]subscription.Subscription, error) {
		return nil, errors.New("the disk is on fire")
	})
	response, err := http.Get(url + "/v1/webhooks")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"message":"There was an internal server error while processing the request"}`
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
	get := func(token string) (*http.Response, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/webhooks", nil)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", token)

		return http.DefaultTransport.RoundTrip(request)
	}
	var slow sync.WaitGroup
	for i := range dixa.MaxRequests {
		slow.Go(func() {
			response, err := get(strings.Repeat("x", i+1))
			if err != nil {
				t.Error(err)

				return
			}
			if body := read(t, response); response.StatusCode != http.StatusOK || body != `{"data":[]}` {
				t.Errorf("a slow request answers %d %s", response.StatusCode, body)
			}
		})
	}
	for range dixa.MaxRequests {
		<-entered
	}
	response, err := get("one more")
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
	s := newStage(t, clockwork.NewRealClock())
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v1/webhooks",
		strings.NewReader(`{"name":"`+strings.Repeat("n", dixa.MaxRequestBytes)+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", tokenOf(support, "admin"))
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	if body := read(t, response); response.StatusCode != http.StatusRequestEntityTooLarge || body != `{"message":"Decoding failure in request"}` {
		t.Errorf("the answer is %d %s", response.StatusCode, body)
	}
}

// logged is an account with one subscription and its logs, of which it answers as many as are asked for.
type logged struct {
	subscription.API

	entries []subscription.LogEntry
}

func (logged) List(context.Context) ([]subscription.Subscription, error) {
	return []subscription.Subscription{{
		ID: "id", Events: []string{"TypingStarted"}, Delivery: subscription.Delivery{Format: subscription.FormatDixa},
	}}, nil
}

func (a logged) Logs(_ context.Context, _ string, query subscription.LogQuery) ([]subscription.LogEntry, error) {
	return a.entries[:min(len(a.entries), query.Limit)], nil
}

// TestLogsAreBounded sees that an answer keeps within its bounds, of bytes and of entries, and tells the newest.
func TestLogsAreBounded(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		payload int
		given   int
		want    int
	}{
		"Bytes":   {"four with their quotes escaped would be too many", dixa.MaxResponseBytes / 4, 10, 3},
		"Entries": {"a hundred are the most", 10, 2 * dixa.LogDepth, dixa.LogDepth},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entries := make([]subscription.LogEntry, tc.given)
			for i := range entries {
				entries[i] = subscription.LogEntry{ResponseCode: i, Payload: []byte(`{"a":"` + strings.Repeat("x", tc.payload) + `"}`)}
			}
			server := httptest.NewServer(dixa.NewServer(dixa.ServerConfig{
				Authenticate: func(*http.Request) (string, error) { return support, nil },
				API:          func(string) subscription.API { return logged{entries: entries} },
			}))
			t.Cleanup(server.Close)
			response, err := http.Get(server.URL + "/beta/webhooks/" + dixa.WireID("id") + "/delivery-status/logs/TypingStarted")
			if err != nil {
				t.Fatal(err)
			}
			body := read(t, response)
			if got := strings.Count(body, `"payload":`); got != tc.want || len(body) > dixa.MaxResponseBytes || !strings.Contains(body, `"responseCode":0`) {
				t.Errorf("%s: %d bytes, %d entries", tc.reason, len(body), got)
			}
		})
	}
}
