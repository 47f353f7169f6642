package native_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/dispatcher"
	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
	"github.com/hookline-dev/hookline/internal/dispatcher/tokens"
	"github.com/hookline-dev/hookline/internal/subscription"
)

func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	body := `{"name":"` + strings.Repeat("x", native.MaxRequestBytes) + `"}`
	response, text := s.send(t, http.MethodPost, "/webhooks/subscriptions", as(support), body)
	if response.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(text, "1048576") {
		t.Errorf("got %d %s", response.StatusCode, text)
	}
}

// TestTroubleIsLoggedAndNotShown closes the journal under the API.
func TestTroubleIsLoggedAndNotShown(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	if err := s.journal.Close(); err != nil {
		t.Fatal(err)
	}
	response, text := s.send(t, http.MethodGet, "/webhooks/event-types", as(support), "")
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" || strings.Contains(text, "journal") {
		t.Errorf("got %d %s", response.StatusCode, text)
	}
	if !strings.Contains(s.log.String(), "the journal is closed") {
		t.Errorf("the log does not tell operators:\n%s", s.log.String())
	}
}

func TestWithoutOperations(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	created, err := s.client(t, support).Create(t.Context(), subscription.Draft{Name: "orders", URL: "https://example.com", Events: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	trouble := errors.New("token review: connection refused")
	var authErr error
	server := httptest.NewServer(native.NewServer(native.ServerConfig{
		Authenticate: func(*http.Request) (string, error) { return support, authErr }, API: s.registry.Tenant,
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	path := "/webhooks/subscriptions/" + created.ID
	for request, body := range map[string]string{"GET /dead-letters": "", "POST /resend": `{"position":1}`, "POST /test": `{}`, "GET /replays": "", "GET /endpoint": "", "DELETE /replays/1": ""} {
		method, tail, _ := strings.Cut(request, " ")
		response, text := s.send(t, method, path+tail, as(support), body)
		if response.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text, `"reason":"Unsupported"`) {
			t.Errorf("%s: got %d %s", request, response.StatusCode, text)
		}
	}
	authErr = trouble
	response, text := s.send(t, http.MethodGet, path, as(support), "")
	if response.StatusCode != http.StatusServiceUnavailable || strings.Contains(text, "refused") {
		t.Errorf("whoever knows the tokens is away: %d %s", response.StatusCode, text)
	}
}

// startDispatcher runs a whole dispatcher until the test ends, and answers its URL.
func startDispatcher(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, support+".admin"), []byte(tokenOf(support, "admin")), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := dispatcher.New(t.Context(), dispatcher.Config{
		DataDir: t.TempDir(), Authenticator: tokens.Open(dir, tokens.Options{}),
		Egress: delivery.NewEgressPolicy(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")),
	})
	if err != nil {
		t.Fatalf("building the dispatcher: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, d.Close()); err != nil {
			t.Errorf("stopping the dispatcher: %v", err)
		}
	})
	<-d.Ready()

	return "http://" + listener.Addr().String()
}

// TestOperationsOfARealDispatcher sends a test event, lets an endpoint fail for good, finds the
// dead letter, and sends it again when the endpoint is back.
func TestOperationsOfARealDispatcher(t *testing.T) {
	t.Parallel()
	answers := make(chan int, 10)
	received := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- r.Header.Get("Webhook-Id") + " " + string(body)
		w.WriteHeader(<-answers)
	}))
	t.Cleanup(receiver.Close)
	url := startDispatcher(t)
	s := &stage{url: url, log: &log{}}

	client := s.client(t, support)
	created, err := client.Create(t.Context(), subscription.Draft{
		Name: "orders", URL: receiver.URL, Events: []string{"order.*"}, Enabled: true, Delivery: subscription.Delivery{MaxAttempts: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := "/webhooks/subscriptions/" + created.ID
	answers <- http.StatusTeapot
	var entry native.LogEntry
	s.call(t, http.MethodPost, path+"/test", `{"event":"order.paid"}`, &entry)
	if <-received; entry.ResponseCode != http.StatusTeapot || entry.Success || entry.Position != 0 || entry.Event != "order.paid" {
		t.Errorf("the test event's attempt: %+v", entry)
	}

	answers <- http.StatusInternalServerError
	header := as(support)
	header.Set("Content-Type", "application/json")
	response, text := s.send(t, http.MethodPost, "/events", header, `{"type":"order.lost","id":"7","data":{"n":1.00}}`)
	if response.StatusCode != http.StatusAccepted {
		t.Fatalf("publishing: %d %s", response.StatusCode, text)
	}
	first := <-received
	var letters struct {
		DeadLetters []struct {
			Position                    uint64
			Reason, DeliveryID, Payload string
		}
	}
	eventually(t, "the dead letter is found", func() bool {
		s.call(t, http.MethodGet, path+"/dead-letters", "", &letters)

		return len(letters.DeadLetters) == 1
	})
	letter := letters.DeadLetters[0]
	if letter.Reason != "AttemptsExhausted" || first != letter.DeliveryID+" "+letter.Payload || !strings.Contains(letter.Payload, `"data":{"n":1.00}`) {
		t.Errorf("the dead letter of %s: %+v", first, letter)
	}

	answers <- http.StatusNoContent
	s.call(t, http.MethodPost, path+"/resend", fmt.Sprintf(`{"position":%d}`, letter.Position), &entry)
	if again := <-received; !entry.Success || entry.ResponseCode != http.StatusNoContent || again != first {
		t.Errorf("sent again: %+v, %s", entry, again)
	}
	eventually(t, "the dead letter is cleared", func() bool {
		letters.DeadLetters = nil
		s.call(t, http.MethodGet, path+"/dead-letters", "", &letters)

		return len(letters.DeadLetters) == 0
	})
	logs, err := client.Logs(t.Context(), created.ID, subscription.LogQuery{Event: "order.lost"})
	if err != nil || len(logs) != 2 || !logs[0].Success || logs[1].Success || string(logs[0].Payload) != letter.Payload {
		t.Errorf("the log: %+v, %v", logs, err)
	}
}

func (s *stage) call(t *testing.T, method, path, body string, into any) {
	t.Helper()
	response, text := s.send(t, method, path, as(support), body)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, response.StatusCode, text)
	}
	if err := json.NewDecoder(bytes.NewBufferString(text)).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatal("never came true: " + what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestAccept: an answer is in the API's own media type where a request names it and likes it no less than JSON.
func TestAccept(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	const own, plain = native.MediaType, "application/json"
	cases := map[string]struct {
		reason string
		accept []string
		// want is the answer's media type, empty where the request is refused.
		want string
	}{
		"None":        {"nothing is said", nil, plain},
		"Empty":       {"nothing is said either", []string{""}, plain},
		"Any":         {"what every program reads", []string{"*/*"}, plain},
		"Own":         {"by its name", []string{own}, own},
		"OwnInCase":   {"media types have no case", []string{"Application/Vnd.Hookline.V1+JSON"}, own},
		"Both":        {"the API's own is as good", []string{plain + ", " + own}, own},
		"TwoLines":    {"the second line counts too", []string{"text/html", own}, own},
		"PlainLater":  {"so it does for JSON", []string{"text/html", plain}, plain},
		"LikesJSON":   {"JSON is liked more", []string{plain + ", " + own + ";q=0.5"}, plain},
		"NotOwn":      {"it is named to be left out", []string{plain + ", " + own + ";q=0"}, plain},
		"AnyNotJSON":  {"anything but JSON", []string{"*/*, " + plain + ";q=0"}, own},
		"Within":      {"another's name has this one in it", []string{"application/vnd.hookline.v1+jsonp, " + plain}, plain},
		"OddWeight":   {"a weight that is none", []string{plain + ";q=much"}, plain},
		"Neither":     {"there is no HTML", []string{"text/html"}, ""},
		"NeitherLine": {"in no line", []string{"text/html", "image/png, " + plain + ";q=0"}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := as(support)
			header.Del("Accept")
			if tc.accept != nil {
				header["Accept"] = tc.accept
			}
			response, text := s.send(t, http.MethodGet, "/webhooks/subscriptions", header, "")
			status := http.StatusOK
			if tc.want == "" {
				status, tc.want = http.StatusNotAcceptable, plain
			}
			if got := response.Header.Get("Content-Type"); response.StatusCode != status || got != tc.want {
				t.Errorf("%s: want %d %s, got %d %s %s", tc.reason, status, tc.want, response.StatusCode, got, text)
			}
		})
	}
}

// TestBodyIsUTF8: what is no UTF-8 would be kept as another character.
func TestBodyIsUTF8(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock())
	response, text := s.send(t, http.MethodPost, "/webhooks/subscriptions", as(support), "{\"name\":\"presence\xff\"}")
	if response.StatusCode != http.StatusBadRequest || !strings.Contains(text, "the body is not UTF-8") {
		t.Errorf("got %d %s", response.StatusCode, text)
	}
}
