package delivery

import (
	"context"
	"testing"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

// reads counts what is read from the journal.
type reads int

func (r *reads) Get(_ context.Context, seqs []journal.Seq) ([]journal.Event, error) {
	*r += reads(len(seqs))

	return make([]journal.Event, len(seqs)), nil
}

func TestPayloadsKeepWhatIsToBeTried(t *testing.T) {
	t.Parallel()

	var store reads
	p := &payloads{store: &store, limit: 10 * eventSize(&journal.Event{}), events: make(map[journal.Seq]*payload)}
	isKept := func(seq journal.Seq) bool {
		before := store
		if _, err := p.get(t.Context(), seq); err != nil {
			t.Fatal(err)
		}

		return store == before
	}
	p.add(1, &journal.Event{}, 2)
	p.tried(1)
	if !isKept(1) {
		t.Error("an event was let go of before each of its deliveries was tried")
	}
	p.tried(1)
	p.tried(1)
	if isKept(1) || p.bytes != 0 {
		t.Errorf("an event was kept whose deliveries were all tried; %d bytes are counted", p.bytes)
	}
	for seq := journal.Seq(2); seq <= 30; seq++ {
		p.add(seq, &journal.Event{}, 1)
	}
	if len(p.events) != 10 || p.bytes != p.limit || isKept(20) || !isKept(21) || !isKept(30) {
		t.Errorf("of events beyond the bound, %d are kept in %d bytes", len(p.events), p.bytes)
	}
	// Those before are never tried, all after them at once.
	p.tried(30)
	for seq := journal.Seq(31); seq <= 31+10*fewPayloads; seq++ {
		p.add(seq, &journal.Event{}, 1)
		p.tried(seq)
	}
	if len(p.events) != 9 || !isKept(21) || len(p.order) > fewPayloads {
		t.Errorf("%d events are kept, and %d positions noted for them", len(p.events), len(p.order))
	}
}
