package subscription_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/subscription"
)

func TestPatternMatches(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		pattern string
		matches []string
		not     []string
	}{
		"Exact": {
			reason: "without * a pattern stands for itself, case-sensitive", pattern: "agent.presencechanged.v1",
			matches: []string{"agent.presencechanged.v1"},
			not:     []string{"Agent.presencechanged.v1", "agent.presencechanged", "agent.presencechanged.v1.x", "agent.presencechanged.v10", ""},
		},
		"LastSegment": {
			reason: "a last * matches one or more segments", pattern: "channel.*",
			matches: []string{"channel.created", "channel.created.v1", "channel.a.b.c"},
			not:     []string{"channel", "channels.created", "channel."},
		},
		"Everything": {
			reason: "* alone matches all", pattern: "*",
			matches: []string{"a", "a.b", "a.b.c.d"},
			not:     []string{""},
		},
		"MiddleSegment": {
			reason: "a * before the last segment matches exactly one segment", pattern: "a.*.c",
			matches: []string{"a.b.c", "a.xyz.c"},
			not:     []string{"a.c", "a.b.b.c", "a.b.c.d"},
		},
		"FirstSegment": {
			reason: "a first * matches exactly one segment", pattern: "*.created",
			matches: []string{"order.created"},
			not:     []string{"created", "shop.order.created"},
		},
		"Inside": {
			reason: "* inside a segment matches any run within it, the empty one too, never a dot", pattern: "agent.presence*.v1",
			matches: []string{"agent.presence.v1", "agent.presencechanged.v1"},
			not:     []string{"agent.presence.changed.v1", "agent.presenc.v1"},
		},
		"InsideLast": {
			reason: "a last segment with more than * stays within one segment", pattern: "agent.v*",
			matches: []string{"agent.v", "agent.v1"},
			not:     []string{"agent.v1.beta", "agent.x"},
		},
		"Several": {
			reason: "several stars need their parts in order, without overlap", pattern: "*ab*ba*",
			matches: []string{"abba", "xabxbax", "ababba"},
			not:     []string{"aba", "baab", "ab.ba"},
		},
		"Suffix": {
			reason: "what follows the last star must stand at the end", pattern: "a*a",
			matches: []string{"aa", "aba", "aaa"},
			not:     []string{"a", "ab", "aab"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pattern, err := subscription.ParsePattern(tc.pattern)
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			for _, event := range tc.matches {
				if !pattern.Matches(event) {
					t.Errorf("%s: %q must match %q", tc.reason, tc.pattern, event)
				}
			}
			for _, event := range tc.not {
				if pattern.Matches(event) {
					t.Errorf("%s: %q must not match %q", tc.reason, tc.pattern, event)
				}
			}
		})
	}
}

func TestParsePatternErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		text   string
		want   string
	}{
		"Empty":        {"nothing", "", "is empty"},
		"LeadingDot":   {"an empty first segment", ".a", "empty segment"},
		"TrailingDot":  {"an empty last segment", "a.", "empty segment"},
		"DoubleDot":    {"an empty segment between", "a..b", "empty segment"},
		"DoubleStar":   {"** has no meaning", "a.**", "already matches any run"},
		"Space":        {"white space", "a b", `character ' '`},
		"NonASCII":     {"letters beyond ASCII", "é", "use letters, digits"},
		"TooLong":      {"one byte too many", strings.Repeat("a", subscription.MaxPatternLength+1), "the most is 256"},
		"ManySegments": {"one segment too many", strings.Repeat("a.", subscription.MaxPatternSegments) + "a", "more than 32 segments"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := subscription.ParsePattern(tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: got %v, want an error with %q", tc.reason, err, tc.want)
			}
		})
	}
	for _, text := range []string{
		strings.Repeat("a", subscription.MaxPatternLength), strings.Repeat("a.", subscription.MaxPatternSegments-1) + "a", "a_b-c/d:e~f+g@h#i",
	} {
		if _, err := subscription.ParsePattern(text); err != nil {
			t.Errorf("%q stands within the limits and must parse: %v", text, err)
		}
	}
}

