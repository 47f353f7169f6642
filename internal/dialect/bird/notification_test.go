package bird_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// The derived vector: by the vendor's rules, with the key of its example.
const (
	vectorKey       = "KeV+/HGoIQrxuE5YPCRR6AuQOJveldYNNhbVi1i22qk="
	vectorSeconds   = 1719823259
	vectorURL       = "https://example.com/webhook"
	vectorBody      = `{"service":"channels","event":"sms.outbound","payload":{}}`
	vectorSignature = "tHRjJmDinvDQvTdF6vfTYZDpihV7A5Cr8DFUbQk2OS4="
	// decodedKey is what the signature would be if the key were decoded, which it must not.
	decodedKey = "4FMgCBw2pwXoZd8DKNc/v+7K+WKqQhlEcefo46jTp2I="
)

func TestSignatureVector(t *testing.T) {
	t.Parallel()
	key, err := bird.Key(vectorKey)
	if err != nil {
		t.Fatal(err)
	}
	if got := bird.Sign(key, strconv.Itoa(vectorSeconds), vectorURL, []byte(vectorBody)); got != vectorSignature {
		t.Errorf("the signature is %s, want %s", got, vectorSignature)
	}
	decoded, _ := base64.StdEncoding.DecodeString(vectorKey)
	if got := bird.Sign(decoded, strconv.Itoa(vectorSeconds), vectorURL, []byte(vectorBody)); got != decodedKey {
		t.Errorf("with the decoded key it would be %s, want %s", got, decodedKey)
	}
}

// verify is a receiver as the vendor's page on verifying tells it: the HMAC, by the signing key as it is, of the
// timestamp, the URL and the raw SHA-256 of the body, each but the last with a line break.
func verify(signingKey, url string, body []byte, header http.Header) error {
	given, err := base64.StdEncoding.DecodeString(header.Get("messagebird-signature"))
	if err != nil {
		return fmt.Errorf("reading the signature: %w", err)
	}
	if header.Get("messagebird-request-id") == "" {
		return errors.New("there is no request id")
	}
	bodyHash := sha256.Sum256(body)
	mac := hmac.New(sha256.New, []byte(signingKey))
	_, _ = fmt.Fprintf(mac, "%s\n%s\n%s", header.Get("messagebird-request-timestamp"), url, bodyHash[:])
	if !hmac.Equal(mac.Sum(nil), given) {
		return errors.New("the signature is another's")
	}

	return nil
}

var notification = bird.Notification{}

func outgoing(event string) subscription.Outgoing {
	now := time.Unix(vectorSeconds, 987654321)

	return subscription.Outgoing{
		DeliveryID: "d1", Tenant: support, URL: vectorURL, Event: []byte(event), Accepted: now.Add(-time.Hour), First: now, Now: now, Secrets: []string{vectorKey},
	}
}

const vectorEvent = `{"specversion":"1.0","id":"e1","source":"/s","type":"channels.sms.outbound","data":{}}`

// headers are a notification's as they arrive.
func headers(header map[string][]string) http.Header {
	out := http.Header{}
	for name, values := range header {
		for _, value := range values {
			out.Add(name, value)
		}
	}

	return out
}

func TestReceiverVerifies(t *testing.T) {
	t.Parallel()
	out := outgoing(vectorEvent)
	out.Secrets = append(out.Secrets, strings.Repeat("the one before ", 4))
	body, header, err := notification.Request(out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]string{
		"Content-Type": {"application/json"}, "messagebird-signature": {vectorSignature},
		"messagebird-request-timestamp": {"1719823259"}, "messagebird-request-id": {bird.RequestID("d1")},
	}, header); diff != "" || string(body) != vectorBody {
		t.Errorf("the body is %s, and the headers -want +got:\n%s", body, diff)
	}
	if err := verify(vectorKey, vectorURL, body, headers(header)); err != nil {
		t.Errorf("the receiver refuses it: %v", err)
	}
	late := headers(header)
	late.Set("messagebird-request-timestamp", "1719823260")
	for name, refused := range map[string]error{
		"AnotherKey":  verify(strings.Repeat("another ", 4), vectorURL, body, headers(header)),
		"AnotherBody": verify(vectorKey, vectorURL, append(body, ' '), headers(header)),
		"AnotherURL":  verify(vectorKey, vectorURL+"/", body, headers(header)),
		"AnotherTime": verify(vectorKey, vectorURL, body, late),
	} {
		if refused == nil {
			t.Errorf("%s: the receiver takes it", name)
		}
	}
}

