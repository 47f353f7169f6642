package subscriptiontest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// deliveryCases are about what became of deliveries, and the catalogue.
func deliveryCases() []conformance {
	statuses := func(c subscription.Capabilities) bool { return c.Statuses }
	logs := func(c subscription.Capabilities) bool { return c.Logs }
	canDeliver := func(s Subject) bool { return s.Deliver != nil }

	return []conformance{
		{name: "LackingDeliveriesAreRefused", check: checkLackingDeliveries},
		{name: "StatusesAreEmptyAtFirst", needs: statuses, check: checkStatusesEmpty},
		{name: "StatusesChangedSinceMovesOn", needs: statuses, check: checkChangesMoveOn},
		{name: "LogsAreEmptyAtFirst", needs: logs, check: checkLogsEmpty},
		{name: "LogsRefuseAWrongLimit", needs: logs, check: checkLogLimit},
		{name: "DeliveredShowsInStatuses", needs: statuses, hook: canDeliver, check: checkStatuses},
		{name: "DeliveredShowsInChanges", needs: statuses, hook: canDeliver, check: checkChanges},
		{name: "DeliveredShowsInLogs", needs: logs, hook: canDeliver, check: checkLogs},
		{name: "EventTypesAreSorted", check: checkEventTypes},
	}
}

func checkLackingDeliveries(p *probe) {
	created := p.create(p.draft())
	answers := map[string]error{}
	if !p.caps.Statuses {
		_, answers["Statuses"] = p.api.Statuses(p.ctx, created.ID)
		_, answers["StatusesChangedSince"] = p.api.StatusesChangedSince(p.ctx, "")
	}
	if !p.caps.Logs {
		_, answers["Logs"] = p.api.Logs(p.ctx, created.ID, subscription.LogQuery{})
	}
	for method, err := range answers {
		if _, ok := errors.AsType[*subscription.UnsupportedError](err); !ok {
			p.Errorf("%s, which the provider lacks: want *UnsupportedError, got %v", method, err)
		}
	}
}

func checkStatusesEmpty(p *probe) {
	statuses, err := p.api.Statuses(p.ctx, p.create(p.draft()).ID)
	if err != nil {
		p.Fatalf("reading the statuses of a new subscription: %v", err)
	}
	if len(statuses) != 0 {
		p.Errorf("a new subscription has %d statuses", len(statuses))
	}
}

func checkChangesMoveOn(p *probe) {
	created := p.create(p.draft())
	first := p.changes("")
	p.changes(first.Next)
	if slices.Contains(first.IDs, created.ID) {
		p.Errorf("a subscription without deliveries is among those whose statuses changed")
	}
	// A cursor that was forgotten, or is of another provider, must not stop anyone.
	p.changes("no-such-cursor")
}

func (p *probe) changes(cursor string) subscription.Changes {
	p.Helper()
	changes, err := p.api.StatusesChangedSince(p.ctx, cursor)
	if err != nil {
		p.Fatalf("reading whose statuses changed since %q: %v", cursor, err)
	}
	sorted := slices.Sorted(slices.Values(changes.IDs))
	if len(slices.Compact(sorted)) != len(changes.IDs) {
		p.Errorf("whose statuses changed names one twice: %q", changes.IDs)
	}

	return changes
}

func checkLogsEmpty(p *probe) {
	entries, err := p.api.Logs(p.ctx, p.create(p.draft()).ID, subscription.LogQuery{})
	if err != nil {
		p.Fatalf("reading the logs of a new subscription: %v", err)
	}
	if len(entries) != 0 {
		p.Errorf("a new subscription has %d log entries", len(entries))
	}
}

func checkLogLimit(p *probe) {
	created := p.create(p.draft())
	for _, limit := range []int{-1, subscription.MaxLogLimit + 1} {
		var invalid *subscription.InvalidError
		if _, err := p.api.Logs(p.ctx, created.ID, subscription.LogQuery{Limit: limit}); !errors.As(err, &invalid) {
			p.Errorf("a log query with the limit %d: want *InvalidError, got %v", limit, err)
		}
	}
	if _, err := p.api.Logs(p.ctx, created.ID, subscription.LogQuery{Limit: subscription.MaxLogLimit}); err != nil {
		p.Errorf("a log query with the most that is allowed: %v", err)
	}
}

// delivered is a new subscription with a delivery of each of some event types.
func (p *probe) delivered(count int) (id string, events []string) {
	p.Helper()
	draft := p.draft()
	draft.Events = p.events(min(count, p.caps.EventLimit()))
	created := p.create(draft)
	// Not in their order, so that sorted is not by chance.
	for _, event := range slices.Backward(draft.Events) {
		p.deliver(created.ID, event)
	}

	return created.ID, draft.Events
}

func (p *probe) deliver(id, event string) {
	p.Helper()
	if err := p.subject.Deliver(p.ctx, id, event); err != nil {
		p.Fatalf("having an event delivered: %v", err)
	}
}

