package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
)

const (
	// powerDir is the journal's folder on the file system in memory.
	powerDir = "journal"
	// leastCommits and mostCommits are how many fsyncs of the log a dispatcher lives before its
	// power is cut; longestLife is where it is cut without.
	leastCommits = 20
	mostCommits  = 150
	longestLife  = 4 * time.Second
	// probeEvery is at how many fsyncs what a cut would leave is looked at, without cutting.
	probeEvery = 9
	// maxPowerDuplicates is the share of duplicates with a cut about every second.
	maxPowerDuplicates = 0.10
)

// powerPhase cuts the power of a dispatcher, again and again, at commit points that the seed
// picks, and goes on from what a disk may then hold: all that was synced, and any part of the rest.
func powerPhase(ctx context.Context, cfg *config) *result {
	r := newResult("powerloss")

	goroutines := runtime.NumGoroutine()

	lab, err := newLab(ctx, cfg, r.Phase, []*endpoint{
		{tenant: tenantPlain, name: nameEverything, events: []string{patternAll}},
		{tenant: tenantPlain, name: nameOrders, events: []string{patternOrders}},
		{
			tenant: tenantMixed, name: "two-attempts", events: []string{patternAll}, mayDie: true,
			hostile: &hostility{name: "two-attempts", share: hostileShare, patience: patience, acts: []act{status(500), reset()}},
		},
	})
	if !r.must("preparing", err) {
		return r.end()
	}

	lab.receivers.agentGeneration = true

	g := &grid{lab: lab, dice: rand.New(rand.NewPCG(cfg.seed, hash("power")))} //nolint:gosec // It must reproduce.
	g.disk = vfs.NewCrashableMem()

	publishing, cancel := context.WithCancel(ctx)

	r.must("the cuts", g.run(ctx, publishing, cfg.duration))

	if g.dispatcher != nil {
		stopping := time.AfterFunc(cfg.drain, cancel)
		lab.pubs.finish()
		stopping.Stop()
		r.must("draining", lab.drain(ctx, cfg.drain))
		r.must("ending", g.dispatcher.stop())
	}

	cancel()
	lab.close()
	g.probing.Wait()

	verdict := r.judge(lab.book, maxPowerDuplicates)
	r.check("cuts", "at least 1", g.cuts, g.cuts > 0)
	r.check("commit points looked at", "at least 1", g.probes.Load(), g.probes.Load() > 0)
	r.none("acknowledged events missing at a commit point", int(g.missing.Load()))
	r.leaks(ctx, goroutines)
	r.notef("%d cuts, %d more commit points looked at, %d events acknowledged", g.cuts, g.probes.Load(), verdict.Acknowledged)

	return r.end()
}

// grid is the power supply of a dispatcher.
type grid struct {
	*lab

	dice       *rand.Rand
	disk       *vfs.MemFS
	dispatcher *inside
	cuts       int

	probing         sync.WaitGroup
	busy            atomic.Bool
	probes, missing atomic.Int64
}

// run goes from cut to cut until the time is over, and leaves a dispatcher that lives.
func (g *grid) run(ctx, publishing context.Context, duration time.Duration) error {
	until := time.Now().Add(duration)

	for {
		last := time.Now().After(until)
		left := make(chan *vfs.MemFS, 1)
		fuse := &fuse{grid: g, left: left, at: int64(leastCommits + g.dice.IntN(mostCommits-leastCommits)), next: g.cuts + 1}
		fuse.share, fuse.seed = g.dice.IntN(101), g.dice.Uint64()
		fuse.off.Store(last)

		dispatcher, err := startInside(ctx, insideOptions{
			fs: errorfs.Wrap(g.disk, errorfs.InjectorFunc(fuse.sync)), dir: powerDir,
			tokens: g.launcher.tokens, address: g.launcher.listen, generation: g.cuts,
		})
		if err != nil {
			return fmt.Errorf("starting after cut %d: %w", g.cuts, err)
		}

		g.dispatcher, g.letters = dispatcher, dispatcher.letters

		if g.cuts == 0 && g.endpoints[0].id == "" {
			if err := g.subscribe(ctx); err != nil {
				return err
			}

			g.publish(publishing)
		}

		if last {
			return nil
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the next cut: %w", ctx.Err())
		case g.disk = <-left:
		case <-time.After(longestLife):
			fuse.blow()
			g.disk = <-left
		}

		g.cuts++

		// It is no more: how it ends is nobody's business, as long as it does.
		_ = dispatcher.stop()
	}
}

// fuse watches a dispatcher's fsyncs and cuts its power at one of them.
type fuse struct {
	grid  *grid
	count atomic.Int64
	at    int64
	next  int
	// share of what was not synced is left, in percent, chosen by seed.
	share int
	seed  uint64
	left  chan<- *vfs.MemFS
	once  sync.Once
	// off: there is no cut any more.
	off atomic.Bool
}

// sync is called before each operation on a file.
func (f *fuse) sync(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
	default:
		return nil
	}

	if !strings.HasSuffix(op.Path, ".log") {
		return nil
	}

	switch n := f.count.Add(1); {
	case n == f.at && !f.off.Load():
		f.blow()
	case n%probeEvery == 0:
		f.probe(n)
	}

	return nil
}

// blow cuts the power: nothing counts that this dispatcher still does.
func (f *fuse) blow() {
	f.once.Do(func() {
		f.grid.book.cut(f.next)
		f.left <- f.clone(f.seed)
	})
}

func (f *fuse) clone(seed uint64) *vfs.MemFS {
	return f.grid.disk.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: f.share, RNG: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // It must reproduce.
	})
}

// probe looks at what a cut at this point would leave: the log must have all that is
// acknowledged. One probe runs at a time; points in between are left out.
func (f *fuse) probe(n int64) {
	if !f.grid.busy.CompareAndSwap(false, true) {
		return
	}

	acknowledged := f.grid.book.acknowledgedSoFar()
	left := f.clone(f.seed + uint64(n)) //nolint:gosec // It counts from 1.

	f.grid.probing.Go(func() {
		defer f.grid.busy.Store(false)

		missing, err := missingIn(left, acknowledged)
		if err != nil {
			f.grid.book.complainf("power", "reading what a cut at commit %d of dispatcher %d would leave: %v", n, f.next-1, err)
		}

		f.grid.probes.Add(1)
		f.grid.missing.Add(int64(missing))
	})
}

// missingIn counts the acknowledged events that a journal does not have.
func missingIn(disk *vfs.MemFS, acknowledged map[eventKey]bool) (missing int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	j, err := embedded.Open(ctx, embedded.Options{Dir: powerDir, FS: disk, Log: quietLog()})
	if err != nil {
		return 0, fmt.Errorf("opening the journal: %w", err)
	}

	defer func() { err = errors.Join(err, j.Close()) }()

	first, last, err := j.View().Bounds(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking for the bounds: %w", err)
	}

	for next := first; next != 0 && next <= last; {
		records, err := j.Read(ctx, next, 256)
		if err != nil {
			return 0, fmt.Errorf("reading position %d: %w", next, err)
		}

		for n := range records {
			if event := records[n].Event; event != nil {
				delete(acknowledged, eventKey{event.Tenant, event.ID})
			}
		}

		next += journal.Seq(len(records))
	}

	return len(acknowledged), nil
}
