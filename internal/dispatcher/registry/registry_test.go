package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// full is a draft with every field the registry has.
func full(name string) subscription.Draft {
	d := draft(name)
	d.Secret = "whsec_" + strings.Repeat("QUJD", 16)
	d.Authorization = subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "user", Password: "hunter2"}
	d.Headers = []subscription.Header{{Name: "X-Api-Key", Value: "hunter2", Sensitive: true}, {Name: "X-Team", Value: "support"}}
	d.Delivery = subscription.Delivery{Format: subscription.FormatCloudEvents, Timeout: 7e9, MaxAttempts: 3, MaxInFlight: 4, RateLimit: 5}

	return d
}

func TestCurrentHasWhatDeliveriesNeed(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{Clock: fakeClock()})
	d := full("presence")
	created := mustCreate(t, s.registry.Tenant(tenant), d)
	got := current(t, s, created.ID)
	now := fakeClock().Now()
	want := &registry.Subscription{
		Subscription: subscription.Subscription{
			ID: created.ID, Name: "presence", URL: d.URL, Events: d.Events, Enabled: true,
			State: subscription.State{Phase: subscription.Active, Since: now}, Authorization: d.Authorization, Headers: d.Headers,
			Delivery: d.Delivery, CreatedAt: now, UpdatedAt: now,
		},
		Tenant: tenant, Revision: 1, Seq: 1, Secrets: []registry.Secret{{Text: d.Secret}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("credentials are filled in, -want +got:\n%s", diff)
	}
	if created.Secret != "" {
		t.Error("a secret that was given need not be told")
	}
	if _, ok := s.registry.Current("no-such-id"); ok {
		t.Error("there is no such subscription")
	}
}

func TestGeneratedSecret(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	created := mustCreate(t, s.registry.Tenant(tenant), draft("presence"))
	key, err := subscription.SigningKey(created.Secret)
	if err != nil || len(key) != subscription.GeneratedSecretBytes || !strings.HasPrefix(created.Secret, subscription.SecretPrefix) {
		t.Errorf("want whsec_ and %d bytes, got %d bytes and %v", subscription.GeneratedSecretBytes, len(key), err)
	}
	if diff := cmp.Diff([]registry.Secret{{Text: created.Secret}}, current(t, s, created.ID).Secrets); diff != "" {
		t.Error("what was told is not what signs")
	}
}

func TestReopened(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	api := s.registry.Tenant(tenant)
	kept, gone := mustCreate(t, api, full("kept")), mustCreate(t, api, draft("gone"))
	theirs := mustCreate(t, s.registry.Tenant(other), draft("kept"))
	secret := "a secret that is long enough to be given"
	mustUpdate(t, api, kept.ID, subscription.Patch{Secret: &secret})
	if err := api.Delete(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.registry.Suspend(t.Context(), theirs.ID, "Gone", "the endpoint answered 410"); err != nil {
		t.Fatal(err)
	}
	before := map[string]*registry.Subscription{kept.ID: current(t, s, kept.ID), theirs.ID: current(t, s, theirs.ID)}
	s.close()

	again := openStage(t, s.fs, registry.Options{})
	for id, want := range before {
		if diff := cmp.Diff(want, current(t, again, id)); diff != "" {
			t.Errorf("what was there before is there again, -want +got:\n%s", diff)
		}
	}
	if _, ok := again.registry.Current(gone.ID); ok {
		t.Error("a deleted subscription came back")
	}
	api = again.registry.Tenant(tenant)
	if _, err := api.Create(t.Context(), draft("kept")); !errors.Is(err, subscription.ErrNameTaken) {
		t.Errorf("names are unique over restarts: got %v", err)
	}
	mustCreate(t, api, draft("gone"))
}

func TestUpdateOfNothingWritesNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	api := s.registry.Tenant(tenant)
	d := full("presence")
	created := mustCreate(t, api, d)
	before, last := current(t, s, created.ID), s.last(t)
	got := mustUpdate(t, api, created.ID, subscription.Patch{
		Name: &d.Name, URL: &d.URL, Events: &d.Events, Enabled: &d.Enabled, Secret: &d.Secret, Authorization: &d.Authorization,
		Headers: &[]subscription.Header{d.Headers[1], {Name: "x-api-KEY", Value: "hunter2", Sensitive: true}}, Delivery: &d.Delivery,
		Options: &subscription.Options{}, Resume: true,
	})
	if diff := cmp.Diff(created.Subscription, got); diff != "" {
		t.Errorf("the answer is the subscription as it is, -want +got:\n%s", diff)
	}
	if now := s.last(t); now != last {
		t.Errorf("the log grew from %d to %d", last, now)
	}
	if current(t, s, created.ID) != before {
		t.Error("a version was published")
	}
}

