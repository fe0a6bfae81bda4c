package ratelimit_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
)

const tenant = "000000000000000000000001"

// bench is a limiter on a database with a movable clock.
type bench struct {
	*ratelimit.Limiter
	now atomic.Int64
}

func newBench(db *database.DB) *bench {
	b := &bench{Limiter: &ratelimit.Limiter{DB: db}}
	b.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
	db.Now = func() time.Time { return time.UnixMilli(b.now.Load()) }
	return b
}

func (b *bench) pass(d time.Duration) { b.now.Add(d.Milliseconds()) }

// passes reports whether the uses are allowed. Anything but a refusal fails t.
func (b *bench) passes(t *testing.T, uses ...ratelimit.Use) bool {
	t.Helper()
	err := b.Take(t.Context(), tenant, uses...)
	if err != nil && !errors.Is(err, ratelimit.ErrLimited) {
		t.Fatal(err)
	}
	return err == nil
}

// wait returns how long the refusal of the uses says to wait.
func (b *bench) wait(t *testing.T, uses ...ratelimit.Use) time.Duration {
	t.Helper()
	p, ok := problem.From(b.Take(t.Context(), tenant, uses...))
	if !ok || p.Kind != problem.TooMany || p.Code != "rate_limited" {
		t.Fatalf("got %+v, want a refusal", p)
	}
	return p.RetryAfter
}

func (b *bench) reset(t *testing.T, uses ...ratelimit.Use) {
	t.Helper()
	err := b.DB.Write(t.Context(), func(tx *database.Tx) error { b.Reset(tx, tenant, uses...); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

// count returns how many of n uses in a row pass.
func (b *bench) count(t *testing.T, n int, uses ...ratelimit.Use) (passed int) {
	t.Helper()
	for range n {
		if b.passes(t, uses...) {
			passed++
		}
	}
	return passed
}

var (
	byRate = ratelimit.Limit{Name: "rate", Count: 5, Per: time.Hour}
	inRow  = ratelimit.Limit{Name: "row", Count: 3, Per: time.Hour, Delay: 10 * time.Second, MaxDelay: time.Minute}
	hard   = ratelimit.Limit{Name: "hard", Count: 3, Delay: ratelimit.UntilReset, MaxDelay: ratelimit.UntilReset}
)

// A transaction that began a moment before the last one that counted is not refused
// for that, and takes nothing back.
func TestUseFromAMomentAgoCounts(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		use := inRow.For("ann")
		for i := range inRow.Count {
			if !b.passes(t, use) {
				t.Fatalf("use %d is refused", i+1)
			}
			b.pass(-5 * time.Millisecond)
		}
		if wait := b.wait(t, use); wait < inRow.Delay || wait > inRow.Delay+time.Second {
			t.Errorf("after all uses the pause is %v, want %v", wait, inRow.Delay)
		}
	})
}

// Two processes, 200 attempts, a limit of 10.
func TestOfManyAtOnceExactlyAsManyPassAsTheLimitSays(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]ratelimit.Limit{
		"by rate": {Name: "rate", Count: 10, Per: time.Hour},
		"in row":  {Name: "row", Count: 10, Per: time.Hour, Delay: time.Minute, MaxDelay: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbtest.RunURL(t, func(t *testing.T, url string) {
				var passed atomic.Int32
				var group sync.WaitGroup
				for range 2 {
					db, err := database.Open(t.Context(), url)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { db.Close() })
					b := newBench(db)
					for range 100 {
						group.Go(func() {
							err := b.Take(t.Context(), tenant, limit.For("ann"))
							if err == nil {
								passed.Add(1)
							} else if !errors.Is(err, ratelimit.ErrLimited) {
								t.Error(err)
							}
						})
					}
				}
				group.Wait()
				if n := passed.Load(); n != 10 {
					t.Errorf("%d passed, want 10", n)
				}
			})
		})
	}
}

