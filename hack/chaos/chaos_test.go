package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
)

// TestMain lets this program become what its enclosures say, as main does.
func TestMain(m *testing.M) {
	if os.Getenv(probeVariable) != "" && os.Getenv(enclosureVariable) == "" {
		return
	}

	if err := enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}

	os.Exit(m.Run())
}

// TestSmoke runs the main phase for a few seconds on the real binary, with a schedule that has
// kills in it.
func TestSmoke(t *testing.T) {
	if testing.Short() {
		t.Skip("It builds the binary and takes a quarter of a minute")
	}

	out := filepath.Join(t.TempDir(), "result.json")

	var text strings.Builder

	err := run(t.Context(), []string{
		"--seed", "7", "--duration", "6s", "--phase", "kill", "--rate", "100", "--dir", t.TempDir(), "--out", out, "--drain", "60s",
	}, &text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}

	for _, want := range []string{"Schedule of seed 7", "SIGKILL", "acknowledged events lost"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the output has no %q:\n%s", want, text.String())
		}
	}

	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if last := lines[len(lines)-1]; last != "Seed 7" {
		t.Errorf("the last line is %q: it names the seed", last)
	}

	content, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}

	var got report
	if err := json.Unmarshal(content, &got); err != nil || !got.Passed || got.Seed != 7 || len(got.Results) != 1 {
		t.Errorf("the result as JSON: %+v, %v", got, err)
	}
}

// TestLosingDispatcher puts a dispatcher that acknowledges and then drops every tenth event
// between publishers and receivers: the run must fail, and name what was lost.
func TestLosingDispatcher(t *testing.T) {
	cases := map[string]struct {
		reason string
		// copies is how often the dispatcher delivers the nth event.
		copies func(n int) int
		alter  bool
		check  string
	}{
		"Sound": {
			reason: "a dispatcher without faults passes",
			copies: func(int) int { return 1 },
		},
		"Loses": {
			reason: "one that loses a single event does not",
			copies: func(n int) int {
				if n == 11 {
					return 0
				}

				return 1
			},
			check: "acknowledged events lost",
		},
		"Repeats": {
			reason: "one that delivers every tenth event twice has too many duplicates",
			copies: func(n int) int {
				if n%10 == 0 {
					return 2
				}

				return 1
			},
			check: "duplicates",
		},
		"Alters": {
			reason: "one that changes a byte of the data is found out",
			copies: func(int) int { return 1 },
			alter:  true,
			check:  "acknowledged events lost",
		},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := runBroken(t, tc.copies, tc.alter)

			var failed []string

			for _, c := range r.Checks {
				if !c.OK {
					failed = append(failed, c.Name)
				}
			}

			if r.Passed != (tc.check == "") || tc.check != "" && !strings.Contains(strings.Join(failed, "; "), tc.check) {
				t.Errorf("%s: passed %t, failed checks %q, failures %q", tc.reason, r.Passed, failed, r.Failures)
			}
		})
	}
}

// runBroken publishes forty-odd events to a dispatcher that delivers each as often as it is told.
func runBroken(t *testing.T, copies func(n int) int, alter bool) *result {
	t.Helper()

	b := newBook()
	e := &endpoint{tenant: tenantPlain, name: "everything", events: []string{"*"}, id: "sub", secret: newSecret()}

	if err := b.add(e); err != nil {
		t.Fatal(err)
	}

	receivers, err := listen(t.Context(), b, 1, nil)
	if err != nil {
		t.Fatal(err)
	}

	defer receivers.close()

	e.url = receivers.url(e, "")
	n := 0
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var batch []wireEvent
		if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
			t.Error(err)
		}

		var results []map[string]string

		for _, event := range batch {
			n++

			results = append(results, map[string]string{"id": event.ID, "status": "accepted"})

			if alter && n == 11 {
				event.Data = []byte(strings.Replace(string(event.Data), `"pad":"`, `"pad":"x`, 1))
			}

			for range copies(n) {
				deliverOnce(t, e, event)
			}
		}

		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(map[string]any{"results": results})
	}))

	defer broken.Close()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	pubs := newPublishers(b, broken.URL, math.MaxFloat64, 50, 1)
	pubs.start(ctx, "p-0", tenantPlain, "token", eventTypes)
	pubs.done.Wait()
	pubs.finish()

	r := newResult("broken")
	r.judge(b, maxDuplicates)

	return r.end()
}

