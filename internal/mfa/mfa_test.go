package mfa_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/user"
)

const (
	tenantID = "000000000000000000000001"
	other    = "000000000000000000000002"
)

// bench is the service with two users and a clock that is moved by hand.
type bench struct {
	*mfa.Service
	now      atomic.Int64
	by       access.Actor
	ann, bob string
}

func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		t.Helper()
		box, err := secret.NewBox(secret.NewBoxKey())
		if err != nil {
			t.Fatal(err)
		}
		boxes := func(context.Context, string) (*secret.Box, error) { return box, nil }
		b := &bench{by: access.Visitor(tenantID, "192.0.2.1"), Service: &mfa.Service{DB: db, Box: boxes, Limits: &ratelimit.Limiter{DB: db}}}
		b.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
		db.Now = func() time.Time { return time.UnixMilli(b.now.Load()) }
		users := &user.Service{DB: db, Box: boxes, Connection: func(string) string { return "" }}
		b.write(t, func(ctx context.Context, tx *database.Tx) error {
			for _, id := range []string{tenantID, other} {
				if _, err := tx.Exec(ctx, "INSERT INTO tenants (id, slug, name, kind, is_active, settings, data_key, created_at, modified_at) VALUES ($1, $1, $1, '', TRUE, '{}', $2, 0, 0)", id, []byte{0}); err != nil {
					return err
				}
			}
			for name, id := range map[string]*string{"ann": &b.ann, "bob": &b.bob} {
				u, err := users.Create(ctx, tx, access.System(tenantID), user.User{Username: name, IsActive: true})
				if err != nil {
					return err
				}
				*id = u.ID
			}
			return nil
		})
		test(t, b)
	})
}

func (b *bench) pass(d time.Duration) { b.now.Add(d.Milliseconds()) }

func (b *bench) write(t *testing.T, fn func(ctx context.Context, tx *database.Tx) error) {
	t.Helper()
	if err := b.tryWrite(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) tryWrite(ctx context.Context, fn func(ctx context.Context, tx *database.Tx) error) error {
	return b.DB.Write(ctx, func(tx *database.Tx) error { return fn(ctx, tx) })
}

// enroll sets up an authenticator and returns it. The clock then stands in a step
// whose code was not used.
func (b *bench) enroll(t *testing.T, id string) mfa.Enrollment {
	t.Helper()
	e, err := b.Start(t.Context(), b.by, id, "Phone")
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.Confirm(t.Context(), b.by, id, e.ID, b.code(e, 0))
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, func(ctx context.Context, tx *database.Tx) error { return b.Enroll(ctx, tx, b.by, c) })
	b.pass(time.Minute)
	return e
}

// code is what the app shows so much later than now.
func (b *bench) code(e mfa.Enrollment, later time.Duration) string {
	return mfa.Code(e.Key, b.DB.Now().Add(later))
}

func (b *bench) redeem(ctx context.Context, ticket mfa.Ticket) error {
	return b.tryWrite(ctx, func(ctx context.Context, tx *database.Tx) error { return b.Redeem(ctx, tx, b.by, ticket) })
}

// use is both steps.
func (b *bench) use(ctx context.Context, id, factor, code string) error {
	ticket, err := b.Guess(ctx, b.by, id, factor, code)
	if err != nil {
		return err
	}
	return b.redeem(ctx, ticket)
}

// codes makes backup codes for a user.
func (b *bench) codes(t *testing.T, id string) []string {
	t.Helper()
	set, err := b.MakeBackupCodes(t.Context(), tenantID, id)
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, func(ctx context.Context, tx *database.Tx) error { return b.ReplaceBackupCodes(ctx, tx, b.by, set) })
	return set.Codes
}

