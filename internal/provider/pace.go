package provider

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

// paceKey tells whose requests are spaced together: those of one provider, or, where the API counts requests by the
// token, those of all providers with one token that are to keep the same limit.
type paceKey struct {
	uid        types.UID
	url, token string
	rate       int32
	burst      int32
}

func (c Config) paceKey() paceKey {
	if c.Type == v1alpha1.ProviderTypeDixa {
		return paceKey{url: c.URL, token: c.Token, rate: c.RequestsPerSecond, burst: c.Burst}
	}

	return paceKey{uid: c.UID}
}

// pace spaces requests, and keeps off an API that answered "too many requests" until its time has passed.
type pace struct {
	clock clockwork.Clock
	// users counts the accounts, made or being made, that keep this pace; the pool's lock guards it.
	users int

	mu       sync.Mutex
	limiter  *rate.Limiter
	resumeAt time.Time
	// said is how the API explained that it is to be left alone.
	said string
}

// limit sets how many requests may be made; 0 means that they are not limited.
func (p *pace) limit(perSecond, burst int32) {
	p.mu.Lock()
	defer p.mu.Unlock()

	burst = max(burst, 1)

	switch {
	case perSecond <= 0:
		p.limiter = nil
	case p.limiter == nil || p.limiter.Limit() != rate.Limit(perSecond) || p.limiter.Burst() != int(burst):
		p.limiter = rate.NewLimiter(rate.Limit(perSecond), int(burst))
	}
}

// rest is how long the API is left alone yet, and how it explained that.
func (p *pace) rest() (left time.Duration, said string) {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.resumeAt.Sub(p.clock.Now()), p.said
}

// hold leaves the API alone for a time. A longer one that it asked for before stands: answers to requests made at once
// come in any order.
func (p *pace) hold(after time.Duration, said string) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if until := p.clock.Now().Add(after); until.After(p.resumeAt) {
		p.resumeAt, p.said = until, said
	}
}

// turnError answers that a request's turn comes later than a caller is held up for. Nobody was asked.
type turnError struct{ wait time.Duration }

// Error implements error.
func (e *turnError) Error() string {
	return fmt.Sprintf("the rate limit lets no request pass for %s", e.wait)
}

// turn waits for the turn of one request. It answers *turnError where that is further off than MaxLimiterWait.
func (p *pace) turn(ctx context.Context) error {
	p.mu.Lock()
	limiter := p.limiter
	p.mu.Unlock()

	if limiter == nil {
		return nil
	}

	turn := limiter.ReserveN(p.clock.Now(), 1)

	wait := turn.DelayFrom(p.clock.Now())
	if wait > MaxLimiterWait {
		turn.CancelAt(p.clock.Now())

		return &turnError{wait: wait}
	}

	select {
	case <-p.clock.After(wait):
		return nil
	case <-ctx.Done():
		turn.CancelAt(p.clock.Now())

		return ctx.Err()
	}
}

// paced spaces the requests of a client whose calls may make several.
type paced struct {
	pace *pace
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (p *paced) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := p.pace.turn(request.Context()); err != nil {
		if request.Body != nil {
			_ = request.Body.Close() // Nothing was read of it.
		}

		return nil, err
	}

	return p.next.RoundTrip(request)
}
