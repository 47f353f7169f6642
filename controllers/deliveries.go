package controllers

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// hundred parts HTTP status codes into classes.
const hundred = 100

// mergeDeliveries is what a status should tell of deliveries: kept and latest, where the result of one turned, an event
// came or went, or one is newer by refresh than what is shown of it; otherwise shown as it is, whose times may so be
// that much behind. kept are those of shown that were not read again.
func mergeDeliveries(
	shown, kept []v1alpha1.DeliveryStatus, latest []subscription.DeliveryStatus, refresh time.Duration,
) []v1alpha1.DeliveryStatus {
	next := mostTelling(append(slices.Clone(kept), deliveriesOf(latest)...))

	same := slices.EqualFunc(shown, next, func(a, b v1alpha1.DeliveryStatus) bool {
		turned := a.Success != b.Success || a.ResponseCode/hundred != b.ResponseCode/hundred

		return a.Event == b.Event && !turned && !newer(a.DeliveryTimestamp, b.DeliveryTimestamp, refresh)
	})
	if same {
		return shown
	}

	return next
}

// newer tells whether b is at least that much later than a.
func newer(a, b *metav1.Time, by time.Duration) bool {
	if a == nil || b == nil {
		return a != b
	}

	return b.Sub(a.Time) >= by
}

// deliveriesOf are statuses in the form of the API.
func deliveriesOf(latest []subscription.DeliveryStatus) []v1alpha1.DeliveryStatus {
	var out []v1alpha1.DeliveryStatus

	for _, status := range latest {
		made := v1alpha1.DeliveryStatus{
			Event: status.Event, Success: status.Success, ResponseText: scrub(status.ResponseText),
			ResponseCode: int32(status.ResponseCode), //nolint:gosec // an HTTP status has three digits.
		}
		if !status.Timestamp.IsZero() {
			// The API server keeps whole seconds.
			made.DeliveryTimestamp = &metav1.Time{Time: status.Timestamp.Truncate(time.Second)}
		}

		out = append(out, made)
	}

	return out
}

// ofEvents are the statuses of events; all where nobody else has events.
func ofEvents(shown []v1alpha1.DeliveryStatus, events []string, several bool) []v1alpha1.DeliveryStatus {
	return slices.DeleteFunc(slices.Clone(shown), func(status v1alpha1.DeliveryStatus) bool {
		return several && !slices.ContainsFunc(events, func(event string) bool {
			pattern, err := subscription.ParsePattern(event)

			return err == nil && pattern.Matches(status.Event)
		})
	})
}

// mostTelling are statuses in the order of the API: failing ones first, then by event, each event once, and not too many.
func mostTelling(out []v1alpha1.DeliveryStatus) []v1alpha1.DeliveryStatus {
	slices.SortFunc(out, func(a, b v1alpha1.DeliveryStatus) int {
		if a.Success != b.Success {
			if b.Success {
				return -1
			}

			return 1
		}

		return cmp.Compare(a.Event, b.Event)
	})

	told := map[string]bool{}
	out = slices.DeleteFunc(out, func(status v1alpha1.DeliveryStatus) bool {
		again := told[status.Event]
		told[status.Event] = true

		return again
	})

	return out[:min(len(out), v1alpha1.MaxDeliveryStatuses)]
}

// mergedState is what the provider decided of several subscriptions: suspended as soon as one is.
func mergedState(made []*unitScope) subscription.State {
	suspended := slices.DeleteFunc(slices.Clone(made), func(u *unitScope) bool { return !u.remote.State.IsSuspended() })
	if len(suspended) == 0 {
		return subscription.State{}
	}

	state := suspended[0].remote.State
	if len(made) == 1 {
		return state
	}

	message := fmt.Sprintf("%d of %d subscriptions, such as that for %s",
		len(suspended), len(made), namesOf(suspended[0].want.Draft.Events))
	if state.Message != "" {
		message += ", because " + state.Message
	}

	state.Message = message

	return state
}

// delivering is the condition of that type.
type delivering struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

// deliveringOf judges how deliveries fare.
func deliveringOf(enabled bool, state subscription.State, reported bool, statuses []v1alpha1.DeliveryStatus) delivering {
	failing := 0

	for _, status := range statuses {
		if !status.Success {
			failing++
		}
	}

	switch {
	case state.IsSuspended():
		return delivering{metav1.ConditionFalse, v1alpha1.ReasonSuspended, suspension(state)}
	case !enabled:
		return delivering{metav1.ConditionFalse, v1alpha1.ReasonDisabled, "spec.enabled is false: events are not delivered"}
	case !reported:
		return delivering{metav1.ConditionUnknown, v1alpha1.ReasonNotReported, "The provider does not tell how deliveries go"}
	case len(statuses) == 0:
		return delivering{metav1.ConditionUnknown, v1alpha1.ReasonNoRecentDelivery, "The provider knows of no delivery yet"}
	case failing > 0:
		return delivering{
			metav1.ConditionFalse, v1alpha1.ReasonFailing,
			fmt.Sprintf("The latest delivery failed for %d of %d event types, see status.deliveryStatuses", failing, len(statuses)),
		}
	default:
		return delivering{metav1.ConditionTrue, v1alpha1.ReasonDelivered, "The latest delivery of every event type succeeded"}
	}
}

func suspension(state subscription.State) string {
	message := "The provider stopped delivering by itself"
	if state.Reason != "" {
		message += " (" + state.Reason + ")"
	}

	if state.Message != "" {
		message += ": " + unstopped(scrub(state.Message))
	}

	return message + ". Mend the endpoint, then set the annotation " + v1alpha1.AnnotationResumeRequested + " or change the spec"
}

// jitterParts is how much of an interval jitter may take: a tenth.
const jitterParts = 10

// jitter is a time from 0 to a tenth of the interval, always the same for one UID.
func jitter(uid types.UID, interval time.Duration) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(uid)) // a hash takes everything

	share := float64(hash.Sum32()) / (math.MaxUint32 + 1)

	return time.Duration(share * float64(interval/jitterParts))
}
