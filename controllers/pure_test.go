package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
	"github.com/hookline-dev/hookline/internal/subscription"
)

func TestOutcomeOf(t *testing.T) {
	t.Parallel()

	type summary struct {
		Kind   outcomeKind
		Reason string
		After  time.Duration
	}

	cases := map[string]struct {
		reason string
		err    error
		want   summary
	}{
		"Own": {
			reason: "An outcome is found wherever it was wrapped.",
			err:    fmt.Errorf("acting: %w", waiting(time.Minute, v1alpha1.ReasonProgressing, "x")),
			want:   summary{outcomeWaiting, v1alpha1.ReasonProgressing, time.Minute},
		},
		"Conflict": {
			reason: "Somebody else was faster: again, soon, without a word in the status.",
			err:    fmt.Errorf("patching: %w", apierrors.NewConflict(schema.GroupResource{}, "a", errors.New("changed"))),
			want:   summary{outcomeConflict, "", conflictDelay},
		},
		"Invalid": {
			reason: "The provider's refusal is for a human.",
			err:    &subscription.InvalidError{Field: "url", Message: "is not reachable"},
			want:   summary{outcomeStalled, v1alpha1.ReasonRejected, 0},
		},
		"Unsupported": {
			reason: "So is a lack of the provider.",
			err:    &subscription.UnsupportedError{Provider: "p", What: []string{"enabled"}},
			want:   summary{outcomeStalled, v1alpha1.ReasonUnsupportedByProvider, 0},
		},
		"Unauthorized": {
			reason: "Credentials are the provider's matter.",
			err:    fmt.Errorf("listing: %w", &subscription.AuthError{Message: "expired"}),
			want:   summary{outcomeWaiting, v1alpha1.ReasonProviderNotReady, 0},
		},
		"RateLimited": {
			reason: "The provider says when.",
			err:    &subscription.RateLimitedError{After: 7 * time.Second},
			want:   summary{outcomeRateLimited, v1alpha1.ReasonRateLimited, 7 * time.Second},
		},
		"SecretMissing": {
			reason: "Its coming is watched.",
			err:    fmt.Errorf("spec.secretRef: %w", provider.ErrSecretNotFound),
			want:   summary{outcomeWaiting, v1alpha1.ReasonSecretNotFound, 0},
		},
		"SecretUnusable": {
			reason: "Its change is watched, and nothing else helps.",
			err:    fmt.Errorf("spec.secretRef: %w", provider.ErrSecretInvalid),
			want:   summary{outcomeStalled, v1alpha1.ReasonSecretInvalid, 0},
		},
		"Timeout": {
			reason: "It may have been bad luck.",
			err:    fmt.Errorf("creating: %w", context.DeadlineExceeded),
			want:   summary{outcomeTransient, v1alpha1.ReasonRetrying, 0},
		},
		"Unknown": {
			reason: "What is not known is tried again.",
			err:    errors.New("connection reset"),
			want:   summary{outcomeTransient, v1alpha1.ReasonRetrying, 0},
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			out := outcomeOf(tc.err)
			if diff := cmp.Diff(tc.want, summary{out.kind, out.reason, out.after}); diff != "" {
				t.Errorf("%s\noutcomeOf (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestScrub(t *testing.T) {
	t.Parallel()

	cases := map[string]struct {
		reason string
		in     string
		want   string
	}{
		"Plain":      {"Text that says what is wrong stays.", "spec.url: is not reachable (404)", "spec.url: is not reachable (404)"},
		"UUID":       {"Ids of requests differ each time.", "request 9b3f5a0c-6f1d-4c0e-9a57-0f3f2c1d4e5a failed", "request (id) failed"},
		"KSUID":      {"So do those in another form.", "request 2V1lVz6FeKOuVLEpSU6M0aqkM9b failed", "request (id) failed"},
		"Time":       {"Times too.", "failed at 2026-11-22T20:04:24.123456Z", "failed at (time)"},
		"Socket":     {"And the port a connection came from.", "read tcp 10.0.0.7:53412->10.0.0.9:443: reset", "read tcp 10.0.0.9:443: reset"},
		"Secret":     {"Nobody reads a secret in a status.", "bad key whsec_" + strings.Repeat("QUJD", 8), "bad key (secret)"},
		"Bearer":     {"Nor a token.", "header Authorization: Bearer abcdefghijkl", "header Authorization: Bearer (secret)"},
		"LineBreaks": {"A condition is one line.", "first\n\tsecond", "first second"},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			if diff := cmp.Diff(tc.want, scrub(tc.in)); diff != "" {
				t.Errorf("%s\nscrub (-want +got):\n%s", tc.reason, diff)
			}
		})
	}

	if long := scrub(strings.Repeat("ä ", maxMessage)); len(long) > maxMessage+len("…") {
		t.Errorf("a message of %d bytes was left, the most is %d", len(long), maxMessage)
	}
}

func TestDigests(t *testing.T) {
	t.Parallel()

	draft := func(password, header string) subscription.Draft {
		return subscription.Draft{
			Authorization: subscription.Authorization{Scheme: subscription.SchemeBasic, Username: "u", Password: password},
			Headers:       []subscription.Header{{Name: "X-Open", Value: "open"}, {Name: "X-Key", Value: header, Sensitive: true}},
		}
	}
	digest := func(d subscription.Draft) string {
		out, err := credentialsDigest("uid", d)
		if err != nil {
			t.Fatal(err)
		}

		return out
	}

	if none := digest(subscription.Draft{Secret: "s"}); none != "" {
		t.Errorf("a draft without credentials has the digest %q", none)
	}

	same := digest(draft("secret", "key"))
	if same != digest(draft("secret", "key")) {
		t.Error("equal credentials have different digests")
	}

	for name, other := range map[string]subscription.Draft{"password": draft("other", "key"), "header": draft("secret", "other")} {
		if same == digest(other) {
			t.Errorf("another %s has the same digest", name)
		}
	}

	if secretDigest("a", "s") == secretDigest("b", "s") {
		t.Error("equal secrets of two resources show as equal")
	}

	if secretDigest("a", "s") == secretDigest("a", "t") || secretDigest("a", "") != "" {
		t.Error("the digest does not tell secrets apart, or stands for none")
	}

	first, second := newSigningSecret(""), newSigningSecret("")
	if strings.Contains(same, "secret") || first == second {
		t.Error("a digest holds a value, or two generated secrets are equal")
	}

	if err := subscription.ValidateSecret(newSigningSecret("")); err != nil {
		t.Errorf("a generated secret is refused: %v", err)
	}
}

func TestMark(t *testing.T) {
	t.Parallel()

	mark := createMark{At: time.Date(2026, 11, 22, 20, 4, 24, 123e6, time.UTC), Hashes: []string{"abc123", "def456"}}
	annotated := func(value string) *v1alpha1.WebhookSubscription {
		sub := &v1alpha1.WebhookSubscription{}
		sub.Annotations = map[string]string{v1alpha1.AnnotationCreatePending: value}

		return sub
	}

	placed := mark
	placed.Places = []string{"ClusterWebhookProvider/a", "WebhookProvider/b"}

	for _, mark := range []createMark{mark, placed} {
		got, found := markOf(annotated(mark.String()))
		if diff := cmp.Diff(mark, got); diff != "" || !found {
			t.Errorf("the mark does not survive (-want +got):\n%s", diff)
		}
	}

	for _, broken := range []string{"", "now", "2026-11-22T20:04:24Z", "yesterday abc", "2026-11-22T20:04:24Z "} {
		if _, found := markOf(annotated(broken)); found {
			t.Errorf("%q was read as a mark", broken)
		}
	}

	caps := everything()
	p := &v1alpha1.WebhookProvider{}
	p.Name = "p"

	if naturalKeyHash(p, caps, "a", "u", nil, subscription.Options{}) != naturalKeyHash(p, caps, "a", "v", []string{"e"}, subscription.Options{}) {
		t.Error("what is not of the natural key changes its hash")
	}

	if naturalKeyHash(p, caps, "a", "u", nil, subscription.Options{}) == naturalKeyHash(p, caps, "b", "u", nil, subscription.Options{}) {
		t.Error("two natural keys have one hash")
	}
}

func TestMergeDeliveries(t *testing.T) {
	t.Parallel()

	now := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	at := func(ago time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(-ago)} }
	shown := func(event string, code int32, ago time.Duration) v1alpha1.DeliveryStatus {
		return v1alpha1.DeliveryStatus{Event: event, Success: code < 300, ResponseCode: code, ResponseText: "text", DeliveryTimestamp: at(ago)}
	}
	latest := func(event string, code int, ago time.Duration) subscription.DeliveryStatus {
		return subscription.DeliveryStatus{Event: event, Success: code < 300, ResponseCode: code, ResponseText: "text", Timestamp: now.Add(-ago)}
	}

	cases := map[string]struct {
		reason string
		shown  []v1alpha1.DeliveryStatus
		latest []subscription.DeliveryStatus
		want   []v1alpha1.DeliveryStatus
	}{
		"First": {
			reason: "Failing ones come first, then by event.",
			latest: []subscription.DeliveryStatus{latest("b", 200, 0), latest("a", 200, 0), latest("c", 500, 0)},
			want:   []v1alpha1.DeliveryStatus{shown("c", 500, 0), shown("a", 200, 0), shown("b", 200, 0)},
		},
		"Same": {
			reason: "Nothing new is nothing to write.",
			shown:  []v1alpha1.DeliveryStatus{shown("a", 200, time.Minute)},
			latest: []subscription.DeliveryStatus{latest("a", 200, time.Minute)},
			want:   []v1alpha1.DeliveryStatus{shown("a", 200, time.Minute)},
		},
		"OnlyTheTime": {
			reason: "A success after a success is shown when it is five minutes later.",
			shown:  []v1alpha1.DeliveryStatus{shown("a", 200, 2*time.Minute)},
			latest: []subscription.DeliveryStatus{latest("a", 201, time.Second)},
			want:   []v1alpha1.DeliveryStatus{shown("a", 200, 2*time.Minute)},
		},
		"OldTime": {
			reason: "Then it is renewed.",
			shown:  []v1alpha1.DeliveryStatus{shown("a", 200, 6*time.Minute)},
			latest: []subscription.DeliveryStatus{latest("a", 200, time.Second)},
			want:   []v1alpha1.DeliveryStatus{shown("a", 200, time.Second)},
		},
		"Turned": {
			reason: "A result of another class is shown at once.",
			shown:  []v1alpha1.DeliveryStatus{shown("a", 200, time.Second)},
			latest: []subscription.DeliveryStatus{latest("a", 503, 0)},
			want:   []v1alpha1.DeliveryStatus{shown("a", 503, 0)},
		},
		"SameClassOfFailure": {
			reason: "502 after 503 is no news.",
			shown:  []v1alpha1.DeliveryStatus{shown("a", 503, time.Minute)},
			latest: []subscription.DeliveryStatus{latest("a", 502, 0)},
			want:   []v1alpha1.DeliveryStatus{shown("a", 503, time.Minute)},
		},
		"NewEvent": {
			reason: "An event that was not shown is shown at once, and the others with it.",
			shown:  []v1alpha1.DeliveryStatus{shown("a", 200, time.Minute)},
			latest: []subscription.DeliveryStatus{latest("a", 200, 0), latest("b", 200, 0)},
			want:   []v1alpha1.DeliveryStatus{shown("a", 200, 0), shown("b", 200, 0)},
		},
		"Gone": {
			reason: "What the provider no longer knows is no longer shown.",
			shown:  []v1alpha1.DeliveryStatus{shown("a", 200, time.Minute)},
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			if diff := cmp.Diff(tc.want, mergeDeliveries(tc.shown, nil, tc.latest, 5*time.Minute)); diff != "" {
				t.Errorf("%s\nmergeDeliveries (-want +got):\n%s", tc.reason, diff)
			}
		})
	}

	many := make([]subscription.DeliveryStatus, 0, 60)
	for i := range 60 {
		many = append(many, latest(fmt.Sprintf("e%02d", i), 200, 0))
	}

	many[59].Success, many[59].ResponseCode = false, 500

	merged := mergeDeliveries(nil, nil, many, time.Minute)
	if len(merged) != v1alpha1.MaxDeliveryStatuses || merged[0].Event != "e59" {
		t.Errorf("of 60 statuses %d are shown, %s first: want %d, the failing one first", len(merged), merged[0].Event, v1alpha1.MaxDeliveryStatuses)
	}
}

