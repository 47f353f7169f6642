package embedded_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
)

var (
	undelivered = flag.Int("undelivered", 200_000, "events that BenchmarkOpen finds undelivered")
	attempts    = flag.Int("attempts", 1_000_000, "attempts among which BenchmarkAttempts looks for those of one subscription")
)

// The benchmarks write where TMPDIR says, so that they can run on the disk that matters.

func benchOpen(b *testing.B, dir string) *embedded.Journal {
	b.Helper()
	j, err := embedded.Open(b.Context(), embedded.Options{Dir: dir, BallastBytes: -1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatalf("Open: %v", err)
	}

	return j
}

// cpu is the time that the processors have worked for this process, which says more than the
// clock does where others use the machine.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatalf("Getrusage: %v", err)
	}

	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkAppend appends events of 0.5 kB, one in each call, from many publishers at once.
func BenchmarkAppend(b *testing.B) {
	for _, publishers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("publishers=%d", publishers), func(b *testing.B) {
			j := benchOpen(b, b.TempDir())
			body := make([]byte, 512)
			for i := range body {
				body[i] = byte(' ' + i*7%90)
			}
			var next atomic.Int64
			var group sync.WaitGroup
			b.SetBytes(int64(len(body)))
			worked := cpu(b)
			b.ResetTimer()
			for range publishers {
				group.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						event := journal.Event{
							Tenant: "acme", Source: "//bench", ID: fmt.Sprint(i), Type: "order.created", Accepted: time.Now(), Body: body,
						}
						if _, err := j.Append(b.Context(), []journal.Event{event}); err != nil {
							b.Errorf("Append: %v", err)

							return
						}
					}
				})
			}
			group.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(cpu(b)-worked)/float64(b.N), "cpu-ns/event")
			if err := j.Close(); err != nil {
				b.Fatalf("Close: %v", err)
			}
		})
	}
}

// BenchmarkSettle settles batches of 256 first attempts that were delivered.
func BenchmarkSettle(b *testing.B) {
	const size = 256
	j := benchOpen(b, b.TempDir())
	events := make([]journal.Event, size)
	for i := range events {
		events[i] = journal.Event{Tenant: "acme", ID: fmt.Sprint(i), Type: "order.created"}
	}
	if _, err := j.Append(b.Context(), events); err != nil {
		b.Fatalf("Append: %v", err)
	}
	batch := journal.Batch{}
	for i := range size {
		of := journal.Ref{Subscription: fmt.Sprintf("2V1lVz6FeKOuVLEpSU6M0aqkM%02d", i%20), Seq: journal.Seq(i + 1)}
		batch.Outcomes = append(batch.Outcomes, journal.Outcome{
			Ref: of, Tenant: "acme", Result: journal.Delivered, Attempt: &journal.Attempt{
				DeliveryID: "msg_2V1lVz6FeKOuVLEpSU6M0aqkM9b", EventID: fmt.Sprint(i), EventType: "order.created",
				Number: 1, At: time.Now(), Success: true, ResponseCode: 200, ResponseText: "OK",
			},
		})
	}
	worked := cpu(b)
	for b.Loop() {
		if err := j.Settle(b.Context(), 0, 1, batch); err != nil {
			b.Fatalf("Settle: %v", err)
		}
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "outcomes/s")
	b.ReportMetric(float64(cpu(b)-worked)/float64(b.N*size), "cpu-ns/outcome")
	if err := j.Close(); err != nil {
		b.Fatalf("Close: %v", err)
	}
}

