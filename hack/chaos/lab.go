package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// The tenants.
const (
	tenantPlain    = "acme"
	tenantMixed    = "globex"
	tenantHostile  = "umbrella"
	tenantDeparted = "departed"
)

// What endpoints are named and ask for more than once.
const (
	nameEverything = "everything"
	nameOrders     = "orders"
	patternAll     = "*"
	patternOrders  = "order.*"
)

// movingName is the name of the endpoint that moves.
const movingName = "moving.chaos.test"

// eventTypes are what publishers send.
var eventTypes = []string{"order.created.v1", "order.eu.paid.v1", "user.created.v1", "user.deleted.v1", "stock.eu.low"}

// lab is one journal with its tenants, tokens, endpoints, publishers and receivers.
type lab struct {
	dir       string
	out       io.Writer
	book      *book
	receivers *receivers
	pubs      *publishers
	launcher  *launcher
	endpoints []*endpoint
	tokens    map[string]string
	// read is how far the dead letters of an endpoint were read.
	read map[*endpoint]uint64
	// letters reads the dead letters of an endpoint after a position; nil asks the API.
	letters func(ctx context.Context, e *endpoint, after uint64) ([]letter, error)
	// notOffered are endpoints that the dispatcher has no means for.
	notOffered []string
}

// newLab prepares a run of a phase; it starts nothing but receivers.
func newLab(ctx context.Context, cfg *config, phase string, endpoints []*endpoint) (*lab, error) {
	l := &lab{
		dir: filepath.Join(cfg.dir, phase), out: cfg.progress, book: newBook(), endpoints: endpoints,
		tokens: map[string]string{}, read: map[*endpoint]uint64{},
	}
	l.launcher = &launcher{
		binary: cfg.binary, data: filepath.Join(l.dir, "journal"), tokens: filepath.Join(l.dir, "tokens"),
		logs: filepath.Join(l.dir, "dispatcher.log"), isEnclosed: cfg.enclosed == nil,
	}

	if err := os.MkdirAll(l.launcher.tokens, 0o700); err != nil {
		return nil, fmt.Errorf("making the run's folder: %w", err)
	}

	for _, tenant := range []string{tenantPlain, tenantMixed, tenantHostile, tenantDeparted} {
		if err := l.addTenant(tenant); err != nil {
			return nil, err
		}
	}

	certificates, err := l.certificates()
	if err != nil {
		return nil, err
	}

	if l.receivers, err = listen(ctx, l.book, cfg.seed, certificates); err != nil {
		return nil, err
	}

	for _, address := range []*string{&l.launcher.listen, &l.launcher.health} {
		if *address, err = freeAddress(ctx); err != nil {
			return nil, err
		}
	}

	l.launcher.environment = []string{"SSL_CERT_FILE=" + filepath.Join(l.dir, "authority.pem"), "GODEBUG=netdns=go"}
	host := ""

	if l.launcher.isEnclosed {
		host = movingName
		l.launcher.enclosure.Hosts = filepath.Join(l.dir, "hosts")

		if err := l.name(nameAnswers[0]); err != nil {
			return nil, err
		}
	}

	for _, e := range endpoints {
		if err := l.book.add(e); err != nil {
			return nil, err
		}

		e.secret = newSecret()
		e.url = l.receivers.url(e, host)
	}

	l.pubs = newPublishers(l.book, l.launcher.url(), cfg.rate, cfg.events, cfg.seed)

	return l, nil
}

// close ends what the lab started.
func (l *lab) close() { l.receivers.close() }

func newSecret() string {
	key := make([]byte, subscription.MinSecretBytes)
	_, _ = rand.Read(key) // It never fails.

	return subscription.SecretPrefix + base64.StdEncoding.EncodeToString(key)
}

// addTenant gives a tenant a token for everything.
func (l *lab) addTenant(tenant string) error {
	key := make([]byte, subscription.MinSecretBytes)
	_, _ = rand.Read(key) // It never fails.
	l.tokens[tenant] = hex.EncodeToString(key)

	if err := os.WriteFile(filepath.Join(l.launcher.tokens, tenant+".admin"), []byte(l.tokens[tenant]+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing a tenant's token: %w", err)
	}

	return nil
}

// certificates are a good one, an expired one and another name's.
func (l *lab) certificates() ([]*tls.Certificate, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}

	if err := ca.write(filepath.Join(l.dir, "authority.pem")); err != nil {
		return nil, err
	}

	var list []*tls.Certificate

	for _, one := range []struct {
		name string
		ends time.Time
	}{
		{"", time.Now().Add(24 * time.Hour)},
		{"", time.Now().Add(-time.Hour)},
		{"other.chaos.test", time.Now().Add(24 * time.Hour)},
	} {
		certificate, err := ca.issue(one.name, one.ends)
		if err != nil {
			return nil, err
		}

		list = append(list, certificate)
	}

	return list, nil
}

// name makes the moving name resolve to an address.
func (l *lab) name(address string) error {
	if l.launcher.enclosure.Hosts == "" {
		return nil
	}

	text := "127.0.0.1 localhost\n" + address + " " + movingName + "\n"
	if err := os.WriteFile(l.launcher.enclosure.Hosts, []byte(text), 0o600); err != nil {
		return fmt.Errorf("changing a name's answer: %w", err)
	}

	return nil
}

