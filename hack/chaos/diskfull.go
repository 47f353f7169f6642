package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal/embedded"
)

// The disk of the run. The journal closes its log to events under 256 MiB free and opens it at
// twice that; its ballast takes 64 MiB.
const (
	diskBytes       = 672 << 20
	nearlyFullBytes = 200 << 20
	// turnLimit is how long the answers may take to change once the disk did.
	turnLimit = 10 * time.Second
)

// disk can be filled and freed under a running dispatcher.
type disk interface {
	// fill leaves so many bytes free.
	fill(free int64) error
	// free gives everything back.
	free() error
	// alive answers an error where the dispatcher has ended.
	alive() error
	// ballast tells whether the journal still has its reserve.
	ballast() bool
}

// diskFullPhase fills the disk of a running dispatcher, to the threshold and to the last byte,
// and frees it again, with no restart in between.
func diskFullPhase(ctx context.Context, cfg *config) *result {
	r := newResult("diskfull")

	lab, err := newLab(ctx, cfg, r.Phase, []*endpoint{
		{tenant: tenantPlain, name: nameEverything, events: []string{patternAll}},
		{tenant: tenantPlain, name: nameOrders, events: []string{patternOrders}},
		{tenant: tenantMixed, name: "has-outages", events: []string{patternAll}, mayDie: true},
	})
	if !r.must("preparing", err) {
		return r.end()
	}

	defer lab.close()

	d, stop, err := startOnDisk(ctx, cfg, lab, r)
	if !r.must("starting", err) {
		return r.end()
	}

	// A lab that failed half-way still ends its dispatcher.
	defer func() { _ = stop() }()

	if !r.must("subscribing", lab.subscribe(ctx)) {
		return r.end()
	}

	publishing, cancel := context.WithCancel(ctx)
	defer cancel()

	lab.publish(publishing)

	rounds := 0

	for began := time.Now(); rounds == 0 || time.Since(began) < cfg.duration; rounds++ {
		if !r.must(fmt.Sprintf("round %d", rounds+1), round(ctx, lab, d)) {
			break
		}
	}

	r.must("freeing the disk", d.free())

	stopping := time.AfterFunc(cfg.drain, cancel)
	lab.pubs.finish()
	stopping.Stop()
	r.must("draining", lab.drain(ctx, cfg.drain))
	r.must("the dispatcher lives", d.alive())
	r.judge(lab.book, maxDuplicates)
	r.must("ending", stop())
	r.notef("%d rounds; answers %v", rounds, lab.pubs.answers())

	return r.end()
}

// round fills the disk and frees it once.
func round(ctx context.Context, l *lab, d disk) error {
	accepted := func() int64 { return l.pubs.answers()[strconv.Itoa(http.StatusAccepted)] }
	refused := func() int64 { return l.pubs.answers()[strconv.Itoa(http.StatusInsufficientStorage)] }
	last := l.endpoints[len(l.endpoints)-1]

	before := accepted()
	if err := turns(ctx, d, "events to be accepted", func() bool { return accepted() > before }); err != nil {
		return err
	}

	// Deliveries wait, for something must go on while nothing is accepted.
	l.receivers.set(l.receivers.out, last, true)
	time.Sleep(300 * time.Millisecond)

	if err := d.fill(nearlyFullBytes); err != nil {
		return err
	}

	before = refused()
	if err := turns(ctx, d, "507 once the disk is nearly full", func() bool { return refused() > before }); err != nil {
		return err
	}

	if err := refusal(ctx, l); err != nil {
		return err
	}

	if err := goesOn(ctx, l, d, last, "nearly full"); err != nil {
		return err
	}

	l.receivers.set(l.receivers.out, last, true)

	if err := d.fill(0); err != nil {
		return err
	}

	// To the last byte: failures and successes are still written down, with the ballast's room.
	time.Sleep(time.Second)

	err := goesOn(ctx, l, d, last, "full to the last byte")
	if err != nil {
		return err
	}

	if err := d.free(); err != nil {
		return err
	}

	before = accepted()

	if err := turns(ctx, d, "events to be accepted once the disk has room", func() bool { return accepted() > before }); err != nil {
		return err
	}

	return turns(ctx, d, "the ballast to be there again", d.ballast)
}

// goesOn lets an endpoint come back and expects what waits for it to arrive, or nothing to wait.
func goesOn(ctx context.Context, l *lab, d disk, e *endpoint, how string) error {
	before := l.book.arrivedAt(e)

	l.receivers.set(l.receivers.out, e, false)

	return turns(ctx, d, "deliveries to go on while the disk is "+how, func() bool {
		_, open := l.book.open()

		return open == 0 || l.book.arrivedAt(e) > before
	})
}

