package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// maxComplaints bounds what is kept of each kind of complaint; all are counted.
const maxComplaints = 20

// reply is what a receiver made of one request.
type reply uint8

const (
	// replyBad: no answer, or one that is no success. The delivery must be made again, or given up.
	replyBad reply = iota
	// replyAmbiguous: a success by its status line, and broken after it. Either reading of it is right.
	replyAmbiguous
	// replyGood: a success. Whatever comes after it is a duplicate.
	replyGood
)

// endpoint is one subscription as the checker knows it.
type endpoint struct {
	index        int
	tenant, name string
	// id and secret are known once the subscription is made.
	id, secret string
	url        string
	events     []string
	patterns   []subscription.Pattern
	delivery   subscription.Delivery
	// hostile is how its receiver misbehaves now and then; nil never does.
	hostile *hostility
	// mayDie: giving a delivery up is a right end of it. Of the others a dead letter is a fault.
	mayDie bool
}

func (e *endpoint) String() string { return e.tenant + "/" + e.name }

func (e *endpoint) matches(eventType string) bool {
	return slices.ContainsFunc(e.patterns, func(p subscription.Pattern) bool { return p.Matches(eventType) })
}

// eventKey identifies an event: publishers never give an id twice.
type eventKey struct{ tenant, id string }

// tracked is one event that a publisher sent at least once.
type tracked struct {
	eventType string
	// key and place: its partition key, and its place among the events of that key.
	key   string
	place int
	acked bool
	ends  map[int]*end
}

// end is what became of one event at one endpoint.
type end struct {
	tries, good, ambiguous int
	// first is when the first good arrival was, counted in arrivals of all.
	first int
	dead  bool
}

func (e *end) over() bool { return e != nil && (e.good > 0 || e.ambiguous > 0 || e.dead) }

// book is what publishers and receivers know, and what follows from it. It is the judge of a
// run: everything that it does not find is lost.
type book struct {
	mu        sync.Mutex
	endpoints []*endpoint
	events    map[eventKey]*tracked
	arrivals  int
	// generation is the dispatcher that counts now: what another one acknowledges or delivers
	// happened after its power was cut. It stays 0 where there is only one.
	generation int

	// forgets: events that came to their end are counted and let go of, for long runs.
	forgets   bool
	forgotten total
	// issued is how far each publisher has numbered its events.
	issued map[string]int

	complaints map[string]int
	examples   []string
	latencies  []time.Duration
}

// total are counts of a run.
type total struct {
	Acknowledged int `json:"acknowledged"`
	Owed         int `json:"owed"`
	Delivered    int `json:"delivered"`
	DeadLettered int `json:"deadLettered"`
	Duplicates   int `json:"duplicates"`
	Tries        int `json:"tries"`
}

func newBook() *book {
	return &book{events: map[eventKey]*tracked{}, issued: map[string]int{}, complaints: map[string]int{}}
}

// add takes in an endpoint and numbers it.
func (b *book) add(e *endpoint) error {
	patterns, err := subscription.ParsePatterns(e.events)
	if err != nil {
		return fmt.Errorf("endpoint %s: %w", e, err)
	}

	b.mu.Lock()
	defer b.mu.Unlock()

	e.patterns, e.index = patterns, len(b.endpoints)
	b.endpoints = append(b.endpoints, e)

	return nil
}

// endpoint is the one with a number; nil where there is none.
func (b *book) endpoint(index int) *endpoint {
	b.mu.Lock()
	defer b.mu.Unlock()

	if index < 0 || index >= len(b.endpoints) {
		return nil
	}

	return b.endpoints[index]
}

// complainf notes that a promise was broken.
func (b *book) complainf(kind, format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()

	b.complainLockedf(kind, format, args...)
}

func (b *book) complainLockedf(kind, format string, args ...any) {
	b.complaints[kind]++
	if b.complaints[kind] <= maxComplaints {
		b.examples = append(b.examples, kind+": "+fmt.Sprintf(format, args...))
	}
}

// eventID is the id of a publisher's nth event.
func eventID(publisher string, n int) string { return publisher + "-" + strconv.Itoa(n) }

// sending notes that an event is about to be sent for the first time.
func (b *book) sending(tenant, publisher string, n int, eventType string) {
	b.mu.Lock()
	defer b.mu.Unlock()

	b.events[eventKey{tenant, eventID(publisher, n)}] = &tracked{
		eventType: eventType, key: publisher, place: n, ends: map[int]*end{},
	}
	b.issued[publisher] = max(b.issued[publisher], n)
}

// acknowledged notes that the dispatcher of a generation answered for an event, and tells
// whether that counts.
func (b *book) acknowledged(tenant, id string, generation int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()

	if generation != b.generation {
		return false
	}

	key := eventKey{tenant, id}

	event, known := b.events[key]
	if !known {
		// It came to its end before its acknowledgement was read.
		return true
	}

	event.acked = true
	b.forget(key, event)

	return true
}

