package dispatcher_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
)

// TestSlowBodies: a body that stops half way is answered at each path once its time is over, and the
// connection is given up.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	token := tokenOf(support, "admin")

	for name, c := range map[string]struct {
		reason, path, header string
		want                 int
	}{
		"native": {
			"the dispatcher's own", "/webhooks/subscriptions",
			"Authorization: Bearer " + token + "\r\nContent-Type: application/json", http.StatusRequestTimeout,
		},
		"vonage": {
			"by its media type", "/webhooks/subscriptions",
			"Authorization: bearer " + token + "\r\nAccept: application/vnd.newvoicemedia.v1+json",
			http.StatusRequestTimeout,
		},
		"token": {
			"who asks for an access token may be anyone", vonage.PathToken, "Content-Type: application/x-www-form-urlencoded",
			http.StatusRequestTimeout,
		},
		"unknown":      {"nobody reads it, but the server before it answers", "/nowhere", "X-Test: 1", http.StatusNotFound},
		"unauthorized": {"so it is without a token", "/webhooks/subscriptions", "X-Test: 1", http.StatusUnauthorized},
		"dixa":         {"a raw token", "/v1/webhooks", "Authorization: " + token, http.StatusRequestTimeout},
		"bird": {
			"an access key", "/workspaces/" + bird.WorkspaceID(support) + "/webhook-subscriptions", "Authorization: AccessKey " + token,
			http.StatusRequestTimeout,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connection, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = connection.Close() }()
			if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: 10\r\n\r\n{", c.path, c.header); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(connection), nil)
			if err != nil {
				t.Fatalf("%s: no answer: %v", c.reason, err)
			}
			defer func() { _ = response.Body.Close() }()
			if response.StatusCode != c.want {
				t.Errorf("%s: got %d", c.reason, response.StatusCode)
			}
			if _, err := io.Copy(io.Discard, response.Body); err != nil {
				t.Errorf("%s: reading the answer: %v", c.reason, err)
			}
			// A reset is as good an end; a deadline would be none.
			if _, err := io.Copy(io.Discard, connection); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the connection stands on", c.reason)
			}
		})
	}
}
