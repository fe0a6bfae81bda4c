// Package ratelimit counts attempts and says when there were too many.
//
//	Limits   the table of all limits, in limits.go
//	Take     use up one attempt of some limits, or none if one is exhausted
//	Reset    forget the attempts, after a success
//	Key      what the attempts of one person or machine have in common
//
// The counts are rows of the database, so they hold for all processes and outlive
// restarts. One conditional statement checks and counts: of two hundred attempts at
// once exactly as many pass as the limit says.
//
// An attacker would spell the same account or address in another way for each
// attempt: Key gives all spellings one count. They would also use up somebody
// else's attempts to lock them out: Take counts nothing if one of its limits is
// exhausted, so that an address that is stopped harms nobody further, and the
// limits on sign-in go by account and address together. And they would take the
// database down to be rid of the limits: if it does not answer, Take fails and so
// must what it guards. A flood of attempts that are refused anyway is answered from
// memory.
package ratelimit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// ErrLimited is returned when a limit is exhausted. Its RetryAfter is zero if time
// alone does not help.
var ErrLimited = problem.New(problem.TooMany, "rate_limited", "There were too many attempts. Wait a while, then try again.")

// A Limit says how often something may happen. It comes in two forms.
//
// By rate, without Delay: Count uses at once, which come back one by one, all of
// them in Per (the generic cell rate algorithm, ITU-T I.371).
//
// In a row, with Delay: Count uses, and after that each has to wait, Delay the
// first time and twice as long each further time, up to MaxDelay. Only Reset brings
// the uses back, or a pause of Per and MaxDelay together.
//
// Times count in milliseconds, so a rate is at most 1,000 a second.
type Limit struct {
	Name     string // a constant, unique
	Count    int64
	Per      time.Duration
	Delay    time.Duration
	MaxDelay time.Duration
}

// UntilReset as Delay and MaxDelay means that no waiting helps.
const UntilReset = time.Duration(math.MaxInt64)

// For is one use of the limit by whoever has this key, see Key.
func (l Limit) For(key string) Use { return Use{l, key} }

// A Use is one attempt that counts against a limit.
type Use struct {
	Limit Limit
	Key   string
}

// subject names the row of a use.
func (u Use) subject(tenant string) subject {
	return subject{tenant, u.Limit.Name, [16]byte(secret.Hash(u.Key))}
}

// A subject is what one row counts. The hash bounds the length of what a stranger
// sends, and keeps names out of the table.
type subject struct {
	tenant string
	limit  string
	key    [16]byte
}

// A Limiter counts uses. Its fields are set once, before use.
type Limiter struct {
	DB *database.DB

	refused refusals
}

// Take uses up one attempt of each limit, whatever becomes of the attempt: it has a
// transaction of its own, so call it outside of any. If one limit is exhausted it
// counts none and returns ErrLimited. Any other error means that the database does
// not answer; the attempt must not go on.
func (l *Limiter) Take(ctx context.Context, tenant string, uses ...Use) error {
	if err := l.recall(tenant, uses); err != nil {
		return err
	}
	var refused subject
	var by Limit
	err := l.DB.WriteBehind(ctx, func(tx *database.Tx) error {
		for _, u := range inOrder(uses) {
			s := u.subject(tenant)
			stmt, args := take(tx, s, u.Limit)
			tx.Must(func(counted int64, err error) error {
				if err == nil && counted == 0 {
					refused, by, err = s, u.Limit, errRefused
				}
				return err
			}, stmt, args...)
		}
		return nil
	})
	if errors.Is(err, errRefused) {
		return l.refuse(ctx, l.DB, l.DB.Now(), refused, by)
	}
	if err != nil {
		return fmt.Errorf("count against limits: %w", err)
	}
	return nil
}

// errRefused undoes what Take has counted.
var errRefused = errors.New("a limit is exhausted")

// TakeWithin is Take in the caller's transaction: nothing is counted unless that
// commits. Use it where only what succeeds counts, such as a mail that is sent; an
// attempt at a secret needs Take.
func (l *Limiter) TakeWithin(ctx context.Context, tx *database.Tx, tenant string, uses ...Use) error {
	if err := l.recall(tenant, uses); err != nil {
		return err
	}
	return l.take(ctx, tx, tenant, uses)
}

// recall returns the refusal of one of the uses, if it was refused just now.
func (l *Limiter) recall(tenant string, uses []Use) error {
	now := l.DB.Now()
	for _, u := range uses {
		if free, ok := l.refused.recall(now, u.subject(tenant)); ok {
			return refusal(u.Limit, now, free)
		}
	}
	return nil
}

func (l *Limiter) take(ctx context.Context, tx *database.Tx, tenant string, uses []Use) error {
	for _, u := range inOrder(uses) {
		s := u.subject(tenant)
		stmt, args := take(tx, s, u.Limit)
		counted, err := tx.Exec(ctx, stmt, args...)
		if err != nil {
			return fmt.Errorf("count against limit %s: %w", u.Limit.Name, err)
		}
		if counted == 0 {
			return l.refuse(ctx, tx, tx.Now, s, u.Limit)
		}
	}
	return nil
}

// inOrder puts uses in one order everywhere, so that two transactions never wait for
// each other.
func inOrder(uses []Use) []Use {
	return slices.SortedFunc(slices.Values(uses), func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.Limit.Name, b.Limit.Name), cmp.Compare(a.Key, b.Key))
	})
}

// refuse says until when a limit is exhausted, and remembers it.
func (l *Limiter) refuse(ctx context.Context, db database.Reader, now time.Time, s subject, by Limit) error {
	free, err := findFree(ctx, db, s, by)
	if errors.Is(err, database.ErrNoRows) { // given back meanwhile
		free, err = now, nil
	}
	if err != nil {
		return err
	}
	l.refused.remember(now, s, free)
	return refusal(by, now, free)
}

func refusal(l Limit, now, free time.Time) error {
	wait := free.Sub(now)
	if wait > 100*365*24*time.Hour {
		wait = 0 // not a matter of time
	}
	return ErrLimited.After(wait).Because("limit %s", l.Name)
}

// Reset gives the uses of these limits back, in the transaction of the success that
// earns it. Another process may refuse for one more second.
func (l *Limiter) Reset(tx *database.Tx, tenant string, uses ...Use) {
	if len(uses) == 0 {
		return
	}
	subjects := make([]subject, len(uses))
	for i, u := range uses {
		subjects[i] = u.subject(tenant)
	}
	deleteCounts(tx, tenant, subjects)
	tx.OnCommit(func() {
		for _, s := range subjects {
			l.refused.forget(s)
		}
	})
}

// Sweep removes counts that no longer matter. Run it every hour or so.
func (l *Limiter) Sweep(ctx context.Context) error {
	return l.DB.Write(ctx, func(tx *database.Tx) error { return sweepCounts(ctx, tx) })
}
