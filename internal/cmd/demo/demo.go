package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
)

const (
	// namespace of the samples; a WebhookProvider's tenant is its namespace.
	namespace = "hookline-demo"
	// systemNamespace and serviceAccount are the operator's, by config/rbac.
	systemNamespace = "hookline-system"
	serviceAccount  = "hookline"
	// sampleHost is where the samples' URLs point; the demo puts its own receiver there.
	sampleHost = "127.0.0.1:18080"
	// readyTimeout bounds the operator's start.
	readyTimeout = 2 * time.Minute
	// tableTimeout bounds how long the samples may take to reach their states.
	tableTimeout = 90 * time.Second
	// retrySchedule is a short one, so that retries can be watched.
	retrySchedule = "0s,1s,2s,4s,8s"
	// folderMode and fileMode are for what the demo writes: nobody else's to read.
	folderMode = 0o700
	fileMode   = 0o600
)

// demo is one run.
type demo struct {
	settings
	dir   string
	out   io.Writer
	began time.Time

	cluster  *cluster
	operator *child
	receiver *receiver
	vendors  *vendors
	api      client.Client
	listen   string
	token    string
	// tokenFile holds the token.
	tokenFile string
	// samples are config/samples as they were applied.
	samples []byte
}

// play runs the demo from start to end.
func (d *demo) play(ctx context.Context) error {
	d.say("Starting a local control plane: etcd, kube-apiserver, kube-controller-manager")

	var err error
	if d.cluster, err = startCluster(ctx, d.localcluster, d.dir, os.Stderr); err != nil {
		return err
	}
	// From here on is what a warm run takes.
	d.say("The control plane is up")

	if err := d.connect(); err != nil {
		return err
	}

	if err := d.install(ctx); err != nil {
		return err
	}

	if err := d.startOperator(ctx); err != nil {
		return err
	}

	d.receiver = &receiver{secret: d.signingSecret}
	if err := d.receiver.listen(ctx, sampleHost); err != nil {
		return err
	}

	d.say("Started a receiver on " + d.receiver.addr + ", which verifies every signature by an independent library")

	if err := d.applySamples(ctx); err != nil {
		return err
	}

	if err := d.awaitSubscriptions(ctx); err != nil {
		return err
	}

	for _, event := range published {
		if err := d.publish(ctx, event); err != nil {
			return err
		}
	}

	d.say("Published " + strings.Join(published, ", "))

	held := d.showTable(ctx)

	if held {
		if err := d.rotateAndCompare(ctx); err != nil {
			return err
		}

		if err := d.playVendors(ctx); err != nil {
			return err
		}
	}

	if err := d.epilogue(ctx); err != nil {
		return err
	}

	if !held {
		return errUnmet
	}

	if d.stay {
		<-ctx.Done()
		d.say("Stopping")
	}

	return nil
}

// say prints a line of progress with the time since the start.
func (d *demo) say(line string) {
	fmt.Fprintf(d.out, "[%6.1fs] %s\n", time.Since(d.began).Seconds(), line)
}

func (d *demo) connect() error {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("registering the kinds: %w", err)
	}

	var err error

	d.api, err = client.New(d.cluster.config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("connecting to the local control plane: %w", err)
	}

	return nil
}

// install applies the kinds and the operator's rights, as an installation would.
func (d *demo) install(ctx context.Context) error {
	for _, object := range []string{systemNamespace, namespace} {
		if _, err := d.cluster.run(ctx, nil, "create", "namespace", object); err != nil {
			return err
		}
	}

	for _, folder := range []string{"crd", "rbac"} {
		if _, err := d.cluster.run(ctx, nil, "apply", "--server-side", "-k", filepath.Join(d.root, "config", folder)); err != nil {
			return err
		}
	}

	if _, err := d.cluster.run(ctx, nil, "wait", "--for=condition=Established", "--timeout=25s", "crd", "--all"); err != nil {
		return err
	}

	d.say("Installed the kinds and the operator's ServiceAccount with its rights (config/crd, config/rbac)")

	return nil
}

