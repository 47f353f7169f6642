package deadline_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/deadline"
)

// long is a time that no call here takes.
const long = time.Hour

// TestShared gives calls that end in time the same context, which does not end.
func TestShared(t *testing.T) {
	t.Parallel()
	d := deadline.New(t.Context())
	first := d.Begin(long)
	d.End()
	second := d.Begin(long)
	defer d.End()
	if first != second {
		t.Error("A second call got a context of its own")
	}
	if err := second.Err(); err != nil {
		t.Errorf("The context ended: %v", err)
	}
}

// TestEnds ends the context of a call that takes too long, and gives the next one another.
func TestEnds(t *testing.T) {
	t.Parallel()
	d := deadline.New(t.Context())
	late := d.Begin(time.Millisecond)
	<-late.Done()
	if cause := context.Cause(late); !errors.Is(cause, context.DeadlineExceeded) {
		t.Errorf("The cause is %v", cause)
	}
	d.End()
	next := d.Begin(long)
	defer d.End()
	if err := next.Err(); err != nil {
		t.Errorf("The next context has ended: %v", err)
	}
}

// TestTimeStops lets no time of one call end the next one's context.
func TestTimeStops(t *testing.T) {
	t.Parallel()
	d := deadline.New(t.Context())
	for range 2000 {
		ctx := d.Begin(time.Microsecond)
		d.End()
		next := d.Begin(long)
		if ctx.Err() == nil && ctx != next || next.Err() != nil {
			t.Fatalf("After a call whose context says %v the next one's says %v", ctx.Err(), next.Err())
		}
		d.End()
	}
}

// TestParent ends with its parent, and lets go.
func TestParent(t *testing.T) {
	t.Parallel()
	parent, cancel := context.WithCancel(t.Context())
	d := deadline.New(parent)
	ctx := d.Begin(long)
	cancel()
	<-ctx.Done()
	d.End()
	d.Forget()
	if err := d.Begin(long).Err(); err == nil {
		t.Error("A context outlives its parent")
	}
	d.End()
}
