package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"
)

// quietLog is for parts whose log nobody reads.
func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// leaks checks that a dispatcher inside this program left no goroutines behind.
func (r *result) leaks(ctx context.Context, before int) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()

	for runtime.NumGoroutine() > before && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
	}

	now := runtime.NumGoroutine()
	r.check("goroutines afterwards", fmt.Sprintf("at most %d", before), now, now <= before)

	if now > before {
		var text strings.Builder

		_ = pprof.Lookup("goroutine").WriteTo(&text, 1)
		r.Failures = append(r.Failures, "goroutines:\n"+text.String())
	}
}
