// Package config holds the manifests of an installation, and the tests that hold them to a
// real API server.
package config
