package delivery

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const (
	vonageSecret = "c5hgQuOnivQjqH3gHYabCl4QGxFCsl31rXRnX+3+z64="
	dixaSecret   = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
)

func vendors(c *Config) {
	c.Notifications = map[subscription.Format]subscription.Notification{
		subscription.FormatVonage: vonage.Notification{}, subscription.FormatDixa: dixa.Notification{},
	}
}

// stored writes a subscription's version as the registry encodes it, so that this package's
// tests need no dialect of the registry's.
func (r *rig) stored(id string, value map[string]any) {
	r.t.Helper()
	whole := map[string]any{
		"v": 1, "events": []string{"*"}, "enabled": true, "secrets": []any{map[string]any{"text": vectorSecret}},
		"createdAt": r.clock.Now(), "updatedAt": r.clock.Now(),
	}
	maps.Copy(whole, value)
	encoded, err := json.Marshal(whole)
	if err != nil {
		r.t.Fatal(err)
	}
	var expect journal.Revision
	if before, ok := r.registry.Current(id); ok {
		expect = before.Revision
	}
	put, err := r.journal.PutSubscription(r.t.Context(), journal.Version{Tenant: tenant, ID: id, Name: id, Value: encoded}, expect)
	if err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "the registry to show "+id, func() bool {
		current, ok := r.registry.Current(id)

		return ok && current.Revision >= put.Revision
	})
}

// vendor writes a subscription of a vendor's format; more overrides its settings.
func (r *rig) vendor(format subscription.Format, url string, more map[string]any) string {
	r.t.Helper()
	r.sent++
	id := fmt.Sprintf("%s-%d", strings.ToLower(string(format)), r.sent)
	secret := map[subscription.Format]string{subscription.FormatVonage: vonageSecret, subscription.FormatDixa: dixaSecret}[format]
	value := map[string]any{
		"url": url, "delivery": map[string]any{"format": format}, "secrets": []any{map[string]any{"text": secret}},
	}
	maps.Copy(value, more)
	r.stored(id, value)

	return id
}

// verifyVonage is a receiver by the vendor's documentation: a JWT by HS256 with the secret decoded from
// Base64, alive, whose payload_hash is the body's SHA-256.
func verifyVonage(header http.Header, body []byte, now time.Time) error {
	token, err := jwt.Parse(header.Get("Vonage-Signature"), func(*jwt.Token) (any, error) {
		return base64.StdEncoding.DecodeString(vonageSecret)
	}, jwt.WithValidMethods([]string{"HS256"}), jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithExpirationRequired())
	if err != nil {
		return err
	}
	hash := sha256.Sum256(body)
	if claims, ok := token.Claims.(jwt.MapClaims); !ok || claims["payload_hash"] != hex.EncodeToString(hash[:]) {
		return errors.New("the payload_hash is another's")
	}

	return nil
}

// verifyDixa is a receiver by the vendor's documentation: the HMAC of "t.body" with the key decoded from
// hexadecimal, not long ago.
func verifyDixa(header http.Header, body []byte, now time.Time) error {
	millis, given, ok := strings.Cut(strings.TrimPrefix(header.Get("X-Dixa-Signature"), "t="), ",v1=")
	if !ok {
		return errors.New("the signature is not t=…,v1=…")
	}
	at, err := strconv.ParseInt(millis, 10, 64)
	if err != nil {
		return err
	}
	if age := now.Sub(time.UnixMilli(at)).Abs(); age > time.Minute {
		return fmt.Errorf("it is %s old", age)
	}
	key, err := hex.DecodeString(dixaSecret)
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(millis + "."))
	mac.Write(body)
	if hex.EncodeToString(mac.Sum(nil)) != given {
		return errors.New("the signature is another's")
	}

	return nil
}

