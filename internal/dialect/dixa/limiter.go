package dixa

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"golang.org/x/time/rate"
)

// maxLimited bounds how many tokens are limited at once.
const maxLimited = 4096

// limiters hold one token each to what the vendor allows. The vendor's daily bound, 864,000, is ten a
// second for a day, and so is no other bound.
type limiters struct {
	clock clockwork.Clock

	mu      sync.Mutex
	byToken map[[sha256.Size]byte]*rate.Limiter
}

func newLimiters(clock clockwork.Clock) *limiters {
	return &limiters{clock: clock, byToken: map[[sha256.Size]byte]*rate.Limiter{}}
}

// allow takes one request of a token, or tells how long it has to wait.
func (l *limiters) allow(token string) (wait time.Duration, ok bool) {
	// The token itself is kept nowhere.
	key := sha256.Sum256([]byte(token))
	now := l.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter, found := l.byToken[key]
	if !found {
		l.makeRoom(now)
		limiter = rate.NewLimiter(RequestsPerSecond, Burst)
		l.byToken[key] = limiter
	}
	if limiter.AllowN(now, 1) {
		return 0, true
	}
	lacking := 1 - limiter.TokensAt(now)

	return time.Duration(lacking / RequestsPerSecond * float64(time.Second)), false
}

// makeRoom drops limiters that have all their burst again, which new ones would have too; where that is
// not enough, any one, which gives its token a burst more.
func (l *limiters) makeRoom(now time.Time) {
	if len(l.byToken) < maxLimited {
		return
	}
	for key, limiter := range l.byToken {
		if limiter.TokensAt(now) >= Burst {
			delete(l.byToken, key)
		}
	}
	for key := range l.byToken {
		if len(l.byToken) < maxLimited {
			return
		}
		delete(l.byToken, key)
	}
}
