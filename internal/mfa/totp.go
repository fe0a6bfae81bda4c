package mfa

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

// Codes of authenticator apps: RFC 6238 with the parameters that every app knows.
const (
	codeDigits = 6
	stepLength = 30 // seconds
	skew       = 1  // steps either side, for clocks that are not right
	keySize    = 20 // bytes, the length of the hash (RFC 4226, section 4, R6)
)

const (
	// pendingLife is how long somebody may take to confirm an authenticator.
	pendingLife = time.Hour
	// maxAuthenticators is how many a user can have.
	maxAuthenticators = 10
	maxName           = 60 // characters
)

// Code is what an authenticator app with this key shows at a moment.
func Code(key []byte, at time.Time) string { return codeOf(key, stepAt(at)) }

func stepAt(t time.Time) int64 { return t.Unix() / stepLength }

// codeOf is HOTP (RFC 4226, section 5.3). What is known against SHA-1 does not touch
// HMAC, and apps do not know another hash.
func codeOf(key []byte, step int64) string {
	h := hmac.New(sha1.New, key)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := h.Sum(nil)
	n := binary.BigEndian.Uint32(sum[sum[len(sum)-1]&0xf:]) & 0x7fffffff
	return fmt.Sprintf("%06d", n%1_000_000)
}

// matchStep returns the step around a moment whose code this is. It always looks at
// all of them, and takes the latest, so that the code can not be used in a later one.
func matchStep(key []byte, code string, at time.Time) (step int64, ok bool) {
	now := stepAt(at)
	for candidate := now - skew; candidate <= now+skew; candidate++ {
		if subtle.ConstantTimeCompare([]byte(codeOf(key, candidate)), []byte(code)) == 1 {
			step, ok = candidate, true
		}
	}
	return step, ok
}

// An Authenticator is an app that makes codes for a user.
type Authenticator struct {
	ID        string
	Name      string // may be empty
	CreatedAt time.Time
	UsedAt    time.Time // zero if it was not since it was confirmed
}

// Authenticators lists those of a user that were confirmed, the oldest first.
func (s *Service) Authenticators(ctx context.Context, db database.Reader, tenant, user string) ([]Authenticator, error) {
	rows, err := db.Query(ctx, `
		SELECT id, name, created_at, used_at FROM authenticators
		WHERE tenant_id = $1 AND user_id = $2 AND confirmed_at IS NOT NULL ORDER BY id`, tenant, user)
	return database.Collect(rows, err, "list authenticators", func(row database.Scanner) (a Authenticator, err error) {
		var created int64
		var used *int64
		err = row.Scan(&a.ID, &a.Name, &created, &used)
		a.CreatedAt = time.UnixMilli(created).UTC()
		if used != nil {
			a.UsedAt = time.UnixMilli(*used).UTC()
		}
		return a, err
	})
}

// findStep finds the authenticator whose code this is.
func (s *Service) findStep(ctx context.Context, box *secret.Box, t *Ticket, code string) error {
	rows, err := s.DB.Query(ctx, "SELECT id, sealed FROM authenticators WHERE tenant_id = $1 AND user_id = $2 AND confirmed_at IS NOT NULL", t.tenant, t.user)
	type row struct {
		id     string
		sealed []byte
	}
	found, err := database.Collect(rows, err, "read authenticators", func(sc database.Scanner) (r row, err error) {
		err = sc.Scan(&r.id, &r.sealed)
		return r, err
	})
	if err != nil {
		return err
	}
	for _, r := range found {
		key, err := box.Open(place(t.user, r.id), r.sealed)
		if err != nil {
			return fmt.Errorf("authenticator %s: %w", r.id, err)
		}
		if step, ok := matchStep(key, code, s.DB.Now()); ok {
			t.id, t.step = r.id, step
		}
	}
	if t.id == "" {
		return ErrCode
	}
	return nil
}

