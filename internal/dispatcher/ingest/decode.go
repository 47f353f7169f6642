package ingest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/segmentio/ksuid"
)

// Limits of a request, in bytes of its body once any Content-Encoding is undone.
const (
	// MaxEventBytes bounds one event as it was sent.
	MaxEventBytes = 1 << 20
	// MaxBatchBytes bounds a batch.
	MaxBatchBytes = 8 << 20
	// MaxBatchEvents bounds the events of a batch.
	MaxBatchEvents = 1000
)

// Mode is how a request carries its events.
type Mode uint8

// The modes.
const (
	// ModeStructured is one CloudEvent as application/cloudevents+json.
	ModeStructured Mode = iota + 1
	// ModeBatch is an array of them as application/cloudevents-batch+json.
	ModeBatch
	// ModeBinary is one CloudEvent: attributes in ce- headers, data in the body.
	ModeBinary
	// ModePlain is {type,id,source,subject,time,data} as application/json, or an array of them.
	ModePlain
)

const (
	structuredMediaType = "application/cloudevents+json"
	batchMediaType      = "application/cloudevents-batch+json"
	cloudEventsPrefix   = "application/cloudevents"
	attributePrefix     = "ce-"
)

// MaxBody is the most bytes a request of the mode may have.
func (m Mode) MaxBody() int64 {
	if m == ModeBatch || m == ModePlain {
		return MaxBatchBytes
	}

	return MaxEventBytes
}

// Defaults fill what a plain event leaves out.
type Defaults struct {
	// Tenant makes the default source, "/" and the tenant.
	Tenant string
	// Accepted is the default time.
	Accepted time.Time
}

// Decoded is one event of a request, or why it is none.
type Decoded struct {
	// Event is as far as it could be decoded; its ID and Source may be set where Err is, too.
	Event Event
	// Err is a *subscription.InvalidError, nil where the event is valid.
	Err error
}

// ModeOf tells from its headers how a request carries its events. The error is one of this
// package's problems, as are Decode's.
func ModeOf(header http.Header) (Mode, error) {
	contentType := header.Get("Content-Type")
	mediaType, params, err := parseMediaType(contentType)
	if contentType != "" && err != nil {
		return 0, unsupported("Content-Type %q is not a media type", clip(contentType))
	}
	var mode Mode
	switch {
	case mediaType == structuredMediaType:
		mode = ModeStructured
	case mediaType == batchMediaType:
		mode = ModeBatch
	case strings.HasPrefix(mediaType, cloudEventsPrefix):
		return 0, unsupported("CloudEvents come as JSON: send %s or %s", structuredMediaType, batchMediaType)
	case hasAttributes(header):
		mode = ModeBinary
	case mediaType == jsonMediaType:
		mode = ModePlain
	default:
		return 0, unsupported("send %s, %s, %s, or any content with ce- headers", structuredMediaType, batchMediaType, jsonMediaType)
	}
	charset := params["charset"]
	if (mode != ModeBinary || isJSON(mediaType)) && charset != "" && !strings.EqualFold(charset, "utf-8") {
		return 0, unsupported("charset %q: JSON comes as UTF-8", clip(charset))
	}

	return mode, nil
}

// parseMediaType is mime.ParseMediaType, with less to do for what nearly everybody sends.
func parseMediaType(text string) (mediaType string, params map[string]string, err error) {
	switch text {
	case structuredMediaType, batchMediaType, jsonMediaType:
		return text, nil, nil
	default:
		return mime.ParseMediaType(text) //nolint:wrapcheck // Callers say what is wrong.
	}
}

func hasAttributes(header http.Header) bool {
	for name := range header {
		if strings.HasPrefix(strings.ToLower(name), attributePrefix) {
			return true
		}
	}

	return false
}

// Decode takes a request's events apart and checks each. They share the body's memory. It fails as a whole where the body
// cannot be taken apart or holds too much; what is wrong with one event stands with it.
func Decode(mode Mode, header http.Header, body []byte, defaults Defaults) ([]Decoded, error) {
	if mode == ModeBinary {
		return []Decoded{decodeBinary(header, body)}, nil
	}
	if !utf8.Valid(body) {
		return nil, badRequest("the body is not UTF-8")
	}
	decode := decodeCloudEvent
	if mode == ModePlain {
		decode = func(raw []byte) Decoded { return decodePlain(raw, defaults) }
	}
	isArray := bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("["))
	switch {
	case mode == ModeBatch && !isArray:
		return nil, badRequest("the body is not a JSON array of CloudEvents")
	case mode == ModeBatch || mode == ModePlain && isArray:
		return decodeArray(body, decode)
	case len(body) > MaxEventBytes:
		return nil, tooLarge("the event has %d bytes: the most is %d", len(body), MaxEventBytes)
	}
	if err := checkSyntax(body); err != nil {
		return nil, err
	}

	return []Decoded{decode(body)}, nil
}

