package native

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// textOrBase64 is a body as text where it reads as text, and as Base64 otherwise.
func textOrBase64(body []byte) (text, encoded string) {
	wrong := func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n", r) }
	if !utf8.Valid(body) || strings.ContainsFunc(string(body), wrong) {
		return "", base64.StdEncoding.EncodeToString(body)
	}

	return string(body), ""
}

// fromTextOrBase64 undoes textOrBase64; an empty body comes back as none.
func fromTextOrBase64(text, encoded string) ([]byte, error) {
	if encoded == "" {
		if text == "" {
			return nil, nil
		}

		return []byte(text), nil
	}
	body, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("decoding Base64: %w", err)
	}

	return body, nil
}
