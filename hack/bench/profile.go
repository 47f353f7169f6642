package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// profileTop is how many functions of a profile are printed.
	profileTop = "40"
	// profileWindow is how long the load lasts: a profile has a hundred samples a second.
	profileWindow = 12 * time.Second
)

// profileLoad profiles the processor of one subject under one load and prints the top. The
// profile is kept beside -out.
func (b *bench) profileLoad(ctx context.Context, stdout io.Writer) error {
	cells := headline()
	of := subjectOptions{kind: kindEmbedded}
	c := cells[0]

	switch b.profile {
	case "64x1":
		c = cells[1]
	case "256x10":
		c = cells[2]
	case string(kindBare), string(kindDiscard):
		of.kind = kind(b.profile)
	}

	path, err := filepath.Abs(strings.TrimSuffix(b.out, filepath.Ext(b.out)) + "-" + b.profile + ".pprof")
	if err != nil {
		return fmt.Errorf("naming the profile: %w", err)
	}

	of.cpuProfile = path

	s, err := b.launchWith(ctx, of, base)
	if err != nil {
		return err
	}

	var result throughput

	b.scale.Window = profileWindow

	if err := errors.Join(b.measure(ctx, s, c, &result), s.stop()); err != nil {
		return err
	}

	fmt.Fprintf(stdout, "%s: %s: %.0f events/s, %s of processor time an event\n\n", s.name, c, result.events(), durationText(result.CPU))

	for _, order := range []string{"-flat", "-cum"} {
		//nolint:gosec // The caller names the file.
		cmd := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", order, "-nodecount="+profileTop, path)

		text, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("reading the profile: %w: %s", err, text)
		}

		fmt.Fprintf(stdout, "%s\n", text)
	}

	b.sayf("the profile is %s", path)

	return nil
}
