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
// posted once per attempt, never twice. Order is promised where a subscription asks for it.
//
// # Who waits for whom
//
//   - After CircuitFailures failed attempts in a row an endpoint's circuit opens: its deliveries
//     wait in the journal, and now and then the oldest that is due goes out as a probe. One that is
//     accepted lets one attempt at a time go out, then two, four, up to its limit. A probe is an
//     attempt like any other, so only deliveries whose next attempt is due are used for it.
//   - Of an endpoint that has had no attempt for a while two may be under way, and up to its limit as they
//     are accepted and more are needed: so many that begin to hang at once take few places.
//   - Places under MaxInFlight go to the tenant that has the fewest, and of its endpoints to the one
//     that has the fewest. Endpoints slower than SlowAfter share a quarter of them.
//     What turns slow beyond that takes none from the others, until twice as many attempts are under way; of one
//     tenant among several at most three quarters of those are.
//   - Ordered by key (the CloudEvents partitionkey, else the subject), a delivery waits until those of
//     the same key before it are delivered or dead-lettered, over restarts too. Events without a key wait
//     for none. At most MaxBlockedKeys keys are blocked at once; beyond, further keys wait too. Test
//     events and resends are in no order. A change of the ordering holds for what comes after it.
//   - Where more than MaxEndpointBacklog or MaxTenantBacklog deliveries wait, or one for longer than
//     BacklogAge, the oldest are dead-lettered as BacklogExpired, of a disabled subscription too.
//   - A replay's deliveries take at most half of their endpoint's places, and all replays an eighth of
//     MaxInFlight; one starts only while nothing of its endpoint is queued or on pages and nobody
//     stands in line. They open and probe circuits. Ordered by key, those of a time go one by one
//     for each key, never beside another of it, and wait behind one that failed; dead letters go one by one.
//   - A record of the log that fails its checksum before it was matched is passed over: the log and
//     hookline_delivery_records_lost_total tell so, and an event counts as unmatched. A damaged marker costs
//     nothing. More than a thousand of them, a gap, or a record of an unknown version end Run.
//   - A delivery whose event the journal has no more, or finds corrupt, is dead-lettered as
//     EventMissing or EventCorrupt without an attempt.
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
