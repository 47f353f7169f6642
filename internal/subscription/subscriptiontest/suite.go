// Package subscriptiontest is the conformance suite of package subscription's port. An
// implementation that passes it can stand behind a provider: the control plane relies on
// nothing else.
package subscriptiontest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Subject is one account to be tested. It need not be empty: the suite makes
// subscriptions of its own, looks at those alone, and deletes them.
type Subject struct {
	// API is the implementation.
	API subscription.API
	// Settle waits until what was written shows in List and Get. It may be nil where
	// Capabilities.VisibilityDelay is 0.
	Settle func(ctx context.Context) error
	// Events are at least three event types the provider accepts; nil where it takes any.
	Events []string

	// Deliver has the provider deliver one event of a type to a subscription, successfully.
	// Where it is nil, what shows after a delivery is not tested.
	Deliver func(ctx context.Context, id, eventType string) error
	// Suspend has the provider suspend a subscription. Where it is nil, suspension is not tested.
	Suspend func(ctx context.Context, id string) error
	// Other is another account of the same provider. Where it is nil, isolation is not tested.
	Other subscription.API
}

// T is what a case needs of a *testing.T.
type T interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Bounds of waiting.
const (
	// caseTimeout bounds one case.
	caseTimeout = time.Minute
	// deliveryTimeout is how long a delivery may take to show.
	deliveryTimeout = 20 * time.Second
	// pollInterval is between two looks.
	pollInterval = 10 * time.Millisecond
)

// conformance is one case of the suite.
type conformance struct {
	name string
	// needs tells whether an implementation of these capabilities must pass. One that need
	// not must fail: what it can do, its capabilities must say. Nil: each must pass.
	needs func(subscription.Capabilities) bool
	// hook tells whether the subject can be tested so; nil: each can.
	hook  func(Subject) bool
	check func(p *probe)
}

func (c conformance) needed(caps subscription.Capabilities) bool {
	return c.needs == nil || c.needs(caps)
}

func (c conformance) possible(s Subject) bool {
	return c.hook == nil || c.hook(s)
}

// Run tests an implementation. It opens a subject for each case; what open needs to end
// it leaves to t.Cleanup. Cases the implementation's Capabilities opt out of are run too
// and must fail.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	t.Helper()
	for _, c := range suite() {
		t.Run(c.name, func(t *testing.T) {
			subject := open(t)
			switch {
			case !c.possible(subject):
				t.Skip("the subject lacks the hook for this case")
			case c.needed(subject.API.Capabilities()):
				c.run(t, subject)
			default:
				failures := record(c, subject)
				if len(failures) == 0 {
					t.Error(optedOutPasses)
				} else {
					t.Logf("opted out by the capabilities, and fails as it must: %s", failures[0])
				}
			}
		})
	}
}

const optedOutPasses = "the capabilities opt out of this case, and it passes: let them say that the provider can do it"

// Failures runs the suite, or the cases named, and returns what failed, by the case's
// name. It is for testing the suite itself, and for trying an implementation that is known
// to fall short.
func Failures(open func() Subject, only ...string) map[string][]string {
	out := make(map[string][]string)
	for _, c := range suite() {
		if len(only) > 0 && !slices.Contains(only, c.name) {
			continue
		}
		subject := open()
		if !c.possible(subject) {
			continue
		}
		failures := record(c, subject)
		switch {
		case c.needed(subject.API.Capabilities()):
			if len(failures) > 0 {
				out[c.name] = failures
			}
		case len(failures) == 0:
			out[c.name] = []string{optedOutPasses}
		}
	}

	return out
}

func (c conformance) run(t T, subject Subject) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), caseTimeout)
	defer cancel()
	p := &probe{T: t, ctx: ctx, subject: subject, api: subject.API, caps: subject.API.Capabilities()}
	defer p.cleanUp()
	c.check(p)
}

// recorder is a T that keeps what fails.
type recorder struct{ failures []string }

func (r *recorder) Helper() {}

func (r *recorder) Context() context.Context { return context.Background() }

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// record runs a case in a goroutine of its own, which Fatalf ends.
func record(c conformance, subject Subject) []string {
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(r, subject)
	}()
	<-done

	return r.failures
}

// suite is every case.
func suite() []conformance {
	var all []conformance
	all = append(all, lifecycleCases()...)
	all = append(all, nameCases()...)
	all = append(all, fieldCases()...)
	all = append(all, invalidCases()...)
	all = append(all, secretCases()...)
	all = append(all, deliveryCases()...)

	return all
}
