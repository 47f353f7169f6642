package bird_test

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

var update = flag.Bool("update", false, "write the answers into testdata")

var (
	idPattern     = regexp.MustCompile(`"id":"([0-9a-f-]{36})","organizationId"`)
	tokenPattern  = regexp.MustCompile(`"nextPageToken":"([^"]+)"`)
	keyPattern    = regexp.MustCompile(`"signingKey":"[A-Za-z0-9+/]{43}="`)
	shownHeaders  = []string{"Content-Type", "Allow", "Accept-Encoding", "Retry-After", "Www-Authenticate"}
	givenKeys     = []string{vectorKey, "bW9yZSByYW5kb20gYnl0ZXMgb2YgYSBrZXkgdG8gc2lnbg=="}
	exchangeStart = time.Date(2026, 8, 1, 12, 0, 0, 123456789, time.UTC)
)

// player plays one file of exchanges against a fresh stage. Lines that begin with
//
//	">" are a request: method and path, then headers, then the body;
//	"!" is what happens meanwhile: "deliver ID TYPE", "fail ID TYPE", "retry ID TYPE" (fails, and succeeds at once), "wait" a minute,
//	"suspend ID", "native EVENT FORMAT" (made by another dialect);
//	"<" are the answer, compared: status, headers, body.
//
// {w} is the workspace's path; {id1} is the first subscription id seen, {page1} the first page token; in answers those
// and generated signing keys are written so. Requests are support's administrator's unless they say else.
type player struct {
	stage *stage
	clock *clockwork.FakeClock
	names map[string]string
	seen  map[string]int
	out   bytes.Buffer
}

func TestExchanges(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no exchanges", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			clock := clockwork.NewFakeClockAt(exchangeStart)
			p := &player{
				stage: newStage(t, clock, nil), clock: clock, names: map[string]string{inWorkspace: "{w}"}, seen: map[string]int{},
			}
			p.play(t, string(want))
			if *update {
				if err := os.WriteFile(file, p.out.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}

				return
			}
			if diff := cmp.Diff(string(want), p.out.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			for _, secret := range givenKeys {
				if strings.Contains(p.stage.log.String(), secret) {
					t.Error("the log holds a signing key")
				}
			}
		})
	}
}

func (p *player) play(t *testing.T, script string) {
	t.Helper()
	var request []string
	flush := func() {
		if request != nil {
			p.exchange(t, request)
			request = nil
		}
	}
	scanner := bufio.NewScanner(strings.NewReader(script))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		if strings.HasPrefix(line, "<") {
			continue
		}
		if line, ok := strings.CutPrefix(line, ">"); ok {
			p.out.WriteString(">" + line + "\n")
			request = append(request, strings.TrimPrefix(line, " "))

			continue
		}
		flush()
		p.out.WriteString(line + "\n")
		if action, ok := strings.CutPrefix(line, "! "); ok {
			p.act(t, strings.Fields(p.expand(action)))
		}
	}
	flush()
}

// exchange sends a request and writes down its answer.
func (p *player) exchange(t *testing.T, lines []string) {
	t.Helper()
	method, path, _ := strings.Cut(p.expand(lines[0]), " ")
	header := http.Header{
		"Accept": {"application/json"}, "Authorization": {"AccessKey " + keyOf(support, "admin")}, "Content-Type": {"application/json"},
	}
	rest := lines[1:]
	for len(rest) > 0 && !strings.HasPrefix(rest[0], "{") && !strings.HasPrefix(rest[0], "[") && strings.Contains(rest[0], ": ") {
		name, value, _ := strings.Cut(rest[0], ": ")
		value = strings.NewReplacer(
			"{key}", keyOf(support, "admin"), "{sales}", keyOf(sales, "admin"), "{publish}", keyOf(support, "publish"),
		).Replace(value)
		if header.Del(name); value != "{none}" {
			header.Set(name, value)
		}
		rest = rest[1:]
	}
	request, err := http.NewRequestWithContext(t.Context(), method, p.stage.url+path, strings.NewReader(p.expand(strings.Join(rest, "\n"))))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	body := read(t, response)
	if response.StatusCode != http.StatusMethodNotAllowed {
		openDocument(t).checkAnswer(t, method, path, response.StatusCode, body)
	}
	fmt.Fprintf(&p.out, "< %d %s\n", response.StatusCode, http.StatusText(response.StatusCode))
	for _, name := range shownHeaders {
		if value := response.Header.Get(name); value != "" {
			fmt.Fprintf(&p.out, "< %s: %s\n", name, value)
		}
	}
	if body != "" {
		p.out.WriteString("< " + p.mask(body) + "\n")
	}
}

