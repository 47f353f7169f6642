package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/dialect/bird"
	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dialect/vonage"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// The samples of config/samples/vendors.
const (
	vonageSample = "presence"
	dixaSample   = "conversations"
	birdSample   = "messages"
)

const (
	// vendorInterval is how often the samples' providers are asked for drift: the least that a provider may say,
	// so that healing can be watched.
	vendorInterval = "10s"
)

// vendorEvent is one event that a vendor tells its subscribers.
type vendorEvent struct {
	tenant string
	event  string
	data   string
	// told is the event's name as the vendor spells it to its receivers.
	told string
}

// vendorEvents by sample. Each tenant is one customer's account at the vendor.
var vendorEvents = map[string]vendorEvent{
	vonageSample: {
		tenant: "contact-center", event: "agent.presencechanged.v1", told: "agent.presencechanged.v1",
		data: `{"presence":{"description":"Ready"},"user":{"agentId":"1"}}`,
	},
	dixaSample: {
		tenant: "helpdesk", event: "ConversationCreated", told: "CONVERSATION_CREATED",
		data: `{"conversation":{"csid":7,"channel":"EMAIL","queue":{"id":"1"}}}`,
	},
	birdSample: {
		tenant: "messaging", event: "channels.sms.inbound", told: "channels.sms.inbound",
		data: `{"id":"m-1","channelId":"5d1f9c7e-2b0a-4f1e-8c3d-7a6b5c4d3e2f","status":"received"}`,
	},
}

// vendors is the part of the demo that is about them: another Hookline dispatcher plays all three.
type vendors struct {
	demo     *demo
	program  *child
	url      string
	receiver *vendorReceiver
	// tokens by tenant.
	tokens map[string]string
	// before are the ids at the vendors before they were disturbed, by sample.
	before map[string][]string
}

// playVendors shows one resource for each kind of vendor: made true, delivered to, and healed after somebody
// changed and deleted things at the vendors.
func (d *demo) playVendors(ctx context.Context) error {
	v := &vendors{demo: d, tokens: map[string]string{}, before: map[string][]string{}}
	d.vendors = v

	if err := v.start(ctx); err != nil {
		return err
	}

	if err := v.apply(ctx); err != nil {
		return err
	}

	if !d.show(ctx, func(ctx context.Context) []row { return v.rows(ctx, "made true at the vendor", v.made) }) {
		return errUnmet
	}

	for _, sample := range v.samples() {
		if err := v.publish(ctx, vendorEvents[sample]); err != nil {
			return err
		}
	}

	d.say("Published one event at each vendor")

	if !d.show(ctx, func(ctx context.Context) []row { return v.rows(ctx, "delivered as the vendor does", v.delivered) }) {
		return errUnmet
	}

	if err := v.disturb(ctx); err != nil {
		return err
	}

	disturbed := time.Now()

	if !d.show(ctx, func(ctx context.Context) []row { return v.rows(ctx, "healed", v.healed) }) {
		return errUnmet
	}

	d.say(fmt.Sprintf("All healed within %.0f s; the providers are asked every %s here", time.Since(disturbed).Seconds(), vendorInterval))

	return nil
}

// samples in one order.
func (v *vendors) samples() []string { return []string{vonageSample, dixaSample, birdSample} }

// start runs the dispatcher that plays the vendors, and the application that they deliver to.
func (v *vendors) start(ctx context.Context) error {
	d := v.demo
	v.receiver = &vendorReceiver{secret: d.signingSecret}
	authority := filepath.Join(d.dir, "receiver-ca.pem")

	if err := v.receiver.listen(ctx, authority); err != nil {
		return err
	}

	tokens := filepath.Join(d.dir, "vendor-tokens")
	if err := os.Mkdir(tokens, folderMode); err != nil {
		return fmt.Errorf("making the folder of tokens: %w", err)
	}

	for _, event := range vendorEvents {
		v.tokens[event.tenant] = rand.Text() + rand.Text()
		file := filepath.Join(tokens, event.tenant+".admin")

		if err := os.WriteFile(file, []byte(v.tokens[event.tenant]+"\n"), fileMode); err != nil {
			return fmt.Errorf("writing the token: %w", err)
		}
	}

	addresses, err := freeAddresses(ctx, 2)
	if err != nil {
		return err
	}

	v.url = "http://" + addresses[0]
	health := addresses[1]

	v.program, err = start("the vendors", filepath.Join(d.dir, "vendors.log"), nil, d.hookline, "dispatcher",
		"--data-dir", filepath.Join(d.dir, "vendors"),
		"--tokens-dir", tokens,
		"--listen-address", addresses[0],
		"--health-bind-address", health,
		"--allow-private-targets", "127.0.0.0/8",
		"--endpoint-ca-file", authority,
		"--connect-to", vendorHost+"="+v.receiver.addr,
		"--log-format", "text",
	)
	if err != nil {
		return err
	}

	err = v.program.await(ctx, readyTimeout, "the vendors to be ready", func() bool { return responds(ctx, "http://"+health+"/readyz") })
	if err != nil {
		return err
	}

	d.say("Started hookline dispatcher as Vonage Contact Center, Dixa and Bird, on " + v.url +
		", and an application written for them as https://" + vendorHost)

	return nil
}

