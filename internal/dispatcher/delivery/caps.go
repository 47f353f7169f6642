package delivery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hookline-dev/hookline/internal/dispatcher/journal"
)

const (
	// expireInterval is how often deliveries that have waited too long are looked for.
	expireInterval = time.Minute
	// expireBatch is how many deliveries of one endpoint expire between two Settles, and maxExpiring of
	// all: each dead letter copies its event into the batch.
	expireBatch = 256
	maxExpiring = 1024
	// agingBatch is how many endpoints are looked through for them between two Settles.
	agingBatch = 64
	// countBatch is how many rows are read at once when they are counted.
	countBatch = 8192
)

// addRows counts the deliveries of an endpoint and its tenant that have a row, and takes note
// where they are too many.
func (e *Engine) addRows(ep *endpoint, n int) {
	ep.rows += n
	if ep.tenant == nil || ep.deleted {
		return
	}
	ep.tenant.rows += n
	if n <= 0 {
		return
	}
	if ep.rows > e.cfg.MaxEndpointBacklog {
		e.over[ep] = true
	}
	if ep.tenant.rows > e.cfg.MaxTenantBacklog {
		e.overTenants[ep.tenant] = true
	}
}

// excess is from whose rows the oldest go, and how many.
type excess struct {
	endpoint *endpoint
	n        int
}

// excesses are the endpoints above their cap, and for each tenant above its cap the one that has
// the most. The caller holds the lock.
func (e *Engine) excesses() []excess {
	var all []excess
	for ep := range e.over {
		if n := ep.rows - e.cfg.MaxEndpointBacklog; n > 0 && !ep.deleted {
			all = append(all, excess{ep, n})
		} else {
			delete(e.over, ep)
		}
	}
	for t := range e.overTenants {
		n := t.rows - e.cfg.MaxTenantBacklog
		var most *endpoint
		for ep := range t.endpoints {
			if most == nil || ep.rows > most.rows {
				most = ep
			}
		}
		if n <= 0 || most == nil {
			delete(e.overTenants, t)

			continue
		}
		if !e.over[most] {
			all = append(all, excess{most, n})
		}
	}

	return all
}

// expire dead-letters the oldest deliveries of those who have too many, and what has waited for
// too long.
func (k *keeper) expire(ctx context.Context) error {
	e := k.engine
	e.mu.Lock()
	all := e.excesses()
	e.mu.Unlock()
	left := maxExpiring
	for _, one := range all {
		n, err := k.expired(ctx, one.endpoint, min(one.n, expireBatch, left), journal.LatestSeq)
		if err != nil {
			return err
		}
		if left -= n; left == 0 {
			break
		}
	}
	if len(all) > 0 {
		e.wake()
	}

	return k.age(ctx, left)
}

// age looks through some endpoints for deliveries whose events were accepted too long ago, of which
// so many may go now.
func (k *keeper) age(ctx context.Context, left int) error {
	e := k.engine
	if now := e.cfg.Clock.Now(); len(k.aging) == 0 && !now.Before(k.nextAging) {
		k.nextAging = now.Add(expireInterval)
		before, err := e.cfg.Journal.View().FirstAfter(ctx, now.Add(-e.cfg.BacklogAge))
		if err != nil {
			return fmt.Errorf("looking for deliveries that have waited too long: %w", err)
		}
		k.agedBefore = before
		e.mu.Lock()
		for _, ep := range e.endpoints {
			if ep.rows > 0 && !ep.deleted {
				k.aging = append(k.aging, ep)
			}
		}
		e.mu.Unlock()
	}
	for range min(agingBatch, len(k.aging)) {
		if left == 0 {
			break
		}
		ep := k.aging[0]
		k.aging = k.aging[1:]
		most := min(expireBatch, left)
		n, err := k.expired(ctx, ep, most, k.agedBefore)
		if err != nil {
			return err
		}
		if left -= n; n == most {
			k.aging = append(k.aging, ep)
		}
	}
	if len(k.aging) > 0 {
		e.wake()
	}

	return nil
}

// expired dead-letters the oldest deliveries of an endpoint that stand before a position and are
// not in memory, and returns how many.
func (k *keeper) expired(ctx context.Context, ep *endpoint, most int, before journal.Seq) (int, error) {
	e := k.engine
	e.mu.Lock()
	// Rows of what is in memory are read and passed over.
	reach := most + len(ep.held)
	e.mu.Unlock()
	seqs, err := e.cfg.Journal.View().Backlog(ctx, ep.id, 0, reach)
	if err != nil {
		return 0, fmt.Errorf("reading the backlog of subscription %s: %w", ep.id, err)
	}
	rows, err := e.cfg.Journal.View().Retries(ctx, ep.id, 0, reach)
	if err != nil {
		return 0, fmt.Errorf("reading the retries of subscription %s: %w", ep.id, err)
	}
	for _, row := range rows {
		seqs = append(seqs, row.Seq)
	}
	slices.Sort(seqs)

	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, seq := range seqs {
		if n == most || seq >= before || ep.deleted || ep.tenant == nil {
			break
		}
		if ep.held[seq] == nil {
			e.expireRow(ep, seq)
			n++
		}
	}
	if now := e.cfg.Clock.Now(); n > 0 && now.Sub(ep.warned) >= expireInterval {
		ep.warned = now
		e.cfg.Log.Warn("Dead-lettered the oldest deliveries of a backlog", "subscription", ep.id, "tenant", ep.tenant.name, "deliveries", n,
			"backlog", ep.rows)
	}

	return n, nil
}

// expireRow ends a delivery that waited on a page or for its next attempt.
func (e *Engine) expireRow(ep *endpoint, seq journal.Seq) {
	it := &item{endpoint: ep, seq: seq, row: true}
	e.remember(ep, it)
	e.metrics.deadLetters.WithLabelValues(journal.ReasonBacklogExpired).Inc()
	e.end(it, journal.Outcome{
		Ref: journal.Ref{Subscription: ep.id, Seq: seq}, Tenant: ep.tenant.name,
		Result: journal.DeadLettered, Reason: journal.ReasonBacklogExpired,
	})
	e.rowGone(ep, seq)
}

// countRows counts the deliveries of a subscription that wait.
func (e *Engine) countRows(ctx context.Context, id string) (int, error) {
	total := 0
	for after := journal.Seq(0); ; {
		seqs, err := e.cfg.Journal.View().Backlog(ctx, id, after, countBatch)
		if err != nil {
			return 0, fmt.Errorf("counting the backlog of subscription %s: %w", id, err)
		}
		if total += len(seqs); len(seqs) < countBatch {
			break
		}
		after = seqs[len(seqs)-1]
	}
	for after := journal.Seq(0); ; {
		rows, err := e.cfg.Journal.View().Retries(ctx, id, after, countBatch)
		if err != nil {
			return 0, fmt.Errorf("counting the retries of subscription %s: %w", id, err)
		}
		if total += len(rows); len(rows) < countBatch {
			break
		}
		after = rows[len(rows)-1].Seq
	}

	return total, nil
}
