package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher"
)

const (
	// flipEvents are in the journal whose files are damaged: as many were delivered before as are
	// still to be delivered.
	flipEvents = 400
	// flipLimit is how long a dispatcher on a damaged journal may take to deliver what is left.
	flipLimit = 15 * time.Second
	// flipsPerFile is how many bits of each file are tried in one go over all files.
	flipsPerFile = 1
)

// idle are files that hold nothing: a lock, and room that is kept free.
var idle = []string{"LOCK", "BALLAST"}

// flipPhase flips single bits in the files of a stopped journal. The dispatcher must name the
// file or what is damaged in it, or else lose nothing: what it must not do is pass it over.
func flipPhase(ctx context.Context, cfg *config) *result {
	r := newResult("flip")

	lab, err := newLab(ctx, cfg, r.Phase, []*endpoint{
		{tenant: tenantPlain, name: "early", events: []string{"order.created.v1"}},
		{tenant: tenantPlain, name: "late", events: []string{patternAll}},
	})
	if !r.must("preparing", err) {
		return r.end()
	}

	defer lab.close()

	f := &flipper{lab: lab, found: map[string]int{}}
	f.dice = rand.New(rand.NewPCG(cfg.seed, hash("flip"))) //nolint:gosec // It must reproduce.

	if !r.must("filling a journal", f.fill(ctx)) {
		return r.end()
	}

	files, err := filesIn(f.original)
	if !r.must("listing the journal's files", err) {
		return r.end()
	}

	until := time.Now().Add(cfg.duration)
	rounds := 0

	for ; rounds == 0 || time.Now().Before(until); rounds++ {
		for _, file := range files {
			// Every file has its turn, however short the run.
			if rounds > 0 && time.Now().After(until) {
				break
			}

			for range flipsPerFile {
				if !r.must("flipping a bit of "+file, f.flip(ctx, file)) {
					return r.end()
				}
			}
		}
	}

	r.check("files damaged", "all", fmt.Sprintf("%d, in %d flips", len(files), f.flips), len(files) > 0)
	r.none("damages passed over", len(f.passed))
	r.none("damages refused without a name", len(f.nameless))
	r.check("damages told of", "at least 1", f.found["refused"]+f.found["reported"], f.found["refused"]+f.found["reported"] > 0)
	r.Failures = append(r.Failures, slices.Concat(f.passed, f.nameless)...)
	r.Figures["outcomes"] = maps.Clone(f.found)
	r.notef("outcomes of %d flips in %v: %v", f.flips, files, f.found)

	return r.end()
}

// flipper damages copies of one journal.
type flipper struct {
	*lab

	original string
	dice     *rand.Rand
	flips    int
	found    map[string]int
	// passed are damages that nobody told of and that cost something; nameless ones were told of
	// without saying where.
	passed, nameless []string
}

// fill makes a journal that holds events in tables and in the write-ahead log, delivered ones
// and such as are still to be delivered.
func (f *flipper) fill(ctx context.Context) error {
	late := f.endpoints[1]
	f.receivers.set(f.receivers.out, late, true)

	// Deliveries that failed must not be given up while the journal is made, and be due in every copy.
	f.launcher.schedule = retrySchedule + strings.Repeat(",2s", 20)
	f.launcher.isEnclosed = false

	// Twice: what the first process wrote is in tables once the second has opened it.
	for part := range 2 {
		p, err := f.launcher.start(ctx)
		if err != nil {
			return err
		}

		if part == 0 {
			if err := f.subscribe(ctx); err != nil {
				return errors.Join(err, p.kill())
			}
		}

		if err := f.publishSome(ctx, part); err != nil {
			return errors.Join(err, p.kill())
		}

		if part == 0 {
			_, err = p.terminate()
		} else {
			err = p.kill()
		}

		if err != nil {
			return err
		}
	}

	f.original = f.launcher.data
	// What was killed leaves its socket, which holds nothing and cannot be copied.
	if err := os.Remove(filepath.Join(f.original, dispatcher.ControlSocket)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a killed process's socket: %w", err)
	}

	f.receivers.set(f.receivers.out, late, false)

	return nil
}