// checkSyntax holds the body to be one JSON object.
func checkSyntax(body []byte) error {
	// The common case first: it needs one pass over the body.
	if m := (members{text: body}); m.next() == '{' && json.Valid(body) {
		return nil
	}
	var object struct{}
	err := json.Unmarshal(body, &object)
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mistyped):
		return badRequest("the body is not a JSON object but a JSON %s", mistyped.Value)
	case err != nil:
		return badRequest("the body is not JSON: %s", syntaxDetail(err))
	case bytes.Equal(bytes.TrimSpace(body), []byte("null")):
		return badRequest("the body is not a JSON object but null")
	}

	return nil
}

// decodeArray decodes each element by itself and stops at the first one too many.
func decodeArray(body []byte, decode func([]byte) Decoded) ([]Decoded, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if _, err := decoder.Token(); err != nil {
		return nil, badRequest("the body is not JSON: %s", syntaxDetail(err))
	}
	var events []Decoded
	for decoder.More() {
		if len(events) == MaxBatchEvents {
			return nil, tooLarge("the batch has more than %d events: send it in parts", MaxBatchEvents)
		}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return nil, badRequest("event %d of the batch is not JSON: %s", len(events), syntaxDetail(err))
		}
		if len(raw) > MaxEventBytes {
			events = append(events, Decoded{Err: attributeError("", "the event has %d bytes: the most is %d", len(raw), MaxEventBytes)})

			continue
		}
		events = append(events, decode(raw))
	}
	if _, err := decoder.Token(); err != nil {
		return nil, badRequest("the body is not JSON: %s", syntaxDetail(err))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, badRequest("the body goes on after the array's end")
	}

	return events, nil
}

// syntaxDetail is what encoding/json has against a text, and where.
func syntaxDetail(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err.Error() == "unexpected end of JSON input" {
		return "it ends too early"
	}

	return err.Error()
}

// eachMember calls take for each member of a JSON object, in order. The text has been found
// valid JSON; values share its memory. A name that stands twice
// is an error: readers differ in which one counts.
func eachMember(raw []byte, take func(name string, value json.RawMessage) error) error {
	m := members{text: raw}
	if m.next() != '{' {
		return attributeError("", "the event is not a JSON object")
	}
	m.at++
	seen := make([]string, 0, commonMembers)
	var more map[string]bool
	for m.next() == '"' {
		name, err := textIn(m.value())
		if err != nil {
			return attributeError("", "the event is not JSON: %s", syntaxDetail(err))
		}
		m.next()
		m.at++ // The colon.
		m.next()
		value := m.value()
		if m.next() == ',' {
			m.at++
		}
		if slices.Contains(seen, name) || more[name] {
			return attributeError(clip(name), "it stands twice: remove one")
		}
		switch {
		case len(seen) < cap(seen):
			seen = append(seen, name)
		case more == nil:
			more = map[string]bool{name: true}
		default:
			more[name] = true
		}
		if err := take(name, value); err != nil {
			return err
		}
	}

	return nil
}

// commonMembers is how many names are compared one by one before a map is made.
const commonMembers = 16

// decodeCloudEvent decodes one event in CloudEvents' JSON format.
func decodeCloudEvent(raw []byte) Decoded {
	var out Decoded
	hasVersion := false
	out.Err = eachMember(raw, func(name string, value json.RawMessage) error {
		hasVersion = hasVersion || name == attrSpecVersion

		return out.Event.setMember(name, value)
	})
	if out.Err == nil && !hasVersion {
		out.Err = attributeError(attrSpecVersion, "it is missing: send %q", specVersion)
	}
	if out.Err == nil {
		out.Err = out.Event.validate()
	}

	return out
}

// setMember takes one member of a CloudEvent in JSON.
func (e *Event) setMember(name string, value json.RawMessage) error {
	switch name {
	case memberData:
		if e.Binary != nil {
			return attributeError(name, "data and data_base64 exclude each other: send one")
		}
		e.Data = value

		return nil
	case memberDataBase64:
		return e.setBase64(value)
	}
	if string(value) == "null" {
		return nil
	}
	switch name {
	case attrSpecVersion, attrID, attrSource, attrType, attrSubject, attrTime, attrDataContentType, attrDataSchema:
		text, err := textOf(name, value)
		if err != nil {
			return err
		}

		return e.setAttribute(name, text)
	default:
		return e.setExtension(name, value)
	}
}

func (e *Event) setBase64(value json.RawMessage) error {
	if e.Data != nil {
		return attributeError(memberDataBase64, "data and data_base64 exclude each other: send one")
	}
	text, err := textOf(memberDataBase64, value)
	if err != nil {
		return err
	}
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return attributeError(memberDataBase64, "it is not Base64 with padding (RFC 4648, section 4)")
	}
	e.Binary = data

	return nil
}

