// Package ingest takes events in over HTTP: it tells who publishes, decodes and checks
// the events, brings each into its canonical CloudEvents form and appends them to the
// journal. A 202 means that every event it calls accepted is durable.
package ingest