// place is where a secret is kept, for its seal.
func place(user, id string) string { return "users/" + user + "/authenticators/" + id }

// spendStep uses a step up, for all of the user's authenticators: a code is worth
// nothing to whoever saw it being typed, or types it at the same moment.
func spendStep(ctx context.Context, tx *database.Tx, t Ticket) error {
	rows, err := tx.Query(ctx, `
		UPDATE authenticators SET last_step = $4, used_at = CASE WHEN id = $3 THEN $5 ELSE used_at END
		WHERE tenant_id = $1 AND user_id = $2 AND confirmed_at IS NOT NULL AND last_step < $4
		RETURNING id`, t.tenant, t.user, t.id, t.step, tx.Millis())
	spent, err := database.Collect(rows, err, "use code", func(row database.Scanner) (id string, err error) {
		err = row.Scan(&id)
		return id, err
	})
	if err != nil {
		return err
	}
	if !slices.Contains(spent, t.id) {
		return ErrCode.Because("used already, or the authenticator is gone")
	}
	return nil
}

// An Enrollment is an authenticator that waits for its first code.
type Enrollment struct {
	ID   string
	Name string
	Key  []byte // 160 bits; whoever has it makes codes
}

var base32Text = base32.StdEncoding.WithPadding(base32.NoPadding)

// Secret is the key as apps take it.
func (e Enrollment) Secret() string { return base32Text.EncodeToString(e.Key) }

// Grouped is the key for a person to type.
func (e Enrollment) Grouped() string {
	var groups []string
	for group := range slices.Chunk([]byte(e.Secret()), 4) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, " ")
}

// URI is the key as apps read it from a QR code:
// https://github.com/google/google-authenticator/wiki/Key-Uri-Format.
func (e Enrollment) URI(issuer, account string) string {
	plain := strings.NewReplacer(":", " ").Replace // it parts the two names
	issuer, account = plain(issuer), plain(account)
	query := url.Values{"secret": {e.Secret()}, "issuer": {issuer}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {"30"}}
	u := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + issuer + ":" + account, RawQuery: strings.ReplaceAll(query.Encode(), "+", "%20")}
	return u.String()
}

// Start makes the key of an authenticator for a user. It counts for nothing until a
// code of it was confirmed. There is one at a time: whatever was begun before is void,
// and the key is always new, so that nobody confirms one that somebody else has begun
// and knows. It has a transaction of its own. It returns ErrTooMany.
func (s *Service) Start(ctx context.Context, by access.Actor, user, name string) (Enrollment, error) {
	box, err := s.Box(ctx, by.Tenant)
	if err != nil {
		return Enrollment{}, err
	}
	e := Enrollment{Name: cleanName(name), Key: make([]byte, keySize)}
	rand.Read(e.Key)
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		has, err := s.Enrolled(ctx, tx, by.Tenant, user)
		if err == nil && has.Authenticators >= maxAuthenticators {
			err = ErrTooMany
		}
		if err != nil {
			return err
		}
		e.ID = tx.NewID()
		return insertPending(ctx, tx, by.Tenant, user, e, box.Seal(place(user, e.ID), e.Key))
	})
	if err != nil {
		return Enrollment{}, err
	}
	return e, nil
}

func insertPending(ctx context.Context, tx *database.Tx, tenant, user string, e Enrollment, sealed []byte) error {
	if _, err := tx.Exec(ctx, "DELETE FROM authenticators WHERE tenant_id = $1 AND user_id = $2 AND confirmed_at IS NULL", tenant, user); err != nil {
		return fmt.Errorf("replace authenticator: %w", err)
	}
	_, err := tx.Exec(ctx, "INSERT INTO authenticators (tenant_id, user_id, id, name, sealed, last_step, created_at) VALUES ($1, $2, $3, $4, $5, 0, $6)",
		tenant, user, e.ID, e.Name, sealed, tx.Millis())
	if database.IsMissingParent(err) {
		return ErrEnrollment.Because("the user is gone")
	}
	if err != nil {
		return fmt.Errorf("insert authenticator: %w", err)
	}
	return nil
}

