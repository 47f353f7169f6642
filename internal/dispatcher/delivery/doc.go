// Package delivery brings the journal's events to their subscribers. It reads the log in
// order, matches each event by the registry's version at the event's position, signs it by
// Standard Webhooks 1.0.0, or renders and signs it as the vendor does whose format the
// subscription has, posts it, and settles what became of it: delivered, to be retried,
// dead-lettered, or dropped with its subscription.
//
// Each subscription has an endpoint of its own. A Live endpoint holds its deliveries in a
// queue of bounded length; when the queue is full, or sends are paused, the endpoint is
// Behind: deliveries are appended to pages in the journal and fed back from there. Retries
// are rows of the journal too. So a receiver that hangs costs rows on disk and nobody else
// anything.
//
// What is promised: every event that matched is delivered at least once, or found among
// the dead letters, or dropped because its subscription was deleted; without a crash it is
// posted once per attempt, never twice. Nothing is promised about order.
//
// # What counts as what
//
//   - 2xx: delivered, whatever becomes of the response's body.
//   - 410: dead-lettered as Gone, and the subscription is suspended; its other deliveries
//     wait until it is resumed.
//   - Any other status, redirects included, and any failure to get one (name resolution, TLS,
//     timeouts, resets): tried again on the schedule. Client errors such as 400, 401 or 404 are
//     no exception: they are most often a mistake in a deployment that gets mended.
//   - A target that the egress policy denies is never dialled, yet tried again on the schedule,
//     for names and policies change; the dead letter's reason is then TargetDenied.
//   - 429 and 503 may carry Retry-After, which is honoured between the next step of the
//     schedule and 24 hours.
//   - In a vendor's format the vendor's success range, schedule and timeout hold, and 410 is a
//     failure like any other. What the format cannot tell is dead-lettered as PayloadRejected
//     without a request.
package delivery
