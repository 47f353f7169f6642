package ingest

import (
	"bytes"
	"encoding/json"
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

// isPlain tells whether a text stands in a JSON string as it is.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}

	return true
}
