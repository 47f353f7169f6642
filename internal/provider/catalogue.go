package provider

import (
	"context"
	"errors"
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
	names   []string
	running *cataloguing
}

// cataloguing is one request for the catalogue under way. done is closed once names or err is set.
type cataloguing struct {
	done  chan struct{}
	names []string
	err   error
	// forsaken: the caller on whose behalf it ran gave up, which says nothing of the provider.
	forsaken bool
}

// EventTypeNames are the names in the provider's catalogue, sorted, asked for anew once in the provider's interval, or at
// once where afresh is set. All who wait share one request. The caller must not change the slice.
func (a *Account) EventTypeNames(ctx context.Context, afresh bool) ([]string, error) {
	interval := a.Config().Interval
	c := &a.catalogue

	for {
		c.mu.Lock()
		if young := !c.began.IsZero() && a.clock.Since(c.began) < interval-interval/catalogueLead; young && !afresh {
			names := c.names
			c.mu.Unlock()

			return names, nil
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
			return nil, ctx.Err()
		}

		// Who asked for what another gave up asks for itself.
		if !current.forsaken || ctx.Err() != nil {
			return current.names, current.err
		}
	}
}

func (a *Account) runCatalogue(ctx context.Context, current *cataloguing) {
	began := a.clock.Now()
	types, err := a.EventTypes(ctx)

	a.catalogue.mu.Lock()
	defer a.catalogue.mu.Unlock()
	defer close(current.done)

	a.catalogue.running = nil

	if err != nil {
		current.err, current.forsaken = err, errors.Is(ctx.Err(), context.Canceled)

		return
	}

	current.names = namesOf(types)
	a.catalogue.names, a.catalogue.began = current.names, began
}

// namesOf are the names of event types, in the order that they come in: sorted.
func namesOf(types []subscription.EventType) []string {
	names := make([]string, 0, len(types))
	for _, eventType := range types {
		names = append(names, eventType.Name)
	}

	return names
}
