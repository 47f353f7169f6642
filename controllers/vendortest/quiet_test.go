package vendortest_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// quietWindow is how long a world at rest must neither write to the API server nor call its vendor.
	quietWindow = 10 * time.Second
	// quietWindowVariable overrides it, to be quicker at a desk.
	quietWindowVariable = "HOOKLINE_QUIET_WINDOW"
	// stillness is how long nothing must have happened for a world to count as come to rest.
	stillness = time.Second
	// restlessness is the longest a world may take to come to rest.
	restlessness = 30 * time.Second
)

func quietWindowLength() time.Duration {
	if length, err := time.ParseDuration(os.Getenv(quietWindowVariable)); err == nil {
		return length
	}

	return quietWindow
}

// quietChecks are the checks under way, one for each world that its case has left, and what they found.
type quietChecks struct {
	group sync.WaitGroup
	mu    sync.Mutex
	found []string
}

// start watches a world that its case has left, and ends it afterwards.
func (q *quietChecks) start(name string, w *world) {
	q.group.Go(func() {
		defer w.stop()
		if problem := w.staysQuiet(); problem != "" {
			q.mu.Lock()
			q.found = append(q.found, name+": "+problem)
			q.mu.Unlock()
		}
	})
}

// wait ends when all checks have, and returns what they found.
func (q *quietChecks) wait() []string {
	q.group.Wait()

	return q.found
}

// staysQuiet lets the world come to rest, and says what it did in the window after that; nothing, if all is well.
func (w *world) staysQuiet() string {
	if !w.comesToRest() {
		return fmt.Sprintf("did not come to rest within %s: %s", restlessness, w.activity(0, 0))
	}
	writes, requests := w.env.Writes.Count(), w.proxy.count()
	before, err := w.versions()
	if err != nil {
		return err.Error()
	}
	time.Sleep(quietWindowLength())
	if problem := w.activity(writes, requests); problem != "" {
		return problem
	}
	after, err := w.versions()
	if err != nil {
		return err.Error()
	}
	for object, version := range before {
		if after[object] != version {
			return fmt.Sprintf("%s went from resourceVersion %s to %q", object, version, after[object])
		}
	}
	if err := w.statuses(); err != nil {
		return "after the quiet window: " + err.Error()
	}
	if err := w.leaks(); err != nil {
		return err.Error()
	}

	return ""
}

// comesToRest waits until nothing has happened for a while.
func (w *world) comesToRest() bool {
	deadline := time.Now().Add(restlessness)
	last, since := -1, time.Now()
	for time.Now().Before(deadline) {
		if now := w.env.Writes.Count() + w.proxy.count(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) >= stillness {
			return true
		}
		time.Sleep(glance)
	}

	return false
}

// activity tells what was written and asked for after the counts given; nothing, if nothing was.
func (w *world) activity(writes, requests int) string {
	var lines []string
	for _, write := range w.env.Writes.All()[writes:] {
		lines = append(lines, fmt.Sprintf("%s %s (%d)", write.Method, write.Path, write.Code))
	}
	for _, request := range w.proxy.since(requests) {
		lines = append(lines, fmt.Sprintf("vendor %s %s (%d)", request.Method, request.Path, request.Status))
	}
	if len(lines) == 0 {
		return ""
	}

	return "was not quiet:\n  " + strings.Join(lines, "\n  ")
}

// versions are the resourceVersions of every object of the world that rests.
func (w *world) versions() (map[string]string, error) {
	versions := map[string]string{}
	for _, expected := range w.expected {
		object := expected.object.DeepCopyObject().(client.Object)
		if err := w.client.Get(context.Background(), client.ObjectKeyFromObject(object), object); err != nil {
			return nil, fmt.Errorf("reading %T %s: %w", object, object.GetName(), err)
		}
		versions[fmt.Sprintf("%T %s", object, object.GetName())] = object.GetResourceVersion()
	}

	return versions, nil
}
