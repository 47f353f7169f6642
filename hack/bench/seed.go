package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
)

// seedBatch is how many events or outcomes are written at once.
const seedBatch = 1000

// seedMemTable is how much a journal in the making gathers before it writes a table: much, to
// write each row less often.
const seedMemTable = 64 << 20

// seed is a journal in the making, written by the engine that the dispatcher will open it
// with, but for the fsyncs, which no one waits for here.
type seed struct {
	dir   string
	store *embedded.Journal
	epoch journal.Epoch
	// ids are the subscriptions.
	ids []string
	// load is the number that the events carry.
	load int64
	last journal.Seq
}

// sow makes a journal with subscriptions, lets fill write into it, and closes it.
func (b *bench) sow(ctx context.Context, subscriptions int, fill func(ctx context.Context, s *seed) error) (*seed, error) {
	began := time.Now()

	s, err := b.write(ctx, subscriptions, fill)
	if err != nil {
		return nil, err
	}

	// Opened once more, it has everything in tables, as a journal that has been at work.
	store, err := embedded.Open(ctx, embedded.Options{Dir: s.dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("opening the journal that was made: %w", err)
	}

	if err := store.Close(); err != nil {
		return nil, fmt.Errorf("closing the journal that was made: %w", err)
	}

	b.sayf("  filled a journal in %s", time.Since(began).Round(time.Millisecond))

	return s, nil
}

func (b *bench) write(ctx context.Context, subscriptions int, fill func(ctx context.Context, s *seed) error) (made *seed, err error) {
	s := &seed{dir: b.newDataDir(), load: loads.Add(1)}

	s.store, err = embedded.Open(ctx, embedded.Options{
		Dir: s.dir, FS: syncFS{FS: vfs.Default, skip: true}, Log: slog.New(slog.DiscardHandler), MemTableBytes: seedMemTable,
	})
	if err != nil {
		return nil, fmt.Errorf("making a journal: %w", err)
	}

	defer func() { err = errors.Join(err, s.store.Close()) }()

	owning, cancel := context.WithCancel(ctx)
	defer cancel()

	owned, err := s.store.Own(owning)
	if err != nil {
		return nil, fmt.Errorf("making a journal: %w", err)
	}

	s.epoch = (<-owned).Epoch

	if err := s.subscribe(ctx, b.receiver.port, subscriptions); err != nil {
		return nil, err
	}

	if err := fill(ctx, s); err != nil {
		return nil, fmt.Errorf("filling a journal: %w", err)
	}

	return s, nil
}

func (s *seed) subscribe(ctx context.Context, port, count int) error {
	subscriptions, err := registry.New(ctx, s.store, registry.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("making subscriptions: %w", err)
	}
	defer subscriptions.Close()

	api := subscriptions.Tenant(tenant)
	s.ids = make([]string, count)

	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(creators)

	for i := range count {
		group.Go(func() error {
			created, err := api.Create(groupCtx, draft(port, i))
			s.ids[i] = created.ID

			return err //nolint:wrapcheck // Wrapped below.
		})
	}

	if err := group.Wait(); err != nil {
		return fmt.Errorf("making subscriptions: %w", err)
	}

	return nil
}

// events appends events of the small size, each of the type that one subscription takes, and
// hands their positions to settle, batch by batch.
func (s *seed) events(ctx context.Context, count int, settle func(batch *journal.Batch, of journal.Ref)) error {
	event := newTemplate(payloadSmall, 1)

	for done := 0; done < count; {
		batch := make([]journal.Event, min(seedBatch, count-done))
		for i := range batch {
			number := done + i
			body := event.clone()
			batch[i] = journal.Event{
				Tenant: tenant, Source: "/bench", ID: fmt.Sprintf("seed-%d", number), Type: fmt.Sprintf(typeOne, number%len(s.ids)),
				Accepted: time.Now(), Body: body.fill(s.load, int64(number), 0, number%len(s.ids)),
			}
		}

		receipts, err := s.store.Append(ctx, batch)
		if err != nil {
			return fmt.Errorf("appending: %w", err)
		}

		var settled journal.Batch

		for i, receipt := range receipts {
			s.last = receipt.Seq
			settle(&settled, journal.Ref{Subscription: s.ids[(done+i)%len(s.ids)], Seq: receipt.Seq})
		}

		settled.Cursor = s.last
		if err := s.store.Settle(ctx, 0, s.epoch, settled); err != nil {
			return fmt.Errorf("settling: %w", err)
		}

		done += len(batch)
	}

	return nil
}
