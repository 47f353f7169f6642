package dixa_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// The derived vector: by the vendor's rules, with a key of real hexadecimal.
const (
	vectorSecret    = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	vectorMillis    = 1689238949803
	vectorBody      = `{"event_id":"8967e0c6-fe64-4105-bf71-14ae0c256004","event_fqn":"CONVERSATION_CREATED","event_version":"1"}`
	vectorSignature = "971eb9a11b03d7b71e331c9b4bee315c9dbacd195d083997c1bd22ffef40c386"
	// textSignature is what comes out where the secretKey's text is taken for the key.
	textSignature = "109a097016a81adecf7d3c838a933b6f8bce3d2184a0149e4cab8dccf8f50777"
)

func TestSignatureVector(t *testing.T) {
	t.Parallel()
	key, err := dixa.Key(vectorSecret)
	if err != nil {
		t.Fatal(err)
	}
	if got := dixa.Sign(key, strconv.Itoa(vectorMillis), []byte(vectorBody)); got != vectorSignature {
		t.Errorf("the signature is %s, want %s", got, vectorSignature)
	}
	if got := dixa.Sign([]byte(vectorSecret), strconv.Itoa(vectorMillis), []byte(vectorBody)); got != textSignature {
		t.Errorf("the mistake signs %s, want %s", got, textSignature)
	}
}

// verify is a receiver as the vendor's page on security tells it: the header's t and v1, the secretKey
// decoded from hexadecimal, the HMAC of "t.body".
func verify(secretKey string, body []byte, signature string, now time.Time, tolerance time.Duration) error {
	var millis, given string
	for part := range strings.SplitSeq(signature, ",") {
		switch name, value, _ := strings.Cut(part, "="); name {
		case "t":
			millis = value
		case "v1":
			given = value
		}
	}
	number, err := strconv.ParseInt(millis, 10, 64)
	if err != nil {
		return fmt.Errorf("reading t: %w", err)
	}
	if age := now.Sub(time.UnixMilli(number)).Abs(); age > tolerance {
		return fmt.Errorf("it is %s old", age)
	}
	key, err := hex.DecodeString(secretKey)
	if err != nil {
		return fmt.Errorf("reading the secretKey: %w", err)
	}
	want, err := hex.DecodeString(given)
	if err != nil {
		return fmt.Errorf("reading v1: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s", millis, body)
	if !hmac.Equal(mac.Sum(nil), want) {
		return errors.New("the signature is another's")
	}

	return nil
}

func outgoing(event string) subscription.Outgoing {
	now := time.UnixMilli(vectorMillis)

	return subscription.Outgoing{
		DeliveryID: "d1", Tenant: support, URL: "https://example.com", Event: []byte(event), Accepted: now, First: now.Add(time.Minute), Now: now, Secrets: []string{vectorSecret},
	}
}

func TestReceiverVerifies(t *testing.T) {
	t.Parallel()
	out := outgoing(`{"specversion":"1.0","id":"e1","source":"/s","type":"ConversationCreated","data":{"n":1}}`)
	out.Secrets = append(out.Secrets, strings.Repeat("ab", 32))
	body, header, err := notification.Request(out)
	if err != nil {
		t.Fatal(err)
	}
	values := header["X-DIXA-SIGNATURE"]
	if len(values) != 1 || !strings.HasPrefix(values[0], "t=1689238949803,v1=") {
		t.Fatalf("the signature is %q", values)
	}
	if diff := cmp.Diff([]string{"application/json"}, header["Content-Type"]); diff != "" {
		t.Error(diff)
	}
	if err := verify(vectorSecret, body, values[0], out.Now, time.Minute); err != nil {
		t.Errorf("the receiver refuses it: %v", err)
	}
	for name, refused := range map[string]error{
		"AnotherKey":  verify(strings.Repeat("ab", 32), body, values[0], out.Now, time.Minute),
		"AnotherBody": verify(vectorSecret, append(body, ' '), values[0], out.Now, time.Minute),
		"TooOld":      verify(vectorSecret, body, values[0], out.Now.Add(time.Hour), time.Minute),
	} {
		if refused == nil {
			t.Errorf("%s: the receiver takes it", name)
		}
	}
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	const relayed = `{ "event_id": "8967e0c6-fe64-4105-bf71-14ae0c256004", "event_fqn": "CONVERSATION_NOTE_ADDED", "event_version": "1", ` +
		`"event_timestamp": "2023-09-15T12:00:00.000Z", "organization": {"id":"o","name":"n"}, "data": {"note_id":"x"} }`
	cases := map[string]struct {
		reason string
		tenant string
		event  string
		want   string
	}{
		"Whole": {
			reason: "id, type, time and data have their places; data is kept to the byte",
			event: `{"specversion":"1.0","id":"8967E0C6-fe64-4105-bf71-14ae0c256004","source":"/s","subject":"x","type":"ConversationMessageAdded",` +
				`"time":"2023-09-15T14:00:00.1239+02:00","datacontenttype":"application/json; charset=utf-8","data":{ "a": 1.00, "b":"<&>" } }`,
			want: `{"event_id":"8967e0c6-fe64-4105-bf71-14ae0c256004","event_fqn":"CONVERSATION_MESSAGE_ADDED","event_version":"1",` +
				`"event_timestamp":"2023-09-15T12:00:00.123Z","organization":{"id":"64b777c3-eb82-49fb-bb3e-294afb5d840c","name":"Your Org Name"},` +
				`"data":{ "a": 1.00, "b":"<&>" }}`,
		},
		"Bare": {
			reason: "without a time it is the first attempt's, without data an empty object; an id becomes a UUID, a tenant an organization",
			tenant: sales,
			event:  `{"specversion":"1.0","id":"e1","source":"/s","type":"order.paid"}`,
			want: `{"event_id":"e2c2807b-7bc3-5562-a290-21716c1f219a","event_fqn":"ORDER_PAID","event_version":"1",` +
				`"event_timestamp":"2023-07-13T09:02:29.803Z","organization":{"id":"8fbe9d5c-65ae-515e-8f1f-97d3131c699d","name":"sales"},"data":{}}`,
		},
		"Relayed": {
			reason: "data that is a notification of Dixa's already is passed on to the byte",
			event:  `{"specversion":"1.0","id":"e1","source":"/s","type":"ConversationNoteAdded","data":` + relayed + `}`,
			want:   relayed,
		},
		"RelayedData": {
			reason: "the data of a notification alone is data",
			event:  `{"specversion":"1.0","id":"8967e0c6-fe64-4105-bf71-14ae0c256004","source":"/s","type":"TypingStarted","time":"2023-09-15T12:00:00Z","data":{"conversation":{"csid":1234}}}`,
			want: `{"event_id":"8967e0c6-fe64-4105-bf71-14ae0c256004","event_fqn":"TYPING_STARTED","event_version":"1","event_timestamp":"2023-09-15T12:00:00.000Z",` +
				`"organization":{"id":"64b777c3-eb82-49fb-bb3e-294afb5d840c","name":"Your Org Name"},"data":{"conversation":{"csid":1234}}}`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := outgoing(c.event)
			if c.tenant != "" {
				out.Tenant = c.tenant
			}
			body, _, err := notification.Request(out)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(body)); diff != "" {
				t.Errorf("%s, -want +got:\n%s", c.reason, diff)
			}
			if !json.Valid(body) {
				t.Error("it is not JSON")
			}
			out.Now = out.Now.Add(time.Hour)
			if again, _, _ := notification.Request(out); string(again) != string(body) {
				t.Error("a retry has another body")
			}
		})
	}
}

