package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// minLookAgain is how long a name is left alone that is taken by what no list shows yet.
const minLookAgain = time.Second

// act does what was planned. Everything that can fail at the API server comes before the provider is asked, so
// that after a create only its record in the status is left to write. What one unit cannot be given holds up no other,
// unless nothing can be asked of the provider at all.
func (s *subscriptionScope) act(ctx context.Context) error {
	if err := s.anchor(ctx); err != nil {
		return err
	}

	for i, step := range s.actions {
		if step.Verb != verbStall && step.Verb != verbObserve {
			s.flow.acted = true
		}

		if s.mustWait(step) {
			continue
		}

		if err := s.do(ctx, step); err != nil && s.failed(step, err) {
			s.forgo(s.actions[i+1:])

			break
		}
	}

	return s.settle(ctx)
}

// settle records what came of acting.
func (s *subscriptionScope) settle(ctx context.Context) error {
	failure := s.summed()
	if s.moved && failure == nil {
		// Nothing is given up for a pattern that has nothing here yet.
		failure = s.matchless()
	}

	if s.moved && failure != nil {
		// The status stays with the previous provider until all is at the present one: the mark finds it again.
		return failure
	}

	s.record()

	if err := s.copySigningSecret(ctx); err != nil && failure == nil {
		failure = err
	}

	if failure != nil {
		s.stayMoved()

		return failure
	}

	s.attempts.Delete(s.sub.UID)
	s.arrive()

	for _, step := range []func(context.Context) error{s.leaveOldProvider, s.clearElsewhere, s.renewMark} {
		if err := step(ctx); err != nil {
			return err
		}
	}

	s.arrivals.Delete(s.sub.UID)

	return s.matchless()
}

// mustWait tells whether a step needs something done first that was not.
func (s *subscriptionScope) mustWait(step action) bool {
	if step.Unit != none {
		return s.units[step.Unit].failure != nil
	}

	return slices.ContainsFunc(step.After, func(i int) bool { return s.units[i].failure != nil })
}

// failed notes what became of a step, and tells whether nothing else is worth trying.
func (s *subscriptionScope) failed(step action, err error) (hopeless bool) {
	if step.Unit == none {
		s.gone = append(s.gone, unitOutcome{What: s.whatIs(step.ID), Err: err})
	} else {
		s.units[step.Unit].failure = err
	}

	out := outcomeOf(err)

	return out.kind != outcomeStalled && (out.kind != outcomeWaiting || out.reason == v1alpha1.ReasonProviderNotReady)
}

// forgo notes what is not tried any more.
func (s *subscriptionScope) forgo(steps []action) {
	for _, step := range steps {
		if step.Unit != none && s.units[step.Unit].failure == nil {
			s.units[step.Unit].unreached = true
		}
	}
}

// whatIs names an entry by its events.
func (s *subscriptionScope) whatIs(id string) string {
	for i := range s.entries {
		if s.entries[i].ID == id && len(s.entries[i].Events) > 0 {
			return namesOf(s.entries[i].Events)
		}
	}

	return id
}

// maxEventsTold is how many events name a subscription in a message.
const maxEventsTold = 3

// namesOf names events to a human.
func namesOf(events []string) string {
	if len(events) <= maxEventsTold {
		return strings.Join(events, ", ")
	}

	return fmt.Sprintf("%s and %d more", strings.Join(events[:maxEventsTold], ", "), len(events)-maxEventsTold)
}

// summed is what came of all units together.
func (s *subscriptionScope) summed() error {
	units := make([]unitOutcome, 0, len(s.units))
	for _, u := range s.units {
		units = append(units, unitOutcome{What: namesOf(u.want.Draft.Events), Err: u.failure, Unreached: u.unreached})
	}

	return summed(units, s.gone)
}

// matchless says which patterns match nothing, once all that does match is as asked for.
func (s *subscriptionScope) matchless() error {
	if len(s.unmatched) == 0 {
		return nil
	}

	return terminal(v1alpha1.ReasonNoMatchingEvents,
		"spec.events: the provider has no event type that matches %s: correct the pattern, or wait until it has one. "+
			"It is looked up again at the provider's interval", namesOf(s.unmatched))
}

func (s *subscriptionScope) do(ctx context.Context, step action) error {
	switch step.Verb {
	case verbCreate:
		return s.create(ctx, step)
	case verbUpdate:
		return s.update(ctx, step)
	case verbAdopt, verbRecover, verbObserve:
		s.take(step)

		return nil
	case verbDelete:
		return s.prune(ctx, step)
	case verbOrphan:
		s.drop(step.ID)

		return nil
	default:
		return terminal(step.Reason, "%s", step.Message)
	}
}

