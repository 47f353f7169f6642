package dixa_test

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
)

// documentedID stands for the id of the last subscription created.
const documentedID = "cb452b81-6748-40ab-af85-6559b371bc5d"

// documentedExchange is a request and, in the next block, its answer.
var documentedExchange = regexp.MustCompile("(?s)```sh\n(curl .*?)\n```\n\n```json (\\d+)\n(.*?)```")

// forms are what members must look like whose values are another's in the examples.
var forms = map[string]*regexp.Regexp{
	"id":                regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`),
	"createdBy":         regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`),
	"updatedBy":         regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`),
	"secretKey":         regexp.MustCompile(`^[0-9a-f]{64}$`),
	"createdAt":         regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`),
	"updatedAt":         regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`),
	"deliveryTimestamp": regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`),
}

// formed replaces values by their form.
func formed(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			text, isText := member.(string)
			if form := forms[name]; isText && form != nil && form.MatchString(text) {
				value[name] = form.String()
			} else {
				value[name] = formed(member)
			}
		}
	case []any:
		for i := range value {
			value[i] = formed(value[i])
		}
	}

	return value
}

// TestDocumentedRequests sends the requests of docs/apis/dixa.md as they stand there, by curl.
func TestDocumentedRequests(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl")
	}
	page, err := os.ReadFile("../../../docs/apis/dixa.md")
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t, clockwork.NewRealClock())
	found := documentedExchange.FindAllStringSubmatch(string(page), -1)
	if requests := strings.Count(string(page), "```sh"); len(found) != requests || requests < 10 {
		t.Fatalf("%d requests, of which %d have an answer", requests, len(found))
	}
	id := documentedID
	for _, exchange := range found {
		request := exchange[1]
		for part, event := range map[string]string{"/delivery-status\"": "ConversationCreated", "/logs/": "ConversationNoteAdded"} {
			if strings.Contains(request, part) {
				if err := s.settle(t.Context(), support, id, event, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.counted.Advance(pace)
		line := strings.NewReplacer(
			"https://dev.dixa.io", s.url, "<API_TOKEN>", tokenOf(support, "admin"), documentedID, id,
			"curl ", `curl -sS --max-time 20 -w '\n%{http_code}' `,
		).Replace(request)
		var stdout, stderr bytes.Buffer
		command := exec.CommandContext(t.Context(), "sh", "-c", line)
		command.Stdout, command.Stderr = &stdout, &stderr
		if err := command.Run(); err != nil {
			t.Fatalf("%s: %v: %s", request, err, &stderr)
		}
		at := strings.LastIndex(stdout.String(), "\n")
		body, status := stdout.String()[:at], stdout.String()[at+1:]
		if status != exchange[2] {
			t.Fatalf("%s\nanswers %s %s, documented is %s", request, status, body, exchange[2])
		}
		if exchange[3] == "" || body == "" {
			if strings.TrimSpace(exchange[3]) != body {
				t.Errorf("%s\nanswers %q, documented is %q", request, body, exchange[3])
			}

			continue
		}
		if status == "201" {
			var created struct{ Data struct{ ID string } }
			if err := json.Unmarshal([]byte(body), &created); err != nil {
				t.Fatal(err)
			}
			id = created.Data.ID
		}
		var want, got any
		if err := json.Unmarshal([]byte(exchange[3]), &want); err != nil {
			t.Fatalf("the documented answer is not JSON: %v: %s", err, exchange[3])
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(formed(want), formed(got)); diff != "" {
			t.Errorf("%s\n-documented +answered:\n%s", request, diff)
		}
	}
}