// expand puts values where their names stand.
func (p *player) expand(text string) string {
	for value, name := range p.names {
		text = strings.ReplaceAll(text, name, value)
	}

	return text
}

// mask puts names where values stand that differ from run to run.
func (p *player) mask(text string) string {
	for kind, pattern := range map[string]*regexp.Regexp{"id": idPattern, "page": tokenPattern} {
		for _, found := range pattern.FindAllStringSubmatch(text, -1) {
			if _, ok := p.names[found[1]]; !ok {
				p.seen[kind]++
				p.names[found[1]] = fmt.Sprintf("{%s%d}", kind, p.seen[kind])
			}
		}
	}
	for value, name := range p.names {
		if name != "{w}" {
			text = strings.ReplaceAll(text, value, name)
		}
	}

	return keyPattern.ReplaceAllStringFunc(text, func(found string) string {
		if strings.Contains(found, vectorKey) {
			return found
		}

		return `"signingKey":"{generated}"`
	})
}

func (p *player) act(t *testing.T, words []string) {
	t.Helper()
	failed := func(outcome *journal.Outcome) {
		outcome.Attempt.Success, outcome.Attempt.ResponseBody = false, nil
		outcome.Attempt.ResponseCode, outcome.Attempt.ResponseText = 0, "the endpoint did not answer in time"
		outcome.Result, outcome.NextAttempt = journal.Retry, p.clock.Now().Add(time.Hour)
	}
	var err error
	switch words[0] {
	case "deliver":
		err = p.stage.settle(t.Context(), support, words[1], words[2], nil)
	case "fail":
		err = p.stage.settle(t.Context(), support, words[1], words[2], failed)
	case "retry":
		err = p.retry(t, words[1], words[2], failed)
	case "suspend":
		var id string
		if id, err = p.stage.id(t.Context(), support, words[1]); err == nil {
			err = p.stage.registry.Suspend(t.Context(), id, "Gone", "the endpoint answered 410")
		}
	case "wait":
		p.clock.Advance(time.Minute)
	case "native":
		_, err = p.stage.registry.Tenant(support).Create(t.Context(), subscription.Draft{
			Name: "native-" + words[1], URL: "https://example.com/hooks", Events: []string{words[1]}, Enabled: true,
			Delivery: subscription.Delivery{Format: subscription.Format(words[2])},
		})
	default:
		t.Fatalf("no such action: %q", words)
	}
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
}

// retry settles a delivery that failed and a second later succeeded.
func (p *player) retry(t *testing.T, wire, eventType string, failed func(*journal.Outcome)) error {
	t.Helper()
	var (
		first journal.Attempt
		event journal.Event
	)
	if err := p.stage.settle(t.Context(), support, wire, eventType, func(outcome *journal.Outcome) {
		failed(outcome)
		first = *outcome.Attempt
		event = journal.Event{ID: first.EventID, Type: first.EventType}
	}); err != nil {
		return err
	}
	p.clock.Advance(time.Second)

	return p.stage.attempt(t.Context(), support, first.Subscription, event, first.Seq, 2, nil)
}

// TestAnyURL sees that a server may be told to take any endpoint.
func TestAnyURL(t *testing.T) {
	t.Parallel()
	s := newStage(t, clockwork.NewRealClock(), func(cfg *bird.ServerConfig) { cfg.AllowAnyURL = true })
	draft := subscription.Draft{URL: "http://127.0.0.1:8080/hooks", Events: []string{"channels.sms.outbound"}, Enabled: true}
	if _, err := s.client(t, support, nil).Create(t.Context(), draft); err == nil {
		t.Error("a client that is not told so sends it")
	}
	created, err := s.client(t, support, func(cfg *bird.ClientConfig) { cfg.AllowAnyURL = true }).Create(t.Context(), draft)
	if err != nil || created.URL != draft.URL {
		t.Errorf("got %q, %v", created.URL, err)
	}
}
