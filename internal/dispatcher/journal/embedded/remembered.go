package embedded

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
)

// The shape of a filter's segment: a Bloom filter of blocks that fill a cache line each, with
// twelve bits for each of its identities, which mistakes fewer than one in a hundred.
const (
	segmentIdentities = 1 << 20
	segmentBytes      = segmentIdentities * 12 / 8
	filterBlockBytes  = 64
	filterProbes      = 7
	// filterProbeBits choose one of the bits of a block.
	filterProbeBits = 9
	// maxSegments bounds the filter at 18 MiB, for 12 million events in the two days; with more
	// of them more look-ups go to the store.
	maxSegments = 12
)

// segment remembers identities.
type segment struct {
	bits  []byte
	count int
	// newest is the highest day of an identity in it.
	newest uint32
}

func newSegment() *segment { return &segment{bits: make([]byte, segmentBytes)} }

// block is where an identity's bits are, and which of them. The identity is a cryptographic
// hash, so its own bytes are as good as any.
func (s *segment) block(of identity) (block []byte, probes uint64) {
	at := binary.LittleEndian.Uint64(of[:]) % (segmentBytes / filterBlockBytes) * filterBlockBytes

	return s.bits[at : at+filterBlockBytes : at+filterBlockBytes], binary.LittleEndian.Uint64(of[8:])
}

func (s *segment) add(of identity, day uint32) {
	block, probes := s.block(of)
	for range filterProbes {
		bit := probes & (1<<filterProbeBits - 1)
		block[bit/8] |= 1 << (bit % 8)
		probes >>= filterProbeBits
	}
	s.count++
	s.newest = max(s.newest, day)
}

func (s *segment) may(of identity) bool {
	block, probes := s.block(of)
	for range filterProbes {
		bit := probes & (1<<filterProbeBits - 1)
		if block[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
		probes >>= filterProbeBits
	}

	return true
}

// remembered tells of most identities that they are not in the store, without asking it: the
// look-up of an identity that is new is what every accepted event would have to wait for.
// The committer alone touches it, but for what is atomic.
type remembered struct {
	segments []*segment
	// built are the identities that were there at Open, read while the journal works already.
	built atomic.Pointer[[]*segment]
	// complete: built is among the segments.
	complete bool
	// swept: identities of days before it are removed from the store.
	swept atomic.Uint32
	seen  uint32
}

// absent tells that an identity is not in the store for sure.
func (r *remembered) absent(of identity) bool {
	if !r.complete {
		built := r.built.Load()
		if built == nil {
			return false
		}
		r.segments, r.complete = append(*built, r.segments...), true
	}
	for _, segment := range r.segments {
		if segment.may(of) {
			return false
		}
	}

	return true
}

// add notes an identity that is written.
func (r *remembered) add(of identity, day uint32) {
	if swept := r.swept.Load(); swept > r.seen {
		r.forget(swept)
	}
	r.segments = addIdentity(r.segments, of, day)
}

// addIdentity adds to the last segment, or to any where there are no more to be.
func addIdentity(to []*segment, of identity, day uint32) []*segment {
	last := len(to) - 1
	switch {
	case last >= 0 && to[last].count < segmentIdentities:
		to[last].add(of, day)
	case len(to) < maxSegments:
		to = append(to, newSegment())
		to[last+1].add(of, day)
	default:
		to[int(of[7])%len(to)].add(of, day)
	}

	return to
}

// forget drops the segments of which nothing is left in the store.
func (r *remembered) forget(swept uint32) {
	r.seen = swept
	left := r.segments[:0]
	for _, segment := range r.segments {
		if segment.newest >= swept {
			left = append(left, segment)
		}
	}
	clear(r.segments[len(left):])
	r.segments = left
}

// errStopped ends a scan.
var errStopped = errors.New("the journal is closing")

// remember reads the identities that were there at Open. Until it is done, and for good where
// it fails, the store is asked.
func (j *Journal) remember() {
	var segments []*segment
	rows := 0
	lower, upper := kindRange(kindIdentity)
	err := j.scan(lower, upper, func(key, _ []byte) (bool, error) {
		const stride = 1024
		if rows++; rows%stride == 0 {
			select {
			case <-j.stop:
				return false, errStopped
			case <-j.failure.down:
				return false, errStopped
			default:
			}
		}
		at, of, ok := splitIdentity(key)
		if !ok {
			return false, badRow("identity", string(key))
		}
		segments = addIdentity(segments, of, at)

		return true, nil
	})
	switch {
	case errors.Is(err, errStopped):
	case err != nil:
		j.options.Log.Error("Identities could not be read, so each new event is looked for in the store", "error", j.damaged(err))
	default:
		j.committer.remembered.built.Store(&segments)
	}
}