func (b *bench) enrolled(t *testing.T, id string) mfa.Enrolled {
	t.Helper()
	e, err := b.Enrolled(t.Context(), b.DB, tenantID, id)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// wrong is a code that is none of those around now.
func (b *bench) wrong(e mfa.Enrollment) string {
	for n := 0; ; n++ {
		code := fmt.Sprintf("%06d", n)
		if !slices.Contains([]string{b.code(e, -30*time.Second), b.code(e, 0), b.code(e, 30*time.Second)}, code) {
			return code
		}
	}
}

func want(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// RFC 6238, appendix B: the last six of its eight digits.
func TestCodesAreThoseOfTheStandard(t *testing.T) {
	key := []byte("12345678901234567890")
	for at, code := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		if got := mfa.Code(key, time.Unix(at, 0)); got != code {
			t.Errorf("at %d: %s, want %s", at, got, code)
		}
	}
	// RFC 4226, appendix D.
	for step, code := range []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"} {
		if got := mfa.Code(key, time.Unix(int64(step)*30, 0)); got != code {
			t.Errorf("step %d: %s, want %s", step, got, code)
		}
	}
}

func TestEnrollmentAsAppsReadIt(t *testing.T) {
	e := mfa.Enrollment{Key: []byte("12345678901234567890")}
	if want := "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ"; e.Grouped() != want {
		t.Errorf("typed %q, want %q", e.Grouped(), want)
	}
	text := e.URI("Acme: Ünï & Co", "ann+x@example.com")
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Acme  Ünï & Co:ann+x@example.com" {
		t.Errorf("%s: %+v, %v", text, u, err)
	}
	wanted := url.Values{"secret": {"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}, "issuer": {"Acme  Ünï & Co"}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {"30"}}
	if diff := cmp.Diff(wanted, u.Query()); diff != "" || strings.Contains(u.RawQuery, "+") {
		t.Errorf("%s: %s", text, diff)
	}
}

func TestQRCode(t *testing.T) {
	picture, err := mfa.PNG("otpauth://totp/x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(picture)); err != nil {
		t.Error(err)
	}
	path, size, err := mfa.Path("otpauth://totp/x")
	if err != nil || size != 21+4+8 || !strings.HasPrefix(path, "M4 4h7v1h-7z") { // the finder in the corner
		t.Errorf("%s, %d, %v", path, size, err)
	}
	if _, err := mfa.PNG(strings.Repeat("x", 2000)); err == nil {
		t.Error("a code that nobody can read was made")
	}
}

func TestSkew(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enroll(t, b.ann)
		b.pass(time.Duration(30-b.DB.Now().Unix()%30) * time.Second) // to the beginning of a step
		for later, good := range map[time.Duration]bool{-31 * time.Second: false, -time.Second: true, 0: true, 59 * time.Second: true, 60 * time.Second: false} {
			_, err := b.Guess(t.Context(), b.by, b.ann, mfa.TOTP, b.code(e, later))
			if (err == nil) != good {
				t.Errorf("code of %s: %v", later, err)
			}
		}
	})
}

func TestStepIsUsedOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enroll(t, b.ann)
		code := b.code(e, 0)
		if err := b.use(t.Context(), b.ann, mfa.TOTP, code[:3]+" "+code[3:]); err != nil {
			t.Fatal(err)
		}
		want(t, b.use(t.Context(), b.ann, mfa.TOTP, code), mfa.ErrCode)
		want(t, b.use(t.Context(), b.ann, mfa.TOTP, b.code(e, -30*time.Second)), mfa.ErrCode) // an earlier one neither
		b.pass(30 * time.Second)
		want(t, b.use(t.Context(), b.ann, mfa.TOTP, code), mfa.ErrCode)
		if err := b.use(t.Context(), b.ann, mfa.TOTP, b.code(e, 0)); err != nil {
			t.Errorf("the next one: %v", err)
		}
	})
}

func TestCodeOfTheEnrollmentIsUsedUp(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enroll(t, b.ann)
		want(t, b.use(t.Context(), b.ann, mfa.TOTP, b.code(e, -time.Minute)), mfa.ErrCode)
	})
}

