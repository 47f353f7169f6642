package embedded_test

import (
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
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
	for b.Loop() {
		if err := j.Settle(b.Context(), 0, 1, batch); err != nil {
			b.Fatalf("Settle: %v", err)
		}
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "outcomes/s")
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
