package bird_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
)

// documentedExchange is a request and, in the next block, its answer.
var documentedExchange = regexp.MustCompile("(?s)```sh\n(curl .*?)\n```\n\n```json (\\d+)\n(.*?)```")

// forms are what members must look like whose values are another's in the examples.
var forms = map[string]*regexp.Regexp{
	"id":        regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`),
	"requestId": regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`),
	"createdAt": regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`),
	"updatedAt": regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`),
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

func openPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/apis/bird.md")
	if err != nil {
		t.Fatal(err)
	}

	return string(page)
}

// TestDocumentedRequests sends the requests of docs/apis/bird.md as they stand there, by curl.
func TestDocumentedRequests(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl")
	}
	page := openPage(t)
	s := newStage(t, clockwork.NewRealClock(), nil)
	found := documentedExchange.FindAllStringSubmatch(page, -1)
	if requests := strings.Count(page, "```sh"); len(found) != requests || requests < 10 {
		t.Fatalf("%d requests, of which %d have an answer", requests, len(found))
	}
	id := unknownID
	for _, exchange := range found {
		request := strings.ReplaceAll(exchange[1], unknownID, id)
		if strings.Contains(request, "/logs?") {
			if err := s.settle(t.Context(), support, id, "channels.sms.outbound", nil); err != nil {
				t.Fatal(err)
			}
		}
		line := strings.NewReplacer(
			bird.DefaultBaseURL, s.url, "<ACCESS_KEY>", keyOf(support, "admin"), "curl ", `curl -sS --max-time 20 -w '\n%{http_code}' `,
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
			var created struct{ ID string }
			if err := json.Unmarshal([]byte(body), &created); err != nil {
				t.Fatal(err)
			}
			id = created.ID
		}
		var want, got any
		if err := json.Unmarshal([]byte(strings.ReplaceAll(exchange[3], unknownID, id)), &want); err != nil {
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

// TestDocumentedFigures sees that the page's figures are the code's.
func TestDocumentedFigures(t *testing.T) {
	t.Parallel()
	page := openPage(t)
	var span time.Duration
	for _, wait := range notification.Schedule() {
		span += wait
	}
	minutes := int(span.Round(time.Minute).Minutes())
	for _, want := range []string{
		bird.NamespaceWorkspace, bird.NamespaceOrganization,
		fmt.Sprintf("%d attempts within %d h %d min", bird.Attempts, minutes/60, minutes%60), fmt.Sprintf("%d requests are under way", bird.MaxRequests),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
