package vonage_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/vonage"
)

// documentedID stands for the id of the last subscription created.
const documentedID = "2V1lVz6FeKOuVLEpSU6M0aqkM9b"

// documentedExchange is a request and, in the next block, its answer.
var documentedExchange = regexp.MustCompile("(?s)```sh\n(curl .*?)\n```\n\n```json (\\d+)\n(.*?)\n```")

// TestDocumentedRequests sends the requests of docs/apis/vonage.md as they stand there, by curl.
func TestDocumentedRequests(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl")
	}
	page, err := os.ReadFile("../../../docs/apis/vonage.md")
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t, clockwork.NewRealClock())
	token := s.token(t, support, "")
	found := documentedExchange.FindAllStringSubmatch(string(page), -1)
	if requests := strings.Count(string(page), "```sh"); len(found) != requests || requests < 10 {
		t.Fatalf("%d requests, of which %d have an answer", requests, len(found))
	}
	id := documentedID
	for _, exchange := range found {
		line := strings.NewReplacer(
			"https://***.api.newvoicemedia.com", s.url, "<ACCESS_TOKEN>", token, documentedID, id, "curl ", `curl -sS --max-time 20 -w '\n%{http_code}' `,
		).Replace(exchange[1])
		var stdout, stderr bytes.Buffer
		command := exec.CommandContext(t.Context(), "sh", "-c", line)
		command.Stdout, command.Stderr = &stdout, &stderr
		if err := command.Run(); err != nil {
			t.Fatalf("%s: %v: %s", exchange[1], err, &stderr)
		}
		at := strings.LastIndex(stdout.String(), "\n")
		body, status := stdout.String()[:at], stdout.String()[at+1:]
		if status != exchange[2] {
			t.Errorf("%s\nanswers %s %s, documented is %s", exchange[1], status, body, exchange[2])

			continue
		}
		var created vonage.Subscription
		if err := json.Unmarshal([]byte(body), &created); err != nil {
			t.Fatalf("the answer is not JSON: %s", body)
		}
		if created.SubscriptionID != "" {
			id = created.SubscriptionID
		}
		var want, got any
		if err := json.Unmarshal([]byte(strings.ReplaceAll(exchange[3], documentedID, id)), &want); err != nil {
			t.Fatalf("the documented answer is not JSON: %v: %s", err, exchange[3])
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, cut(got, want)); diff != "" {
			t.Errorf("%s\n-documented +answered:\n%s", exchange[1], diff)
		}
	}
}

// cut shortens arrays to what is documented of them.
func cut(got, want any) any {
	members, ok := got.(map[string]any)
	documented, isObject := want.(map[string]any)
	if !ok || !isObject {
		return got
	}
	for name, member := range members {
		list, isList := member.([]any)
		if shown, ok := documented[name].([]any); ok && isList && len(shown) > 0 && len(shown) < len(list) {
			members[name] = list[:len(shown)]
		}
	}

	return members
}
