package provider

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// catalogueLead is which part of the interval a catalogue is asked for again before it is as old as a list may be: who
// comes back for the next list then finds the next catalogue too.
const catalogueLead = 10

// catalogue keeps the provider's event types for all who expand patterns from them.
type catalogue struct {
	mu      sync.Mutex
	began   time.Time
	latest  Catalogue
	running *cataloguing
}

// Catalogue is what a provider has to subscribe to, as its latest answer tells it. The slices must not be changed.
type Catalogue struct {
	// Names are the event types, sorted.
	Names []string
	// Earlier is the answer before it, about an interval older; nil where there was none.
	Earlier *Catalogue
}

// Gone tells whether an event type is surely no longer there: two answers, an interval apart, lack it. That one does may be
// an outage, and what is given up for it would be lost.
func (c Catalogue) Gone(name string) bool {
	return c.Earlier != nil && !slices.Contains(c.Names, name) && !slices.Contains(c.Earlier.Names, name)
}

// cataloguing is one request for the catalogue under way. done is closed once names or err is set.
type cataloguing struct {
	done   chan struct{}
	answer Catalogue
	err    error
	// forsaken: the caller on whose behalf it ran gave up, which says nothing of the provider.
	forsaken bool
}

// Catalogue is the provider's catalogue, asked for anew once in the provider's interval, or at once where afresh is set. All
// who wait share one request.
func (a *Account) Catalogue(ctx context.Context, afresh bool) (Catalogue, error) {
	interval := a.Config().Interval
	c := &a.catalogue

	for {
		c.mu.Lock()
		if young := !c.began.IsZero() && a.clock.Since(c.began) < interval-interval/catalogueLead; young && !afresh {
			latest := c.latest
			c.mu.Unlock()

			return latest, nil
		}

		current, mine := c.running, false
		if current == nil {
			current, mine = &cataloguing{done: make(chan struct{})}, true
			c.running = current
		}
		c.mu.Unlock()

		if mine {
			a.runCatalogue(ctx, current)
		}

		select {
		case <-current.done:
		case <-ctx.Done():
			return Catalogue{}, ctx.Err()
		}

		// Who asked for what another gave up asks for itself.
		if !current.forsaken || ctx.Err() != nil {
			return current.answer, current.err
		}
	}
}

func (a *Account) runCatalogue(ctx context.Context, current *cataloguing) {
	began, interval := a.clock.Now(), a.Config().Interval
	types, err := a.EventTypes(ctx)

	a.catalogue.mu.Lock()
	defer a.catalogue.mu.Unlock()
	defer close(current.done)

	a.catalogue.running = nil

	if err != nil {
		current.err, current.forsaken = err, errors.Is(ctx.Err(), context.Canceled)

		return
	}

	c := &a.catalogue
	current.answer = Catalogue{Names: namesOf(types), Earlier: c.latest.Earlier}

	// One that was asked for in between is no second opinion.
	if !c.began.IsZero() && began.Sub(c.began) >= interval-interval/catalogueLead {
		current.answer.Earlier = &Catalogue{Names: c.latest.Names}
	}

	c.latest, c.began = current.answer, began
}

// namesOf are the names of event types, in the order that they come in: sorted.
func namesOf(types []subscription.EventType) []string {
	names := make([]string, 0, len(types))
	for _, eventType := range types {
		names = append(names, eventType.Name)
	}

	return names
}
