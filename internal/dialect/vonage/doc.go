// Package vonage is the wire of the Webhooks API of Vonage Contact Center: a client that makes
// that HTTP look like the port, a server that makes the port look like that HTTP, and how
// Vonage's notifications are written and signed.
//
// What the vendor documents binds both sides. Where it says nothing, the server does what a
// careful vendor would do and the client takes every plausible answer; each such choice stands
// beside the code and in docs/apis/vonage.md.
package vonage
