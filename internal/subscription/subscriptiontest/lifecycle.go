package subscriptiontest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// lifecycleCases are what becomes of one subscription from create to delete.
func lifecycleCases() []conformance {
	return []conformance{
		{name: "CapabilitiesAreSound", check: checkCapabilities},
		{name: "CreatedShows", check: checkCreatedShows},
		{name: "IDsDiffer", check: checkIDsDiffer},
		{name: "EmptyPatchChangesNothing", check: checkEmptyPatch},
		{name: "DeletedIsGone", check: checkDeleted},
		{name: "UnknownIDs", check: checkUnknownIDs},
		{name: "NothingIsShared", check: checkNothingIsShared},
		{name: "TimesMoveForward", check: checkTimes},
		{name: "AccountsAreApart", hook: func(s Subject) bool { return s.Other != nil }, check: checkAccounts},
		{name: "NewOnesAreActive", check: checkNewIsActive},
		{name: "SuspendedShows", hook: canSuspend, check: checkSuspendedShows},
		{name: "ResumeLiftsSuspension", hook: canSuspend, needs: resumable, check: checkResume},
		{name: "NewURLLiftsSuspension", hook: canSuspend, needs: resumable, check: checkNewURLLifts},
		{name: "ResumeOfAnActiveOne", needs: resumable, check: checkResumeOfActive},
	}
}

func canSuspend(s Subject) bool { return s.Suspend != nil }

func resumable(c subscription.Capabilities) bool { return c.Resumable }

func checkCapabilities(p *probe) {
	if p.caps.Provider == "" {
		p.Errorf("the capabilities name no provider")
	}
	if len(p.caps.URLSchemes) == 0 {
		p.Errorf("the capabilities allow no URL scheme")
	}
	if len(p.caps.NaturalKey) == 0 {
		p.Errorf("the capabilities have no natural key: a create whose answer is lost could not be found again")
	}
	for _, field := range p.caps.NaturalKey {
		if field == subscription.FieldName && !p.caps.Has(subscription.FieldName) {
			p.Errorf("the natural key is made of names, which the provider has not")
		}
	}
	switch p.caps.Secret {
	case subscription.SecretSettable, subscription.SecretProviderMade:
	default:
		p.Errorf("the capabilities do not say who makes the signing secret: %q", p.caps.Secret)
	}
	if diff := cmp.Diff(p.caps, p.api.Capabilities()); diff != "" {
		p.Errorf("the capabilities change from call to call:\n%s", diff)
	}
}

func checkCreatedShows(p *probe) {
	draft := p.draft()
	created := p.create(draft)
	want := subscription.Subscription{Name: draft.Name, URL: draft.URL, Events: draft.Events, Enabled: true}
	p.equal("Create answers what was asked for", want, created.Subscription, "ID", "State", "CreatedAt", "UpdatedAt", "Delivery")
	p.equal("Get answers what Create did", created.Subscription, p.get(created.ID))
	listed := p.listed(byID(created.ID))
	if len(listed) != 1 {
		p.Fatalf("List has the new subscription %d times", len(listed))
	}
	p.equal("List answers what Create did", created.Subscription, listed[0])
}

func checkIDsDiffer(p *probe) {
	first, second := p.create(p.draft()), p.create(p.draft())
	if first.ID == second.ID {
		p.Errorf("two subscriptions have the id %q", first.ID)
	}
	if len(p.listed(func(s subscription.Subscription) bool { return s.ID == first.ID || s.ID == second.ID })) != 2 {
		p.Errorf("List lacks one of two subscriptions")
	}
}

func checkEmptyPatch(p *probe) {
	created := p.create(p.draft())
	p.equal("an empty patch changes nothing", created.Subscription, p.update(created.ID, subscription.Patch{}))
	p.equal("an empty patch has changed nothing", created.Subscription, p.get(created.ID))
}

func checkDeleted(p *probe) {
	gone, stays := p.create(p.draft()), p.create(p.draft())
	if err := p.api.Delete(p.ctx, gone.ID); err != nil {
		p.Fatalf("deleting a subscription: %v", err)
	}
	p.settle()
	p.notFound(gone.ID)
	if len(p.listed(byID(gone.ID))) != 0 {
		p.Errorf("List still has the deleted subscription")
	}
	p.equal("another one stays as it was", stays.Subscription, p.get(stays.ID))
}