// apply applies config/samples/vendors, with the vendors' addresses in it, and the Secrets that its comments name.
func (v *vendors) apply(ctx context.Context) error {
	d := v.demo

	rendered, err := d.cluster.run(ctx, nil, "kustomize", filepath.Join(d.root, "config", "samples", "vendors"))
	if err != nil {
		return err
	}

	objects, err := v.localized(rendered)
	if err != nil {
		return err
	}

	objects = append(v.secrets(), objects...)

	var manifest bytes.Buffer

	for _, object := range objects {
		text, err := json.Marshal(object)
		if err != nil {
			return fmt.Errorf("writing the samples: %w", err)
		}

		fmt.Fprintf(&manifest, "---\n%s\n", text)
	}

	if _, err := d.cluster.run(ctx, manifest.Bytes(), "apply", "-f", "-"); err != nil {
		return err
	}

	d.say("Applied config/samples/vendors, with the address of this machine's vendors in it")

	return nil
}

// localized are the samples' objects, their providers turned to the vendors of this machine.
func (v *vendors) localized(rendered string) ([]runtime.Object, error) {
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(rendered), len(rendered))

	var objects []runtime.Object

	for {
		var raw runtime.RawExtension

		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}

		if err != nil {
			return nil, fmt.Errorf("reading the vendors' samples: %w", err)
		}

		object, err := v.localize(raw.Raw)
		if err != nil {
			return nil, err
		}

		objects = append(objects, object)
	}
}

func (v *vendors) localize(raw []byte) (runtime.Object, error) {
	var meta metav1.TypeMeta
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, fmt.Errorf("reading the vendors' samples: %w", err)
	}

	url := v1alpha1.ProviderURL(v.url)

	switch meta.Kind {
	case v1alpha1.KindClusterWebhookProvider:
		provider := &v1alpha1.ClusterWebhookProvider{}
		if err := json.Unmarshal(raw, provider); err != nil {
			return nil, fmt.Errorf("reading a ClusterWebhookProvider: %w", err)
		}

		provider.Spec.Interval = vendorInterval
		provider.Spec.Vonage.VonageAccount = v1alpha1.VonageAccount{URL: url, TokenURL: url + vonage.PathToken}

		return provider, nil
	case v1alpha1.KindWebhookProvider:
		provider := &v1alpha1.WebhookProvider{}
		if err := json.Unmarshal(raw, provider); err != nil {
			return nil, fmt.Errorf("reading a WebhookProvider: %w", err)
		}

		provider.Spec.Interval = vendorInterval

		if provider.Spec.Dixa != nil {
			provider.Spec.Dixa.URL = url
		}

		if provider.Spec.Bird != nil {
			provider.Spec.Bird.URL = url
			provider.Spec.Bird.WorkspaceID = v1alpha1.BirdID(bird.WorkspaceID(vendorEvents[birdSample].tenant))
		}

		return provider, nil
	default:
		sub := &v1alpha1.WebhookSubscription{}
		if err := json.Unmarshal(raw, sub); err != nil {
			return nil, fmt.Errorf("reading a %s: %w", meta.Kind, err)
		}

		return sub, nil
	}
}

// secrets are those that the samples' comments tell to make.
func (v *vendors) secrets() []runtime.Object {
	secret := func(namespace, name string, values map[string]string) runtime.Object {
		return &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: values,
		}
	}
	account := func(sample string) (tenant, token string) {
		tenant = vendorEvents[sample].tenant

		return tenant, v.tokens[tenant]
	}
	clientID, clientSecret := account(vonageSample)
	_, token := account(dixaSample)
	_, accessKey := account(birdSample)

	return []runtime.Object{
		secret(systemNamespace, "vonage-emea", map[string]string{"client_id": clientID, "client_secret": clientSecret}),
		secret(namespace, "dixa", map[string]string{"token": token}),
		secret(namespace, "bird", map[string]string{"accessKey": accessKey}),
		secret(namespace, "receiver-login", map[string]string{"username": "hookline", "password": rand.Text()}),
	}
}

// rows looks at every vendor's sample.
func (v *vendors) rows(
	ctx context.Context, expect string, held func(context.Context, string, *v1alpha1.WebhookSubscription) (bool, string),
) []row {
	rows := make([]row, 0, len(v.samples()))

	for _, sample := range v.samples() {
		r := row{name: sample, expect: expect}

		var sub v1alpha1.WebhookSubscription
		if err := v.demo.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: sample}, &sub); err != nil {
			r.evidence = "not readable: " + err.Error()
		} else {
			r.held, r.evidence = held(ctx, sample, &sub)
		}

		rows = append(rows, r)
	}

	return rows
}

