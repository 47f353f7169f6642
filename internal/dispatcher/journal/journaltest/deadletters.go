package journaltest

import (
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

func deadLetterCases() map[string]testCase {
	return map[string]testCase{
		"Age":          {"Dead letters go once they are older than the limit, and are counted.", testLetterAge},
		"Subscription": {"Of a subscription beyond its cap the oldest go, another's stay.", testLetterSubscription},
		"Bytes":        {"A cap of bytes is kept too.", testLetterBytes},
		"Tenant":       {"Of a tenant beyond its cap the subscription with the most gives, another tenant's stay.", testLetterTenant},
		"Total":        {"All together are bounded whoever they belong to.", testLetterTotal},
		"Resent":       {"A letter that was cleared counts no more, and not as expired.", testLetterResent},
		"Rewritten":    {"A delivery that ends twice is one letter, also within one batch.", testLetterRewritten},
		"Reopened":     {"What is counted outlives the process.", testLetterReopened},
		"Unlimited":    {"Negative limits limit nothing.", testLetterUnlimited},
		"Vanished":     {"What a deleted subscription leaves does not count for its tenant.", testLetterVanished},
	}
}

// unlimited are limits that limit nothing.
func unlimited() journal.DeadLetterLimits {
	none := journal.DeadLetterCap{Count: -1, Bytes: -1}

	return journal.DeadLetterLimits{Age: -1, Subscription: none, Tenant: none, Total: none}
}

// limited opens the journal again with limits.
func (s *suite) limited(change func(*journal.DeadLetterLimits)) {
	s.Helper()
	limits := unlimited()
	change(&limits)
	s.h.SetDeadLetterLimits(limits)
	s.reopen()
}

// bury makes dead letters of a tenant's subscription, one for each position.
func (s *suite) bury(tenant, subscription string, seqs ...journal.Seq) {
	s.Helper()
	batch := journal.Batch{}
	for _, seq := range seqs {
		outcome := s.dead(ref(subscription, seq), 1)
		outcome.Tenant = tenant
		batch.Outcomes = append(batch.Outcomes, outcome)
	}
	s.settle(batch)
}

// letters are the positions of a subscription's dead letters.
func (s *suite) letters(subscription string) []journal.Seq {
	s.Helper()
	rows, err := s.j.View().DeadLetters(s.Context(), subscription, 0, all)
	s.check(err)
	var seqs []journal.Seq
	for _, row := range rows {
		if row.Event.ID == "" {
			s.fatalf("The letter of position %d has no event", row.Seq)
		}
		seqs = append(seqs, row.Seq)
	}

	return seqs
}

// becomes waits, while seconds pass, until a subscription has the dead letters of the positions given alone.
func (s *suite) becomes(subscription string, want ...journal.Seq) {
	s.Helper()
	s.eventually("the dead letters of "+subscription, func() bool {
		s.h.Clock.Advance(time.Second)

		return len(s.letters(subscription)) <= len(want)
	})
	s.equal("dead letters of "+subscription, want, s.letters(subscription))
}

// expired checks what is left of the ones that went.
func (s *suite) expired(subscription string, count uint64, last journal.Seq) {
	s.Helper()
	got, err := s.j.View().ExpiredDeadLetters(s.Context(), subscription)
	s.check(err)
	if got.At.IsZero() != (count == 0) || got.At.After(s.h.Clock.Now()) {
		s.fatalf("%s: %d letters expired at %s", subscription, count, got.At)
	}
	got.At = time.Time{}
	s.equal("expired of "+subscription, journal.ExpiredDeadLetters{Count: count, Last: last}, got)
}

// pass lets seconds pass, in which nothing may change.
func (s *suite) pass(subscription string, want ...journal.Seq) {
	s.Helper()
	for range 5 {
		s.h.Clock.Advance(time.Second)
		s.equal("dead letters of "+subscription, want, s.letters(subscription))
	}
}

func testLetterAge(s *suite) {
	s.limited(func(l *journal.DeadLetterLimits) { l.Age = time.Hour })
	s.fill(4)
	s.bury("acme", "sub", 3)
	s.bury("other", "two", 1)
	s.h.Clock.Advance(30 * time.Minute)
	s.bury("acme", "sub", 2, 4)
	s.pass("sub", 2, 3, 4)
	s.h.Clock.Advance(30 * time.Minute)
	s.becomes("sub", 2, 4)
	s.becomes("two")
	s.expired("sub", 1, 3)
	s.expired("two", 1, 1)
	s.h.Clock.Advance(30 * time.Minute)
	s.becomes("sub")
	s.expired("sub", 3, 4)
	s.expired("none", 0, 0)
}

func testLetterSubscription(s *suite) {
	s.limited(func(l *journal.DeadLetterLimits) { l.Subscription.Count = 2 })
	s.fill(600)
	many := make([]journal.Seq, 600)
	for i := range many {
		many[i] = journal.Seq(600 - i)
	}
	s.bury("acme", "sub", many...)
	s.bury("acme", "two", 1, 2)
	s.becomes("sub", 599, 600)
	s.expired("sub", 598, 598)
	s.pass("two", 1, 2)
	s.expired("two", 0, 0)
	// A position lower than what went is the oldest.
	s.bury("acme", "sub", 5)
	s.becomes("sub", 599, 600)
	s.expired("sub", 599, 598)
}

func testLetterBytes(s *suite) {
	large := event("large")
	large.Body = make([]byte, 10_000)
	s.limited(func(l *journal.DeadLetterLimits) { l.Subscription.Bytes = 9000 })
	s.fill(3)
	s.append(large) // 4
	s.bury("acme", "sub", 1, 2, 3)
	s.pass("sub", 1, 2, 3)
	s.bury("acme", "two", 4)
	s.becomes("two")
	s.bury("acme", "sub", 4)
	s.becomes("sub")
	s.expired("sub", 4, 4)
}

func testLetterTenant(s *suite) {
	s.limited(func(l *journal.DeadLetterLimits) { l.Tenant.Count = 4 })
	s.fill(6)
	s.bury("acme", "most", 1, 2, 3, 4)
	s.bury("other", "theirs", 1, 2, 3, 4)
	s.pass("most", 1, 2, 3, 4)
	s.bury("acme", "few", 1, 2)
	s.becomes("most", 3, 4)
	s.pass("few", 1, 2)
	s.pass("theirs", 1, 2, 3, 4)
	s.expired("most", 2, 2)
}

func testLetterTotal(s *suite) {
	s.limited(func(l *journal.DeadLetterLimits) { l.Total.Count = 5 })
	s.fill(6)
	s.bury("acme", "most", 1, 2, 3, 4)
	s.bury("other", "few", 1, 2)
	s.becomes("most", 2, 3, 4)
	s.pass("few", 1, 2)
}

func testLetterResent(s *suite) {
	s.limited(func(l *journal.DeadLetterLimits) { l.Subscription.Count = 3 })
	s.fill(6)
	s.put("sub", 0, nil)
	s.bury("acme", "sub", 1, 2, 3)
	for range 2 { // The second finds none.
		again := s.delivered(ref("sub", 2), 2)
		again.Resent = true
		s.settle(journal.Batch{Outcomes: []journal.Outcome{again}})
	}
	s.bury("acme", "sub", 4)
	s.pass("sub", 1, 3, 4)
	s.expired("sub", 0, 0)
	s.bury("acme", "sub", 5)
	s.becomes("sub", 3, 4, 5)
}

func testLetterRewritten(s *suite) {
	s.limited(func(l *journal.DeadLetterLimits) { l.Subscription.Count, l.Age = 2, time.Hour })
	s.fill(3)
	s.bury("acme", "sub", 1, 1, 1)
	s.h.Clock.Advance(time.Minute)
	s.bury("acme", "sub", 1, 2)
	s.pass("sub", 1, 2)
	s.expired("sub", 0, 0)
	s.h.Clock.Advance(59 * time.Minute)
	s.pass("sub", 1, 2) // Its age begins anew.
	s.h.Clock.Advance(time.Minute)
	s.becomes("sub")
	s.expired("sub", 2, 2)
}

func testLetterReopened(s *suite) {
	s.limited(func(l *journal.DeadLetterLimits) { l.Subscription.Count = 2 })
	s.fill(6)
	s.bury("acme", "sub", 1, 2, 3)
	s.becomes("sub", 2, 3)
	s.limited(func(l *journal.DeadLetterLimits) { l.Subscription.Count, l.Age = 3, time.Hour })
	s.expired("sub", 1, 1)
	s.bury("acme", "sub", 4)
	s.pass("sub", 2, 3, 4)
	s.bury("acme", "sub", 5)
	s.becomes("sub", 3, 4, 5)
	s.expired("sub", 2, 2)
	s.reopen()
	s.h.Clock.Advance(time.Hour)
	s.becomes("sub")
	s.expired("sub", 5, 5)
}

func testLetterUnlimited(s *suite) {
	s.limited(func(*journal.DeadLetterLimits) {})
	s.fill(3)
	s.bury("acme", "sub", 1, 2, 3)
	s.h.Clock.Advance(journal.DefaultDeadLetterAge + 24*time.Hour)
	s.pass("sub", 1, 2, 3)
}

func testLetterVanished(s *suite) {
	s.limited(func(l *journal.DeadLetterLimits) { l.Tenant.Count, l.Age = 3, time.Hour })
	s.fill(6)
	s.put("gone", 0, nil)
	marker := s.put("gone", 1, deleted)
	s.bury("acme", "gone", 1, 2, 3)
	s.settle(journal.Batch{Cursor: marker.Seq})
	s.becomes("gone")
	s.expired("gone", 0, 0)
	s.bury("acme", "sub", 1, 2, 3)
	s.pass("sub", 1, 2, 3)
	s.h.Clock.Advance(30 * time.Minute)
	s.bury("acme", "sub", 4)
	s.becomes("sub", 2, 3, 4)
	s.h.Clock.Advance(30 * time.Minute)
	s.becomes("sub", 4)
	s.expired("sub", 3, 3)
}
