package controllers

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fresh reads objects no older than what this process wrote last. A cache that lags behind would show a
// subscription without the id that was just recorded, and it would be looked for again.
type fresh struct {
	cache client.Reader
	live  client.Reader

	mu      sync.Mutex
	written map[types.UID]string
}

func newFresh(cache, live client.Reader) *fresh {
	return &fresh{cache: cache, live: live, written: map[types.UID]string{}}
}

// get reads from the cache, or from the API server where the cache is behind.
func (f *fresh) get(ctx context.Context, key client.ObjectKey, obj client.Object) error {
	if err := f.cache.Get(ctx, key, obj); err != nil {
		return err //nolint:wrapcheck // the caller tells NotFound apart and names the object.
	}

	f.mu.Lock()
	written, known := f.written[obj.GetUID()]
	f.mu.Unlock()

	if !known {
		return nil
	}

	order, err := resourceversion.CompareResourceVersion(obj.GetResourceVersion(), written)
	if err == nil && order >= 0 {
		f.forget(obj.GetUID())

		return nil
	}

	return f.live.Get(ctx, key, obj) //nolint:wrapcheck // as above.
}

// wrote remembers an object as the API server answered it.
func (f *fresh) wrote(obj client.Object) {
	f.mu.Lock()
	defer f.mu.Unlock()

	f.written[obj.GetUID()] = obj.GetResourceVersion()
}

func (f *fresh) forget(uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()

	delete(f.written, uid)
}
