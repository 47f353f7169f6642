package registry_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
	"github.com/hookline-dev/hookline/internal/subscription/subscriptiontest"
)

// broken is the registry's port with one fault. A nil hook leaves that part whole.
type broken struct {
	subscription.API

	capabilities func(subscription.Capabilities) subscription.Capabilities
	list         func([]subscription.Subscription) []subscription.Subscription
	get          func(subscription.Subscription, error) (subscription.Subscription, error)
	draft        func(*subscription.Draft)
	created      func(subscription.Created, error) (subscription.Created, error)
	patch        func(*subscription.Patch)
	updated      func(subscription.Subscription, error) (subscription.Subscription, error)
	deleted      func(id string, del func() error) error
	statuses     func([]subscription.DeliveryStatus, error) ([]subscription.DeliveryStatus, error)
	cursor       func(string) (string, error)
	query        func(*subscription.LogQuery)
	logs         func([]subscription.LogEntry, error) ([]subscription.LogEntry, error)
	eventTypes   func([]subscription.EventType) []subscription.EventType
}

func (b *broken) Capabilities() subscription.Capabilities {
	caps := b.API.Capabilities()
	if b.capabilities != nil {
		caps = b.capabilities(caps)
	}

	return caps
}

func (b *broken) List(ctx context.Context) ([]subscription.Subscription, error) {
	list, err := b.API.List(ctx)
	if b.list != nil {
		list = b.list(list)
	}

	return list, err
}

func (b *broken) Get(ctx context.Context, id string) (subscription.Subscription, error) {
	got, err := b.API.Get(ctx, id)
	if b.get != nil {
		got, err = b.get(got, err)
	}

	return got, err
}

func (b *broken) Create(ctx context.Context, draft subscription.Draft) (subscription.Created, error) {
	if b.draft != nil {
		b.draft(&draft)
	}
	created, err := b.API.Create(ctx, draft)
	if b.created != nil {
		created, err = b.created(created, err)
	}

	return created, err
}

func (b *broken) Update(ctx context.Context, id string, patch subscription.Patch) (subscription.Subscription, error) {
	if b.patch != nil {
		b.patch(&patch)
	}
	updated, err := b.API.Update(ctx, id, patch)
	if b.updated != nil {
		updated, err = b.updated(updated, err)
	}

	return updated, err
}

func (b *broken) Delete(ctx context.Context, id string) error {
	del := func() error { return b.API.Delete(ctx, id) }
	if b.deleted != nil {
		return b.deleted(id, del)
	}

	return del()
}

func (b *broken) Statuses(ctx context.Context, id string) ([]subscription.DeliveryStatus, error) {
	statuses, err := b.API.Statuses(ctx, id)
	if b.statuses != nil {
		statuses, err = b.statuses(statuses, err)
	}

	return statuses, err
}

func (b *broken) StatusesChangedSince(ctx context.Context, cursor string) (subscription.Changes, error) {
	if b.cursor != nil {
		var err error
		if cursor, err = b.cursor(cursor); err != nil {
			return subscription.Changes{}, err
		}
	}

	return b.API.StatusesChangedSince(ctx, cursor)
}

func (b *broken) Logs(ctx context.Context, id string, query subscription.LogQuery) ([]subscription.LogEntry, error) {
	if b.query != nil {
		b.query(&query)
	}
	entries, err := b.API.Logs(ctx, id, query)
	if b.logs != nil {
		entries, err = b.logs(entries, err)
	}

	return entries, err
}

func (b *broken) EventTypes(ctx context.Context) ([]subscription.EventType, error) {
	types, err := b.API.EventTypes(ctx)
	if b.eventTypes != nil {
		types = b.eventTypes(types)
	}

	return types, err
}

// lenient retries a create that is refused with a change that lets it pass.
func lenient(api *subscription.API, retry func(error, *subscription.Draft) bool) func(*broken) {
	return func(b *broken) {
		var last subscription.Draft
		b.draft = func(d *subscription.Draft) { last = *d }
		b.created = func(c subscription.Created, err error) (subscription.Created, error) {
			if err == nil || !retry(err, &last) {
				return c, err
			}

			return (*api).Create(context.Background(), last)
		}
	}
}

// without is capabilities that lack fields, which the registry has all the same.
func without(caps subscription.Capabilities, fields ...subscription.Field) subscription.Capabilities {
	caps.Fields = maps.Clone(caps.Fields)
	for _, field := range fields {
		delete(caps.Fields, field)
	}

	return caps
}