func TestUsesComeBackOneByOne(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b, use := newBench(db), byRate.For("ann")
		if n := b.count(t, 8, use); n != 5 {
			t.Errorf("%d of 8 pass at once, want 5", n)
		}
		if wait := b.wait(t, use); wait != 12*time.Minute {
			t.Errorf("wait %v, want 12 minutes", wait)
		}
		b.pass(12*time.Minute - time.Millisecond)
		if b.passes(t, use) {
			t.Error("passes a moment too early")
		}
		if wait := b.wait(t, use); wait != time.Millisecond {
			t.Errorf("wait %v, want 1 ms", wait)
		}
		b.pass(time.Millisecond)
		if n := b.count(t, 3, use); n != 1 {
			t.Errorf("%d of 3 pass after 12 minutes, want 1", n)
		}
		b.pass(10 * time.Hour)
		if n := b.count(t, 8, use); n != 5 {
			t.Errorf("%d of 8 pass after 10 hours, want 5", n)
		}
	})
}

func TestTheDelayGrows(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b, use := newBench(db), inRow.For("ann")
		if n := b.count(t, 5, use); n != 3 {
			t.Errorf("%d of 5 pass at once, want 3", n)
		}
		for _, want := range []time.Duration{10, 20, 40, 60, 60, 60} {
			want *= time.Second
			if wait := b.wait(t, use); wait != want {
				t.Errorf("wait %v, want %v", wait, want)
			}
			b.pass(want - time.Millisecond)
			if b.passes(t, use) {
				t.Errorf("passes before %v are over", want)
			}
			b.pass(time.Millisecond)
			if !b.passes(t, use) {
				t.Errorf("does not pass after %v", want)
			}
		}
		b.reset(t, use)
		if n := b.count(t, 5, use); n != 3 {
			t.Errorf("%d of 5 pass after a success, want 3", n)
		}
		b.pass(time.Hour + time.Minute)
		if n := b.count(t, 5, use); n != 3 {
			t.Errorf("%d of 5 pass after a long pause, want 3", n)
		}
	})
}

// Slow guessing must not be free either.
func TestUsesInARowAddUpOverTime(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b, use := newBench(db), inRow.For("ann")
		for range 4 {
			b.passes(t, use)
			b.pass(30 * time.Minute)
		}
		b.passes(t, use)
		if wait := b.wait(t, use); wait != 40*time.Second {
			t.Errorf("wait %v after five in a row, half an hour between; want 40 s", wait)
		}
	})
}

func TestAHardLimitWaitsForASuccess(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b, use := newBench(db), hard.For("ann")
		for range 3 {
			if !b.passes(t, use) {
				t.Error("one of the first three is refused")
			}
			b.pass(365 * 24 * time.Hour)
		}
		if wait := b.wait(t, use); wait != 0 {
			t.Errorf("wait %v, want none: waiting does not help", wait)
		}
		b.pass(50 * 365 * 24 * time.Hour)
		if err := b.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if b.passes(t, use) {
			t.Error("passes after 50 years")
		}
		b.reset(t, use)
		if !b.passes(t, use) {
			t.Error("refused after a reset")
		}
	})
}

func TestCountsAreSeparate(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b, use := newBench(db), byRate.For("ann")
		b.count(t, 6, use)
		other := byRate
		other.Name = "other"
		for what, use := range map[string]ratelimit.Use{"another key": byRate.For("bob"), "another limit": other.For("ann")} {
			if !b.passes(t, use) {
				t.Errorf("%s is refused", what)
			}
		}
		if err := b.Take(t.Context(), "000000000000000000000002", use); err != nil {
			t.Errorf("another tenant is refused: %v", err)
		}
		if b.passes(t, use) {
			t.Error("the key itself passes")
		}
	})
}

// Who is stopped by one limit must not use up another, least of all a victim's.
func TestNothingIsCountedIfOneLimitIsExhausted(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		address := ratelimit.Limit{Name: "zzz", Count: 1, Per: time.Hour} // after the victim's in every order
		b.passes(t, address.For("192.0.2.1"))
		for range 10 {
			if b.passes(t, hard.For("victim"), address.For("192.0.2.1")) {
				t.Error("an exhausted address passes")
			}
			b.pass(2 * time.Second) // out of memory, to the database
		}
		if n := b.count(t, 3, hard.For("victim")); n != 3 {
			t.Errorf("%d of 3 are left to the victim", n)
		}
	})
}

