package dixa_test

import (
	"bufio"
	"bytes"
	"context"
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

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

var update = flag.Bool("update", false, "write the answers into testdata")

var (
	idPattern     = regexp.MustCompile(`"id":"([0-9a-f-]{36})","name"`)
	secretPattern = regexp.MustCompile(`"secretKey":"[0-9a-f]{64}"`)
)

// shownHeaders are the headers of an answer that the files show.
var shownHeaders = []string{"Content-Type", "Allow", "Accept-Encoding", "Retry-After", "Www-Authenticate", "Hookline-Detail"}

// player plays one file of exchanges against a fresh stage. Lines that begin with
//
//	">" are a request: method and path, then headers, then the body;
//	"!" is what happens meanwhile: "deliver ID TYPE", "fail ID TYPE", "wait" a minute, "foreign NAME" (of another format),
//	"wildcard NAME" (made by another dialect), "hurry" (no time passes between requests), "pause" (0.1 s passes);
//	"<" are the answer, compared: status, headers, body.
//
// {id1} is the first subscription id seen; in answers those and secretKeys are written so. Requests
// are support's administrator's with a raw token unless they say else.
type player struct {
	stage *stage
	clock *clockwork.FakeClock
	hurry bool
	names map[string]string
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
			clock := clockwork.NewFakeClockAt(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC))
			p := &player{stage: newStage(t, clock), clock: clock, names: map[string]string{}}
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
			for _, secret := range []string{"webhook_password", "hunter2"} {
				if strings.Contains(p.stage.log.String(), secret) {
					t.Errorf("the log holds %q", secret)
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
	if !p.hurry {
		p.stage.counted.Advance(pace)
	}
	method, path, _ := strings.Cut(p.expand(lines[0]), " ")
	header := http.Header{"Accept": {"application/json"}, "Authorization": {tokenOf(support, "admin")}, "Content-Type": {"application/json"}}
	rest := lines[1:]
	for len(rest) > 0 && !strings.HasPrefix(rest[0], "{") && !strings.HasPrefix(rest[0], "[") && strings.Contains(rest[0], ": ") {
		name, value, _ := strings.Cut(rest[0], ": ")
		value = strings.NewReplacer(
			"{token}", tokenOf(support, "admin"), "{sales}", tokenOf(sales, "admin"), "{publish}", tokenOf(support, "publish"),
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
	openDocument(t).checkAnswer(t, method, path, response.StatusCode, body)
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
	for _, found := range idPattern.FindAllStringSubmatch(text, -1) {
		if _, ok := p.names[found[1]]; !ok {
			p.names[found[1]] = fmt.Sprintf("{id%d}", len(p.names)+1)
		}
	}
	for value, name := range p.names {
		text = strings.ReplaceAll(text, value, name)
	}

	return secretPattern.ReplaceAllString(text, `"secretKey":"{secretKey}"`)
}

func (p *player) act(t *testing.T, words []string) {
	t.Helper()
	var err error
	switch words[0] {
	case "deliver":
		err = p.stage.settle(t.Context(), support, words[1], words[2], nil)
	case "fail":
		err = p.stage.settle(t.Context(), support, words[1], words[2], func(outcome *journal.Outcome) {
			outcome.Attempt.Success = false
			outcome.Attempt.ResponseCode, outcome.Attempt.ResponseText = 0, "the endpoint did not answer in time"
			outcome.Result, outcome.NextAttempt = journal.Retry, p.clock.Now().Add(time.Hour)
		})
	case "wait":
		p.clock.Advance(time.Minute)
	case "hurry":
		p.hurry = true
	case "pause":
		p.stage.counted.Advance(pace)
	case "foreign":
		err = p.make(t.Context(), words[1], "", "order.paid")
	case "wildcard":
		err = p.make(t.Context(), words[1], subscription.FormatDixa, "Agent*", "order.paid", "TypingStarted")
	default:
		t.Fatalf("no such action: %q", words)
	}
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
}

// make is a subscription that another dialect makes.
func (p *player) make(ctx context.Context, name string, format subscription.Format, events ...string) error {
	_, err := p.stage.registry.Tenant(support).Create(ctx, subscription.Draft{
		Name: name, URL: "https://example.com/hooks", Events: events, Enabled: true,
		Secret:   "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
		Delivery: subscription.Delivery{Format: format},
	})

	return err
}
