package bird

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// own are the subscriptions that the dialect shows, in the order of their creation: those of its format with
// one event of one of the vendor's services. What another dialect made in this format may have more.
func (r request) own() ([]subscription.Subscription, error) {
	found, err := r.api.List(r.Context())
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	found = slices.DeleteFunc(found, func(one subscription.Subscription) bool { return !shows(one) })
	slices.SortFunc(found, func(a, b subscription.Subscription) int { return positionOf(a).compare(positionOf(b)) })

	return found, nil
}

func shows(one subscription.Subscription) bool {
	if one.Delivery.Format != subscription.FormatBird || len(one.Events) != 1 || strings.Contains(one.Events[0], "*") {
		return false
	}
	_, _, ok := splitEvent(one.Events[0])

	return ok
}

func positionOf(one subscription.Subscription) position {
	return position{at: one.CreatedAt, id: wireID(one.ID).String()}
}

// named is the subscription that the path names. An id that is no UUID is nobody's.
func (r request) named() (subscription.Subscription, error) {
	wanted, ok := parseID(r.PathValue("id"))
	if !ok {
		return subscription.Subscription{}, subscription.ErrNotFound
	}
	found, err := r.own()
	if err != nil {
		return subscription.Subscription{}, err
	}
	at := slices.IndexFunc(found, func(one subscription.Subscription) bool { return wireID(one.ID) == wanted })
	if at < 0 {
		return subscription.Subscription{}, subscription.ErrNotFound
	}

	return found[at], nil
}

// wire is a subscription as the vendor shows it. The signing key is shown to who has just set it alone: the
// vendor's examples echo it everywhere, and its live lists and reads do not have it.
func (r request) wire(one subscription.Subscription, signingKey string) Subscription {
	service, event, _ := splitEvent(one.Events[0])
	out := Subscription{
		ID: wireID(one.ID).String(), OrganizationID: r.workspace.OrganizationID, WorkspaceID: r.workspace.ID,
		Service: service, Event: wireEvent(event), EventFilters: wireFilters(one.Options.Bird), URL: one.URL, SigningKey: signingKey,
		CreatedAt: wireTime(one.CreatedAt), UpdatedAt: wireTime(one.UpdatedAt),
	}
	if one.Options.Bird != nil {
		out.Template = one.Options.Bird.Template
	}
	out.Status, out.StatusReason = statusOf(one)

	return out
}

// statusOf tells a suspension as inactive: the vendor documents no third status.
func statusOf(one subscription.Subscription) (status, reason string) {
	switch {
	case !one.Enabled:
		return statusInactive, "The webhook subscription was set to inactive."
	case one.State.IsSuspended() && one.State.Message != "":
		return statusInactive, one.State.Message
	case one.State.IsSuspended():
		return statusInactive, "Deliveries are suspended: " + one.State.Reason + "."
	default:
		return statusActive, "Events are delivered to the URL."
	}
}

// list answers a page of the subscriptions, the oldest first.
func (s *server) list(r request) (int, any, error) {
	query, err := r.query()
	if err != nil {
		return 0, nil, err
	}
	pages, err := readPage(query)
	if err != nil {
		return 0, nil, err
	}
	service, filtered, err := readServiceFilter(query)
	if err != nil {
		return 0, nil, err
	}
	found, err := r.own()
	if err != nil {
		return 0, nil, err
	}
	if filtered {
		found = slices.DeleteFunc(found, func(one subscription.Subscription) bool {
			of, _, _ := splitEvent(one.Events[0])

			return of != service
		})
	}
	out, err := pageOf(found, pages, position.compare, positionOf, func(one subscription.Subscription) Subscription {
		return r.wire(one, "")
	})

	return http.StatusOK, out, err
}

// readServiceFilter reads the one filter there is. Another, not applied, would show what was to be left out.
func readServiceFilter(query url.Values) (service string, filtered bool, err error) {
	as := ""
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch {
		case !strings.HasPrefix(name, paramFilter):
		case name != paramFilterService && name != paramFiltersService:
			return "", false, badRequest("There is no filter " + clip(name) + ": use " + paramFilterService)
		case as != "":
			return "", false, badRequest("The parameters " + as + " and " + name + " are one: give it once")
		default:
			as = name
		}
	}
	if as == "" {
		return "", false, nil
	}
	service, filtered, err = param(query, as)
	if err == nil {
		err = checkService(as, service)
	}

	return service, filtered, err
}

func checkService(name, service string) error {
	if slices.Contains(services, service) {
		return nil
	}

	return badRequest(fmt.Sprintf("The parameter %s must be one of %s", name, strings.Join(services, ", ")))
}

