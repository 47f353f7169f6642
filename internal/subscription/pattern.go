package subscription

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of the pattern grammar.
const (
	// MaxPatternLength bounds a pattern and an event type, in bytes.
	MaxPatternLength = 256
	// MaxPatternSegments bounds the segments of a pattern and of an event type.
	MaxPatternSegments = 32
)

// wildcard is the only character with a meaning of its own.
const wildcard = "*"

// Pattern is a parsed event pattern. The grammar, dot-separated:
//
//   - a segment without "*" matches itself, case-sensitive;
//   - "*" inside a segment matches any run of characters within that segment, the empty
//     run included, but never a dot;
//   - a last segment that is exactly "*" matches one or more segments;
//   - "*" alone therefore matches every event type.
//
// A segment before the last that is exactly "*" matches any one segment.
type Pattern struct {
	text     string
	segments []string
}

// ParsePattern reads a pattern. The error says what is wrong and how to mend it.
func ParsePattern(text string) (Pattern, error) {
	if err := checkDotted(text, "pattern", true); err != nil {
		return Pattern{}, err
	}
	segments := strings.Split(text, ".")
	for _, segment := range segments {
		if strings.Contains(segment, "**") {
			return Pattern{}, fmt.Errorf("pattern %q has \"**\" in a segment: one \"*\" already matches any run of characters", text)
		}
	}

	return Pattern{text: text, segments: segments}, nil
}

// ValidateEventType checks a concrete event type, which is a pattern without "*".
func ValidateEventType(name string) error {
	return checkDotted(name, "event type", false)
}

func checkDotted(text, what string, allowWildcard bool) error {
	switch {
	case text == "":
		return fmt.Errorf("the %s is empty: write a dotted name such as agent.presencechanged.v1", what)
	case len(text) > MaxPatternLength:
		return fmt.Errorf("the %s has %d bytes: the most is %d", what, len(text), MaxPatternLength)
	case strings.Count(text, ".")+1 > MaxPatternSegments:
		return fmt.Errorf("%s %q has more than %d segments", what, text, MaxPatternSegments)
	}
	start := 0
	for i := 0; i <= len(text); i++ {
		if i == len(text) || text[i] == '.' {
			if i == start {
				return fmt.Errorf("%s %q has an empty segment: remove the extra dot", what, text)
			}
			start = i + 1

			continue
		}
		if text[i] == '*' && !allowWildcard {
			return fmt.Errorf("%s %q has a \"*\": an event has one exact type", what, text)
		}
		if text[i] != '*' && !isSegmentByte(text[i]) {
			return fmt.Errorf("%s %q has the character %q: use letters, digits and _ - / : ~ + @ #", what, text, text[i])
		}
	}

	return nil
}

// isSegmentByte tells what may stand in a segment besides "*".
func isSegmentByte(b byte) bool {
	switch {
	case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
		return true
	default:
		return strings.IndexByte("_-/:~+@#", b) >= 0
	}
}

// String is the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Segments are the pattern's segments; the caller must not change them.
func (p Pattern) Segments() []string { return p.segments }

// IsExact tells whether the pattern names one event type.
func (p Pattern) IsExact() bool { return !strings.Contains(p.text, wildcard) }

// Matches tells whether an event type is one the pattern stands for.
func (p Pattern) Matches(eventType string) bool {
	rest := eventType
	for i, segment := range p.segments {
		last := i == len(p.segments)-1
		if last && segment == wildcard {
			return rest != ""
		}
		head, tail, more := strings.Cut(rest, ".")
		if !MatchSegment(segment, head) || more == last {
			return false
		}
		rest = tail
	}

	return len(p.segments) > 0
}

// MatchSegment tells whether one segment of a pattern matches one segment of an event
// type. It takes time linear in the product of their lengths at the most.
func MatchSegment(pattern, segment string) bool {
	prefix, rest, found := strings.Cut(pattern, wildcard)
	if !found {
		return pattern == segment
	}
	if !strings.HasPrefix(segment, prefix) {
		return false
	}
	segment = segment[len(prefix):]
	for {
		literal, tail, more := strings.Cut(rest, wildcard)
		if !more {
			return strings.HasSuffix(segment, literal)
		}
		at := strings.Index(segment, literal)
		if at < 0 {
			return false
		}
		segment = segment[at+len(literal):]
		rest = tail
	}
}

// ErrNoEvents answers a set of patterns with nothing in it.
var ErrNoEvents = errors.New("no events: name at least one event type or pattern")

// ParsePatterns reads a subscription's events: 1 to MaxEvents patterns, none twice.
func ParsePatterns(events []string) ([]Pattern, error) {
	if len(events) == 0 {
		return nil, ErrNoEvents
	}
	if len(events) > MaxEvents {
		return nil, fmt.Errorf("%d events: the most is %d, a pattern such as channel.* may stand for many", len(events), MaxEvents)
	}
	patterns := make([]Pattern, 0, len(events))
	seen := make(map[string]bool, len(events))
	for _, event := range events {
		pattern, err := ParsePattern(event)
		if err != nil {
			return nil, err
		}
		if seen[event] {
			return nil, fmt.Errorf("event %q stands twice: remove one", event)
		}
		seen[event] = true
		patterns = append(patterns, pattern)
	}

	return patterns, nil
}
