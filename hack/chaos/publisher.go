package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// requestLimit bounds one request of a publisher.
	requestLimit = 10 * time.Second
	// resendAfter is the least a publisher waits before it sends again what was not acknowledged.
	resendAfter = 50 * time.Millisecond
	// maxResendAfter bounds what a publisher makes of a Retry-After.
	maxResendAfter = time.Second
	// maxBatch is the most events of one request.
	maxBatch = 8
	// generationHeader numbers the dispatcher that answered, in runs with power cuts.
	generationHeader = "X-Generation"
)

// publishers send events of several tenants at a common rate, and send again whatever was not
// acknowledged, with the same ids.
type publishers struct {
	book   *book
	url    string
	source string
	size   int
	client *http.Client
	pace   *rate.Limiter
	seed   uint64
	// left is how many more events may be published.
	left atomic.Int64

	statuses sync.Map // of int to *atomic.Int64
	cutOff   atomic.Int64
	// watch sees every answer; nil does not look.
	watch func(status int, took time.Duration)

	done sync.WaitGroup
	// stop ends the publishing of new events; what is under way is still settled.
	stop     chan struct{}
	stopOnce sync.Once
}

// newPublishers publish to a dispatcher's URL, at most events in all.
func newPublishers(b *book, url string, perSecond float64, events int64, seed uint64) *publishers {
	p := &publishers{
		book: b, url: url, source: "/chaos", size: 256, seed: seed, stop: make(chan struct{}),
		pace: rate.NewLimiter(rate.Limit(perSecond), max(maxBatch, int(perSecond/10))),
		client: &http.Client{Timeout: requestLimit, Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: time.Second}).DialContext, MaxIdleConnsPerHost: 256,
		}},
	}
	p.left.Store(events)

	return p
}

// start has one more publisher publish events of some types for a tenant.
func (p *publishers) start(ctx context.Context, name, tenant, token string, types []string) {
	one := &publisher{
		publishers: p, name: name, tenant: tenant, token: token, types: types,
		dice: rand.New(rand.NewPCG(p.seed, uint64(len(name))<<32+hash(name))), //nolint:gosec // As above.
	}

	p.done.Go(func() { one.run(ctx) })
}

// finish stops publishing, and waits until everything that was sent is acknowledged or the
// context ends.
func (p *publishers) finish() {
	p.stopOnce.Do(func() { close(p.stop) })
	p.done.Wait()
	p.client.CloseIdleConnections()
}

// answers are how often each status was answered.
func (p *publishers) answers() map[string]int64 {
	out := map[string]int64{}

	p.statuses.Range(func(key, value any) bool {
		out[strconv.Itoa(key.(int))] = value.(*atomic.Int64).Load() //nolint:forcetypeassert // Nothing else is stored.

		return true
	})

	if n := p.cutOff.Load(); n > 0 {
		out["cut off"] = n
	}

	return out
}

func (p *publishers) counted(status int, took time.Duration) {
	value, _ := p.statuses.LoadOrStore(status, &atomic.Int64{})
	value.(*atomic.Int64).Add(1) //nolint:forcetypeassert // Nothing else is stored.

	if p.watch != nil {
		p.watch(status, took)
	}
}

// publisher sends one tenant's events, one request after the other.
type publisher struct {
	*publishers

	name, tenant, token string
	types               []string
	dice                *rand.Rand
	n                   int
}

func (p *publisher) run(ctx context.Context) {
	pacing, cancel := context.WithCancel(ctx)
	defer cancel()

	go func() {
		select {
		case <-p.stop:
		case <-pacing.Done():
		}

		cancel()
	}()

	for {
		size := 1 + p.dice.IntN(maxBatch)
		if p.left.Add(int64(-size)) < 0 || p.pace.WaitN(pacing, size) != nil {
			return
		}

		if err := p.publish(ctx, size); err != nil {
			p.book.complainf("publishing", "%s: %v", p.name, err)

			return
		}
	}
}