func TestWhatLiftsASuspension(t *testing.T) {
	t.Parallel()
	text, name := "https://example.com/new", "renamed"
	secret := "a secret that is long enough to be given"
	off, on := false, true
	cases := map[string]struct {
		reason string
		patch  subscription.Patch
		lifts  bool
	}{
		"Resume":        {"its owner asks", subscription.Patch{Resume: true}, true},
		"URL":           {"another endpoint", subscription.Patch{URL: &text}, true},
		"Secret":        {"another secret may be accepted", subscription.Patch{Secret: &secret}, true},
		"Authorization": {"another credential may be accepted", subscription.Patch{Authorization: &subscription.Authorization{Scheme: "Bearer", Token: "t"}}, true},
		"Headers":       {"other headers may be accepted", subscription.Patch{Headers: &[]subscription.Header{}}, true},
		"Events":        {"other events may be accepted", subscription.Patch{Events: &[]string{"order.deleted"}}, true},
		"Disabled":      {"its owner acted", subscription.Patch{Enabled: &off}, true},
		"StillEnabled":  {"nothing changed", subscription.Patch{Enabled: &on}, false},
		"Name":          {"a name says nothing to the endpoint", subscription.Patch{Name: &name}, false},
		"Delivery":      {"nor does the pace", subscription.Patch{Delivery: &subscription.Delivery{MaxAttempts: 9}}, false},
	}
	s := newStage(t, registry.Options{})
	api := s.registry.Tenant(tenant)
	for label, tc := range cases {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			id := mustCreate(t, api, full("lifts-"+label)).ID
			if err := s.registry.Suspend(t.Context(), id, "Gone", "the endpoint answered 410"); err != nil {
				t.Fatal(err)
			}
			if current(t, s, id).Takes() {
				t.Fatal("a suspended subscription takes no events")
			}
			if tc.patch.Name != nil {
				renamed := *tc.patch.Name + unusual(id)
				tc.patch.Name = &renamed
			}
			got := mustUpdate(t, api, id, tc.patch)
			if got.State.IsSuspended() == tc.lifts {
				t.Errorf("%s: suspended is %t", tc.reason, got.State.IsSuspended())
			}
			if current(t, s, id).Takes() != (tc.lifts && got.Enabled) {
				t.Errorf("%s: takes events is %t", tc.reason, current(t, s, id).Takes())
			}
		})
	}
}

// unusual makes a name of an id.
func unusual(id string) string { return "-" + id }