// withdraw takes out an event that the dispatcher refused for good.
func (b *book) withdraw(tenant, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()

	delete(b.events, eventKey{tenant, id})
}

// tries are how often an event has come to an endpoint so far.
func (b *book) tries(e *endpoint, id string) int {
	b.mu.Lock()
	defer b.mu.Unlock()

	if event := b.events[eventKey{e.tenant, id}]; event != nil && event.ends[e.index] != nil {
		return event.ends[e.index].tries
	}

	return 0
}

// arrival is one delivery that reached its receiver, whose signature was right.
type arrival struct {
	generation                int
	id, eventType, deliveryID string
	source                    string
	sent                      time.Time
	reply                     reply
}

// arrived notes a delivery, before it is answered. It tells whether it counts.
func (b *book) arrived(e *endpoint, a arrival) bool {
	b.mu.Lock()
	defer b.mu.Unlock()

	if a.generation != b.generation {
		return false
	}

	event, known := b.events[eventKey{e.tenant, a.id}]
	if !known {
		b.afterwards(e, a)

		return true
	}

	switch {
	case event.eventType != a.eventType:
		b.complainLockedf("altered", "event %s arrived at %s with the type %s: it was published as %s",
			a.id, e, a.eventType, event.eventType)
	case !e.matches(event.eventType):
		b.complainLockedf("misdelivered", "event %s of type %s arrived at %s, which did not ask for it", a.id, event.eventType, e)
	case a.deliveryID != delivery.DeliveryID(e.tenant, a.source, a.id, e.id):
		b.complainLockedf("webhook-id", "event %s arrived at %s with the webhook-id %s, which is not its own", a.id, e, a.deliveryID)
	}

	b.arrivals++
	this := event.ends[e.index]

	if this == nil {
		this = &end{}
		event.ends[e.index] = this
	}

	this.tries++

	switch a.reply {
	case replyGood:
		if this.good++; this.good == 1 {
			this.first = b.arrivals
			b.latencies = append(b.latencies, time.Since(a.sent))
		}
	case replyAmbiguous:
		this.ambiguous++
	case replyBad:
	}

	b.forget(eventKey{e.tenant, a.id}, event)

	return true
}

// afterwards judges an arrival of an event that is not in the book: one that came to its end
// and was forgotten, or one that nobody published.
func (b *book) afterwards(e *endpoint, a arrival) {
	cut := strings.LastIndexByte(a.id, '-')

	if n, err := strconv.Atoi(a.id[cut+1:]); b.forgets && cut > 0 && err == nil && n <= b.issued[a.id[:cut]] {
		b.forgotten.Duplicates++
		b.forgotten.Tries++

		return
	}

	b.complainLockedf("invented", "event %s arrived at %s: nobody published it", a.id, e)
}

// forget lets go of an event that came to its end everywhere.
func (b *book) forget(key eventKey, event *tracked) {
	if !b.forgets || !event.acked {
		return
	}

	for _, e := range b.endpoints {
		if e.tenant == key.tenant && e.matches(event.eventType) && !event.ends[e.index].over() {
			return
		}
	}

	b.count(key, event, &b.forgotten)
	delete(b.events, key)
}

// deadLettered notes that the dispatcher keeps an event as a dead letter.
func (b *book) deadLettered(e *endpoint, id, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()

	event := b.events[eventKey{e.tenant, id}]
	if event == nil {
		b.complainLockedf("invented", "event %s is among the dead letters of %s: nobody published it", id, e)

		return
	}

	if !e.mayDie {
		b.complainLockedf("given up", "event %s is among the dead letters of %s (%s), whose receiver takes everything", id, e, reason)
	}

	if event.ends[e.index] == nil {
		event.ends[e.index] = &end{}
	}

	event.ends[e.index].dead = true
}

// cut makes another dispatcher the one that counts. What the one before acknowledged until
// now is owed by the next.
func (b *book) cut(generation int) {
	b.mu.Lock()
	defer b.mu.Unlock()

	b.generation = generation
}

// takeLatencies returns the times from publishing to arrival since the last call.
func (b *book) takeLatencies() []time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()

	taken := b.latencies
	b.latencies = nil

	return taken
}

// open counts the deliveries that are owed and have not come to their end.
func (b *book) open() (events, deliveries int) {
	b.mu.Lock()
	defer b.mu.Unlock()

	for key, event := range b.events {
		if !event.acked {
			events++

			continue
		}

		for _, e := range b.endpoints {
			if e.tenant == key.tenant && e.matches(event.eventType) && !event.ends[e.index].over() {
				deliveries++
			}
		}
	}

	return events, deliveries
}