// publish sends one batch until each of its events is acknowledged.
func (p *publisher) publish(ctx context.Context, size int) error {
	batch := make([]wireEvent, 0, size)

	for range size {
		p.n++
		eventType := p.types[p.dice.IntN(len(p.types))]
		p.book.sending(p.tenant, p.name, p.n, eventType)

		event, err := newEvent(p.source, eventID(p.name, p.n), eventType, p.name, p.size)
		if err != nil {
			return err
		}

		batch = append(batch, event)
	}

	for first := true; len(batch) > 0; first = false {
		left, wait := p.send(ctx, batch, first)
		if batch = left; len(batch) == 0 {
			break
		}

		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(resendAfter, min(wait, maxResendAfter))):
		}
	}

	return nil
}

// outcome is the answer to a publisher.
type outcome struct {
	Type    string `json:"type"`
	Detail  string `json:"detail"`
	Results []struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		Reason string `json:"reason"`
	} `json:"results"`
}

// send sends a batch once. It returns what must be sent again, and how long to wait.
func (p *publisher) send(ctx context.Context, batch []wireEvent, first bool) (left []wireEvent, wait time.Duration) {
	status, header, answer, err := p.post(ctx, batch)
	if err != nil {
		p.cutOff.Add(1)

		return batch, 0
	}

	seconds, _ := strconv.Atoi(header.Get("Retry-After"))
	wait = time.Duration(seconds) * time.Second

	switch {
	case status == http.StatusAccepted && len(answer.Results) == len(batch):
	case status == http.StatusServiceUnavailable, status == http.StatusInsufficientStorage, status == http.StatusTooManyRequests:
		return batch, wait
	default:
		p.book.complainf("refused", "a sound batch of %s was answered %d %s %s", p.tenant, status, answer.Type, answer.Detail)
		p.withdraw(batch)

		return nil, 0
	}

	generation, _ := strconv.Atoi(header.Get(generationHeader))

	for i, result := range answer.Results {
		switch {
		case result.ID != batch[i].ID:
			p.book.complainf("results", "event %s was answered for with the id %s", batch[i].ID, result.ID)
		case result.Status == "duplicate" && first:
			p.book.complainf("results", "event %s was called a duplicate when it was first sent", result.ID)
		}

		switch result.Status {
		case "accepted", "duplicate":
			if !p.book.acknowledged(p.tenant, batch[i].ID, generation) {
				left = append(left, batch[i])
			}
		default:
			p.book.complainf("refused", "the sound event %s of %s is %s: %s", batch[i].ID, p.tenant, result.Status, result.Reason)
			p.withdraw(batch[i : i+1])
		}
	}

	return left, 0
}

func (p *publisher) withdraw(batch []wireEvent) {
	for _, event := range batch {
		p.book.withdraw(p.tenant, event.ID)
	}
}

// post makes one request.
func (p *publisher) post(ctx context.Context, batch []wireEvent) (status int, header http.Header, answer outcome, err error) {
	body, err := json.Marshal(batch)
	if err != nil {
		return 0, nil, answer, fmt.Errorf("writing a batch: %w", err)
	}

	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/events", bytes.NewReader(body))
	if err != nil {
		return 0, nil, answer, fmt.Errorf("making a request: %w", err)
	}

	// A request that was cut off may have been kept: it is for this program to say what comes next.
	request.GetBody = nil
	request.Header.Set("Authorization", "Bearer "+p.token)
	request.Header.Set("Content-Type", "application/cloudevents-batch+json")

	began := time.Now()

	response, err := p.client.Do(request)
	if err != nil {
		return 0, nil, answer, fmt.Errorf("publishing: %w", err)
	}

	defer func() { _ = response.Body.Close() }()

	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, answer, fmt.Errorf("reading the answer: %w", err)
	}

	p.counted(response.StatusCode, time.Since(began))

	if err := json.Unmarshal(text, &answer); err != nil {
		return 0, nil, answer, fmt.Errorf("reading the answer %q: %w", text, err)
	}

	return response.StatusCode, response.Header, answer, nil
}