// cleanName makes what somebody calls an authenticator fit to be shown.
func cleanName(name string) string {
	var out []rune
	for _, r := range strings.ToValidUTF8(name, "") {
		if unicode.IsPrint(r) && len(out) < maxName {
			out = append(out, r)
		}
	}
	return strings.TrimSpace(string(out))
}

// Pending returns an authenticator that waits to be confirmed, or ErrEnrollment. An
// empty id stands for the one there is. The key is shown as long as it waits, and never
// after.
func (s *Service) Pending(ctx context.Context, tenant, user, id string) (Enrollment, error) {
	box, err := s.Box(ctx, tenant)
	if err != nil {
		return Enrollment{}, err
	}
	rows, err := s.DB.Query(ctx, `
		SELECT id, name, sealed FROM authenticators
		WHERE tenant_id = $1 AND user_id = $2 AND (id = $3 OR $3 = '') AND confirmed_at IS NULL AND created_at > $4
		ORDER BY id DESC LIMIT 1`, tenant, user, id, s.DB.Now().Add(-pendingLife).UnixMilli())
	found, err := database.Collect(rows, err, "find authenticator", func(row database.Scanner) (e Enrollment, err error) {
		err = row.Scan(&e.ID, &e.Name, &e.Key)
		return e, err
	})
	if err != nil {
		return Enrollment{}, err
	}
	if len(found) == 0 {
		return Enrollment{}, ErrEnrollment
	}
	e := found[0]
	if e.Key, err = box.Open(place(user, e.ID), e.Key); err != nil {
		return Enrollment{}, fmt.Errorf("authenticator %s: %w", e.ID, err)
	}
	return e, nil
}

// A Confirmation is an authenticator whose first code was right. It is good for Enroll
// only.
type Confirmation struct {
	tenant, user, id string
	step             int64
}

// Confirm judges the first code of an authenticator that waits. There is nothing to be
// guessed: whoever may see it has its key. It returns ErrEnrollment or ErrCode.
func (s *Service) Confirm(ctx context.Context, by access.Actor, user, id, typed string) (Confirmation, error) {
	e, err := s.Pending(ctx, by.Tenant, user, id)
	if err != nil {
		return Confirmation{}, err
	}
	code, ok := parseCode(TOTP, typed)
	if !ok {
		return Confirmation{}, ErrCode.Because("not the form of a code")
	}
	step, ok := matchStep(e.Key, code, s.DB.Now())
	if !ok {
		return Confirmation{}, ErrCode
	}
	return Confirmation{by.Tenant, user, e.ID, step}, nil
}

// Enroll makes an authenticator that was confirmed one of the user's factors. The code
// it was confirmed with is used up. The caller has made sure that the user may, and
// tells them. It returns ErrEnrollment if another one has taken its place.
func (s *Service) Enroll(ctx context.Context, tx *database.Tx, by access.Actor, c Confirmation) error {
	if c.tenant == "" || c.tenant != by.Tenant {
		return ErrEnrollment.Because("of another tenant")
	}
	n, err := tx.Exec(ctx, `
		UPDATE authenticators SET confirmed_at = $4, last_step = $5
		WHERE tenant_id = $1 AND user_id = $2 AND id = $3 AND confirmed_at IS NULL AND created_at > $6`,
		c.tenant, c.user, c.id, tx.Millis(), c.step, tx.Now.Add(-pendingLife).UnixMilli())
	if err != nil {
		return fmt.Errorf("confirm authenticator: %w", err)
	}
	if n == 0 {
		return ErrEnrollment
	}
	return audit.Append(tx, by, audit.Event{Action: "mfa.enrolled", Target: "user", TargetID: c.user, Method: TOTP, Detail: map[string]any{"authenticator": c.id}})
}
