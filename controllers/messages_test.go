package controllers

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jonboulle/clockwork"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/provider"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// TestUnopened: an account that could not be opened is opened again, whatever its provider says of itself meanwhile.
func TestUnopened(t *testing.T) {
	t.Parallel()

	cases := map[string]struct {
		reason string
		err    error
		quiet  bool
	}{
		"Transient":   {reason: "A moment's failure makes no Ready subscription unready.", err: errors.New("connection refused"), quiet: true},
		"RateLimited": {reason: "Nor does a provider that is busy.", err: &subscription.RateLimitedError{}, quiet: true},
		"NoSecret":    {reason: "What a human must mend is told.", err: fmt.Errorf("reading: %w", provider.ErrSecretNotFound)},
		"Refused":     {reason: "So is a refusal.", err: &subscription.AuthError{Message: "expired"}},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			out := outcomeOf(unopened(&v1alpha1.WebhookProvider{}, tc.err))
			if out.kind != outcomeWaiting || out.reason != v1alpha1.ReasonProviderNotReady || out.after <= 0 || out.quiet != tc.quiet {
				t.Errorf("%s\nkind %s, reason %s, again after %s, quiet %v", tc.reason, out.kind, out.reason, out.after, out.quiet)
			}

			if !errors.Is(out, tc.err) {
				t.Errorf("the cause is lost: %v", out.cause)
			}
		})
	}
}

// TestRateLimitedMessages: a provider's own explanation of "too many requests" is told, and is the same each time.
func TestRateLimitedMessages(t *testing.T) {
	t.Parallel()

	const busy = "The provider asked to slow down and is asked again when its time has passed"

	cases := map[string]struct {
		reason    string
		explained string
		want      string
	}{
		"Nothing": {reason: "A 429 need not explain itself.", want: busy},
		"Seconds": {
			reason:    "How many seconds are left is another number each time.",
			explained: "Rate limit is exceeded. Try again in 57 seconds.",
			want:      busy + ". The provider says: Rate limit is exceeded. Try again in (number) seconds.",
		},
		"Fraction": {reason: "They may have a fraction.", explained: "Wait 0.25 s", want: busy + ". The provider says: Wait (number) s"},
		"Secret":   {reason: "Nothing secret is told.", explained: "bearer abcdefghijkl is over its quota", want: busy + ". The provider says: bearer (secret) is over its quota"},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			got := outcomeOf(fmt.Errorf("creating: %w", &subscription.RateLimitedError{After: time.Minute, Message: tc.explained})).message
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestBlockedMessages: what a user reads of a deletion that cannot go on is one text.
func TestBlockedMessages(t *testing.T) {
	t.Parallel()

	const advice = ". Mend that, or set spec.deletionPolicy to Orphan to leave it behind"

	several := planDeletion(farewell{Policy: v1alpha1.DeletionPolicyDelete, Pending: true, Matches: [][]match{make([]match, 2)}})[0]

	cases := map[string]struct {
		reason string
		err    error
		want   string
	}{
		"Transient": {
			reason: "That it is tried again goes without saying.",
			err:    fmt.Errorf("deleting subscription a: %w", errors.New("connection refused")),
			want:   "The subscription cannot be deleted at the provider: connection refused" + advice,
		},
		"Sentence": {
			reason: "A vendor's sentence may end with a full stop of its own.",
			err:    &subscription.InvalidError{Message: "It is in use."},
			want:   "The subscription cannot be deleted at the provider: The provider refused the subscription: It is in use" + advice,
		},
		"Several": {
			reason: "What says itself what to do is not told twice.",
			err:    terminal(several.Reason, "%s", several.Message),
			want:   several.Message,
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			clock := clockwork.NewFakeClock()
			s := &subscriptionScope{
				subscriptionReconciler: &subscriptionReconciler{clock: clock},
				sub:                    &v1alpha1.WebhookSubscription{},
			}
			s.sub.DeletionTimestamp = &metav1.Time{Time: clock.Now()}

			out := outcomeOf(s.blocked(tc.err))
			if diff := cmp.Diff(tc.want, out.message); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}

			if out.kind != outcomeWaiting || out.reason != v1alpha1.ReasonDeletionBlocked || out.after <= 0 || out.after > time.Minute {
				t.Errorf("kind %s, reason %s, again after %s", out.kind, out.reason, out.after)
			}
		})
	}
}

// TestSuspensionMessage: the provider's explanation may be a sentence.
func TestSuspensionMessage(t *testing.T) {
	t.Parallel()

	for _, text := range []string{"The endpoint answered 410", "The endpoint answered 410."} {
		message := suspension(subscription.State{Phase: subscription.Suspended, Reason: "Gone", Message: text})
		if !strings.Contains(message, "(Gone): The endpoint answered 410. Mend the endpoint") {
			t.Errorf("%q became %q", text, message)
		}
	}
}

// TestWhatAProviderSaidIsNotLogged: controller-runtime logs the error of a reconcile as it is.
func TestWhatAProviderSaidIsNotLogged(t *testing.T) {
	out := transient(errors.New("the provider answered 500: token whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ= of bearer abcdefgh12345678"))

	_, err := (&subscriptionScope{}).comeBack(out)
	if err == nil || strings.Contains(err.Error(), "whsec_") || strings.Contains(err.Error(), "abcdefgh") {
		t.Errorf("the error of the reconcile is %v", err)
	}
}