func TestTakeWithinCountsIfTheTransactionCommits(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b, use := newBench(db), byRate.For("ann")
		failed := errors.New("rolled back")
		take := func(end error) error {
			return db.Write(t.Context(), func(tx *database.Tx) error {
				return errors.Join(b.TakeWithin(t.Context(), tx, tenant, use), end)
			})
		}
		for range 10 {
			if err := take(failed); !errors.Is(err, failed) || errors.Is(err, ratelimit.ErrLimited) {
				t.Fatal(err)
			}
		}
		for i := range 7 {
			if err := take(nil); (err == nil) != (i < 5) {
				t.Errorf("use %d: %v", i+1, err)
			}
		}
	})
}

func TestAResetElsewhereCountsAfterASecond(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b, use := newBench(db), hard.For("ann")
		b.count(t, 4, use)
		elsewhere := &bench{Limiter: &ratelimit.Limiter{DB: db}}
		elsewhere.reset(t, use)
		b.pass(time.Second)
		if !b.passes(t, use) {
			t.Error("refused a second after the reset")
		}
	})
}

// breakDatabase makes every statement of the package fail from now on.
func (b *bench) breakDatabase(t *testing.T) {
	t.Helper()
	err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), "DROP TABLE rate_limits")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A flood of refused attempts is answered without the database.
func TestAFloodIsRefusedFromMemory(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b, use := newBench(db), byRate.For("ann")
		b.count(t, 6, use)
		b.breakDatabase(t)
		for range 100 {
			if wait := b.wait(t, byRate.For("bob"), use); wait != 12*time.Minute {
				t.Fatalf("wait %v, want 12 minutes", wait)
			}
		}
		b.pass(time.Second)
		if err := b.Take(t.Context(), tenant, use); err == nil || errors.Is(err, ratelimit.ErrLimited) {
			t.Errorf("a second later: %v, want the database's error", err)
		}
	})
}

// It fails closed: nothing passes while the database does not answer.
func TestNothingPassesWithoutADatabase(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		b.breakDatabase(t)
		for _, limit := range []ratelimit.Limit{byRate, inRow} {
			if err := b.Take(t.Context(), tenant, limit.For("ann")); err == nil || errors.Is(err, ratelimit.ErrLimited) {
				t.Errorf("%s: %v, want the database's error", limit.Name, err)
			}
		}
	})
}

func TestSweepRemovesOnlyWhatHasExpired(t *testing.T) {
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		rows := func() (n int) {
			if err := errors.Join(b.Sweep(t.Context()), db.QueryRow(t.Context(), "SELECT COUNT(*) FROM rate_limits").Scan(&n)); err != nil {
				t.Fatal(err)
			}
			return n
		}
		b.count(t, 5, byRate.For("ann"))
		b.passes(t, byRate.For("bob"))
		b.passes(t, inRow.For("ann"))
		for _, step := range []struct {
			pass time.Duration
			want int
		}{{0, 3}, {12 * time.Minute, 2}, {48 * time.Minute, 1}, {time.Minute, 0}} {
			b.pass(step.pass)
			if n := rows(); n != step.want {
				t.Errorf("%v on: %d rows, want %d", step.pass, n, step.want)
			}
		}
	})
}