func TestEventIDsStayApart(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, at := range [][3]string{{support, "/s", "e1"}, {support, "/se", "1"}, {support, "/t", "e1"}, {sales, "/s", "e1"}, {support, "/s", "e2"}} {
		out := outgoing(fmt.Sprintf(`{"id":%q,"source":%q,"type":"TypingStarted"}`, at[2], at[1]))
		out.Tenant = at[0]
		body, _, err := notification.Request(out)
		if err != nil {
			t.Fatal(err)
		}
		var told struct {
			EventID string `json:"event_id"`
		}
		if err := json.Unmarshal(body, &told); err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[told.EventID]; ok {
			t.Errorf("%q and %s have the id %s", at, other, told.EventID)
		}
		seen[told.EventID] = fmt.Sprintf("%q", at)
	}
}

func TestUntellable(t *testing.T) {
	t.Parallel()
	const fine = `{"id":"e","source":"/s","type":"TypingStarted"}`
	for name, c := range map[string]struct {
		reason  string
		event   string
		secrets []string
	}{
		"NotJSON":    {"no CloudEvent", `hello`, []string{vectorSecret}},
		"Binary":     {"binary data", `{"id":"e","source":"/s","type":"t","data_base64":"AAEC"}`, []string{vectorSecret}},
		"XML":        {"data of another type", `{"id":"e","source":"/s","type":"t","datacontenttype":"text/xml","data":"<a/>"}`, []string{vectorSecret}},
		"Time":       {"a time that is none", `{"id":"e","source":"/s","type":"t","time":"yesterday"}`, []string{vectorSecret}},
		"NoSecret":   {"nothing to sign with", fine, nil},
		"BadSecret":  {"a secret that no receiver could read", fine, []string{"whsec_opensesame!"}},
		"LongSecret": {"a secret beyond all bounds", fine, []string{strings.Repeat("opensesame", 200)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := outgoing(c.event)
			out.Secrets = c.secrets
			_, _, err := notification.Request(out)
			if err == nil {
				t.Fatalf("%s: want an error", c.reason)
			}
			if strings.Contains(err.Error(), "opensesame") {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	raw, _ := hex.DecodeString(vectorSecret)
	for name, c := range map[string]struct {
		reason string
		secret string
		want   []byte
	}{
		"Hex":             {"64 hexadecimal characters are decoded, though they are base64 too", vectorSecret, raw},
		"UpperCase":       {"in either case", strings.ToUpper(vectorSecret), raw},
		"StandardWebhook": {"another dialect's secret is its key", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", raw},
		"VendorsExample": {
			"the vendor's own example is no hexadecimal, and so is a text like others",
			"4g4h988p468g785965b780684bde5546c52gge658d76b4q33fb69c526ea4bdb!", []byte("4g4h988p468g785965b780684bde5546c52gge658d76b4q33fb69c526ea4bdb!"),
		},
	} {
		got, err := dixa.Key(c.secret)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s, -want +got:\n%s", name, c.reason, diff)
		}
	}
}

func TestFQN(t *testing.T) {
	t.Parallel()
	for eventType, want := range map[string]string{
		"ConversationNoteAdded": "CONVERSATION_NOTE_ADDED", "ConversationPending": "CONVERSATION_PENDING",
		"ConversationMessageDeliverySpamComplaint": "CONVERSATION_MESSAGE_DELIVERY_SPAM_COMPLAINT",
		"SLAEvaluationBreached":                    "SLA_EVALUATION_BREACHED", "AgentBannedIp": "AGENT_BANNED_IP",
		"CONVERSATION_RATED": "CONVERSATION_RATED", "agent.presence-changed.v1": "AGENT_PRESENCE_CHANGED_V1", "order..paid.": "ORDER_PAID",
	} {
		if got := dixa.FQN(eventType); got != want {
			t.Errorf("%s is %s, want %s", eventType, got, want)
		}
	}
	seen := map[string]bool{}
	for _, event := range dixa.Events {
		seen[dixa.FQN(event)] = true
	}
	if len(seen) != 33 {
		t.Errorf("%d names for 33 events", len(seen))
	}
}

func TestDelivering(t *testing.T) {
	t.Parallel()
	var span time.Duration
	schedule := notification.Schedule()
	for _, wait := range schedule {
		span += wait
	}
	if schedule[0] != 0 || len(schedule) != 9 || span < 15*time.Hour || span > 24*time.Hour {
		t.Errorf("%d attempts within %s", len(schedule), span)
	}
	for status, want := range map[int]bool{199: false, 200: true, 299: true, 300: false, 410: false, 500: false} {
		if notification.Success(status) != want {
			t.Errorf("%d counts as taken: %t", status, !want)
		}
	}
	if notification.Format() != subscription.FormatDixa || notification.Timeout() != dixa.NotificationTimeout {
		t.Error("the format or the timeout is another's")
	}
}

func TestPasses(t *testing.T) {
	t.Parallel()
	const event = `{"data":{"conversation":{"channel":"WIDGET_CHAT","queue":{"id":"b5b10483-7d28-4dea-bf8d-0d88cc3bd7cc"}},"operation_origin":"API"}}`
	condition := func(operator, field string, values ...string) subscription.DixaCondition {
		return subscription.DixaCondition{Operator: operator, Field: field, Values: values}
	}
	chat, email := condition("IsOneOf", "InitialChannel", "WidgetChat"), condition("IsOneOf", "InitialChannel", "Email")
	options := func(family, strategy string, conditions ...subscription.DixaCondition) *subscription.DixaOptions {
		return &subscription.DixaOptions{Filters: map[string]subscription.DixaFilters{family: {Strategy: strategy, Conditions: conditions}}}
	}
	for name, c := range map[string]struct {
		reason  string
		options *subscription.DixaOptions
		event   string
		want    bool
	}{
		"None":         {"no filters pass everything", nil, event, true},
		"NoConditions": {"nor do filters of no conditions hold anything back", options("Conversation", "All"), event, true},
		"OneOf":        {"WidgetChat is WIDGET_CHAT", options("Conversation", "All", chat), event, true},
		"NotOneOf":     {"", options("Conversation", "All", condition("IsNotOneOf", "InitialChannel", "Email", "WidgetChat")), event, false},
		"All":          {"all must hold", options("Conversation", "All", chat, email), event, false},
		"Any":          {"one is enough", options("Conversation", "Any", chat, email), event, true},
		"AnyOfNone":    {"and none is not", options("Conversation", "Any", email), event, false},
		"Queue":        {"", options("Conversation", "All", condition("IsOneOf", "QueueId", "B5B10483-7d28-4dea-bf8d-0d88cc3bd7cc")), event, true},
		"Origin":       {"", options("Conversation", "All", condition("IsOneOf", "OperationOrigin", "Api")), event, true},
		"AnotherFamily": {
			"filters of another family do not count", options("Agent", "All", email), event, true,
		},
		"Missing":    {"a member that is missing is one of no values", options("Conversation", "All", chat), `{"data":{}}`, false},
		"MissingNot": {"and so not one of them", options("Conversation", "All", condition("IsNotOneOf", "QueueId", "q")), `{"data":7}`, true},
		"Relayed": {
			"a whole notification is looked into", options("Conversation", "All", email),
			`{"data":{"event_id":"8967e0c6-fe64-4105-bf71-14ae0c256004","event_fqn":"X","event_version":"1","event_timestamp":"t","data":{"conversation":{"channel":"EMAIL"}}}}`, true,
		},
	} {
		if got := dixa.Passes(c.options, "ConversationCreated", []byte(c.event)); got != c.want {
			t.Errorf("%s: passes: %t, want %t: %s", name, got, c.want, c.reason)
		}
	}
}
