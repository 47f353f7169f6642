package subscription_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// everything is a provider that has all there is.
func everything() subscription.Capabilities {
	fields := map[subscription.Field]bool{}
	for _, field := range []subscription.Field{
		subscription.FieldName, subscription.FieldURL, subscription.FieldEvents, subscription.FieldEnabled, subscription.FieldSecret,
		subscription.FieldBasic, subscription.FieldBearer, subscription.FieldHeaders, subscription.FieldHeaderSecrets,
		subscription.FieldFormat, subscription.FieldTimeout, subscription.FieldMaxAttempts, subscription.FieldMaxInFlight,
		subscription.FieldRateLimit, subscription.FieldOrdering, subscription.FieldBirdOptions, subscription.FieldDixaOptions,
	} {
		fields[field] = true
	}

	return subscription.Capabilities{
		Provider: "everything", Fields: fields, Wildcards: true, Resumable: true, URLSchemes: []string{"https", "http"},
	}
}

// nothing is a provider that has only what each one has.
func nothing() subscription.Capabilities {
	return subscription.Capabilities{Provider: "nothing", URLSchemes: []string{"https"}}
}

func valid() subscription.Draft {
	return subscription.Draft{
		Name: "presence", URL: "https://example.com/hooks", Events: []string{"agent.presencechanged.v1"}, Enabled: true,
		Secret: "whsec_" + strings.Repeat("QUJD", 16),
	}
}

func headers(count int) []subscription.Header {
	out := make([]subscription.Header, count)
	for i := range out {
		out[i] = subscription.Header{Name: fmt.Sprintf("X-H%d", i), Value: "v"}
	}

	return out
}

// changed is a change of a valid draft, what it is refused for, and where.
type changed struct {
	reason string
	change func(d *subscription.Draft)
	// field and text are empty where the draft stays valid.
	field string
	text  string
}

