package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/subscription"
)

var testDefaults = Defaults{Tenant: "support", Accepted: time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)}

// header builds headers from name, value pairs.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}

	return h
}

func structured() http.Header { return header("Content-Type", structuredMediaType) }

func plain() http.Header { return header("Content-Type", "application/json") }

func TestDecodeKeepsWhatWasSent(t *testing.T) {
	cases := map[string]struct {
		reason string
		header http.Header
		body   string
		want   []string
	}{
		"structured minimal": {
			reason: "the required attributes are enough, and a time is not invented",
			header: structured(),
			body:   `{"type":"a.b","id":"1","source":"/s","specversion":"1.0"}`,
			want:   []string{`{"specversion":"1.0","id":"1","source":"/s","type":"a.b"}`},
		},
		"structured full": {
			reason: "every attribute, extension and byte of data stays; null attributes count as absent",
			header: header("Content-Type", "application/cloudevents+json; charset=UTF-8"),
			body: `{"specversion":"1.0","id":"A-1","source":"https://x.example/s?q=1","type":"a.b.v1","subject":"7",
			 "time":"2023-09-20T09:49:06.6134321Z","datacontenttype":"application/json","dataschema":"https://x.example/schema",
			 "partitionkey":"k","zz":true,"n":-2147483648,"gone":null,"subject2":"é<&>",
			 "data":{ "big":12345678901234567890.10, "x": 1e30,  "s":"\u0041" }}`,
			want: []string{`{"specversion":"1.0","id":"A-1","source":"https://x.example/s?q=1","type":"a.b.v1","subject":"7",` +
				`"time":"2023-09-20T09:49:06.6134321Z","datacontenttype":"application/json","dataschema":"https://x.example/schema",` +
				`"n":-2147483648,"partitionkey":"k","subject2":"é<&>","zz":true,` +
				`"data":{ "big":12345678901234567890.10, "x": 1e30,  "s":"\u0041" }}`},
		},
		"structured base64": {
			reason: "data that is not JSON stays Base64",
			header: structured(),
			body:   `{"specversion":"1.0","id":"1","source":"/s","type":"a","datacontenttype":"image/png","data_base64":"AAEC/w=="}`,
			want:   []string{`{"specversion":"1.0","id":"1","source":"/s","type":"a","datacontenttype":"image/png","data_base64":"AAEC/w=="}`},
		},
		"structured null data": {
			reason: "null is a JSON value and therefore data",
			header: structured(),
			body:   `{"specversion":"1.0","id":"1","source":"/s","type":"a","data":null}`,
			want:   []string{`{"specversion":"1.0","id":"1","source":"/s","type":"a","data":null}`},
		},
		"batch": {
			reason: "the order of a batch is kept",
			header: header("Content-Type", batchMediaType),
			body: `[{"specversion":"1.0","id":"2","source":"/s","type":"b"},
				{"specversion":"1.0","id":"1","source":"/s","type":"a","data":[1, 2]}]`,
			want: []string{
				`{"specversion":"1.0","id":"2","source":"/s","type":"b"}`,
				`{"specversion":"1.0","id":"1","source":"/s","type":"a","data":[1, 2]}`,
			},
		},
		"batch of none": {
			reason: "CloudEvents allows an empty batch",
			header: header("Content-Type", batchMediaType),
			body:   ` [ ] `,
		},
		"binary JSON": {
			reason: "JSON stands in data as it came, attributes are percent-decoded",
			header: header("Content-Type", "application/json; charset=utf-8", "ce-specversion", "1.0", "ce-id", "1", "CE-Source", "/s",
				"Ce-Type", "a.b", "ce-subject", "Euro%20%E2%82%AC%25", "ce-time", "2026-08-01T00:00:00+02:00", "ce-comexample1", "v"),
			body: " {\"n\":1.00}\n",
			want: []string{`{"specversion":"1.0","id":"1","source":"/s","type":"a.b","subject":"Euro €%","time":"2026-08-01T00:00:00+02:00",` +
				`"datacontenttype":"application/json; charset=utf-8","comexample1":"v","data":{"n":1.00}}`},
		},
		"binary bytes": {
			reason: "any other content becomes Base64",
			header: header("Content-Type", "application/octet-stream", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "a"),
			body:   "\x00\xff",
			want: []string{`{"specversion":"1.0","id":"1","source":"/s","type":"a",` +
				`"datacontenttype":"application/octet-stream","data_base64":"AP8="}`},
		},
		"binary without data": {
			reason: "an event may have no data and then needs no Content-Type",
			header: header("ce-specversion", "1.0", "ce-id", `"quoted \"1\""`, "ce-source", "/s", "ce-type", "a"),
			want:   []string{`{"specversion":"1.0","id":"quoted \"1\"","source":"/s","type":"a"}`},
		},
		"plain": {
			reason: "source, time and the media type are filled in",
			header: plain(),
			body:   `{"type":"order.paid","id":"7","data":{"total":10.50}}`,
			want: []string{`{"specversion":"1.0","id":"7","source":"/support","type":"order.paid",` +
				`"time":"2026-08-01T12:00:00Z","datacontenttype":"application/json","data":{"total":10.50}}`},
		},
		"plain array": {
			reason: "what a plain event gives is kept",
			header: plain(),
			body:   ` [{"type":"a","id":"1","source":"/x","subject":"s","time":"2020-01-01T00:00:00Z","data":null}]`,
			want: []string{`{"specversion":"1.0","id":"1","source":"/x","type":"a","subject":"s",` +
				`"time":"2020-01-01T00:00:00Z","datacontenttype":"application/json","data":null}`},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mode, err := ModeOf(tc.header)
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			events, err := Decode(mode, tc.header, []byte(tc.body), testDefaults)
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			var got []string
			for _, event := range events {
				if event.Err != nil {
					t.Fatalf("%s: %v", tc.reason, event.Err)
				}
				body := event.Event.encode()
				got = append(got, string(body))
				checkWithSDK(t, body)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// checkWithSDK holds a body against the CloudEvents project's own reader.
func checkWithSDK(t *testing.T, body []byte) ce.Event {
	t.Helper()
	if !json.Valid(body) {
		t.Fatalf("the canonical body is not JSON: %q", body)
	}
	var event ce.Event
	if err := json.Unmarshal(body, &event); err != nil {
		t.Fatalf("the CloudEvents SDK does not read %s: %v", body, err)
	}
	if err := event.Validate(); err != nil {
		t.Fatalf("the CloudEvents SDK finds %s invalid: %v", body, err)
	}

	return event
}

func TestPlainEventWithoutIDGetsItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		events, err := Decode(ModePlain, plain(), []byte(`{"type":"a","data":1}`), testDefaults)
		if err != nil || events[0].Err != nil {
			t.Fatal(err, events)
		}
		seen[events[0].Event.ID] = true
	}
	if len(seen) != 100 || seen[""] {
		t.Errorf("100 events have %d different ids", len(seen))
	}
}

func TestDecodeNamesWhatIsWrongWithAnEvent(t *testing.T) {
	event := func(members string) string {
		return `{"specversion":"1.0","id":"1","source":"/s","type":"a"` + members + `}`
	}
	binary := func(pairs ...string) http.Header {
		return header(append([]string{
			"Content-Type", "text/plain", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "a",
		}, pairs...)...)
	}
	cases := map[string]struct {
		reason string
		header http.Header
		body   string
		field  string
		says   string
	}{
		"no specversion":       {"it tells CloudEvents from something else", structured(), `{"id":"1","source":"/s","type":"a"}`, "specversion", "missing"},
		"other version":        {"0.3 has other attributes", structured(), `{"specversion":"0.3","id":"1","source":"/s","type":"a"}`, "specversion", `"0.3"`},
		"no id":                {"required", structured(), `{"specversion":"1.0","source":"/s","type":"a"}`, "id", "missing"},
		"null id":              {"null counts as absent", structured(), `{"specversion":"1.0","id":null,"source":"/s","type":"a"}`, "id", "missing"},
		"empty id":             {"it must not be empty", structured(), `{"specversion":"1.0","id":"","source":"/s","type":"a"}`, "id", "empty"},
		"number id":            {"attributes are strings", structured(), `{"specversion":"1.0","id":1,"source":"/s","type":"a"}`, "id", "string"},
		"long id":              {"256 bytes is the most", structured(), `{"specversion":"1.0","id":"` + strings.Repeat("i", 257) + `","source":"/s","type":"a"}`, "id", "257"},
		"control id":           {"CloudEvents allows none", structured(), `{"specversion":"1.0","id":"a\u0007","source":"/s","type":"a"}`, "id", "U+0007"},
		"half a pair in an id": {"it would be the same id as with the other half", structured(), `{"specversion":"1.0","id":"a\uD83D","source":"/s","type":"a"}`, "id", "surrogate"},
		"pair upside down":     {"the low half comes second", structured(), `{"specversion":"1.0","id":"1","source":"/\ude00\ud83d","type":"a"}`, "source", "surrogate"},
		"half a pair in an extension": {
			"it would be another text at each receiver", structured(), `{"specversion":"1.0","id":"1","source":"/s","type":"a","x":"\ud83d\n"}`, "x", "surrogate",
		},
		"noncharacter id": {"CloudEvents allows none", structured(), `{"specversion":"1.0","id":"a\uFFFE","source":"/s","type":"a"}`, "id", "U+FFFE"},
		"no source":       {"required", structured(), `{"specversion":"1.0","id":"1","type":"a"}`, "source", "missing"},
		"long source":     {"1024 bytes is the most", structured(), `{"specversion":"1.0","id":"1","source":"/` + strings.Repeat("s", 1024) + `","type":"a"}`, "source", "1025"},
		"source no URI":   {"a URI reference", structured(), `{"specversion":"1.0","id":"1","source":"%zz","type":"a"}`, "source", "URI"},
		"no type":         {"required", structured(), `{"specversion":"1.0","id":"1","source":"/s"}`, "type", "missing"},
		"wildcard type":   {"an event has one type", structured(), `{"specversion":"1.0","id":"1","source":"/s","type":"a.*"}`, "type", "exact"},
		"type with space": {"outside the grammar", structured(), `{"specversion":"1.0","id":"1","source":"/s","type":"a b"}`, "type", "character"},
		"bad time":        {"RFC 3339", structured(), event(`,"time":"yesterday"`), "time", "RFC 3339"},
		"time with comma": {"RFC 3339 has a full stop", structured(), event(`,"time":"2026-01-01T00:00:00,5Z"`), "time", "RFC 3339"},
		"bad schema":      {"an absolute URI", structured(), event(`,"dataschema":"/relative"`), "dataschema", "absolute"},
		"bad media type":  {"a media type", structured(), event(`,"datacontenttype":"so so"`), "datacontenttype", "media type"},
		"capital name":    {"extension names are lower-case", structured(), event(`,"Trace":"x"`), "Trace", "lower-case"},
		"empty name":      {"a name has a character", structured(), event(`,"":"x"`), "", "1 to 64"},
		"long name":       {"64 characters is the most", structured(), event(`,"` + strings.Repeat("x", 65) + `":"x"`), strings.Repeat("x", 64) + "…", "1 to 64"},
		"object value":    {"extensions are simple", structured(), event(`,"trace":{}`), "trace", "move structured"},
		"array value":     {"extensions are simple", structured(), event(`,"trace":[]`), "trace", "move structured"},
		"fraction value":  {"integers alone", structured(), event(`,"trace":1.5`), "trace", "32 bits"},
		"wide value":      {"32 bits", structured(), event(`,"trace":2147483648`), "trace", "32 bits"},
		"member twice":    {"readers differ in which counts", structured(), event(`,"id":"2"`), "id", "twice"},
		"data twice":      {"readers differ in which counts", structured(), event(`,"data":1,"data":2`), "data", "twice"},
		"both data":       {"they exclude each other", structured(), event(`,"data":1,"data_base64":""`), "data_base64", "exclude"},
		"both data, back": {"they exclude each other", structured(), event(`,"data_base64":"","data":1`), "data", "exclude"},
		"bad base64":      {"strict Base64", structured(), event(`,"data_base64":"AAE"`), "data_base64", "padding"},
		"base64 number":   {"a string", structured(), event(`,"data_base64":1`), "data_base64", "string"},

		"plain unknown":      {"a slip must not lose data", plain(), `{"type":"a","data":1,"Subject":"x"}`, "Subject", "move it into data"},
		"plain without data": {"a slip must not lose data", plain(), `{"type":"a"}`, "data", "missing"},
		"plain CloudEvent":   {"it says how to send one", plain(), event(``), "specversion", structuredMediaType},
		"plain empty id":     {"it must not be empty", plain(), `{"type":"a","id":"","data":1}`, "id", "empty"},

		"binary no version":   {"it tells CloudEvents", header("ce-id", "1", "ce-source", "/s", "ce-type", "a"), "", "specversion", "ce-specversion"},
		"binary twice":        {"which one counts", binary("ce-subject", "1", "ce-subject", "2"), "", "subject", "twice"},
		"binary content type": {"Content-Type says it", binary("ce-datacontenttype", "text/plain"), "", "datacontenttype", "Content-Type"},
		"binary data header":  {"the body is the data", binary("ce-data", "x"), "", "data", "body"},
		"binary bad name":     {"lower-case letters and digits", binary("ce-my-ext", "x"), "", "my-ext", "letters and digits"},
		"binary percent":      {"percent-encoding is decoded", binary("ce-subject", "100%"), "", "subject", "%25"},
		"binary not UTF-8":    {"percent-encoding is decoded", binary("ce-subject", "%ff"), "", "subject", "UTF-8"},
		"binary no JSON": {
			"its Content-Type says JSON",
			header("Content-Type", "application/x+json", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "a"), `{`, "data", "not JSON",
		},
		"binary JSON not UTF-8": {
			"JSON is UTF-8",
			header("Content-Type", "text/json", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "a"), "\"\xff\"", "data", "UTF-8",
		},
		"binary untyped body": {
			"nothing says what the bytes are",
			header("ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "a"), `x`, "datacontenttype", "missing",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mode, err := ModeOf(tc.header)
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			events, err := Decode(mode, tc.header, []byte(tc.body), testDefaults)
			if err != nil || len(events) != 1 {
				t.Fatalf("%s: got %d events, error %v", tc.reason, len(events), err)
			}
			var invalid *subscription.InvalidError
			if !errors.As(events[0].Err, &invalid) {
				t.Fatalf("%s: got %v", tc.reason, events[0].Err)
			}
			if invalid.Field != tc.field || !strings.Contains(invalid.Message, tc.says) {
				t.Errorf("%s: field %q, message %q; want field %q and a message with %q",
					tc.reason, invalid.Field, invalid.Message, tc.field, tc.says)
			}
		})
	}
}

func TestDecodeRefusesTheWhole(t *testing.T) {
	batch := header("Content-Type", batchMediaType)
	cases := map[string]struct {
		reason string
		header http.Header
		body   string
		status int
		says   string
	}{
		"no media type":      {"nothing says what it is", header(), `{}`, 415, "ce- headers"},
		"text":               {"no attributes", header("Content-Type", "text/plain"), `x`, 415, "send"},
		"avro":               {"another CloudEvents format", header("Content-Type", "application/cloudevents+avro"), ``, 415, "JSON"},
		"bad media type":     {"it cannot be read", header("Content-Type", "a/b/c"), `{}`, 415, "media type"},
		"latin":              {"JSON is UTF-8", header("Content-Type", "application/json; charset=latin1"), `{}`, 415, "latin1"},
		"empty body":         {"no event", structured(), ``, 400, "ends too early"},
		"truncated":          {"half an event", structured(), `{"specversion":`, 400, "ends too early"},
		"trailing":           {"two events", structured(), `{} {}`, 400, "after top-level value"},
		"array as one":       {"a batch has its own media type", structured(), `[]`, 400, "JSON array"},
		"null":               {"no event", structured(), `null`, 400, "null"},
		"a number":           {"no event", plain(), `3`, 400, "JSON number"},
		"not UTF-8":          {"JSON is UTF-8", plain(), "{\"type\":\"\xff\"}", 400, "UTF-8"},
		"object as batch":    {"a batch is an array", batch, `{}`, 400, "array"},
		"truncated batch":    {"the rest is missing", batch, `[{}`, 400, "ends too early"},
		"bad batch":          {"the place is named", batch, `[{},{]`, 400, "event 1"},
		"trailing batch":     {"something follows", batch, `[] x`, 400, "after the array"},
		"comma after batch":  {"an element is missing", batch, `[{},]`, 400, "not JSON"},
		"too many":           {"1000 is the most", batch, "[" + strings.Repeat("1,", MaxBatchEvents) + "1]", 413, "1000"},
		"too large plain":    {"1 MiB is the most", plain(), `{"type":"a","data":"` + strings.Repeat("x", MaxEventBytes) + `"}`, 413, "1048576"},
		"nested too deeply":  {"the reader's stack is bounded", structured(), `{"data":` + strings.Repeat("[", 20_000), 400, "depth"},
		"deep in the batch":  {"the reader's stack is bounded", batch, `[{"data":` + strings.Repeat("[", 20_000), 400, "depth"},
		"comma before batch": {"an element is missing", batch, `[,{}]`, 400, "not JSON"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mode, err := ModeOf(tc.header)
			if err == nil {
				_, err = Decode(mode, tc.header, []byte(tc.body), testDefaults)
			}
			var refusal *problem
			if !errors.As(err, &refusal) {
				t.Fatalf("%s: got %v", tc.reason, err)
			}
			if refusal.Status != tc.status || !strings.Contains(refusal.Detail, tc.says) {
				t.Errorf("%s: got %d %q, want %d with %q", tc.reason, refusal.Status, refusal.Detail, tc.status, tc.says)
			}
		})
	}
}

func TestBatchHoldsEachEventToItself(t *testing.T) {
	large := `{"specversion":"1.0","id":"3","source":"/s","type":"a","data":"` + strings.Repeat("x", MaxEventBytes) + `"}`
	body := `[{"specversion":"1.0","id":"1","source":"/s","type":"a"}, 7, ` + large + `, {"id":"4","source":"/s"}]`
	events, err := Decode(ModeBatch, header("Content-Type", batchMediaType), []byte(body), testDefaults)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, event := range events {
		if event.Err == nil {
			got = append(got, "valid "+event.Event.ID)
		} else {
			got = append(got, event.Event.ID+"|"+event.Err.Error())
		}
	}
	want := []string{
		"valid 1",
		"|the event is not a JSON object",
		"|the event has 1048641 bytes: the most is 1048576",
		`4|specversion: it is missing: send "1.0"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// FuzzDecode holds every mode to: no panic; what is called valid is a CloudEvent to the
// CloudEvents project's own reader, decodes to itself, and keeps its data's bytes.
func FuzzDecode(f *testing.F) {
	f.Add(uint8(1), "", "", []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"a.b","data":{"n":1.00}}`))
	f.Add(uint8(1), "", "", []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"a","x":-1,"y":false,"z":"\ud800","data_base64":"AA=="}`))
	f.Add(uint8(2), "", "", []byte(`[{"specversion":"1.0","id":"1","source":"/s","type":"a","time":"2026-01-01T00:00:00Z"},{"id":null}]`))
	f.Add(uint8(3), "application/json", "a%20b", []byte(` [1,2] `))
	f.Add(uint8(3), "image/png", `"q\""`, []byte{0, 0xff})
	f.Add(uint8(4), "", "", []byte(`{"type":"a","data":null}`))
	f.Add(uint8(4), "", "", []byte(`[{"type":"a","id":"1","source":"/","subject":"é","data":"\u2028<"}]`))
	f.Fuzz(func(t *testing.T, mode uint8, contentType, subject string, body []byte) {
		headers := header("Content-Type", contentType, "Ce-Subject", subject,
			"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "a")
		events, err := Decode(Mode(mode%4+1), headers, body, testDefaults)
		if err != nil {
			if _, ok := errors.AsType[*problem](err); !ok {
				t.Fatalf("the error is no problem: %v", err)
			}

			return
		}
		for _, event := range events {
			var invalid *subscription.InvalidError
			if event.Err != nil && !errors.As(event.Err, &invalid) {
				t.Fatalf("the error names no attribute: %v", event.Err)
			}
			if event.Err != nil {
				continue
			}
			canonical := event.Event.encode()
			// The SDK takes JSON data of other media types for text.
			if kind := event.Event.DataContentType; kind == "" || kind == jsonMediaType {
				checkWithSDK(t, canonical)
			}
			again := decodeCloudEvent(canonical)
			if again.Err != nil {
				t.Fatalf("%s does not decode: %v", canonical, again.Err)
			}
			if diff := cmp.Diff(string(canonical), string(again.Event.encode())); diff != "" {
				t.Fatalf("encoding is not stable: %s", diff)
			}
			if !bytes.Contains(body, event.Event.Data) {
				t.Fatalf("data %q is not what was sent", event.Event.Data)
			}
		}
	})
}