func TestSuspend(t *testing.T) {
	t.Parallel()
	clock := fakeClock()
	s := newStage(t, registry.Options{Clock: clock})
	api := s.registry.Tenant(tenant)
	id := mustCreate(t, api, draft("presence")).ID
	seen := current(t, s, id)
	long := strings.Repeat("ü", registry.MaxStateMessage)
	if err := s.registry.Suspend(t.Context(), id, "Gone", long); err != nil {
		t.Fatal(err)
	}
	first := current(t, s, id)
	want := subscription.State{
		Phase: subscription.Suspended, Reason: "Gone", Message: strings.Repeat("ü", registry.MaxStateMessage/2), Since: clock.Now(),
	}
	if diff := cmp.Diff(want, first.State); diff != "" {
		t.Errorf("the state, with its message cut between characters, -want +got:\n%s", diff)
	}
	if err := s.registry.Suspend(t.Context(), id, "Other", "another"); err != nil {
		t.Fatal(err)
	}
	if current(t, s, id) != first {
		t.Error("a second suspension writes nothing: the first reason stands")
	}
	if !strings.Contains(s.log.String(), "Suspended a subscription") || strings.Count(s.log.String(), "Suspended") != 1 {
		t.Errorf("one suspension is logged once:\n%s", s.log)
	}
	if err := s.registry.Suspend(t.Context(), "no-such-id", "Gone", ""); !errors.Is(err, subscription.ErrNotFound) {
		t.Errorf("suspending what is not there: got %v", err)
	}

	url := "https://example.com/new"
	mustUpdate(t, api, id, subscription.Patch{URL: &url})
	if err := s.registry.SuspendSeen(t.Context(), seen, "Gone", ""); err != nil {
		t.Fatal(err)
	}
	if current(t, s, id).State.IsSuspended() {
		t.Error("what the old endpoint answered suspends the new one")
	}
	name := "renamed"
	seen = current(t, s, id)
	mustUpdate(t, api, id, subscription.Patch{Name: &name})
	if err := s.registry.SuspendSeen(t.Context(), seen, "Gone", ""); err != nil {
		t.Fatal(err)
	}
	if !current(t, s, id).State.IsSuspended() {
		t.Error("a new name does not stop the endpoint's answer from counting")
	}
}

func TestAnswerOfBeforeAResumeSuspendsNothing(t *testing.T) {
	t.Parallel()
	clock := fakeClock()
	s := newStage(t, registry.Options{Clock: clock})
	api := s.registry.Tenant(tenant)
	id := mustCreate(t, api, draft("presence")).ID
	// Two attempts are under way; one is answered 410, and the owner resumes before the other is.
	seen := current(t, s, id)
	clock.Advance(time.Second)
	if err := s.registry.SuspendSeen(t.Context(), seen, "Gone", ""); err != nil {
		t.Fatal(err)
	}
	if !current(t, s, id).State.IsSuspended() {
		t.Fatal("the first answer suspends")
	}
	clock.Advance(time.Second)
	mustUpdate(t, api, id, subscription.Patch{Resume: true})
	if err := s.registry.SuspendSeen(t.Context(), seen, "Gone", ""); err != nil {
		t.Fatal(err)
	}
	if current(t, s, id).State.IsSuspended() {
		t.Error("what was answered to an attempt of before the resume undoes it")
	}
	if err := s.registry.SuspendSeen(t.Context(), current(t, s, id), "Gone", ""); err != nil {
		t.Fatal(err)
	}
	if !current(t, s, id).State.IsSuspended() {
		t.Error("what is answered after the resume suspends again")
	}
}

