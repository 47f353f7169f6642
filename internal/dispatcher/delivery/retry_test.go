package delivery

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()

	now := time.Date(2026, time.August, 17, 12, 0, 0, 0, time.UTC)
	cases := map[string]struct {
		reason string
		value  string
		want   time.Duration
	}{
		"Absent":       {reason: "nothing was asked", value: "", want: 0},
		"Seconds":      {reason: "delta-seconds", value: "120", want: 2 * time.Minute},
		"Spaces":       {reason: "white space around is no part of it", value: " 7 ", want: 7 * time.Second},
		"Zero":         {reason: "at once, which is our schedule", value: "0", want: 0},
		"Fractional":   {reason: "not standard, yet plain", value: "1.5", want: 1500 * time.Millisecond},
		"TinyFraction": {reason: "rounded up, never early", value: "0.0001", want: time.Millisecond},
		"Negative":     {reason: "no time to wait for", value: "-5", want: 0},
		"Plus":         {reason: "not a number of the grammar", value: "+5", want: 0},
		"Exponent":     {reason: "not a number of the grammar", value: "1e3", want: 0},
		"Hex":          {reason: "not a number of the grammar", value: "0x10", want: 0},
		"Infinity":     {reason: "not a number of the grammar", value: "Inf", want: 0},
		"NaN":          {reason: "not a number of the grammar", value: "NaN", want: 0},
		"TwoDots":      {reason: "not a number", value: "1.2.3", want: 0},
		"Dot":          {reason: "not a number", value: ".", want: 0},
		"Day":          {reason: "the longest that is honoured", value: "86400", want: 24 * time.Hour},
		"TooLong":      {reason: "cut to a day", value: "86401", want: 24 * time.Hour},
		"Huge":         {reason: "more than any integer holds", value: "99999999999999999999999999999999", want: 24 * time.Hour},
		"BeyondFloat":  {reason: "more than a float holds", value: "1" + string(make400Zeros()), want: 24 * time.Hour},
		"Date":         {reason: "an HTTP date", value: now.Add(90 * time.Second).Format(http.TimeFormat), want: 90 * time.Second},
		"OldDate":      {reason: "RFC 850, which recipients must read", value: now.Add(time.Minute).Format("Monday, 02-Jan-06 15:04:05 GMT"), want: time.Minute},
		"PastDate":     {reason: "has passed", value: now.Add(-time.Hour).Format(http.TimeFormat), want: 0},
		"FarDate":      {reason: "cut to a day", value: now.Add(1000 * time.Hour).Format(http.TimeFormat), want: 24 * time.Hour},
		"ISODate":      {reason: "not an HTTP date", value: "2026-08-17T12:30:00Z", want: 0},
		"Garbage":      {reason: "unreadable counts as absent", value: "soon, please", want: 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			if diff := cmp.Diff(c.want, RetryAfter(c.value, now)); diff != "" {
				t.Errorf("%s: RetryAfter(%q) (-want +got):\n%s", c.reason, c.value, diff)
			}
		})
	}
}

func make400Zeros() []byte {
	zeros := make([]byte, 400)
	for i := range zeros {
		zeros[i] = '0'
	}

	return zeros
}

func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, time.August, 17, 12, 0, 0, 0, time.UTC)
	for _, seed := range []string{"", "0", "120", "1.5", "-1", "1e9", "NaN", "Mon, 17 Aug 2026 12:05:00 GMT", "99999999999999999999", "soon"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := RetryAfter(value, now)
		if got < 0 || got > MaxRetryAfter {
			t.Fatalf("RetryAfter(%q) is %s: want 0 to %s", value, got, MaxRetryAfter)
		}
		if seconds, err := strconv.ParseUint(value, 10, 16); err == nil && got != time.Duration(seconds)*time.Second {
			t.Fatalf("RetryAfter(%q) is %s", value, got)
		}
	})
}

