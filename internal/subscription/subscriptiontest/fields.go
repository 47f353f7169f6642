package subscriptiontest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// field is one field of a subscription: how it is asked for and how it comes back.
type field struct {
	field subscription.Field
	// shows are the fields of subscription.Subscription it is seen in.
	shows []string
	draft func(p *probe, d *subscription.Draft)
	patch func(p *probe) subscription.Patch
	// want is what Get answers of what was asked for; got is all of the answer.
	want func(p *probe, asked subscription.Subscription) any
	read func(got subscription.Subscription) any
}

// fields are all fields but the signing secret, which is not read back.
func fields() []field {
	all := []field{
		{
			field: subscription.FieldName, shows: []string{"Name"},
			draft: func(_ *probe, d *subscription.Draft) { d.Name = "conformance-ü-" + unique() },
			patch: func(*probe) subscription.Patch {
				name := "conformance-ü-" + unique()
				return subscription.Patch{Name: &name}
			},
			read: func(s subscription.Subscription) any { return s.Name },
		},
		{
			field: subscription.FieldURL, shows: []string{"URL"},
			draft: func(p *probe, d *subscription.Draft) { d.URL = p.url() + "/a%20b?c=d&e=%2F" },
			patch: func(p *probe) subscription.Patch { url := p.url() + "?x=y"; return subscription.Patch{URL: &url} },
			read:  func(s subscription.Subscription) any { return s.URL },
		},
		{
			field: subscription.FieldEvents, shows: []string{"Events"},
			draft: func(p *probe, d *subscription.Draft) { d.Events = p.events(min(2, p.caps.EventLimit())) },
			patch: func(p *probe) subscription.Patch {
				events := p.events(3)[2:]
				return subscription.Patch{Events: &events}
			},
			read: func(s subscription.Subscription) any { return slices.Sorted(slices.Values(s.Events)) },
		},
		{
			field: subscription.FieldEnabled, shows: []string{"Enabled"},
			draft: func(_ *probe, d *subscription.Draft) { d.Enabled = false },
			patch: func(*probe) subscription.Patch { off := false; return subscription.Patch{Enabled: &off} },
			read:  func(s subscription.Subscription) any { return s.Enabled },
		},
		authorization(subscription.FieldBasic, subscription.Authorization{
			Scheme: subscription.SchemeBasic, Username: "user", Password: secretText + "basic",
		}),
		authorization(subscription.FieldBearer, subscription.Authorization{
			Scheme: subscription.SchemeBearer, Token: secretText + "bearer",
		}),
		header(subscription.FieldHeaders, subscription.Header{Name: "X-Team", Value: "support"}),
		header(subscription.FieldHeaderSecrets, subscription.Header{Name: "X-Api-Key", Value: secretText + "header", Sensitive: true}),
	}

	return append(all, deliveryFields()...)
}

// forms are the differences between what was asked for and what comes back that mean nothing. Where all
// values come back, nothing tells those that came from a Secret.
func (p *probe) forms() cmp.Options {
	forms := cmp.Options{cmpopts.EquateEmpty()}
	if p.caps.CredentialsReadable {
		forms = append(forms, cmpopts.IgnoreFields(subscription.Header{}, "Sensitive"))
	}

	return forms
}

// secretText begins what must not be read back.
const secretText = "conformance-s3cret-"

func authorization(name subscription.Field, value subscription.Authorization) field {
	return field{
		field: name, shows: []string{"Authorization"},
		draft: func(_ *probe, d *subscription.Draft) { d.Authorization = value },
		patch: func(*probe) subscription.Patch { return subscription.Patch{Authorization: &value} },
		want: func(p *probe, _ subscription.Subscription) any {
			want := value
			if !p.caps.CredentialsReadable {
				want.Password, want.Token = "", ""
			}

			return want
		},
		read: func(s subscription.Subscription) any { return s.Authorization },
	}
}

func header(name subscription.Field, value subscription.Header) field {
	return field{
		field: name, shows: []string{"Headers"},
		draft: func(_ *probe, d *subscription.Draft) { d.Headers = []subscription.Header{value} },
		patch: func(*probe) subscription.Patch {
			return subscription.Patch{Headers: &[]subscription.Header{value}}
		},
		want: func(p *probe, _ subscription.Subscription) any {
			want := value
			if value.Sensitive && !p.caps.CredentialsReadable {
				want.Value = ""
			}

			return []subscription.Header{want}
		},
		read: func(s subscription.Subscription) any { return s.Headers },
	}
}

