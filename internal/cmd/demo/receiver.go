package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// maxReceived bounds a delivery's body, in bytes; the demo's events are far smaller.
const maxReceived = 1 << 20

// tally is what arrived at one path of the receiver.
type tally struct {
	// Requests counts every request; Verified those whose signature verified.
	Requests int
	Verified int
	// Delivered counts the different webhook-ids that were answered with success.
	Delivered int
	// Rejected counts answers that were not a success, by the path's own script.
	Rejected int
	// Types are the event types received, in order of first arrival.
	Types []string
	// Problem is the latest signature that did not verify, and why.
	Problem string
	// First is when the first delivery verified.
	First time.Time

	attempts  map[string]int
	delivered map[string]bool
}

// receiver is an endpoint for webhooks: it verifies every signature by an independent
// library, and answers as each path's script says.
type receiver struct {
	server *http.Server
	addr   string
	// secret returns the signing secret of the subscription that a path stands for.
	secret func(ctx context.Context, name string) (string, error)

	mu      sync.Mutex
	tallies map[string]*tally
}

// script says how a path answers the nth attempt of one delivery, counted from 1.
type script func(attempt int) int

// failingAttempts is how often the flaky path refuses a delivery before it accepts it.
const failingAttempts = 2

// scripts by the name of the sample; every other path accepts at once.
var scripts = map[string]script{
	"flaky": func(attempt int) int {
		if attempt <= failingAttempts {
			return http.StatusServiceUnavailable
		}

		return http.StatusOK
	},
	"gone": func(int) int { return http.StatusGone },
}

// listen opens the receiver on the address, or on a free port where that one is taken.
func (r *receiver) listen(ctx context.Context, address string) error {
	var config net.ListenConfig

	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		listener, err = config.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return fmt.Errorf("opening the receiver: %w", err)
	}

	r.addr = listener.Addr().String()
	r.tallies = map[string]*tally{}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: stepTimeout, ReadTimeout: stepTimeout}

	go func() {
		if err := r.server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			r.note("", err)
		}
	}()

	return nil
}

// ServeHTTP takes one delivery.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	name := strings.Trim(req.URL.Path, "/")

	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxReceived))
	if err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)

		return
	}

	secret, err := r.secret(req.Context(), name)
	if err == nil {
		err = verify(secret, body, req.Header)
	}
	if err != nil {
		r.note(name, err)
		http.Error(w, "the signature does not verify", http.StatusUnauthorized)

		return
	}

	status := r.take(name, req.Header.Get("webhook-id"), eventType(body))
	w.WriteHeader(status)
}

func verify(secret string, body []byte, header http.Header) error {
	webhook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return fmt.Errorf("reading the signing secret: %w", err)
	}

	if err := webhook.Verify(body, header); err != nil {
		return fmt.Errorf("verifying the signature: %w", err)
	}

	return nil
}

// take counts a verified delivery and decides on the answer.
func (r *receiver) take(name, id, event string) int {
	r.mu.Lock()
	defer r.mu.Unlock()

	t := r.tally(name)
	t.Requests++
	t.Verified++
	t.attempts[id]++

	if t.First.IsZero() {
		t.First = time.Now()
	}

	if !slices.Contains(t.Types, event) {
		t.Types = append(t.Types, event)
	}

	status := http.StatusOK
	if answer, ok := scripts[name]; ok {
		status = answer(t.attempts[id])
	}

	if status/100 != 2 {
		t.Rejected++

		return status
	}

	if !t.delivered[id] {
		t.delivered[id] = true
		t.Delivered++
	}

	return status
}

func (r *receiver) note(name string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()

	t := r.tally(name)
	t.Requests++
	t.Problem = err.Error()
}

// tally returns a path's counts; the caller holds the lock.
func (r *receiver) tally(name string) *tally {
	t, ok := r.tallies[name]
	if !ok {
		t = &tally{attempts: map[string]int{}, delivered: map[string]bool{}}
		r.tallies[name] = t
	}

	return t
}

// snapshot returns a copy of one path's counts.
func (r *receiver) snapshot(name string) tally {
	r.mu.Lock()
	defer r.mu.Unlock()

	t, ok := r.tallies[name]
	if !ok {
		return tally{}
	}

	out := *t
	out.Types = append([]string(nil), t.Types...)
	out.attempts, out.delivered = nil, nil

	return out
}

// firstVerified is when the first delivery of all verified; zero before.
func (r *receiver) firstVerified() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()

	var first time.Time
	for _, t := range r.tallies {
		if !t.First.IsZero() && (first.IsZero() || t.First.Before(first)) {
			first = t.First
		}
	}

	return first
}

// eventType is the type of a CloudEvent in structured mode; empty where there is none.
func eventType(body []byte) string {
	var event struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(body, &event) != nil {
		return ""
	}

	return event.Type
}