func TestStepIsUsedOnceForAllAuthenticators(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		first, second := b.enroll(t, b.ann), b.enroll(t, b.ann)
		if err := b.use(t.Context(), b.ann, mfa.TOTP, b.code(first, 0)); err != nil {
			t.Fatal(err)
		}
		want(t, b.use(t.Context(), b.ann, mfa.TOTP, b.code(second, 0)), mfa.ErrCode)
		b.pass(30 * time.Second)
		if err := b.use(t.Context(), b.ann, mfa.TOTP, b.code(second, 0)); err != nil {
			t.Fatal(err)
		}
	})
}

// together runs fn n times at once and returns how often it did not fail.
func together(t *testing.T, n int, fn func(i int) error, allowed ...error) (good int) {
	t.Helper()
	var wg sync.WaitGroup
	var won atomic.Int64
	for i := range n {
		wg.Go(func() {
			err := fn(i)
			switch {
			case err == nil:
				won.Add(1)
			case !slices.ContainsFunc(allowed, func(e error) bool { return errors.Is(err, e) }):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return int(won.Load())
}

func TestRaceForAStepHasOneWinner(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enroll(t, b.ann)
		ticket, err := b.Guess(t.Context(), b.by, b.ann, mfa.TOTP, b.code(e, 0))
		if err != nil {
			t.Fatal(err)
		}
		if won := together(t, 100, func(int) error { return b.redeem(t.Context(), ticket) }, mfa.ErrCode); won != 1 {
			t.Errorf("%d of 100 went on with one code", won)
		}
	})
}

func TestRaceForABackupCodeHasOneWinner(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		codes := b.codes(t, b.ann)
		ticket, err := b.Guess(t.Context(), b.by, b.ann, mfa.BackupCode, codes[3])
		if err != nil {
			t.Fatal(err)
		}
		if won := together(t, 100, func(int) error { return b.redeem(t.Context(), ticket) }, mfa.ErrCode); won != 1 {
			t.Errorf("%d of 100 went on with one code", won)
		}
		if left := b.enrolled(t, b.ann).BackupCodes; left != 9 {
			t.Errorf("%d are left", left)
		}
	})
}

func TestBackupCodes(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		codes := b.codes(t, b.ann)
		for _, code := range codes {
			if !mfa.IsBackupCode(code) || strings.ContainsAny(code, "OIL") {
				t.Errorf("%q", code)
			}
		}
		slices.Sort(codes)
		if len(slices.Compact(codes)) != 10 {
			t.Error("there are not ten codes")
		}
		sloppy := strings.NewReplacer("0", "o", "1", "l", "-", " ").Replace(strings.ToLower(codes[0]))
		if err := b.use(t.Context(), b.ann, mfa.BackupCode, sloppy); err != nil {
			t.Errorf("typed as %q: %v", sloppy, err)
		}
		want(t, b.use(t.Context(), b.ann, mfa.BackupCode, codes[0]), mfa.ErrCode)
		want(t, b.use(t.Context(), b.bob, mfa.BackupCode, codes[1]), mfa.ErrCode)
		if left := b.enrolled(t, b.ann).BackupCodes; left != 9 {
			t.Errorf("%d are left", left)
		}
		late, err := b.Guess(t.Context(), b.by, b.ann, mfa.BackupCode, codes[2])
		if err != nil {
			t.Fatal(err)
		}
		newer := b.codes(t, b.ann)
		want(t, b.redeem(t.Context(), late), mfa.ErrCode) // guessed before, redeemed after
		want(t, b.use(t.Context(), b.ann, mfa.BackupCode, codes[1]), mfa.ErrCode)
		if err := b.use(t.Context(), b.ann, mfa.BackupCode, newer[0]); err != nil {
			t.Error(err)
		}
	})
}