// publishSome publishes a half of the events and waits until they were tried once.
func (f *flipper) publishSome(ctx context.Context, part int) error {
	one := &publisher{
		publishers: f.pubs, name: fmt.Sprintf("flip-%d", part), tenant: tenantPlain, token: f.tokens[tenantPlain], types: eventTypes[:1],
		dice: rand.New(rand.NewPCG(1, uint64(part))), //nolint:gosec // As above.
	}

	for range flipEvents / 2 / maxBatch {
		if err := one.publish(ctx, maxBatch); err != nil {
			return err
		}
	}

	ctx, cancel := context.WithTimeout(ctx, flipLimit)
	defer cancel()

	for f.book.arrivedAt(f.endpoints[0]) < (part+1)*flipEvents/2 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the first deliveries: %w", ctx.Err())
		case <-time.After(pollEvery):
		}
	}

	// Outcomes are written within 10 ms.
	time.Sleep(100 * time.Millisecond)

	return nil
}

// filesIn lists the files of a journal that hold something.
func filesIn(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || slices.Contains(idle, entry.Name()) {
			return err
		}

		info, err := entry.Info()
		if err != nil || info.Size() == 0 {
			return err
		}

		relative, err := filepath.Rel(dir, path)
		files = append(files, relative)

		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", dir, err)
	}

	return files, nil
}

// flip damages one bit of one file of a copy, runs a dispatcher on it and judges.
func (f *flipper) flip(ctx context.Context, file string) error {
	f.flips++

	f.launcher.data = filepath.Join(f.dir, "damaged")
	f.launcher.logs = filepath.Join(f.dir, fmt.Sprintf("flip-%d.log", f.flips))

	if err := errors.Join(os.RemoveAll(f.launcher.data), os.CopyFS(f.launcher.data, os.DirFS(f.original))); err != nil {
		return fmt.Errorf("copying the journal: %w", err)
	}

	at, bit, err := f.damage(filepath.Join(f.launcher.data, file))
	if err != nil {
		return err
	}

	where := fmt.Sprintf("flip %d, bit %d of byte %d of %s", f.flips, bit, at, file)
	before := f.book.goodAt(f.endpoints[1])

	p, err := f.launcher.start(ctx)

	if ended, ok := errors.AsType[*endedError](err); ok {
		f.found["refused"]++

		if !names(ended.log, file) {
			f.nameless = append(f.nameless, where+": "+ended.log)
		}

		return nil
	}

	if err != nil {
		return err
	}

	f.observe(ctx, p, where, before)

	return p.kill()
}

// damage flips a bit of a file.
func (f *flipper) damage(path string) (at, bit int, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, fmt.Errorf("reading a file to damage: %w", err)
	}

	// A write-ahead log is longer than what was written to it: what follows is nothing.
	written := len(strings.TrimRight(string(content), "\x00"))
	at, bit = f.dice.IntN(max(1, written)), f.dice.IntN(8)
	content[at] ^= 1 << bit

	if err := os.WriteFile(path, content, 0o600); err != nil { //nolint:gosec // It is a file of this program's own folder.
		return 0, 0, fmt.Errorf("damaging a file: %w", err)
	}

	return at, bit, nil
}

// observe waits for what the undamaged journal would deliver.
func (f *flipper) observe(ctx context.Context, p *process, where string, before map[string]int) {
	ctx, cancel := context.WithTimeout(ctx, flipLimit)
	defer cancel()

	for {
		missing := 0

		for id, count := range f.book.goodAt(f.endpoints[1]) {
			if count == before[id] {
				missing++
			}
		}

		ended, _ := p.ended()
		text := f.launcher.lastWords()

		switch {
		case missing == 0:
			f.found["harmless"]++

			return
		case reports(text):
			f.found["reported"]++

			return
		case ended:
			f.found["ended"]++
			f.nameless = append(f.nameless, where+": it ended: "+text)

			return
		case ctx.Err() != nil:
			f.found["passed over"]++
			f.passed = append(f.passed,
				fmt.Sprintf("%s: %d of %d events were not delivered and nothing was said", where, missing, len(before)))

			return
		}

		time.Sleep(pollEvery)
	}
}

// names tells whether a message says which file is damaged, or what in it.
func names(text, file string) bool {
	base := filepath.Base(file)

	// A table's and a log's number is how the store calls it.
	number := strings.TrimLeft(strings.TrimSuffix(base, filepath.Ext(base)), "0")

	return strings.Contains(strings.ToLower(text), strings.ToLower(base)) ||
		filepath.Ext(base) != "" && strings.Contains(text, number) || reports(text)
}

// reports tells whether a log tells of damage.
func reports(text string) bool {
	return slices.ContainsFunc([]string{"corrupt", "damaged", "checksum"}, func(word string) bool {
		return strings.Contains(strings.ToLower(text), word)
	})
}
