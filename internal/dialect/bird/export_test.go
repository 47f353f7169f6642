package bird

import (
	"maps"
	"slices"
)

// WireID is a port's id as the wire has it.
func WireID(id string) string { return wireID(id).String() }

// RequestID is a delivery's id as the wire has it.
func RequestID(delivery string) string { return requestID(delivery) }

// Paths are the server's, in both families.
func Paths() []string {
	var paths []string
	for _, family := range families {
		for _, path := range slices.Sorted(maps.Keys((&server{}).routes())) {
			paths = append(paths, family+path)
		}
	}

	return paths
}

// What tests of inner parts need.
var (
	Sign     = sign
	Services = services
)

// The namespaces of ids that users may compute.
var (
	NamespaceWorkspace    = namespaceWorkspace.String()
	NamespaceOrganization = namespaceOrganization.String()
)
