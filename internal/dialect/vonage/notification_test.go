package vonage_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/ksuid"

	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// The vector of the reference: body, and the signature made at vectorTime by sampleSecret.
const (
	vectorBody = `{"specversion":"1.0","type":"agent.presencechanged.v1","id":"2VejGqWZPqHXHVNcfUPUO8IASAp","source":"/agent",` +
		`"subject":"1","time":"2023-09-20T09:49:06.6134321Z","datacontenttype":"application/json","data":{}}`
	vectorHash      = "dd97e5f22d98d718a5a11f7faec8dcc841383d72968a64716e49d54bb64e034f"
	vectorSignature = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMDMwMCwicGF5bG9hZF9oYXNoIjoi" +
		"ZGQ5N2U1ZjIyZDk4ZDcxOGE1YTExZjdmYWVjOGRjYzg0MTM4M2Q3Mjk2OGE2NDcxNmU0OWQ1NGJiNjRlMDM0ZiJ9.TTAF2htXvUadWDllcHSKIL95toSTIQKrFqgvE7iFF0s"
)

var vectorTime = time.Unix(1_700_000_000, 0)

// verify is a receiver, written from the vendor's documentation without any library of ours: the
// header is a JWT, after "Bearer " or bare, by HS256 with the Base64-decoded secret; it has not
// expired; its payload_hash is the body's.
func verify(secret string, header http.Header, body []byte, now time.Time) error {
	key, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		return err
	}
	parts := strings.Split(strings.TrimPrefix(header.Get("Vonage-Signature"), "Bearer "), ".")
	if len(parts) != 3 {
		return errors.New("no JWT")
	}
	var decoded [3][]byte
	for i, part := range parts {
		if decoded[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return err
		}
	}
	var head struct{ Alg, Typ string }
	if err := json.Unmarshal(decoded[0], &head); err != nil || head.Alg != "HS256" {
		return errors.New("not by HS256")
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if !hmac.Equal(mac.Sum(nil), decoded[2]) {
		return errors.New("wrong signature")
	}
	var claims struct {
		Exp  int64  `json:"exp"`
		Hash string `json:"payload_hash"`
	}
	if err := json.Unmarshal(decoded[1], &claims); err != nil {
		return err
	}
	hash := sha256.Sum256(body)
	switch {
	case now.Unix() >= claims.Exp:
		return errors.New("expired")
	case claims.Hash != hex.EncodeToString(hash[:]):
		return errors.New("wrong payload_hash")
	}

	return nil
}

func outgoing(event string) subscription.Outgoing {
	return subscription.Outgoing{
		DeliveryID: "msg_1", Tenant: support, URL: "https://your-application.com/webhooks/events", Event: []byte(event),
		Accepted: vectorTime.Add(-time.Hour), First: vectorTime.Add(-time.Minute), Now: vectorTime, Secrets: []string{sampleSecret, documentedSecret},
	}
}

func TestNotificationVector(t *testing.T) {
	t.Parallel()
	// The order of members is the vendor's, whatever the event's.
	event := `{"data": {}, "subject":"1","source":"/agent","id":"2VejGqWZPqHXHVNcfUPUO8IASAp","specversion":"1.0",
		"type":"agent.presencechanged.v1","time":"2023-09-20T09:49:06.6134321Z","traceparent":"00-1-2-3"}`
	body, header, err := vonage.Notification{}.Request(outgoing(event))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(vectorBody, string(body)); diff != "" {
		t.Errorf("the body, -want +got:\n%s", diff)
	}
	want := map[string][]string{"Content-Type": {"application/cloudevents+json"}, "Vonage-Signature": {vectorSignature}}
	if diff := cmp.Diff(want, header); diff != "" {
		t.Errorf("the headers, -want +got:\n%s", diff)
	}
	if hash := sha256.Sum256(body); hex.EncodeToString(hash[:]) != vectorHash {
		t.Errorf("the body's hash is %x", hash)
	}
	if err := verify(sampleSecret, header, body, vectorTime); err != nil {
		t.Errorf("a receiver refuses it: %v", err)
	}
	header["Vonage-Signature"] = []string{"Bearer " + header["Vonage-Signature"][0]}
	if err := verify(sampleSecret, header, body, vectorTime.Add(5*time.Minute-time.Second)); err != nil {
		t.Errorf("a receiver of the older form refuses it just before it expires: %v", err)
	}
	refused := map[string]error{
		"expired":     verify(sampleSecret, header, body, vectorTime.Add(5*time.Minute)),
		"changed":     verify(sampleSecret, header, bytes.Replace(body, []byte(`"1"`), []byte(`"2"`), 1), vectorTime),
		"other key":   verify(strings.Replace(sampleSecret, "c5", "c6", 1), header, body, vectorTime),
		"without one": verify(sampleSecret, http.Header{}, body, vectorTime),
	}
	for what, err := range refused {
		if err == nil {
			t.Errorf("a receiver takes one that is %s", what)
		}
	}
}