func textOf(name string, value json.RawMessage) (string, error) {
	text, err := textIn(value)
	if err != nil || value[0] != '"' {
		return "", attributeError(name, "it is not a JSON string")
	}
	if halfPair(value) {
		return "", halfPairError(name)
	}

	return text, nil
}

func halfPairError(name string) error {
	return attributeError(name, "it has one half of a surrogate pair: send characters, or both halves of each")
}

// decodePlain decodes {type,id,source,subject,time,data}. The id is made where it is left
// out, so such an event sent again is another event.
func decodePlain(raw []byte, defaults Defaults) Decoded {
	out := Decoded{Event: Event{
		Source:          "/" + defaults.Tenant,
		Time:            defaults.Accepted.UTC().Format(time.RFC3339Nano),
		DataContentType: jsonMediaType,
	}}
	out.Err = eachMember(raw, func(name string, value json.RawMessage) error {
		switch name {
		case memberData:
			out.Event.Data = value

			return nil
		case attrType, attrID, attrSource, attrSubject, attrTime:
			return out.Event.setMember(name, value)
		case attrSpecVersion:
			return attributeError(name, "this is a CloudEvent: send it as %s", structuredMediaType)
		default:
			return attributeError(clip(name),
				"a plain event has type, id, source, subject, time and data alone: move it into data, or send a CloudEvent")
		}
	})
	if out.Err == nil && out.Event.Data == nil {
		out.Err = attributeError(memberData, "it is missing: send null where there is nothing to say")
	}
	if out.Err == nil && out.Event.ID == "" {
		out.Event.ID = ksuid.New().String()
	}
	if out.Err == nil {
		out.Err = out.Event.validate()
	}

	return out
}

// decodeBinary decodes CloudEvents' binary mode for HTTP: attributes in ce- headers, data in the body.
func decodeBinary(header http.Header, body []byte) Decoded {
	var out Decoded
	out.Err = out.Event.setHeaders(header)
	if out.Err == nil {
		out.Err = out.Event.setBody(header.Get("Content-Type"), body)
	}
	if out.Err == nil {
		out.Err = out.Event.validate()
	}

	return out
}

func (e *Event) setHeaders(header http.Header) error {
	hasVersion := false
	for _, key := range slices.Sorted(maps.Keys(header)) {
		name, ok := strings.CutPrefix(strings.ToLower(key), attributePrefix)
		if !ok {
			continue
		}
		switch {
		case name == attrDataContentType:
			return attributeError(name, "in binary mode the Content-Type header says it: remove ce-datacontenttype")
		case name == memberData:
			return attributeError(name, "in binary mode the data is the body: remove ce-data")
		case len(header[key]) > 1:
			return attributeError(clip(name), "the header ce-%s stands twice: remove one", clip(name))
		}
		value, err := headerText(name, header[key][0])
		if err != nil {
			return err
		}
		if err := e.setAttribute(name, value); err != nil {
			return err
		}
		hasVersion = hasVersion || name == attrSpecVersion
	}
	if !hasVersion {
		return attributeError(attrSpecVersion, "it is missing: send the header ce-specversion: %s", specVersion)
	}

	return nil
}

// headerText undoes what the HTTP binding (section 3.1.3.2) does to an attribute's value:
// a quoted string is unquoted, then percent-encoding is decoded.
func headerText(name, value string) (string, error) {
	value = strings.Trim(value, " \t")
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = unquote(value[1 : len(value)-1])
	}
	text, err := url.PathUnescape(value)
	if err != nil {
		return "", attributeError(clip(name), "its header has a %% without two hexadecimal digits: write %% as %%25")
	}
	if !utf8.ValidString(text) {
		return "", attributeError(clip(name), "its header is not UTF-8 once percent-decoded")
	}

	return text, nil
}

// unquote undoes the backslashes of a quoted string.
func unquote(quoted string) string {
	var out strings.Builder
	for i := 0; i < len(quoted); i++ {
		if quoted[i] == '\\' && i+1 < len(quoted) {
			i++
		}
		out.WriteByte(quoted[i])
	}

	return out.String()
}

// setBody takes a binary-mode body as the event's data; an empty body is none.
func (e *Event) setBody(contentType string, body []byte) error {
	e.DataContentType = strings.TrimSpace(contentType)
	if len(body) == 0 {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return attributeError(attrDataContentType, "the Content-Type header is missing: it says what the data is")
	}
	if !isJSON(mediaType) {
		e.Binary = body

		return nil
	}
	if !utf8.Valid(body) {
		return attributeError(memberData, "the body is not UTF-8")
	}
	var value json.RawMessage
	if err := json.Unmarshal(body, &value); err != nil {
		return attributeError(memberData, "the body is not JSON, as its Content-Type says: %s", syntaxDetail(err))
	}
	e.Data = bytes.TrimSpace(body)

	return nil
}