// deliverOnce makes one signed delivery.
func deliverOnce(t *testing.T, e *endpoint, event wireEvent) {
	t.Helper()

	body, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}

	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.url, strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}

	signer, err := standardwebhooks.NewWebhook(e.secret)
	if err != nil {
		t.Fatal(err)
	}

	id, now := delivery.DeliveryID(e.tenant, event.Source, event.ID, e.id), time.Now()

	signature, err := signer.Sign(id, now, body)
	if err != nil {
		t.Fatal(err)
	}

	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", fmt.Sprint(now.Unix()))
	request.Header.Set("Webhook-Signature", signature)

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}

	_ = response.Body.Close()
}

// TestReceiverSignature: a delivery with a wrong signature is no delivery, and is told of.
func TestReceiverSignature(t *testing.T) {
	b := newBook()
	e := &endpoint{tenant: tenantPlain, name: "everything", events: []string{"*"}, id: "sub", secret: newSecret()}

	if err := b.add(e); err != nil {
		t.Fatal(err)
	}

	receivers, err := listen(t.Context(), b, 1, nil)
	if err != nil {
		t.Fatal(err)
	}

	defer receivers.close()

	event, err := newEvent(testSource, "p-1", "a.b", "", 10)
	if err != nil {
		t.Fatal(err)
	}

	b.sending(tenantPlain, "p", 1, "a.b")
	b.acknowledged(tenantPlain, "p-1", 0)

	forged := *e
	forged.secret, forged.url = newSecret(), receivers.url(e, "")
	deliverOnce(t, &forged, event)

	if got := b.judge(); got.Lost != 1 || got.Complaints["unsound"] != 1 {
		t.Errorf("after a forged delivery: %+v", got)
	}
}

// TestPlan: the schedule follows from the seed, kills often enough, and leaves the end calm.
func TestPlan(t *testing.T) {
	const long = 10 * time.Minute

	first := plan(3, long)
	if diff := cmp.Diff(first, plan(3, long)); diff != "" {
		t.Errorf("the same seed makes another schedule: %s", diff)
	}

	if cmp.Equal(first, plan(4, long)) {
		t.Error("another seed makes the same schedule")
	}

	counts := map[faultKind]int{}

	for i, f := range first {
		counts[f.Kind]++

		if i > 0 && f.At < first[i-1].At || f.At < 0 || f.At >= long {
			t.Errorf("%s stands in the wrong place", f)
		}

		if (f.Kind == faultKill || f.Kind == faultTerm) && f.At >= calm(long) {
			t.Errorf("%s is in the calm at the end", f)
		}
	}

	for kind, every := range map[faultKind]time.Duration{faultKill: killEvery, faultTerm: termEvery, faultOutage: outageEvery, faultGone: goneEvery} {
		want := float64(long) / float64(every)
		if got := float64(counts[kind]); got < 0.5*want || got > 1.6*want {
			t.Errorf("%v faults of kind %s in %s: about %v are right", got, kind, long, want)
		}
	}
}

// TestHostility: a receiver's misbehaviour follows from the seed, and ends.
func TestHostility(t *testing.T) {
	for _, h := range hostilities() {
		if h.tls || h.moves {
			continue
		}

		bad := 0

		for n := range 1000 {
			id := fmt.Sprint("msg_", n)

			_, first := h.picks(9, id, 0)
			if _, again := h.picks(9, id, 0); again != first {
				t.Fatalf("%s: the same delivery is misbehaved to once and then not", h.name)
			}

			if _, ever := h.picks(9, id, h.patience); ever {
				t.Fatalf("%s: it misbehaves for ever", h.name)
			}

			if first {
				bad++
			}
		}

		if bad < 200 || bad > 400 {
			t.Errorf("%s: %d of 1000 were misbehaved to: %v is the share", h.name, bad, h.share)
		}
	}

	if _, ever := (*hostility)(nil).picks(1, "msg", 0); ever {
		t.Error("an endpoint that is not hostile misbehaves")
	}
}

