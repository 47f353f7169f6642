// Package hooklinetest helps to test what is built on Hookline: an operator, a chart or a set of
// manifests that makes WebhookSubscriptions. It runs Hookline's controllers inside the test, against the
// test's own API server (envtest or any other), and puts a provider in memory in the place of a real one:
//
//	func TestMyOperator(t *testing.T) {
//		cfg := startEnvtest(t)                       // a *rest.Config
//		hooklinetest.InstallCRDs(t, cfg)
//		provider := hooklinetest.NewProvider()
//		hooklinetest.Start(t, cfg, hooklinetest.WithProvider(provider))
//
//		// create a ClusterWebhookProvider with dispatcher.tenant "support", and a WebhookSubscription;
//		// wait until it is Ready, then look at what was made:
//		made := provider.Account("support").Subscriptions()
//	}
//
// The provider behaves as the dispatcher does: it hands out ids, refuses a name that is taken, keeps secrets,
// suspends and resumes. It fails when it is told to (see Account.Script): replies get lost, limits are
// reached, credentials are refused, lists lag behind. It records every request. With AsVonage, AsDixa or AsBird it has
// what that vendor has and lacks what that vendor lacks.
//
// Everything here is safe for use by several goroutines, unless it says otherwise.
package hooklinetest
