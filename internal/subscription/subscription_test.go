package subscription_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/subscription"
)

func TestKeyOf(t *testing.T) {
	t.Parallel()
	byName := subscription.Capabilities{NaturalKey: []subscription.Field{subscription.FieldName}}
	byEndpoint := subscription.Capabilities{NaturalKey: []subscription.Field{subscription.FieldURL, subscription.FieldEvents}}
	byFilters := subscription.Capabilities{NaturalKey: []subscription.Field{subscription.FieldURL, subscription.FieldBirdOptions}}
	filters := func(template string, pairs ...string) subscription.Options {
		out := &subscription.BirdOptions{Template: template}
		for i := 0; i < len(pairs); i += 2 {
			out.EventFilters = append(out.EventFilters, subscription.BirdEventFilter{Key: pairs[i], Value: pairs[i+1]})
		}

		return subscription.Options{Bird: out}
	}
	cases := map[string]struct {
		reason string
		a, b   string
		equal  bool
	}{
		"NameAlone": {
			"url and events are no part of a key by name",
			byName.KeyOf("n", "https://a", []string{"x"}), byName.KeyOf("n", "https://b", []string{"y"}), true,
		},
		"OtherName": {"another name is another key", byName.KeyOf("n", "", nil), byName.KeyOf("m", "", nil), false},
		"EventOrder": {
			"the events are a set",
			byEndpoint.KeyOf("", "u", []string{"a", "b"}), byEndpoint.KeyOf("", "u", []string{"b", "a", "b"}), true,
		},
		"OtherEvents": {
			"other events are another key",
			byEndpoint.KeyOf("", "u", []string{"a"}), byEndpoint.KeyOf("", "u", []string{"a", "b"}), false,
		},
		"NoRunningTogether": {
			"what one field ends with is not what the next begins with",
			byEndpoint.KeyOf("", "u", []string{"ab"}), byEndpoint.KeyOf("", "ua", []string{"b"}), false,
		},
		"FilterOrder": {
			"filters are a set, and the template is no part of a key",
			byFilters.KeyOf("", "u", nil, filters("text", "a", "1", "b", "2")), byFilters.KeyOf("", "u", nil, filters("", "b", "2", "a", "1")), true,
		},
		"OtherFilters": {
			"other filters are another key", byFilters.KeyOf("", "u", nil, filters("", "a", "1")), byFilters.KeyOf("", "u", nil, filters("", "a", "2")), false,
		},
		"NoFilters": {
			"options without filters are none", byFilters.KeyOf("", "u", nil), byFilters.KeyOf("", "u", nil, filters("text")), true,
		},
		"QuotedFilters": {
			"a value is not taken for another filter",
			byFilters.KeyOf("", "u", nil, filters("", "a", `1","b"="2`)), byFilters.KeyOf("", "u", nil, filters("", "a", "1", "b", "2")), false,
		},
		"FiltersElsewhere": {
			"where filters are no part of the key they change nothing",
			byEndpoint.KeyOf("", "u", []string{"a"}, filters("", "a", "1")), byEndpoint.KeyOf("", "u", []string{"a"}), true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if (tc.a == tc.b) != tc.equal {
				t.Errorf("%s: %q and %q", tc.reason, tc.a, tc.b)
			}
		})
	}
	events := []string{"b", "a"}
	byEndpoint.KeyOf("", "u", events)
	if diff := cmp.Diff([]string{"b", "a"}, events); diff != "" {
		t.Errorf("the caller's events stay as they are:\n%s", diff)
	}
}

func full() subscription.Subscription {
	return subscription.Subscription{
		ID: "id", Name: "name", URL: "https://example.com", Events: []string{"a", "b"}, Enabled: true,
		Headers: []subscription.Header{{Name: "X-A", Value: "1"}},
		Options: subscription.Options{
			Bird: &subscription.BirdOptions{EventFilters: []subscription.BirdEventFilter{{Key: "k", Value: "v"}}, Template: "t"},
			Dixa: &subscription.DixaOptions{Filters: map[string]subscription.DixaFilters{
				"Conversation": {Strategy: "All", Conditions: []subscription.DixaCondition{{Operator: "IsOneOf", Field: "QueueId", Values: []string{"q"}}}},
			}},
		},
	}
}

