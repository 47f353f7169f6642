package delivery

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// TestFirstIsTheFirstAttempts: Bird's timestamp is when the first attempt began, however long the event had waited;
// retries keep it, after a restart too, and what is resent has its own.
func TestFirstIsTheFirstAttempts(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.Now().Truncate(time.Second))
	endpoint := newReceiver(t)
	endpoint.always(http.StatusBadGateway)
	r := newRigAt(t, clock, func(c *Config) {
		c.Notifications = map[subscription.Format]subscription.Notification{subscription.FormatBird: bird.Notification{}}
	})
	id := r.vendor(subscription.FormatBird, endpoint.URL, map[string]any{"secrets": []any{map[string]any{"text": "a signing key of Bird's, in any text"}}})
	restart := func(wait time.Duration) {
		r.stop()
		r.close()
		clock.Advance(wait)
		r.open()
		r.run()
	}
	sent := func(at time.Time, count int, reason string) {
		t.Helper()
		eventually(t, reason, func() bool { return len(r.attempts(id)) == count })
		endpoint.mu.Lock()
		defer endpoint.mu.Unlock()
		if got := endpoint.headers[count-1].Get(bird.HeaderTimestamp); got != strconv.FormatInt(at.Unix(), 10) {
			t.Errorf("%s: it tells %s, want that of %s", reason, got, at)
		}
	}

	r.stop()
	positions := r.publish("channels.sms.outbound", "one")
	restart(48 * time.Hour)
	first := clock.Now()
	sent(first, 1, "the first attempt, two days late")
	restart(time.Hour)
	sent(first, 2, "the second attempt")
	restart(time.Hour)
	sent(first, 3, "the third attempt")
	clock.Advance(time.Second)
	if _, err := r.engine.Resend(t.Context(), id, positions[0]); err != nil {
		t.Fatal(err)
	}
	sent(clock.Now(), 4, "one that is sent again on request")
}