// deliveryFields are the settings of delivery.
func deliveryFields() []field {
	setting := func(name subscription.Field, settings subscription.Delivery, read func(subscription.Delivery) any) field {
		return field{
			field: name, shows: []string{"Delivery"},
			draft: func(_ *probe, d *subscription.Draft) { d.Delivery = settings },
			patch: func(*probe) subscription.Patch { return subscription.Patch{Delivery: &settings} },
			read:  func(s subscription.Subscription) any { return read(s.Delivery) },
			want:  func(*probe, subscription.Subscription) any { return read(settings) },
		}
	}

	return []field{
		setting(subscription.FieldTimeout, subscription.Delivery{Timeout: 7 * time.Second}, func(d subscription.Delivery) any { return d.Timeout }),
		setting(subscription.FieldMaxAttempts, subscription.Delivery{MaxAttempts: 3}, func(d subscription.Delivery) any { return d.MaxAttempts }),
		setting(subscription.FieldMaxInFlight, subscription.Delivery{MaxInFlight: 4}, func(d subscription.Delivery) any { return d.MaxInFlight }),
		setting(subscription.FieldRateLimit, subscription.Delivery{RateLimit: 5}, func(d subscription.Delivery) any { return d.RateLimit }),
		setting(subscription.FieldOrdering, subscription.Delivery{Ordering: subscription.OrderingByKey},
			func(d subscription.Delivery) any { return d.Ordering }),
		setting(subscription.FieldFormat, subscription.Delivery{Format: subscription.FormatCloudEvents},
			func(d subscription.Delivery) any { return d.Format }),
	}
}

// fieldCases are, for each field, that it can be created with and updated alone.
func fieldCases() []conformance {
	cases := []conformance{
		{name: "UpdateOfSeveralFields", check: checkSeveralFields},
		{name: "CreateOfEveryField", check: checkEveryField},
		{name: "HeadersAreSortedAndCanonical", needs: has(subscription.FieldHeaders), check: checkHeaderForm},
		{name: "AuthorizationIsRemoved", needs: hasAuthorization, check: checkAuthorizationRemoved},
		{name: "HeadersAreRemoved", needs: has(subscription.FieldHeaders), check: checkHeadersRemoved},
		{name: "EnabledAgain", needs: has(subscription.FieldEnabled), check: checkEnabledAgain},
		{name: "PatternsAreKept", needs: func(c subscription.Capabilities) bool { return c.Wildcards }, check: checkPatterns},
		{name: "AsManyEventsAsAllowed", hook: func(s Subject) bool { return s.Events == nil }, check: checkEventLimit},
		{name: "LackingFieldsAreRefusedByName", check: checkLackingFields},
		{name: "ImmutableFieldsAreRefusedByName", check: checkImmutableFields},
		{name: "FormatsAreHonouredOrRefused", check: checkFormats},
	}
	for _, f := range fields() {
		needs := has(f.field)
		if f.field == subscription.FieldURL || f.field == subscription.FieldEvents {
			// Every provider has them.
			needs = nil
		}
		changeable := func(c subscription.Capabilities) bool { return (needs == nil || needs(c)) && !c.IsImmutable(f.field) }
		cases = append(cases,
			conformance{name: "Create/" + string(f.field), needs: needs, check: f.checkCreate},
			conformance{name: "Update/" + string(f.field), needs: changeable, check: f.checkUpdate},
		)
	}

	return cases
}

func has(f subscription.Field) func(subscription.Capabilities) bool {
	return func(c subscription.Capabilities) bool { return c.Has(f) }
}

func hasAuthorization(c subscription.Capabilities) bool {
	return c.Has(subscription.FieldBearer) || c.Has(subscription.FieldBasic)
}

// asked is a draft as it should come back.
func asked(d subscription.Draft) subscription.Subscription {
	return subscription.Subscription{
		Name: d.Name, URL: d.URL, Events: d.Events, Enabled: d.Enabled,
		Authorization: d.Authorization, Headers: d.Headers, Delivery: d.Delivery, Options: d.Options,
	}
}

// wanted is what comes back of what was asked for.
func (f field) wanted(p *probe, ask subscription.Subscription) any {
	if f.want != nil {
		return f.want(p, ask)
	}

	return f.read(ask)
}

func (f field) checkCreate(p *probe) {
	draft := p.draft()
	f.draft(p, &draft)
	created := p.create(draft)
	want := f.wanted(p, asked(draft))
	for where, got := range map[string]subscription.Subscription{"Create": created.Subscription, "Get": p.get(created.ID)} {
		if diff := cmp.Diff(want, f.read(got), p.forms()); diff != "" {
			p.Errorf("%s after a create with %s, -want +got:\n%s", where, f.field, diff)
		}
	}
}