// statuses waits until every event type has a status.
func (p *probe) statuses(id string, events []string) []subscription.DeliveryStatus {
	p.Helper()
	var statuses []subscription.DeliveryStatus
	p.eventually(func() string {
		var err error
		if statuses, err = p.api.Statuses(p.ctx, id); err != nil {
			p.Fatalf("reading statuses: %v", err)
		}
		if len(statuses) < len(events) {
			return fmt.Sprintf("%d event types were delivered, and %d have a status", len(events), len(statuses))
		}

		return ""
	})

	return statuses
}

func checkStatuses(p *probe) {
	id, events := p.delivered(3)
	statuses := p.statuses(id, events)
	got := make([]string, 0, len(statuses))
	for _, status := range statuses {
		got = append(got, status.Event)
		if !status.Success || status.ResponseCode < 200 || status.ResponseCode > 299 || status.Timestamp.IsZero() {
			p.Errorf("the status of a delivery that succeeded: %+v", status)
		}
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(events)), got); diff != "" {
		p.Errorf("one status for each event type, sorted, -want +got:\n%s", diff)
	}
}

func checkChanges(p *probe) {
	before := p.changes("")
	id, events := p.delivered(2)
	p.statuses(id, events)
	after := p.changes(before.Next)
	if !slices.Contains(after.IDs, id) {
		p.Errorf("the statuses changed, and the subscription is not among those whose did")
	}
	if slices.Contains(p.changes(after.Next).IDs, id) {
		p.Errorf("nothing changed since, and the subscription is still among those whose statuses did")
	}
	if !slices.Contains(p.changes("").IDs, id) {
		p.Errorf("from the beginning, the subscription is not among those whose statuses changed")
	}
	p.deliver(id, events[0])
	p.eventually(func() string {
		if !slices.Contains(p.changes(after.Next).IDs, id) {
			return "a status changed again, and the subscription is not among those whose did"
		}

		return ""
	})
}

func checkLogs(p *probe) {
	id, events := p.delivered(2)
	p.deliver(id, events[0])
	want := len(events) + 1
	entries := p.logs(id, subscription.LogQuery{}, want)
	for i, entry := range entries {
		if entry.DeliveryID == "" || entry.EventID == "" || !slices.Contains(events, entry.Event) ||
			entry.Attempt < 1 || entry.Timestamp.IsZero() || !entry.Success {
			p.Errorf("the log entry of a delivery that succeeded: %+v", entry)
		}
		if i > 0 && entry.Timestamp.After(entries[i-1].Timestamp) {
			p.Errorf("log entries are newest first: %s stands behind %s", entry.Timestamp, entries[i-1].Timestamp)
		}
	}
	if newest := p.logs(id, subscription.LogQuery{Limit: 1}, 1); len(newest) != 1 || newest[0].DeliveryID != entries[0].DeliveryID {
		p.Errorf("with a limit of 1, the newest entry alone was wanted, and %d came", len(newest))
	}
	for _, entry := range p.logs(id, subscription.LogQuery{Event: events[0]}, 1) {
		if entry.Event != events[0] {
			p.Errorf("of the logs of %s, one is of %s", events[0], entry.Event)
		}
	}
	if none := p.logs(id, subscription.LogQuery{Event: "conformance.never.delivered"}, 0); len(none) != 0 {
		p.Errorf("%d log entries of an event type that was never delivered", len(none))
	}
}

// logs waits until there are so many entries.
func (p *probe) logs(id string, query subscription.LogQuery, atLeast int) []subscription.LogEntry {
	p.Helper()
	var entries []subscription.LogEntry
	p.eventually(func() string {
		var err error
		if entries, err = p.api.Logs(p.ctx, id, query); err != nil {
			p.Fatalf("reading logs: %v", err)
		}
		if len(entries) < atLeast {
			return fmt.Sprintf("%d log entries, and there must be %d", len(entries), atLeast)
		}

		return ""
	})

	return entries
}

func checkEventTypes(p *probe) {
	types, err := p.api.EventTypes(p.ctx)
	var unsupported *subscription.UnsupportedError
	if errors.As(err, &unsupported) && !p.caps.Catalogue {
		return
	}
	if err != nil {
		p.Fatalf("reading the catalogue: %v", err)
	}
	if !slices.IsSortedFunc(types, func(a, b subscription.EventType) int { return strings.Compare(a.Name, b.Name) }) {
		p.Errorf("the catalogue is not sorted by name")
	}
	for i, one := range types {
		if err := subscription.ValidateEventType(one.Name); err != nil {
			p.Errorf("the catalogue's entry %d: %v", i, err)
		}
	}
	if p.caps.Catalogue && len(types) == 0 {
		p.Errorf("the catalogue is complete, and empty")
	}
}