// tried counts all deliveries that came in so far.
func (b *book) tried() int {
	b.mu.Lock()
	defer b.mu.Unlock()

	sum := b.forgotten.Tries

	for _, event := range b.events {
		for _, this := range event.ends {
			sum += this.tries
		}
	}

	return sum
}

// arrivedAt counts the events that came to an end at an endpoint by a success.
func (b *book) arrivedAt(e *endpoint) (count int) {
	b.mu.Lock()
	defer b.mu.Unlock()

	for _, event := range b.events {
		if this := event.ends[e.index]; this != nil && this.good > 0 {
			count++
		}
	}

	return count
}

// finished counts the events that came to their end and were forgotten.
func (b *book) finished() int {
	b.mu.Lock()
	defer b.mu.Unlock()

	return b.forgotten.Acknowledged
}

// goodAt are the good arrivals at an endpoint, for each acknowledged event that it asked for.
func (b *book) goodAt(e *endpoint) map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()

	counts := map[string]int{}

	for key, event := range b.events {
		if !event.acked || key.tenant != e.tenant || !e.matches(event.eventType) {
			continue
		}

		counts[key.id] = 0
		if this := event.ends[e.index]; this != nil {
			counts[key.id] = this.good
		}
	}

	return counts
}

// acknowledgedSoFar are the ids of all acknowledged events.
func (b *book) acknowledgedSoFar() map[eventKey]bool {
	b.mu.Lock()
	defer b.mu.Unlock()

	ids := map[eventKey]bool{}

	for key, event := range b.events {
		if event.acked {
			ids[key] = true
		}
	}

	return ids
}

// judgement is the book's verdict on a run.
type judgement struct {
	total

	// Lost are acknowledged events that an endpoint has neither received nor has a dead letter of.
	Lost int `json:"lost"`
	// Unknown are events that were sent, and of which it was never learned whether they were kept.
	Unknown    int            `json:"unknown"`
	Disordered int            `json:"disordered"`
	Complaints map[string]int `json:"complaints,omitempty"`
	Examples   []string       `json:"examples,omitempty"`
}

// DuplicateShare is the part of all deliveries that arrived again after a good answer.
func (j *judgement) DuplicateShare() float64 {
	if j.Delivered == 0 {
		return 0
	}

	return float64(j.Duplicates) / float64(j.Delivered)
}

// count adds up one acknowledged event, and names the endpoints that did not get it.
func (b *book) count(key eventKey, event *tracked, into *total) (missing []*endpoint) {
	into.Acknowledged++

	for _, e := range b.endpoints {
		if e.tenant != key.tenant || !e.matches(event.eventType) {
			continue
		}

		into.Owed++
		this := event.ends[e.index]

		if !this.over() {
			missing = append(missing, e)

			continue
		}

		into.Tries += this.tries
		into.Duplicates += max(0, this.good-1)

		if this.good > 0 || this.ambiguous > 0 {
			into.Delivered++
		} else {
			into.DeadLettered++
		}
	}

	return missing
}

// judge says what the run came to.
func (b *book) judge() judgement {
	b.mu.Lock()
	defer b.mu.Unlock()

	out := judgement{total: b.forgotten, Complaints: map[string]int{}}

	for key, event := range b.events {
		if !event.acked {
			out.Unknown++

			continue
		}

		for _, e := range b.count(key, event, &out.total) {
			out.Lost++
			tries := 0

			if this := event.ends[e.index]; this != nil {
				tries = this.tries
			}

			b.complainLockedf("lost", "event %s of type %s was acknowledged, and never arrived at %s: "+
				"it was tried %d times, and there is no dead letter", key.id, event.eventType, e, tries)
		}
	}

	for _, e := range b.endpoints {
		if e.delivery.Ordering == subscription.OrderingByKey {
			out.Disordered += b.disorder(e)
		}
	}

	maps.Copy(out.Complaints, b.complaints)

	out.Examples = slices.Clone(b.examples)

	return out
}

// disorder counts the events of an endpoint that arrived before one of the same key that was
// published earlier.
func (b *book) disorder(e *endpoint) (count int) {
	type placed struct{ place, first int }

	byKey := map[string][]placed{}

	for key, event := range b.events {
		this := event.ends[e.index]
		if key.tenant == e.tenant && this != nil && this.good > 0 {
			byKey[event.key] = append(byKey[event.key], placed{event.place, this.first})
		}
	}

	for key, list := range byKey {
		slices.SortFunc(list, func(a, b placed) int { return cmp.Compare(a.place, b.place) })

		latest := 0

		for _, p := range list {
			if p.first < latest {
				count++

				b.complainLockedf("disordered", "event %s arrived at %s after one that was published later with the same key",
					eventID(key, p.place), e)
			}

			latest = max(latest, p.first)
		}
	}

	return count
}