// made tells whether a sample is Ready, and by which ids.
func (v *vendors) made(_ context.Context, sample string, sub *v1alpha1.WebhookSubscription) (bool, string) {
	if !isReady(sub) {
		return false, conditionText(sub, v1alpha1.ConditionReady)
	}

	ids := remoteIDs(sub)
	v.before[sample] = ids

	return len(ids) > 0, fmt.Sprintf("%d at the vendor: %s", len(ids), strings.Join(ids, " "))
}

func remoteIDs(sub *v1alpha1.WebhookSubscription) []string {
	ids := make([]string, 0, len(sub.Status.Subscriptions))
	for _, remote := range sub.Status.Subscriptions {
		ids = append(ids, remote.ID)
	}

	slices.Sort(ids)

	return ids
}

// delivered tells whether the sample's event arrived, signed as the vendor signs.
func (v *vendors) delivered(_ context.Context, sample string, _ *v1alpha1.WebhookSubscription) (bool, string) {
	events, problem := v.receiver.snapshot(sample)
	if problem != "" {
		return false, problem
	}

	return slices.Equal(events, []string{vendorEvents[sample].told}), "verified: " + strings.Join(events, " ")
}

// publish has a vendor tell an event to its subscribers.
func (v *vendors) publish(ctx context.Context, event vendorEvent) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()

	body := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/vendor","subject":"1","type":%q,"time":%q,"data":%s}`,
		rand.Text(), event.event, time.Now().UTC().Format(time.RFC3339Nano), event.data)

	request, err := http.NewRequestWithContext(ctx, http.MethodPost, v.url+"/events", strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("publishing %s: %w", event.event, err)
	}

	request.Header.Set("Authorization", "Bearer "+v.tokens[event.tenant])
	request.Header.Set("Content-Type", "application/cloudevents+json")

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("publishing %s: %w", event.event, err)
	}
	defer response.Body.Close()

	if response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("publishing %s: the dispatcher answered %s", event.event, response.Status)
	}

	return nil
}

// portal is what somebody does at a vendor, past Hookline: the vendor's API with the account's own token.
func (v *vendors) portal(sample string) (subscription.API, error) {
	tenant := vendorEvents[sample].tenant
	token := func(context.Context) (string, error) { return v.tokens[tenant], nil }

	var (
		api subscription.API
		err error
	)

	switch sample {
	case vonageSample:
		api, err = vonage.NewClient(vonage.ClientConfig{BaseURL: v.url, Tokens: vonage.StaticToken(token)})
	case dixaSample:
		api, err = dixa.NewClient(dixa.ClientConfig{BaseURL: v.url + "/v1", Token: token})
	default:
		api, err = bird.NewClient(bird.ClientConfig{BaseURL: v.url, AccessKey: token, WorkspaceID: bird.WorkspaceID(tenant)})
	}

	if err != nil {
		return nil, fmt.Errorf("opening the vendor's portal for %s: %w", sample, err)
	}

	return api, nil
}

// disturb changes one subscription and deletes others, as somebody might in the vendors' portals.
func (v *vendors) disturb(ctx context.Context) error {
	for _, sample := range v.samples() {
		api, err := v.portal(sample)
		if err != nil {
			return err
		}

		id := v.before[sample][0]

		if sample == vonageSample {
			_, err = api.Update(ctx, id, subscription.Patch{Enabled: new(false), URL: new("https://" + vendorHost + "/elsewhere")})
		} else {
			err = api.Delete(ctx, id)
		}

		if err != nil {
			return fmt.Errorf("disturbing %s at the vendor: %w", sample, err)
		}
	}

	v.demo.say("Somebody changed the url of " + vonageSample + " at Vonage and switched it off, and deleted one subscription of " +
		dixaSample + " at Dixa and of " + birdSample + " at Bird")

	return nil
}

// healed tells whether the vendor has again what the sample asks for.
func (v *vendors) healed(ctx context.Context, sample string, sub *v1alpha1.WebhookSubscription) (bool, string) {
	api, err := v.portal(sample)
	if err != nil {
		return false, err.Error()
	}

	list, err := api.List(ctx)
	if err != nil {
		return false, err.Error()
	}

	ids := remoteIDs(sub)
	if len(ids) != len(v.before[sample]) || len(list) != len(ids) || !isReady(sub) {
		return false, fmt.Sprintf("%d of %d at the vendor", len(list), len(v.before[sample]))
	}

	for _, remote := range list {
		if !slices.Contains(ids, remote.ID) || remote.URL != sub.Spec.URL || !remote.Enabled {
			return false, "not yet as the resource says"
		}
	}

	if sample == vonageSample {
		return slices.Equal(ids, v.before[sample]), "the same subscription, url and enabled as the resource says"
	}

	return !slices.Contains(ids, v.before[sample][0]), "made again: " + strings.Join(ids, " ")
}

// stop ends the vendors and the application.
func (v *vendors) stop() {
	if v == nil {
		return
	}

	v.program.stop()

	if v.receiver != nil && v.receiver.server != nil {
		_ = v.receiver.server.Close()
	}
}
