package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

// rotated is the sample whose generated secret the demo rotates.
const rotated = "generated-secret"

// rotateAndCompare rotates a generated secret, sees an event delivered under the new one,
// and checks that what was applied is still what is stored: applying it again changes
// nothing, and kubectl diff is empty.
func (d *demo) rotateAndCompare(ctx context.Context) error {
	before, err := d.signingSecret(ctx, rotated)
	if err != nil {
		return err
	}

	request := v1alpha1.AnnotationRotateRequested + "=" + time.Now().UTC().Format(time.RFC3339)
	if _, err := d.cluster.run(ctx, nil, "annotate", "--overwrite", "-n", namespace, "webhooksubscription", rotated, request); err != nil {
		return err
	}

	err = d.operator.await(ctx, stepTimeout, "the secret to be rotated", func() bool {
		var subscription v1alpha1.WebhookSubscription
		if err := d.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: rotated}, &subscription); err != nil {
			return false
		}

		return subscription.Status.LastHandledRotateAt != "" && isReady(&subscription)
	})
	if err != nil {
		return err
	}

	after, err := d.signingSecret(ctx, rotated)
	if err != nil {
		return err
	}

	if after == before {
		return errors.New("the rotation left the secret as it was")
	}

	delivered := d.receiver.snapshot(rotated).Delivered
	if err := d.publish(ctx, invoicePaid); err != nil {
		return err
	}

	err = d.operator.await(ctx, stepTimeout, "a delivery under the new secret", func() bool {
		return d.receiver.snapshot(rotated).Delivered > delivered
	})
	if err != nil {
		return fmt.Errorf("%w (%s)", err, d.receiver.snapshot(rotated).Problem)
	}

	d.say("Rotated the secret of " + rotated + ": the next delivery verified with the new one")

	return d.compare(ctx)
}

// compare applies the samples again and diffs them.
func (d *demo) compare(ctx context.Context) error {
	applied, err := d.cluster.run(ctx, d.samples, "apply", "-n", namespace, "-f", "-")
	if err != nil {
		return err
	}

	for line := range strings.Lines(applied) {
		// A Secret written with stringData is always said to be configured; its content is compared below.
		if !strings.Contains(line, "unchanged") && !strings.HasPrefix(line, "secret/") {
			return fmt.Errorf("applying the samples again changed something: %s", line)
		}
	}

	if difference, err := d.cluster.run(ctx, d.samples, "diff", "-n", namespace, "-f", "-"); err != nil {
		return fmt.Errorf("kubectl diff is not empty: %w\n%s", err, difference)
	}

	d.say("Applied config/samples again: nothing changed, and kubectl diff is empty")

	return nil
}
