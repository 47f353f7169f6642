package delivery

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// payloads keeps the newest events that have deliveries to be tried, within a bound of bytes, so
// that what is delivered at once, however often, is not read from the journal again.
type payloads struct {
	store interface {
		Get(ctx context.Context, seqs []journal.Seq) ([]journal.Event, error)
	}
	limit int

	mu     sync.Mutex
	events map[journal.Seq]*payload
	// order has the positions in events, oldest first, and some that are no longer there.
	order []journal.Seq
	bytes int
}

// payload is an event and how many of its deliveries have not been tried yet.
type payload struct {
	event   *journal.Event
	untried int
}

// fewPayloads need no tidying.
const fewPayloads = 1024

// add keeps an event for its deliveries.
func (p *payloads) add(seq journal.Seq, event *journal.Event, deliveries int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events[seq] = &payload{event: event, untried: deliveries}
	p.order = append(p.order, seq)
	p.bytes += eventSize(event)
	for p.bytes > p.limit && len(p.order) > 0 {
		p.remove(p.order[0])
		p.order = p.order[1:]
	}
	if len(p.order) > fewPayloads && len(p.order) > 2*len(p.events) {
		p.order = slices.DeleteFunc(p.order, func(seq journal.Seq) bool { return p.events[seq] == nil })
	}
}

// tried lets go of an event once each of its deliveries has been tried.
func (p *payloads) tried(seq journal.Seq) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one := p.events[seq]; one != nil {
		if one.untried--; one.untried <= 0 {
			p.remove(seq)
		}
	}
}

// remove lets go of an event. The caller holds the lock.
func (p *payloads) remove(seq journal.Seq) {
	if one := p.events[seq]; one != nil {
		p.bytes -= eventSize(one.event)
		delete(p.events, seq)
	}
}

func (p *payloads) get(ctx context.Context, seq journal.Seq) (*journal.Event, error) {
	p.mu.Lock()
	one := p.events[seq]
	p.mu.Unlock()
	if one != nil {
		return one.event, nil
	}
	events, err := p.store.Get(ctx, []journal.Seq{seq})
	if err != nil {
		return nil, fmt.Errorf("reading the event at position %d: %w", seq, err)
	}

	return &events[0], nil
}

// eventSize is about what an event takes in memory.
func eventSize(event *journal.Event) int {
	const fixed = 256

	return fixed + len(event.Body)
}