// TestNotificationIsSignedAnew sees to it that a retry has the same body and a signature of its own.
func TestNotificationIsSignedAnew(t *testing.T) {
	t.Parallel()
	out := outgoing(`{"specversion":"1.0","type":"a.b","id":"1","source":"/a","data":1}`)
	first, firstHeader, err := vonage.Notification{}.Request(out)
	if err != nil {
		t.Fatal(err)
	}
	out.Now = out.Now.Add(12 * time.Hour)
	second, secondHeader, err := vonage.Notification{}.Request(out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(first), string(second)); diff != "" {
		t.Errorf("a retry's body differs:\n%s", diff)
	}
	if http.Header(firstHeader).Get(vonage.HeaderSignature) == http.Header(secondHeader).Get(vonage.HeaderSignature) {
		t.Error("a retry has the first attempt's signature, which has expired")
	}
	if err := verify(sampleSecret, secondHeader, second, out.Now); err != nil {
		t.Errorf("a receiver refuses the retry: %v", err)
	}
}

func TestNotificationEnvelope(t *testing.T) {
	t.Parallel()
	const id = "2VejGqWZPqHXHVNcfUPUO8IASAp"
	event := func(more string) string {
		return `{"specversion":"1.0","type":"order.created","id":"` + id + `","source":"/shop"` + more + `}`
	}
	cases := map[string]struct {
		reason string
		event  string
		want   string
		fails  string
	}{
		"Bare": {
			reason: "without a time the delivery's first attempt tells it, without data there is an object",
			event:  event(``),
			want:   `"source":"/shop","time":"2023-11-14T21:13:20.0000000Z","datacontenttype":"application/json","data":{}}`,
		},
		"DataAsWritten": {
			reason: "data keeps its numbers, characters and blanks",
			event:  event(`,"data":{ "n": 1.00,"big":12345678901234567890,"html":"<a&b>","ü":null }`),
			want:   `"data":{ "n": 1.00,"big":12345678901234567890,"html":"<a&b>","ü":null }}`,
		},
		"DataNull": {reason: "null is data", event: event(`,"data":null`), want: `"data":null}`},
		"TimeZone": {
			reason: "times are UTC with seven digits, more are cut off",
			event:  event(`,"time":"2023-09-20T11:49:06.123456789+02:00"`), want: `"time":"2023-09-20T09:49:06.1234567Z"`,
		},
		"JSONSuffix":  {reason: "another JSON type is JSON", event: event(`,"datacontenttype":"application/vnd.x+json","data":[]`), want: `"datacontenttype":"application/json","data":[]}`},
		"Binary":      {reason: "binary data cannot be told", event: event(`,"data_base64":"AA=="`), fails: "binary"},
		"Text":        {reason: "text cannot be told", event: event(`,"datacontenttype":"text/plain","data":"x"`), fails: "text/plain"},
		"BadTime":     {reason: "a time that is none", event: event(`,"time":"yesterday"`), fails: "RFC 3339"},
		"NotAnObject": {reason: "no event at all", event: `[]`, fails: "not CloudEvents"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, header, err := vonage.Notification{}.Request(outgoing(tc.event))
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Errorf("%s: want an error with %q, got %v", tc.reason, tc.fails, err)
				}

				return
			}
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if !strings.Contains(string(body), tc.want) {
				t.Errorf("%s: %s lacks %s", tc.reason, body, tc.want)
			}
			if err := verify(sampleSecret, header, body, vectorTime); err != nil {
				t.Errorf("a receiver refuses it: %v", err)
			}
		})
	}
}

// idOf is the id of the notification about an event.
func idOf(t *testing.T, tenant, source, id, at string) string {
	t.Helper()
	out := outgoing(`{"specversion":"1.0","type":"a.b","id":` + quoted(t, id) + `,"source":"` + source + `","time":"` + at + `"}`)
	out.Tenant = tenant
	body, _, err := vonage.Notification{}.Request(out)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ ID string }
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}

	return got.ID
}

func quoted(t *testing.T, text string) string {
	t.Helper()
	out, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}

	return string(out)
}

