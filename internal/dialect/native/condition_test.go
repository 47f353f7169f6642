package native_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// TestEndpointOfARealDispatcher asks why nothing arrives.
func TestEndpointOfARealDispatcher(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	t.Cleanup(receiver.Close)
	s := &stage{url: startDispatcher(t), log: &log{}}
	path := func(name, pattern string) string {
		created, err := s.client(t, support).Create(t.Context(), subscription.Draft{
			Name: name, URL: receiver.URL, Events: []string{pattern}, Enabled: true, Delivery: subscription.Delivery{MaxInFlight: 1},
		})
		if err != nil {
			t.Fatal(err)
		}

		return "/webhooks/subscriptions/" + created.ID + "/endpoint"
	}
	failing, quiet := path("failing", "order.*"), path("quiet", "never.*")
	for id := range 20 {
		header := as(support)
		header.Set("Content-Type", "application/cloudevents+json")
		event := fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/shop","type":"order.paid","data":{}}`, id)
		if response, body := s.send(t, http.MethodPost, "/events", header, event); response.StatusCode != http.StatusAccepted {
			t.Fatalf("publishing: %d %s", response.StatusCode, body)
		}
	}
	var got native.Endpoint
	for deadline := time.Now().Add(20 * time.Second); got.Circuit != native.CircuitOpen || got.Waiting != 20 || got.InFlight > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("the circuit is not open: %+v", got)
		}
		got = native.Endpoint{}
		s.call(t, http.MethodGet, failing, "", &got)
	}
	if got.Failures < 5 || got.Since.IsZero() || got.NextProbe.Before(got.Since) {
		t.Errorf("the failing endpoint is %+v", got)
	}
	response, body := s.send(t, http.MethodGet, failing, as(support), "")
	openDocument(t).checkAnswer(t, http.MethodGet, failing, response, body)
	got = native.Endpoint{}
	s.call(t, http.MethodGet, quiet, "", &got)
	if want := (native.Endpoint{Circuit: native.CircuitClosed}); got != want {
		t.Errorf("the quiet endpoint is %+v", got)
	}
	if response, _ := s.send(t, http.MethodGet, "/webhooks/subscriptions/none/endpoint", as(support), ""); response.StatusCode != http.StatusNotFound {
		t.Errorf("the endpoint of no subscription: %d", response.StatusCode)
	}
}
