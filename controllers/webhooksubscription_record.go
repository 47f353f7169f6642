package controllers

import (
	"slices"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// record writes into the status what stands for the resource at the provider.
func (s *subscriptionScope) record() {
	status := &s.sub.Status
	remotes, made := make([]v1alpha1.RemoteSubscription, 0, len(s.units)), []*unitScope{}

	for _, u := range s.units {
		if u.remote != nil {
			made = append(made, u)
			remotes = append(remotes, recordOf(*u.remote, u.shownEvents()))

			continue
		}

		// What is not there and may not be made again stays named.
		for _, known := range remotesOf(status) {
			if u.have.ID != "" && known.ID == u.have.ID {
				remotes = append(remotes, known)
			}
		}
	}

	// What is no longer asked for stays in the status until it is gone. Who only observes has nothing to let go of.
	for _, i := range s.extra {
		if e := s.entries[i]; e.Remote != nil && !s.want.ObserveOnly {
			remotes = append(remotes, recordOf(*e.Remote, e.Events))
		}
	}

	if len(remotes) == 0 && s.known == 0 {
		return
	}

	setRemotes(status, remotes)

	status.Provider = &v1alpha1.ResolvedProvider{
		Kind: s.provider.ProviderKind(), Name: s.provider.GetName(), UID: s.provider.GetUID(), Account: s.account.Config().AccountStatus(),
	}

	if len(made) == 0 {
		return
	}

	status.URL = made[0].remote.URL
	if status.Name = made[0].remote.Name; len(s.units) > 1 {
		status.Name = s.want.Draft.Name
	}

	s.recordAdoption(made)
	s.recordSecrets(made)
}

// shownEvents are what the subscription of a unit asks for, as the status tells it: as the spec has it once it is as asked for.
func (u *unitScope) shownEvents() []string {
	if u.failure == nil && !u.unreached || len(u.asked) == 0 {
		return u.want.Draft.Events
	}

	return u.asked
}

func recordOf(remote subscription.Subscription, events []string) v1alpha1.RemoteSubscription {
	out := v1alpha1.RemoteSubscription{ID: remote.ID, Events: slices.Clone(events), State: v1alpha1.SubscriptionStateActive}
	if remote.State.IsSuspended() {
		out.State, out.StateReason = v1alpha1.SubscriptionStateSuspended, remote.State.Reason
	}

	return out
}

// recordAdoption notes whether anything of what there is was taken over.
func (s *subscriptionScope) recordAdoption(made []*unitScope) {
	adopted := slices.ContainsFunc(made, func(u *unitScope) bool { return u.taken })
	kept := slices.ContainsFunc(made, func(u *unitScope) bool { return !u.created })

	s.sub.Status.Adopted = adopted || s.sub.Status.Adopted && kept
}

// recordSecrets notes which secret values the provider was given, once all that there is was given them.
func (s *subscriptionScope) recordSecrets(made []*unitScope) {
	status := &s.sub.Status
	if s.want.ObserveOnly {
		return
	}

	given := !slices.ContainsFunc(made, func(u *unitScope) bool {
		return !u.handed() && u.have.SecretDigest != s.want.SecretDigest
	})
	if given && s.want.Draft.Secret != "" {
		status.Secret = &v1alpha1.SecretStatus{Name: s.signing.ref.Name, Key: s.signing.ref.Key, Digest: s.want.SecretDigest}
	}

	given = !slices.ContainsFunc(made, func(u *unitScope) bool {
		return !u.handed() && !s.caps.CredentialsReadable && u.have.CredentialsDigest != s.want.CredentialsDigest
	})
	if given {
		status.CredentialsDigest = s.want.CredentialsDigest
	}
}

// handed tells whether a unit was given the present secret values now.
func (u *unitScope) handed() bool {
	recovered := len(u.have.Matches) > 0

	return u.failure == nil && !u.unreached && (u.created && !recovered || u.updated)
}

// setRemotes writes into a status what stands for the resource.
func setRemotes(status *v1alpha1.WebhookSubscriptionStatus, remotes []v1alpha1.RemoteSubscription) {
	status.SubscriptionID, status.Subscriptions = "", nil

	if len(remotes) > 0 {
		status.Subscriptions = slices.Clone(remotes)
	}

	if len(remotes) == 1 {
		status.SubscriptionID = remotes[0].ID
	}
}
