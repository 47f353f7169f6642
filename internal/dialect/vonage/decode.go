package vonage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// maxQuoted bounds how much of a client's text an error repeats, in bytes.
const maxQuoted = 64

// readBody reads a request's body, bounded in size and time.
func readBody(r *http.Request, readBy func(time.Time) error) ([]byte, error) {
	if err := checkContentType(r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	if encoded(r.Header) {
		return nil, &refusal{
			status: http.StatusUnsupportedMediaType, acceptEncoding: identity,
			message: "The request body must be sent as it is: remove the header Content-Encoding and what it says was done",
		}
	}
	// A connection without deadlines is none that could be slow. The deadline ends with the body:
	// left standing, it would end the request itself. After a refusal it stands, since the server
	// reads on for the rest of the body.
	bounded := readBy(time.Now().Add(BodyTimeout)) == nil
	body, err := io.ReadAll(r.Body)
	if err == nil && bounded {
		_ = readBy(time.Time{})
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, &refusal{
			status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("The request body has more than %d bytes", MaxRequestBytes),
		}
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &refusal{status: http.StatusRequestTimeout, message: "The request body came too slowly"}
	case err != nil:
		return nil, malformed("The request body could not be read to its end")
	}

	return body, nil
}

// checkContentType takes what the documented requests send. They need no Content-Type, and
// curl then says of its own accord that the body is a form.
func checkContentType(contentType string) error {
	if contentType == "" {
		return nil
	}
	mediaType, params, err := mime.ParseMediaType(contentType)
	charset := params["charset"]
	known := mediaType == jsonMediaType || strings.HasSuffix(mediaType, "+json") || mediaType == formMediaType
	if err != nil || !known || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return &refusal{
			status:  http.StatusUnsupportedMediaType,
			message: "The request body must be JSON in UTF-8: send Content-Type " + jsonMediaType,
		}
	}

	return nil
}

// identity is the Content-Encoding of a body as it is.
const identity = "identity"

// encoded tells whether a body is compressed, or otherwise not sent as it is.
func encoded(header http.Header) bool {
	given := strings.TrimSpace(strings.Join(header.Values("Content-Encoding"), ","))

	return given != "" && !strings.EqualFold(given, identity)
}

func malformed(format string, args ...any) error {
	return &refusal{status: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
}

func wrongField(field, format string, args ...any) error {
	return malformed("%s: %s", field, fmt.Sprintf(format, args...))
}

// readFields reads the body of a create or an update: one JSON object whose members are known,
// stand once and are not null. The vendor does not say what it makes of others; what is silently
// dropped would be believed to hold. No error repeats a value.
func readFields(body []byte) (fields, error) {
	var out fields
	into := map[string]any{
		memberID: &out.SubscriptionID, memberName: &out.Name, memberURL: &out.URL,
		memberEvents: &out.Events, memberEnabled: &out.Enabled, memberSecret: &out.Secret,
	}
	if !json.Valid(body) || !utf8.Valid(body) {
		return fields{}, malformed("The request body is not valid JSON in UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if opening, err := decoder.Token(); err != nil || opening != json.Delim('{') {
		return fields{}, malformed("The request body is not a JSON object")
	}
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return fields{}, malformed("The request body is not valid JSON")
		}
		member, _ := token.(string)
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return fields{}, malformed("The request body is not valid JSON")
		}
		field, known := into[member]
		switch {
		case !known:
			return fields{}, wrongField(clip(member), "a subscription has no such property: remove it or mend its name")
		case seen[member]:
			return fields{}, wrongField(member, "it stands twice: remove one")
		}
		seen[member] = true
		if err := readField(member, value, field); err != nil {
			return fields{}, err
		}
	}

	return out, nil
}

func readField(member string, value json.RawMessage, into any) error {
	takes := "a string"
	switch member {
	case memberEvents:
		takes = "an array of strings"
	case memberEnabled:
		takes = "true or false"
	}
	if string(value) == "null" || member == memberEvents && hasNull(value) {
		return wrongField(member, "it is null: leave it out, or give %s", takes)
	}
	if err := json.Unmarshal(value, into); err != nil {
		return wrongField(member, "it must be %s", takes)
	}

	return nil
}

// hasNull tells whether an array holds null, which would be read as an empty text.
func hasNull(value json.RawMessage) bool {
	var items []json.RawMessage
	if json.Unmarshal(value, &items) != nil {
		return false
	}
	for _, item := range items {
		if string(item) == "null" {
			return true
		}
	}

	return false
}

// requireForCreate names the first of a create's required properties that is missing.
func (f fields) requireForCreate() error {
	switch {
	case f.Name == nil:
		return wrongField(memberName, "it is required")
	case f.URL == nil:
		return wrongField(memberURL, "it is required")
	case f.Events == nil:
		return wrongField(memberEvents, "it is required")
	}

	return nil
}

// wireField is a port's field as the wire spells it.
func wireField(field string) string {
	if field == string(subscription.FieldSecret) {
		return memberSecret
	}

	return field
}

// clip shortens a text for an error and leaves it valid UTF-8.
func clip(text string) string {
	if len(text) > maxQuoted {
		text = text[:maxQuoted] + "…"
	}

	return strings.ToValidUTF8(text, "�")
}
