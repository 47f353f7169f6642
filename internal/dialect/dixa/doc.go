// Package dixa speaks Dixa's webhook API, version v1 (and beta, its twin), both ways: a client that makes
// it the port, a server that makes the port it, and a notification that delivers as Dixa does. What the
// vendor leaves open is decided beside the code, and listed in docs/apis/dixa.md.
package dixa