// BenchmarkBacklog places references, and reports what one costs on disk: placed as they
// come, and once the store has put its tables in order.
func BenchmarkBacklog(b *testing.B) {
	const references, batchSize = 1_000_000, 256
	for b.Loop() {
		dir := b.TempDir()
		j := benchOpen(b, dir)
		empty := diskUsage(b, dir)
		began := time.Now()
		for from := 1; from <= references; from += batchSize {
			batch := journal.Batch{}
			for seq := from; seq < from+batchSize && seq <= references; seq++ {
				batch.Backlog = append(batch.Backlog, journal.Ref{Subscription: "2V1lVz6FeKOuVLEpSU6M0aqkM9b", Seq: journal.Seq(seq)})
			}
			if err := j.Settle(b.Context(), 0, 1, batch); err != nil {
				b.Fatalf("Settle: %v", err)
			}
		}
		b.ReportMetric(float64(references)/time.Since(began).Seconds(), "references/s")
		// Opening flushes what is left in the write-ahead log into a table.
		for range 2 {
			if err := j.Close(); err != nil {
				b.Fatalf("Close: %v", err)
			}
			j = benchOpen(b, dir)
		}
		b.ReportMetric(float64(diskUsage(b, dir)-empty)/references, "bytes/reference")
		if err := j.Compact(b.Context()); err != nil {
			b.Fatalf("Compact: %v", err)
		}
		// Opening deletes the tables that are in use no more.
		if err := j.Close(); err != nil {
			b.Fatalf("Close: %v", err)
		}
		j = benchOpen(b, dir)
		b.ReportMetric(float64(diskUsage(b, dir)-empty)/references, "bytes/reference-compacted")
		began = time.Now()
		if seqs, err := j.View().Backlog(b.Context(), "2V1lVz6FeKOuVLEpSU6M0aqkM9b", 0, references); err != nil || len(seqs) != references {
			b.Fatalf("Backlog: %d references, error %v", len(seqs), err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/scan")
		if err := j.Close(); err != nil {
			b.Fatalf("Close: %v", err)
		}
	}
}

// diskUsage is the size of all tables below a folder.
func diskUsage(b *testing.B, dir string) int64 {
	b.Helper()
	var size int64
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".sst" {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
		}

		return err
	})
	if err != nil {
		b.Fatalf("Measuring the folder: %v", err)
	}

	return size
}

// benchID is a subscription's id.
func benchID(number int) string { return fmt.Sprintf("2V1lVz6FeKOuVLEpSU6M%07d", number) }

// BenchmarkOpen opens a journal of events of 0.5 kB that all wait, one half in the backlog of
// a hundred subscriptions and one half after the cursor, and looks at what recovery looks at.
func BenchmarkOpen(b *testing.B) {
	const size, subscriptions = 1000, 100
	dir := b.TempDir()
	j := benchOpen(b, dir)
	body := make([]byte, 512)
	for from := 1; from <= *undelivered; from += size {
		events, batch := make([]journal.Event, size), journal.Batch{}
		for i := range events {
			events[i] = journal.Event{Tenant: "acme", Source: "//bench", ID: fmt.Sprint(from + i), Type: "order.created", Body: body}
			if from+i <= *undelivered/2 {
				batch.Cursor = journal.Seq(from + i)
				batch.Backlog = append(batch.Backlog, journal.Ref{Subscription: benchID(i % subscriptions), Seq: journal.Seq(from + i)})
			}
		}
		if _, err := j.Append(b.Context(), events); err != nil {
			b.Fatalf("Append: %v", err)
		}
		if err := j.Settle(b.Context(), 0, 1, batch); err != nil {
			b.Fatalf("Settle: %v", err)
		}
	}
	if err := j.Close(); err != nil {
		b.Fatalf("Close: %v", err)
	}
	for b.Loop() {
		j := benchOpen(b, dir)
		view := j.View()
		cursor, err := view.Cursor(b.Context(), 0)
		names, err2 := view.Backlogged(b.Context())
		_, err3 := view.DoneAfterCursor(b.Context(), 0)
		_, err4 := view.OldestReference(b.Context())
		records, err5 := j.Read(b.Context(), cursor+1, size)
		if err := errors.Join(err, err2, err3, err4, err5); err != nil || len(names) != subscriptions || len(records) != size {
			b.Fatalf("%d backlogs, %d records, error %v", len(names), len(records), err)
		}
		for _, name := range names {
			if seqs, err := view.Backlog(b.Context(), name, 0, 128); err != nil || len(seqs) == 0 {
				b.Fatalf("Backlog: %d, error %v", len(seqs), err)
			}
		}
		b.StopTimer()
		if err := j.Close(); err != nil {
			b.Fatalf("Close: %v", err)
		}
		b.StartTimer()
	}
}

