package registry

// segmentTrie holds pattern segments with a "*" in them, by their bytes: patterns that
// begin alike are followed together, so that thousands of them cost a match no more than
// those that agree with the segment so far.
type segmentTrie struct {
	root state
}

// state is what the bytes of a pattern segment so far lead to.
type state struct {
	// bytes are the next states by a byte that is not "*".
	bytes map[byte]*state
	// star is the next state by "*": it lasts for any run of bytes, the empty one included.
	star *state
	// loops marks a state that was reached by "*".
	loops bool
	// seen is the last step of a match that reached the state, so that it is followed once.
	seen uint64
	// node is where a segment that ends here leads in the Matcher's trie.
	node *node
}

// scan is the room for one match, kept for the next, and its count of steps.
type scan struct {
	active, next []*state
	steps        uint64
}

// match appends the nodes of the segments that match.
func (t *segmentTrie) match(segment string, room *scan, into []*node) []*node {
	room.steps++
	room.active = t.root.reach(room.steps, room.active[:0])
	for i := 0; i < len(segment) && len(room.active) > 0; i++ {
		room.steps++
		room.next = room.next[:0]
		for _, s := range room.active {
			if s.loops {
				room.next = s.reach(room.steps, room.next)
			}
			if follow := s.bytes[segment[i]]; follow != nil {
				room.next = follow.reach(room.steps, room.next)
			}
		}
		room.active, room.next = room.next, room.active
	}
	for _, s := range room.active {
		if s.node != nil {
			into = append(into, s.node)
		}
	}

	return into
}

// reach adds a state, and those that "*" leads to from it without a byte.
func (s *state) reach(step uint64, into []*state) []*state {
	for ; s != nil && s.seen != step; s = s.star {
		s.seen = step
		into = append(into, s)
	}

	return into
}

func (t *segmentTrie) get(segment string) *node {
	s := &t.root
	for i := 0; i < len(segment) && s != nil; i++ {
		s = s.follow(segment[i])
	}
	if s == nil {
		return nil
	}

	return s.node
}

func (t *segmentTrie) put(segment string, n *node) {
	s := &t.root
	for i := range len(segment) {
		next := s.follow(segment[i])
		if next == nil {
			next = s.grow(segment[i])
		}
		s = next
	}
	s.node = n
}

func (t *segmentTrie) remove(segment string) {
	t.root.remove(segment)
}

func (t *segmentTrie) empty() bool { return t.root.empty() }

func (s *state) follow(b byte) *state {
	if b == wildcard[0] {
		return s.star
	}

	return s.bytes[b]
}

func (s *state) grow(b byte) *state {
	if b == wildcard[0] {
		s.star = &state{loops: true}

		return s.star
	}
	if s.bytes == nil {
		s.bytes = make(map[byte]*state, 1)
	}
	next := &state{}
	s.bytes[b] = next

	return next
}

func (s *state) remove(segment string) {
	if segment == "" {
		s.node = nil

		return
	}
	next := s.follow(segment[0])
	next.remove(segment[1:])
	if !next.empty() {
		return
	}
	if segment[0] == wildcard[0] {
		s.star = nil
	} else {
		delete(s.bytes, segment[0])
	}
}

func (s *state) empty() bool {
	return len(s.bytes) == 0 && s.star == nil && s.node == nil
}
