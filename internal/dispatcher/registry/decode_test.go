package registry_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// version1 is a value as the first version of the encoding wrote it. It must stay readable.
const version1 = `{"v":1,"url":"https://example.com/hooks","events":["agent.*","order.created"],"enabled":true,` +
	`"state":{"phase":"Suspended","reason":"Gone","message":"the endpoint answered 410","since":"2026-03-01T12:00:00Z"},` +
	`"authorization":{"scheme":"Basic","username":"user","password":"hunter2"},` +
	`"headers":[{"name":"X-Api-Key","value":"hunter2","sensitive":true},{"name":"X-Team","value":"support"}],` +
	`"delivery":{"format":"CloudEvents","timeoutNanoseconds":7000000000,"maxAttempts":3,"maxInFlight":4,"rateLimit":5,"ordering":"None"},` +
	`"secrets":[{"text":"whsec_new"},{"text":"whsec_old","until":"2026-03-02T12:00:00Z"}],` +
	`"createdAt":"2026-02-01T12:00:00Z","updatedAt":"2026-03-01T12:00:00Z"}`

func TestDecodeVersion1(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	want := &registry.Subscription{
		Subscription: subscription.Subscription{
			ID: "id", Name: "name", URL: "https://example.com/hooks", Events: []string{"agent.*", "order.created"}, Enabled: true,
			State:         subscription.State{Phase: subscription.Suspended, Reason: "Gone", Message: "the endpoint answered 410", Since: at},
			Authorization: subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "user", Password: "hunter2"},
			Headers:       []subscription.Header{{Name: "X-Api-Key", Value: "hunter2", Sensitive: true}, {Name: "X-Team", Value: "support"}},
			Delivery: subscription.Delivery{
				Format: subscription.FormatCloudEvents, Timeout: 7 * time.Second, MaxAttempts: 3, MaxInFlight: 4, RateLimit: 5,
				Ordering: subscription.OrderingNone,
			},
			CreatedAt: at.AddDate(0, -1, 0), UpdatedAt: at,
		},
		Tenant: "tenant", Revision: 7, Seq: 9,
		Secrets: []registry.Secret{{Text: "whsec_new"}, {Text: "whsec_old", Until: at.AddDate(0, 0, 1)}},
	}
	got, err := registry.Decode(journal.Version{Tenant: "tenant", ID: "id", Name: "name", Revision: 7, Seq: 9, Value: []byte(version1)})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v, -want +got:\n%s", err, diff)
	}
	want.State.Phase = subscription.Active
	if want.Takes() == got.Takes() {
		t.Error("the suspended one takes no events, the active one does")
	}
	if diff := cmp.Diff([]string{"whsec_new", "whsec_old"}, got.SigningSecrets(at)); diff != "" {
		t.Errorf("both sign while both are in time:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"whsec_new"}, got.SigningSecrets(at.AddDate(0, 0, 1))); diff != "" {
		t.Errorf("at its end the one before signs no more:\n%s", diff)
	}
}

func TestDecodeErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		value   string
		corrupt bool
		text    string
	}{
		"Empty":    {"nothing was written", "", true, "subscription id, revision 7"},
		"NotJSON":  {"the bytes are damaged", version1[:200], true, "subscription id, revision 7"},
		"Later":    {"a later Hookline wrote it", strings.Replace(version1, `"v":1`, `"v":3`, 1), false, "version 3"},
		"Pattern":  {"a pattern does not parse", strings.Replace(version1, "agent.*", "agent..", 1), true, "empty segment"},
		"NoSecret": {"nothing to sign with", `{"v":1,"events":["a"]}`, true, "no signing secret"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := registry.Decode(journal.Version{ID: "id", Revision: 7, Value: []byte(tc.value)})
			if err == nil || errors.Is(err, journal.ErrCorrupt) != tc.corrupt || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%s: got %v", tc.reason, err)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "whsec_")) {
				t.Errorf("%s: the error tells a secret", tc.reason)
			}
		})
	}
}

func TestDeletedKeepsNoSecret(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	api := s.registry.Tenant(tenant)
	id := mustCreate(t, api, full("presence")).ID
	if err := api.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	records, err := s.journal.Read(t.Context(), s.last(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	marker := records[0].Marker
	if marker == nil || !marker.Deleted || len(marker.Value) != 0 {
		t.Fatalf("the last marker is of the delete, and empty: %+v", marker)
	}
	got, err := registry.Decode(*marker)
	want := &registry.Subscription{Tenant: tenant, Revision: 2, Seq: marker.Seq, Deleted: true}
	want.ID, want.Name = id, "presence"
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if got.Takes() {
		t.Error("a deleted one takes no events")
	}
}

func TestNewRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	s := newStage(t, registry.Options{})
	if _, err := s.journal.PutSubscription(t.Context(), journal.Version{
		Tenant: tenant, ID: "id", Name: "name", Value: []byte(strings.Replace(version1, `"v":1`, `"v":3`, 1)),
	}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.New(t.Context(), s.journal, registry.Options{}); err == nil || !strings.Contains(err.Error(), "version 3") {
		t.Errorf("a registry must not open without a subscription it cannot read: got %v", err)
	}
	eventually(t, "the one that is open says so", func() bool { return strings.Contains(s.log.String(), "Failed to read a subscription") })
	// What follows is shown all the same.
	mustCreate(t, s.registry.Tenant(tenant), draft("presence"))
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(version1))
	f.Add([]byte(`{"v":1,"events":["*"],"secrets":[{"text":""}],"url":""}`))
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := registry.Decode(journal.Version{Tenant: "t", ID: "id", Name: "name", Revision: 1, Seq: 1, Value: value})
		if err != nil {
			return
		}
		if len(got.Secrets) == 0 || len(got.Events) == 0 {
			t.Error("what was decoded has no secrets or no events")
		}
		matcher := registry.NewMatcher()
		matcher.Put(got)
		matcher.Remove(got.ID)
	})
}