var errVague = errors.New("something is wrong")

// fault is one way to be broken, and the case of the suite that finds it.
type fault struct {
	reason string
	found  string
	breaks func(api *subscription.API, b *broken)
}

func readFaults() map[string]fault {
	return map[string]fault{
		"ListLacksTheLast": {"a subscription is not listed", "CreatedShows", func(_ *subscription.API, b *broken) {
			b.list = func(l []subscription.Subscription) []subscription.Subscription { return l[:max(0, len(l)-1)] }
		}},
		"ListRepeats": {"a subscription is listed twice", "CreatedShows", func(_ *subscription.API, b *broken) {
			b.list = func(l []subscription.Subscription) []subscription.Subscription { return append(l, l...) }
		}},
		"ListDiffers": {"List tells other than Get", "CreatedShows", func(_ *subscription.API, b *broken) {
			b.list = func(l []subscription.Subscription) []subscription.Subscription {
				for i := range l {
					l[i].URL += "/"
				}

				return l
			}
		}},
		"GetLeaks": {"Get tells a token", "CredentialsAreNotReadBack", func(_ *subscription.API, b *broken) {
			var token string
			b.draft = func(d *subscription.Draft) { token = d.Authorization.Token }
			b.get = func(s subscription.Subscription, err error) (subscription.Subscription, error) {
				s.Authorization.Token = token

				return s, err
			}
		}},
		"GetLeaksTheSecret": {"Get tells the signing secret", "SecretIsGiven", func(_ *subscription.API, b *broken) {
			var secret string
			b.draft = func(d *subscription.Draft) { secret = d.Secret }
			b.get = func(s subscription.Subscription, err error) (subscription.Subscription, error) {
				s.State.Message = "signed with " + secret

				return s, err
			}
		}},
		"GetShares": {"Get hands out the same memory twice", "NothingIsShared", func(_ *subscription.API, b *broken) {
			held := map[string]subscription.Subscription{}
			b.get = func(s subscription.Subscription, err error) (subscription.Subscription, error) {
				if _, ok := held[s.ID]; !ok {
					held[s.ID] = s
				}

				return held[s.ID], err
			}
		}},
		"NotFoundIsVague": {"an unknown id answers another error", "UnknownIDs", func(_ *subscription.API, b *broken) {
			b.get = func(s subscription.Subscription, err error) (subscription.Subscription, error) {
				if errors.Is(err, subscription.ErrNotFound) {
					err = errVague
				}

				return s, err
			}
		}},
		"NoReason": {"a suspended one does not say why", "SuspendedShows", func(_ *subscription.API, b *broken) {
			b.get = func(s subscription.Subscription, err error) (subscription.Subscription, error) {
				s.State.Reason = ""

				return s, err
			}
		}},
		"SuspendedIsDisabled": {"a suspended one shows as disabled", "SuspendedShows", func(_ *subscription.API, b *broken) {
			b.get = func(s subscription.Subscription, err error) (subscription.Subscription, error) {
				s.Enabled = s.Enabled && !s.State.IsSuspended()

				return s, err
			}
		}},
		"CapabilitiesWaver": {"the capabilities change", "CapabilitiesAreSound", func(_ *subscription.API, b *broken) {
			calls := 0
			b.capabilities = func(c subscription.Capabilities) subscription.Capabilities {
				calls++
				c.MaxEvents = calls

				return c
			}
		}},
		"EventTypesUnsorted": {"the catalogue is not sorted", "EventTypesAreSorted", func(_ *subscription.API, b *broken) {
			b.eventTypes = func([]subscription.EventType) []subscription.EventType {
				return []subscription.EventType{{Name: "b"}, {Name: "a"}}
			}
		}},
	}
}