func draftCases() map[string]changed {
	url := func(text string) func(d *subscription.Draft) {
		return func(d *subscription.Draft) { d.URL = text }
	}
	name := func(text string) func(d *subscription.Draft) {
		return func(d *subscription.Draft) { d.Name = text }
	}
	header := func(name, value string) func(d *subscription.Draft) {
		return func(d *subscription.Draft) { d.Headers = []subscription.Header{{Name: name, Value: value}} }
	}
	auth := func(a subscription.Authorization) func(d *subscription.Draft) {
		return func(d *subscription.Draft) { d.Authorization = a }
	}
	delivery := func(s subscription.Delivery) func(d *subscription.Draft) {
		return func(d *subscription.Draft) { d.Delivery = s }
	}

	return map[string]changed{
		"Valid":         {"nothing is wrong", func(*subscription.Draft) {}, "", ""},
		"NameShort":     {"two characters", name("ab"), "name", "2 characters"},
		"NameShortest":  {"three characters, more bytes", name("äöü"), "", ""},
		"NameLongest":   {"128 characters, more bytes", name(strings.Repeat("ä", 128)), "", ""},
		"NameLong":      {"129 characters", name(strings.Repeat("a", 129)), "name", "use 3 to 128"},
		"NameControl":   {"a control character", name("abc\x00d"), "name", "control character"},
		"NameSpace":     {"a space at the end", name("abc "), "name", "begins or ends with a space"},
		"NameUTF8":      {"broken UTF-8", name("abc\xff"), "name", "UTF-8"},
		"URLEmpty":      {"no url", url(""), "url", "is empty"},
		"URLRelative":   {"no scheme", url("/hooks"), "url", "https:// or http://"},
		"URLScheme":     {"a scheme that is not allowed", url("ftp://example.com"), "url", "https:// or http://"},
		"URLUpper":      {"schemes have no case", url("HTTPS://example.com"), "", ""},
		"URLNoHost":     {"a port without a host", url("https://:8443/x"), "url", "names no host"},
		"URLUser":       {"user information", url("https://user:hunter2@example.com"), "url", "set authorization instead"},
		"URLFragment":   {"a fragment", url("https://example.com/#x"), "url", "fragment"},
		"URLPort":       {"a port out of range", url("https://example.com:70000"), "url", "not within 1 to 65535"},
		"URLSpace":      {"white space", url("https://example.com/a b"), "url", "white space"},
		"URLUnreadable": {"a broken percent-encoding", url("https://example.com/%zz"), "url", "cannot be read"},
		"URLLongest":    {"2048 bytes", url("https://e.com/" + strings.Repeat("a", 2048-14)), "", ""},
		"URLLong":       {"2049 bytes", url("https://e.com/" + strings.Repeat("a", 2049-14)), "url", "the most is 2048"},
		"NoEvents":      {"no events", func(d *subscription.Draft) { d.Events = nil }, "events", "name at least one"},
		"BadEvent":      {"an event that does not parse", func(d *subscription.Draft) { d.Events = []string{"a..b"} }, "events", "empty segment"},
		"SecretShort": {
			"31 bytes of text",
			func(d *subscription.Draft) { d.Secret = strings.Repeat("é", 15) + "!" }, "secretRef", "holds 31 bytes",
		},
		"SecretDecodesShort": {
			"32 characters that are base64 of 24 bytes",
			func(d *subscription.Draft) { d.Secret = strings.Repeat("aB3/", 8) }, "secretRef", "holds 24 bytes",
		},
		"SecretText":   {"32 bytes of text", func(d *subscription.Draft) { d.Secret = strings.Repeat("pass phrase!", 3) }, "", ""},
		"SecretPrefix": {"no base64 after the prefix", func(d *subscription.Draft) { d.Secret = "whsec_hunter2!" }, "secretRef", "not standard base64"},
		"BasicEmpty":   {"no username", auth(subscription.Authorization{Scheme: subscription.SchemeBasic}), "authorization.basic", "username is empty"},
		"BasicColon": {
			"a colon in the username",
			auth(subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "a:b"}), "authorization.basic", "colon",
		},
		"BasicToken": {
			"a token besides", auth(subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "a", Token: "hunter2"}),
			"authorization.basic", "token",
		},
		"BasicBreak": {
			"a line break in the password",
			auth(subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "a", Password: "hunter2\n"}), "authorization.basic", "line break",
		},
		"Basic":       {"a username and no password", auth(subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "key"}), "", ""},
		"BearerEmpty": {"no token", auth(subscription.Authorization{Scheme: subscription.SchemeBearer}), "authorization.bearer", "token is empty"},
		"BearerWord": {
			"the scheme's word in the token",
			auth(subscription.Authorization{Scheme: subscription.SchemeBearer, Token: "Bearer hunter2"}), "authorization.bearer", "white space",
		},
		"BearerUser": {
			"a username besides", auth(subscription.Authorization{Scheme: subscription.SchemeBearer, Token: "t", Username: "u"}),
			"authorization.bearer", "belong to Basic",
		},
		"BearerLong": {
			"a token over the limit",
			auth(subscription.Authorization{Scheme: subscription.SchemeBearer, Token: strings.Repeat("t", 4097)}), "authorization.bearer", "the most is 4096",
		},
		"NoScheme":      {"credentials without a scheme", auth(subscription.Authorization{Token: "hunter2"}), "authorization", "no scheme"},
		"UnknownScheme": {"no such scheme", auth(subscription.Authorization{Scheme: "Digest"}), "authorization", "unknown"},
		"HeadersMost":   {"as many headers as allowed", func(d *subscription.Draft) { d.Headers = headers(32) }, "", ""},
		"HeadersMany":   {"one too many", func(d *subscription.Draft) { d.Headers = headers(33) }, "headers", "the most is 32"},
		"HeaderTwice": {"a name twice but for case", func(d *subscription.Draft) {
			d.Headers = []subscription.Header{{Name: "X-Team", Value: "a"}, {Name: "x-team", Value: "b"}}
		}, "headers", "stands twice"},
		"HeaderName":       {"a space in the name", header("X Team", "a"), "headers[0]", "is no header name"},
		"HeaderNameEmpty":  {"no name", header("", "a"), "headers[0]", "name is empty"},
		"HeaderNameLong":   {"a name over the limit", header(strings.Repeat("x", 129), "a"), "headers[0]", "the most is 128"},
		"HeaderValue":      {"a line break in the value", header("X-Team", "hunter2\r\nX: y"), "headers[0]", "line break"},
		"HeaderValueEmpty": {"no value", header("X-Team", ""), "headers[0]", "is empty"},
		"HeaderValueSpace": {"a space at the end of the value", header("X-Team", "a "), "headers[0]", "begins or ends"},
		"HeaderValueLong":  {"a value over the limit", header("X-Team", strings.Repeat("a", 4097)), "headers[0]", "the most is 4096"},
		"HeaderReserved":   {"a header with a field of its own", header("authorization", "hunter2"), "headers[0]", "set authorization instead"},
		"HeaderHost":       {"a header of the connection", header("Host", "x"), "headers[0]", "the url decides it"},
		"HeaderSignature":  {"a header that is signed with", header("webhook-ID", "x"), "headers[0]", "signed"},
		"HeaderProxy":      {"a header by a reserved beginning", header("Proxy-Whatever", "x"), "headers[0]", "connection"},
		"HeaderLikeProxy":  {"the beginning is a word, not some letters", header("Cell", "x"), "", ""},
		"TimeoutShort":     {"under a second", delivery(subscription.Delivery{Timeout: time.Second - 1}), "delivery.timeout", "1s to 1m0s"},
		"TimeoutLong":      {"over a minute", delivery(subscription.Delivery{Timeout: time.Minute + 1}), "delivery.timeout", "1s to 1m0s"},
		"Attempts":         {"too many attempts", delivery(subscription.Delivery{MaxAttempts: 51}), "delivery.maxAttempts", "1 to 50"},
		"InFlight":         {"too many at once", delivery(subscription.Delivery{MaxInFlight: 257}), "delivery.maxInFlight", "1 to 256"},
		"RateLimit":        {"a negative rate", delivery(subscription.Delivery{RateLimit: -1}), "delivery.rateLimit", "1 to 10000"},
		"Format":           {"no such format", delivery(subscription.Delivery{Format: "XML"}), "delivery.format", "CloudEvents"},
		"Ordering":         {"no such ordering", delivery(subscription.Delivery{Ordering: "Total"}), "delivery.ordering", "ByKey"},
		"DeliveryMost": {"each setting at its bound", delivery(subscription.Delivery{
			Format: subscription.FormatBird, Timeout: time.Minute, MaxAttempts: 50, MaxInFlight: 256, RateLimit: 10_000, Ordering: subscription.OrderingByKey,
		}), "", ""},
	}
}