func (f field) checkUpdate(p *probe) {
	created := p.create(p.draft())
	patch := f.patch(p)
	updated := p.update(created.ID, patch)
	ask := created.Clone()
	applyPatch(&ask, patch)
	want := f.wanted(p, ask)
	for where, got := range map[string]subscription.Subscription{"Update": updated, "Get": p.get(created.ID)} {
		if diff := cmp.Diff(want, f.read(got), p.forms()); diff != "" {
			p.Errorf("%s after an update of %s, -want +got:\n%s", where, f.field, diff)
		}
		p.equal(fmt.Sprintf("%s after an update of %s has the rest as it was", where, f.field),
			created.Subscription, got, append([]string{"State", "UpdatedAt"}, f.shows...)...)
	}
}

// applyPatch puts what a patch sets into a subscription.
func applyPatch(s *subscription.Subscription, patch subscription.Patch) {
	put(&s.Name, patch.Name)
	put(&s.URL, patch.URL)
	put(&s.Events, patch.Events)
	put(&s.Enabled, patch.Enabled)
	put(&s.Authorization, patch.Authorization)
	put(&s.Headers, patch.Headers)
	put(&s.Delivery, patch.Delivery)
}

func put[V any](field, value *V) {
	if value != nil {
		*field = *value
	}
}

func checkSeveralFields(p *probe) {
	created := p.create(p.draft())
	url := p.url()
	patch := subscription.Patch{URL: &url}
	want := created.Clone()
	if !p.caps.IsImmutable(subscription.FieldEvents) {
		events := p.events(2)[1:]
		patch.Events = &events
	}
	if p.caps.Has(subscription.FieldName) {
		name := "conformance-" + unique()
		patch.Name = &name
	}
	if p.caps.Has(subscription.FieldEnabled) {
		off := false
		patch.Enabled = &off
	}
	applyPatch(&want, patch)
	p.equal("Update answers the whole", want, p.update(created.ID, patch), "State", "UpdatedAt")
	p.equal("Get answers the whole", want, p.get(created.ID), "State", "UpdatedAt")
}

// checkEveryField creates with all that the provider has at once.
func checkEveryField(p *probe) {
	draft := p.draft()
	var set []field
	settings := subscription.Delivery{}
	for _, f := range fields() {
		if !p.caps.Has(f.field) {
			continue
		}
		one := draft
		f.draft(p, &one)
		// Each sets delivery as a whole, headers and authorization too: the settings are put together.
		merge(&settings, one.Delivery)
		one.Delivery = settings
		draft = one
		set = append(set, f)
	}
	created := p.create(draft)
	got := p.get(created.ID)
	p.equal("Get answers what Create did", created.Subscription, got)
	for _, f := range set {
		if f.superseded(draft) {
			continue
		}
		if diff := cmp.Diff(f.wanted(p, asked(draft)), f.read(got), p.forms()); diff != "" {
			p.Errorf("%s created among all fields, -want +got:\n%s", f.field, diff)
		}
	}
}

func merge(into *subscription.Delivery, more subscription.Delivery) {
	into.Timeout = max(into.Timeout, more.Timeout)
	into.MaxAttempts = max(into.MaxAttempts, more.MaxAttempts)
	into.MaxInFlight = max(into.MaxInFlight, more.MaxInFlight)
	into.RateLimit = max(into.RateLimit, more.RateLimit)
	into.Format = max(into.Format, more.Format)
	into.Ordering = max(into.Ordering, more.Ordering)
}

// superseded tells whether a later field took this one's place in the draft.
func (f field) superseded(draft subscription.Draft) bool {
	switch f.field {
	case subscription.FieldBasic:
		return draft.Authorization.Scheme != subscription.SchemeBasic
	case subscription.FieldHeaders:
		return len(draft.Headers) == 0 || draft.Headers[0].Sensitive
	default:
		return false
	}
}

func checkHeaderForm(p *probe) {
	draft := p.draft()
	draft.Headers = []subscription.Header{{Name: "x-zone", Value: "z"}, {Name: "X-ALPHA", Value: "a"}}
	want := []subscription.Header{{Name: "X-Alpha", Value: "a"}, {Name: "X-Zone", Value: "z"}}
	if diff := cmp.Diff(want, p.get(p.create(draft).ID).Headers); diff != "" {
		p.Errorf("headers come back sorted, with names in canonical form, -want +got:\n%s", diff)
	}
}

func checkAuthorizationRemoved(p *probe) {
	draft := p.draft()
	draft.Authorization = subscription.Authorization{Scheme: subscription.SchemeBearer, Token: secretText + "token"}
	if !p.caps.Has(subscription.FieldBearer) {
		draft.Authorization = subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "user", Password: secretText}
	}
	created := p.create(draft)
	p.update(created.ID, subscription.Patch{Authorization: &subscription.Authorization{Scheme: subscription.SchemeNone}})
	if got := p.get(created.ID).Authorization; got.SchemeOrNone() != subscription.SchemeNone || got.Username != "" {
		p.Errorf("a removed authorization comes back with the scheme %s and the username %q", got.Scheme, got.Username)
	}
}

