package subscriptiontest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// probe is one case under way.
type probe struct {
	T

	//nolint:containedctx // It lives as long as the case.
	ctx     context.Context
	subject Subject
	api     subscription.API
	caps    subscription.Capabilities
	made    []string
}

// unique is a text that no other subscription holds.
func unique() string { return strings.ToLower(rand.Text()[:16]) }

// url is an endpoint of a scheme that the provider allows, which nobody calls.
func (p *probe) url() string {
	scheme := "https"
	if !slices.Contains(p.caps.URLSchemes, scheme) && len(p.caps.URLSchemes) > 0 {
		scheme = p.caps.URLSchemes[0]
	}

	return scheme + "://conformance.example/" + unique()
}

// events are event types the provider accepts, as many as wanted.
func (p *probe) events(count int) []string {
	if p.subject.Events != nil {
		if len(p.subject.Events) < count {
			p.Fatalf("the subject names %d event types, and %d are needed", len(p.subject.Events), count)
		}

		return slices.Clone(p.subject.Events[:count])
	}
	events := make([]string, count)
	for i := range events {
		events[i] = fmt.Sprintf("conformance.event%03d.v1", i)
	}

	return events
}

// draft is the least there is to a subscription.
func (p *probe) draft() subscription.Draft {
	draft := subscription.Draft{URL: p.url(), Events: p.events(1), Enabled: true}
	if p.caps.Has(subscription.FieldName) {
		draft.Name = "conformance-" + unique()
	}

	return draft
}

// create makes a subscription that has to succeed, and waits until it shows.
func (p *probe) create(draft subscription.Draft) subscription.Created {
	p.Helper()
	created, err := p.api.Create(p.ctx, draft)
	if err != nil {
		p.Fatalf("creating a subscription: %v", err)
	}
	if created.ID == "" {
		p.Fatalf("creating a subscription answered no id")
	}
	p.made = append(p.made, created.ID)
	p.settle()

	return created
}

// refused sees to it that a draft is refused, and returns the error.
func (p *probe) refused(draft subscription.Draft) error {
	p.Helper()
	created, err := p.api.Create(p.ctx, draft)
	if err == nil {
		p.made = append(p.made, created.ID)
		p.Fatalf("creating it was to be refused, and succeeded")
	}

	return err
}

func (p *probe) update(id string, patch subscription.Patch) subscription.Subscription {
	p.Helper()
	updated, err := p.api.Update(p.ctx, id, patch)
	if err != nil {
		p.Fatalf("updating a subscription: %v", err)
	}
	p.settle()

	return updated
}

func (p *probe) get(id string) subscription.Subscription {
	p.Helper()
	got, err := p.api.Get(p.ctx, id)
	if err != nil {
		p.Fatalf("getting a subscription: %v", err)
	}

	return got
}

// listed are the subscriptions of the list that satisfy a condition.
func (p *probe) listed(want func(subscription.Subscription) bool) []subscription.Subscription {
	p.Helper()
	list, err := p.api.List(p.ctx)
	if err != nil {
		p.Fatalf("listing subscriptions: %v", err)
	}

	return slices.DeleteFunc(list, func(s subscription.Subscription) bool { return !want(s) })
}

func byID(id string) func(subscription.Subscription) bool {
	return func(s subscription.Subscription) bool { return s.ID == id }
}

func byURL(url string) func(subscription.Subscription) bool {
	return func(s subscription.Subscription) bool { return s.URL == url }
}

func (p *probe) settle() {
	p.Helper()
	if p.subject.Settle == nil {
		if p.caps.VisibilityDelay > 0 {
			p.Fatalf("the provider's writes show after %s: Subject.Settle is needed to wait for it", p.caps.VisibilityDelay)
		}

		return
	}
	if err := p.subject.Settle(p.ctx); err != nil {
		p.Fatalf("waiting for writes to show: %v", err)
	}
}

// equal compares two subscriptions; events are a set, and empty lists are equal to none.
func (p *probe) equal(what string, want, got subscription.Subscription, ignored ...string) {
	p.Helper()
	options := cmp.Options{
		cmpopts.EquateEmpty(), cmpopts.EquateApproxTime(time.Second), cmpopts.IgnoreFields(subscription.Subscription{}, ignored...),
	}
	want.Events, got.Events = slices.Sorted(slices.Values(want.Events)), slices.Sorted(slices.Values(got.Events))
	if diff := cmp.Diff(want, got, options); diff != "" {
		p.Errorf("%s, -want +got:\n%s", what, diff)
	}
}

// notFound sees to it that each method answers ErrNotFound for an id.
func (p *probe) notFound(id string) {
	p.Helper()
	on := true
	answers := map[string]error{}
	_, answers["Get"] = p.api.Get(p.ctx, id)
	_, answers["Update"] = p.api.Update(p.ctx, id, subscription.Patch{Enabled: &on})
	answers["Delete"] = p.api.Delete(p.ctx, id)
	if p.caps.Statuses {
		_, answers["Statuses"] = p.api.Statuses(p.ctx, id)
	}
	if p.caps.Logs {
		_, answers["Logs"] = p.api.Logs(p.ctx, id, subscription.LogQuery{})
	}
	for method, err := range answers {
		if !errors.Is(err, subscription.ErrNotFound) {
			p.Errorf("%s of the id %q, which does not exist: want ErrNotFound, got %v", method, id, err)
		}
	}
}

// eventually waits until look finds nothing missing; it says what is otherwise.
func (p *probe) eventually(look func() (missing string)) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, deliveryTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		missing := look()
		if missing == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.Fatalf("after %s: %s", deliveryTimeout, missing)
		}
	}
}

// cleanUp deletes what the case made.
func (p *probe) cleanUp() {
	p.Helper()
	// The case's own time may be over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), caseTimeout)
	defer cancel()
	for _, id := range p.made {
		if err := p.api.Delete(ctx, id); err != nil && !errors.Is(err, subscription.ErrNotFound) {
			p.Errorf("deleting what the case made: %v", err)
		}
	}
}