func TestNotificationID(t *testing.T) {
	t.Parallel()
	const at = "2023-09-20T09:49:06.6134321Z"
	if got := idOf(t, support, "/a", "2VejGqWZPqHXHVNcfUPUO8IASAp", at); got != "2VejGqWZPqHXHVNcfUPUO8IASAp" {
		t.Errorf("a KSUID is kept, got %s", got)
	}
	seen := map[string]string{}
	for what, got := range map[string]string{
		"event":       idOf(t, support, "/a", "1", at),
		"other id":    idOf(t, support, "/a", "2", at),
		"source":      idOf(t, support, "/b", "1", at),
		"tenant":      idOf(t, sales, "/a", "1", at),
		"boundary":    idOf(t, support, "/", "a1", at),
		"too large":   idOf(t, support, "/a", strings.Repeat("z", 27), at),
		"before 2014": idOf(t, support, "/a", "1", "1999-01-01T00:00:00Z"),
		"after 2150":  idOf(t, support, "/a", "1", "2200-01-01T00:00:00Z"),
	} {
		parsed, err := ksuid.Parse(got)
		if err != nil {
			t.Errorf("%s: %q is no KSUID: %v", what, got, err)
		}
		want := time.Date(2023, 9, 20, 9, 49, 6, 0, time.UTC)
		if !strings.Contains(what, "20") && !strings.Contains(what, "21") && !parsed.Time().Equal(want) {
			t.Errorf("%s: the KSUID's time is %s, the event's %s", what, parsed.Time(), want)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%s has the id of %s", what, other)
		}
		seen[got] = what
	}
	if again := idOf(t, support, "/a", "1", at); seen[again] != "event" {
		t.Error("the id changes from one rendering to the next")
	}
}

func TestNotificationSecrets(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		text   string
		// receiver is the same key as a receiver with a strict decoder has it; empty where it is refused.
		receiver string
	}{
		"Base64":     {"the vendor's text form", sampleSecret, sampleSecret},
		"Documented": {"the vendor's own example: 63 bytes and a \"=\" too many", documentedSecret, strings.TrimSuffix(documentedSecret, "=")},
		"Unpadded":   {"padding left out", strings.TrimSuffix(sampleSecret, "="), sampleSecret},
		"Prefixed":   {"the form of Standard Webhooks", "whsec_" + sampleSecret, sampleSecret},
		"Text":       {"no Base64: no receiver could decode it", "hunter2, not Base64 but long enough a text", ""},
		"LineBreak":  {"a line break inside", sampleSecret[:8] + "\n" + sampleSecret[8:], ""},
		"Empty":      {"nothing", "", ""},
		"Padding":    {"nothing but padding", "whsec_====", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := outgoing(`{"specversion":"1.0","type":"a.b","id":"1","source":"/a"}`)
			out.Secrets = []string{tc.text, sampleSecret}
			body, header, err := vonage.Notification{}.Request(out)
			if tc.receiver == "" {
				if err == nil || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%s: want an error that does not repeat it, got %v", tc.reason, err)
				}

				return
			}
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if err := verify(tc.receiver, header, body, out.Now); err != nil {
				t.Errorf("%s: a receiver refuses it: %v", tc.reason, err)
			}
		})
	}
	out := outgoing(`{}`)
	out.Secrets = nil
	if _, _, err := (vonage.Notification{}).Request(out); err == nil {
		t.Error("without a secret there is no signature, and must be an error")
	}
}

func TestNotificationTerms(t *testing.T) {
	t.Parallel()
	n := vonage.Notification{}
	for status := 100; status < 600; status++ {
		if want := status >= 200 && status <= 205; n.Success(status) != want {
			t.Errorf("status %d: success is %t", status, !want)
		}
	}
	if n.Format() != subscription.FormatVonage || n.Timeout() != 10*time.Second {
		t.Errorf("format %s, timeout %s", n.Format(), n.Timeout())
	}
	schedule := n.Schedule()
	var longest time.Duration
	for _, wait := range schedule {
		longest += wait + wait/10 + n.Timeout()
	}
	if schedule[0] != 0 || longest > 24*time.Hour || longest < 20*time.Hour {
		t.Errorf("with jitter the last attempt is %s after the first: it must be within 24h, and not much sooner", longest)
	}
}

func FuzzNotification(f *testing.F) {
	f.Add([]byte(vectorBody), sampleSecret)
	f.Add([]byte(`{"data":[1,2],"id":"x","time":"2023-09-20T09:49:06+01:00"}`), "whsec_"+sampleSecret)
	f.Fuzz(func(t *testing.T, event []byte, secret string) {
		out := outgoing(string(event))
		out.Secrets = []string{secret}
		body, header, err := vonage.Notification{}.Request(out)
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Errorf("the body is not JSON: %s", body)
		}
		key, err := vonage.Key(secret)
		if err != nil {
			t.Fatalf("it was signed by a key that cannot be read: %v", err)
		}
		if err := verify(base64.StdEncoding.EncodeToString(key), header, body, out.Now); err != nil {
			t.Errorf("a receiver refuses it: %v", err)
		}
	})
}
