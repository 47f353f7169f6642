package native

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// maxQuoted bounds how much of a client's text an error repeats.
const maxQuoted = 64

// decode reads a request's body into a wire type: one JSON object whose members are known,
// stand once and are not null. The error is a *subscription.InvalidError or a *statusError,
// and never repeats a value.
func decode(r request, into any) error {
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || mediaType != jsonMediaType && mediaType != MediaType || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return &statusError{
			status: http.StatusUnsupportedMediaType, reason: reasonMediaType,
			message: "send Content-Type " + jsonMediaType + " or " + MediaType,
		}
	}
	if encoded(r.Header) {
		return &statusError{
			status: http.StatusUnsupportedMediaType, reason: reasonMediaType, acceptEncoding: identity,
			message: "send the body as it is: remove the header Content-Encoding and what it says was done",
		}
	}
	// A connection without deadlines is none that could be slow. The deadline ends with the body:
	// left standing, it would end the request itself. After a refusal it stands, since the server
	// reads on for the rest of the body.
	bounded := r.readBy(time.Now().Add(BodyTimeout)) == nil
	body, err := io.ReadAll(r.Body)
	if err == nil && bounded {
		_ = r.readBy(time.Time{})
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &statusError{
			status: http.StatusRequestEntityTooLarge, reason: reasonTooLarge,
			message: fmt.Sprintf("the body has more than %d bytes", MaxRequestBytes),
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &statusError{status: http.StatusRequestTimeout, reason: reasonUnavailable, message: "the body came too slowly"}
	}
	if err != nil {
		return malformed("the body could not be read to its end")
	}
	if err := checkBody(body, reflect.TypeOf(into).Elem()); err != nil {
		return err
	}

	return decodeError(json.Unmarshal(body, into))
}

// identity is the Content-Encoding of a body as it is.
const identity = "identity"

// encoded tells whether a body is compressed, or otherwise not sent as it is.
func encoded(header http.Header) bool {
	given := strings.TrimSpace(strings.Join(header.Values("Content-Encoding"), ","))

	return given != "" && !strings.EqualFold(given, identity)
}

func malformed(format string, args ...any) error {
	return &subscription.InvalidError{Message: fmt.Sprintf(format, args...)}
}

func wrong(field, message string) error {
	return &subscription.InvalidError{Field: field, Message: message}
}

// checkBody holds a body to be one JSON object in which, however deep, no member is unknown,
// stands twice or is null. encoding/json would take a name in any case, the last of two, and
// null for left out.
func checkBody(body []byte, as reflect.Type) error {
	if !json.Valid(body) {
		var value any

		return malformed("the body is not JSON: %v", json.Unmarshal(body, &value))
	}
	// encoding/json would write another character in the place of what is none.
	if !utf8.Valid(body) {
		return malformed("the body is not UTF-8")
	}
	if !bytes.HasPrefix(bytes.TrimLeft(body, jsonSpace), []byte("{")) {
		return malformed("the body is not a JSON object")
	}

	return checkValue("", body, as)
}

// jsonSpace is what JSON passes over between values.
const jsonSpace = " \t\r\n"

// checkValue is checkBody for the value of a field, which is valid JSON. A value of another kind
// than its field takes is left to what decodes it.
func checkValue(field string, value json.RawMessage, as reflect.Type) error {
	if as.Kind() == reflect.Pointer {
		as = as.Elem()
	}
	value = bytes.TrimLeft(value, jsonSpace)
	switch kind := as.Kind(); {
	case string(value) == "null":
		return wrong(field, "it is null: leave it out, or give it a value")
	case kind == reflect.Slice && value[0] == '[':
		var items []json.RawMessage
		if err := json.Unmarshal(value, &items); err != nil {
			return malformed("the body is not JSON: %v", err)
		}
		for i, item := range items {
			if err := checkValue(fmt.Sprintf("%s[%d]", field, i), item, as.Elem()); err != nil {
				return err
			}
		}
	case kind == reflect.Struct && value[0] == '{':
		members := memberTypes(as)

		return checkMembers(field, value, func(name string) reflect.Type { return members[name] })
	case kind == reflect.Map && value[0] == '{':
		return checkMembers(field, value, func(string) reflect.Type { return as.Elem() })
	}

	return nil
}

// memberTypes are the types of a struct's fields by their JSON names.
func memberTypes(as reflect.Type) map[string]reflect.Type {
	members := map[string]reflect.Type{}
	for field := range as.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		members[name] = field.Type
	}

	return members
}

// checkMembers holds each member of an object to its type; nil stands for there is no such member.
func checkMembers(field string, object json.RawMessage, typeOf func(name string) reflect.Type) error {
	decoder := json.NewDecoder(bytes.NewReader(object))
	if _, err := decoder.Token(); err != nil {
		return malformed("the body is not JSON: %v", err)
	}
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return malformed("the body is not JSON: %v", err)
		}
		name, _ := token.(string)
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return malformed("the body is not JSON: %v", err)
		}
		path := strings.TrimPrefix(field+"."+clip(name), ".")
		as := typeOf(name)
		switch {
		case as == nil:
			return wrong(path, "the API has no such field: remove it or mend its name")
		case seen[name]:
			return wrong(path, "it stands twice: remove one")
		}
		seen[name] = true
		if err := checkValue(path, value, as); err != nil {
			return err
		}
	}

	return nil
}

// decodeError names the field at fault, without its value.
func decodeError(err error) error {
	if err == nil {
		return nil
	}
	if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		// Value goes on with the literal where it is a number.
		got, _, _ := strings.Cut(mistyped.Value, " ")

		return &subscription.InvalidError{
			Field: mistyped.Field, Message: fmt.Sprintf("a JSON %s cannot stand here: it takes %s", got, kindOf(mistyped)),
		}
	}
	return malformed("the body could not be read as what it should be")
}

// kindOf names in JSON's terms what a field takes.
func kindOf(mistyped *json.UnmarshalTypeError) string {
	switch kind := mistyped.Type.Kind().String(); {
	case kind == "string":
		return "a string"
	case kind == "bool":
		return "true or false"
	case kind == "slice":
		return "an array"
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		return "a whole number of " + strings.TrimLeft(kind, "uint") + " bits"
	default:
		return "an object"
	}
}

// query checks a request's query parameters: known ones alone, each once.
func query(r request, known ...string) (map[string]string, error) {
	values := map[string]string{}
	parsed, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, malformed("the query cannot be read: %v", err)
	}
	for name, given := range parsed {
		switch {
		case !slices.Contains(known, name):
			return nil, &subscription.InvalidError{Field: clip(name), Message: "the path has no such query parameter: remove it"}
		case len(given) > 1:
			return nil, &subscription.InvalidError{Field: name, Message: "the query parameter stands twice: remove one"}
		}
		values[name] = given[0]
	}

	return values, nil
}

// pageLimit reads the parameter limit of a page.
func pageLimit(text string) (int, error) {
	if text == "" {
		return DefaultPageLimit, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > MaxPageLimit {
		return 0, &subscription.InvalidError{
			Field: paramLimit, Message: fmt.Sprintf("it is not a number within 1 to %d", MaxPageLimit),
		}
	}

	return limit, nil
}

// clip shortens a name for an error and leaves it valid UTF-8.
func clip(text string) string {
	if len(text) > maxQuoted {
		text = text[:maxQuoted] + "…"
	}

	return strings.ToValidUTF8(text, "�")
}
