// Package options reads the command lines of hookline's programs: every flag with its
// default, its limits and an error that names the flag and the fix.
package options

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/pflag"

	"github.com/hookline-dev/hookline/internal/dialect/dixa"
	"github.com/hookline-dev/hookline/internal/dispatcher/delivery"
)

// Command is one of hookline's programs.
type Command string

// The programs.
const (
	All        Command = "all"
	Manager    Command = "manager"
	Dispatcher Command = "dispatcher"
)

// ErrUsage marks a wrong command line, which has been explained on standard error.
var ErrUsage = errors.New("wrong usage")

// Formats of the log.
const (
	formatJSON = "json"
	formatText = "text"
)

// Bounds of flags.
const (
	// MinTimeout and MaxTimeout bound --delivery-timeout.
	MinTimeout = time.Second
	MaxTimeout = 60 * time.Second
	// MinRetention is the least --retention.
	MinRetention = time.Hour
	// MaxPublishRate is the most --publish-rate.
	MaxPublishRate = 10_000_000
	// MaxStatusWrites is the most --status-writes-per-second.
	MaxStatusWrites = 1000
	// MaxConnectTo is how often --connect-to may be given.
	MaxConnectTo = 100
	// MaxReconciles is the most --max-concurrent-reconciles.
	MaxReconciles = 64
)

// Defaults of flags.
const (
	defaultListen          = ":8080"
	defaultHealth          = ":8081"
	defaultMetrics         = ":8443"
	defaultTimeout         = 15 * time.Second
	defaultPreviousSecret  = 24 * time.Hour
	defaultRetention       = 72 * time.Hour
	defaultPublishRate     = 20000
	defaultStatusWrites    = 20
	defaultReconciles      = 4
	defaultDeletionGrace   = 0
	namespaceVariable      = "POD_NAMESPACE"
	serviceAccountMount    = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
	fallbackLeaseNamespace = "hookline-system"
)

// Options are a parsed command line.
type Options struct {
	Command Command
	Log     *slog.Logger

	// HealthAddress serves /healthz and /readyz, without authentication.
	HealthAddress string
	// MetricsAddress serves /metrics to callers that the API server allows; "0" turns it off.
	MetricsAddress string

	Data DispatcherOptions
	Kube KubernetesOptions
}

// DispatcherOptions are those of a process that has a dispatcher.
type DispatcherOptions struct {
	ListenAddress  string
	DataDir        string
	TokensDir      string
	AllowedPrivate []netip.Prefix
	// EndpointCAs are the system's authorities and those of EndpointCAFile; nil where there is none.
	EndpointCAFile string
	EndpointCAs    *x509.CertPool
	// ConnectTo are addresses by the host, in lower case, that they stand in for.
	ConnectTo         map[string]string
	Schedule          delivery.Schedule
	Timeout           time.Duration
	PreviousSecretFor time.Duration
	Retention         time.Duration
	PublishRate       float64
	// VendorAnyEndpoint has the APIs of Vonage and Bird take endpoints that their documents do not allow.
	VendorAnyEndpoint bool
	// DixaOrganizations are whose events notifications in Dixa's format are, by tenant.
	DixaOrganizations map[string]dixa.Organization
}

// KubernetesOptions are those of a process that has controllers.
type KubernetesOptions struct {
	Kubeconfig             string
	LeaseNamespace         string
	InstallationID         string
	DeletionGrace          time.Duration
	StatusWritesPerSecond  float64
	MaxConcurrentReconcile int
	PriorityQueue          bool
}

// HasDispatcher tells whether the program has a dispatcher.
func (o *Options) HasDispatcher() bool { return o.Command != Manager }

// HasControllers tells whether the program has controllers.
func (o *Options) HasControllers() bool { return o.Command != Dispatcher }

// raw holds what pflag cannot parse into its last form.
type raw struct {
	logLevel, logFormat string
	allowPrivate        []string
	connectTo           []string
	schedule            []string
	organizations       []string
}

