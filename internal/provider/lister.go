package provider

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Mark is a point in the order of a provider's lists: a list is after a mark when it began after it was taken.
type Mark uint64

// listing is one list, under way or done. done is closed once subs or err is set.
type listing struct {
	number Mark
	began  time.Time
	done   chan struct{}
	subs   map[string]subscription.Subscription
	err    error
	// forsaken: the caller on whose behalf it ran gave up, which says nothing of the provider.
	forsaken bool
}

// write is what a call of ours left behind: the subscription, or nil where it was deleted.
type write struct {
	sub *subscription.Subscription
	at  time.Time
	// number is the latest list begun when the write was done: such a list may have missed it.
	number Mark
}

// lister shares lists among all who wait and lays our own writes over those that may not show them yet.
type lister struct {
	clock clockwork.Clock
	list  func(context.Context) ([]subscription.Subscription, error)
	delay time.Duration

	mu      sync.Mutex
	number  Mark
	running *listing
	latest  *listing
	writes  map[string]write
}

// mark is now in the order of lists.
func (l *lister) mark() Mark {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.number
}

// after is a list begun after the mark, shared with all who wait for such a one.
func (l *lister) after(ctx context.Context, mark Mark) (View, error) {
	for {
		l.mu.Lock()
		if l.latest != nil && l.latest.number > mark {
			view := l.view()
			l.mu.Unlock()

			return view, nil
		}

		current, mine := l.running, false
		if current == nil {
			l.number++
			current, mine = &listing{number: l.number, began: l.clock.Now(), done: make(chan struct{})}, true
			l.running = current
		}
		l.mu.Unlock()

		if mine {
			l.run(ctx, current)
		}

		select {
		case <-current.done:
		case <-ctx.Done():
			return View{}, ctx.Err()
		}

		if err := current.err; err != nil && current.number > mark && !(current.forsaken && ctx.Err() == nil) {
			return View{}, err
		}
	}
}

// within is a list that is no older than age, the one at hand where it is.
func (l *lister) within(ctx context.Context, age time.Duration) (View, error) {
	l.mu.Lock()
	mark := l.number

	if l.latest != nil && l.clock.Since(l.latest.began) < age {
		view := l.view()
		l.mu.Unlock()

		return view, nil
	}

	// A list under way began just now: it serves too.
	if l.running != nil {
		mark = l.running.number - 1
	}
	l.mu.Unlock()

	return l.after(ctx, mark)
}

func (l *lister) run(ctx context.Context, current *listing) {
	subs, err := l.list(ctx)

	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(current.done)

	l.running = nil

	if err != nil {
		current.err, current.forsaken = err, errors.Is(ctx.Err(), context.Canceled)

		return
	}

	current.subs = make(map[string]subscription.Subscription, len(subs))
	for _, sub := range subs {
		current.subs[sub.ID] = sub
	}

	l.latest = current

	for id, w := range l.writes {
		if !l.mayMiss(current, w) {
			delete(l.writes, id)
		}
	}
}

// mayMiss tells whether a list may have missed a write of ours.
func (l *lister) mayMiss(list *listing, w write) bool {
	return list.number <= w.number || list.began.Before(w.at.Add(l.delay))
}

// wrote records what a call of ours left behind; nil: the subscription was deleted.
func (l *lister) wrote(id string, sub *subscription.Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()

	l.writes[id] = write{sub: sub, at: l.clock.Now(), number: l.number}
}

// written is what a call of ours left behind, as long as the provider may not show it yet.
func (l *lister) written(id string) (sub *subscription.Subscription, found bool) {
	l.mu.Lock()
	defer l.mu.Unlock()

	w, found := l.writes[id]
	if !found || !l.clock.Now().Before(w.at.Add(l.delay)) {
		return nil, false
	}

	if w.sub == nil {
		return nil, true
	}

	return new(w.sub.Clone()), true
}

// view is the latest list with our writes laid over it. The caller holds mu.
func (l *lister) view() View {
	over := make(map[string]*subscription.Subscription, len(l.writes))

	for id, w := range l.writes {
		if l.mayMiss(l.latest, w) {
			over[id] = w.sub
		}
	}

	return View{Began: l.latest.began, listed: l.latest.subs, over: over}
}

// View is a list of a provider's subscriptions, and our own writes that it may have missed.
type View struct {
	// Began is when the list began.
	Began time.Time

	listed map[string]subscription.Subscription
	over   map[string]*subscription.Subscription
}

// Get is one subscription, and whether there is one of that id.
func (v View) Get(id string) (subscription.Subscription, bool) {
	if sub, found := v.over[id]; found {
		if sub == nil {
			return subscription.Subscription{}, false
		}

		return sub.Clone(), true
	}

	sub, found := v.listed[id]

	return sub.Clone(), found
}

// Select are the subscriptions that satisfy the test, in no order.
func (v View) Select(test func(subscription.Subscription) bool) []subscription.Subscription {
	var out []subscription.Subscription

	for id, sub := range v.listed {
		if _, found := v.over[id]; !found && test(sub) {
			out = append(out, sub.Clone())
		}
	}

	for _, sub := range v.over {
		if sub != nil && test(*sub) {
			out = append(out, sub.Clone())
		}
	}

	return out
}

// began is when the latest list began; found is false where there was none.
func (l *lister) began() (at time.Time, found bool) {
	l.mu.Lock()
	defer l.mu.Unlock()

	if l.latest == nil {
		return time.Time{}, false
	}

	return l.latest.began, true
}