func TestNewBackupCodesAtOnceLeaveOneSet(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		sets := make([]mfa.BackupCodes, 8)
		for i := range sets {
			var err error
			if sets[i], err = b.MakeBackupCodes(t.Context(), tenantID, b.ann); err != nil {
				t.Fatal(err)
			}
		}
		together(t, len(sets), func(i int) error {
			return b.tryWrite(t.Context(), func(ctx context.Context, tx *database.Tx) error { return b.ReplaceBackupCodes(ctx, tx, b.by, sets[i]) })
		})
		good := 0
		for _, set := range sets {
			if b.use(t.Context(), b.ann, mfa.BackupCode, set.Codes[0]) == nil {
				good++
			}
		}
		if good != 1 {
			t.Errorf("%d sets are good", good)
		}
	})
}

// C6 96 and 97: however many guess at once, the limit is what is evaluated.
func TestGuessingIsLimited(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enroll(t, b.ann)
		wrong := b.wrong(e)
		var limited atomic.Int64
		together(t, 1000, func(i int) error {
			by := b.by
			by.IP = fmt.Sprintf("2001:db8:%x::1", i)
			_, err := b.Guess(t.Context(), by, b.ann, mfa.TOTP, wrong)
			if errors.Is(err, ratelimit.ErrLimited) {
				limited.Add(1)
			}
			return err
		}, mfa.ErrCode, ratelimit.ErrLimited)
		if judged := 1000 - limited.Load(); judged > ratelimit.SecondFactor.Count {
			t.Errorf("%d were judged", judged)
		}
		_, err := b.Guess(t.Context(), b.by, b.ann, mfa.TOTP, b.code(e, 0))
		want(t, err, ratelimit.ErrLimited) // the right one neither
		b.codes(t, b.ann)
		_, err = b.Guess(t.Context(), b.by, b.ann, mfa.BackupCode, "0000-0000-00000")
		want(t, err, ratelimit.ErrLimited) // one count for all of them
		e2 := b.enroll(t, b.bob)
		if err := b.use(t.Context(), b.bob, mfa.TOTP, b.code(e2, 0)); err != nil {
			t.Errorf("another user: %v", err)
		}
	})
}

func TestSuccessGivesTheTriesBack(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enroll(t, b.ann)
		for round := range 3 {
			for range ratelimit.SecondFactor.Count - 1 {
				want(t, b.use(t.Context(), b.ann, mfa.TOTP, b.wrong(e)), mfa.ErrCode)
			}
			if err := b.use(t.Context(), b.ann, mfa.TOTP, b.code(e, 0)); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			b.pass(30 * time.Second)
		}
	})
}

func TestTicketIsGoodForItsTenantOnly(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enroll(t, b.ann)
		ticket, err := b.Guess(t.Context(), b.by, b.ann, mfa.TOTP, b.code(e, 0))
		if err != nil {
			t.Fatal(err)
		}
		want(t, b.tryWrite(t.Context(), func(ctx context.Context, tx *database.Tx) error {
			return b.Redeem(ctx, tx, access.Visitor(other, ""), ticket)
		}), mfa.ErrCode)
		want(t, b.redeem(t.Context(), mfa.Ticket{}), mfa.ErrCode)
	})
}