func writeFaults() map[string]fault {
	return map[string]fault{
		"NamesNotUnique": {"a taken name is given all the same", "NameTakenByCreate", func(api *subscription.API, b *broken) {
			lenient(api, func(err error, d *subscription.Draft) bool {
				d.Name += "-2"

				return errors.Is(err, subscription.ErrNameTaken)
			})(b)
		}},
		"TwinsOfOneName": {"contenders for a name all win", "OneOfManyGetsTheName", func(_ *subscription.API, b *broken) {
			b.created = func(c subscription.Created, err error) (subscription.Created, error) {
				if errors.Is(err, subscription.ErrNameTaken) {
					c.ID, err = "the-one-there-is", nil
				}

				return c, err
			}
		}},
		"RenameToTaken": {"an update to a taken name is left out silently", "NameTakenByUpdate", func(_ *subscription.API, b *broken) {
			b.patch = func(p *subscription.Patch) { p.Name = nil }
		}},
		"AnyURL": {"a wrong URL is mended silently", "Invalid/URLRelative", func(api *subscription.API, b *broken) {
			lenient(api, func(err error, d *subscription.Draft) bool {
				var invalid *subscription.InvalidError
				d.URL = "https://example.com" + d.URL

				return errors.As(err, &invalid) && invalid.Field == "url"
			})(b)
		}},
		"InvalidIsVague": {"a refusal has no kind", "Invalid/NameTooShort", func(_ *subscription.API, b *broken) {
			b.created = func(c subscription.Created, err error) (subscription.Created, error) {
				if err != nil {
					err = errVague
				}

				return c, err
			}
		}},
		"InvalidLeaks": {"a refusal repeats the secret", "Invalid/SecretTooShort", func(_ *subscription.API, b *broken) {
			var secret string
			b.draft = func(d *subscription.Draft) { secret = d.Secret }
			b.created = func(c subscription.Created, err error) (subscription.Created, error) {
				if err != nil {
					err = &subscription.InvalidError{Field: "secretRef", Message: "too short: " + secret}
				}

				return c, err
			}
		}},
		"OptionsIgnored": {"what the provider lacks is ignored", "LackingFieldsAreRefusedByName", func(_ *subscription.API, b *broken) {
			b.draft = func(d *subscription.Draft) { d.Options = subscription.Options{} }
		}},
		"OrderingIgnored": {"an ordering is ignored", "Create/delivery.ordering", func(_ *subscription.API, b *broken) {
			b.draft = func(d *subscription.Draft) { d.Delivery.Ordering = "" }
		}},
		"FormatIgnored": {"another format is delivered than was asked for", "FormatsAreHonouredOrRefused", func(_ *subscription.API, b *broken) {
			b.draft = func(d *subscription.Draft) { d.Delivery.Format = subscription.FormatCloudEvents }
		}},
		"SecretNotTold": {"a generated secret is told to nobody", "SecretIsGenerated", func(_ *subscription.API, b *broken) {
			b.created = func(c subscription.Created, err error) (subscription.Created, error) {
				c.Secret = ""

				return c, err
			}
		}},
		"SecretOfAll": {"every subscription gets one secret", "SecretIsGenerated", func(_ *subscription.API, b *broken) {
			first := ""
			b.created = func(c subscription.Created, err error) (subscription.Created, error) {
				if first == "" {
					first = c.Secret
				}
				c.Secret = first

				return c, err
			}
		}},
		"EmptySecretTaken": {"an empty secret counts as none", "EmptySecretIsNoRotation", func(_ *subscription.API, b *broken) {
			b.patch = func(p *subscription.Patch) { p.Secret = nil }
		}},
		"UpdateTouchesMore": {"an update of one field changes another", "Update/url", func(_ *subscription.API, b *broken) {
			b.patch = func(p *subscription.Patch) {
				if p.URL != nil {
					p.Headers = &[]subscription.Header{{Name: "X-Stray", Value: "1"}}
				}
			}
		}},
		"UpdateAnswersLess": {"an update answers what changed alone", "UpdateOfSeveralFields", func(_ *subscription.API, b *broken) {
			b.updated = func(s subscription.Subscription, err error) (subscription.Subscription, error) {
				return subscription.Subscription{ID: s.ID, Name: s.Name, URL: s.URL}, err
			}
		}},
		"DeleteDoesNothing": {"a deleted one stays", "DeletedIsGone", func(_ *subscription.API, b *broken) {
			b.deleted = func(string, func() error) error { return nil }
		}},
		"DeleteOfNothing": {"deleting what is not there succeeds", "UnknownIDs", func(_ *subscription.API, b *broken) {
			b.deleted = func(_ string, del func() error) error {
				if err := del(); !errors.Is(err, subscription.ErrNotFound) {
					return err
				}

				return nil
			}
		}},
		"ResumeIgnored": {"resuming does nothing", "ResumeLiftsSuspension", func(_ *subscription.API, b *broken) {
			b.patch = func(p *subscription.Patch) { p.Resume = false }
		}},
	}
}