// BenchmarkAttempts reads the latest hundred attempts of one subscription out of many, right
// after the journal was opened and again.
func BenchmarkAttempts(b *testing.B) {
	const size = 1000
	dir := b.TempDir()
	j := benchOpen(b, dir)
	subscriptions := max(*attempts/embedded.MaxAttempts, 1)
	for from := 0; from < *attempts; from += size {
		batch := journal.Batch{}
		for i := range size {
			of := journal.Ref{Subscription: benchID((from + i) % subscriptions), Seq: journal.Seq(from + i + 1)}
			batch.Outcomes = append(batch.Outcomes, journal.Outcome{
				Ref: of, Tenant: "acme", Result: journal.Delivered, Attempt: &journal.Attempt{
					DeliveryID: "msg_2V1lVz6FeKOuVLEpSU6M0aqkM9b", EventID: fmt.Sprint(i), EventType: "order.created",
					Number: 1, At: time.Now(), Success: true, ResponseCode: 200, ResponseText: "OK",
				},
			})
		}
		if err := j.Settle(b.Context(), 0, 1, batch); err != nil {
			b.Fatalf("Settle: %v", err)
		}
	}
	if err := j.Close(); err != nil {
		b.Fatalf("Close: %v", err)
	}
	for _, cold := range []bool{true, false} {
		b.Run(fmt.Sprintf("cold=%t", cold), func(b *testing.B) {
			j := benchOpen(b, dir)
			of := 0
			for b.Loop() {
				if cold {
					b.StopTimer()
					if err := j.Close(); err != nil {
						b.Fatalf("Close: %v", err)
					}
					j = benchOpen(b, dir)
					of = (of + 7919) % subscriptions
					b.StartTimer()
				}
				got, err := j.View().Attempts(b.Context(), benchID(of), journal.AttemptQuery{Limit: 100})
				if err != nil || len(got) != min(100, *attempts/subscriptions) {
					b.Fatalf("Attempts: %d, error %v", len(got), err)
				}
			}
			if err := j.Close(); err != nil {
				b.Fatalf("Close: %v", err)
			}
		})
	}
}

// BenchmarkGet reads payloads of 0.5 kB in the order of the log, as an endpoint that catches
// up does, one by one and in chunks.
func BenchmarkGet(b *testing.B) {
	const size = 1000
	j := benchOpen(b, b.TempDir())
	body := make([]byte, 512)
	for i := range body {
		body[i] = byte(' ' + i*7%90)
	}
	for from := 1; from <= *undelivered; from += size {
		events := make([]journal.Event, size)
		for i := range events {
			events[i] = journal.Event{Tenant: "acme", Source: "//bench", ID: fmt.Sprint(from + i), Type: "order.created", Body: body}
		}
		if _, err := j.Append(b.Context(), events); err != nil {
			b.Fatalf("Append: %v", err)
		}
	}
	for _, chunk := range []int{1, 64} {
		b.Run(fmt.Sprintf("chunk=%d", chunk), func(b *testing.B) {
			next, worked, got := 0, cpu(b), 0
			for b.Loop() {
				seqs := make([]journal.Seq, 0, chunk)
				for range chunk {
					seqs = append(seqs, journal.Seq(next%*undelivered+1))
					next++
				}
				events, err := j.Get(b.Context(), seqs)
				if err != nil {
					b.Fatalf("Get: %v", err)
				}
				got += len(events)
			}
			b.ReportMetric(float64(cpu(b)-worked)/float64(got), "cpu-ns/event")
		})
	}
	if err := j.Close(); err != nil {
		b.Fatalf("Close: %v", err)
	}
}
