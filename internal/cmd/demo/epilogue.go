package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// epilogue prints what kubectl shows and, where the demo stays up, what to try next.
func (d *demo) epilogue(ctx context.Context) error {
	for _, args := range [][]string{
		{"get", "webhooksubscriptions", "-n", namespace, "-o", "wide"},
		{"get", "webhooksubscription", "flaky", "-n", namespace, "-o", "jsonpath={.status.deliveryStatuses}{\"\\n\"}"},
	} {
		output, err := d.cluster.run(ctx, nil, args...)
		if err != nil {
			return err
		}

		fmt.Fprintf(d.out, "\n$ kubectl %s\n%s", quoted(args), output)
	}

	if !d.stay {
		return nil
	}

	kubectl := d.cluster.kubectl + " --kubeconfig " + d.cluster.kubeconfig + " -n " + namespace
	fmt.Fprintf(d.out, `
What to try next, in another terminal:

  # what a field means
  %[1]s explain webhooksubscription.spec
  # publish an event of your own
  curl -sS http://%[2]s/events -H "Authorization: Bearer %[3]s" \
    -H 'Content-Type: application/json' -d '{"type":"%[4]s","data":{"order":7}}'
  # let the suspended subscription try again
  %[1]s annotate --overwrite webhooksubscription gone hookline.dev/resume-requested-at="$(date -Is)"
  # rotate a generated secret: both sign for a day
  %[1]s annotate --overwrite webhooksubscription generated-secret hookline.dev/rotate-requested-at="$(date -Is)"
  # a spec that is refused, with the reason
  %[1]s apply -f config/samples/invalid/
  # the operator's log
  tail -f %[5]s

Ctrl-C ends the demo.
`, kubectl, d.listen, d.token, orderCreated, filepath.Join(d.dir, "hookline.log"))

	return nil
}

// quoted joins arguments as a shell would want them.
func quoted(args []string) string {
	text := ""

	for i, arg := range args {
		if i > 0 {
			text += " "
		}
		if arg == "" || arg[0] == 'j' && len(arg) > len("jsonpath") {
			arg = "'" + arg + "'"
		}

		text += arg
	}

	return text
}
