package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
)

// fanOutParam tells a bare subject how many endpoints an event goes to.
const fanOutParam = "fanOut"

// bare is the limit that net/http sets: it reads a publish, answers 202 and posts the body on.
// It parses, matches, signs and remembers nothing. Like the dispatcher it has at most
// delivery.DefaultMaxInFlight posts under way; a publisher beyond waits.
type bare struct {
	urls      []string
	transport *http.Transport
	slots     chan struct{}
	next      atomic.Uint64
}

// newBare posts to the receivers at a port.
func newBare(port int) *bare {
	// The limits are those of the dispatcher's client.
	const perHost, idle = 16, 1024

	dialer := &net.Dialer{Timeout: requestTimeout}
	b := &bare{
		transport: &http.Transport{
			DialContext: dialer.DialContext, MaxIdleConns: idle, MaxIdleConnsPerHost: perHost, DisableCompression: true,
		},
		slots: make(chan struct{}, delivery.DefaultMaxInFlight),
	}
	for endpoint := range maxHosts {
		b.urls = append(b.urls, endpointURL(port, endpoint))
	}

	return b
}

// ServeHTTP implements http.Handler.
func (b *bare) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer

	body.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)

	if _, err := body.ReadFrom(r.Body); err != nil {
		return
	}

	fanOut, err := strconv.Atoi(r.URL.Query().Get(fanOutParam))
	if err != nil {
		http.Error(w, fanOutParam+" is not a number", http.StatusBadRequest)

		return
	}

	for range fanOut {
		url := b.urls[b.next.Add(1)%uint64(len(b.urls))]
		b.slots <- struct{}{}

		// The post outlives the request, and is bounded by its own timeout.
		go b.post(context.WithoutCancel(r.Context()), url, body.Bytes())
	}

	w.WriteHeader(http.StatusAccepted)
}

func (b *bare) post(ctx context.Context, url string, body []byte) {
	defer func() { <-b.slots }()

	ctx, cancel := context.WithTimeout(ctx, delivery.DefaultTimeout)
	defer cancel()

	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return
	}

	request.Header.Set("Content-Type", "application/cloudevents+json")

	// What fails does not arrive, and what does not arrive fails the load.
	response, err := b.transport.RoundTrip(request)
	if err != nil {
		return
	}

	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
}

var _ http.Handler = (*bare)(nil)
