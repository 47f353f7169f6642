package ingest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Limits of one event's attributes, in bytes. The type's is subscription.MaxPatternLength.
const (
	MaxIDBytes        = 256
	MaxSourceBytes    = 1024
	MaxAttributeBytes = 1024
	// MaxExtensionName bounds the name of an extension attribute.
	MaxExtensionName = 64
)

// The names of CloudEvents 1.0.
const (
	attrSpecVersion     = "specversion"
	attrID              = "id"
	attrSource          = "source"
	attrType            = "type"
	attrSubject         = "subject"
	attrTime            = "time"
	attrDataContentType = "datacontenttype"
	attrDataSchema      = "dataschema"
	attrPartitionKey    = "partitionkey"
	memberData          = "data"
	memberDataBase64    = "data_base64"

	specVersion   = "1.0"
	jsonMediaType = "application/json"
)

var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`)

// Event is one decoded event, in the terms of CloudEvents 1.0.
type Event struct {
	ID, Source, Type string
	// Subject, Time, DataContentType and DataSchema are empty where absent. Time stays as it was written.
	Subject, Time, DataContentType, DataSchema string
	// Extensions are the JSON values of the extension attributes by name, as they were written.
	Extensions map[string]json.RawMessage
	// Data is the JSON value of data, byte for byte; nil where absent.
	Data json.RawMessage
	// Binary is data that is not JSON; nil where absent. At most one of Data and Binary is set.
	Binary []byte
}

// attributeError names the attribute at fault.
func attributeError(name, format string, args ...any) error {
	return &subscription.InvalidError{Field: name, Message: fmt.Sprintf(format, args...)}
}

// setAttribute takes one context attribute, extension attributes included, in its text form.
func (e *Event) setAttribute(name, value string) error {
	switch name {
	case attrSpecVersion:
		if value != specVersion {
			return attributeError(name, "%q is not supported: send CloudEvents %s", clip(value), specVersion)
		}
	case attrID:
		e.ID = value
	case attrSource:
		e.Source = value
	case attrType:
		e.Type = value
	case attrSubject:
		e.Subject = value
	case attrTime:
		e.Time = value
	case attrDataContentType:
		e.DataContentType = value
	case attrDataSchema:
		e.DataSchema = value
	default:
		return e.setExtension(name, quote(value))
	}
	if value == "" {
		return attributeError(name, "it is empty: give it a value or leave it out")
	}

	return nil
}

// setExtension takes one extension attribute: a JSON string, boolean or 32-bit integer.
func (e *Event) setExtension(name string, value json.RawMessage) error {
	if err := checkExtensionName(name); err != nil {
		return err
	}
	switch value[0] {
	case '"':
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return attributeError(name, "it is not a JSON string: %v", err)
		}
		if halfPair(value) {
			return halfPairError(name)
		}
		if err := checkText(name, text, MaxAttributeBytes); err != nil {
			return err
		}
	case 't', 'f':
	case '{', '[':
		return attributeError(name, "an extension attribute is a string, a boolean or an integer: move structured values into data")
	default:
		if _, err := strconv.ParseInt(string(value), 10, 32); err != nil {
			return attributeError(name, "a number must be an integer of 32 bits: write others as a string")
		}
	}
	if e.Extensions == nil {
		e.Extensions = map[string]json.RawMessage{}
	}
	e.Extensions[name] = value

	return nil
}

func checkExtensionName(name string) error {
	if name == "" || len(name) > MaxExtensionName {
		return attributeError(clip(name), "an extension attribute's name has 1 to %d characters", MaxExtensionName)
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return attributeError(clip(name), "an extension attribute's name has lower-case letters and digits alone")
		}
	}

	return nil
}

// PartitionKey is the extension attribute of that name, empty where absent or no string.
func (e *Event) PartitionKey() string {
	var key string
	if raw, ok := e.Extensions[attrPartitionKey]; ok {
		_ = json.Unmarshal(raw, &key)
	}

	return key
}

// validate checks everything that CloudEvents and Hookline ask of an event. The error is a
// *subscription.InvalidError that names the attribute.
func (e *Event) validate() error {
	for _, required := range []struct{ name, value string }{{attrID, e.ID}, {attrSource, e.Source}, {attrType, e.Type}} {
		if required.value == "" {
			return attributeError(required.name, "it is missing: every event has one")
		}
	}
	if err := subscription.ValidateEventType(e.Type); err != nil {
		return attributeError(attrType, "%v", err)
	}
	texts := []struct {
		name, value string
		limit       int
	}{
		{attrID, e.ID, MaxIDBytes},
		{attrSource, e.Source, MaxSourceBytes},
		{attrSubject, e.Subject, MaxAttributeBytes},
		{attrDataContentType, e.DataContentType, MaxAttributeBytes},
		{attrDataSchema, e.DataSchema, MaxAttributeBytes},
	}
	for _, text := range texts {
		if err := checkText(text.name, text.value, text.limit); err != nil {
			return err
		}
	}

	return e.validateForms()
}

// validateForms checks the attributes that have a syntax of their own.
func (e *Event) validateForms() error {
	if _, err := url.Parse(e.Source); err != nil {
		return attributeError(attrSource, "it is not a URI reference: write one such as /agents or https://example.com/agents")
	}
	if e.DataSchema != "" {
		if schema, err := url.Parse(e.DataSchema); err != nil || !schema.IsAbs() {
			return attributeError(attrDataSchema, "it is not an absolute URI")
		}
	}
	if e.Time != "" {
		// The shape first: time.Parse is laxer than RFC 3339, it takes a comma for the full stop.
		if _, err := time.Parse(time.RFC3339, e.Time); err != nil || !rfc3339.MatchString(e.Time) {
			return attributeError(attrTime, "%q is not an RFC 3339 time: write one such as 2026-01-31T15:04:05Z", clip(e.Time))
		}
	}
	if e.DataContentType != "" {
		if _, _, err := parseMediaType(e.DataContentType); err != nil {
			return attributeError(attrDataContentType, "%q is not a media type: write one such as %s",
				clip(e.DataContentType), jsonMediaType)
		}
	}

	return nil
}

// checkText holds a string to its length and to the characters CloudEvents allows.
func checkText(name, text string, limit int) error {
	if len(text) > limit {
		return attributeError(name, "it has %d bytes: the most is %d", len(text), limit)
	}
	for _, r := range text {
		switch {
		case r < ' ', r >= 0x7f && r <= 0x9f:
			return attributeError(name, "it has the control character %U: remove it", r)
		case r&0xfffe == 0xfffe, r >= 0xfdd0 && r <= 0xfdef:
			return attributeError(name, "it has the noncharacter %U: remove it", r)
		}
	}

	return nil
}

// encode is the event as CloudEvents 1.0 JSON, structured mode: the attributes of the
// specification first, extension attributes sorted by name, data last and byte for byte.
func (e *Event) encode() []byte {
	var out bytes.Buffer
	out.Grow(len(e.Data) + base64.StdEncoding.EncodedLen(len(e.Binary)) + len(e.Source) + len(e.ID) + 256)
	out.WriteString(`{"specversion":"` + specVersion + `"`)
	for _, attribute := range []struct{ name, value string }{
		{attrID, e.ID},
		{attrSource, e.Source},
		{attrType, e.Type},
		{attrSubject, e.Subject},
		{attrTime, e.Time},
		{attrDataContentType, e.DataContentType},
		{attrDataSchema, e.DataSchema},
	} {
		if attribute.value != "" {
			member(&out, attribute.name, nil)
			writeQuoted(&out, attribute.value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		member(&out, name, e.Extensions[name])
	}
	switch {
	case e.Data != nil:
		member(&out, memberData, e.Data)
	case e.Binary != nil:
		member(&out, memberDataBase64, nil)
		out.WriteByte('"')
		out.Write(base64.StdEncoding.AppendEncode(out.AvailableBuffer(), e.Binary))
		out.WriteByte('"')
	}
	out.WriteByte('}')

	return out.Bytes()
}

func member(out *bytes.Buffer, name string, value []byte) {
	out.WriteString(`,"`)
	out.WriteString(name)
	out.WriteString(`":`)
	out.Write(value)
}

// writeQuoted writes text as a JSON string.
func writeQuoted(out *bytes.Buffer, text string) {
	if !isPlain(text) {
		out.Write(quote(text))

		return
	}
	out.WriteByte('"')
	out.WriteString(text)
	out.WriteByte('"')
}

// quote is text as a JSON string, with no more escaped than JSON asks for.
func quote(text string) json.RawMessage {
	if isPlain(text) {
		return json.RawMessage(`"` + text + `"`)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		// A string always encodes: invalid UTF-8 is replaced.
		panic(err)
	}

	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// isJSON tells whether a media type's content is JSON.
func isJSON(mediaType string) bool {
	return mediaType == jsonMediaType || mediaType == "text/json" || strings.HasSuffix(mediaType, "+json")
}

// maxQuoted bounds how much of a publisher's text an error repeats.
const maxQuoted = 64

// clip shortens text for an error and leaves it valid UTF-8.
func clip(text string) string {
	if len(text) <= maxQuoted {
		return strings.ToValidUTF8(text, "�")
	}
	cut := maxQuoted
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}

	return strings.ToValidUTF8(text[:cut], "�") + "…"
}
