package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxHosts is over how many loopback addresses the endpoints are spread: endpoints are hosts
	// of their own in earnest, and the client keeps connections by host.
	maxHosts = 100
	// endpointPath comes before the number of the endpoint.
	endpointPath = "/e/"
	// requestTimeout bounds what a receiver or a publisher waits for.
	requestTimeout = 30 * time.Second
)

// receiver is every endpoint: one HTTP server on all loopback addresses.
type receiver struct {
	port   int
	server *http.Server
	failed chan error
	bodies sync.Pool
	// current takes down what arrives; nil: nothing does.
	current atomic.Pointer[collector]
}

// collector takes down the deliveries of one load. The first fields are set before it is used.
type collector struct {
	// load is the load's number; deliveries of others are answered and not counted.
	load  int64
	began time.Time
	// keep has the latency of each delivery kept, of the endpoints that count.
	keep   bool
	counts func(endpoint int) bool
	// answer is nil where every delivery is answered with 204 at once.
	answer func(endpoint int, of stamp, w http.ResponseWriter, r *http.Request)

	received atomic.Int64
	// first and last are when deliveries arrived, in nanoseconds since began; 0: none did.
	first, last atomic.Int64

	mu        sync.Mutex
	latencies []time.Duration
}

func listen(ctx context.Context) (*receiver, error) {
	var config net.ListenConfig

	listener, err := config.Listen(ctx, "tcp4", ":0")
	if err != nil {
		return nil, fmt.Errorf("listening for deliveries: %w", err)
	}

	address, _ := listener.Addr().(*net.TCPAddr)
	r := &receiver{port: address.Port, failed: make(chan error, 1)}
	r.bodies.New = func() any { return new(bytes.Buffer) }
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: requestTimeout}

	go func() { r.failed <- r.server.Serve(listener) }()

	return r, nil
}

func (r *receiver) close() error {
	err := r.server.Close()
	if failed := <-r.failed; !errors.Is(failed, http.ErrServerClosed) {
		err = errors.Join(err, failed)
	}

	if err != nil {
		return fmt.Errorf("receiving deliveries: %w", err)
	}

	return nil
}

// endpointURL is the address of an endpoint.
func endpointURL(port, endpoint int) string {
	return fmt.Sprintf("http://127.0.1.%d:%d%s%d", endpoint%maxHosts+1, port, endpointPath, endpoint)
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, _ := r.bodies.Get().(*bytes.Buffer)
	defer r.bodies.Put(body)
	body.Reset()

	if _, err := body.ReadFrom(request.Body); err != nil {
		return
	}

	now := time.Now()
	c := r.current.Load()
	of, ok := readStamp(body.Bytes())

	if c == nil || !ok || of.load != c.load {
		w.WriteHeader(http.StatusNoContent)

		return
	}

	endpoint, _ := strconv.Atoi(strings.TrimPrefix(request.URL.Path, endpointPath))
	c.take(endpoint, of, now)

	if c.answer == nil {
		w.WriteHeader(http.StatusNoContent)

		return
	}

	c.answer(endpoint, of, w, request)
}

// take counts a delivery.
func (c *collector) take(endpoint int, of stamp, now time.Time) {
	at := now.Sub(c.began)
	c.first.CompareAndSwap(0, int64(at))

	for last := c.last.Load(); int64(at) > last && !c.last.CompareAndSwap(last, int64(at)); {
		last = c.last.Load()
	}

	if c.keep && (c.counts == nil || c.counts(endpoint)) {
		c.mu.Lock()
		c.latencies = append(c.latencies, at-of.meant)
		c.mu.Unlock()
	}

	c.received.Add(1)
}

// kept is how many latencies there are so far.
func (c *collector) kept() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()

	return int64(len(c.latencies))
}

// samples are the latencies so far.
func (c *collector) samples() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()

	return append([]time.Duration(nil), c.latencies...)
}