// Parse reads a program's flags. Help goes to stdout and answers pflag.ErrHelp; a wrong
// command line is explained on stderr and answers ErrUsage.
func Parse(command Command, args []string, stdout, stderr io.Writer) (Options, error) {
	opts := Options{Command: command}

	var in raw

	flags := pflag.NewFlagSet("hookline "+string(command), pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.SortFlags = false
	flags.Usage = func() {
		fmt.Fprintf(stdout, "Usage: hookline %s [flags]\n\n%s", command, flags.FlagUsages())
	}

	flags.StringVar(&in.logLevel, "log-level", "info", "least level that is logged: debug, info, warn or error")
	flags.StringVar(&in.logFormat, "log-format", formatJSON, "format of the log: json or text")
	flags.StringVar(&opts.HealthAddress, "health-bind-address", defaultHealth,
		"address of /healthz and /readyz, which need no authentication")

	if opts.HasDispatcher() {
		addDispatcherFlags(flags, &opts.Data, &in)
	}
	if opts.HasControllers() {
		flags.StringVar(&opts.MetricsAddress, "metrics-bind-address", defaultMetrics,
			"address of /metrics over TLS, for callers whom the API server knows and allows; 0 turns it off")
		addKubernetesFlags(flags, &opts.Kube)
	}

	err := flags.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		return opts, err
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q: everything after the command is a flag", flags.Arg(0))
	}
	if err == nil {
		err = opts.complete(in, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "hookline %s: %v\n", command, err)

		return opts, ErrUsage
	}

	return opts, nil
}

func addDispatcherFlags(flags *pflag.FlagSet, o *DispatcherOptions, in *raw) {
	flags.StringVar(&o.ListenAddress, "listen-address", defaultListen, "address of POST /events and of the subscription API")
	flags.StringVar(&o.DataDir, "data-dir", "", "folder of the journal, on a volume that outlives the process (required)")
	flags.StringVar(&o.TokensDir, "tokens-dir", "",
		"folder of bearer tokens: a file TENANT.publish or TENANT.admin holds those of a tenant, one on a line (required)")
	flags.StringSliceVar(&in.allowPrivate, "allow-private-targets", nil,
		"private or special-purpose networks that deliveries may go to, in CIDR form; omitted: none")
	flags.StringVar(&o.EndpointCAFile, "endpoint-ca-file", "",
		"file of certificates, in PEM, of authorities that may vouch for endpoints besides the system's; read at the start")
	flags.StringSliceVar(&in.connectTo, "connect-to", nil,
		"HOST=ADDRESS:PORT, at most 100: deliveries to an endpoint's host are sent to that address, under the host's name; omitted: none")
	flags.StringSliceVar(&in.schedule, "retry-schedule", nil,
		"delays before each attempt of a delivery, the first one included; omitted: 0s,5s,5m,30m,2h,5h,10h,14h,20h,24h")
	flags.DurationVar(&o.Timeout, "delivery-timeout", defaultTimeout,
		"time one attempt may take, 1s to 60s, where the subscription sets none")
	flags.DurationVar(&o.PreviousSecretFor, "previous-secret-for", defaultPreviousSecret, "time that a replaced signing secret signs along")
	flags.DurationVar(&o.Retention, "retention", defaultRetention, "time that events stay in the log after they are settled, at least 1h")
	flags.BoolVar(&o.VendorAnyEndpoint, "vendor-any-endpoint", false,
		"take any http or https endpoint through the APIs of Vonage and Bird, whose documents allow https alone, "+
			"Bird's no address and no port")
	flags.StringArrayVar(&in.organizations, "dixa-organization", nil,
		"organization in Dixa's notifications of a tenant, as TENANT=UUID,NAME, once for each tenant; "+
			"omitted: the tenant's name and a UUID made of it")
	flags.Float64Var(&o.PublishRate, "publish-rate", defaultPublishRate, "events that one tenant may publish in a second, on average")
}