// startOperator runs the real binary as its ServiceAccount.
func (d *demo) startOperator(ctx context.Context) error {
	kubeconfig := filepath.Join(d.dir, "operator.kubeconfig")
	if err := d.cluster.operatorKubeconfig(ctx, systemNamespace, serviceAccount, kubeconfig); err != nil {
		return err
	}

	d.token = rand.Text() + rand.Text()

	tokens := filepath.Join(d.dir, "tokens")
	if err := os.Mkdir(tokens, folderMode); err != nil {
		return fmt.Errorf("making the folder of tokens: %w", err)
	}

	// One token for the samples' tenant: it may publish, and use the native API.
	d.tokenFile = filepath.Join(tokens, namespace+".admin")
	if err := os.WriteFile(d.tokenFile, []byte(d.token+"\n"), fileMode); err != nil {
		return fmt.Errorf("writing the token: %w", err)
	}

	addresses, err := freeAddresses(ctx, 3)
	if err != nil {
		return err
	}

	d.listen = addresses[0]
	health := addresses[1]

	d.operator, err = start("hookline", filepath.Join(d.dir, "hookline.log"), nil, d.hookline, "all",
		"--kubeconfig", kubeconfig,
		"--leader-election-namespace", systemNamespace,
		"--data-dir", filepath.Join(d.dir, "journal"),
		"--tokens-dir", tokens,
		"--listen-address", d.listen,
		"--health-bind-address", health,
		"--metrics-bind-address", addresses[2],
		"--allow-private-targets", "127.0.0.0/8",
		"--retry-schedule", retrySchedule,
		"--log-format", "text",
	)
	if err != nil {
		return err
	}

	err = d.operator.await(ctx, readyTimeout, "hookline to be ready", func() bool { return responds(ctx, "http://"+health+"/readyz") })
	if err != nil {
		return err
	}

	d.say("Started hookline all as ServiceAccount " + systemNamespace + "/" + serviceAccount + ", events on http://" + d.listen + "/events")

	return nil
}

// responds tells whether the URL answers 200.
func responds(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()

	return response.StatusCode == http.StatusOK
}

// freeAddresses are loopback addresses that nobody listened on a moment ago.
func freeAddresses(ctx context.Context, count int) ([]string, error) {
	var config net.ListenConfig

	addresses := make([]string, 0, count)

	for range count {
		listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		defer listener.Close()

		addresses = append(addresses, listener.Addr().String())
	}

	return addresses, nil
}

// applySamples renders config/samples, points it at the receiver and applies it.
func (d *demo) applySamples(ctx context.Context) error {
	rendered, err := d.cluster.run(ctx, nil, "kustomize", filepath.Join(d.root, "config", "samples"))
	if err != nil {
		return err
	}

	d.samples = []byte(strings.ReplaceAll(rendered, sampleHost, d.receiver.addr))

	if _, err := d.cluster.run(ctx, d.samples, "apply", "-n", namespace, "-f", "-"); err != nil {
		return err
	}

	d.say("Applied config/samples")

	return nil
}

// awaitSubscriptions waits until every sample is made true, so that no event is published
// before there is somebody to receive it.
func (d *demo) awaitSubscriptions(ctx context.Context) error {
	var last string

	err := d.operator.await(ctx, tableTimeout, "the samples to be ready", func() bool {
		var list v1alpha1.WebhookSubscriptionList
		if err := d.api.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			last = err.Error()

			return false
		}

		for i := range list.Items {
			if !isReady(&list.Items[i]) {
				last = list.Items[i].Name + " is not ready: " + conditionText(&list.Items[i], v1alpha1.ConditionReady)

				return false
			}
		}

		return len(list.Items) >= len(expectations)
	})
	if err != nil {
		return fmt.Errorf("%w (%s)", err, last)
	}

	d.say("Every sample is made true at the embedded dispatcher")

	return nil
}

// publish posts one CloudEvent and insists on its acceptance.
func (d *demo) publish(ctx context.Context, eventType string) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()

	event, err := json.Marshal(map[string]any{
		"specversion": "1.0",
		"id":          rand.Text(),
		"source":      "/demo/shop",
		"type":        eventType,
		"time":        time.Now().UTC().Format(time.RFC3339Nano),
		"data":        map[string]any{"order": 42, "total": "19.90"},
	})
	if err != nil {
		return fmt.Errorf("writing the event: %w", err)
	}

	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.listen+"/events", bytes.NewReader(event))
	if err != nil {
		return fmt.Errorf("publishing %s: %w", eventType, err)
	}

	request.Header.Set("Authorization", "Bearer "+d.token)
	request.Header.Set("Content-Type", "application/cloudevents+json")

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("publishing %s: %w", eventType, err)
	}
	defer response.Body.Close()

	answer, err := io.ReadAll(io.LimitReader(response.Body, maxReceived))
	if err != nil {
		return fmt.Errorf("reading the answer for %s: %w", eventType, err)
	}

	if response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("publishing %s: the dispatcher answered %s: %s", eventType, response.Status, answer)
	}

	return nil
}

// signingSecret reads a subscription's signing secret from the Secret its status names.
func (d *demo) signingSecret(ctx context.Context, name string) (string, error) {
	var subscription v1alpha1.WebhookSubscription
	if err := d.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &subscription); err != nil {
		return "", fmt.Errorf("reading the subscription: %w", err)
	}

	if subscription.Status.Secret == nil {
		return "", errors.New("the subscription has no signing secret yet")
	}

	return d.cluster.secretValue(ctx, namespace, subscription.Status.Secret.Name, subscription.Status.Secret.Key)
}

// stop ends what was started, the operator first so that it can still write its last words.
func (d *demo) stop() {
	d.operator.stop()
	d.vendors.stop()

	if d.receiver != nil && d.receiver.server != nil {
		_ = d.receiver.server.Close()
	}

	if d.cluster != nil {
		d.cluster.child.stop()
	}
}