func (l *lab) admin(tenant string) *admin { return newAdmin(l.launcher.url(), l.tokens[tenant]) }

// subscribe makes all subscriptions. An endpoint for which there is no means yet is left out,
// and named.
func (l *lab) subscribe(ctx context.Context) error {
	for _, e := range l.endpoints {
		offered, err := l.admin(e.tenant).subscribe(ctx, e)

		switch {
		case !offered && err != nil && e.delivery.Ordering != "":
			l.notOffered = append(l.notOffered, fmt.Sprintf("%s: %v", e, err))
			e.patterns = nil
		case err != nil:
			return err
		}
	}

	return nil
}

// standardEndpoints are those of the main phase.
func standardEndpoints() []*endpoint {
	list := []*endpoint{
		{tenant: tenantPlain, name: nameEverything, events: []string{patternAll}},
		{tenant: tenantPlain, name: nameOrders, events: []string{patternOrders}},
		{tenant: tenantPlain, name: "exact", events: []string{"user.created.v1", "stock.eu.low"}},
		{tenant: tenantPlain, name: "inner-wildcard", events: []string{"*.eu.*"}},
		{tenant: tenantPlain, name: "rate-limited", events: []string{"user.*"}, delivery: subscription.Delivery{RateLimit: 50}},
		{
			tenant: tenantPlain, name: "by-key", events: []string{patternOrders, "user.*"},
			delivery: subscription.Delivery{Ordering: subscription.OrderingByKey},
			hostile: &hostility{
				name: "by-key", share: 0.05, patience: 2, acts: []act{status(http.StatusInternalServerError)},
			},
		},
		{tenant: tenantMixed, name: nameEverything, events: []string{patternAll}},
		{tenant: tenantMixed, name: "one-at-a-time", events: []string{"stock.*"}, delivery: subscription.Delivery{MaxInFlight: 1}},
		{
			tenant: tenantMixed, name: "two-attempts", events: []string{patternOrders}, mayDie: true,
			delivery: subscription.Delivery{MaxAttempts: 2},
			hostile: &hostility{
				name: "two-attempts", share: hostileShare, patience: 10, acts: []act{status(http.StatusBadGateway), reset()},
			},
		},
		{tenant: tenantDeparted, name: "gone", events: []string{patternAll}, mayDie: true},
	}

	for _, h := range hostilities() {
		list = append(list, &endpoint{tenant: tenantHostile, name: h.name, events: []string{patternAll}, hostile: h, mayDie: true})
	}

	return list
}

// publish starts the publishers: many for the tenants with much, few for the one whose
// receivers are hostile.
func (l *lab) publish(ctx context.Context) {
	for i := range 8 {
		tenant := []string{tenantPlain, tenantMixed}[i%2]
		l.pubs.start(ctx, fmt.Sprintf("%s-%d", tenant, i), tenant, l.tokens[tenant], eventTypes)
	}

	l.pubs.start(ctx, tenantHostile+"-0", tenantHostile, l.tokens[tenantHostile], eventTypes)
}

// readLetters tells the book of dead letters that it does not know of.
func (l *lab) readLetters(ctx context.Context) error {
	for _, e := range l.endpoints {
		if e.id == "" {
			continue
		}

		letters, err := l.lettersOf(ctx, e)
		if err != nil {
			return fmt.Errorf("reading the dead letters of %s: %w", e, err)
		}

		for _, letter := range letters {
			l.book.deadLettered(e, letter.EventID, letter.Reason)
			l.read[e] = letter.Position
		}
	}

	return nil
}

func (l *lab) lettersOf(ctx context.Context, e *endpoint) ([]letter, error) {
	if l.letters != nil {
		return l.letters(ctx, e, l.read[e])
	}

	return l.admin(e.tenant).deadLetters(ctx, e.id, l.read[e])
}

// errNotDrained answers that deliveries are still open when they should not be.
var errNotDrained = errors.New("the deliveries did not come to their end in time")

// drain heals everyone and waits until every delivery has come to its end.
func (l *lab) drain(ctx context.Context, limit time.Duration) error {
	l.receivers.healed.Store(true)

	if err := l.name(nameAnswers[0]); err != nil {
		return err
	}

	settling, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	if err := l.resume(settling); err != nil {
		return err
	}

	for {
		err := l.readLetters(settling)
		events, deliveries := l.book.open()

		switch {
		case err == nil && events == 0 && deliveries == 0:
			return nil
		case settling.Err() != nil:
			return errors.Join(fmt.Errorf("%w: %d events are not acknowledged, %d deliveries are open after %s",
				errNotDrained, events, deliveries, limit), err)
		}

		select {
		case <-settling.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// resume has suspended subscriptions go on.
func (l *lab) resume(ctx context.Context) error {
	for _, e := range l.endpoints {
		if e.tenant != tenantDeparted {
			continue
		}

		l.receivers.set(l.receivers.gone, e, false)
		l.receivers.set(l.receivers.out, e, false)

		client, err := l.admin(e.tenant).port(ctx)
		if err != nil {
			return err
		}

		if _, err := client.Update(ctx, e.id, subscription.Patch{Resume: true}); err != nil {
			return fmt.Errorf("resuming %s: %w", e, err)
		}
	}

	return nil
}
