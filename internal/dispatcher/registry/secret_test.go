package registry_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookline-dev/hookline/internal/dispatcher/registry"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// secretNo is a given secret, told apart by its number.
func secretNo(i int) string { return fmt.Sprintf("the secret number %d, which is long enough", i) }

// step is one rotation, or only time that passes.
type step struct {
	after  time.Duration
	rotate int
	rename string
}

func TestRotation(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	start := fakeClock().Now()
	cases := map[string]struct {
		reason  string
		overlap time.Duration
		steps   []step
		want    []registry.Secret
	}{
		"Once": {
			reason: "the one before signs along for a day by default",
			steps:  []step{{0, 1, ""}},
			want:   []registry.Secret{{Text: secretNo(1)}, {Text: secretNo(0), Until: start.Add(day)}},
		},
		"Configured": {
			reason: "for as long as configured", overlap: time.Hour,
			steps: []step{{time.Minute, 1, ""}},
			want:  []registry.Secret{{Text: secretNo(1)}, {Text: secretNo(0), Until: start.Add(time.Minute + time.Hour)}},
		},
		"None": {
			reason: "or not at all", overlap: -1,
			steps: []step{{0, 1, ""}},
			want:  []registry.Secret{{Text: secretNo(1)}},
		},
		"Twice": {
			reason: "each keeps its own time, the youngest first",
			steps:  []step{{0, 1, ""}, {time.Hour, 2, ""}},
			want: []registry.Secret{
				{Text: secretNo(2)}, {Text: secretNo(1), Until: start.Add(day + time.Hour)}, {Text: secretNo(0), Until: start.Add(day)},
			},
		},
		"Expired": {
			reason: "one past its time is dropped",
			steps:  []step{{0, 1, ""}, {day, 2, ""}},
			want:   []registry.Secret{{Text: secretNo(2)}, {Text: secretNo(1), Until: start.Add(2 * day)}},
		},
		"ExpiredByOtherChange": {
			reason: "any change drops it",
			steps:  []step{{0, 1, ""}, {day, 1, "renamed"}},
			want:   []registry.Secret{{Text: secretNo(1)}},
		},
		"Back": {
			reason: "a secret that comes back is not there twice",
			steps:  []step{{0, 1, ""}, {time.Hour, 0, ""}},
			want:   []registry.Secret{{Text: secretNo(0)}, {Text: secretNo(1), Until: start.Add(day + time.Hour)}},
		},
		"Many": {
			reason: "no more than so many sign along: the oldest goes",
			steps:  []step{{0, 1, ""}, {0, 2, ""}, {0, 3, ""}, {0, 4, ""}, {0, 5, ""}},
			want: []registry.Secret{
				{Text: secretNo(5)},
				{Text: secretNo(4), Until: start.Add(day)}, {Text: secretNo(3), Until: start.Add(day)},
				{Text: secretNo(2), Until: start.Add(day)}, {Text: secretNo(1), Until: start.Add(day)},
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := fakeClock()
			s := newStage(t, registry.Options{Clock: clock, PreviousSecretFor: tc.overlap})
			api := s.registry.Tenant(tenant)
			d := draft("presence")
			d.Secret = secretNo(0)
			id := mustCreate(t, api, d).ID
			for _, step := range tc.steps {
				clock.Advance(step.after)
				text := secretNo(step.rotate)
				patch := subscription.Patch{Secret: &text}
				if step.rename != "" {
					patch.Name = &step.rename
				}
				mustUpdate(t, api, id, patch)
			}
			if diff := cmp.Diff(tc.want, current(t, s, id).Secrets); diff != "" {
				t.Errorf("%s, -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}
