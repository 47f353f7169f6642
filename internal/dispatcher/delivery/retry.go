package delivery

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxRetryAfter is the longest that a receiver's Retry-After is honoured.
	MaxRetryAfter = 24 * time.Hour
	// MaxScheduleSteps bounds a schedule.
	MaxScheduleSteps = 100
	// jitter is the part by which a wait is shortened or lengthened at random.
	jitter = 0.1
)

// Schedule are the waits before the attempts of one delivery: the first entry before the
// first attempt, which is always 0, the second between the first attempt's end and the
// second attempt, and so on. Its length is how often a delivery is tried, unless the
// subscription has a MaxAttempts: then the schedule is cut, or its last wait repeats.
// Each wait is varied by ±10 % at random.
type Schedule []time.Duration

// DefaultSchedule is the one that Standard Webhooks 1.0.0 gives: ten attempts over 75 hours.
func DefaultSchedule() Schedule {
	return Schedule{
		0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour,
		5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}
}

// ParseSchedule reads a comma-separated list of durations, such as "0s,5s,5m".
func ParseSchedule(text string) (Schedule, error) {
	var schedule Schedule
	for part := range strings.SplitSeq(text, ",") {
		wait, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("%q is not a duration: write the retry schedule such as 0s,5s,5m", part)
		}
		schedule = append(schedule, wait)
	}

	return schedule, schedule.Validate()
}

// Validate says what is wrong with a schedule.
func (s Schedule) Validate() error {
	switch {
	case len(s) == 0:
		return errors.New("the retry schedule is empty: give at least the first attempt's wait, 0s")
	case len(s) > MaxScheduleSteps:
		return fmt.Errorf("the retry schedule has %d steps: the most is %d", len(s), MaxScheduleSteps)
	case s[0] != 0:
		return fmt.Errorf("the retry schedule begins with %s: the first attempt does not wait, begin with 0s", s[0])
	}
	for _, wait := range s[1:] {
		if wait <= 0 || wait > 7*24*time.Hour {
			return fmt.Errorf("the retry schedule has a wait of %s: give more than 0s and at most 168h", wait)
		}
	}

	return nil
}

// next is how long to wait after a failed attempt, the made-th from 1, and whether there
// is another one. retryAfter is what the receiver asked for, 0 where it did not.
func (s Schedule) next(made, maxAttempts int32, retryAfter time.Duration, random func() float64) (time.Duration, bool) {
	limit := len(s)
	if maxAttempts > 0 {
		limit = int(maxAttempts)
	}
	if int(made) >= limit {
		return 0, false
	}
	step := s[len(s)-1]
	if int(made) < len(s) {
		step = s[made]
	}
	wait := vary(step, 2*random()-1)
	if retryAfter <= 0 {
		return wait, true
	}
	// Never earlier than asked; later at random, so that waiting deliveries do not return as one.
	asked := min(vary(retryAfter, random()), MaxRetryAfter)

	return max(wait, asked), true
}

// vary changes a wait by a part of jitter from -1 to 1.
func vary(wait time.Duration, part float64) time.Duration {
	return wait + time.Duration(float64(wait)*jitter*part)
}

// defaultRandom is what jitter is drawn from.
func defaultRandom() float64 {
	return rand.Float64() //nolint:gosec // Jitter needs no secrecy.
}

// RetryAfter reads a Retry-After header: whole or fractional seconds, or an HTTP date. The
// answer is between 0 and MaxRetryAfter; a time that has passed, a negative number and
// anything unreadable answer 0, as if the header were absent.
func RetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789.") == "" {
		return secondsAfter(value)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}

	return min(max(at.Sub(now), 0), MaxRetryAfter)
}

// secondsAfter reads digits and dots. Fractions are rounded up to the millisecond.
func secondsAfter(value string) time.Duration {
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	if seconds >= MaxRetryAfter.Seconds() {
		return MaxRetryAfter
	}
	wait := time.Duration(seconds * float64(time.Second))

	return (wait + time.Millisecond - 1).Truncate(time.Millisecond)
}

// verdict is what an attempt means for its delivery.
type verdict uint8

const (
	verdictDelivered verdict = iota + 1
	verdictRetry
	verdictGone
	// verdictRejected: nothing was sent, for the event cannot be told in the format.
	verdictRejected
)

// judge classifies a response's status in the engine's own format; see the package's documentation.
func judge(code int) verdict {
	switch {
	case code >= 200 && code <= 299:
		return verdictDelivered
	case code == http.StatusGone:
		return verdictGone
	default:
		return verdictRetry
	}
}

// honoursRetryAfter tells with which statuses Retry-After means "not before": on a redirect
// it speaks of the other place, elsewhere it has no meaning.
func honoursRetryAfter(code int) bool {
	return code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable
}
