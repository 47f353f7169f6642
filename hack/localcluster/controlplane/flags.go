package controlplane

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	serviceAccountIssuer = "https://kubernetes.default.svc.cluster.local"
	serviceRange         = "10.0.0.0/24"
)

// controllers are those that work without nodes and that a namespace, a ServiceAccount, an owner
// reference or an aggregated ClusterRole needs to behave as it does in any cluster.
func controllers() []string {
	return []string{
		"clusterrole-aggregation-controller",
		"garbage-collector-controller",
		"namespace-controller",
		"root-ca-certificate-publisher-controller",
		"serviceaccount-controller",
		"serviceaccount-token-controller",
	}
}

func httpsURL(port int) string {
	return "https://" + net.JoinHostPort(loopback, strconv.Itoa(port))
}

func (c *ControlPlane) etcdArgs() ([]string, error) {
	client, peer := httpsURL(c.ports.etcdClient), httpsURL(c.ports.etcdPeer)

	return []string{
		"--name=localcluster",
		"--data-dir=" + filepath.Join(c.opts.DataDir, "etcd"),
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--cert-file=" + c.pki.serving.cert,
		"--key-file=" + c.pki.serving.key,
		"--client-cert-auth",
		"--trusted-ca-file=" + c.pki.caCert,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=localcluster=" + peer,
		"--peer-cert-file=" + c.pki.serving.cert,
		"--peer-key-file=" + c.pki.serving.key,
		"--peer-client-cert-auth",
		"--peer-trusted-ca-file=" + c.pki.caCert,
		// Only a crash of the whole machine could lose data this way, and nothing here has to survive that.
		"--unsafe-no-fsync",
		"--log-level=warn",
	}, nil
}

func (c *ControlPlane) apiServerArgs() ([]string, error) {
	return []string{
		"--bind-address=" + loopback,
		"--advertise-address=" + loopback,
		"--secure-port=" + strconv.Itoa(c.ports.apiServer),
		"--tls-cert-file=" + c.pki.serving.cert,
		"--tls-private-key-file=" + c.pki.serving.key,
		"--client-ca-file=" + c.pki.caCert,
		"--etcd-servers=" + httpsURL(c.ports.etcdClient),
		"--etcd-cafile=" + c.pki.caCert,
		"--etcd-certfile=" + c.pki.serving.cert,
		"--etcd-keyfile=" + c.pki.serving.key,
		"--authorization-mode=Node,RBAC",
		// PodSecurity and ServiceAccount are on by default.
		"--enable-admission-plugins=NodeRestriction",
		// The switch that is older than Pod Security: off, it would refuse every privileged Pod, whatever
		// the namespace's level.
		"--allow-privileged=true",
		"--service-account-issuer=" + serviceAccountIssuer,
		"--service-account-key-file=" + c.pki.serviceAccountKey,
		"--service-account-signing-key-file=" + c.pki.serviceAccountKey,
		"--service-cluster-ip-range=" + serviceRange,
		// The API server is on the loopback address, which may not stand in Endpoints.
		"--endpoint-reconciler-type=none",
		"--profiling=false",
	}, nil
}

func (c *ControlPlane) controllerManagerArgs() ([]string, error) {
	kubeconfig, err := renderKubeconfig(c.URL(), c.pki.caCert, c.pki.manager)
	if err != nil {
		return nil, err
	}

	path := filepath.Join(c.opts.DataDir, "pki", "kube-controller-manager.kubeconfig")
	if err := WriteFile(path, kubeconfig); err != nil {
		return nil, fmt.Errorf("writing kube-controller-manager's kubeconfig: %w", err)
	}

	return []string{
		"--kubeconfig=" + path,
		"--controllers=" + strings.Join(controllers(), ","),
		// Each controller acts under its own ServiceAccount, with the rights that Kubernetes gives it.
		"--use-service-account-credentials",
		"--service-account-private-key-file=" + c.pki.serviceAccountKey,
		"--root-ca-file=" + c.pki.caCert,
		"--leader-elect=false",
		// It serves nothing that is used here.
		"--secure-port=0",
		"--profiling=false",
	}, nil
}
