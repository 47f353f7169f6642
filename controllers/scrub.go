package controllers

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxMessage bounds a condition's message and an Event's note, in bytes. The API server's own limits are wider.
const maxMessage = 900

// What differs from one answer to the next though it means the same, and what nobody should read.
var scrubs = []struct {
	find    *regexp.Regexp
	replace string
}{
	{regexp.MustCompile(`whsec_[A-Za-z0-9+/=_-]+`), "(secret)"},
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`), "$1 (secret)"},
	{regexp.MustCompile(`\b[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b`), "(id)"},
	{regexp.MustCompile(`\b[0-9A-Za-z]{27}\b`), "(id)"}, // a KSUID
	{regexp.MustCompile(`\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:?\d{2})?`), "(time)"},
	{regexp.MustCompile(`\b(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:]+\]):\d+->`), ""},
	{regexp.MustCompile(`\b[0-9a-fA-F]{16,}\b`), "(id)"},
	{regexp.MustCompile(`\b\d{9,}\b`), "(number)"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ns|µs|ms)\b`), "(time)"},
}

// unstopped is a message without the full stop at its end, for one that another sentence follows.
func unstopped(message string) string { return strings.TrimRight(message, ". ") }

// scrub makes a message the same for the same cause: ids of requests, times and anything like a secret are
// taken out, line breaks become spaces, and it is cut to maxMessage.
func scrub(message string) string {
	for _, s := range scrubs {
		message = s.find.ReplaceAllString(message, s.replace)
	}

	message = strings.Join(strings.Fields(message), " ")
	if len(message) <= maxMessage {
		return message
	}

	cut := maxMessage
	for cut > 0 && !utf8.RuneStart(message[cut]) {
		cut--
	}

	return message[:cut] + "…"
}
