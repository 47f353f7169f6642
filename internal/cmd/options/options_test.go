package options

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/hookline-dev/hookline/internal/dialect/dixa"
)

func TestParse(t *testing.T) {
	required := []string{"--data-dir=/data", "--tokens-dir=/tokens"}

	cases := map[string]struct {
		reason  string
		command Command
		args    []string
		wantErr string
	}{
		"all":         {reason: "the two folders are all a process needs to be told", command: All, args: required},
		"manager":     {reason: "a manager has no journal", command: Manager},
		"no data dir": {reason: "a default would lose the journal with the container", command: Dispatcher, args: []string{"--tokens-dir=/t"}, wantErr: "--data-dir: is not set"},
		"no tokens":   {reason: "nobody publishes anonymously", command: Dispatcher, args: []string{"--data-dir=/d"}, wantErr: "--tokens-dir: is not set"},
		"network": {
			reason: "a bare address is not a network", command: All,
			args: append([]string{"--allow-private-targets=10.0.0.1"}, required...), wantErr: "write it like 10.0.0.0/8",
		},
		"schedule": {
			reason: "each delay is checked", command: All,
			args: append([]string{"--retry-schedule=0s,-5s"}, required...), wantErr: "--retry-schedule: the retry schedule has a wait of -5s",
		},
		"schedule of words": {
			reason: "delays are durations", command: All,
			args: append([]string{"--retry-schedule=0s,soon"}, required...), wantErr: `--retry-schedule: "soon" is not a duration`,
		},
		"schedule that waits": {
			reason: "what the engine refuses is found before the journal is opened", command: All,
			args: append([]string{"--retry-schedule=5s,10s"}, required...), wantErr: "--retry-schedule: the retry schedule begins with 5s",
		},
		"no address": {
			reason: "an address to dial has a port", command: All,
			args: append([]string{"--connect-to=hooks.example.com=10.0.0.7"}, required...), wantErr: "write it like hooks.example.com=10.0.0.7:8443",
		},
		"no host": {
			reason: "an address stands in for a host", command: All,
			args: append([]string{"--connect-to==10.0.0.7:443"}, required...), wantErr: "--connect-to",
		},
		"no file": {
			reason: "a file that cannot be read is a mistake", command: All,
			args: append([]string{"--endpoint-ca-file=/nowhere/ca.pem"}, required...), wantErr: "name a file of certificates in PEM",
		},
		"no certificates": {
			reason: "a file of something else is a mistake", command: All,
			args: append([]string{"--endpoint-ca-file=options_test.go"}, required...), wantErr: "holds no certificate that can be read",
		},
		"level":        {reason: "levels are words", command: Manager, args: []string{"--log-level=loud"}, wantErr: "--log-level"},
		"verbose":      {reason: "from there on the API server's client logs Secrets", command: Manager, args: []string{"--log-level=debug-8"}, wantErr: "--log-level"},
		"loud":         {reason: "upper case is no other word", command: Manager, args: []string{"--log-level=DEBUG"}},
		"format":       {reason: "formats are words", command: Manager, args: []string{"--log-format=xml"}, wantErr: "--log-format"},
		"timeout":      {reason: "an attempt may not hold a slot for ever", command: All, args: append([]string{"--delivery-timeout=2m"}, required...), wantErr: "--delivery-timeout"},
		"retention":    {reason: "a short log could not be replayed", command: All, args: append([]string{"--retention=1m"}, required...), wantErr: "--retention"},
		"argument":     {reason: "a stray word is a mistake", command: Manager, args: []string{"now"}, wantErr: `unexpected argument "now"`},
		"foreign":      {reason: "a manager has no journal, so a flag for it is a mistake", command: Manager, args: []string{"--data-dir=/d"}, wantErr: "unknown flag: --data-dir"},
		"writes":       {reason: "no writes would mean no statuses", command: Manager, args: []string{"--status-writes-per-second=0"}, wantErr: "--status-writes-per-second"},
		"workers":      {reason: "no workers would mean no work", command: Manager, args: []string{"--max-concurrent-reconciles=0"}, wantErr: "--max-concurrent-reconciles"},
		"grace":        {reason: "there is no negative wait", command: Manager, args: []string{"--deletion-grace=-1s"}, wantErr: "--deletion-grace"},
		"previous":     {reason: "a rotation needs an overlap", command: All, args: append([]string{"--previous-secret-for=0s"}, required...), wantErr: "--previous-secret-for"},
		"rate":         {reason: "no rate would mean no events", command: All, args: append([]string{"--publish-rate=0"}, required...), wantErr: "--publish-rate"},
		"organization": {reason: "receivers read the organization's id as a UUID", command: All, args: append([]string{"--dixa-organization=a=b,c"}, required...), wantErr: "--dixa-organization"},
		"nameless":     {reason: "an organization has a name", command: All, args: append([]string{"--dixa-organization=a=64b777c3-eb82-49fb-bb3e-294afb5d840c"}, required...), wantErr: "--dixa-organization"},
		"two":          {reason: "a tenant is one organization", command: All, args: append([]string{"--dixa-organization=a=64b777c3-eb82-49fb-bb3e-294afb5d840c,A", "--dixa-organization=a=64b777c3-eb82-49fb-bb3e-294afb5d840c,B"}, required...), wantErr: "stands twice"},
		"no number":    {reason: "NaN is above and below nothing", command: All, args: append([]string{"--publish-rate=NaN"}, required...), wantErr: "--publish-rate"},
		"endless":      {reason: "a limit without end is none", command: All, args: append([]string{"--publish-rate=Inf"}, required...), wantErr: "--publish-rate"},
		"NaN":          {reason: "NaN is above and below nothing", command: Manager, args: []string{"--status-writes-per-second=NaN"}, wantErr: "--status-writes-per-second"},
	}

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer

			_, err := Parse(tc.command, tc.args, &stdout, &stderr)
			if tc.wantErr == "" {
				if err != nil {
					t.Fatalf("%s: %v: %s", tc.reason, err, stderr.String())
				}

				return
			}

			if !errors.Is(err, ErrUsage) || !strings.Contains(stderr.String(), tc.wantErr) {
				t.Fatalf("%s: got %v with %q, want %q", tc.reason, err, stderr.String(), tc.wantErr)
			}
		})
	}
}

