package dispatcher_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dispatcher"
)

// documentedExchange is a request of a page and, in the next block, its answer.
var documentedExchange = regexp.MustCompile("(?s)```sh\n(curl .*?)\n```\n\n```json (\\d+)\n(.*?)```")

// documentedEvent is what a page says has happened before a request.
var documentedEvent = regexp.MustCompile(`After one event ([A-Za-z.]+)`)

// page is one of docs/apis whose requests are sent as they stand there.
type page struct {
	// placeholders stand for what differs from one dispatcher to the next.
	placeholders func(t *testing.T, s *stage) map[string]string
	// base is the vendor's URL in the requests.
	base string
	// id stands for the id of the last subscription created, which stands at the path of members in an answer.
	id     string
	idPath []string
	// forms are what members must look like whose values are another's on the page.
	forms map[string]*regexp.Regexp
	// data is the data of an event that the page says has happened, the nth of them.
	data func(n int) string
	// least is how many requests the page has at least, so that none is lost to a change of its form.
	least int
}

var (
	uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	timeForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`)
)

func pages() map[string]page {
	return map[string]page{
		"vonage": {
			base: "https://***.api.newvoicemedia.com", id: "2V1lVz6FeKOuVLEpSU6M0aqkM9b", idPath: []string{"subscriptionId"}, least: 12,
			placeholders: func(t *testing.T, s *stage) map[string]string {
				t.Helper()

				return map[string]string{"<ACCESS_TOKEN>": s.accessToken(t)}
			},
		},
		"dixa": {
			base: "https://dev.dixa.io", id: "cb452b81-6748-40ab-af85-6559b371bc5d", idPath: []string{"data", "id"}, least: 10,
			placeholders: func(*testing.T, *stage) map[string]string {
				return map[string]string{"<API_TOKEN>": tokenOf(support, "admin")}
			},
			forms: map[string]*regexp.Regexp{
				"id": uuidForm, "createdBy": uuidForm, "updatedBy": uuidForm, "secretKey": regexp.MustCompile(`^[0-9a-f]{64}$`),
				"createdAt": timeForm, "updatedAt": timeForm, "deliveryTimestamp": timeForm,
			},
			data: func(n int) string { return fmt.Sprintf(`{"conversation":{"csid":%d}}`, n) },
		},
		"bird": {
			base: bird.DefaultBaseURL, id: "852883af-5f68-4204-b611-7ee8db9600f4", idPath: []string{"id"}, least: 10,
			placeholders: func(*testing.T, *stage) map[string]string {
				return map[string]string{
					"<ACCESS_KEY>":                         tokenOf(support, "admin"),
					"b4e02c85-c6d2-4b15-8885-e09671799c61": bird.WorkspaceID(support),
					"cb28a94e-8557-4394-80ea-5bbd2170d434": bird.OrganizationID(support),
				}
			},
			forms: map[string]*regexp.Regexp{"id": uuidForm, "requestId": uuidForm, "createdAt": timeForm, "updatedAt": timeForm},
			data:  func(n int) string { return fmt.Sprintf(`{"id":"message-%d"}`, n) },
		},
	}
}

// TestDocumentedRequests sends the requests of docs/apis to a whole dispatcher as they stand
// there, to the byte that curl would send, and compares the answers with those of the page.
func TestDocumentedRequests(t *testing.T) {
	t.Parallel()
	for name, one := range pages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile("../../docs/apis/" + name + ".md")
			if err != nil {
				t.Fatal(err)
			}
			one.play(t, string(text))
		})
	}
}

func (p page) play(t *testing.T, text string) {
	t.Helper()
	s := newStage(t, func(cfg *dispatcher.Config) {
		cfg.DixaOrganization = func(string) dixa.Organization {
			return dixa.Organization{ID: "64b777c3-eb82-49fb-bb3e-294afb5d840c", Name: "Your Org Name"}
		}
	})
	found := documentedExchange.FindAllStringSubmatchIndex(text, -1)
	if requests := strings.Count(text, "```sh"); len(found) != requests || requests < p.least {
		t.Fatalf("the page has %d requests, of which %d have an answer; there were %d", requests, len(found), p.least)
	}
	placeholders := p.placeholders(t, s)
	id, read, happened := p.id, 0, 0
	// Dixa's API takes ten requests a second.
	turn := rate.NewLimiter(dixa.RequestsPerSecond, 1)
	for _, at := range found {
		line, status, documented := text[at[2]:at[3]], text[at[4]:at[5]], text[at[6]:at[7]]
		for _, event := range documentedEvent.FindAllStringSubmatch(text[read:at[0]], -1) {
			happened++
			s.happen(t, happened, event[1], p.data(happened))
		}
		read = at[1]
		for placeholder, value := range placeholders {
			line, documented = strings.ReplaceAll(line, placeholder, value), strings.ReplaceAll(documented, placeholder, value)
		}
		if err := turn.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := s.curl(t, strings.ReplaceAll(line, p.id, id), p.base)
		if fmt.Sprint(got.status) != status {
			t.Fatalf("%s\nanswers %d %s, documented is %s", line, got.status, got.body, status)
		}
		if strings.TrimSpace(documented) == "" || got.body == "" {
			equal(t, line+"\nanswers", strings.TrimSpace(documented), got.body)

			continue
		}
		if created, ok := member(t, []byte(got.body), p.idPath...).(string); ok && strings.Contains(line, "-X POST") {
			id = created
		}
		want, answered := parsed(t, strings.ReplaceAll(documented, p.id, id)), parsed(t, got.body)
		if diff := cmp.Diff(p.formed(want), cut(p.formed(answered), want)); diff != "" {
			t.Errorf("%s\n-documented +answered:\n%s", line, diff)
		}
	}
}