func addKubernetesFlags(flags *pflag.FlagSet, o *KubernetesOptions) {
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "kubeconfig of the cluster; omitted: the Pod's own ServiceAccount, or $KUBECONFIG")
	flags.StringVar(&o.LeaseNamespace, "leader-election-namespace", "", "namespace of the Lease; omitted: the Pod's own")
	flags.StringVar(&o.InstallationID, "installation-id", "",
		"identity of this installation in derived subscription names; omitted: the uid of namespace kube-system")
	flags.DurationVar(&o.DeletionGrace, "deletion-grace", defaultDeletionGrace,
		"time after which a deletion that the provider does not answer lets go of the resource; 0 waits without end")
	flags.Float64Var(&o.StatusWritesPerSecond, "status-writes-per-second", defaultStatusWrites,
		"writes of delivery statuses to the API server in a second, for all resources together")
	flags.IntVar(&o.MaxConcurrentReconcile, "max-concurrent-reconciles", defaultReconciles,
		"resources of one kind that are reconciled at once, 1 to 64")
	flags.BoolVar(&o.PriorityQueue, "priority-queue", true, "let changes overtake the first listing in the work queue")
}

// complete parses and checks what the flags hold, and fills in what the environment knows.
func (o *Options) complete(in raw, stderr io.Writer) error {
	log, err := newLogger(in.logLevel, in.logFormat, stderr)
	if err != nil {
		return err
	}

	o.Log = log

	if o.HasDispatcher() {
		if err := o.Data.complete(in); err != nil {
			return err
		}
	}
	if o.HasControllers() {
		return o.Kube.complete()
	}

	return nil
}

func newLogger(level, format string, w io.Writer) (*slog.Logger, error) {
	// Names alone: slog also reads offsets such as debug-4, and from there on the API server's client logs what it
	// receives, Secrets included.
	least, known := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[strings.ToLower(level)]
	if !known {
		return nil, fmt.Errorf("--log-level: %q is not a level; use debug, info, warn or error", level)
	}

	opts := &slog.HandlerOptions{Level: least}

	switch format {
	case formatJSON:
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	case formatText:
		return slog.New(slog.NewTextHandler(w, opts)), nil
	default:
		return nil, fmt.Errorf("--log-format: %q is not a format; use json or text", format)
	}
}

func (o *DispatcherOptions) complete(in raw) error {
	if o.DataDir == "" {
		return errors.New("--data-dir: is not set; name the folder of the journal, on a volume that outlives the process")
	}
	if o.TokensDir == "" {
		return errors.New("--tokens-dir: is not set; name the folder with the files TENANT.publish and TENANT.admin")
	}
	if o.Timeout < MinTimeout || o.Timeout > MaxTimeout {
		return fmt.Errorf("--delivery-timeout: %s is out of range; use %s to %s", o.Timeout, MinTimeout, MaxTimeout)
	}
	if o.Retention < MinRetention {
		return fmt.Errorf("--retention: %s is too short; use at least %s", o.Retention, MinRetention)
	}
	if o.PreviousSecretFor <= 0 {
		return fmt.Errorf("--previous-secret-for: %s is not a time to wait; use more than 0s", o.PreviousSecretFor)
	}
	if !within(o.PublishRate, MaxPublishRate) {
		return fmt.Errorf("--publish-rate: %v is out of range; use more than 0 and at most %d", o.PublishRate, MaxPublishRate)
	}

	return errors.Join(o.parseNetworks(in.allowPrivate), o.parseConnectTo(in.connectTo), o.readCA(),
		o.parseSchedule(in.schedule), o.parseOrganizations(in.organizations))
}

// parseConnectTo reads which addresses stand in for which hosts.
func (o *DispatcherOptions) parseConnectTo(texts []string) error {
	if len(texts) > MaxConnectTo {
		return fmt.Errorf("--connect-to: is given %d times; the most is %d", len(texts), MaxConnectTo)
	}

	for _, text := range texts {
		host, address, found := strings.Cut(strings.TrimSpace(text), "=")
		if _, _, err := net.SplitHostPort(address); !found || host == "" || strings.ContainsAny(host, ":/") || err != nil {
			return fmt.Errorf("--connect-to: %q is not HOST=ADDRESS:PORT; write it like hooks.example.com=10.0.0.7:8443", text)
		}

		if o.ConnectTo == nil {
			o.ConnectTo = map[string]string{}
		}

		o.ConnectTo[strings.ToLower(host)] = address
	}

	return nil
}

