package subscription

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// maxExplanation bounds what is kept of a provider's explanation, in bytes.
const maxExplanation = 512

// ScrubExplanation takes a request's secrets out of what a provider says of it, however it spells them, and keeps at
// most its first 512 bytes.
func ScrubExplanation(text string, secrets []string) string {
	var written []string
	for _, secret := range secrets {
		if secret != "" {
			written = append(written, spellings(secret)...)
		}
	}
	// The longest first, so that none is cut by one it contains.
	slices.SortStableFunc(written, func(a, b string) int { return len(b) - len(a) })
	for _, secret := range written {
		text = strings.ReplaceAll(text, secret, "***")
	}
	if len(text) > maxExplanation {
		text = text[:maxExplanation] + "…"
	}

	return strings.ToValidUTF8(text, "")
}

// spellings are how a text may write a secret: as it is, as JSON writes it, with and without what is escaped for
// HTML, where the text quotes the request's body, and percent-encoded.
func spellings(secret string) []string {
	out := []string{secret, url.QueryEscape(secret), url.PathEscape(secret)}
	for _, escapeHTML := range []bool{false, true} {
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(escapeHTML)
		if err := encoder.Encode(secret); err == nil {
			quoted := strings.TrimSuffix(text.String(), "\n")
			out = append(out, quoted[1:len(quoted)-1])
		}
	}

	return out
}