func TestEnrollRefuses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e, err := b.Start(t.Context(), b.by, b.ann, "\u202eevil\x00name"+strings.Repeat("x", 200))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := b.Pending(t.Context(), tenantID, b.ann, ""); err != nil || got.ID != e.ID || !bytes.Equal(got.Key, e.Key) || len(got.Name) > 60 || strings.ContainsAny(got.Name, "\u202e\x00") {
			t.Errorf("pending %+v, %v", got, err)
		}
		t.Run("a wrong code", func(t *testing.T) {
			_, err := b.Confirm(t.Context(), b.by, b.ann, e.ID, b.wrong(e))
			want(t, err, mfa.ErrCode)
		})
		t.Run("another user's", func(t *testing.T) {
			_, err := b.Confirm(t.Context(), b.by, b.bob, e.ID, b.code(e, 0))
			want(t, err, mfa.ErrEnrollment)
		})
		t.Run("to sign in with one that waits", func(t *testing.T) {
			want(t, b.use(t.Context(), b.ann, mfa.TOTP, b.code(e, 0)), mfa.ErrCode)
		})
		t.Run("one that was begun again", func(t *testing.T) {
			c, err := b.Confirm(t.Context(), b.by, b.ann, e.ID, b.code(e, 0))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Start(t.Context(), b.by, b.ann, ""); err != nil {
				t.Fatal(err)
			}
			want(t, b.tryWrite(t.Context(), func(ctx context.Context, tx *database.Tx) error { return b.Enroll(ctx, tx, b.by, c) }), mfa.ErrEnrollment)
		})
		t.Run("one that waited too long", func(t *testing.T) {
			b.pass(time.Hour)
			_, err := b.Confirm(t.Context(), b.by, b.ann, "", b.code(e, 0))
			want(t, err, mfa.ErrEnrollment)
		})
		t.Run("an eleventh", func(t *testing.T) {
			for range 10 {
				b.enroll(t, b.ann)
			}
			_, err := b.Start(t.Context(), b.by, b.ann, "")
			want(t, err, mfa.ErrTooMany)
		})
	})
}

// S9: who has a copy of the database makes no codes.
func TestCopyOfTheDatabaseMakesNoCodes(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enroll(t, b.ann)
		bob := b.enroll(t, b.bob)
		codes := b.codes(t, b.ann)
		var sealed, macs []byte
		if err := b.DB.QueryRow(t.Context(), "SELECT sealed FROM authenticators WHERE tenant_id = $1 AND user_id = $2", tenantID, b.ann).Scan(&sealed); err != nil {
			t.Fatal(err)
		}
		if err := b.DB.QueryRow(t.Context(), "SELECT macs FROM backup_codes WHERE tenant_id = $1 AND user_id = $2", tenantID, b.ann).Scan(&macs); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(sealed, e.Key) || bytes.Contains(macs, []byte(strings.ReplaceAll(codes[0], "-", ""))) {
			t.Error("what is stored can be read")
		}
		plain := strings.ReplaceAll(codes[0], "-", "")
		if bytes.Contains(macs, secret.Hash(plain)[:16]) || bytes.Contains(macs, secret.Hash(codes[0])[:16]) {
			t.Error("a code is kept as a hash that anybody can make")
		}
		// Nor does one who can write make Bob's secret Ann's.
		b.write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := tx.Exec(ctx, "UPDATE authenticators SET sealed = (SELECT sealed FROM authenticators WHERE tenant_id = $1 AND user_id = $3) WHERE tenant_id = $1 AND user_id = $2", tenantID, b.ann, b.bob)
			return err
		})
		if err := b.use(t.Context(), b.ann, mfa.TOTP, b.code(bob, 0)); !errors.Is(err, secret.ErrSealed) {
			t.Errorf("a secret moved to another row: %v", err)
		}
	})
}

func TestRemove(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		first, second := b.enroll(t, b.ann), b.enroll(t, b.ann)
		b.codes(t, b.ann)
		remove := func(who, id string) error {
			return b.tryWrite(t.Context(), func(ctx context.Context, tx *database.Tx) error { return b.Remove(ctx, tx, b.by, who, id) })
		}
		want(t, remove(b.bob, first.ID), mfa.ErrNotFound)
		if err := remove(b.ann, first.ID); err != nil {
			t.Fatal(err)
		}
		want(t, b.use(t.Context(), b.ann, mfa.TOTP, b.code(first, 0)), mfa.ErrCode)
		if got := b.enrolled(t, b.ann); got != (mfa.Enrolled{Authenticators: 1, BackupCodes: 10}) {
			t.Errorf("left %+v", got)
		}
		if err := remove(b.ann, second.ID); err != nil {
			t.Fatal(err)
		}
		if got := b.enrolled(t, b.ann); got != (mfa.Enrolled{}) {
			t.Errorf("left %+v", got)
		}
	})
}