func TestValidateEventType(t *testing.T) {
	t.Parallel()
	if err := subscription.ValidateEventType("agent.presencechanged.v1"); err != nil {
		t.Errorf("a dotted name is an event type: %v", err)
	}
	if err := subscription.ValidateEventType("agent.*"); err == nil {
		t.Error("a pattern is no event type")
	}
}

func TestParsePatterns(t *testing.T) {
	t.Parallel()
	many := make([]string, subscription.MaxEvents+1)
	for i := range many {
		many[i] = fmt.Sprintf("event%d", i)
	}
	cases := map[string]struct {
		reason string
		events []string
		want   string
	}{
		"None":      {"at least one is needed", nil, "no events"},
		"Twice":     {"a set holds each once", []string{"a", "b", "a"}, `"a" stands twice`},
		"TooMany":   {"one over the limit", many, "101 events"},
		"OneIsBad":  {"each must parse", []string{"a", "b."}, "empty segment"},
		"AtTheMost": {"the limit itself is allowed", many[:subscription.MaxEvents], ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patterns, err := subscription.ParsePatterns(tc.events)
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%s: got %v, want an error with %q", tc.reason, err, tc.want)
				}

				return
			}
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			got := make([]string, 0, len(patterns))
			for _, pattern := range patterns {
				got = append(got, pattern.String())
			}
			if diff := cmp.Diff(tc.events, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// reference matches by the grammar's words, slowly: it tries every way.
func reference(pattern, event string) bool {
	if event == "" {
		return false
	}

	return segmentsMatch(strings.Split(pattern, "."), strings.Split(event, "."))
}

func segmentsMatch(pattern, event []string) bool {
	if len(pattern) == 1 && pattern[0] == "*" {
		return len(event) >= 1
	}
	if len(pattern) == 0 || len(event) == 0 {
		return len(pattern) == len(event)
	}

	return bytesMatch(pattern[0], event[0]) && segmentsMatch(pattern[1:], event[1:])
}

// bytesMatch fills a table: row i, column j tell whether the first i bytes of the pattern
// match the first j of the text.
func bytesMatch(pattern, text string) bool {
	row := make([]bool, len(text)+1)
	row[0] = true
	for i := range len(pattern) {
		next := make([]bool, len(text)+1)
		for j := range next {
			switch {
			case pattern[i] == '*':
				next[j] = row[j] || j > 0 && next[j-1]
			case j > 0:
				next[j] = row[j-1] && pattern[i] == text[j-1]
			}
		}
		row = next
	}

	return row[len(text)]
}

func FuzzParsePattern(f *testing.F) {
	for _, seed := range [][2]string{
		{"agent.presencechanged.v1", "agent.presencechanged.v1"}, {"channel.*", "channel.a.b"}, {"*", "a"}, {"a.*.c", "a.b.c"},
		{"*ab*ba*", "aba"}, {"a*a", "a"}, {"a.**", "a.b"}, {"..", "."}, {"a*b*c", "abcbc"}, {"*.*", "a.b.c"}, {"a.b*", "a.b"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, event string) {
		pattern, err := subscription.ParsePattern(text)
		if err != nil {
			return
		}
		if pattern.String() != text || strings.Join(pattern.Segments(), ".") != text {
			t.Errorf("%q parsed to %q with segments %q", text, pattern, pattern.Segments())
		}
		if pattern.IsExact() != (subscription.ValidateEventType(text) == nil) {
			t.Errorf("%q: exact is %t, and as an event type: %v", text, pattern.IsExact(), subscription.ValidateEventType(text))
		}
		if pattern.IsExact() && !pattern.Matches(text) {
			t.Errorf("the exact pattern %q must match itself", text)
		}
		if subscription.ValidateEventType(event) != nil {
			return
		}
		if got, want := pattern.Matches(event), reference(text, event); got != want {
			t.Errorf("pattern %q, event %q: matches %t, by the reference %t", text, event, got, want)
		}
	})
}