// TestGrowth: the line of least squares sees a leak through noise, and no leak where there is none.
func TestGrowth(t *testing.T) {
	cases := map[string]struct {
		reason string
		of     func(i int) float64
		want   float64
	}{
		"Flat":  {reason: "what stays does not grow", of: func(int) float64 { return 5 }},
		"Line":  {reason: "a line grows by its rise", of: func(i int) float64 { return 10 + 2*float64(i) }, want: 198},
		"Noise": {reason: "noise around a line is evened out", of: func(i int) float64 { return float64(i) + float64(i%2)*10 }, want: 99},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			values := make([]float64, 100)
			for i := range values {
				values[i] = tc.of(i)
			}

			if got := growth(values); math.Abs(got-tc.want) > 1 {
				t.Errorf("%s: %v, want %v", tc.reason, got, tc.want)
			}
		})
	}
}

// TestJudgeGrowth: a soak with a leak fails by the name of what leaks; its plot and samples are written.
func TestJudgeGrowth(t *testing.T) {
	for leak, want := range map[string]bool{"": true, "growth of memory": false, "growth of sockets": false, "growth of p99": false} {
		var samples []sample

		for i := range 60 {
			s := sample{at: time.Duration(i) * sampleEvery, vitals: vitals{RSS: 80 << 20, Sockets: 40, Files: 20, Threads: 12}}
			s.p50, s.p99 = 2*time.Millisecond, 9*time.Millisecond

			switch leak {
			case "growth of memory":
				s.vitals.RSS += int64(i) << 20
			case "growth of sockets":
				s.vitals.Sockets += i
			case "growth of p99":
				s.p99 += time.Duration(i) * time.Millisecond
			}

			samples = append(samples, s)
		}

		r := newResult("soak")
		judgeGrowth(r, samples)

		if got := r.end(); got.Passed != want {
			t.Errorf("a soak with %q passed: %t: %+v", leak, got.Passed, got.Checks)
		}

		for _, c := range r.Checks {
			if c.OK == (c.Name == leak) {
				t.Errorf("a soak with %q: %+v", leak, c)
			}
		}

		dir := t.TempDir()
		if err := writeSamples(dir, samples); err != nil {
			t.Fatal(err)
		}

		for _, name := range []string{"samples.csv", "soak.svg"} {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
				t.Errorf("%s was not written: %v", name, err)
			}
		}
	}
}

// TestSteppedClock: a step moves the time and no timer.
func TestSteppedClock(t *testing.T) {
	clock := newSteppedClock()
	before := clock.Now()

	clock.step(clockStep)

	if since := clock.Since(before); since < clockStep || since > clockStep+time.Minute {
		t.Errorf("after a step of %s it is %s later", clockStep, since)
	}

	select {
	case <-clock.After(time.Millisecond):
	case <-time.After(time.Minute):
		t.Error("a wait of a millisecond took as long as the step")
	}
}

// TestNames: a message that names the damaged file, or says what is damaged, is told from one that does not.
func TestNames(t *testing.T) {
	cases := map[string]struct {
		text, file string
		want       bool
	}{
		"path":    {"opening: /data/FORMAT is not a stamp", "FORMAT", true},
		"number":  {"file 000006: block 0/9218", "store/000006.sst", true},
		"damage":  {"the journal is corrupt: record at position 7", "store/000008.log", true},
		"nothing": {"invalid argument", "store/000008.log", false},
		"empty":   {"", "FORMAT", false},
	}

	for name, tc := range cases {
		if got := names(tc.text, tc.file); got != tc.want {
			t.Errorf("%s: %q names %s: %t", name, tc.text, tc.file, got)
		}
	}
}

// TestFlags: a wrong command line is explained.
func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--phase=nothing":  "there is no",
		"--duration=0s":    "more than 0s",
		"--rate=0":         "more than 0",
		"something":        "unexpected argument",
		"--soak-duration=": "invalid argument",
	} {
		if _, err := parse([]string{args}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}

	if sum := share(nil); math.Abs(sum-1) > 0.001 {
		t.Errorf("the phases' shares are %v together", sum)
	}
}

// TestVitals counts this process's own descriptors.
func TestVitals(t *testing.T) {
	before, err := vitalsOf(os.Getpid())
	if err != nil {
		t.Skip(err)
	}

	listener, err := listenLoopback(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	defer func() { _ = listener.Close() }()

	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}

	defer func() { _ = file.Close() }()

	after, err := vitalsOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}

	if after.Sockets-before.Sockets != 1 || after.Files-before.Files < 1 || after.RSS == 0 || after.Threads == 0 {
		t.Errorf("before a listener and a file: %+v, with them: %+v", before, after)
	}

	if _, _, err := net.SplitHostPort(listener.Addr().String()); err != nil {
		t.Error(err)
	}
}
