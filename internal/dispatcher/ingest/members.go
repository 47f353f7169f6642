package ingest

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode"
	"unicode/utf16"
)

// members walks over a JSON value that has been found valid, in valid UTF-8: it looks where
// each part begins and ends and checks nothing again. What it hands out shares the text's memory.
type members struct {
	text []byte
	at   int
}

// next moves past white space to the next byte, and returns it; 0 at the end.
func (m *members) next() byte {
	for ; m.at < len(m.text); m.at++ {
		switch c := m.text[m.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}

	return 0
}

// string moves past the string that begins here.
func (m *members) string() {
	for m.at++; m.at < len(m.text); m.at++ {
		switch m.text[m.at] {
		case '"':
			m.at++

			return
		case '\\':
			m.at++
		}
	}
}

// value moves past the value that begins here, and returns it.
func (m *members) value() json.RawMessage {
	begin, depth := m.at, 0
	for m.at < len(m.text) {
		switch m.text[m.at] {
		case '"':
			m.string()
		case '{', '[':
			depth++
			m.at++

			continue
		case '}', ']':
			if depth == 0 {
				// It closes what the value, a number or a literal, is in.
				return m.text[begin:m.at:m.at]
			}
			depth--
			m.at++
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return m.text[begin:m.at:m.at]
			}
			m.at++

			continue
		default:
			m.at++

			continue
		}
		if depth == 0 {
			break
		}
	}

	return m.text[begin:m.at:m.at]
}

// textIn is the text of a JSON string.
func textIn(value json.RawMessage) (string, error) {
	if len(value) > 1 && value[0] == '"' && bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1]), nil
	}
	var text string
	err := json.Unmarshal(value, &text)

	return text, err
}

// halfPair tells whether a valid JSON string has an escaped surrogate without the other one of its pair. That is no
// character, and decoders make the same one of all of them: two ids that differ in it would be one.
func halfPair(value json.RawMessage) bool {
	const escape = len(`\u0000`)
	for at := bytes.IndexByte(value, '\\'); at >= 0 && at+1 < len(value); {
		length := 2
		if high, ok := escaped(value[at:]); ok {
			length = escape
			if utf16.IsSurrogate(high) {
				low, _ := escaped(value[at+escape:])
				if utf16.DecodeRune(high, low) == unicode.ReplacementChar {
					return true
				}
				length += escape
			}
		}
		next := bytes.IndexByte(value[at+length:], '\\')
		if next < 0 {
			return false
		}
		at += length + next
	}

	return false
}

// escaped is the character that a text begins with, where it stands there as \u and its number.
func escaped(text []byte) (rune, bool) {
	number, ok := bytes.CutPrefix(text, []byte(`\u`))
	const digits = 4
	if !ok || len(number) < digits {
		return 0, false
	}
	code, err := strconv.ParseUint(string(number[:digits]), 16, 16)

	return rune(code), err == nil
}

// isPlain tells whether a text stands in a JSON string as it is.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}

	return true
}
