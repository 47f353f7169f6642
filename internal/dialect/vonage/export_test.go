package vonage

import (
	"maps"
	"slices"
)

// Paths are those that the server serves.
func Paths() []string { return slices.Sorted(maps.Keys((&server{}).routes())) }