// readCA adds the authorities of the file to the system's.
func (o *DispatcherOptions) readCA() error {
	if o.EndpointCAFile == "" {
		return nil
	}

	text, err := os.ReadFile(o.EndpointCAFile)
	if err != nil {
		return fmt.Errorf("--endpoint-ca-file: %w; name a file of certificates in PEM", err)
	}

	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}

	if !pool.AppendCertsFromPEM(text) {
		return fmt.Errorf("--endpoint-ca-file: %s holds no certificate that can be read; it must be PEM", o.EndpointCAFile)
	}

	o.EndpointCAs = pool

	return nil
}

func (o *DispatcherOptions) parseNetworks(texts []string) error {
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("--allow-private-targets: %q is not a network; write it like 10.0.0.0/8", text)
		}

		o.AllowedPrivate = append(o.AllowedPrivate, prefix.Masked())
	}

	return nil
}

func (o *DispatcherOptions) parseOrganizations(texts []string) error {
	for _, text := range texts {
		tenant, organization, _ := strings.Cut(text, "=")
		id, name, _ := strings.Cut(organization, ",")

		parsed, err := uuid.Parse(id)
		if err != nil || tenant == "" || name == "" {
			return fmt.Errorf("--dixa-organization: %q is not an organization; "+
				"write it like support=64b777c3-eb82-49fb-bb3e-294afb5d840c,Support", text)
		}
		if _, twice := o.DixaOrganizations[tenant]; twice {
			return fmt.Errorf("--dixa-organization: the tenant %s stands twice; give it one organization", tenant)
		}
		if o.DixaOrganizations == nil {
			o.DixaOrganizations = map[string]dixa.Organization{}
		}

		o.DixaOrganizations[tenant] = dixa.Organization{ID: parsed.String(), Name: name}
	}

	return nil
}

// parseSchedule leaves the schedule to the engine's own where the flag is omitted.
func (o *DispatcherOptions) parseSchedule(texts []string) error {
	if len(texts) == 0 {
		return nil
	}

	schedule, err := delivery.ParseSchedule(strings.Join(texts, ","))
	if err != nil {
		return fmt.Errorf("--retry-schedule: %w", err)
	}

	o.Schedule = schedule

	return nil
}

// within tells whether a rate is more than 0 and at most a limit; what is no number is not.
func within(rate, most float64) bool { return rate > 0 && rate <= most }

func (o *KubernetesOptions) complete() error {
	if !within(o.StatusWritesPerSecond, MaxStatusWrites) {
		return fmt.Errorf("--status-writes-per-second: %v is out of range; use more than 0 and at most %d",
			o.StatusWritesPerSecond, MaxStatusWrites)
	}
	if o.MaxConcurrentReconcile < 1 || o.MaxConcurrentReconcile > MaxReconciles {
		return fmt.Errorf("--max-concurrent-reconciles: %d is out of range; use 1 to %d", o.MaxConcurrentReconcile, MaxReconciles)
	}
	if o.DeletionGrace < 0 {
		return fmt.Errorf("--deletion-grace: %s is negative; use 0 to wait without end", o.DeletionGrace)
	}
	if o.LeaseNamespace == "" {
		o.LeaseNamespace = ownNamespace()
	}

	return nil
}

// ownNamespace is the Pod's own, by its environment or its ServiceAccount.
func ownNamespace() string {
	if namespace := os.Getenv(namespaceVariable); namespace != "" {
		return namespace
	}
	if content, err := os.ReadFile(serviceAccountMount); err == nil {
		if namespace := strings.TrimSpace(string(content)); namespace != "" {
			return namespace
		}
	}

	return fallbackLeaseNamespace
}
