package dixa

import (
	"maps"
	"slices"
)

// WireID is a port's id as the wire has it.
func WireID(id string) string { return wireID(id).String() }

// Paths are the server's, in both versions.
func Paths() []string {
	var paths []string
	for _, version := range versions {
		for _, path := range slices.Sorted(maps.Keys((&server{}).routes())) {
			paths = append(paths, version+path)
		}
	}

	return paths
}

// What tests of inner parts need.
var (
	FQN    = fqn
	Sign   = sign
	Events = knownEvents
)

// MaxLimited is how many tokens are limited at once, NewLimiters what limits them.
const MaxLimited = maxLimited

// Limiters gives tests what limits tokens.
var NewLimiters = newLimiters

// Allow takes one request of a token.
func (l *limiters) Allow(token string) bool {
	_, ok := l.allow(token)

	return ok
}

// Len is how many tokens are held.
func (l *limiters) Len() int { return len(l.byToken) }