// prune deletes a subscription that is no longer asked for.
func (s *subscriptionScope) prune(ctx context.Context, step action) error {
	if err := s.deleteRemote(ctx, step.ID); err != nil {
		return err
	}

	s.tell(corev1.EventTypeNormal, v1alpha1.EventDeleted, "Delete",
		"Deleted subscription "+step.ID+" ("+s.whatIs(step.ID)+"), which is no longer asked for")
	s.log.Info("Deleted a subscription that is no longer asked for", "subscription", step.ID)
	s.drop(step.ID)

	return nil
}

// drop lets go of an entry.
func (s *subscriptionScope) drop(id string) {
	s.extra = slices.DeleteFunc(s.extra, func(i int) bool { return s.entries[i].ID == id })
}

// idle tells whether nothing that is planned, if anything is, changes anything.
func (s *subscriptionScope) idle() bool {
	if len(s.actions) == 0 {
		return len(s.units) == 0
	}

	first := map[int]bool{}
	idle := true

	for _, step := range s.actions {
		if !first[step.Unit] {
			first[step.Unit] = true
			idle = idle && step.Verb == verbStall
		}
	}

	// A unit for which nothing is planned is as asked for.
	return idle && len(first) >= len(s.units)
}

func (s *subscriptionScope) create(ctx context.Context, step action) error {
	u := s.units[step.Unit]

	if step.Cause == causeMissing {
		// The old id is of nothing.
		u.remote, u.asked = nil, nil
	}

	created, err := s.account.Create(ctx, step.Draft)
	if errors.Is(err, subscription.ErrNameTaken) {
		return s.nameTaken(ctx, u, saying(explainedTaken(err)))
	}

	if err != nil {
		return s.notCreated(ctx, u, fmt.Errorf("creating the subscription: %w", err))
	}

	u.remote, u.asked, u.created, u.secret = &created.Subscription, step.Draft.Events, true, created.Secret

	if step.Cause == causeMissing {
		s.tell(corev1.EventTypeWarning, v1alpha1.EventRecreated, "Create",
			"Somebody deleted the subscription at the provider: created it again as "+created.ID)
	} else {
		s.tell(corev1.EventTypeNormal, v1alpha1.EventCreated, "Create", "Created subscription "+created.ID)
	}

	s.log.Info("Created the subscription", "subscription", created.ID)

	return nil
}

// notCreated keeps in mind what a create without an answer may have made. One that was refused has made nothing, and none
// before it, so it goes from the mark, which would claim what a stranger makes of the same natural key later on.
func (s *subscriptionScope) notCreated(ctx context.Context, u *unitScope, err error) error {
	var (
		invalid     *subscription.InvalidError
		unsupported *subscription.UnsupportedError
		refused     *subscription.AuthError
		limited     *subscription.RateLimitedError
	)

	if errors.As(err, &limited) {
		// It is asked for again so soon that the mark may stay.
		return err
	}

	if errors.As(err, &invalid) || errors.As(err, &unsupported) || errors.As(err, &refused) {
		if unmarked := s.unmark(ctx, u.hash); unmarked != nil {
			return unmarked
		}

		return err
	}

	s.attempts.Store(s.sub.UID, s.clock.Now())

	return err
}

// explainedTaken is what a provider says of a name that is taken.
func explainedTaken(err error) string {
	if taken, is := errors.AsType[*subscription.NameTakenError](err); is {
		return taken.Message
	}

	return ""
}

// nameTaken tells a stranger's subscription from one of an earlier attempt of ours. Before the first attempt
// none was ours, so it goes from the mark, which would claim the stranger's. What the provider says of it stands where
// its list does not show the stranger's.
func (s *subscriptionScope) nameTaken(ctx context.Context, u *unitScope, says string) error {
	if u.have.Pending {
		return waiting(max(s.caps.VisibilityDelay, minLookAgain), v1alpha1.ReasonProgressing,
			"Waiting until the provider shows the subscription that has the name %q", u.want.Draft.Name)
	}

	if err := s.unmark(ctx, u.hash); err != nil {
		return err
	}

	view, err := s.account.ListAfter(ctx, s.account.Mark())
	if err != nil {
		return fmt.Errorf("looking for the subscription that has the name: %w", err)
	}

	u.have.Matches, err = s.matches(ctx, s.unknownWith(view, u.hash))
	if err != nil {
		return err
	}

	if step := planNew(u.want, u.have, s.caps)[0]; step.Verb == verbStall {
		return terminal(step.Reason, "%s", step.Message)
	}

	conflict := nameConflict(u.want.Draft.Name, "")
	out := terminal(conflict.Reason, "%s%s", conflict.Message, says)
	out.again = len(u.have.Matches) > 0

	return out
}

