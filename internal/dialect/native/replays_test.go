package native_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/ksuid"

	"github.com/hookline-dev/hookline/internal/dialect/native"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// StartReplay, and the others, write down what an engine would, which sends nothing yet.
func (o operations) StartReplay(ctx context.Context, id string, want native.ReplayRequest) (native.Replay, error) {
	now := o.stage.clock.Now().UTC()
	row := journal.Replay{
		Subscription: id, ID: ksuid.New().String(), Tenant: o.tenant, State: journal.ReplayRunning, From: want.From, To: now,
		FailuresOnly: want.FailuresOnly, RateLimit: 50, Start: 1, End: 11, StartedAt: now, UpdatedAt: now,
	}
	if want.RateLimit != nil {
		row.RateLimit = *want.RateLimit
	}
	if want.From.IsZero() && !want.FailuresOnly {
		return native.Replay{}, &subscription.InvalidError{Field: "from", Message: "it is missing"}
	}
	rows, err := o.stage.journal.View().Replays(ctx, id)
	if slices.ContainsFunc(rows, func(row journal.Replay) bool { return row.State == journal.ReplayRunning }) {
		return native.Replay{}, &native.ConflictError{Message: "another replay is running: pause or cancel it"}
	}

	return o.replayOf(row), errors.Join(err, o.write(ctx, row))
}

func (o operations) write(ctx context.Context, row journal.Replay) error {
	return o.stage.journal.Settle(ctx, 0, o.stage.epoch, journal.Batch{Replays: []journal.Replay{row}})
}

func (o operations) replayOf(row journal.Replay) native.Replay {
	return native.Replay{
		ID: row.ID, State: string(row.State), From: row.From, To: row.To, FailuresOnly: row.FailuresOnly, RateLimit: row.RateLimit,
		Progress: native.ReplayProgress{Remaining: 10}, StartedAt: row.StartedAt, UpdatedAt: row.UpdatedAt,
	}
}

func (o operations) Replays(ctx context.Context, id string) ([]native.Replay, error) {
	rows, err := o.stage.journal.View().Replays(ctx, id)
	var out []native.Replay
	for _, row := range slices.Backward(rows) {
		out = append(out, o.replayOf(row))
	}

	return out, err
}

func (o operations) Replay(ctx context.Context, id, replay string) (native.Replay, error) {
	all, err := o.Replays(ctx, id)
	for _, one := range all {
		if one.ID == replay {
			return one, nil
		}
	}

	return native.Replay{}, errors.Join(err, native.ErrNoReplay)
}

func (o operations) SetReplayState(ctx context.Context, id, replay, state string) (native.Replay, error) {
	rows, err := o.stage.journal.View().Replays(ctx, id)
	for _, row := range rows {
		if row.ID != replay {
			continue
		}
		if !row.State.Open() {
			return native.Replay{}, &native.ConflictError{Field: "state", Message: "the replay has ended"}
		}
		row.State = journal.ReplayState(state)

		return o.replayOf(row), o.write(ctx, row)
	}

	return native.Replay{}, errors.Join(err, native.ErrNoReplay)
}

func (o operations) CancelReplay(ctx context.Context, id, replay string) error {
	_, err := o.SetReplayState(ctx, id, replay, string(journal.ReplayCancelled))

	return err
}

// TestReplaysOfARealDispatcher sends a time again, and dead letters, through a whole dispatcher.
func TestReplaysOfARealDispatcher(t *testing.T) {
	t.Parallel()
	var (
		mu       sync.Mutex
		code     = http.StatusTeapot
		received = map[string]int{}
	)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		received[r.Header.Get("Webhook-Id")]++
		w.WriteHeader(code)
	}))
	t.Cleanup(receiver.Close)
	s := &stage{url: startDispatcher(t), log: &log{}}
	created, err := s.client(t, support).Create(t.Context(), subscription.Draft{
		Name: "orders", URL: receiver.URL, Events: []string{"order.*"}, Enabled: true, Delivery: subscription.Delivery{MaxAttempts: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := "/webhooks/subscriptions/" + created.ID
	from := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	for _, id := range []string{"1", "2"} {
		event := `{"specversion":"1.0","id":"` + id + `","source":"/shop","type":"order.paid","data":{}}`
		header := as(support)
		header.Set("Content-Type", "application/cloudevents+json")
		if response, body := s.send(t, http.MethodPost, "/events", header, event); response.StatusCode != http.StatusAccepted {
			t.Fatalf("publishing: %d %s", response.StatusCode, body)
		}
	}
	letters := func() int {
		_, body := s.send(t, http.MethodGet, path+"/dead-letters", as(support), "")
		var page struct {
			DeadLetters []json.RawMessage `json:"deadLetters"`
		}
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err)
		}

		return len(page.DeadLetters)
	}
	until(t, "two dead letters", func() bool { return letters() == 2 })
	mu.Lock()
	code = http.StatusOK
	mu.Unlock()
	for n, request := range []string{`{"failuresOnly":true}`, `{"from":"` + from + `","rateLimit":1000}`} {
		var started, now native.Replay
		s.call(t, http.MethodPost, path+"/replays", request, &started)
		until(t, "the replay to end", func() bool {
			s.call(t, http.MethodGet, path+"/replays/"+started.ID, "", &now)

			return now.State == "Done"
		})
		if now.Progress.Delivered != 2 || now.Progress.Remaining != 0 {
			t.Errorf("%s: %+v", request, now)
		}
		mu.Lock()
		for id, times := range received {
			if times != 2+n || len(received) != 2 {
				t.Errorf("%s: %s came %d times", request, id, times)
			}
		}
		mu.Unlock()
	}
	if n := letters(); n != 0 {
		t.Errorf("%d dead letters are left", n)
	}
	var failure native.Error
	for change, status := range map[string]int{`{"state":"Paused"}`: http.StatusConflict, `{"state":"Done"}`: http.StatusBadRequest} {
		var list struct {
			Replays []native.Replay `json:"replays"`
		}
		s.call(t, http.MethodGet, path+"/replays", "", &list)
		response, body := s.send(t, http.MethodPatch, path+"/replays/"+list.Replays[0].ID, as(support), change)
		if err := json.Unmarshal([]byte(body), &failure); err != nil || response.StatusCode != status || failure.Field != "state" {
			t.Errorf("%s: %d %s", change, response.StatusCode, body)
		}
	}
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
