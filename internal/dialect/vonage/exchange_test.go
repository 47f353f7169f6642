package vonage_test

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

	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/subscription"
)

var update = flag.Bool("update", false, "write the answers into testdata")

var (
	idPattern     = regexp.MustCompile(`\b[0-9A-Za-z]{27}\b`)
	secretPattern = regexp.MustCompile(`"secret":"[A-Za-z0-9+/]{86}=="`)
	tokenPattern  = regexp.MustCompile(`"access_token":"[^"]+"`)
)

// shownHeaders are the headers of an answer that the files show.
var shownHeaders = []string{"Content-Type", "Cache-Control", "Allow", "Accept-Encoding", "Retry-After", "Www-Authenticate"}

// player plays one file of exchanges against a fresh stage. Lines that begin with
//
//	">" are a request: method and path, then headers, then the body;
//	"!" is what happens meanwhile: a second passes by "wait", "expire" ends all tokens, "foreign NAME" makes a subscription of another format;
//	"<" are the answer, compared: status, headers, body.
//
// {id1} is the first subscription's id; in answers ids, and generated secrets and tokens, are
// written so. Requests have a token of both scopes and the Accept header, unless they say else.
type player struct {
	stage  *stage
	clock  *clockwork.FakeClock
	tokens map[string]string
	names  map[string]string
	out    bytes.Buffer
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
			p.issue(t)
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
			for _, secret := range []string{"hunter2", documentedSecret, sampleSecret} {
				if strings.Contains(p.stage.log.String(), secret) {
					t.Errorf("the log holds %q", secret)
				}
			}
		})
	}
}

// issue gets the tokens that requests name.
func (p *player) issue(t *testing.T) {
	t.Helper()
	p.tokens = map[string]string{
		"{token}":      p.stage.token(t, support, ""),
		"{sales}":      p.stage.token(t, sales, ""),
		"{read-token}": p.stage.token(t, support, string(vonage.ScopeRead)),
		"{reader}":     p.stage.token(t, support+"-reader", ""),
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
			p.act(t, strings.Fields(action))
		}
	}
	flush()
}

func (p *player) act(t *testing.T, words []string) {
	t.Helper()
	switch words[0] {
	case "expire":
		p.clock.Advance(vonage.TokenLife)
	case "wait":
		p.clock.Advance(time.Second)
	case "foreign":
		created, err := p.stage.registry.Tenant(support).Create(t.Context(), subscription.Draft{
			Name: words[1], URL: "https://example.com/hooks", Events: []string{"a.b"}, Enabled: true,
		})
		if err != nil {
			t.Fatalf("%q: %v", words, err)
		}
		p.names[created.ID] = "{" + words[1] + "}"
	default:
		t.Fatalf("no such action: %q", words)
	}
}

// exchange sends a request and writes down its answer.
func (p *player) exchange(t *testing.T, lines []string) {
	t.Helper()
	method, path, _ := strings.Cut(p.expand(lines[0]), " ")
	header := http.Header{"Accept": {vonage.MediaType}, "Authorization": {"bearer " + p.tokens["{token}"]}, "Content-Type": {"application/json"}}
	rest := lines[1:]
	for len(rest) > 0 && !strings.HasPrefix(rest[0], "{") && !strings.HasPrefix(rest[0], "[") && strings.Contains(rest[0], ": ") {
		name, value, _ := strings.Cut(rest[0], ": ")
		for token, text := range p.tokens {
			value = strings.ReplaceAll(value, token, text)
		}
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
	p.out.WriteString("< " + p.mask(body) + "\n")
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
	text = secretPattern.ReplaceAllString(text, `"secret":"{secret}"`)
	text = tokenPattern.ReplaceAllString(text, `"access_token":"{access_token}"`)

	return idPattern.ReplaceAllStringFunc(text, func(value string) string {
		if _, ok := p.names[value]; !ok {
			number := 1
			for _, name := range p.names {
				if strings.HasPrefix(name, "{id") {
					number++
				}
			}
			p.names[value] = fmt.Sprintf("{id%d}", number)
		}

		return p.names[value]
	})
}