// happen publishes an event and waits until the one subscription's API tells of its delivery.
func (s *stage) happen(t *testing.T, number int, eventType, data string) {
	t.Helper()
	s.publish(t, support, event(fmt.Sprintf("event-%d", number), eventType, data))
	api := s.native(t, support)
	eventually(t, "the event "+eventType+" is delivered", func() bool {
		list, err := api.List(t.Context())
		if err != nil || len(list) != 1 {
			t.Fatalf("the page has one subscription: %d, %v", len(list), err)
		}
		statuses, err := api.Statuses(t.Context(), list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, status := range statuses {
			if status.Event == eventType && status.Success {
				return true
			}
		}

		return false
	})
}

func parsed(t *testing.T, text string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("it is not JSON: %v: %s", err, text)
	}

	return value
}

// formed replaces values by their form, where they have it.
func (p page) formed(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			text, isText := member.(string)
			if form := p.forms[name]; isText && form != nil && form.MatchString(text) {
				value[name] = form.String()
			} else {
				value[name] = p.formed(member)
			}
		}
	case []any:
		for i := range value {
			value[i] = p.formed(value[i])
		}
	}

	return value
}

// cut shortens arrays at the top of an answer to what is documented of them.
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

// curl sends what curl would send for a command line, byte for byte, and reads the answer.
func (s *stage) curl(t *testing.T, line, base string) answer {
	t.Helper()
	method, target, data := "", "", ""
	var headers []string
	hasData := false
	arguments := words(t, line)[1:]
	for i := 0; i < len(arguments); i++ {
		value := func() string {
			i++
			if i == len(arguments) {
				t.Fatalf("%s\nends within an option", line)
			}

			return arguments[i]
		}
		switch argument := arguments[i]; {
		case argument == "-L" || argument == "--location" || argument == "-g":
		case argument == "-X" || argument == "--request":
			method = value()
		case argument == "-H" || argument == "--header":
			headers = append(headers, value())
		case argument == "--data-raw" || argument == "--data" || argument == "-d":
			data, hasData = value(), true
		case strings.HasPrefix(argument, base):
			target = strings.TrimPrefix(argument, base)
		default:
			t.Fatalf("%s\nhas %q, which this test does not know", line, argument)
		}
	}
	if method == "" {
		method = http.MethodGet
		if hasData {
			method = http.MethodPost
		}
	}
	given := func(name string) bool {
		for _, header := range headers {
			if found, _, _ := strings.Cut(header, ":"); strings.EqualFold(found, name) {
				return true
			}
		}

		return false
	}
	address := strings.TrimPrefix(s.url, "http://")
	lines := []string{method + " " + target + " HTTP/1.1", "Host: " + address, "User-Agent: curl/8.14.1"}
	if !given("Accept") {
		lines = append(lines, "Accept: */*")
	}
	lines = append(lines, headers...)
	if hasData {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(data)))
		if !given("Content-Type") {
			lines = append(lines, "Content-Type: application/x-www-form-urlencoded")
		}
	}

	return exchange(t, address, strings.Join(lines, "\r\n")+"\r\n\r\n"+data)
}

// exchange sends bytes to an address and reads one answer.
func exchange(t *testing.T, address, text string) answer {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(connection, text); err != nil {
		t.Fatalf("sending a request: %v", err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatalf("reading an answer: %v", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("reading an answer: %v", err)
	}

	return answer{response.StatusCode, response.Header, string(body)}
}

// words are those of a shell's command line, as far as the pages use its grammar: quotes of
// both kinds, and line breaks after a backslash.
func words(t *testing.T, line string) []string {
	t.Helper()
	var (
		out   []string
		word  strings.Builder
		open  bool
		quote rune
	)
	runes := []rune(strings.ReplaceAll(line, "\\\n", " "))
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case quote == 0 && (r == '\'' || r == '"'):
			quote, open = r, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == '"' && r == '\\' && i+1 < len(runes) && strings.ContainsRune("\"\\$`", runes[i+1]):
			i++
			word.WriteRune(runes[i])
		case quote == 0 && strings.ContainsRune(" \t\n", r):
			if open {
				out = append(out, word.String())
				word.Reset()
				open = false
			}
		default:
			word.WriteRune(r)
			open = true
		}
	}
	if quote != 0 {
		t.Fatalf("%s\nhas a quote that is not closed", line)
	}
	if open {
		out = append(out, word.String())
	}

	return out
}

func TestWords(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		line   string
		want   []string
	}{
		"Plain":    {"spaces part words", "curl  -L -X GET", []string{"curl", "-L", "-X", "GET"}},
		"Lines":    {"a backslash joins lines", "curl \\\n-H \"a: b\"", []string{"curl", "-H", "a: b"}},
		"Single":   {"single quotes keep all", `-d '{"a": "b\n"}'`, []string{"-d", `{"a": "b\n"}`}},
		"Double":   {"double quotes keep all but what is escaped", `"a \"b\" \n $"`, []string{`a "b" \n $`}},
		"Joined":   {"quotes end no word", `a'b c'd`, []string{"ab cd"}},
		"Empty":    {"an empty word is one", `-d ''`, []string{"-d", ""}},
		"Newlines": {"a line break within quotes stays", "-d '{\n}'", []string{"-d", "{\n}"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, words(t, tc.line)); diff != "" {
				t.Errorf("%s, -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}