func TestScheduleNext(t *testing.T) {
	t.Parallel()

	schedule := DefaultSchedule()
	type wait struct {
		Least, Most time.Duration
		Again       bool
	}
	cases := map[string]struct {
		reason      string
		made        int32
		maxAttempts int32
		retryAfter  time.Duration
		want        wait
	}{
		"Second":          {reason: "5 s ± 10 %", made: 1, want: wait{4500 * time.Millisecond, 5500 * time.Millisecond, true}},
		"Third":           {reason: "5 m ± 10 %", made: 2, want: wait{270 * time.Second, 330 * time.Second, true}},
		"Tenth":           {reason: "24 h ± 10 %", made: 9, want: wait{1296 * time.Minute, 1584 * time.Minute, true}},
		"Exhausted":       {reason: "ten attempts", made: 10, want: wait{}},
		"Fewer":           {reason: "the subscription's own number", made: 3, maxAttempts: 3, want: wait{}},
		"One":             {reason: "no retry at all", made: 1, maxAttempts: 1, want: wait{}},
		"More":            {reason: "the last wait repeats", made: 14, maxAttempts: 20, want: wait{1296 * time.Minute, 1584 * time.Minute, true}},
		"AskedLater":      {reason: "never earlier than asked, ten per cent later at most", made: 1, retryAfter: time.Minute, want: wait{time.Minute, 66 * time.Second, true}},
		"AskedSooner":     {reason: "the next step is the least", made: 3, retryAfter: time.Minute, want: wait{27 * time.Minute, 33 * time.Minute, true}},
		"AskedDay":        {reason: "24 h is the most", made: 1, retryAfter: 24 * time.Hour, want: wait{24 * time.Hour, 24 * time.Hour, true}},
		"AskedInTheEnd":   {reason: "asking does not add attempts", made: 10, retryAfter: time.Minute, want: wait{}},
		"AskedAndLimited": {reason: "asking does not add attempts", made: 2, maxAttempts: 2, retryAfter: time.Minute, want: wait{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			var got wait
			for _, random := range []float64{0, 0.25, 0.5, 0.75, 0.9999999} {
				at, again := schedule.next(c.made, c.maxAttempts, c.retryAfter, func() float64 { return random })
				if random == 0 {
					got.Least = at
				}
				got.Most, got.Again = at, again
				if again && (at < c.want.Least || at > c.want.Most) {
					t.Errorf("%s: %s at random %g: want %s to %s", c.reason, at, random, c.want.Least, c.want.Most)
				}
			}
			if got.Again != c.want.Again {
				t.Errorf("%s: again %t, want %t", c.reason, got.Again, c.want.Again)
			}
			if got.Again && c.want.Most > c.want.Least && got.Most-got.Least < (c.want.Most-c.want.Least)/3 {
				t.Errorf("%s: waits from %s to %s do not spread", c.reason, got.Least, got.Most)
			}
		})
	}
}

func TestParseSchedule(t *testing.T) {
	t.Parallel()

	got, err := ParseSchedule("0s, 5s,1h30m")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Schedule{0, 5 * time.Second, 90 * time.Minute}, got); diff != "" {
		t.Errorf("schedule (-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"Empty": "", "NotADuration": "0s,5", "FirstWaits": "5s,5s", "Zero": "0s,0s", "Negative": "0s,-1s", "TooLong": "0s,169h",
	} {
		if _, err := ParseSchedule(text); err == nil {
			t.Errorf("%s: schedule %q was accepted", name, text)
		}
	}
	if err := DefaultSchedule().Validate(); err != nil {
		t.Errorf("the default schedule: %v", err)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()

	for code, want := range map[int]verdict{
		0: verdictRetry, 101: verdictRetry, 200: verdictDelivered, 201: verdictDelivered, 202: verdictDelivered, 204: verdictDelivered,
		299: verdictDelivered, 300: verdictRetry, 301: verdictRetry, 302: verdictRetry, 304: verdictRetry, 307: verdictRetry, 308: verdictRetry,
		400: verdictRetry, 401: verdictRetry, 403: verdictRetry, 404: verdictRetry, 408: verdictRetry, 410: verdictGone, 413: verdictRetry,
		415: verdictRetry, 422: verdictRetry, 429: verdictRetry, 500: verdictRetry, 502: verdictRetry, 503: verdictRetry, 504: verdictRetry, 599: verdictRetry,
	} {
		if got := judge(code); got != want {
			t.Errorf("judge(%d) is %d, want %d", code, got, want)
		}
	}
}