func checkUnknownIDs(p *probe) {
	for _, id := range []string{
		"", "2V1lVz6FeKOuVLEpSU6M0aqkM9b", "no such id", "../" + unique(), "a/b", "?x=1", "#", "%2F", strings.Repeat("x", 200), "ü",
	} {
		p.notFound(id)
	}
	if _, err := p.api.List(p.ctx); err != nil {
		p.Errorf("listing after unknown ids: %v", err)
	}
}

// checkNothingIsShared sees to it that callers may change what they gave and got.
func checkNothingIsShared(p *probe) {
	draft := p.draft()
	if p.caps.Has(subscription.FieldHeaders) {
		draft.Headers = []subscription.Header{{Name: "X-Team", Value: "support"}}
	}
	created := p.create(draft)
	want := created.Clone()
	spoil := func(s subscription.Subscription) {
		for i := range s.Events {
			s.Events[i] = "spoilt.event"
		}
		for i := range s.Headers {
			s.Headers[i].Value = "spoilt"
		}
	}
	spoil(subscription.Subscription{Events: draft.Events, Headers: draft.Headers})
	spoil(created.Subscription)
	spoil(p.get(created.ID))
	for _, listed := range p.listed(byID(created.ID)) {
		spoil(listed)
	}
	p.equal("changing what was given and got changes no subscription", want, p.get(created.ID))
}

func checkTimes(p *probe) {
	created := p.create(p.draft())
	url := p.url()
	updated := p.update(created.ID, subscription.Patch{URL: &url})
	if !created.CreatedAt.Equal(updated.CreatedAt) {
		p.Errorf("an update moved the time of creation from %s to %s", created.CreatedAt, updated.CreatedAt)
	}
	if updated.UpdatedAt.Before(created.UpdatedAt) || updated.UpdatedAt.Before(updated.CreatedAt) {
		p.Errorf("created at %s, updated at %s and before that at %s", updated.CreatedAt, updated.UpdatedAt, created.UpdatedAt)
	}
}

func checkAccounts(p *probe) {
	draft := p.draft()
	mine := p.create(draft)
	theirs := &probe{T: p.T, ctx: p.ctx, subject: p.subject, api: p.subject.Other, caps: p.subject.Other.Capabilities()}
	defer theirs.cleanUp()
	theirs.notFound(mine.ID)
	if len(theirs.listed(byID(mine.ID))) != 0 {
		p.Errorf("another account lists the subscription")
	}
	twin := theirs.create(draft)
	p.equal("the subscription is as it was", mine.Subscription, p.get(mine.ID))
	p.notFound(twin.ID)
}

func checkNewIsActive(p *probe) {
	created := p.create(p.draft())
	if created.State.IsSuspended() || p.get(created.ID).State.IsSuspended() {
		p.Errorf("a new subscription is suspended")
	}
}

// suspended is a new subscription that the provider has suspended.
func (p *probe) suspended() subscription.Subscription {
	p.Helper()
	created := p.create(p.draft())
	if err := p.subject.Suspend(p.ctx, created.ID); err != nil {
		p.Fatalf("having the provider suspend a subscription: %v", err)
	}
	var got subscription.Subscription
	p.eventually(func() string {
		if got = p.get(created.ID); !got.State.IsSuspended() {
			return fmt.Sprintf("the suspended subscription shows as %q", got.State.Phase)
		}

		return ""
	})

	return got
}

func checkSuspendedShows(p *probe) {
	got := p.suspended()
	if !got.Enabled {
		p.Errorf("a suspended subscription must stay enabled: that is its owner's wish")
	}
	if got.State.Reason == "" {
		p.Errorf("a suspended subscription has no reason")
	}
	for _, listed := range p.listed(byID(got.ID)) {
		if !listed.State.IsSuspended() {
			p.Errorf("List shows the suspended subscription as %q", listed.State.Phase)
		}
	}
}

func checkResume(p *probe) {
	before := p.suspended()
	after := p.update(before.ID, subscription.Patch{Resume: true})
	if after.State.IsSuspended() || p.get(before.ID).State.IsSuspended() {
		p.Errorf("a resumed subscription is still suspended")
	}
	p.equal("resuming changes nothing else", before, after, "State", "UpdatedAt")
}