func deliveryFaults() map[string]fault {
	return map[string]fault{
		"StatusesOfNobody": {"the statuses of an unknown id are empty", "UnknownIDs", func(_ *subscription.API, b *broken) {
			b.statuses = func(s []subscription.DeliveryStatus, _ error) ([]subscription.DeliveryStatus, error) { return s, nil }
		}},
		"StatusesUnsorted": {"the statuses are not sorted", "DeliveredShowsInStatuses", func(_ *subscription.API, b *broken) {
			b.statuses = func(s []subscription.DeliveryStatus, err error) ([]subscription.DeliveryStatus, error) {
				slices.Reverse(s)

				return s, err
			}
		}},
		"CursorIgnored": {"what changed is told again and again", "DeliveredShowsInChanges", func(_ *subscription.API, b *broken) {
			b.cursor = func(string) (string, error) { return "", nil }
		}},
		"CursorRefused": {"an unknown cursor is an error", "StatusesChangedSinceMovesOn", func(_ *subscription.API, b *broken) {
			b.cursor = func(c string) (string, error) {
				if c == "no-such-cursor" {
					return "", errVague
				}

				return c, nil
			}
		}},
		"LogsOldestFirst": {"the logs are in the other order", "DeliveredShowsInLogs", func(_ *subscription.API, b *broken) {
			b.logs = func(e []subscription.LogEntry, err error) ([]subscription.LogEntry, error) {
				slices.Reverse(e)

				return e, err
			}
		}},
		"LogLimitIgnored": {"a limit is ignored", "DeliveredShowsInLogs", func(_ *subscription.API, b *broken) {
			b.query = func(q *subscription.LogQuery) { q.Limit = 0 }
		}},
		"LogEventIgnored": {"a filter is ignored", "DeliveredShowsInLogs", func(_ *subscription.API, b *broken) {
			b.query = func(q *subscription.LogQuery) { q.Event = "" }
		}},
		"LogLimitUnchecked": {"a limit out of bounds is taken", "LogsRefuseAWrongLimit", func(_ *subscription.API, b *broken) {
			b.query = func(q *subscription.LogQuery) { q.Limit = min(max(q.Limit, 0), subscription.MaxLogLimit) }
		}},
	}
}

// capabilityFaults say other than what is.
func capabilityFaults() map[string]fault {
	claims := func(found string, change func(c *subscription.Capabilities)) fault {
		return fault{"the capabilities say other than what is", found, func(_ *subscription.API, b *broken) {
			b.capabilities = func(c subscription.Capabilities) subscription.Capabilities {
				c = without(c)
				change(&c)

				return c
			}
		}}
	}

	return map[string]fault{
		"DeniesOrdering":   claims("Create/delivery.ordering", func(c *subscription.Capabilities) { delete(c.Fields, subscription.FieldOrdering) }),
		"DeniesHeaders":    claims("Create/headers", func(c *subscription.Capabilities) { delete(c.Fields, subscription.FieldHeaders) }),
		"TakesLacking":     claims("LackingFieldsAreRefusedByName", func(c *subscription.Capabilities) { delete(c.Fields, subscription.FieldHeaders) }),
		"DeniesUnique":     claims("NameTakenByCreate", func(c *subscription.Capabilities) { c.NamesUnique = false }),
		"DeniesWildcards":  claims("PatternsAreKept", func(c *subscription.Capabilities) { c.Wildcards = false }),
		"DeniesResume":     claims("ResumeLiftsSuspension", func(c *subscription.Capabilities) { c.Resumable = false }),
		"DeniesStatuses":   claims("StatusesAreEmptyAtFirst", func(c *subscription.Capabilities) { c.Statuses = false }),
		"AnswersStatuses":  claims("LackingDeliveriesAreRefused", func(c *subscription.Capabilities) { c.Statuses = false }),
		"DeniesLogs":       claims("LogsAreEmptyAtFirst", func(c *subscription.Capabilities) { c.Logs = false }),
		"ClaimsMoreEvents": claims("AsManyEventsAsAllowed", func(c *subscription.Capabilities) { c.MaxEvents = subscription.MaxEvents + 1 }),
		"ClaimsCatalogue":  claims("EventTypesAreSorted", func(c *subscription.Capabilities) { c.Catalogue = true }),
		"ClaimsImmutable": claims("Update/url", func(c *subscription.Capabilities) {
			c.Immutable = []subscription.Field{subscription.FieldURL}
		}),
		"ChangesImmutable": claims("ImmutableFieldsAreRefusedByName", func(c *subscription.Capabilities) {
			c.Immutable = []subscription.Field{subscription.FieldURL}
		}),
		"NoNaturalKey": claims("CapabilitiesAreSound", func(c *subscription.Capabilities) { c.NaturalKey = nil }),
	}
}