func TestDraftValidate(t *testing.T) {
	t.Parallel()
	for name, tc := range draftCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			draft := valid()
			tc.change(&draft)
			checkInvalid(t, tc, draft.Validate(everything()))
		})
	}
}

// TestPatchValidate sees to it that a patch is refused for what a draft is refused for.
func TestPatchValidate(t *testing.T) {
	t.Parallel()
	for name, tc := range draftCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			draft := valid()
			tc.change(&draft)
			patch := subscription.Patch{
				Name: &draft.Name, URL: &draft.URL, Events: &draft.Events, Enabled: &draft.Enabled, Secret: &draft.Secret,
				Authorization: &draft.Authorization, Headers: &draft.Headers, Delivery: &draft.Delivery, Options: &draft.Options,
			}
			checkInvalid(t, tc, patch.Validate(everything()))
		})
	}
	if err := (subscription.Patch{}).Validate(nothing()); err != nil {
		t.Errorf("an empty patch is valid everywhere: %v", err)
	}
	empty := ""
	var invalid *subscription.InvalidError
	if err := (subscription.Patch{Secret: &empty}).Validate(everything()); !errors.As(err, &invalid) || invalid.Field != "secretRef" {
		t.Errorf("a patch to an empty secret must be refused for secretRef, got %v", err)
	}
}

