// Package registry is the dispatcher's own subscriptions: the port of package
// subscription, one account for each tenant, kept in the journal. Before a change is
// answered its marker stands in the log, so an event that is published afterwards is
// matched by it. Matcher tells which subscriptions an event is for.
package registry
