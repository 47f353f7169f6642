package delivery

import (
	"context"
	"fmt"
	"sync"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// payloads keeps the bodies of the newest events within a bound of bytes, so that what is
// delivered at once, however often, is not read from the journal again.
type payloads struct {
	store interface {
		Get(ctx context.Context, seqs []journal.Seq) ([]journal.Event, error)
	}
	limit int

	mu     sync.Mutex
	events map[journal.Seq]*journal.Event
	order  []journal.Seq
	bytes  int
}

func (p *payloads) add(seq journal.Seq, event *journal.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events[seq] = event
	p.order = append(p.order, seq)
	p.bytes += eventSize(event)
	for p.bytes > p.limit && len(p.order) > 0 {
		oldest := p.order[0]
		p.order = p.order[1:]
		p.bytes -= eventSize(p.events[oldest])
		delete(p.events, oldest)
	}
}

func (p *payloads) get(ctx context.Context, seq journal.Seq) (*journal.Event, error) {
	p.mu.Lock()
	event := p.events[seq]
	p.mu.Unlock()
	if event != nil {
		return event, nil
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
