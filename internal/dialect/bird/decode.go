package bird

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// problems are what is wrong with a body, by JSON path: .url, .eventFilters[0].key, and . for the whole. There are
// at most MaxProblems.
type problems map[string][]string

func (p problems) addf(path, format string, args ...any) {
	told := 0
	for _, texts := range p {
		told += len(texts)
	}
	if told >= MaxProblems {
		return
	}
	p[path] = append(p[path], fmt.Sprintf(format, args...))
}

func (p problems) paths() []string { return slices.Sorted(maps.Keys(p)) }

// refusal is 422 where something is wrong, and nil elsewhere.
func (p problems) refusal() error {
	if len(p) == 0 {
		return nil
	}

	return &refusal{status: http.StatusUnprocessableEntity, code: codePayload, message: messagePayload, details: p}
}

// readBody reads a request's body, which must be JSON.
func readBody(r request) ([]byte, error) {
	// A request without a Content-Type, and one whose sender did not say that it is no form, is JSON all the same.
	given := r.Header.Get("Content-Type")
	mediaType, params, err := mime.ParseMediaType(given)
	taken := mediaType == "" || isJSON(mediaType) || mediaType == "application/x-www-form-urlencoded" || mediaType == "text/plain"
	charset := params["charset"]
	if given != "" && err != nil || !taken || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return nil, &refusal{
			status: http.StatusUnsupportedMediaType, code: codeMediaType, message: "Send JSON in UTF-8 as Content-Type " + jsonMediaType,
		}
	}
	if encoded(r.Header) {
		return nil, &refusal{
			status: http.StatusUnsupportedMediaType, code: codeMediaType, acceptEncoding: identity,
			message: "Send the body as it is: remove the header Content-Encoding and what it says was done",
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
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case tooLarge:
		return nil, &refusal{
			status: http.StatusRequestEntityTooLarge, code: codeTooLarge,
			message: fmt.Sprintf("The body has more than %d bytes", MaxRequestBytes),
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &refusal{status: http.StatusRequestTimeout, code: codeTimeout, message: "The body came too slowly"}
	case err != nil:
		return nil, badRequest("The body could not be read to its end")
	case !json.Valid(body) || !utf8.Valid(body):
		return nil, badRequest("The body is not valid JSON in UTF-8")
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

// fields is a body of a create or a patch, judged: nil is what it leaves out.
type fields struct {
	service, event   *string
	url, signingKey  *string
	status, template *string
	filters          *[]EventFilter
}

// Members of the two bodies.
var (
	createMembers = []string{"service", "event", "url", "eventFilters", "template", "signingKey"}
	patchMembers  = []string{"url", "signingKey", "status", "eventFilters", "template"}
)

// readFields reads the body of a create or a patch, which may have some members and must have others. All that is
// wrong with it is told at once. No text repeats a value.
func (s *server) readFields(r request, may, must []string) (fields, error) {
	body, err := readBody(r)
	if err != nil {
		return fields{}, err
	}
	wrong := problems{}
	members := readObject(wrong, body, "", may)
	for _, name := range must {
		if _, ok := members[name]; !ok && members != nil {
			wrong.addf("."+name, "property %q is missing", name)
		}
	}
	out := fields{
		service: readText(wrong, members, "", "service"), event: readText(wrong, members, "", "event"),
		url: readText(wrong, members, "", "url"), signingKey: readText(wrong, members, "", "signingKey"),
		status: readText(wrong, members, "", "status"), template: readText(wrong, members, "", "template"),
		filters: readFilters(wrong, members),
	}
	s.judge(wrong, out)

	return out, wrong.refusal()
}

// readObject reads an object's members: those it may have, each once. encoding/json is not so strict.
func readObject(wrong problems, text []byte, path string, may []string) map[string]json.RawMessage {
	at := path
	if at == "" {
		at = "."
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if opening, err := decoder.Token(); err != nil || opening != json.Delim('{') {
		wrong.addf(at, "value must be an object")

		return nil
	}
	members := map[string]json.RawMessage{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			break
		}
		name, _ := token.(string)
		var value json.RawMessage
		if decoder.Decode(&value) != nil {
			break
		}
		_, twice := members[name]
		switch {
		case !slices.Contains(may, name):
			wrong.addf(at, "property %q is unsupported", clip(name))
		case twice:
			wrong.addf(path+"."+name, "property %q stands twice", name)
		default:
			members[name] = value
		}
	}

	return members
}

// readText reads a member that is a string.
func readText(wrong problems, members map[string]json.RawMessage, path, name string) *string {
	value, ok := members[name]
	if !ok {
		return nil
	}
	var text string
	if string(value) == "null" || json.Unmarshal(value, &text) != nil {
		wrong.addf(path+"."+name, "value must be a string")

		return nil
	}

	return &text
}

// readFilters reads the filters; null is none.
func readFilters(wrong problems, members map[string]json.RawMessage) *[]EventFilter {
	value, ok := members["eventFilters"]
	if !ok {
		return nil
	}
	var items []json.RawMessage
	if json.Unmarshal(value, &items) != nil {
		wrong.addf(pathFilters, "value must be an array or null")

		return nil
	}
	// Those beyond the most are refused by their number, whatever they are.
	checkNumber(wrong, len(items))
	items = items[:min(len(items), MaxFilters)]
	filters := make([]EventFilter, 0, len(items))
	given := make([]givenFilter, 0, len(items))
	for i, item := range items {
		path := fmt.Sprintf("%s[%d]", pathFilters, i)
		parts := readObject(wrong, item, path, []string{"key", "value"})
		for _, name := range []string{"key", "value"} {
			if _, ok := parts[name]; !ok && parts != nil {
				wrong.addf(path+"."+name, "property %q is missing", name)
			}
		}
		one := givenFilter{key: readText(wrong, parts, path, "key"), value: readText(wrong, parts, path, "value")}
		given = append(given, one)
		if one.key != nil && one.value != nil {
			filters = append(filters, EventFilter{Key: *one.key, Value: *one.value})
		}
	}
	checkFilters(wrong, given)

	return &filters
}

// judge notes what is wrong with values.
func (s *server) judge(wrong problems, f fields) {
	if f.service != nil && !slices.Contains(services, *f.service) {
		wrong.addf(".service", "value is not one of the allowed values [%s]", strings.Join(services, ", "))
	}
	if f.event != nil {
		if err := subscription.ValidateEventType(joinEvent(serviceConversations, *f.event)); err != nil {
			wrong.addf(".event", "value must be the name of an event, such as sms.outbound: see available-webhooks")
		}
	}
	if f.url != nil && !s.cfg.AllowAnyURL && !allowedURL.MatchString(*f.url) {
		wrong.addf(".url", `string doesn't match the regular expression "%s": it is https and a host name with a dot, `+
			"without a port or user information", patternURL)
	}
	if f.status != nil && *f.status != statusActive && *f.status != statusInactive {
		wrong.addf(".status", "value is not one of the allowed values [%s, %s]", statusActive, statusInactive)
	}
	if f.template != nil {
		checkTemplate(wrong, *f.template)
	}
	if f.signingKey != nil {
		if invalid, ok := errors.AsType[*subscription.InvalidError](checkSigningKey(*f.signingKey)); ok {
			wrong.addf(".signingKey", "%s", invalid.Message)
		}
	}
}