func TestRetriesKeepTheTimestamp(t *testing.T) {
	t.Parallel()
	out := outgoing(vectorEvent)
	body, header, err := notification.Request(out)
	if err != nil {
		t.Fatal(err)
	}
	out.Now = out.Now.Add(7 * time.Hour)
	again, headerAgain, err := notification.Request(out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(header, headerAgain); diff != "" || string(body) != string(again) {
		t.Errorf("a retry is the same to the byte: %s %s\n%s", body, again, diff)
	}
	out.DeliveryID = "d2"
	if _, other, _ := notification.Request(out); cmp.Equal(header[bird.HeaderRequestID], other[bird.HeaderRequestID]) {
		t.Error("two deliveries have one request id")
	}
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	const relayed = `{ "service":"channels", "event":"whatsapp.inbound", "payload": {"id":"x", "body":{"type":"text"}} }`
	for name, c := range map[string]struct {
		reason string
		event  string
		want   string
	}{
		"Whole": {
			reason: "service and event are the type's parts; data is kept to the byte",
			event: `{"specversion":"1.0","id":"e","source":"/s","subject":"x","type":"channels.whatsapp.interaction","time":"2026-08-01T12:00:00Z",` +
				`"datacontenttype":"application/json; charset=utf-8","data":{ "a": 1.00, "b":"<&>" } }`,
			want: `{"service":"channels","event":"whatsapp.interaction","payload":{ "a": 1.00, "b":"<&>" }}`,
		},
		"Bare": {
			reason: "without data the payload is an empty object",
			event:  `{"type":"conversations.conversation.created"}`, want: `{"service":"conversations","event":"conversation.created","payload":{}}`,
		},
		"Spaces": {
			reason: "the one platform with spaces has dashes in a type",
			event:  `{"type":"channels.apple-business-chat.inbound"}`, want: `{"service":"channels","event":"apple business chat.inbound","payload":{}}`,
		},
		"OneWord": {reason: "an event may be one word", event: `{"type":"numbers.updated","data":[1]}`, want: `{"service":"numbers","event":"updated","payload":[1]}`},
		"Relayed": {
			reason: "data that is a notification of Bird's already is passed on to the byte, whatever the type",
			event:  `{"type":"order.paid","data":` + relayed + `}`, want: relayed,
		},
		"AlmostRelayed": {
			reason: "what has more members is a payload",
			event:  `{"type":"channels.x","data":{"service":"channels","event":"a","payload":{},"id":"1"}}`,
			want:   `{"service":"channels","event":"x","payload":{"service":"channels","event":"a","payload":{},"id":"1"}}`,
		},
	} {
		body, _, err := notification.Request(outgoing(c.event))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, string(body)); diff != "" {
			t.Errorf("%s: %s, -want +got:\n%s", name, c.reason, diff)
		}
	}
}

func TestUntellable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason  string
		event   string
		secrets []string
		says    string
	}{
		"NotJSON":   {"no CloudEvent", `hello`, []string{vectorKey}, "not CloudEvents"},
		"Binary":    {"binary data", `{"type":"channels.a","data_base64":"AAEC"}`, []string{vectorKey}, "binary"},
		"XML":       {"data of another type", `{"type":"channels.a","datacontenttype":"text/xml","data":"<a/>"}`, []string{vectorKey}, "text/xml"},
		"NoService": {"a type of another's", `{"type":"order.paid","data":{}}`, []string{vectorKey}, `"order.paid" does not begin with a service`},
		"Bare":      {"a service alone", `{"type":"channels"}`, []string{vectorKey}, "service"},
		"NoKey":     {"nothing to sign with", vectorEvent, nil, "no signing key"},
		"LongKey":   {"a key beyond all bounds", vectorEvent, []string{strings.Repeat("opensesame", 200)}, "2000 bytes"},
	} {
		out := outgoing(c.event)
		out.Secrets = c.secrets
		_, _, err := notification.Request(out)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "opensesame") {
			t.Errorf("%s: %s: got %v, want it to say %q and no secret", name, c.reason, err, c.says)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for _, text := range []string{vectorKey, "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "words, with spaces and ümlauts", " a "} {
		if got, err := bird.Key(text); err != nil || string(got) != text {
			t.Errorf("the key of a text is its bytes: got %q, %v", got, err)
		}
	}
	for _, text := range []string{"", "\xff", strings.Repeat("x", subscription.MaxSecretLength+1)} {
		if _, err := bird.Key(text); err == nil {
			t.Errorf("%q is taken for a key", text)
		}
	}
	first, second := bird.GenerateSecret(), bird.GenerateSecret()
	if raw, err := base64.StdEncoding.DecodeString(first); err != nil || len(raw) != 32 || first == second {
		t.Errorf("a generated key is the Base64 of 32 random bytes: %v", err)
	}
}