func (s *subscriptionScope) update(ctx context.Context, step action) error {
	u := s.units[step.Unit]

	updated, err := s.account.Update(ctx, step.ID, step.Patch)
	if errors.Is(err, subscription.ErrNameTaken) {
		return terminal(v1alpha1.ReasonNameConflict,
			"The provider has another subscription named %q: choose another spec.name%s", u.want.Draft.Name, saying(explainedTaken(err)))
	}

	if err != nil {
		return fmt.Errorf("updating subscription %s: %w", step.ID, err)
	}

	u.remote, u.asked, u.updated = &updated, u.want.Draft.Events, true
	s.tellUpdate(step)
	s.log.Info("Updated the subscription", "subscription", step.ID, "cause", step.Cause, "fields", step.Fields)

	return nil
}

func (s *subscriptionScope) tellUpdate(step action) {
	changed := joinFields(step.Fields)

	switch step.Cause {
	case causeDrift:
		s.tell(corev1.EventTypeWarning, v1alpha1.EventDriftCorrected, "Update",
			"Somebody changed the subscription at the provider: set back "+changed)
	case causeRotation:
		s.tell(corev1.EventTypeNormal, v1alpha1.EventSecretRotated, "Update", "Gave the provider new values of "+changed)
	case causeResume:
		s.tell(corev1.EventTypeNormal, v1alpha1.EventResumed, "Update", "Asked the provider to deliver again")
	default:
		s.tell(corev1.EventTypeNormal, v1alpha1.EventUpdated, "Update", "Changed "+changed)
	}
}

// take records that an existing subscription stands for a unit.
func (s *subscriptionScope) take(step action) {
	u := s.units[step.Unit]
	u.remote = u.have.Remote

	for i := range u.have.Matches {
		if u.have.Matches[i].ID == step.ID {
			u.remote = &u.have.Matches[i].Subscription
		}
	}

	u.asked = u.remote.Events

	switch told := s.hasArrived(step.ID); step.Verb {
	case verbAdopt:
		if u.taken = true; !told {
			s.tell(corev1.EventTypeNormal, v1alpha1.EventAdopted, "Adopt", "Took over subscription "+step.ID)
		}
	case verbRecover:
		if u.created = true; !told {
			s.tell(corev1.EventTypeNormal, v1alpha1.EventRecovered, "Recover", "Found subscription "+step.ID+", which had been asked for")
		}
	default:
	}
}

// told are Events of one kind about what was done to several subscriptions: they would be taken for repetitions of one.
type told struct {
	kind, reason, act string
	notes             []string
}

// maxNotesTold is how many subscriptions one Event tells of.
const maxNotesTold = 5

// tell keeps an Event about one of the subscriptions until the reconcile ends, see conclude.
func (s *subscriptionScope) tell(kind, reason, act, note string) {
	for i := range s.told {
		if s.told[i].reason == reason {
			s.told[i].notes = append(s.told[i].notes, note)

			return
		}
	}

	s.told = append(s.told, told{kind: kind, reason: reason, act: act, notes: []string{note}})
}

// tellOf keeps what was done at another provider with what was done at this one.
func (s *subscriptionScope) tellOf(there *subscriptionScope) {
	for _, one := range there.told {
		for _, note := range one.notes {
			s.tell(one.kind, one.reason, one.act, note)
		}
	}
}

// tellAll writes the Events that were kept.
func (s *subscriptionScope) tellAll() {
	for _, one := range s.told {
		note := strings.Join(one.notes[:min(len(one.notes), maxNotesTold)], "; ")
		if more := len(one.notes) - maxNotesTold; more > 0 {
			note = fmt.Sprintf("%s; and %d more", note, more)
		}

		s.event(one.kind, one.reason, one.act, note)
	}

	s.told = nil
}

// event writes an Event about the resource.
func (s *subscriptionScope) event(kind, reason, act, note string) {
	s.recorder.Eventf(s.sub, nil, kind, reason, act, "%s", strings.ToValidUTF8(note, "?"))
}