func TestDelivering(t *testing.T) {
	t.Parallel()

	good, bad := v1alpha1.DeliveryStatus{Event: "a", Success: true}, v1alpha1.DeliveryStatus{Event: "b"}
	gone := subscription.State{Phase: subscription.Suspended, Reason: "Gone"}

	cases := map[string]struct {
		reason   string
		disabled bool
		state    subscription.State
		silent   bool
		statuses []v1alpha1.DeliveryStatus
		status   metav1.ConditionStatus
		want     string
	}{
		"Suspended":   {"It is the provider's word, whatever went before.", false, gone, false, []v1alpha1.DeliveryStatus{good}, metav1.ConditionFalse, v1alpha1.ReasonSuspended},
		"Disabled":    {"The spec wants none.", true, subscription.State{}, false, nil, metav1.ConditionFalse, v1alpha1.ReasonDisabled},
		"NotReported": {"The provider does not tell.", false, subscription.State{}, true, nil, metav1.ConditionUnknown, v1alpha1.ReasonNotReported},
		"None":        {"Nothing is known yet.", false, subscription.State{}, false, nil, metav1.ConditionUnknown, v1alpha1.ReasonNoRecentDelivery},
		"Failing":     {"One is enough.", false, subscription.State{}, false, []v1alpha1.DeliveryStatus{bad, good}, metav1.ConditionFalse, v1alpha1.ReasonFailing},
		"Delivered":   {"All went well.", false, subscription.State{}, false, []v1alpha1.DeliveryStatus{good}, metav1.ConditionTrue, v1alpha1.ReasonDelivered},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			got := deliveringOf(!tc.disabled, tc.state, !tc.silent, tc.statuses)
			if got.status != tc.status || got.reason != tc.want || got.message == "" {
				t.Errorf("%s: got %+v, want %s %s", tc.reason, got, tc.status, tc.want)
			}
		})
	}
}