func TestDelivering(t *testing.T) {
	t.Parallel()
	var span time.Duration
	schedule := notification.Schedule()
	for i, wait := range schedule {
		if span += wait; i > 0 && wait <= schedule[i-1] {
			t.Errorf("the interval %d is %s, which is no longer than the one before", i, wait)
		}
	}
	if schedule[0] != 0 || len(schedule) != 36 || span < 7*time.Hour+30*time.Minute || span > 8*time.Hour {
		t.Errorf("%d attempts within %s", len(schedule), span)
	}
	for status, want := range map[int]bool{199: false, 200: true, 299: true, 300: false, 410: false, 500: false} {
		if notification.Success(status) != want {
			t.Errorf("%d counts as taken: %t", status, !want)
		}
	}
	if notification.Format() != subscription.FormatBird || notification.Timeout() != bird.NotificationTimeout {
		t.Error("the format or the timeout is another's")
	}
}

// filters are options of these keys and values.
func filters(pairs ...string) *subscription.BirdOptions {
	out := &subscription.BirdOptions{}
	for i := 0; i < len(pairs); i += 2 {
		out.EventFilters = append(out.EventFilters, subscription.BirdEventFilter{Key: pairs[i], Value: pairs[i+1]})
	}

	return out
}

func TestPasses(t *testing.T) {
	t.Parallel()
	const (
		message     = `{"data":{"id":"m","channelId":"c1","status":"delivered","retries":2,"test":true,"body":{"type":"text"}}}`
		interaction = `{"data":{"type":"read","messageId":"m","channelId":"c1"}}`
	)
	for name, c := range map[string]struct {
		reason  string
		options *subscription.BirdOptions
		event   string
		want    bool
	}{
		"None":         {"no options pass everything", nil, message, true},
		"NoFilters":    {"nor does a template hold anything back", &subscription.BirdOptions{Template: "text"}, message, true},
		"Channel":      {"", filters("channelId", "c1"), message, true},
		"AnotherOne":   {"", filters("channelId", "c2"), message, false},
		"Status":       {"messageStatus is the payload's status", filters("messageStatus", "delivered"), message, true},
		"Case":         {"values are compared to the letter", filters("messageStatus", "Delivered"), message, false},
		"And":          {"all must hold", filters("channelId", "c1", "messageStatus", "sent"), message, false},
		"AndBoth":      {"", filters("channelId", "c1", "messageStatus", "delivered"), message, true},
		"Interaction":  {"interactionType is the payload's type", filters("interactionType", "read", "channelId", "c1"), interaction, true},
		"Voice":        {"status is itself", filters("status", "delivered"), message, true},
		"OwnName":      {"a member of the key's own name comes first", filters("messageStatus", "a"), `{"data":{"messageStatus":"a","status":"b"}}`, true},
		"Number":       {"a number is as JSON writes it", filters("retries", "2"), message, true},
		"Bool":         {"so is a truth value", filters("test", "true"), message, true},
		"Object":       {"an object is no value one would give", filters("body", "text"), message, false},
		"Missing":      {"a member that is missing has no value", filters("platformId", ""), message, false},
		"NoPayload":    {"nor has a payload that is none", filters("channelId", "c1"), `{"data":7}`, false},
		"NoEvent":      {"", filters("channelId", "c1"), `what`, false},
		"Relayed":      {"a whole notification is looked into", filters("channelId", "c1"), `{"data":{"service":"channels","event":"sms.outbound","payload":{"channelId":"c1"}}}`, true},
		"NotEnvelope":  {"whose own members are no payload's", filters("event", "sms.outbound"), `{"data":{"service":"channels","event":"sms.outbound","payload":{}}}`, false},
		"ChannelState": {"channelStatus is the payload's status", filters("channelStatus", "delivered", "platformId", "sms"), `{"data":{"status":"delivered","platformId":"sms"}}`, true},
	} {
		if got := bird.Passes(c.options, "channels.sms.outbound", []byte(c.event)); got != c.want {
			t.Errorf("%s: passes: %t, want %t: %s", name, got, c.want, c.reason)
		}
	}
}

