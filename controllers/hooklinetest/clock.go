package hooklinetest

import (
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"k8s.io/client-go/util/workqueue"
	kclock "k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// clockStep is how often, in real time, a Clock is moved on.
const clockStep = 10 * time.Millisecond

// Clock goes at the speed of the system's clock, and can be put forward: what waits for a time that has then
// come goes on at once. It never goes back. Stop it when the test is over.
type Clock struct {
	*clockwork.FakeClock

	stop sync.Once
	done chan struct{}
	gone chan struct{}
}

// NewClock starts a clock at the system's time.
func NewClock() *Clock {
	c := &Clock{
		FakeClock: clockwork.NewFakeClockAt(time.Now()),
		done:      make(chan struct{}),
		gone:      make(chan struct{}),
	}
	go c.run()

	return c
}

func (c *Clock) run() {
	defer close(c.gone)
	ticker := time.NewTicker(clockStep)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-c.done:
			return
		case <-ticker.C:
			now := time.Now()
			c.Advance(now.Sub(last))
			last = now
		}
	}
}

// Stop stops the clock; its time stays what it is. It may be called more than once.
func (c *Clock) Stop() {
	c.stop.Do(func() { close(c.done) })
	<-c.gone
}

// newQueue is a work queue whose delays follow the clock.
func newQueue(clock clockwork.Clock) func(
	string, workqueue.TypedRateLimiter[reconcile.Request],
) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	return func(
		name string, limiter workqueue.TypedRateLimiter[reconcile.Request],
	) workqueue.TypedRateLimitingInterface[reconcile.Request] {
		return workqueue.NewTypedRateLimitingQueueWithConfig(limiter,
			workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{Name: name, Clock: queueClock{clock}})
	}
}

// queueClock is a clockwork.Clock in the form that work queues ask for.
type queueClock struct{ clockwork.Clock }

var _ kclock.WithTicker = queueClock{}

// NewTimer implements clock.Clock.
func (c queueClock) NewTimer(d time.Duration) kclock.Timer { return queueTimer{c.Clock.NewTimer(d)} }

// NewTicker implements clock.WithTicker.
func (c queueClock) NewTicker(d time.Duration) kclock.Ticker {
	return queueTicker{c.Clock.NewTicker(d)}
}

// Tick implements clock.Clock.
func (c queueClock) Tick(d time.Duration) <-chan time.Time { return c.Clock.NewTicker(d).Chan() }

type queueTimer struct{ clockwork.Timer }

// C implements clock.Timer.
func (t queueTimer) C() <-chan time.Time { return t.Chan() }

type queueTicker struct{ clockwork.Ticker }

// C implements clock.Ticker.
func (t queueTicker) C() <-chan time.Time { return t.Chan() }