func TestSubscribersSeeEachVersionInOrder(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	api := s.registry.Tenant(tenant)
	type seen struct {
		ID       string
		Revision journal.Revision
		Deleted  bool
	}
	var mu sync.Mutex
	var got []seen
	cancel := s.registry.Subscribe(func(v *registry.Subscription) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, seen{v.ID, v.Revision, v.Deleted})
		if now, ok := s.registry.Current(v.ID); ok == v.Deleted || ok && now != v {
			t.Errorf("Current does not show revision %d of %s", v.Revision, v.ID)
		}
	})
	first, second := mustCreate(t, api, draft("first")).ID, mustCreate(t, api, draft("second")).ID
	off := false
	mustUpdate(t, api, first, subscription.Patch{Enabled: &off})
	if err := api.Delete(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	// A version is shown before its listeners are called.
	eventually(t, "every version was seen", func() bool {
		mu.Lock()
		defer mu.Unlock()

		return len(got) == 4
	})
	cancel()
	mustCreate(t, api, draft("third"))
	want := []seen{{first, 1, false}, {second, 1, false}, {first, 2, false}, {second, 2, true}}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestConcurrentUpdatesLoseNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	// Two replicas, so that revisions do conflict.
	apis := []subscription.API{s.registry.Tenant(tenant), s.second(t, registry.Options{}).Tenant(tenant)}
	id := mustCreate(t, apis[0], draft("presence")).ID
	eventually(t, "the other replica shows it", func() bool {
		_, err := apis[1].Get(t.Context(), id)

		return err == nil
	})
	url, off := "https://example.com/new", false
	patches := []subscription.Patch{
		{URL: &url}, {Enabled: &off}, {Events: &[]string{"a.*"}}, {Headers: &[]subscription.Header{{Name: "X-Team", Value: "a"}}},
		{Delivery: &subscription.Delivery{MaxAttempts: 3}}, {Authorization: &subscription.Authorization{Scheme: "Bearer", Token: "t"}},
	}
	var group sync.WaitGroup
	for i, patch := range patches {
		group.Go(func() {
			if _, err := apis[i%2].Update(t.Context(), id, patch); err != nil {
				t.Errorf("updating: %v", err)
			}
		})
	}
	group.Wait()
	eventually(t, "both replicas show every update", func() bool {
		return current(t, s, id).Revision == journal.Revision(1+len(patches))
	})
	want := subscription.Subscription{
		ID: id, Name: "presence", URL: url, Events: []string{"a.*"}, Delivery: *patches[4].Delivery,
		Authorization: subscription.Authorization{Scheme: "Bearer"}, Headers: *patches[3].Headers,
	}
	got, err := apis[0].Get(t.Context(), id)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(subscription.Subscription{}, "State", "CreatedAt", "UpdatedAt")); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

func TestReplicasFollowEachOther(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	replica := s.second(t, registry.Options{})
	id := mustCreate(t, replica.Tenant(tenant), draft("presence")).ID
	eventually(t, "a create of one replica shows at the other", func() bool {
		_, ok := s.registry.Current(id)

		return ok
	})
	if err := s.registry.Tenant(tenant).Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a delete of one replica shows at the other", func() bool {
		_, ok := replica.Current(id)

		return !ok
	})
}

// TestLaggingFollowerCatchesUp holds a registry up until the journal closes its watch.
func TestLaggingFollowerCatchesUp(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	api := s.registry.Tenant(tenant)
	gone, changed := mustCreate(t, api, draft("gone")).ID, mustCreate(t, api, draft("changed")).ID
	replica := s.second(t, registry.Options{})
	release := make(chan struct{})
	var once sync.Once
	held := make(chan struct{})
	replica.Subscribe(func(*registry.Subscription) {
		once.Do(func() { close(held) })
		<-release
	})
	url := "https://example.com/0"
	mustUpdate(t, api, changed, subscription.Patch{URL: &url})
	<-held
	if err := api.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 1100 {
		group.Go(func() {
			url := fmt.Sprintf("https://example.com/%d", i+1)
			if _, err := s.registry.Tenant(tenant).Create(t.Context(), subscription.Draft{
				Name: fmt.Sprintf("many-%d", i), URL: url, Events: []string{"a"}, Enabled: true,
			}); err != nil {
				t.Errorf("creating: %v", err)
			}
		})
	}
	group.Wait()
	late := "https://example.com/late"
	mustUpdate(t, api, changed, subscription.Patch{URL: &late})
	close(release)
	want, err := api.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replica lists what the other does", func() bool {
		got, err := replica.Tenant(tenant).List(t.Context())

		return err == nil && cmp.Equal(want, got)
	})
	if _, ok := replica.Current(gone); ok {
		t.Error("what was deleted meanwhile is still there")
	}
	if len(want) != 1101 {
		t.Errorf("%d subscriptions, not 1101", len(want))
	}
}