func checkHeadersRemoved(p *probe) {
	draft := p.draft()
	draft.Headers = []subscription.Header{{Name: "X-Team", Value: "support"}}
	created := p.create(draft)
	p.update(created.ID, subscription.Patch{Headers: &[]subscription.Header{}})
	if got := p.get(created.ID).Headers; len(got) != 0 {
		p.Errorf("removed headers come back: %d", len(got))
	}
}

func checkEnabledAgain(p *probe) {
	draft := p.draft()
	draft.Enabled = false
	created := p.create(draft)
	on := true
	if updated := p.update(created.ID, subscription.Patch{Enabled: &on}); !updated.Enabled || !p.get(created.ID).Enabled {
		p.Errorf("a subscription that is enabled again comes back disabled")
	}
}

func checkPatterns(p *probe) {
	for _, pattern := range []string{"*", "channel.*", "agent.presence*.v1", "*.created", "a.*.c"} {
		draft := p.draft()
		draft.Events = []string{pattern}
		if diff := cmp.Diff(draft.Events, p.get(p.create(draft).ID).Events); diff != "" {
			p.Errorf("a pattern comes back as it was written, -want +got:\n%s", diff)
		}
	}
}

func checkEventLimit(p *probe) {
	limit := p.caps.EventLimit()
	draft := p.draft()
	draft.Events = p.events(limit)
	if diff := cmp.Diff(draft.Events, slices.Sorted(slices.Values(p.get(p.create(draft).ID).Events))); diff != "" {
		p.Errorf("%d events come back, -want +got:\n%s", limit, diff)
	}
	more := p.draft()
	more.Events = p.events(limit + 1)
	p.wantInvalid(subscription.FieldEvents, p.refused(more))
}

// checkLackingFields sees to it that what a provider cannot honour is refused, not ignored.
func checkLackingFields(p *probe) {
	created := p.create(p.draft())
	for _, f := range fields() {
		if p.caps.Has(f.field) || f.field == subscription.FieldURL || f.field == subscription.FieldEvents {
			continue
		}
		draft := p.draft()
		f.draft(p, &draft)
		p.wantUnsupported(f.field, p.refused(draft))
		_, err := p.api.Update(p.ctx, created.ID, f.patch(p))
		p.wantUnsupported(f.field, err)
	}
	for name, options := range map[subscription.Field]subscription.Options{
		subscription.FieldBirdOptions: {Bird: &subscription.BirdOptions{Template: "text"}},
		subscription.FieldDixaOptions: {Dixa: &subscription.DixaOptions{}},
	} {
		if p.caps.Has(name) {
			continue
		}
		draft := p.draft()
		draft.Options = options
		p.wantUnsupported(name, p.refused(draft))
		_, err := p.api.Update(p.ctx, created.ID, subscription.Patch{Options: &options})
		p.wantUnsupported(name, err)
	}
	p.settle()
	p.equal("what was refused has changed nothing", created.Subscription, p.get(created.ID))
}

// checkImmutableFields sees to it that what cannot be changed is refused, not ignored.
func checkImmutableFields(p *probe) {
	created := p.create(p.draft())
	for _, f := range fields() {
		if p.caps.IsImmutable(f.field) {
			_, err := p.api.Update(p.ctx, created.ID, f.patch(p))
			p.wantUnsupported(f.field, err)
		}
	}
	p.settle()
	p.equal("what was refused has changed nothing", created.Subscription, p.get(created.ID))
}

func (p *probe) wantUnsupported(f subscription.Field, err error) {
	p.Helper()
	var unsupported *subscription.UnsupportedError
	if !errors.As(err, &unsupported) {
		p.Errorf("%s, which the provider lacks: want *UnsupportedError, got %v", f, err)

		return
	}
	if !slices.ContainsFunc(unsupported.What, func(what string) bool { return strings.HasPrefix(what, string(f)) }) {
		p.Errorf("%s, which the provider lacks: the error names %q instead", f, unsupported.What)
	}
}

// checkFormats sees to it that no format is taken for another.
func checkFormats(p *probe) {
	for _, format := range []subscription.Format{
		subscription.FormatCloudEvents, subscription.FormatVonage, subscription.FormatDixa, subscription.FormatBird,
	} {
		draft := p.draft()
		draft.Delivery.Format = format
		created, err := p.api.Create(p.ctx, draft)
		if err != nil {
			p.wantUnsupported(subscription.FieldFormat, err)

			continue
		}
		p.made = append(p.made, created.ID)
		p.settle()
		if got := p.get(created.ID).Delivery.Format; got != format {
			p.Errorf("the format %s was accepted and comes back as %q", format, got)
		}
	}
}
