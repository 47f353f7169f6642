package dispatcher_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/dialect/vonage"
)

// TestVary: at the paths that two dialects have, every answer says what told them apart.
func TestVary(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	bearer := "Bearer " + tokenOf(support, "admin")

	for name, c := range map[string]struct {
		reason, path string
		header       http.Header
		status       int
	}{
		"Native":       {"the dispatcher's own", "/webhooks/subscriptions", http.Header{"Authorization": {bearer}}, http.StatusOK},
		"Vonage":       {"by its media type", "/webhooks/subscriptions", http.Header{"Authorization": {bearer}, "Accept": {vonage.MediaType}}, http.StatusOK},
		"NoVersion":    {"by its name alone, to be told of the version", "/webhooks/subscriptions", http.Header{"Authorization": {bearer}, "Accept": {"application/vnd.newvoicemedia+json"}}, http.StatusBadRequest},
		"Unauthorized": {"a refusal too", "/webhooks/subscriptions", http.Header{}, http.StatusUnauthorized},
		"NoSuchPath":   {"and that of no path", "/webhooks/nowhere", http.Header{"Accept": {vonage.MediaType}}, http.StatusNotFound},
	} {
		got := s.send(t, http.MethodGet, c.path, c.header, "")
		if got.status != c.status {
			t.Errorf("%s: %s: got %d %s", name, c.reason, got.status, got.body)
		}
		if diff := cmp.Diff([]string{"Accept, Authorization"}, got.header.Values("Vary")); diff != "" {
			t.Errorf("%s: %s: Vary, -want +got:\n%s", name, c.reason, diff)
		}
	}
}
