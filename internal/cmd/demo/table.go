package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

// refreshInterval is how often the table looks again.
const refreshInterval = 250 * time.Millisecond

// row is one line of the table.
type row struct {
	name     string
	expect   string
	held     bool
	evidence string
}

// showTable shows the samples until each has reached its state or the time is up.
func (d *demo) showTable(ctx context.Context) bool {
	held := d.show(ctx, d.rows)
	d.sayFirst()

	return held
}

// show shows rows until all hold or the time is up. On a terminal the table is drawn again in place; elsewhere it
// is printed once, at the end.
func (d *demo) show(ctx context.Context, look func(context.Context) []row) bool {
	ctx, cancel := context.WithTimeout(ctx, tableTimeout)
	defer cancel()

	ticker := time.NewTicker(refreshInterval)
	defer ticker.Stop()

	drawn := 0

	for {
		rows := look(ctx)
		held := allHeld(rows)

		if d.live {
			drawn = d.draw(rows, drawn)
		}

		if held || ctx.Err() != nil {
			if !d.live {
				d.draw(rows, 0)
			}

			return held
		}

		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func (d *demo) sayFirst() {
	if first := d.receiver.firstVerified(); !first.IsZero() {
		d.say(fmt.Sprintf("The first verified delivery arrived %.1f s after the start", first.Sub(d.began).Seconds()))
	}
}

func allHeld(rows []row) bool {
	for _, r := range rows {
		if !r.held {
			return false
		}
	}

	return len(rows) > 0
}

// rows looks at every sample.
func (d *demo) rows(ctx context.Context) []row {
	rows := make([]row, 0, len(expectations))

	for _, e := range expectations {
		r := row{name: e.Name, expect: e.Expect}

		var subscription v1alpha1.WebhookSubscription
		if err := d.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: e.Name}, &subscription); err != nil {
			r.evidence = "not readable: " + err.Error()
		} else {
			r.held, r.evidence = e.Held(observed{
				subscription: &subscription,
				received:     d.receiver.snapshot(e.Name),
				generated:    d.ownsSecret(ctx, &subscription),
			})
		}

		rows = append(rows, r)
	}

	return rows
}

// draw prints the table, over the lines of the last one, and returns how many lines it took.
func (d *demo) draw(rows []row, over int) int {
	var text strings.Builder

	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0) //nolint:mnd // Two spaces between columns.
	fmt.Fprintln(w, "\tSAMPLE\tEXPECTED\tEVIDENCE")

	for _, r := range rows {
		mark := "…"
		if r.held {
			mark = "✓"
		}

		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", mark, r.name, r.expect, r.evidence)
	}

	_ = w.Flush()

	if over > 0 {
		// Up by as many lines as were drawn, and clear from there to the end.
		fmt.Fprintf(d.out, "\x1b[%dA\x1b[J", over)
	}

	for line := range strings.Lines(text.String()) {
		fmt.Fprintln(d.out, d.fit(strings.TrimRight(line, "\n")))
	}

	return strings.Count(text.String(), "\n")
}

// fit cuts a line of the live table to the terminal's width: a wrapped line could not be
// drawn over.
func (d *demo) fit(line string) string {
	if !d.live {
		return line
	}

	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if runes := []rune(line); err == nil && width > 1 && len(runes) > width {
		return string(runes[:width-1]) + "…"
	}

	return line
}

func isReady(subscription *v1alpha1.WebhookSubscription) bool {
	return meta.IsStatusConditionTrue(subscription.Status.Conditions, v1alpha1.ConditionReady)
}

// conditionText is a condition's reason and message, or that there is none.
func conditionText(subscription *v1alpha1.WebhookSubscription, condition string) string {
	c := meta.FindStatusCondition(subscription.Status.Conditions, condition)
	if c == nil {
		return "no condition " + condition
	}

	return fmt.Sprintf("%s=%s %s: %s", condition, c.Status, c.Reason, c.Message)
}