func checkInvalid(t *testing.T, tc changed, err error) {
	t.Helper()
	if tc.field == "" {
		if err != nil {
			t.Errorf("%s: must be valid, got %v", tc.reason, err)
		}

		return
	}
	var invalid *subscription.InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("%s: want an *InvalidError, got %v", tc.reason, err)
	}
	if invalid.Field != tc.field || !strings.Contains(invalid.Message, tc.text) {
		t.Errorf("%s: want field %q and a message with %q, got %q", tc.reason, tc.field, tc.text, err)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%s: the message repeats what may be secret: %q", tc.reason, err)
	}
}

func TestValidateRefusesWhatTheProviderLacks(t *testing.T) {
	t.Parallel()
	draft := valid()
	draft.Enabled = false
	draft.Authorization = subscription.Authorization{Scheme: subscription.SchemeBearer, Token: "t"}
	draft.Headers = []subscription.Header{{Name: "X-Team", Value: "a", Sensitive: true}}
	draft.Delivery = subscription.Delivery{
		Format: subscription.FormatCloudEvents, Timeout: time.Second, MaxAttempts: 1, MaxInFlight: 1, RateLimit: 1,
		Ordering: subscription.OrderingByKey,
	}
	draft.Options = subscription.Options{Bird: &subscription.BirdOptions{}, Dixa: &subscription.DixaOptions{}}
	want := &subscription.UnsupportedError{Provider: "nothing", What: []string{
		"authorization.bearer", "delivery.format", "delivery.maxAttempts", "delivery.maxInFlight", "delivery.ordering", "delivery.rateLimit",
		"delivery.timeout", "enabled", "headers", "headers.secretKeyRef", "name", "secretRef", "vendorOptions.bird", "vendorOptions.dixa",
	}}
	var got *subscription.UnsupportedError
	if err := draft.Validate(nothing()); !errors.As(err, &got) {
		t.Fatalf("want an *UnsupportedError, got %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("every field that the provider lacks is named, -want +got:\n%s", diff)
	}

	bare := subscription.Draft{
		URL: "https://example.com", Events: []string{"a.b"}, Enabled: true,
		Authorization: subscription.Authorization{Scheme: subscription.SchemeNone}, Delivery: subscription.Delivery{Ordering: subscription.OrderingNone},
	}
	if err := bare.Validate(nothing()); err != nil {
		t.Errorf("what asks for nothing is valid everywhere: %v", err)
	}
	bare.URL = "http://example.com"
	var invalid *subscription.InvalidError
	if err := bare.Validate(nothing()); !errors.As(err, &invalid) || invalid.Field != "url" {
		t.Errorf("http must be refused where only https is allowed, got %v", err)
	}
	bare.URL, bare.Events = "https://example.com", []string{"a.*"}
	if err := bare.Validate(nothing()); !errors.As(err, &invalid) || invalid.Field != "events" {
		t.Errorf("a pattern must be refused where there are no wildcards, got %v", err)
	}
	one := nothing()
	one.MaxEvents = 1
	bare.Events = []string{"a.b", "a.c"}
	if err := bare.Validate(one); !errors.As(err, &invalid) || invalid.Field != "events" {
		t.Errorf("two events must be refused where one is the most, got %v", err)
	}
	if err := (subscription.Patch{Resume: true}).Validate(nothing()); !errors.As(err, &got) || got.What[0] != "resume" {
		t.Errorf("resume must be refused where nothing can be resumed, got %v", err)
	}
}

func TestLogQueryValidated(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		limit  int
		want   int
		fails  bool
	}{
		"Default":  {"no limit means the default", 0, subscription.DefaultLogLimit, false},
		"Most":     {"the most is allowed", subscription.MaxLogLimit, subscription.MaxLogLimit, false},
		"TooMany":  {"one more is not", subscription.MaxLogLimit + 1, 0, true},
		"Negative": {"nor is less than nothing", -1, 0, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := subscription.LogQuery{Event: "a", Limit: tc.limit}.Validated()
			var invalid *subscription.InvalidError
			if tc.fails != errors.As(err, &invalid) || got.Limit != tc.want {
				t.Errorf("%s: got limit %d and %v", tc.reason, got.Limit, err)
			}
		})
	}
}
