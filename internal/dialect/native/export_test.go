package native

import (
	"maps"
	"slices"
)

// Paths are the server's.
func Paths() []string { return slices.Sorted(maps.Keys((&server{}).routes())) }
