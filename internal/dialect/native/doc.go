// Package native is Hookline's own wire: Vonage's webhooks API extended additively. What
// Vonage has keeps its paths, names and shapes; docs/apis/native.md tells the rest.
//
// The server makes the port look like that HTTP, the client makes that HTTP look like the
// port: client(server(api)) behaves as api.
package native