// refusal checks the answer of a full disk: its problem and when to come again.
func refusal(ctx context.Context, l *lab) error {
	body := bytes.NewReader([]byte(`{"type":"order.created.v1","id":"refused","data":null}`))

	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.launcher.url()+"/events", body)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}

	request.Header.Set("Authorization", "Bearer "+l.tokens[tenantHostile])
	request.Header.Set("Content-Type", "application/json")

	response, err := prober.Do(request)
	if err != nil {
		return fmt.Errorf("publishing to a full disk: %w", err)
	}

	defer func() { _ = response.Body.Close() }()

	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if response.StatusCode != http.StatusInsufficientStorage || err != nil || seconds < 1 {
		return fmt.Errorf("a full disk answered %d with Retry-After %q: 507 and seconds are right",
			response.StatusCode, response.Header.Get("Retry-After"))
	}

	return nil
}

// turns waits until something is so, as long as the dispatcher lives.
func turns(ctx context.Context, d disk, what string, so func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, turnLimit)
	defer cancel()

	for !so() {
		if err := d.alive(); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}

	return nil
}

// startOnDisk starts the binary on a file system of its own; where the machine has none for it,
// a dispatcher inside this program on one that says it is full.
func startOnDisk(ctx context.Context, cfg *config, l *lab, r *result) (disk, func() error, error) {
	if cfg.enclosed != nil {
		r.notef("not the binary but a dispatcher inside this program, on a file system that only says it is full: %v", cfg.enclosed)

		return startOnPretence(ctx, l)
	}

	r.notef("the binary, on a tmpfs of %d MiB in a mount namespace of its own", diskBytes>>20)

	l.launcher.enclosure.Disk, l.launcher.enclosure.DiskBytes = l.launcher.data, diskBytes
	if err := os.MkdirAll(l.launcher.data, 0o700); err != nil {
		return nil, nil, fmt.Errorf("making the mount point: %w", err)
	}

	p, err := l.launcher.start(ctx)
	if err != nil {
		return nil, nil, err
	}

	d := &mounted{process: p, launcher: l.launcher, dir: insideOf(p.pid(), l.launcher.data)}
	stopped := false

	return d, func() error {
		if stopped {
			return nil
		}

		stopped = true

		// With the process goes its file system.
		_, err := p.terminate()

		return err
	}, nil
}

// mounted is the file system of a process, seen from outside.
type mounted struct {
	process  *process
	launcher *launcher
	dir      string
}

const fillerFile = "filler"

func (m *mounted) fill(free int64) error {
	now, err := freeBytes(m.dir)
	if err != nil || now <= free {
		return err
	}

	return takeRoom(filepath.Join(m.dir, fillerFile), now-free)
}

func (m *mounted) free() error {
	if err := os.Remove(filepath.Join(m.dir, fillerFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("freeing the disk: %w", err)
	}

	return nil
}

func (m *mounted) alive() error {
	if ended, err := m.process.ended(); ended {
		return fmt.Errorf("the dispatcher ended: %w: %s", err, m.launcher.lastWords())
	}

	return nil
}

func (m *mounted) ballast() bool {
	_, err := os.Stat(filepath.Join(m.dir, "BALLAST"))

	return err == nil
}

// pretence is a real folder whose file system says that it is full.
type pretence struct {
	dir      string
	room     atomic.Int64
	failures <-chan error
}

func startOnPretence(ctx context.Context, l *lab) (disk, func() error, error) {
	p := &pretence{dir: l.launcher.data}
	p.room.Store(diskBytes)

	fs := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if p.room.Load() == 0 && op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".log") && p.ballast() {
			return syscall.ENOSPC
		}

		return nil
	}))

	i, err := startInside(ctx, insideOptions{
		fs: fs, dir: p.dir, tokens: l.launcher.tokens, address: l.launcher.listen,
		freeSpace: func() (embedded.Space, error) {
			return embedded.Space{Free: uint64(p.room.Load()), Total: diskBytes}, nil //nolint:gosec // It is not negative.
		},
	})
	if err != nil {
		return nil, nil, err
	}

	p.failures, l.letters = i.store.Failed(), i.letters
	stopped := false

	return p, func() error {
		if stopped {
			return nil
		}

		stopped = true

		return i.stop()
	}, nil
}

func (p *pretence) fill(free int64) error {
	p.room.Store(free)

	return nil
}

func (p *pretence) free() error {
	p.room.Store(diskBytes)

	return nil
}

func (p *pretence) alive() error {
	select {
	case err := <-p.failures:
		return fmt.Errorf("the journal failed: %w", err)
	default:
		return nil
	}
}

func (p *pretence) ballast() bool {
	_, err := os.Stat(filepath.Join(p.dir, "BALLAST"))

	return err == nil
}
