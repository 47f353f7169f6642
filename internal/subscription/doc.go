// Package subscription holds the nouns every webhook-subscription API shares and the
// port through which Hookline speaks to any of them: a vendor's API over HTTP, or its
// own dispatcher's registry in the same process. It does no I/O and imports nothing
// else of Hookline, so every other package may build on it.
package subscription