// fieldFaults drop each field on create, and on update.
func fieldFaults() map[string]fault {
	drops := map[subscription.Field]struct {
		draft func(*subscription.Draft)
		patch func(*subscription.Patch)
	}{
		subscription.FieldName: {
			func(d *subscription.Draft) { d.Name = "dropped-" + d.Name[len(d.Name)-16:] }, func(p *subscription.Patch) { p.Name = nil },
		},
		subscription.FieldURL: {
			func(d *subscription.Draft) { d.URL = "https://dropped.example" }, func(p *subscription.Patch) { p.URL = nil },
		},
		subscription.FieldEvents: {
			func(d *subscription.Draft) { d.Events = d.Events[:1] }, func(p *subscription.Patch) { p.Events = nil },
		},
		subscription.FieldEnabled: {func(d *subscription.Draft) { d.Enabled = true }, func(p *subscription.Patch) { p.Enabled = nil }},
		subscription.FieldBasic: {
			func(d *subscription.Draft) { d.Authorization = subscription.Authorization{} }, func(p *subscription.Patch) { p.Authorization = nil },
		},
		subscription.FieldBearer: {
			func(d *subscription.Draft) { d.Authorization = subscription.Authorization{} }, func(p *subscription.Patch) { p.Authorization = nil },
		},
		subscription.FieldHeaders:       {func(d *subscription.Draft) { d.Headers = nil }, func(p *subscription.Patch) { p.Headers = nil }},
		subscription.FieldHeaderSecrets: {func(d *subscription.Draft) { d.Headers = nil }, func(p *subscription.Patch) { p.Headers = nil }},
	}
	for _, setting := range []subscription.Field{
		subscription.FieldTimeout, subscription.FieldMaxAttempts, subscription.FieldMaxInFlight, subscription.FieldRateLimit, subscription.FieldFormat,
	} {
		drop := drops[setting]
		drop.draft = func(d *subscription.Draft) { d.Delivery = subscription.Delivery{} }
		drop.patch = func(p *subscription.Patch) { p.Delivery = nil }
		drops[setting] = drop
	}
	out := map[string]fault{}
	for field, drop := range drops {
		out["CreateDrops/"+string(field)] = fault{"a field is dropped on create", "Create/" + string(field), func(_ *subscription.API, b *broken) {
			b.draft = drop.draft
		}}
		out["UpdateDrops/"+string(field)] = fault{"a field is dropped on update", "Update/" + string(field), func(_ *subscription.API, b *broken) {
			b.patch = drop.patch
		}}
	}

	return out
}

// TestConformanceFindsFaults proves that the suite can fail: each fault is found by the
// case that is there for it.
func TestConformanceFindsFaults(t *testing.T) {
	t.Parallel()
	for _, faults := range []map[string]fault{readFaults(), writeFaults(), deliveryFaults(), capabilityFaults(), fieldFaults()} {
		for name, f := range faults {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newStage(t, registry.Options{})
				failures := subscriptiontest.Failures(func() subscriptiontest.Subject {
					subject := s.subject()
					whole := subject.API
					b := &broken{API: whole}
					f.breaks(&whole, b)
					subject.API = b

					return subject
				}, f.found)
				if len(failures[f.found]) == 0 {
					t.Errorf("%s, and the case %s passes", f.reason, f.found)
				}
			})
		}
	}
}

func TestConformanceFindsAccountsThatAreOne(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	subject := s.subject()
	subject.Other = subject.API
	if len(subscriptiontest.Failures(func() subscriptiontest.Subject { return subject }, "AccountsAreApart")) == 0 {
		t.Error("both accounts are one, and the case passes")
	}
}

// TestConformanceFindsNothingWhole guards the proof above: what is found is the fault.
func TestConformanceFindsNothingWhole(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	whole := func() subscriptiontest.Subject {
		subject := s.subject()
		subject.API = &broken{API: subject.API}

		return subject
	}
	for name, failures := range subscriptiontest.Failures(whole) {
		t.Errorf("%s fails on what is whole: %s", name, failures[0])
	}
	if unknown := subscriptiontest.Failures(whole, "NoSuchCase"); len(unknown) != 0 {
		t.Errorf("a case that is not there fails: %v", unknown)
	}
}
