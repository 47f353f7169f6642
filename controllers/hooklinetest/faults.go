package hooklinetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/segmentio/ksuid"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// Op names one operation of a provider's API.
type Op string

// The operations. OpAny, in Script, stands for each of them.
const (
	OpAny                  Op = "*"
	OpList                 Op = "List"
	OpGet                  Op = "Get"
	OpCreate               Op = "Create"
	OpUpdate               Op = "Update"
	OpDelete               Op = "Delete"
	OpEventTypes           Op = "EventTypes"
	OpStatuses             Op = "Statuses"
	OpStatusesChangedSince Op = "StatusesChangedSince"
	OpLogs                 Op = "Logs"
	OpSecret               Op = "Secret"
)

// Forever is a number of times of Script that lets a fault stay until Heal.
const Forever = -1

// Fault is one way in which a request fails. Use one of the functions that make them.
type Fault struct {
	name string
	// applied: the operation takes effect all the same, only its reply is lost.
	applied bool
	// wait is how long it takes, by the provider's clock, until an operation that is applied takes effect.
	wait time.Duration
	// fail answers after the request was received; nil lets the operation go on.
	fail func(ctx context.Context, account *Account) error
}

// String names the fault.
func (f Fault) String() string { return f.name }

func fails(name string, answer func() error) Fault {
	return Fault{name: name, fail: func(context.Context, *Account) error { return answer() }}
}

// ReplyLost carries the operation out and loses the reply: the caller cannot know that it happened.
func ReplyLost() Fault { return ReplyLostAfter(0) }

// ReplyLostAfter is ReplyLost of a provider that is slow: it carries the operation out that much later by its clock, whether
// or not the caller still waits.
func ReplyLostAfter(delay time.Duration) Fault {
	return Fault{name: "ReplyLost", applied: true, wait: delay, fail: func(context.Context, *Account) error {
		return errors.New("reading the reply: connection reset by peer")
	}}
}

// RateLimited answers 429, with a Retry-After of that long, or without one when it is 0.
func RateLimited(after time.Duration) Fault {
	return fails("RateLimited", func() error { return &subscription.RateLimitedError{After: after} })
}

// ServerError answers with an HTTP status of 500 or above. Its text holds a request id and a time that
// differ on every request, as those of real services do.
func ServerError(code int) Fault {
	return Fault{name: "ServerError", fail: func(_ context.Context, account *Account) error {
		return fmt.Errorf("the provider answered %d %s: request %s failed at %s",
			code, http.StatusText(code), ksuid.New(), account.clock.Now().UTC().Format(time.RFC3339Nano))
	}}
}

// Timeout never answers: the request ends when its context does.
func Timeout() Fault {
	return Fault{name: "Timeout", fail: func(ctx context.Context, _ *Account) error {
		<-ctx.Done()

		return fmt.Errorf("waiting for the reply: %w", ctx.Err())
	}}
}

// Slow answers properly, that much later by the provider's clock, or not at all when the context ends first.
func Slow(delay time.Duration) Fault {
	return Fault{name: "Slow", fail: func(ctx context.Context, account *Account) error {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the reply: %w", ctx.Err())
		case <-account.clock.After(delay):
			return nil
		}
	}}
}

// Unauthorized answers 401: the credentials are not accepted.
func Unauthorized() Fault {
	return fails("Unauthorized", func() error {
		return &subscription.AuthError{Message: "the token is not known"}
	})
}

// Forbidden answers 403: the credentials are good but not enough.
func Forbidden() Fault {
	return fails("Forbidden", func() error {
		return &subscription.AuthError{Forbidden: true, Message: "the scope webhooks is missing"}
	})
}

// Malformed answers with something that is not what the API promises.
func Malformed() Fault {
	return fails("Malformed", func() error {
		return errors.New("decoding the reply: invalid character '<' looking for beginning of value")
	})
}

// Refused answers that a value is not valid. field is spelled as in the resource's spec; it may be empty.
func Refused(field, message string) Fault {
	return fails("Refused", func() error { return &subscription.InvalidError{Field: field, Message: message} })
}

// Unreachable answers as a host does that cannot be reached.
func Unreachable() Fault {
	return fails("Unreachable", func() error {
		return &net.OpError{
			Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443},
			Err: os.NewSyscallError("connect", syscall.ECONNREFUSED),
		}
	})
}

// Missing answers 404, whether or not there is such a subscription.
func Missing() Fault {
	return fails("Missing", func() error { return subscription.ErrNotFound })
}

// scripted is a fault that waits for its requests.
type scripted struct {
	op    Op
	left  int
	fault Fault
}

func (s *scripted) takes(op Op) bool {
	return s.left != 0 && (s.op == OpAny || s.op == op)
}

// Script lets the next requests of one operation fail, as many as times says, or all until Heal when it is
// Forever. Faults of one operation take their turns in the order in which they were scripted.
func (a *Account) Script(op Op, times int, fault Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.script = append(a.script, &scripted{op: op, left: times, fault: fault})
}

// Heal forgets every fault that was scripted.
func (a *Account) Heal() {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.script = nil
}

// Pending is how many scripted faults have not had their requests yet; one that lasts Forever counts as one.
func (a *Account) Pending() int {
	a.mu.Lock()
	defer a.mu.Unlock()

	pending := 0
	for _, s := range a.script {
		switch {
		case s.left > 0:
			pending += s.left
		case s.left == Forever:
			pending++
		}
	}

	return pending
}

// nextFault is called with the lock held.
func (a *Account) nextFault(op Op) *Fault {
	for _, s := range a.script {
		if s.takes(op) {
			if s.left > 0 {
				s.left--
			}

			return &s.fault
		}
	}

	return nil
}

// Request is one request that an account received.
type Request struct {
	// Tenant is the account's.
	Tenant string
	// Op is what was asked for.
	Op Op
	// ID is the subscription's; that of a create is known when it succeeded.
	ID string
	// Time is when it came in, by the provider's clock.
	Time time.Time
	// Draft is what a create asked for, Patch what an update did; nil otherwise.
	Draft *Draft
	Patch *Patch
	// Fault names the fault that the request met, empty when it met none.
	Fault string
}

// Writes tells whether the request was meant to change something.
func (r Request) Writes() bool {
	return r.Op == OpCreate || r.Op == OpUpdate || r.Op == OpDelete
}