func TestLimitOfATenant(t *testing.T) {
	t.Parallel()
	const most = 5
	s := newStage(t, registry.Options{MaxSubscriptions: most})
	api := s.registry.Tenant(tenant)
	var group sync.WaitGroup
	var mu sync.Mutex
	var made []string
	for i := range 3 * most {
		group.Go(func() {
			created, err := api.Create(t.Context(), draft(fmt.Sprintf("name-%d", i)))
			mu.Lock()
			defer mu.Unlock()
			var invalid *subscription.InvalidError
			if err == nil {
				made = append(made, created.ID)
			} else if !errors.As(err, &invalid) || !strings.Contains(invalid.Message, "delete one first") {
				t.Errorf("one over the limit: want *InvalidError, got %v", err)
			}
		})
	}
	group.Wait()
	if len(made) != most {
		t.Fatalf("%d creates at once made %d subscriptions, and %d are allowed", 3*most, len(made), most)
	}
	mustCreate(t, s.registry.Tenant(other), draft("presence"))
	if err := api.Delete(t.Context(), made[0]); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, api, draft("after"))
}

// TestMarkerStandsBeforeTheEvent reads the log as the engine does: what was published
// after the answer is matched by it.
func TestMarkerStandsBeforeTheEvent(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	api := s.registry.Tenant(tenant)
	publish := func() {
		event := journal.Event{Tenant: tenant, Source: "s", ID: fmt.Sprint(s.events.Add(1)), Type: "order.created", Body: []byte("{}")}
		if _, err := s.journal.Append(t.Context(), []journal.Event{event}); err != nil {
			t.Fatal(err)
		}
	}
	off := false
	publish()
	id := mustCreate(t, api, draft("presence")).ID
	publish()
	mustUpdate(t, api, id, subscription.Patch{Enabled: &off})
	publish()
	matcher := registry.NewMatcher()
	var got []int
	for from := journal.Seq(1); from <= s.last(t); {
		records, err := s.journal.Read(t.Context(), from, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range records {
			from = record.Seq + 1
			if record.Event != nil {
				got = append(got, len(matcher.Match(tenant, record.Event.Type, nil)))

				continue
			}
			version, err := registry.Decode(*record.Marker)
			if err != nil {
				t.Fatal(err)
			}
			matcher.Put(version)
		}
	}
	if diff := cmp.Diff([]int{0, 1, 0}, got); diff != "" {
		t.Errorf("matches before the create, after it, and after disabling, -want +got:\n%s", diff)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	api := s.registry.Tenant(tenant)
	id := mustCreate(t, api, draft("presence")).ID
	s.registry.Close()
	if _, err := api.Create(t.Context(), draft("late")); !errors.Is(err, registry.ErrClosed) {
		t.Errorf("creating after Close: got %v", err)
	}
	if _, err := api.Get(t.Context(), id); err != nil {
		t.Errorf("reading after Close: %v", err)
	}

	replica := s.second(t, registry.Options{})
	if err := s.journal.Close(); err != nil {
		t.Fatal(err)
	}
	if err := replica.Tenant(tenant).Delete(t.Context(), id); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("deleting after the journal was closed: got %v", err)
	}
	if _, err := registry.New(t.Context(), s.journal, registry.Options{}); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("opening a registry on a closed journal: got %v", err)
	}
	replica.Close()
}

func TestContextOfNewEndsNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := registry.New(ctx, s.journal, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	mustCreate(t, r.Tenant(tenant), draft("presence"))
	if _, err := r.Tenant(tenant).Create(ctx, draft("late")); !errors.Is(err, context.Canceled) {
		t.Errorf("a create whose caller left: got %v", err)
	}
}

func TestChangedStatusesOfDeletedOnesAreLeftOut(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	api := s.registry.Tenant(tenant)
	kept, gone := mustCreate(t, api, draft("kept")).ID, mustCreate(t, api, draft("gone")).ID
	for _, id := range []string{kept, gone} {
		if err := s.deliver(t.Context(), tenant, id, "order.created"); err != nil {
			t.Fatal(err)
		}
	}
	before, err := api.StatusesChangedSince(t.Context(), "")
	if err != nil || len(before.IDs) != 2 {
		t.Fatalf("want both, got %v, %v", before.IDs, err)
	}
	if err := api.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	after, err := api.StatusesChangedSince(t.Context(), "")
	if err != nil || !slices.Equal(after.IDs, []string{kept}) {
		t.Errorf("want the one that is left, got %v, %v", after.IDs, err)
	}
}
