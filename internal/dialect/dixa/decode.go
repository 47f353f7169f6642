package dixa

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookline-dev/hookline/internal/subscription"
)

func wrongField(field, format string, args ...any) error {
	return &subscription.InvalidError{Field: field, Message: fmt.Sprintf(format, args...)}
}

// readFields reads the body of a create or a patch. The vendor does not say what it makes of members that it
// does not have, or null; they are refused, for what is silently dropped would be believed to hold. No
// error repeats a value.
func readFields(r *http.Request, readBy func(time.Time) error) (Fields, error) {
	body, err := readBody(r, readBy)
	if err != nil {
		return Fields{}, err
	}
	if !json.Valid(body) || !utf8.Valid(body) {
		return Fields{}, wrongField("", "the body is not valid JSON in UTF-8")
	}
	if !isObject(body) {
		return Fields{}, wrongField("", "the body must be an object")
	}
	var out Fields
	if err := strict(body, reflect.TypeFor[Fields](), ""); err != nil {
		return Fields{}, err
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return Fields{}, wrongField("", "the body could not be read as what it should be")
	}

	return out, nil
}

func readBody(r *http.Request, readBy func(time.Time) error) ([]byte, error) {
	// The documented requests show no Content-Type, and curl then says of its own accord that a body is a form.
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	taken := mediaType == "" || isJSON(mediaType) || mediaType == "application/x-www-form-urlencoded" || mediaType == "text/plain"
	charset := params["charset"]
	if r.Header.Get("Content-Type") != "" && err != nil || !taken || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return nil, &refusal{
			status: http.StatusUnsupportedMediaType, message: messageDecoding,
			detail: "send JSON in UTF-8 as Content-Type " + jsonMediaType,
		}
	}
	if encoded(r.Header) {
		return nil, &refusal{
			status: http.StatusUnsupportedMediaType, message: messageDecoding, acceptEncoding: identity,
			detail: "send the body as it is: remove the header Content-Encoding and what it says was done",
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
			status: http.StatusRequestEntityTooLarge, message: messageDecoding,
			detail: fmt.Sprintf("the body has more than %d bytes", MaxRequestBytes),
		}
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &refusal{status: http.StatusRequestTimeout, message: messageDecoding, detail: "the body came too slowly"}
	case err != nil:
		return nil, wrongField("", "the body could not be read to its end")
	}

	return body, nil
}

// identity is the Content-Encoding of a body as it is.
const identity = "identity"

// encoded tells whether a body is compressed, or otherwise not sent as it is.
func encoded(header http.Header) bool {
	given := strings.TrimSpace(strings.Join(header.Values("Content-Encoding"), ","))

	return given != "" && !strings.EqualFold(given, identity)
}

// strict holds JSON to a type: objects have its members alone, each once and in its exact case, and null
// stands nowhere. encoding/json is not so strict.
func strict(text json.RawMessage, of reflect.Type, at string) error {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if string(text) == "null" {
		return wrongField(at, "it is null: leave it out, or give it a value")
	}
	switch of.Kind() {
	case reflect.Struct:
		members := make(map[string]reflect.Type, of.NumField())
		for field := range of.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			members[name] = field.Type
		}

		return strictObject(text, at, func(name string) (reflect.Type, bool) {
			member, ok := members[name]

			return member, ok
		})
	case reflect.Map:
		return strictObject(text, at, func(string) (reflect.Type, bool) { return of.Elem(), true })
	case reflect.Slice:
		var items []json.RawMessage
		if json.Unmarshal(text, &items) != nil {
			return wrongField(at, "it must be an array")
		}
		for i, item := range items {
			if err := strict(item, of.Elem(), fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}

		return nil
	default:
		if json.Unmarshal(text, reflect.New(of).Interface()) != nil {
			takes := "a string"
			if of.Kind() == reflect.Bool {
				takes = "true or false"
			}

			return wrongField(at, "it must be %s", takes)
		}

		return nil
	}
}

// strictObject walks the members of an object; types tells what each takes, and which there are.
func strictObject(text json.RawMessage, at string, types func(name string) (reflect.Type, bool)) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if opening, err := decoder.Token(); err != nil || opening != json.Delim('{') {
		return wrongField(at, "it must be an object")
	}
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return wrongField(at, "it is not valid JSON")
		}
		name, _ := token.(string)
		member := strings.TrimPrefix(at+"."+clip(name), ".")
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return wrongField(member, "it is not valid JSON")
		}
		of, known := types(name)
		switch {
		case !known:
			return wrongField(member, "there is no such member: remove it or mend its name")
		case seen[name]:
			return wrongField(member, "it stands twice: remove one")
		}
		seen[name] = true
		if err := strict(value, of, member); err != nil {
			return err
		}
	}

	return nil
}

// draft is a create's body as the port's draft. Authorization is required; customHeaders are so in the
// newer of the vendor's documents alone, and are not.
func (f Fields) draft() (subscription.Draft, error) {
	switch {
	case f.Name == nil:
		return subscription.Draft{}, wrongField("name", "it is required")
	case f.URL == nil:
		return subscription.Draft{}, wrongField("url", "it is required")
	case f.Authorization == nil:
		return subscription.Draft{}, wrongField("authorization", "it is required")
	}
	patch, err := f.patch()
	if err != nil {
		return subscription.Draft{}, err
	}
	draft := subscription.Draft{
		Name: *patch.Name, URL: *patch.URL, Events: []string{noEvents}, Enabled: true, Authorization: *patch.Authorization,
		Delivery: subscription.Delivery{Format: subscription.FormatDixa},
	}
	if patch.Events != nil {
		draft.Events = *patch.Events
	}
	if patch.Enabled != nil {
		draft.Enabled = *patch.Enabled
	}
	if patch.Headers != nil {
		draft.Headers = *patch.Headers
	}
	if patch.Options != nil {
		draft.Options = *patch.Options
	}

	return draft, nil
}

// patch is a body as the port's patch, as far as it can be judged without the port.
func (f Fields) patch() (subscription.Patch, error) {
	out := subscription.Patch{Name: f.Name, URL: f.URL, Enabled: f.Enabled}
	if f.Authorization != nil {
		auth, err := f.Authorization.port()
		if err != nil {
			return subscription.Patch{}, err
		}
		out.Authorization = &auth
	}
	if f.CustomHeaders != nil {
		out.Headers = new(portHeaders(*f.CustomHeaders))
	}
	if f.Events != nil {
		events := *f.Events
		for i, event := range events {
			switch {
			case !slices.Contains(knownEvents, event):
				return subscription.Patch{}, wrongField(fmt.Sprintf("events[%d]", i), "%q is no event type of Dixa's", clip(event))
			case slices.Contains(events[:i], event):
				return subscription.Patch{}, wrongField("events", "%s stands twice: remove one", event)
			}
		}
		if len(events) == 0 {
			events = []string{noEvents}
		}
		out.Events = &events
	}
	if f.Filters != nil {
		for family, filters := range *f.Filters {
			switch {
			case filters.Type != combinedFilters:
				return subscription.Patch{}, wrongField("filters."+clip(family)+"._type", "use %s", combinedFilters)
			case filters.Conditions == nil:
				return subscription.Patch{}, wrongField("filters."+clip(family)+".conditions", "it is required")
			}
		}
		out.Options = &subscription.Options{Dixa: portFilters(*f.Filters)}
		if err := checkFilters("filters", out.Options.Dixa); err != nil {
			return subscription.Patch{}, err
		}
	}

	return out, nil
}
