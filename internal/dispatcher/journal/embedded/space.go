package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fullFactor: the latch opens again at this many times the threshold.
const fullFactor = 2

// space is the latch that closes the log to events while the disk is nearly full, and the
// ballast, which keeps settling possible when the disk is full all the same.
type space struct {
	options Options
	log     *slog.Logger
	// full is the latch.
	full atomic.Bool
	free atomic.Uint64
	// wanted: something was let go of, or a task of the store failed, while the disk is nearly full.
	wanted atomic.Bool
	// reclaimed is when the store was last asked for it, by the one goroutine that does so.
	reclaimed time.Time

	mu sync.Mutex
	// silent: the file system cannot tell, which was logged once.
	silent bool
}

func newSpace(options Options) *space {
	s := &space{options: options, log: options.Log}
	if s.options.FreeSpace == nil {
		s.options.FreeSpace = s.measure
	}

	return s
}

// measure asks the file system.
func (s *space) measure() (Space, error) {
	usage, err := s.options.FS.GetDiskUsage(s.options.Dir)

	return Space{Free: usage.AvailBytes, Total: usage.TotalBytes}, err
}

// threshold is the free space below which the latch closes.
func (s *space) threshold(total uint64) uint64 {
	var most uint64
	if s.options.MinFreeBytes > 0 {
		most = uint64(s.options.MinFreeBytes)
	}
	if s.options.MinFreePercent > 0 {
		most = max(most, total/100*uint64(s.options.MinFreePercent))
	}

	return most
}

// refresh measures and sets the latch. It asks the operating system once, which takes
// about a microsecond, so every group commit begins with it.
func (s *space) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.options.FreeSpace()
	if err != nil {
		if !s.silent && !errors.Is(err, vfs.ErrUnsupported) {
			s.log.Warn("Measured no free space, so a full disk is not foreseen", "error", err)
		}
		s.silent = true

		return
	}
	s.free.Store(now.Free)
	threshold := s.threshold(now.Total)
	switch full := s.full.Load(); {
	case !full && now.Free < threshold:
		s.full.Store(true)
		s.log.Error("Disk became nearly full, events are refused", "freeBytes", now.Free, "thresholdBytes", threshold)
	case full && now.Free >= fullFactor*threshold:
		s.full.Store(false)
		s.log.Info("Disk has room again, events are accepted", "freeBytes", now.Free)
		s.restoreBallast()
	}
}

// want notes that there is room to be had.
func (s *space) want() {
	if s.full.Load() {
		s.wanted.Store(true)
	}
}

// dropBallast gives the ballast's room back. It is called when a write found no room.
func (s *space) dropBallast() {
	before := s.full.Swap(true)
	err := s.options.FS.Remove(s.ballastPath())
	if errors.Is(err, os.ErrNotExist) && before {
		return // It was said already.
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Error("Disk is full and the ballast could not be removed", "error", err)

		return
	}
	s.log.Error("Disk is full, events are refused", "ballastRemoved", err == nil)
}

func (s *space) ballastPath() string { return s.options.FS.PathJoin(s.options.Dir, fileBallast) }

// restoreBallast makes the ballast where it is missing and there is room for it.
func (s *space) restoreBallast() {
	if s.options.BallastBytes < 0 || s.full.Load() {
		return
	}
	switch _, err := s.options.FS.Stat(s.ballastPath()); {
	case err == nil:
		return
	case !errors.Is(err, os.ErrNotExist):
		s.log.Warn("Ballast could not be looked for", "error", err)

		return
	}
	if err := s.makeBallast(); err != nil {
		s.log.Warn("Ballast could not be made, so a disk that is full to the last byte stops the journal", "error", err)
		_ = s.options.FS.Remove(s.ballastPath())
	}
}

func (s *space) makeBallast() error {
	file, err := s.options.FS.Create(s.ballastPath(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("making the file: %w", err)
	}
	err = file.Preallocate(0, s.options.BallastBytes)

	return errors.Join(err, file.Sync(), file.Close())
}