func TestJitter(t *testing.T) {
	t.Parallel()

	const interval = 5 * time.Minute

	seen := map[time.Duration]bool{}

	for i := range 100 {
		uid := types.UID(fmt.Sprintf("uid-%d", i))

		d := jitter(uid, interval)
		if d < 0 || d >= interval/jitterParts {
			t.Errorf("the jitter of %s is %s: it must be below a tenth", uid, d)
		}

		if d != jitter(uid, interval) {
			t.Errorf("the jitter of %s changes", uid)
		}

		seen[d] = true
	}

	if len(seen) < 90 {
		t.Errorf("100 resources share %d times", len(seen))
	}

	if jitter("uid", 0) != 0 {
		t.Error("no interval has a jitter")
	}
}

func TestVisibleAt(t *testing.T) {
	t.Parallel()

	const late, delay = 15 * time.Second, 30 * time.Second

	marked := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)

	cases := map[string]struct {
		reason string
		ended  time.Duration
		since  time.Duration
		want   time.Duration
	}{
		"Answered": {
			reason: "What this process asked for was answered: the provider shows it soon.",
			since:  -time.Hour, want: delay,
		},
		"Unanswered": {
			reason: "A create that was given up counts from its end, and the provider may work on it after that.",
			since:  -time.Hour, ended: time.Minute, want: time.Minute + late + delay,
		},
		"Before": {
			reason: "One that ended before the mark says nothing of what the mark announced.",
			since:  -time.Hour, ended: -time.Minute, want: delay,
		},
		"AnotherProcess": {
			reason: "A process that is gone may have asked until its end.",
			since:  3 * time.Minute, want: 3*time.Minute + late + delay,
		},
		"LongAgo": {
			reason: "And no longer than a reconcile may take.",
			since:  24 * time.Hour, want: reconcileTimeout + late + delay,
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			ended := time.Time{}
			if tc.ended != 0 {
				ended = marked.Add(tc.ended)
			}

			if got := visibleAt(marked, ended, marked.Add(tc.since), late, delay).Sub(marked); got != tc.want {
				t.Errorf("%s: %s after the mark, want %s", tc.reason, got, tc.want)
			}
		})
	}
}
