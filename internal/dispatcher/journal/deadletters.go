package journal

import "time"

// Defaults of DeadLetterLimits. With them dead letters take at most 4 GiB of a volume, however
// many endpoints refuse however many events.
const (
	DefaultDeadLetterAge = 30 * 24 * time.Hour

	DefaultSubscriptionDeadLetters     = 100_000
	DefaultSubscriptionDeadLetterBytes = 512 << 20
	DefaultTenantDeadLetters           = 1_000_000
	DefaultTenantDeadLetterBytes       = 2 << 30
	DefaultTotalDeadLetters            = 4_000_000
	DefaultTotalDeadLetterBytes        = 4 << 30
)

// DeadLetterCap bounds a set of dead letters. 0 is the default, a negative number means no bound.
type DeadLetterCap struct {
	// Count is the most letters, Bytes the most that they may take as they are stored.
	Count int64
	Bytes int64
}

// DeadLetterLimits bound what dead letters take of the disk. An engine looks once a second
// and lets go of those beyond them. Where one subscription has too many, its letters of the
// lowest positions go first; where a tenant or all together have too many, the same letters
// go of whichever of the subscriptions has the most bytes, so that an endpoint that refuses
// everything takes no place from its neighbours. What went is counted: View.ExpiredDeadLetters.
type DeadLetterLimits struct {
	// Age is how long a letter stays after its delivery ended. 0 is the default, a negative
	// duration means for ever.
	Age time.Duration
	// Subscription, Tenant and Total bound the letters of each subscription, of each tenant, and all.
	Subscription DeadLetterCap
	Tenant       DeadLetterCap
	Total        DeadLetterCap
}

// WithDefaults fills in what is 0.
func (l DeadLetterLimits) WithDefaults() DeadLetterLimits {
	if l.Age == 0 {
		l.Age = DefaultDeadLetterAge
	}
	l.Subscription = l.Subscription.orDefault(DefaultSubscriptionDeadLetters, DefaultSubscriptionDeadLetterBytes)
	l.Tenant = l.Tenant.orDefault(DefaultTenantDeadLetters, DefaultTenantDeadLetterBytes)
	l.Total = l.Total.orDefault(DefaultTotalDeadLetters, DefaultTotalDeadLetterBytes)

	return l
}

func (c DeadLetterCap) orDefault(count, bytes int64) DeadLetterCap {
	if c.Count == 0 {
		c.Count = count
	}
	if c.Bytes == 0 {
		c.Bytes = bytes
	}

	return c
}

// Exceeded tells whether letters are beyond the cap.
func (c DeadLetterCap) Exceeded(count, bytes int64) bool {
	return c.Count >= 0 && count > c.Count || c.Bytes >= 0 && bytes > c.Bytes
}

// ExpiredDeadLetters is what is left of the dead letters of a subscription that a limit took.
type ExpiredDeadLetters struct {
	// Count is how many there were; 0 where none.
	Count uint64
	// Last is the highest of their positions, At when the newest expiry was.
	Last Seq
	At   time.Time
}