func TestParseValues(t *testing.T) {
	var out bytes.Buffer

	got, err := Parse(All, []string{
		"--data-dir=/d", "--tokens-dir=/t", "--retry-schedule=0s,1s,2m", "--allow-private-targets=127.0.0.1/8,fd00::/8",
		"--leader-election-namespace=ops", "--connect-to=Hooks.example.com=10.0.0.7:8443",
		"--dixa-organization=support=64B777C3-eb82-49fb-bb3e-294afb5d840c,Your Org, Inc.", "--vendor-any-endpoint",
	}, &out, &out)
	if err != nil {
		t.Fatal(err)
	}

	if len(got.Data.Schedule) != 3 || got.Data.Schedule[2] != 2*time.Minute {
		t.Errorf("schedule: %v", got.Data.Schedule)
	}
	if len(got.Data.AllowedPrivate) != 2 || got.Data.AllowedPrivate[0].String() != "127.0.0.0/8" {
		t.Errorf("networks: %v", got.Data.AllowedPrivate)
	}
	if got.Data.ConnectTo["hooks.example.com"] != "10.0.0.7:8443" {
		t.Errorf("addresses in place of hosts: %v", got.Data.ConnectTo)
	}
	if want := (dixa.Organization{ID: "64b777c3-eb82-49fb-bb3e-294afb5d840c", Name: "Your Org, Inc."}); got.Data.DixaOrganizations["support"] != want {
		t.Errorf("organizations: %v", got.Data.DixaOrganizations)
	}
	if !got.Data.VendorAnyEndpoint {
		t.Error("the vendors' APIs take no other endpoint")
	}
	if got.Kube.LeaseNamespace != "ops" || !got.HasControllers() || !got.HasDispatcher() {
		t.Errorf("options: %+v", got)
	}
}

func TestHelp(t *testing.T) {
	for _, command := range []Command{All, Manager, Dispatcher} {
		var stdout, stderr bytes.Buffer

		if _, err := Parse(command, []string{"--help"}, &stdout, &stderr); !errors.Is(err, pflag.ErrHelp) {
			t.Fatalf("%s: got %v", command, err)
		}
		if !strings.Contains(stdout.String(), "--log-level") || stderr.Len() > 0 {
			t.Errorf("%s: help belongs on standard output: %q, %q", command, stdout.String(), stderr.String())
		}
	}
}

func TestOwnNamespace(t *testing.T) {
	t.Setenv(namespaceVariable, "somewhere")

	if got := ownNamespace(); got != "somewhere" {
		t.Errorf("got %q", got)
	}
}