func TestVendorsReceiversVerify(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason string
		format subscription.Format
		verify func(http.Header, []byte, time.Time) error
		shows  string
	}{
		"Vonage": {"the vendor's envelope and JWT", subscription.FormatVonage, verifyVonage, `"type":"call.ended"`},
		"Dixa":   {"the vendor's envelope and HMAC", subscription.FormatDixa, verifyDixa, `"event_fqn":"CALL_ENDED"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint := newReceiver(t)
			r := newRig(t, vendors)
			id := r.vendor(c.format, endpoint.URL, map[string]any{
				"authorization": map[string]any{"scheme": "Bearer", "token": "opener"},
				"headers": []any{
					map[string]any{"name": "X-Team", "value": "blue"},
					map[string]any{"name": "Content-Type", "value": "text/plain"},
					map[string]any{"name": "Vonage-Signature", "value": "forged"},
					map[string]any{"name": "X-Dixa-Signature", "value": "forged"},
				},
			})
			seqs := r.publish("call.ended", "one")
			eventually(t, "the attempt", func() bool { return len(r.attempts(id)) == 1 })
			if attempt, err := r.engine.Resend(t.Context(), id, seqs[0]); err != nil || !attempt.Success {
				t.Errorf("resent: %+v, %v", attempt, err)
			}
			if attempt, err := r.engine.SendTest(t.Context(), id, ""); err != nil || !attempt.Success {
				t.Errorf("a test event: %+v, %v", attempt, err)
			}
			endpoint.mu.Lock()
			defer endpoint.mu.Unlock()
			if len(endpoint.bodies) != 3 {
				t.Fatalf("%d requests arrived: want the delivery, the resend and the test", len(endpoint.bodies))
			}
			for i, body := range endpoint.bodies {
				if err := c.verify(endpoint.headers[i], body, time.Now()); err != nil {
					t.Errorf("%s: the receiver refuses request %d: %v", c.reason, i, err)
				}
				header := endpoint.headers[i]
				if header.Get("X-Team") != "blue" || header.Get("Authorization") != "Bearer opener" || header.Get("Content-Type") == "text/plain" {
					t.Errorf("the headers of request %d are %v", i, header)
				}
				if header.Get(HeaderSignature) != "" {
					t.Errorf("request %d is signed by Standard Webhooks too", i)
				}
			}
			if !bytes.Equal(endpoint.bodies[0], endpoint.bodies[1]) || !strings.Contains(string(endpoint.bodies[0]), c.shows) {
				t.Errorf("the delivery was %s, its resend %s", endpoint.bodies[0], endpoint.bodies[1])
			}
		})
	}
}

// TestVendorsHeadersAsSpelled: what net/http reads it has canonicalised, so the bytes are looked at.
func TestVendorsHeadersAsSpelled(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heads := make(chan string, 1)
	var serving sync.WaitGroup
	serving.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		var seen []byte
		buffer := make([]byte, 4096)
		for !bytes.Contains(seen, []byte("}}")) && !bytes.HasSuffix(seen, []byte("}")) {
			n, err := conn.Read(buffer)
			seen = append(seen, buffer[:n]...)
			if err != nil {
				break
			}
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		_ = conn.Close()
		heads <- string(seen)
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	r := newRig(t, vendors)
	r.vendor(subscription.FormatDixa, "http://"+listener.Addr().String(), map[string]any{
		"headers": []any{map[string]any{"name": "X-Dixa-Signature", "value": "forged"}},
	})
	r.publish("ConversationCreated", "one")
	head := <-heads
	if !strings.HasPrefix(head, "POST / HTTP/1.1\r\n") || !strings.Contains(head, "\r\nX-DIXA-SIGNATURE: t=") || strings.Contains(head, "forged") {
		t.Errorf("the request is\n%s", head)
	}
}

// TestVendorsTerms: success range, schedule and timeout are the notification's, but for what the
// subscription says itself.
func TestVendorsTerms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason   string
		format   subscription.Format
		code     int
		delivery map[string]any
		// wait is that before the second attempt; 0 where there is none, then dead tells why not.
		wait time.Duration
		dead string
	}{
		"Vonage200":    {reason: "within 200 to 205", format: subscription.FormatVonage, code: 200},
		"Vonage205":    {reason: "within 200 to 205", format: subscription.FormatVonage, code: 205},
		"Vonage206":    {reason: "above 205", format: subscription.FormatVonage, code: 206, wait: 5 * time.Second},
		"Vonage410":    {reason: "no vendor heeds 410", format: subscription.FormatVonage, code: 410, wait: 5 * time.Second},
		"Vonage301":    {reason: "redirects are not followed", format: subscription.FormatVonage, code: 301, wait: 5 * time.Second},
		"Dixa206":      {reason: "any 2xx", format: subscription.FormatDixa, code: 206},
		"Dixa299":      {reason: "any 2xx", format: subscription.FormatDixa, code: 299},
		"Dixa300":      {reason: "no 2xx", format: subscription.FormatDixa, code: 300, wait: 10 * time.Second},
		"Dixa410":      {reason: "no vendor heeds 410", format: subscription.FormatDixa, code: 410, wait: 10 * time.Second},
		"MaxAttempts":  {reason: "the subscription's own number", format: subscription.FormatDixa, code: 500, delivery: map[string]any{"maxAttempts": 1}, dead: journal.ReasonAttemptsExhausted},
		"CloudEvents":  {reason: "a name for the engine's own", format: subscription.FormatCloudEvents, code: 206},
		"ItsOwn410":    {reason: "the engine's own heeds 410", format: subscription.FormatCloudEvents, code: 410, dead: journal.ReasonGone},
		"ItsOwnRetry":  {reason: "the engine's own schedule", format: subscription.FormatCloudEvents, code: 500, wait: 20 * time.Millisecond},
		"UnknownFirst": {reason: "no notification for it", format: subscription.FormatBird, code: 200, dead: journal.ReasonPayloadRejected},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := clockwork.NewFakeClockAt(time.Now().Truncate(time.Second))
			endpoint := newReceiver(t)
			endpoint.always(c.code)
			r := newRigAt(t, clock, vendors)
			settings := map[string]any{"format": c.format}
			maps.Copy(settings, c.delivery)
			more := map[string]any{"delivery": settings}
			if c.format == subscription.FormatCloudEvents || c.format == subscription.FormatBird {
				more["secrets"] = []any{map[string]any{"text": vectorSecret}}
			}
			id := r.vendor(c.format, endpoint.URL, more)
			r.publish("a.b", "one")
			var attempts []journal.Attempt
			eventually(t, "the attempt", func() bool { attempts = r.attempts(id); return len(attempts) == 1 })
			rows, err := r.journal.View().Retries(t.Context(), id, 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			var reason string
			if letters := r.deadLetters(id); len(letters) == 1 {
				reason = letters[0].Reason
			}
			if reason != c.dead || attempts[0].Success != (c.wait == 0 && c.dead == "") {
				t.Errorf("%s: dead letter for %q, the attempt is %+v", c.reason, reason, attempts[0])
			}
			if c.wait == 0 {
				if len(rows) != 0 {
					t.Errorf("%s: it is to be tried again at %s", c.reason, rows[0].Due)
				}

				return
			}
			if len(rows) != 1 {
				t.Fatalf("%s: %d retries: want one", c.reason, len(rows))
			}
			if wait := rows[0].Due.Sub(attempts[0].At); (wait - c.wait).Abs() > c.wait/10 {
				t.Errorf("%s: it waits %s, want about %s", c.reason, wait, c.wait)
			}
			if current, ok := r.registry.Current(id); !ok || current.State.IsSuspended() {
				t.Errorf("%s: the subscription is suspended", c.reason)
			}
		})
	}
}

// impatient is Vonage's notification with another timeout.
type impatient struct {
	vonage.Notification

	timeout time.Duration
}

func (i impatient) Timeout() time.Duration { return i.timeout }

func TestVendorsTimeout(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason   string
		format   time.Duration
		own      time.Duration
		answered bool
	}{
		"OfTheFormat":       {reason: "the receiver takes longer than the format allows", format: 50 * time.Millisecond},
		"OfTheSubscription": {reason: "the subscription's is longer than the format's", format: 50 * time.Millisecond, own: 20 * time.Second, answered: true},
		"Shorter":           {reason: "the subscription's is shorter than the format's", format: 20 * time.Second, own: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(c2 *Config) {
				c2.Notifications = map[subscription.Format]subscription.Notification{subscription.FormatVonage: impatient{timeout: c.format}}
			})
			endpoint := newReceiver(t)
			release := make(chan struct{})
			var once sync.Once
			let := func() { once.Do(func() { close(release) }) }
			t.Cleanup(let)
			endpoint.respond(func(http.ResponseWriter, string, int) { <-release })
			id := r.vendor(subscription.FormatVonage, endpoint.URL, map[string]any{
				"delivery": map[string]any{"format": "Vonage", "timeoutNanoseconds": c.own},
			})
			r.publish("a.b", "one")
			if c.answered {
				eventually(t, "the request", func() bool { tried, _, _ := endpoint.counts(); return tried > 0 })
				time.Sleep(3 * c.format)
				let()
			}
			var attempts []journal.Attempt
			eventually(t, "the attempt", func() bool { attempts = r.attempts(id); return len(attempts) == 1 })
			if attempts[0].Success != c.answered || !c.answered && attempts[0].ResponseText != "The endpoint did not answer in time" {
				t.Errorf("%s: %+v", c.reason, attempts[0])
			}
		})
	}
}

func TestWhatAFormatCannotTell(t *testing.T) {
	t.Parallel()
	endpoint := newReceiver(t)
	r := newRig(t, vendors)
	id := r.vendor(subscription.FormatVonage, endpoint.URL, nil)
	body := `{"specversion":"1.0","id":"b","source":"/test","type":"a.b","data_base64":"AAAA"}`
	if _, err := r.journal.Append(t.Context(), []journal.Event{{
		Tenant: tenant, Source: "/test", ID: "b", Type: "a.b", Accepted: r.clock.Now(), Body: []byte(body),
	}}); err != nil {
		t.Fatal(err)
	}
	var letters []journal.DeadLetter
	eventually(t, "the dead letter", func() bool { letters = r.deadLetters(id); return len(letters) == 1 })
	want := "The event cannot be told in the format Vonage: writing a notification: the event's data is binary, " +
		"and Vonage's envelope carries JSON alone"
	got := letters[0]
	if got.Reason != journal.ReasonPayloadRejected || got.Last == nil || got.Last.ResponseText != want || got.Last.ResponseCode != 0 ||
		string(got.Event.Body) != body {
		t.Errorf("the dead letter is %+v, its attempt %+v", got, got.Last)
	}
	if attempt, err := r.engine.Resend(t.Context(), id, got.Seq); err != nil || attempt.Success || attempt.ResponseText != want {
		t.Errorf("resent: %+v, %v", attempt, err)
	}
	if tried, _, _ := endpoint.counts(); tried != 0 {
		t.Errorf("%d requests were made", tried)
	}
}

// TestFirstOutlastsARestart: an event without a time is told with that of its acceptance, at each attempt.
func TestFirstOutlastsARestart(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now().Truncate(time.Second))
	endpoint := newReceiver(t)
	endpoint.always(http.StatusBadGateway)
	r := newRigAt(t, clock, vendors)
	id := r.vendor(subscription.FormatVonage, endpoint.URL, nil)
	accepted := clock.Now()
	r.publish("a.b", "one")
	eventually(t, "the first attempt", func() bool { return len(r.attempts(id)) == 1 })
	r.stop()
	r.close()
	clock.Advance(time.Minute)
	r.open()
	r.run()
	eventually(t, "the second attempt", func() bool { return len(r.attempts(id)) == 2 })
	endpoint.mu.Lock()
	defer endpoint.mu.Unlock()
	if !bytes.Equal(endpoint.bodies[0], endpoint.bodies[1]) {
		t.Errorf("the first attempt told %s, the second %s", endpoint.bodies[0], endpoint.bodies[1])
	}
	if want := accepted.UTC().Format("2006-01-02T15:04:05.0000000Z"); !strings.Contains(string(endpoint.bodies[1]), want) {
		t.Errorf("%s does not tell %s", endpoint.bodies[1], want)
	}
	if endpoint.headers[0].Get("Vonage-Signature") == endpoint.headers[1].Get("Vonage-Signature") {
		t.Error("the second attempt was not signed anew")
	}
}

// misnamed is Vonage's notification under a wrong name, or with a wrong schedule.
type misnamed struct {
	vonage.Notification

	schedule []time.Duration
}

func (m misnamed) Schedule() []time.Duration { return m.schedule }

func TestNotificationsThatAreRefused(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, fs: vfs.NewMem(), clock: clockwork.NewRealClock()}
	r.open()
	t.Cleanup(r.close)
	for name, c := range map[string]struct {
		of   subscription.Format
		one  subscription.Notification
		want string
	}{
		"ItsOwn":   {subscription.FormatCloudEvents, vonage.Notification{}, `Notifications has the format "CloudEvents": it is the engine's own, leave it out`},
		"Another":  {subscription.FormatDixa, vonage.Notification{}, "Notifications has another format's notification, or none, for Dixa"},
		"None":     {subscription.FormatDixa, nil, "Notifications has another format's notification, or none, for Dixa"},
		"Timeless": {subscription.FormatVonage, impatient{}, "the notification for Vonage has a timeout of 0s: it must be positive"},
		"Schedule": {subscription.FormatVonage, misnamed{}, "the notification for Vonage: the retry schedule is empty: give at least the first attempt's wait, 0s"},
	} {
		_, err := New(Config{
			Journal: r.journal, Registry: r.registry, Notifications: map[subscription.Format]subscription.Notification{c.of: c.one},
		})
		if diff := cmp.Diff(c.want, fmt.Sprint(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestPasses: an event that a subscription's own filters hold back is as unmatched for it, after a restart too.
func TestPasses(t *testing.T) {
	t.Parallel()
	filtered, open := newReceiver(t), newReceiver(t)
	r := newRig(t, func(c *Config) {
		c.Passes = func(sub *registry.Subscription, among []*registry.Subscription, eventType string, event []byte) bool {
			if !slices.Contains(among, sub) {
				t.Errorf("%s is not among what matched", sub.Name)
			}

			return sub.Name != "sub-1" || eventType == "a.b" && strings.Contains(string(event), `"id":"in`)
		}
	})
	id := r.subscribe(filtered.URL, nil)
	only := r.publish("a.b", "out-0")
	r.settledTo(only[0])
	if unmatched, err := r.journal.View().IsUnmatched(t.Context(), only[0]); err != nil || !unmatched {
		t.Errorf("what passed nowhere is unmatched: %t, %v", unmatched, err)
	}
	r.subscribe(open.URL, nil)
	seqs := r.publish("a.b", "in-1", "out-1", "in-2")
	open.got(t, 3)
	filtered.got(t, 2)
	r.settledTo(seqs[2])
	if unmatched, err := r.journal.View().IsUnmatched(t.Context(), seqs[1]); err != nil || unmatched {
		t.Errorf("what passed elsewhere is unmatched: %t, %v", unmatched, err)
	}
	r.stop()
	more := r.publish("a.b", "out-3", "in-3")
	r.close()
	r.open()
	r.run()
	filtered.got(t, 3)
	r.settledTo(more[1])
	if tried, _, most := filtered.counts(); tried != 3 || most != 1 {
		t.Errorf("%d events were sent, one of them %d times: want 3, once each", tried, most)
	}
	if backlog, retries := r.rows(id); backlog+retries != 0 {
		t.Errorf("%d rows wait", backlog+retries)
	}
}
