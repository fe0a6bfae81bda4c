// Package mfa keeps second factors: authenticator apps, backup codes and browsers
// that are remembered, and says when one is asked for.
//
//	Policy.Decide            what a sign-in still lacks
//	Start, Confirm, Enroll   an authenticator app, in two steps
//	Guess, Redeem            count a try at a code and judge it, then use the code up
//	ReplaceBackupCodes       ten new ones; those of before are worth nothing
//	Remember, Remembers      a browser in which nobody is asked again for a while
//	StartRecovery, Recover   a link from an administrator to set up another factor
//
// Codes by mail and text message, and passkeys, belong to other packages: here they
// are names of factors (Factors) whose tries are counted (Count) and whose success is
// noted (Used).
//
// An attacker who knows a password would guess codes, in parallel and from many
// addresses: a try is counted per account and committed before it is judged, and
// neither another code nor another sign-in gives tries back. They would use a code
// that they have seen, at once or in the other window: one conditional UPDATE uses a
// step, or a backup code, up. With a copy of the database they would make codes
// themselves: secrets are sealed for their row, and backup codes are kept as MACs
// under a key that is not there. And they would carry the mark of a remembered
// browser to their own: it is good together with that browser's name only, and no
// longer than the password it was given for.
package mfa

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
)

// The kinds of factor, as the log and the sign-in have them.
const (
	TOTP       = "totp"        // authenticator app
	BackupCode = "backup_code" // one of ten on paper
	SMS        = "sms"         // code by text message, see package passwordless
	Email      = "email"       // code by mail, the same
	Passkey    = "passkey"     // see package passkey
)

// Problems of second factors.
var (
	ErrCode       = problem.New(problem.Invalid, "second_factor_invalid", "This code is not right, or was used already. Wait for the next one, or use another way.").In("code")
	ErrEnrollment = problem.New(problem.NotFound, "mfa_enrollment_not_found", "There is no authenticator to be confirmed. Begin again.")
	ErrNotFound   = problem.New(problem.NotFound, "mfa_factor_not_found", "There is no such factor.")
	ErrTooMany    = problem.New(problem.Conflict, "too_many_authenticators", "There are as many authenticator apps as an account can have. Remove one first.")
	ErrRecovery   = problem.New(problem.Invalid, "mfa_recovery_spent", "This link has expired or was already used. Ask whoever sent it for a new one.")
)

// A Service keeps second factors. Its fields are set once, before use.
type Service struct {
	DB *database.DB
	// Box returns the box of a tenant's secrets. It is never asked within a transaction.
	Box    func(ctx context.Context, tenant string) (*secret.Box, error)
	Limits *ratelimit.Limiter
}

// Enrolled is what a user has set up here.
type Enrolled struct {
	Authenticators int
	BackupCodes    int // that can still be used
}