func checkNewURLLifts(p *probe) {
	before, url := p.suspended(), p.url()
	if p.update(before.ID, subscription.Patch{URL: &url}); p.get(before.ID).State.IsSuspended() {
		p.Errorf("a subscription with a new URL is still suspended")
	}
}

func checkResumeOfActive(p *probe) {
	created := p.create(p.draft())
	p.equal("resuming an active subscription changes nothing",
		created.Subscription, p.update(created.ID, subscription.Patch{Resume: true}), "UpdatedAt")
}

// nameCases are about names that are unique.
func nameCases() []conformance {
	unique := func(c subscription.Capabilities) bool { return c.NamesUnique }

	return []conformance{
		{name: "NameTakenByCreate", needs: unique, check: checkNameTakenByCreate},
		{name: "NameTakenByUpdate", needs: unique, check: checkNameTakenByUpdate},
		// A name that others may share is free all the time.
		{name: "NameIsFreeAgain", needs: has(subscription.FieldName), check: checkNameIsFreeAgain},
		{name: "OneOfManyGetsTheName", needs: unique, check: checkConcurrentCreates},
	}
}

func checkNameTakenByCreate(p *probe) {
	first := p.create(p.draft())
	second := p.draft()
	second.Name = first.Name
	if err := p.refused(second); !errors.Is(err, subscription.ErrNameTaken) {
		p.Errorf("creating a second subscription of a name: want ErrNameTaken, got %v", err)
	}
	p.settle()
	p.equal("the first stays as it was", first.Subscription, p.get(first.ID))
	if len(p.listed(byURL(second.URL))) != 0 {
		p.Errorf("the second was created all the same")
	}
}

func checkNameTakenByUpdate(p *probe) {
	first, second := p.create(p.draft()), p.create(p.draft())
	name := first.Name
	if _, err := p.api.Update(p.ctx, second.ID, subscription.Patch{Name: &name}); !errors.Is(err, subscription.ErrNameTaken) {
		p.Errorf("giving a subscription the name of another: want ErrNameTaken, got %v", err)
	}
	p.settle()
	p.equal("the second keeps its name", second.Subscription, p.get(second.ID))
	own := second.Name
	p.equal("its own name is not taken", second.Subscription, p.update(second.ID, subscription.Patch{Name: &own}), "UpdatedAt")
}

func checkNameIsFreeAgain(p *probe) {
	first := p.create(p.draft())
	renamed := "conformance-" + unique()
	p.update(first.ID, subscription.Patch{Name: &renamed})
	second := p.draft()
	second.Name = first.Name
	p.create(second)
	if err := p.api.Delete(p.ctx, first.ID); err != nil {
		p.Fatalf("deleting a subscription: %v", err)
	}
	p.settle()
	third := p.draft()
	third.Name = renamed
	p.create(third)
}

// contenders is how many creates of one name are under way at once.
const contenders = 8

func checkConcurrentCreates(p *probe) {
	type answer struct {
		created subscription.Created
		err     error
	}
	drafts := make([]subscription.Draft, contenders)
	name := "conformance-" + unique()
	for i := range drafts {
		drafts[i] = p.draft()
		drafts[i].Name = name
	}
	answers := make(chan answer, contenders)
	for _, draft := range drafts {
		go func() {
			created, err := p.api.Create(p.ctx, draft)
			answers <- answer{created, err}
		}()
	}
	var won []string
	for range contenders {
		switch a := <-answers; {
		case a.err == nil:
			p.made = append(p.made, a.created.ID)
			won = append(won, a.created.ID)
		case !errors.Is(a.err, subscription.ErrNameTaken):
			p.Errorf("creating a subscription of a name that others take: want ErrNameTaken, got %v", a.err)
		}
	}
	if len(won) != 1 {
		p.Fatalf("%d of %d creates of one name succeeded at once: exactly one must", len(won), contenders)
	}
	p.settle()
	listed := p.listed(func(s subscription.Subscription) bool { return s.Name == name })
	ids := make([]string, 0, len(listed))
	for _, s := range listed {
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	if diff := cmp.Diff(won, ids, cmpopts.EquateEmpty()); diff != "" {
		p.Errorf("List has the one that won, -won +listed:\n%s", diff)
	}
}
