package controllers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// open reads the credentials and makes the account that all subscriptions of the provider share.
func (s *providerScope) open(ctx context.Context) error {
	status := s.obj.ProviderStatus()
	status.Type = s.obj.Type()

	account, err := s.pool.Open(ctx, s.obj)

	refused, isRefusal := errors.AsType[*subscription.AuthError](err)

	switch {
	case isRefusal:
		return s.refused(refused, s.options.ProbeInterval)
	case err != nil:
		return unwell(err)
	}

	s.account = account
	status.Account = account.Config().AccountStatus()
	status.Capabilities = capabilityNames(account.Capabilities())

	return nil
}

// probe asks the provider for a list, to see whether the credentials work. The list serves the subscriptions too,
// so a young one that they asked for is as good. Refused credentials are tried again at the slow pace.
func (s *providerScope) probe(ctx context.Context) error {
	asked := requested(s.obj, v1alpha1.AnnotationReconcileRequested, s.obj.ProviderStatus().LastHandledReconcileAt)

	held, again := s.account.Refused()
	if held != nil && again > 0 && !asked {
		return s.refused(held, again)
	}

	var err error
	if held != nil || asked {
		err = s.account.Probe(ctx)
	} else {
		_, err = s.account.ListCurrent(ctx)
	}

	if refused, isRefusal := errors.AsType[*subscription.AuthError](err); isRefusal {
		return s.refused(refused, s.options.ProbeInterval)
	}

	if err != nil {
		return unwell(err)
	}

	return nil
}

// unwell classifies an error of a provider. What is transient says whether the provider could not be reached, answered
// something else than it documents, or failed. The message is the same for the same cause: no address, port or time.
func unwell(err error) error {
	out := outcomeOf(err)

	switch out.kind {
	case outcomeRateLimited:
		return out.quietly()
	case outcomeTransient:
	default:
		return out
	}

	if shape, is := errors.AsType[*subscription.ShapeError](err); is {
		out.reason, out.message = v1alpha1.ReasonUnexpectedAnswer, "Trying again: "+scrub(shape.Error())
	} else if why, unreachable := whyUnreachable(err); unreachable {
		out.reason, out.message = v1alpha1.ReasonUnreachable, "Trying again: the provider could not be reached: "+why
	}

	return out
}

// whyUnreachable tells whether there was no answer at all, and why.
func whyUnreachable(err error) (why string, unreachable bool) {
	var (
		request     *url.Error
		resolve     *net.DNSError
		certificate *tls.CertificateVerificationError
		connection  *net.OpError
		timeout     interface{ Timeout() bool }
	)

	reached := !errors.As(err, &request) && !errors.As(err, &connection)

	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "it did not answer in time", true
	case errors.As(err, &resolve) && resolve.IsNotFound:
		return "its host name is not known", true
	case errors.As(err, &resolve):
		return "its host name could not be resolved", true
	case errors.As(err, &certificate):
		return "its certificate is not trusted: " + scrub(root(err).Error()), true
	case reached:
		return "", false
	case errors.As(err, &connection) && connection.Op == "proxyconnect":
		return "the proxy did not connect: " + scrub(root(err).Error()), true
	default:
		return scrub(root(err).Error()), true
	}
}

// refused stalls the provider, whose credentials a human must mend, and tries them again at the slow pace.
func (s *providerScope) refused(err *subscription.AuthError, again time.Duration) error {
	out := terminal(v1alpha1.ReasonCredentialsRejected, "The provider did not accept the request: %s", scrub(err.Error()))
	out.after = again

	return out.because(err)
}

// capabilityNames are what an implementation has, sorted.
func capabilityNames(caps subscription.Capabilities) []string {
	var out []string

	for field, has := range caps.Fields {
		if has {
			out = append(out, string(field))
		}
	}

	for name, has := range map[string]bool{
		"namesUnique": caps.NamesUnique, "wildcards": caps.Wildcards, "resume": caps.Resumable,
		"deliveryStatuses": caps.Statuses, "deliveryLogs": caps.Logs, "catalogue": caps.Catalogue,
	} {
		if has {
			out = append(out, name)
		}
	}

	slices.Sort(out)

	return slices.Compact(out)
}