var browser = secret.Hash("browser")

func (b *bench) remember(t *testing.T, id string) (token string) {
	t.Helper()
	b.write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		token, err = b.Remember(ctx, tx, b.by, id, browser, session.From{IP: "192.0.2.1", Client: "Firefox"})
		return err
	})
	return token
}

func (b *bench) knows(t *testing.T, id string, name []byte, tokens ...string) bool {
	t.Helper()
	ok, err := b.Remembers(t.Context(), b.DB, tenantID, id, name, tokens)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// C6 102.
func TestRememberedDevice(t *testing.T) {
	setPassword := func(t *testing.T, b *bench, hash string) {
		t.Helper()
		b.write(t, func(ctx context.Context, tx *database.Tx) error {
			return password.Set(ctx, tx, access.System(tenantID), b.ann, hash, false)
		})
	}
	for name, forget := range map[string]func(t *testing.T, b *bench){
		"after a while":                  func(_ *testing.T, b *bench) { b.pass(mfa.DeviceLife) },
		"after a change of the password": func(t *testing.T, b *bench) { b.pass(time.Second); setPassword(t, b, "another") },
		"by an administrator": func(t *testing.T, b *bench) {
			b.write(t, func(ctx context.Context, tx *database.Tx) error {
				_, err := b.Reset(ctx, tx, b.by, b.ann, "administrator")
				return err
			})
		},
		"with the last authenticator": func(t *testing.T, b *bench) {
			b.write(t, func(ctx context.Context, tx *database.Tx) error {
				list, err := b.Authenticators(ctx, tx, tenantID, b.ann)
				return errors.Join(err, b.Remove(ctx, tx, b.by, b.ann, list[0].ID))
			})
		},
		"by being told to, from the list": func(t *testing.T, b *bench) {
			b.write(t, func(ctx context.Context, tx *database.Tx) error {
				list, err := b.Devices(ctx, tx, tenantID, b.ann)
				return errors.Join(err, b.Forget(ctx, tx, b.by, b.ann, list[0].ID))
			})
		},
		"when the browser is noted again": func(t *testing.T, b *bench) { b.remember(t, b.ann) },
		"when twenty others have come since": func(t *testing.T, b *bench) {
			for i := range 20 {
				b.pass(time.Second)
				b.write(t, func(ctx context.Context, tx *database.Tx) error {
					_, err := b.Remember(ctx, tx, b.by, b.ann, secret.Hash(fmt.Sprint(i)), session.From{})
					return err
				})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.enroll(t, b.ann)
				setPassword(t, b, "one")
				token := b.remember(t, b.ann)
				if !b.knows(t, b.ann, browser, "AAAA", token) {
					t.Fatal("it is not known at all")
				}
				if b.knows(t, b.bob, browser, token) || b.knows(t, b.ann, secret.Hash("another browser"), token) || b.knows(t, b.ann, browser) || b.knows(t, b.ann, browser, "") {
					t.Error("it is known to others")
				}
				forget(t, b)
				if b.knows(t, b.ann, browser, token) {
					t.Error("it is still known")
				}
			})
		})
	}
}

func TestDeviceOutlivesAnUpgradedHash(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.write(t, func(ctx context.Context, tx *database.Tx) error {
			return password.Set(ctx, tx, access.System(tenantID), b.ann, "old", false)
		})
		token := b.remember(t, b.ann)
		b.pass(time.Hour)
		b.write(t, func(ctx context.Context, tx *database.Tx) error {
			return password.Upgrade(ctx, tx, access.System(tenantID), b.ann, "old", "new")
		})
		if !b.knows(t, b.ann, browser, token) {
			t.Error("it is forgotten, though the password is the same")
		}
	})
}