func TestCloneSharesNothing(t *testing.T) {
	t.Parallel()
	original := full()
	clone := original.Clone()
	if diff := cmp.Diff(original, clone); diff != "" {
		t.Fatalf("a clone is equal, -want +got:\n%s", diff)
	}
	clone.Events[0] = "changed"
	clone.Headers[0].Value = "changed"
	clone.Options.Bird.Template = "changed"
	clone.Options.Bird.EventFilters[0].Value = "changed"
	clone.Options.Dixa.Filters["Conversation"].Conditions[0].Values[0] = "changed"
	clone.Options.Dixa.Filters["Other"] = subscription.DixaFilters{}
	if diff := cmp.Diff(full(), original); diff != "" {
		t.Errorf("changing a clone changed the original, -want +got:\n%s", diff)
	}
}

func TestPatchEmpty(t *testing.T) {
	t.Parallel()
	if !(subscription.Patch{}).Empty() {
		t.Error("the zero patch changes nothing")
	}
	text, on, events, headers := "x", true, []string{"a"}, []subscription.Header{}
	for name, patch := range map[string]subscription.Patch{
		"Name": {Name: &text}, "URL": {URL: &text}, "Events": {Events: &events}, "Enabled": {Enabled: &on}, "Secret": {Secret: &text},
		"Authorization": {Authorization: &subscription.Authorization{}}, "Headers": {Headers: &headers},
		"Delivery": {Delivery: &subscription.Delivery{}}, "Options": {Options: &subscription.Options{}}, "Resume": {Resume: true},
	} {
		if patch.Empty() {
			t.Errorf("a patch that sets %s is not empty", name)
		}
	}
}

func TestDefaultsOfZeroValues(t *testing.T) {
	t.Parallel()
	if got := (subscription.Authorization{}).SchemeOrNone(); got != subscription.SchemeNone {
		t.Errorf("the zero scheme counts as %s, got %s", subscription.SchemeNone, got)
	}
	if got := (subscription.Authorization{Scheme: subscription.SchemeBasic}).SchemeOrNone(); got != subscription.SchemeBasic {
		t.Errorf("a scheme that is set stays, got %s", got)
	}
	if (subscription.State{}).IsSuspended() || (subscription.State{Phase: subscription.Active}).IsSuspended() {
		t.Error("the zero phase and Active are not suspended")
	}
	if !(subscription.State{Phase: subscription.Suspended}).IsSuspended() {
		t.Error("Suspended is suspended")
	}
	if got := (subscription.Capabilities{}).EventLimit(); got != subscription.MaxEvents {
		t.Errorf("without a limit of its own a provider has %d events, got %d", subscription.MaxEvents, got)
	}
	if got := (subscription.Capabilities{MaxEvents: 1}).EventLimit(); got != 1 {
		t.Errorf("a provider's own limit counts, got %d", got)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		err    error
		want   string
	}{
		"Invalid":      {"the field comes first", &subscription.InvalidError{Field: "url", Message: "is empty"}, "url: is empty"},
		"InvalidField": {"no field, no colon", &subscription.InvalidError{Message: "too many"}, "too many"},
		"Unsupported": {
			"the provider and each field", &subscription.UnsupportedError{Provider: "dixa", What: []string{"name", "headers"}},
			"provider dixa does not support name, headers",
		},
		"Unauthorized": {"not known", &subscription.AuthError{Message: "expired"}, "the credentials were not accepted: expired"},
		"Forbidden":    {"known, not allowed", &subscription.AuthError{Forbidden: true, Message: "scope"}, "the credentials do not allow this: scope"},
		"RateLimited":  {"without a time", &subscription.RateLimitedError{}, "too many requests"},
		"RetryAfter":   {"with a time", &subscription.RateLimitedError{After: 3 * time.Second}, "too many requests, retry after 3s"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, tc.err.Error()); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
	wrapped := fmt.Errorf("creating: %w", &subscription.InvalidError{Field: "url"})
	var invalid *subscription.InvalidError
	if !errors.As(wrapped, &invalid) || invalid.Field != "url" {
		t.Error("an error must be found again when it is wrapped")
	}
}