// inUseRetry is how soon it is looked again whether a provider is in use. Most ends of a use are seen at once; that of
// a subscription which never recorded its provider is not.
const inUseRetry = time.Minute

// release lets a provider go that nothing uses any more.
func (s *providerScope) release(ctx context.Context) error {
	users, err := s.users(ctx)
	if err != nil {
		return err
	}

	if len(users) > 0 {
		return waiting(inUseRetry, v1alpha1.ReasonInUse,
			"Waiting for %d WebhookSubscriptions that use this provider, such as %s: delete them, or point spec.providerRef elsewhere",
			len(users), users[0])
	}

	s.released = true

	s.pool.Forget(s.obj.GetUID())

	if !controllerutil.ContainsFinalizer(s.obj, v1alpha1.FinalizerProviderInUse) {
		return nil
	}

	controllerutil.RemoveFinalizer(s.obj, v1alpha1.FinalizerProviderInUse)

	if err := s.client.Patch(ctx, s.obj, client.MergeFromWithOptions(s.before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("releasing the provider: %w", client.IgnoreNotFound(err))
	}

	return nil
}

// users are the subscriptions, as "namespace/name" and sorted, that have something at the provider or may have.
func (s *providerScope) users(ctx context.Context) ([]string, error) {
	key := providerKey(s.obj.ProviderKind(), s.obj.GetNamespace(), s.obj.GetName())

	in := []client.ListOption{client.MatchingFields{indexProvider: key}}
	if s.obj.GetNamespace() != "" {
		in = append(in, client.InNamespace(s.obj.GetNamespace()))
	}

	var list v1alpha1.WebhookSubscriptionList
	if err := s.client.List(ctx, &list, in...); err != nil {
		return nil, fmt.Errorf("listing the subscriptions that use the provider: %w", err)
	}

	var users []string

	for i := range list.Items {
		if uses(&list.Items[i], s.obj.ProviderKind(), s.obj.GetName(), s.obj.GetUID()) {
			users = append(users, client.ObjectKeyFromObject(&list.Items[i]).String())
		}
	}

	slices.Sort(users)

	return users, nil
}

// forgetGone drops the accounts of a provider that no longer exists and that no subscription needs to be deleted with.
func (p providerParts) forgetGone(ctx context.Context, kind v1alpha1.ProviderKind, key types.NamespacedName) error {
	for _, account := range p.pool.Named(kind, key.Namespace, key.Name) {
		uid := account.Config().UID

		var list v1alpha1.WebhookSubscriptionList
		if err := p.client.List(ctx, &list, client.MatchingFields{indexProvider: providerKey(kind, key.Namespace, key.Name)}); err != nil {
			return fmt.Errorf("listing the subscriptions that used the provider: %w", err)
		}

		if !slices.ContainsFunc(list.Items, func(sub v1alpha1.WebhookSubscription) bool { return uses(&sub, kind, key.Name, uid) }) {
			p.pool.Forget(uid)
		}
	}

	return nil
}

// uses tells whether a subscription needs a provider's credentials: it has something there, or may have what it has not
// recorded.
func uses(sub *v1alpha1.WebhookSubscription, kind v1alpha1.ProviderKind, name string, uid types.UID) bool {
	if !controllerutil.ContainsFinalizer(sub, v1alpha1.FinalizerSubscription) {
		return false
	}

	pinned := sub.Status.Provider
	if pinned == nil || pinned.UID == uid {
		return true
	}

	mark, _ := markOf(sub)

	return (pinned.Kind != kind || pinned.Name != name) && slices.Contains(mark.Places, placeNamed(kind, name))
}