func TestPassesAmong(t *testing.T) {
	t.Parallel()
	const event = `{"data":{"channelId":"c1"}}`
	list := func(options ...*subscription.BirdOptions) []*subscription.BirdOptions { return options }
	for name, c := range map[string]struct {
		reason  string
		options *subscription.BirdOptions
		others  []*subscription.BirdOptions
		want    bool
	}{
		"Alone":         {"without others it gets every event", nil, nil, true},
		"Matched":       {"an event that another one filters for is that one's", nil, list(nil, filters("channelId", "c1")), false},
		"Template":      {"options without filters are without filters", &subscription.BirdOptions{Template: "text"}, list(filters("channelId", "c1")), false},
		"NotMatched":    {"an event that no other one filters for is its", nil, list(filters("channelId", "c2"), filters("status", "x")), true},
		"OtherIsPlain":  {"another one without filters takes nothing away", nil, list(nil, &subscription.BirdOptions{Template: "text"}), true},
		"Filtered":      {"who filters gets what passes, whatever others do", filters("channelId", "c1"), list(filters("channelId", "c1")), true},
		"FilteredApart": {"and nothing else", filters("channelId", "c2"), nil, false},
	} {
		if got := bird.PassesAmong(c.options, c.others, "channels.sms.outbound", []byte(event)); got != c.want {
			t.Errorf("%s: passes: %t, want %t: %s", name, got, c.want, c.reason)
		}
	}
}

func TestCheckOptions(t *testing.T) {
	t.Parallel()
	many := filters()
	for i := range bird.MaxFilters + 1 {
		many.EventFilters = append(many.EventFilters, subscription.BirdEventFilter{Key: strconv.Itoa(i), Value: "v"})
	}
	for name, c := range map[string]struct {
		options *subscription.BirdOptions
		field   string
	}{
		"None":     {nil, ""},
		"Fine":     {filters("channelId", "c", "messageStatus", "sent"), ""},
		"Many":     {many, "vendorOptions.bird.eventFilters"},
		"NoKey":    {filters("a", "b", "", "x"), "vendorOptions.bird.eventFilters[1].key"},
		"NoValue":  {filters("a", ""), "vendorOptions.bird.eventFilters[0].value"},
		"Long":     {filters("a", strings.Repeat("ü", 257)), "vendorOptions.bird.eventFilters[0].value"},
		"NotLong":  {filters("a", strings.Repeat("ü", 256)), ""},
		"Twice":    {filters("a", "b", "a", "c"), "vendorOptions.bird.eventFilters[1].key"},
		"Template": {&subscription.BirdOptions{Template: strings.Repeat("t", 129)}, "vendorOptions.bird.template"},
	} {
		err := bird.CheckOptions(c.options)
		invalid, _ := errors.AsType[*subscription.InvalidError](err)
		if c.field == "" && err != nil || c.field != "" && (invalid == nil || invalid.Field != c.field || invalid.Message == "") {
			t.Errorf("%s: got %v, want the field %q", name, err, c.field)
		}
	}
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	types := bird.Catalogue()
	if len(types) != 39 {
		t.Errorf("%d events are documented", len(types))
	}
	for i, one := range types {
		if subscription.ValidateEventType(one.Name) != nil || i > 0 && types[i-1].Name >= one.Name || one.Description == "" {
			t.Errorf("the entry %d is %q: %q", i, one.Name, one.Description)
		}
	}
}
