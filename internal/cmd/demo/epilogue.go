package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/hookline-dev/hookline/api/v1alpha1"
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

	fmt.Fprintf(d.out, `
What to try next, in another terminal:

  export KUBECONFIG=%[1]s PATH=%[2]s:$PATH
  kubectl config set-context --current --namespace=%[3]s

  # what a field means
  kubectl explain webhooksubscription.spec
  # publish an event of your own
  curl -sS http://%[4]s/events -H "Authorization: Bearer $(cat %[5]s)" \
    -H 'Content-Type: application/json' -d '{"type":"%[6]s","data":{"order":7}}'
  # let the suspended subscription try again
  kubectl annotate --overwrite webhooksubscription gone %[7]s="$(date)"
  # rotate a generated secret: both sign for a day
  kubectl annotate --overwrite webhooksubscription %[8]s %[9]s="$(date)"
  # specs that are refused, each with its reason
  kubectl apply -f config/samples/invalid/
  # the operator's log
  tail -f %[10]s

Ctrl-C ends the demo.
`, d.cluster.kubeconfig, filepath.Dir(d.cluster.kubectl), namespace, d.listen, d.tokenFile, orderCreated,
		v1alpha1.AnnotationResumeRequested, rotated, v1alpha1.AnnotationRotateRequested, filepath.Join(d.dir, "hookline.log"))

	return nil
}

// quoted joins arguments as a shell would want them.
func quoted(args []string) string {
	words := make([]string, 0, len(args))

	for _, arg := range args {
		if strings.ContainsAny(arg, "{} ") {
			arg = "'" + arg + "'"
		}

		words = append(words, arg)
	}

	return strings.Join(words, " ")
}