// Enrolled returns what a user has set up.
func (s *Service) Enrolled(ctx context.Context, db database.Reader, tenant, user string) (Enrolled, error) {
	var e Enrolled
	var used int64
	err := db.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM authenticators WHERE tenant_id = $1 AND user_id = $2 AND confirmed_at IS NOT NULL),
			COALESCE((SELECT used FROM backup_codes WHERE tenant_id = $1 AND user_id = $2), -1)`, tenant, user).Scan(&e.Authenticators, &used)
	if err != nil {
		return Enrolled{}, fmt.Errorf("look up second factors: %w", err)
	}
	if used >= 0 {
		e.BackupCodes = setSize - bits.OnesCount64(uint64(used))
	}
	return e, nil
}

// Count counts a try at somebody's second factor, of whatever kind. Call it before the
// try is judged, outside of any transaction. It returns ratelimit.ErrLimited: then
// whatever waits for the second factor must begin again with the first (see the
// package comment of signin), or the wait would be all that a guesser pays.
func (s *Service) Count(ctx context.Context, by access.Actor, user string) error {
	return s.Limits.Take(ctx, by.Tenant, tries(user))
}

func tries(user string) ratelimit.Use { return ratelimit.SecondFactor.For(ratelimit.Key(user, "")) }

// Used notes that a second factor was proved, in the transaction of what it leads to,
// and gives the tries back.
func (s *Service) Used(tx *database.Tx, by access.Actor, user, factor string) error {
	s.Limits.Reset(tx, by.Tenant, tries(user))
	return audit.Append(tx, by, audit.Event{Action: "mfa.used", Target: "user", TargetID: user, Method: factor})
}

// Failed notes a try that failed, with the code of the problem as the reason; not one
// that was stopped, since whoever is could fill the log.
func (s *Service) Failed(ctx context.Context, by access.Actor, user, factor string, why error) error {
	p, ok := problem.From(why)
	if !ok || p.Is(ratelimit.ErrLimited) {
		return nil // or a fault of ours, which is no try of anybody's
	}
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		return audit.Append(tx, by, audit.Event{Action: "mfa.failed", Target: "user", TargetID: user, Result: audit.Failure, Reason: p.Code, Method: factor})
	})
}

// A Ticket is a try at a code that was counted and was right. It is good for Redeem
// only, once.
type Ticket struct {
	tenant, user, factor string

	id   string // of the authenticator
	step int64
	set  []byte // of backup codes
	bit  int64
}

// Factor is the kind of the code.
func (t Ticket) Factor() string { return t.factor }

// Guess counts a try at a code of a kind, TOTP or BackupCode, and then judges it. It
// has transactions of its own, so call it outside of any: a try counts whatever becomes
// of the rest. It returns ErrCode or ratelimit.ErrLimited. What can not be a code at
// all is refused without being counted.
func (s *Service) Guess(ctx context.Context, by access.Actor, user, factor, typed string) (Ticket, error) {
	t, err := s.guess(ctx, by, user, factor, typed)
	if err != nil {
		return Ticket{}, errors.Join(err, s.Failed(ctx, by, user, factor, err))
	}
	return t, nil
}

func (s *Service) guess(ctx context.Context, by access.Actor, user, factor, typed string) (Ticket, error) {
	t := Ticket{tenant: by.Tenant, user: user, factor: factor}
	code, ok := parseCode(factor, typed)
	if !ok {
		return t, ErrCode.Because("not the form of a code")
	}
	if err := s.Count(ctx, by, user); err != nil {
		return t, err
	}
	box, err := s.Box(ctx, by.Tenant)
	if err != nil {
		return t, err
	}
	if factor == BackupCode {
		return t, s.findBackupCode(ctx, box, &t, code)
	}
	return t, s.findStep(ctx, box, &t, code)
}

// Redeem uses up the code that was guessed. It returns ErrCode if that was done
// meanwhile.
func (s *Service) Redeem(ctx context.Context, tx *database.Tx, by access.Actor, t Ticket) error {
	if t.tenant == "" || t.tenant != by.Tenant {
		return ErrCode.Because("a ticket of another tenant")
	}
	if t.factor != BackupCode {
		if err := spendStep(ctx, tx, t); err != nil {
			return err
		}
		return s.Used(tx, by, t.user, t.factor)
	}
	left, err := spendBackupCode(ctx, tx, t)
	if err != nil {
		return err
	}
	err = audit.Append(tx, by, audit.Event{Action: "backup_codes.used", Target: "user", TargetID: t.user, Detail: map[string]any{"left": left}})
	if err != nil {
		return err
	}
	return s.Used(tx, by, t.user, t.factor)
}

// zeros are the zeros of digits that people type codes in: Latin, Arabic, Persian,
// Devanagari, and the full-width ones of Japanese keyboards.
var zeros = []rune{'0', '٠', '۰', '०', '０'}

// parseCode reads a code, however it is grouped.
func parseCode(factor, typed string) (code string, ok bool) {
	if len(typed) > 64 {
		return "", false
	}
	code = strings.Map(func(r rune) rune {
		for _, zero := range zeros {
			if r >= zero && r <= zero+9 {
				return r - zero + '0'
			}
		}
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r == '-' || r <= ' ' || r == '\u00a0' || r == '\u3000' || r >= '\u2000' && r <= '\u206f':
			return -1 // spaces, dashes, and marks of direction that come with a paste
		}
		return r
	}, typed)
	if factor == BackupCode {
		code = likeness.Replace(code)
		return code, len(code) == codeLength && strings.Trim(code, codeLetters) == ""
	}
	return code, len(code) == codeDigits && strings.Trim(code, "0123456789") == ""
}

// Remove takes an authenticator from a user. With the last one go the backup codes and
// the remembered browsers: they stand in for it. The caller has made sure that the user
// may, and tells them.
func (s *Service) Remove(ctx context.Context, tx *database.Tx, by access.Actor, user, id string) error {
	n, err := tx.Exec(ctx, "DELETE FROM authenticators WHERE tenant_id = $1 AND user_id = $2 AND id = $3 AND confirmed_at IS NOT NULL", by.Tenant, user, id)
	if err != nil {
		return fmt.Errorf("remove authenticator: %w", err)
	}
	if n == 0 {
		return ErrNotFound
	}
	left, err := s.Enrolled(ctx, tx, by.Tenant, user)
	if err == nil && left.Authenticators == 0 {
		err = s.removeRest(ctx, tx, by, user)
	}
	if err != nil {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "mfa.removed", Target: "user", TargetID: user, Method: TOTP, Detail: map[string]any{"authenticator": id, "left": left.Authenticators}})
}

func (s *Service) removeRest(ctx context.Context, tx *database.Tx, by access.Actor, user string) error {
	if _, err := tx.Exec(ctx, "DELETE FROM backup_codes WHERE tenant_id = $1 AND user_id = $2", by.Tenant, user); err != nil {
		return fmt.Errorf("remove backup codes: %w", err)
	}
	return s.ForgetAll(ctx, tx, by, user, "factor_removed")
}

// Rename changes what a user calls an authenticator. It returns ErrNotFound.
func (s *Service) Rename(ctx context.Context, tx *database.Tx, by access.Actor, user, id, name string) error {
	n, err := tx.Exec(ctx, "UPDATE authenticators SET name = $4 WHERE tenant_id = $1 AND user_id = $2 AND id = $3 AND confirmed_at IS NOT NULL", by.Tenant, user, id, cleanName(name))
	if err != nil {
		return fmt.Errorf("rename authenticator: %w", err)
	}
	if n == 0 {
		return ErrNotFound
	}
	return audit.Append(tx, by, audit.Event{Action: "mfa.renamed", Target: "user", TargetID: user, Method: TOTP, Detail: map[string]any{"authenticator": id}})
}

// RemoveSince takes from a user the authenticators that were confirmed, and the backup
// codes that were made, at a moment or later: by somebody who is not the user. Browsers
// that were remembered are forgotten. The reason is a word for the log.
func (s *Service) RemoveSince(ctx context.Context, tx *database.Tx, by access.Actor, user string, since time.Time, reason string) error {
	n, err := tx.Exec(ctx, "DELETE FROM authenticators WHERE tenant_id = $1 AND user_id = $2 AND confirmed_at >= $3", by.Tenant, user, since.UnixMilli())
	if err != nil {
		return fmt.Errorf("remove authenticators: %w", err)
	}
	// Whoever has the last authenticator goes without backup codes too.
	_, err = tx.Exec(ctx, `
		DELETE FROM backup_codes WHERE tenant_id = $1 AND user_id = $2 AND (created_at >= $3
		OR NOT EXISTS (SELECT 1 FROM authenticators WHERE tenant_id = $1 AND user_id = $2 AND confirmed_at IS NOT NULL))`, by.Tenant, user, since.UnixMilli())
	if err != nil {
		return fmt.Errorf("remove backup codes: %w", err)
	}
	if err := s.ForgetAll(ctx, tx, by, user, reason); err != nil || n == 0 {
		return err
	}
	return audit.Append(tx, by, audit.Event{Action: "mfa.removed", Target: "user", TargetID: user, Reason: reason, Detail: map[string]any{"authenticators": n}})
}

// Reset takes everything from a user that is kept here, tries and links to recover
// included, for an administrator. The caller has made sure that the actor may. It
// reports whether there was a factor.
func (s *Service) Reset(ctx context.Context, tx *database.Tx, by access.Actor, user, reason string) (bool, error) {
	n, err := tx.Exec(ctx, "DELETE FROM authenticators WHERE tenant_id = $1 AND user_id = $2", by.Tenant, user)
	if err != nil {
		return false, fmt.Errorf("remove authenticators: %w", err)
	}
	if err := s.removeRest(ctx, tx, by, user); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, "DELETE FROM factor_recoveries WHERE tenant_id = $1 AND user_id = $2", by.Tenant, user); err != nil {
		return false, fmt.Errorf("remove recovery: %w", err)
	}
	s.Limits.Reset(tx, by.Tenant, tries(user))
	return n > 0, audit.Append(tx, by, audit.Event{Action: "mfa.removed", Target: "user", TargetID: user, Reason: reason, Detail: map[string]any{"authenticators": n}})
}

// Sweep removes what is over, in portions. Run it every hour or so.
func (s *Service) Sweep(ctx context.Context) error {
	const portion = 1000
	for _, sweep := range []struct {
		stmt string
		age  time.Duration
	}{
		{`DELETE FROM authenticators WHERE (tenant_id, user_id, id) IN (SELECT tenant_id, user_id, id FROM authenticators WHERE confirmed_at IS NULL AND created_at < $1 ORDER BY created_at LIMIT $2)`, pendingLife},
		{`DELETE FROM remembered_devices WHERE (tenant_id, user_id, id) IN (SELECT tenant_id, user_id, id FROM remembered_devices WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, 0},
		{`DELETE FROM factor_recoveries WHERE (tenant_id, user_id) IN (SELECT tenant_id, user_id FROM factor_recoveries WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, 0},
	} {
		for n := int64(portion); n == portion; {
			err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
				n, err = tx.Exec(ctx, sweep.stmt, tx.Now.Add(-sweep.age).UnixMilli(), portion)
				return err
			})
			if err != nil {
				return fmt.Errorf("sweep second factors: %w", err)
			}
		}
	}
	return nil
}