func TestRecovery(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		lost := b.enroll(t, b.ann)
		b.codes(t, b.ann)
		start := func() (token string) {
			b.write(t, func(ctx context.Context, tx *database.Tx) (err error) {
				token, err = b.StartRecovery(ctx, tx, b.by, b.ann)
				return err
			})
			return token
		}
		recover := func(who, token string) error {
			return b.tryWrite(t.Context(), func(ctx context.Context, tx *database.Tx) error {
				return b.Recover(ctx, tx, b.by, who, secret.Hash(token))
			})
		}
		first := start()
		token := start()
		for range 3 {
			if who, err := b.PeekRecovery(t.Context(), b.DB, tenantID, token); err != nil || who != b.ann {
				t.Fatalf("for %s, %v", who, err)
			}
		}
		want(t, recover(b.ann, first), mfa.ErrRecovery)
		want(t, recover(b.bob, token), mfa.ErrRecovery)
		if err := b.use(t.Context(), b.ann, mfa.TOTP, b.code(lost, 0)); err != nil {
			t.Errorf("the factor is good until the link is used: %v", err)
		}
		if won := together(t, 20, func(int) error { return recover(b.ann, token) }, mfa.ErrRecovery); won != 1 {
			t.Errorf("%d used the link", won)
		}
		if got := b.enrolled(t, b.ann); got != (mfa.Enrolled{}) {
			t.Errorf("left %+v", got)
		}
		late := start()
		b.pass(mfa.RecoveryLife)
		want(t, recover(b.ann, late), mfa.ErrRecovery)
	})
}

func TestLogTellsWhatWasDone(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		e := b.enroll(t, b.ann)
		codes := b.codes(t, b.ann)
		for _, err := range []error{b.use(t.Context(), b.ann, mfa.TOTP, b.code(e, 0)), b.use(t.Context(), b.ann, mfa.BackupCode, codes[0])} {
			if err != nil {
				t.Fatal(err)
			}
		}
		want(t, b.use(t.Context(), b.ann, mfa.TOTP, b.wrong(e)), mfa.ErrCode)
		b.remember(t, b.ann)
		b.write(t, func(ctx context.Context, tx *database.Tx) error { return b.Remove(ctx, tx, b.by, b.ann, e.ID) })
		list, err := audit.List(t.Context(), b.DB, tenantID, audit.Filter{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range list {
			if l.Target == "user" && l.TargetID == b.ann {
				got = append(got, l.Action+" "+l.Method+" "+l.Result+" "+l.Reason)
			}
			if text := fmt.Sprint(l); strings.Contains(text, codes[0]) || strings.Contains(text, e.Secret()) {
				t.Errorf("a secret stands in the log: %s", text)
			}
		}
		wanted := []string{
			"user.created  success ", "mfa.enrolled totp success ", "backup_codes.created  success ", "mfa.used totp success ", "backup_codes.used  success ", "mfa.used backup_code success ",
			"mfa.failed totp failure second_factor_invalid", "device.remembered  success ", "device.forgotten  success factor_removed", "mfa.removed totp success ",
		}
		slices.Sort(got) // the clock stands still
		slices.Sort(wanted)
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("(-want +got) %s", diff)
		}
	})
}

func TestSweep(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		kept := b.enroll(t, b.bob)
		if _, err := b.Start(t.Context(), b.by, b.ann, ""); err != nil {
			t.Fatal(err)
		}
		b.remember(t, b.ann)
		b.write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := b.StartRecovery(ctx, tx, b.by, b.ann)
			return err
		})
		b.pass(mfa.DeviceLife + time.Second)
		if err := b.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		for table, want := range map[string]int{"authenticators": 1, "remembered_devices": 0, "factor_recoveries": 0} {
			var n int
			if err := b.DB.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil || n != want {
				t.Errorf("%s: %d, %v", table, n, err)
			}
		}
		if err := b.use(t.Context(), b.bob, mfa.TOTP, b.code(kept, 0)); err != nil {
			t.Error(err)
		}
	})
}