// create makes a signing key where none is given, and shows it: the registry signs all it delivers.
func (s *server) create(r request) (int, any, error) {
	asked, err := s.readFields(r, createMembers, createMembers[:3])
	if err != nil {
		return 0, nil, err
	}
	event := joinEvent(*asked.service, *asked.event)
	draft := subscription.Draft{
		Name: newName(event), URL: *asked.url, Events: []string{event}, Enabled: true, Secret: GenerateSecret(),
		Delivery: subscription.Delivery{Format: subscription.FormatBird},
	}
	if asked.signingKey != nil {
		draft.Secret = *asked.signingKey
	}
	draft.Options.Bird = changedOptions(nil, asked)
	release, err := s.turn(r.Context(), r.tenant)
	if err != nil {
		return 0, nil, err
	}
	defer release()
	if err := r.matching("", event, draft.Options.Bird); err != nil {
		return 0, nil, err
	}
	created, err := r.api.Create(r.Context(), draft)
	if err != nil {
		return 0, nil, fmt.Errorf("creating a subscription: %w", err)
	}

	return http.StatusCreated, r.wire(created.Subscription, draft.Secret), nil
}

// Names of subscriptions, which Bird has not and the registry wants to be unique.
const (
	namePrefix = "bird-"
	maxNamed   = 64
	randomPart = 12
)

// newName is a name that no other subscription has.
func newName(event string) string {
	event = event[:min(len(event), maxNamed)]

	return namePrefix + event + "-" + strings.ToLower(rand.Text()[:randomPart])
}

// changedOptions are options with what a body sets.
func changedOptions(current *subscription.BirdOptions, asked fields) *subscription.BirdOptions {
	filters, template := wireFilters(current), ""
	if current != nil {
		template = current.Template
	}
	if asked.filters != nil {
		filters = *asked.filters
	}
	if asked.template != nil {
		template = *asked.template
	}

	return portOptions(filters, template)
}

// turn waits until no other request counts and writes the tenant's subscriptions.
func (s *server) turn(ctx context.Context, tenant string) (release func(), err error) {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(tenant)) // It never fails.
	turn := s.turns[hash.Sum32()%writers]
	if err := turn.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("waiting for another write: %w", err)
	}

	return func() { turn.Release(1) }, nil
}

// matching refuses one subscription more of an event with a combination of filters than there may be. except
// is not counted.
func (r request) matching(except, event string, options *subscription.BirdOptions) error {
	found, err := r.own()
	if err != nil {
		return err
	}
	wanted, alike := filterSet(options), 0
	for _, one := range found {
		if one.ID != except && one.Events[0] == event && slices.Equal(filterSet(one.Options.Bird), wanted) {
			alike++
		}
	}
	if alike < MaxMatching {
		return nil
	}

	return payloadRefusal(specOptions+".eventFilters", fmt.Sprintf(
		"%d webhook subscriptions to this event have these filters, and there may be %d: delete one, or change the filters",
		alike, MaxMatching))
}

// filterSet are filters in the order of their keys, each of which stands once.
func filterSet(options *subscription.BirdOptions) []EventFilter {
	set := wireFilters(options)
	slices.SortFunc(set, func(a, b EventFilter) int { return strings.Compare(a.Key, b.Key) })

	return set
}

func (s *server) get(r request) (int, any, error) {
	found, err := r.named()
	if err != nil {
		return 0, nil, err
	}

	return http.StatusOK, r.wire(found, ""), nil
}

// update changes what is given. Setting a suspended subscription to active resumes it.
func (s *server) update(r request) (int, any, error) {
	if _, err := r.named(); err != nil {
		return 0, nil, err
	}
	asked, err := s.readFields(r, patchMembers, nil)
	if err != nil {
		return 0, nil, err
	}
	release, err := s.turn(r.Context(), r.tenant)
	if err != nil {
		return 0, nil, err
	}
	defer release()
	found, err := r.named()
	if err != nil {
		return 0, nil, err
	}
	patch := subscription.Patch{URL: asked.url, Secret: asked.signingKey}
	if asked.status != nil {
		patch.Enabled = new(*asked.status == statusActive)
		patch.Resume = *patch.Enabled && found.State.IsSuspended()
	}
	if asked.filters != nil || asked.template != nil {
		patch.Options = &subscription.Options{Bird: changedOptions(found.Options.Bird, asked)}
		if err := r.matching(found.ID, found.Events[0], patch.Options.Bird); err != nil {
			return 0, nil, err
		}
	}
	updated, err := r.api.Update(r.Context(), found.ID, patch)
	if err != nil {
		return 0, nil, fmt.Errorf("updating a subscription: %w", err)
	}
	signingKey := ""
	if asked.signingKey != nil {
		signingKey = *asked.signingKey
	}

	return http.StatusOK, r.wire(updated, signingKey), nil
}

func (s *server) remove(r request) (int, any, error) {
	found, err := r.named()
	if err != nil {
		return 0, nil, err
	}
	if err := r.api.Delete(r.Context(), found.ID); err != nil {
		return 0, nil, fmt.Errorf("deleting a subscription: %w", err)
	}

	return http.StatusNoContent, nil, nil
}

// available answers the documented events, of one service or of all.
func (s *server) available(r request) (int, any, error) {
	query, err := r.query()
	if err != nil {
		return 0, nil, err
	}
	service, given, err := param(query, paramService)
	if err == nil && given {
		err = checkService(paramService, service)
	}
	if err != nil {
		return 0, nil, err
	}
	out := results[AvailableWebhooks]{Results: []AvailableWebhooks{}}
	for _, one := range available {
		if !given || one.Service == service {
			out.Results = append(out.Results, one)
		}
	}

	return http.StatusOK, out, nil
}
