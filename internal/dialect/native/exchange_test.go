package native_test

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

var update = flag.Bool("update", false, "write the answers into testdata")

var (
	idPattern     = regexp.MustCompile(`\b[0-9A-Za-z]{27}\b`)
	secretPattern = regexp.MustCompile(`whsec_[A-Za-z0-9+/]{86}==`)
	cursorPattern = regexp.MustCompile(`\bs1\.[0-9a-z]+`)
)

// shownHeaders are the headers of an answer that the files show.
var shownHeaders = []string{"Content-Type", "Allow", "Accept-Encoding", "Retry-After", "Www-Authenticate"}

// player plays one file of exchanges against a fresh stage. Lines that begin with
//
//	">" are a request: method and path, then headers, then the body;
//	"!" is what happens meanwhile: "deliver ID TYPE", "fail ID TYPE", "bury ID TYPE", "suspend ID", "wait";
//	"<" are the answer, compared: status, headers, body.
//
// {id1} is the first subscription id seen, {cursor1} the first cursor; in answers those and
// generated secrets are written so. Requests are support's administrator's unless they say else.
type player struct {
	stage *stage
	clock *clockwork.FakeClock
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
			for _, secret := range []string{"hunter2", "opensesame", "s3cr3t-value"} {
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
	method, path, _ := strings.Cut(p.expand(lines[0]), " ")
	header := as(support)
	rest := lines[1:]
	for len(rest) > 0 && !strings.HasPrefix(rest[0], "{") && !strings.HasPrefix(rest[0], "[") && strings.Contains(rest[0], ": ") {
		name, value, _ := strings.Cut(rest[0], ": ")
		if value = strings.NewReplacer(
			"{none}", "", "{sales}", "Bearer "+tokenOf(sales, "admin"), "{publish}", "Bearer "+tokenOf(support, "publish"),
		).Replace(value); value == "" {
			header.Del(name)
		} else {
			header.Set(name, value)
		}
		rest = rest[1:]
	}
	response, body := p.stage.send(t, method, path, header, p.expand(strings.Join(rest, "\n")))
	openDocument(t).checkAnswer(t, method, path, response, body)
	fmt.Fprintf(&p.out, "< %d %s\n", response.StatusCode, http.StatusText(response.StatusCode))
	for _, name := range shownHeaders {
		if value := response.Header.Get(name); value != "" {
			fmt.Fprintf(&p.out, "< %s: %s\n", name, value)
		}
	}
	for line := range strings.Lines(p.mask(body)) {
		p.out.WriteString("< " + strings.TrimSuffix(line, "\n") + "\n")
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
	text = secretPattern.ReplaceAllString(text, "{secret}")
	for kind, pattern := range map[string]*regexp.Regexp{"id": idPattern, "cursor": cursorPattern} {
		text = pattern.ReplaceAllStringFunc(text, func(value string) string {
			if name, ok := p.names[value]; ok {
				return name
			}
			number := 1
			for _, name := range p.names {
				if strings.HasPrefix(name, "{"+kind) {
					number++
				}
			}
			p.names[value] = fmt.Sprintf("{%s%d}", kind, number)

			return p.names[value]
		})
	}

	return text
}

func (p *player) act(t *testing.T, words []string) {
	t.Helper()
	var err error
	switch verb, rest := words[0], slices.Concat(words[1:], []string{"", ""}); verb {
	case "deliver":
		err = p.stage.settle(t.Context(), support, rest[0], rest[1], eventBody(rest[1]), nil)
	case "fail":
		err = p.stage.settle(t.Context(), support, rest[0], rest[1], eventBody(rest[1]), func(outcome *journal.Outcome) {
			fail(outcome)
			outcome.Result, outcome.NextAttempt = journal.Retry, p.clock.Now().Add(time.Hour)
		})
	case "bury":
		err = p.stage.settle(t.Context(), support, rest[0], rest[1], eventBody(rest[1]), func(outcome *journal.Outcome) {
			fail(outcome)
			outcome.Result, outcome.Reason = journal.DeadLettered, journal.ReasonAttemptsExhausted
		})
	case "suspend":
		err = p.stage.registry.Suspend(t.Context(), rest[0], "Gone", "the endpoint answered 410")
	case "wait":
		p.clock.Advance(time.Minute)
	default:
		t.Fatalf("no such action: %q", words)
	}
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
}

func fail(outcome *journal.Outcome) {
	outcome.Attempt.Success = false
	outcome.Attempt.ResponseCode, outcome.Attempt.ResponseText = 500, "Internal Server Error"
	outcome.Attempt.ResponseBody = []byte("\x00\xffbinary")
}
