package vonage

import (
	"maps"
	"slices"
)

// Paths are those that the server and the issuer serve.
func Paths() []string { return append(slices.Sorted(maps.Keys((&server{}).routes())), PathToken) }
