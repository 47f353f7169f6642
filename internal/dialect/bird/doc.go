// Package bird speaks the webhook subscriptions of Bird's Notifications API both ways: a client that makes it
// the port, a server that makes the port it, and a notification that delivers as Bird does. What the vendor
// leaves open is decided beside the code, and listed in docs/apis/bird.md.
package bird
