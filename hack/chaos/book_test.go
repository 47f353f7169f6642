package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
	"github.com/hookline-dev/hookline/internal/subscription"
)

const testSource = "/test"

// arrives is one arrival at an endpoint as a dispatcher without faults makes it.
func arrives(e *endpoint, id, eventType string, made reply) arrival {
	return arrival{
		id: id, eventType: eventType, source: testSource, sent: time.Now(), reply: made,
		deliveryID: delivery.DeliveryID(e.tenant, testSource, id, e.id),
	}
}

// TestBook breaks each promise once, and expects the book to say so: a judge that does not
// see a lost event is worse than none.
func TestBook(t *testing.T) {
	type part struct {
		book                   *book
		orders, everything, by *endpoint
	}

	// publish has one event acknowledged.
	publish := func(p part, n int, eventType string) string {
		p.book.sending("acme", "p", n, eventType)
		p.book.acknowledged("acme", eventID("p", n), 0)

		return eventID("p", n)
	}

	cases := map[string]struct {
		reason string
		do     func(p part)
		want   judgement
	}{
		"AllWell": {
			reason: "an event that arrived wherever it was asked for is owed to nobody",
			do: func(p part) {
				id := publish(p, 1, "order.created")
				p.book.arrived(p.orders, arrives(p.orders, id, "order.created", replyGood))
				p.book.arrived(p.everything, arrives(p.everything, id, "order.created", replyGood))
			},
			want: judgement{total: total{Acknowledged: 1, Owed: 2, Delivered: 2, Tries: 2}},
		},
		"Lost": {
			reason: "an acknowledged event that one endpoint never saw is lost",
			do: func(p part) {
				id := publish(p, 1, "order.created")
				p.book.arrived(p.orders, arrives(p.orders, id, "order.created", replyGood))
			},
			want: judgement{
				total: total{Acknowledged: 1, Owed: 2, Delivered: 1, Tries: 1}, Lost: 1,
				Complaints: map[string]int{"lost": 1},
			},
		},
		"RefusedAndForgotten": {
			reason: "an event whose every attempt failed, and that is no dead letter, is lost",
			do: func(p part) {
				id := publish(p, 1, "user.created")
				p.book.arrived(p.everything, arrives(p.everything, id, "user.created", replyBad))
				p.book.arrived(p.everything, arrives(p.everything, id, "user.created", replyBad))
			},
			want: judgement{
				total: total{Acknowledged: 1, Owed: 1}, Lost: 1, Complaints: map[string]int{"lost": 1},
			},
		},
		"DeadLetter": {
			reason: "a dead letter is a right end where the endpoint may fail for good",
			do: func(p part) {
				id := publish(p, 1, "user.created")
				p.book.arrived(p.everything, arrives(p.everything, id, "user.created", replyBad))
				p.book.deadLettered(p.everything, id, "Exhausted")
			},
			want: judgement{total: total{Acknowledged: 1, Owed: 1, DeadLettered: 1, Tries: 1}},
		},
		"GivenUp": {
			reason: "a dead letter of an endpoint that takes everything is a fault",
			do: func(p part) {
				id := publish(p, 1, "order.created")
				p.book.arrived(p.everything, arrives(p.everything, id, "order.created", replyGood))
				p.book.deadLettered(p.orders, id, "Exhausted")
			},
			want: judgement{
				total:      total{Acknowledged: 1, Owed: 2, Delivered: 1, DeadLettered: 1, Tries: 1},
				Complaints: map[string]int{"given up": 1},
			},
		},
		"Duplicate": {
			reason: "an arrival after a good answer is a duplicate, one after a failure is a retry",
			do: func(p part) {
				id := publish(p, 1, "user.created")
				for _, made := range []reply{replyBad, replyGood, replyGood, replyGood} {
					p.book.arrived(p.everything, arrives(p.everything, id, "user.created", made))
				}
			},
			want: judgement{total: total{Acknowledged: 1, Owed: 1, Delivered: 1, Duplicates: 2, Tries: 4}},
		},
		"NotAcknowledged": {
			reason: "an event that was never acknowledged is owed to nobody, but a run must not end with one",
			do:     func(p part) { p.book.sending("acme", "p", 1, "order.created") },
			want:   judgement{Unknown: 1},
		},
		"Invented": {
			reason: "an event that nobody published is told of",
			do: func(p part) {
				p.book.arrived(p.everything, arrives(p.everything, "p-7", "order.created", replyGood))
			},
			want: judgement{Complaints: map[string]int{"invented": 1}},
		},
		"Misdelivered": {
			reason: "an endpoint that gets what it did not ask for says so",
			do: func(p part) {
				id := publish(p, 1, "user.created")
				p.book.arrived(p.everything, arrives(p.everything, id, "user.created", replyGood))
				p.book.arrived(p.orders, arrives(p.orders, id, "user.created", replyGood))
			},
			want: judgement{
				total: total{Acknowledged: 1, Owed: 1, Delivered: 1, Tries: 1}, Complaints: map[string]int{"misdelivered": 1},
			},
		},
		"Altered": {
			reason: "an event that arrives with another type was altered",
			do: func(p part) {
				id := publish(p, 1, "user.created")
				p.book.arrived(p.everything, arrives(p.everything, id, "user.deleted", replyGood))
			},
			want: judgement{
				total: total{Acknowledged: 1, Owed: 1, Delivered: 1, Tries: 1}, Complaints: map[string]int{"altered": 1},
			},
		},
		"WebhookID": {
			reason: "a webhook-id that is not the delivery's own makes receivers drop the wrong one",
			do: func(p part) {
				id := publish(p, 1, "user.created")
				wrong := arrives(p.everything, id, "user.created", replyGood)
				wrong.deliveryID = delivery.DeliveryID("acme", testSource, "other", p.everything.id)
				p.book.arrived(p.everything, wrong)
			},
			want: judgement{
				total: total{Acknowledged: 1, Owed: 1, Delivered: 1, Tries: 1}, Complaints: map[string]int{"webhook-id": 1},
			},
		},
		"Disordered": {
			reason: "with an order by key, a later event does not arrive before an earlier one",
			do: func(p part) {
				for n, eventType := range []string{"by.a", "by.b", "by.c"} {
					publish(p, n+1, eventType)
				}
				for _, e := range []*endpoint{p.by, p.everything} {
					p.book.arrived(e, arrives(e, "p-2", "by.b", replyGood))
					p.book.arrived(e, arrives(e, "p-1", "by.a", replyGood))
					p.book.arrived(e, arrives(e, "p-2", "by.b", replyGood))
					p.book.arrived(e, arrives(e, "p-3", "by.c", replyGood))
				}
			},
			want: judgement{
				total:      total{Acknowledged: 3, Owed: 6, Delivered: 6, Duplicates: 2, Tries: 8},
				Disordered: 1, Complaints: map[string]int{"disordered": 1},
			},
		},
		"PowerCut": {
			reason: "what a dispatcher does after its power was cut does not count",
			do: func(p part) {
				id := publish(p, 1, "user.created")
				p.book.cut(1)
				p.book.arrived(p.everything, arrives(p.everything, id, "user.created", replyGood))
				p.book.sending("acme", "p", 2, "user.created")
				p.book.acknowledged("acme", "p-2", 0)
			},
			want: judgement{
				total: total{Acknowledged: 1, Owed: 1}, Lost: 1, Unknown: 1, Complaints: map[string]int{"lost": 1},
			},
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for _, forgets := range []bool{false, true} {
				if forgets && (name == "Disordered" || name == "GivenUp" || name == "Misdelivered") {
					// A long run lets go of what these look at: it has no such endpoints.
					continue
				}

				p := part{
					book:       newBook(),
					orders:     &endpoint{tenant: "acme", name: "orders", id: "1", events: []string{"order.*"}},
					everything: &endpoint{tenant: "acme", name: "everything", id: "2", events: []string{"*"}, mayDie: true},
					by: &endpoint{
						tenant: "acme", name: "by", id: "3", events: []string{"by.*"},
						delivery: subscription.Delivery{Ordering: subscription.OrderingByKey},
					},
				}
				p.book.forgets = forgets

				for _, e := range []*endpoint{p.orders, p.everything, p.by} {
					if err := p.book.add(e); err != nil {
						t.Fatal(err)
					}
				}

				tc.do(p)

				diff := cmp.Diff(tc.want, p.book.judge(), cmpopts.IgnoreFields(judgement{}, "Examples"), cmp.AllowUnexported(judgement{}),
					cmpopts.EquateEmpty())
				if diff != "" {
					t.Errorf("%s (forgets: %t): -want, +got:\n%s", tc.reason, forgets, diff)
				}
			}
		})
	}
}

// TestBookOtherTenant: an event is owed to its own tenant alone, and one that arrives at
// another's endpoint is unknown there.
func TestBookOtherTenant(t *testing.T) {
	b := newBook()
	other := &endpoint{tenant: "globex", name: "all", id: "1", events: []string{"*"}}

	if err := b.add(other); err != nil {
		t.Fatal(err)
	}

	b.sending("acme", "p", 1, "order.created")
	b.acknowledged("acme", "p-1", 0)
	b.arrived(other, arrives(other, "p-1", "order.created", replyGood))

	got := b.judge()
	if got.Owed != 0 || got.Lost != 0 || got.Complaints["invented"] != 1 {
		t.Errorf("an event of acme that arrived at globex: %+v", got)
	}
}