func TestKeyGivesAllSpellingsOneCount(t *testing.T) {
	t.Parallel()
	for _, same := range [][][2]string{
		{
			{"ann@example.com", ""}, {"ANN@Example.COM", ""}, {" ann@example.com\n", ""}, {"ａｎｎ＠example.com", ""},
			{"ann+1@example.com", ""}, {"ann+a+b@example.com", ""}, {"a\u200bnn@example.com", ""}, {"an\u00adn@example.com", ""}, {"a n n@example.com", ""},
		},
		{{"straße", ""}, {"STRASSE", ""}, {"straſſe", ""}},
		{{"über", ""}, {"u\u0308ber", ""}, {"Über", ""}},
		{{"+4917012345678", ""}, {"+49 170 12345678", ""}, {"\u202a+4917012345678\u202c", ""}},
		{{"", "192.0.2.1"}, {"", "::ffff:192.0.2.1"}, {"", "::FFFF:C000:0201"}, {"", " 192.0.2.1 "}},
		{{"", "2001:db8:1:2::1"}, {"", "2001:DB8:1:2:ffff:ffff:ffff:ffff"}, {"", "2001:0db8:0001:0002:0:0:0:1"}, {"", "2001:db8:1:2::1%eth0"}},
		{{"Ann", "192.0.2.1"}, {"ann", "::ffff:192.0.2.1"}},
	} {
		want := ratelimit.Key(same[0][0], same[0][1])
		for _, s := range same[1:] {
			if got := ratelimit.Key(s[0], s[1]); got != want {
				t.Errorf("Key(%q, %q) = %q, want %q", s[0], s[1], got, want)
			}
		}
	}
}

func TestKeyTellsPeopleApart(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, s := range [][2]string{
		{"", ""}, {"ann", ""}, {"bob", ""}, {"ann@example.com", ""}, {"ann@example.org", ""}, {"+ann@example.com", ""}, {"ann+bob", ""},
		{"", "192.0.2.1"}, {"", "192.0.2.2"}, {"", "2001:db8:1:2::1"}, {"", "2001:db8:1:3::1"}, {"", "::1"}, {"", "nonsense"},
		{"ann", "192.0.2.1"}, {"bob", "192.0.2.1"}, {"ann", "192.0.2.2"}, {"+4917012345678", ""},
	} {
		key := ratelimit.Key(s[0], s[1])
		if other, ok := seen[key]; ok {
			t.Errorf("%q and %s have the key %q", s, other, key)
		}
		seen[key] = fmt.Sprintf("%q", s)
	}
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{"Ann+x@Example.com", "\xff\xfe", "ﬃ\u0345\u0308", "@+", strings.Repeat("ẞ", 50)} {
		f.Add(s, "::ffff:1.2.3.4")
	}
	f.Fuzz(func(t *testing.T, identifier, ip string) {
		key := ratelimit.Key(identifier, ip)
		for _, again := range []string{ratelimit.Key(" "+identifier, ip+" "), ratelimit.Key(strings.ToValidUTF8(identifier, "\ufffd")+"\u200b", ip)} {
			if again != key && strings.ToValidUTF8(identifier, "") == identifier {
				t.Errorf("Key(%q, %q) = %q with a space or an invisible character, want %q", identifier, ip, again, key)
			}
		}
	})
}

func TestTheTableOfLimitsIsSound(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, l := range ratelimit.Limits {
		if names[l.Name] || l.Name == "" {
			t.Errorf("the name %q is taken or empty", l.Name)
		}
		names[l.Name] = true
		byRate := l.Per > 0 && l.Delay == 0 && l.MaxDelay == 0 && l.Per.Milliseconds()/l.Count >= 1
		inRow := l.Delay > 0 && l.MaxDelay >= l.Delay && (l.Per > 0 || l.Delay == ratelimit.UntilReset)
		if l.Count < 1 || byRate == inRow {
			t.Errorf("%+v is neither a rate nor a row", l)
		}
	}
}

// The figures that the product promises.
func TestDefaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit ratelimit.Limit
		count int64
		per   time.Duration
	}{
		{ratelimit.SignIn, 10, 24 * time.Hour}, {ratelimit.Account, 100, 0}, {ratelimit.Send, 5, time.Hour}, {ratelimit.Resend, 1, 30 * time.Second},
	} {
		if c.limit.Count != c.count || c.limit.Per != c.per {
			t.Errorf("%+v, want %d in %v", c.limit, c.count, c.per)
		}
	}
}
