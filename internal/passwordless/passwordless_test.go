package passwordless_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/letter"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/passwordless"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
)

const (
	tenant = "000000000000000000000001"
	other  = "000000000000000000000002"
)

// bench is the service with a mailbox that is looked into, and a clock that is moved
// by hand.
type bench struct {
	*passwordless.Service
	queue *jobs.Queue
	now   atomic.Int64
	by    access.Actor
}

func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		t.Helper()
		b := &bench{by: access.Visitor(tenant, "192.0.2.1"), queue: &jobs.Queue{DB: db, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}}
		b.Service = &passwordless.Service{
			DB: db, Boxes: []*secret.Box{newBox(t)}, Limits: &ratelimit.Limiter{DB: db},
			Notify: &notify.Service{DB: db, Boxes: []*secret.Box{newBox(t)}, Email: notify.Mailbox{}, SMS: notify.Mailbox{}},
		}
		b.Notify.Attach(b.queue)
		b.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
		db.Now = func() time.Time { return time.UnixMilli(b.now.Load()) }
		test(t, b)
	})
}

func newBox(t *testing.T) *secret.Box {
	t.Helper()
	box, err := secret.NewBox(secret.NewBoxKey())
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func (b *bench) pass(d time.Duration) { b.now.Add(d.Milliseconds()) }

var look = passwordless.Look{
	Brand: letter.Brand{Name: "Acme"}, Language: "de", Host: "acme.example.com",
	Link: func(token string) string { return "https://acme.example.com/link?token=" + token },
}

func signIn(target string) passwordless.Request {
	return passwordless.Request{Attempt: "attempt-" + target, Purpose: passwordless.SignIn, Channel: notify.Email, Target: target, Look: look}
}

func byText(target string) passwordless.Request {
	r := signIn(target)
	r.Channel = notify.SMS
	return r
}

func (b *bench) trySend(ctx context.Context, r passwordless.Request) (c passwordless.Challenge, err error) {
	err = b.DB.Write(ctx, func(tx *database.Tx) error {
		c, err = b.Send(ctx, tx, b.by, r)
		return err
	})
	return c, err
}

// A sent challenge is one with what its message said.
type sent struct {
	passwordless.Challenge
	token, code string
}

func (s sent) claim() passwordless.Claim {
	return passwordless.Claim{ID: s.ID, Attempt: s.Attempt, Purpose: s.Purpose, Target: s.Target, Code: s.code}
}

// wrong is the claim with another code.
func (s sent) wrong() passwordless.Claim {
	c := s.claim()
	c.Code = map[bool]string{true: "000001", false: "000000"}[c.Code == "000000"]
	return c
}

func (b *bench) send(t *testing.T, r passwordless.Request) sent {
	t.Helper()
	c, err := b.trySend(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return b.received(t, c)
}

// resend sends again, after the pause that has to be made.
func (b *bench) resend(t *testing.T, id string) sent {
	t.Helper()
	b.pass(30 * time.Second)
	c, err := b.tryResend(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return b.received(t, c)
}

func (b *bench) tryResend(ctx context.Context, id string) (c passwordless.Challenge, err error) {
	err = b.DB.Write(ctx, func(tx *database.Tx) error {
		c, err = b.Resend(ctx, tx, b.by, id, look)
		return err
	})
	return c, err
}

func (b *bench) letters(t *testing.T, to string) []notify.Letter {
	t.Helper()
	if err := b.queue.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	letters, err := b.Notify.Mailbox(t.Context(), b.DB, tenant, to, 100)
	if err != nil {
		t.Fatal(err)
	}
	return letters
}

var (
	tokenForm = regexp.MustCompile(`https://acme\.example\.com/link\?token=(\w+)`)
	codeForm  = regexp.MustCompile(`(?m)^\d{6}|#\d{6}$`)
)

// received reads link and code out of the newest message.
func (b *bench) received(t *testing.T, c passwordless.Challenge) sent {
	t.Helper()
	letters := b.letters(t, c.Target)
	if len(letters) == 0 {
		t.Fatalf("nothing came to %s", c.Target)
	}
	s := sent{Challenge: c, code: strings.TrimPrefix(codeForm.FindString(letters[0].Text), "#")}
	if m := tokenForm.FindStringSubmatch(letters[0].Text); m != nil {
		s.token = m[1]
	}
	return s
}

func (b *bench) redeemLink(ctx context.Context, by access.Actor, purpose, token string) (c passwordless.Challenge, err error) {
	err = b.DB.Write(ctx, func(tx *database.Tx) error {
		c, err = b.RedeemLink(ctx, tx, by, purpose, token)
		return err
	})
	return c, err
}

func (b *bench) redeem(ctx context.Context, by access.Actor, ticket passwordless.Ticket) (c passwordless.Challenge, err error) {
	err = b.DB.Write(ctx, func(tx *database.Tx) error {
		c, err = b.RedeemCode(ctx, tx, by, ticket)
		return err
	})
	return c, err
}

// redeemCode is both steps.
func (b *bench) redeemCode(ctx context.Context, claim passwordless.Claim) (passwordless.Challenge, error) {
	ticket, err := b.Guess(ctx, b.by, claim)
	if err != nil {
		return passwordless.Challenge{}, err
	}
	return b.redeem(ctx, b.by, ticket)
}

func (b *bench) count(t *testing.T, statement string, args ...any) (n int) {
	t.Helper()
	if err := b.DB.QueryRow(t.Context(), statement, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTheLinkProvesTheTarget(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		peeked, err := b.PeekLink(t.Context(), b.DB, tenant, s.token)
		if err != nil || peeked != s.Challenge {
			t.Errorf("peek: %+v, %v; want %+v", peeked, err, s.Challenge)
		}
		c, err := b.redeemLink(t.Context(), b.by, passwordless.SignIn, s.token)
		if err != nil || c.Target != "ann@example.com" || c.ID != s.ID || c.Attempt != s.Attempt || c.UsedAt.IsZero() {
			t.Errorf("redeem: %+v, %v", c, err)
		}
	})
}

func TestTheCodeProvesTheTarget(t *testing.T) {
	for _, r := range []passwordless.Request{signIn("ann@example.com"), byText("+4917012345678")} {
		t.Run(r.Channel, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				s := b.send(t, r)
				if r.Channel == notify.SMS && s.token != "" {
					t.Error("the text message has a link")
				}
				if c, err := b.redeemCode(t.Context(), s.claim()); err != nil || c.Target != r.Target || c.Channel != r.Channel || c.UsedAt.IsZero() {
					t.Errorf("%+v, %v", c, err)
				}
			})
		})
	}
}

func TestACodeIsTakenAsPeopleTypeIt(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for i, write := range []func(code string) string{
			func(c string) string { return " " + c[:3] + " " + c[3:] + "\n" },
			func(c string) string { return c[:3] + "-" + c[3:] },
			func(c string) string { return "\u200e" + c + "\u2069" },
			func(c string) string { return digits(c, '٠') },
			func(c string) string { return digits(c, '०') },
			func(c string) string { return digits(c, '０') },
		} {
			s := b.send(t, signIn(fmt.Sprintf("ann%d@example.com", i)))
			claim := s.claim()
			claim.Code = write(claim.Code)
			if _, err := b.redeemCode(t.Context(), claim); err != nil {
				t.Errorf("%q: %v", claim.Code, err)
			}
		}
	})
}

// digits writes a code in the digits of another script.
func digits(code string, zero rune) string {
	return strings.Map(func(r rune) rune { return r - '0' + zero }, code)
}

// Mail scanners open links, some of them twenty times.
func TestPeekingChangesNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		for range 20 {
			if _, err := b.PeekLink(t.Context(), b.DB, tenant, s.token); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.redeemLink(t.Context(), b.by, passwordless.SignIn, s.token); err != nil {
			t.Error(err)
		}
	})
}

// Unknown, used, expired and foreign are one and the same answer.
func TestALinkIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, b *bench, s sent) (by access.Actor, purpose, token string){
		"unknown": func(t *testing.T, b *bench, s sent) (access.Actor, string, string) {
			return b.by, passwordless.SignIn, s.token + "A"
		},
		"empty": func(t *testing.T, b *bench, s sent) (access.Actor, string, string) {
			return b.by, passwordless.SignIn, ""
		},
		"used": func(t *testing.T, b *bench, s sent) (access.Actor, string, string) {
			if _, err := b.redeemLink(t.Context(), b.by, passwordless.SignIn, s.token); err != nil {
				t.Fatal(err)
			}
			return b.by, passwordless.SignIn, s.token
		},
		"its code used": func(t *testing.T, b *bench, s sent) (access.Actor, string, string) {
			if _, err := b.redeemCode(t.Context(), s.claim()); err != nil {
				t.Fatal(err)
			}
			return b.by, passwordless.SignIn, s.token
		},
		"expired": func(t *testing.T, b *bench, s sent) (access.Actor, string, string) {
			b.pass(10 * time.Minute)
			return b.by, passwordless.SignIn, s.token
		},
		"sent again": func(t *testing.T, b *bench, s sent) (access.Actor, string, string) {
			b.resend(t, s.ID)
			return b.by, passwordless.SignIn, s.token
		},
		"replaced": func(t *testing.T, b *bench, s sent) (access.Actor, string, string) {
			r := signIn("bob@example.com")
			r.Attempt = s.Attempt
			b.send(t, r)
			return b.by, passwordless.SignIn, s.token
		},
		"void": func(t *testing.T, b *bench, s sent) (access.Actor, string, string) {
			b.void(t, s.Attempt)
			return b.by, passwordless.SignIn, s.token
		},
		"for another purpose": func(t *testing.T, b *bench, s sent) (access.Actor, string, string) {
			return b.by, passwordless.Reset, s.token
		},
		"in another tenant": func(t *testing.T, b *bench, s sent) (access.Actor, string, string) {
			return access.Visitor(other, "192.0.2.1"), passwordless.SignIn, s.token
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				by, purpose, token := spoil(t, b, b.send(t, signIn("ann@example.com")))
				if name != "for another purpose" { // the page that peeks serves all of them
					if _, err := b.PeekLink(t.Context(), b.DB, by.Tenant, token); !errors.Is(err, passwordless.ErrLinkSpent) {
						t.Errorf("peek: %v, want %v", err, passwordless.ErrLinkSpent)
					}
				}
				if _, err := b.redeemLink(t.Context(), by, purpose, token); !errors.Is(err, passwordless.ErrLinkSpent) {
					t.Errorf("redeem: %v, want %v", err, passwordless.ErrLinkSpent)
				}
			})
		})
	}
}

func (b *bench) void(t *testing.T, attempt string) {
	t.Helper()
	err := b.DB.Write(t.Context(), func(tx *database.Tx) error { return b.Void(t.Context(), tx, b.by, attempt) })
	if err != nil {
		t.Fatal(err)
	}
}

// Wrong, unknown, used, expired and foreign are one and the same answer.
func TestACodeIsRefused(t *testing.T) {
	with := func(change func(c *passwordless.Claim)) func(*testing.T, *bench, sent) passwordless.Claim {
		return func(_ *testing.T, _ *bench, s sent) passwordless.Claim {
			c := s.claim()
			change(&c)
			return c
		}
	}
	for name, spoil := range map[string]func(t *testing.T, b *bench, s sent) passwordless.Claim{
		"wrong":               func(_ *testing.T, _ *bench, s sent) passwordless.Claim { return s.wrong() },
		"empty":               with(func(c *passwordless.Claim) { c.Code = "" }),
		"too short":           with(func(c *passwordless.Claim) { c.Code = c.Code[:5] }),
		"too long":            with(func(c *passwordless.Claim) { c.Code += "0" }),
		"an essay":            with(func(c *passwordless.Claim) { c.Code = strings.Repeat(" ", 1000) + c.Code }),
		"unknown":             with(func(c *passwordless.Claim) { c.ID = secret.ZeroID }),
		"of another attempt":  with(func(c *passwordless.Claim) { c.Attempt = "attempt-bob@example.com" }),
		"of no attempt":       with(func(c *passwordless.Claim) { c.Attempt = "" }),
		"for another purpose": with(func(c *passwordless.Claim) { c.Purpose = passwordless.VerifyEmail }),
		"for another target":  with(func(c *passwordless.Claim) { c.Target = "bob@example.com" }),
		"for no target":       with(func(c *passwordless.Claim) { c.Target = "" }),
		"of another challenge": func(t *testing.T, b *bench, s sent) passwordless.Claim {
			bob := b.send(t, signIn("bob@example.com"))
			for bob.code == s.code { // one in a million
				bob = b.resend(t, bob.ID)
			}
			c := s.claim()
			c.Code = bob.code
			return c
		},
		"used": func(t *testing.T, b *bench, s sent) passwordless.Claim {
			if _, err := b.redeemCode(t.Context(), s.claim()); err != nil {
				t.Fatal(err)
			}
			return s.claim()
		},
		"its link used": func(t *testing.T, b *bench, s sent) passwordless.Claim {
			if _, err := b.redeemLink(t.Context(), b.by, passwordless.SignIn, s.token); err != nil {
				t.Fatal(err)
			}
			return s.claim()
		},
		"expired": func(_ *testing.T, b *bench, s sent) passwordless.Claim { b.pass(10 * time.Minute); return s.claim() },
		"void":    func(t *testing.T, b *bench, s sent) passwordless.Claim { b.void(t, s.Attempt); return s.claim() },
		"sent again": func(t *testing.T, b *bench, s sent) passwordless.Claim {
			again := b.resend(t, s.ID)
			for again.code == s.code {
				again = b.resend(t, s.ID)
			}
			return s.claim()
		},
		"replaced": func(t *testing.T, b *bench, s sent) passwordless.Claim {
			b.pass(30 * time.Second)
			b.send(t, signIn("ann@example.com"))
			return s.claim()
		},
		"after five wrong ones": func(t *testing.T, b *bench, s sent) passwordless.Claim {
			for range 5 {
				if _, err := b.Guess(t.Context(), b.by, s.wrong()); !errors.Is(err, passwordless.ErrCode) {
					t.Fatal(err)
				}
			}
			return s.claim()
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				claim := spoil(t, b, b.send(t, signIn("ann@example.com")))
				if ticket, err := b.Guess(t.Context(), b.by, claim); !errors.Is(err, passwordless.ErrCode) {
					t.Errorf("%+v, %v; want %v", ticket, err, passwordless.ErrCode)
				}
			})
		})
	}
}

// The way round Guess, which counts, does not exist: only its ticket is taken, and
// only for what it was given for.
func TestATicketIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, b *bench, s sent) (access.Actor, passwordless.Ticket){
		"made up": func(_ *testing.T, b *bench, _ sent) (access.Actor, passwordless.Ticket) {
			return b.by, passwordless.Ticket{}
		},
		"in another tenant": func(t *testing.T, b *bench, s sent) (access.Actor, passwordless.Ticket) {
			return access.Visitor(other, "192.0.2.1"), b.guess(t, s)
		},
		"used": func(t *testing.T, b *bench, s sent) (access.Actor, passwordless.Ticket) {
			ticket := b.guess(t, s)
			if _, err := b.redeem(t.Context(), b.by, ticket); err != nil {
				t.Fatal(err)
			}
			return b.by, ticket
		},
		"sent again meanwhile": func(t *testing.T, b *bench, s sent) (access.Actor, passwordless.Ticket) {
			ticket := b.guess(t, s)
			b.resend(t, s.ID)
			return b.by, ticket
		},
		"expired meanwhile": func(t *testing.T, b *bench, s sent) (access.Actor, passwordless.Ticket) {
			ticket := b.guess(t, s)
			b.pass(10 * time.Minute)
			return b.by, ticket
		},
		"void meanwhile": func(t *testing.T, b *bench, s sent) (access.Actor, passwordless.Ticket) {
			ticket := b.guess(t, s)
			b.void(t, s.Attempt)
			return b.by, ticket
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				by, ticket := spoil(t, b, b.send(t, signIn("ann@example.com")))
				if c, err := b.redeem(t.Context(), by, ticket); !errors.Is(err, passwordless.ErrCode) {
					t.Errorf("%+v, %v; want %v", c, err, passwordless.ErrCode)
				}
			})
		})
	}
}

func (b *bench) guess(t *testing.T, s sent) passwordless.Ticket {
	t.Helper()
	ticket, err := b.Guess(t.Context(), b.by, s.claim())
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

// A typo that can not be a code costs nothing, and the fifth try is still a try.
func TestTheFifthTryMayBeRight(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		for i := range 10 {
			claim := s.wrong()
			if i >= 4 {
				claim.Code = "12345"
			}
			if _, err := b.Guess(t.Context(), b.by, claim); !errors.Is(err, passwordless.ErrCode) {
				t.Fatal(err)
			}
		}
		if _, err := b.redeemCode(t.Context(), s.claim()); err != nil {
			t.Error(err)
		}
	})
}

// Who can not type may click: guesses kill the code only, which is what they guess at.
func TestTheLinkOutlivesWrongCodes(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		for range 6 {
			if _, err := b.Guess(t.Context(), b.by, s.wrong()); !errors.Is(err, passwordless.ErrCode) {
				t.Fatal(err)
			}
		}
		if _, err := b.redeemLink(t.Context(), b.by, passwordless.SignIn, s.token); err != nil {
			t.Error(err)
		}
	})
}

// A try counts although what comes after it is rolled back.
func TestATryCountsWhateverHappensNext(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		failed := errors.New("rolled back")
		for i := range 6 {
			ticket, err := b.Guess(t.Context(), b.by, s.claim())
			if i == 5 {
				if !errors.Is(err, passwordless.ErrCode) {
					t.Errorf("sixth try: %v, want %v", err, passwordless.ErrCode)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			err = b.DB.Write(t.Context(), func(tx *database.Tx) error {
				_, err := b.RedeemCode(t.Context(), tx, b.by, ticket)
				return errors.Join(err, failed)
			})
			if !errors.Is(err, failed) || errors.Is(err, passwordless.ErrCode) {
				t.Fatal(err)
			}
		}
	})
}

// race runs f many times at once and returns how often it succeeded; a refusal must
// be one of those given.
func race(t *testing.T, times int, f func(i int) error, refusals ...error) (succeeded int32) {
	t.Helper()
	var won atomic.Int32
	var group sync.WaitGroup
	for i := range times {
		group.Go(func() {
			err := f(i)
			for _, refusal := range refusals {
				if errors.Is(err, refusal) {
					return
				}
			}
			if err != nil {
				t.Error(err)
				return
			}
			won.Add(1)
		})
	}
	group.Wait()
	return won.Load()
}

func TestOneOf200LinksWins(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		won := race(t, 200, func(int) error {
			_, err := b.redeemLink(t.Context(), b.by, passwordless.SignIn, s.token)
			return err
		}, passwordless.ErrLinkSpent)
		if won != 1 {
			t.Errorf("%d of 200 succeeded, want 1", won)
		}
	})
}

func TestOneOf200CodesWins(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		won := race(t, 200, func(i int) error {
			by := access.Visitor(tenant, fmt.Sprintf("192.0.2.%d", i))
			ticket, err := b.Guess(t.Context(), by, s.claim())
			if err != nil {
				return err
			}
			_, err = b.redeem(t.Context(), by, ticket)
			return err
		}, passwordless.ErrCode)
		if won != 1 {
			t.Errorf("%d of 200 succeeded, want 1", won)
		}
	})
}

// Link and code of one challenge, at once.
func TestLinkAndCodeAreUsedUpTogether(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		ticket := b.guess(t, s)
		won := race(t, 40, func(i int) (err error) {
			if i%2 == 0 {
				_, err = b.redeemLink(t.Context(), b.by, passwordless.SignIn, s.token)
			} else {
				_, err = b.redeem(t.Context(), b.by, ticket)
			}
			return err
		}, passwordless.ErrCode, passwordless.ErrLinkSpent)
		if won != 1 {
			t.Errorf("%d of 40 succeeded, want 1", won)
		}
	})
}

// C6.96: of 1,000 guesses at once, from as many places, at most five are judged. The
// right code in each shows which were.
func TestFiveOf1000GuessesAreJudged(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		judged := race(t, 1000, func(i int) error {
			_, err := b.Guess(t.Context(), access.Visitor(tenant, fmt.Sprintf("198.51.%d.%d", i/250, i%250)), s.claim())
			return err
		}, passwordless.ErrCode)
		if judged != 5 {
			t.Errorf("%d of 1000 were judged, want 5", judged)
		}
	})
}

// C6.97: a new code does not bring new tries without end.
func TestGuessesAtATargetAreCountedOverAllItsCodes(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		wrong := 0
		var last sent
		for range 10 {
			b.pass(time.Hour) // so that sending is not what stops us
			last = b.send(t, signIn("ann@example.com"))
			for range 5 {
				if _, err := b.Guess(t.Context(), b.by, last.wrong()); errors.Is(err, passwordless.ErrCode) {
					wrong++
				} else if !errors.Is(err, ratelimit.ErrLimited) {
					t.Fatal(err)
				}
			}
		}
		if wrong < 25 || wrong > 36 { // 25, and one each 57.6 minutes
			t.Errorf("%d guesses in ten hours, want 25 and a few", wrong)
		}
		if _, err := b.redeemCode(t.Context(), last.claim()); !errors.Is(err, ratelimit.ErrLimited) {
			t.Errorf("the right code after all: %v, want %v", err, ratelimit.ErrLimited)
		}
		if _, err := b.redeemLink(t.Context(), b.by, passwordless.SignIn, last.token); err != nil {
			t.Errorf("the link: %v", err)
		}
	})
}

func TestASuccessForgetsTheWrongGuesses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for range 10 {
			b.pass(20 * time.Minute)
			s := b.send(t, signIn("ann@example.com"))
			for range 4 {
				if _, err := b.Guess(t.Context(), b.by, s.wrong()); !errors.Is(err, passwordless.ErrCode) {
					t.Fatal(err)
				}
			}
			if _, err := b.redeemCode(t.Context(), s.claim()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestGuessesFromOneAddressAreCounted(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		unknown := s.claim()
		unknown.ID = secret.ZeroID
		for range 60 {
			if _, err := b.Guess(t.Context(), b.by, unknown); !errors.Is(err, passwordless.ErrCode) {
				t.Fatal(err)
			}
		}
		if _, err := b.Guess(t.Context(), b.by, s.claim()); !errors.Is(err, ratelimit.ErrLimited) {
			t.Errorf("after 60: %v, want %v", err, ratelimit.ErrLimited)
		}
		if _, err := b.Guess(t.Context(), access.Visitor(tenant, "192.0.2.2"), s.claim()); err != nil {
			t.Errorf("from elsewhere: %v", err)
		}
	})
}

func TestSendingAgainKeepsTheHandle(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		if _, err := b.tryResend(t.Context(), s.ID); !errors.Is(err, ratelimit.ErrLimited) {
			t.Errorf("at once: %v, want %v", err, ratelimit.ErrLimited)
		}
		b.pass(9 * time.Minute)
		again := b.resend(t, s.ID)
		want := s.Challenge
		want.Sends, want.SentAt, want.ExpiresAt = 2, b.DB.Now().UTC(), b.DB.Now().UTC().Add(10*time.Minute)
		if again.Challenge != want || again.token == s.token || !again.ResendAt().Equal(want.SentAt.Add(30*time.Second)) {
			t.Errorf("%+v, want %+v", again.Challenge, want)
		}
		if _, err := b.redeemCode(t.Context(), again.claim()); err != nil {
			t.Error(err)
		}
		b.pass(time.Hour)
		for what, id := range map[string]string{"used": s.ID, "unknown": secret.ZeroID} {
			if _, err := b.tryResend(t.Context(), id); !errors.Is(err, passwordless.ErrNotFound) {
				t.Errorf("%s: %v, want %v", what, err, passwordless.ErrNotFound)
			}
		}
	})
}

// Who comes back to the waiting page later can go on from there.
func TestAnExpiredChallengeCanBeSentAgain(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		b.pass(time.Hour)
		again := b.resend(t, s.ID)
		if _, err := b.redeemLink(t.Context(), b.by, passwordless.SignIn, again.token); err != nil {
			t.Error(err)
		}
	})
}

func TestFindTellsWhatBecameOfIt(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		if c, err := b.Find(t.Context(), b.DB, tenant, s.ID); err != nil || c != s.Challenge {
			t.Errorf("%+v, %v; want %+v", c, err, s.Challenge)
		}
		if _, err := b.redeemLink(t.Context(), b.by, passwordless.SignIn, s.token); err != nil {
			t.Fatal(err)
		}
		if c, err := b.Find(t.Context(), b.DB, tenant, s.ID); err != nil || !c.UsedAt.Equal(b.DB.Now()) {
			t.Errorf("used: %+v, %v", c, err)
		}
		if _, err := b.Find(t.Context(), b.DB, other, s.ID); !errors.Is(err, passwordless.ErrNotFound) {
			t.Errorf("in another tenant: %v, want %v", err, passwordless.ErrNotFound)
		}
	})
}

// A stranger who asks for a challenge for the same target does not make ours void.
func TestAttemptsDoNotDisturbEachOther(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		b.pass(time.Minute)
		for i, change := range []func(r *passwordless.Request){
			func(r *passwordless.Request) { r.Attempt = "a stranger's" },
			func(r *passwordless.Request) { r.Attempt = "" },
			func(r *passwordless.Request) { r.Purpose = passwordless.VerifyEmail },
		} {
			r := signIn("ann@example.com")
			change(&r)
			b.send(t, r)
			b.pass(time.Minute)
			if _, err := b.PeekLink(t.Context(), b.DB, tenant, s.token); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		without := signIn("ann@example.com")
		without.Attempt = ""
		latest := b.send(t, without)
		if n := b.count(t, "SELECT COUNT(*) FROM challenges WHERE attempt = ''"); n != 1 {
			t.Errorf("%d challenges without an attempt, want one", n)
		}
		if _, err := b.redeemCode(t.Context(), latest.claim()); err != nil {
			t.Error(err)
		}
	})
}

func TestSendingIsLimited(t *testing.T) {
	mail := func(i int) passwordless.Request { return signIn(fmt.Sprintf("user%d@example.com", i)) }
	cases := map[string]struct {
		request func(i int) passwordless.Request
		pause   time.Duration
		want    int // of those sent within the pauses
		times   int
	}{
		"two at once to one target":    {func(int) passwordless.Request { return signIn("ann@example.com") }, 0, 1, 3},
		"in other attempts":            {func(i int) passwordless.Request { r := signIn("ann@example.com"); r.Attempt = fmt.Sprint(i); return r }, 0, 1, 3},
		"with tags":                    {func(i int) passwordless.Request { return signIn(fmt.Sprintf("ann+%d@example.com", i)) }, 0, 1, 3},
		"in an hour to one target":     {func(int) passwordless.Request { return signIn("ann@example.com") }, 30 * time.Second, 5, 8},
		"from one address":             {mail, 0, 60, 63},
		"text messages to one range":   {func(i int) passwordless.Request { return byText(fmt.Sprintf("+4917012340%03d", i)) }, 0, 20, 23},
		"text messages to many ranges": {func(i int) passwordless.Request { return byText(fmt.Sprintf("+49170%02d345678", i)) }, 0, 30, 30},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				got := 0
				for i := range c.times {
					_, err := b.trySend(t.Context(), c.request(i))
					if err == nil {
						got++
					} else if p, _ := problem.From(err); !errors.Is(err, ratelimit.ErrLimited) || p.RetryAfter <= 0 {
						t.Fatal(err)
					}
					b.pass(c.pause)
				}
				if got != c.want {
					t.Errorf("%d of %d sent, want %d", got, c.times, c.want)
				}
				if n := b.count(t, "SELECT COUNT(*) FROM messages"); n != got {
					t.Errorf("%d messages, want %d", n, got)
				}
			})
		})
	}
}

// C6.111: a country is used up by what was sent there, and others are not.
func TestTextMessagesToACountryAreLimited(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
			for range ratelimit.SMSCountry.Count {
				if err := b.Limits.TakeWithin(t.Context(), tx, tenant, ratelimit.SMSCountry.For(ratelimit.Key("+1876", ""))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for number, want := range map[string]error{"+18765550100": ratelimit.ErrLimited, "+12125550100": nil, "+4917012345678": nil, "+79161234567": nil, "+35812345678": nil} {
			if _, err := b.trySend(t.Context(), byText(number)); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", number, err, want)
			}
		}
	})
}

func TestSendRefuses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.Notify.SMS = nil
		for name, c := range map[string]struct {
			request passwordless.Request
			want    error
		}{
			"two recipients":    {signIn("ann@example.com,bob@example.com"), notify.ErrRecipient},
			"an added header":   {signIn("ann@example.com\r\nBcc: bob@example.com"), notify.ErrRecipient},
			"a missing channel": {byText("+4917012345678"), notify.ErrNoChannel},
		} {
			if _, err := b.trySend(t.Context(), c.request); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		unknown := signIn("ann@example.com")
		unknown.Purpose = "world peace"
		if _, err := b.trySend(t.Context(), unknown); err == nil {
			t.Error("an unknown purpose is taken")
		}
		if n := b.count(t, "SELECT COUNT(*) FROM challenges"); n != 0 {
			t.Errorf("%d challenges, want none", n)
		}
	})
}

// A target that may not get a message costs the same as one that may: the same rows
// in the same tables, the same answers to guesses.
func TestASilentChallengeLooksTheSame(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		tables := func() string {
			var out []string
			for _, table := range []string{"challenges", "messages", "jobs", "audit_unsealed", "rate_limits"} {
				out = append(out, fmt.Sprintf("%s %d", table, b.count(t, "SELECT COUNT(*) FROM "+table)))
			}
			return strings.Join(out, "\n")
		}
		if _, err := b.trySend(t.Context(), signIn("ann@example.com")); err != nil {
			t.Fatal(err)
		}
		one := tables()
		b.by.IP = "192.0.2.2"
		nobody := signIn("nobody@example.com")
		nobody.Silent = true
		silent, err := b.trySend(t.Context(), nobody)
		if err != nil {
			t.Fatal(err)
		}
		doubled := regexp.MustCompile(`\d+`).ReplaceAllStringFunc(one, func(n string) string {
			var i int
			fmt.Sscan(n, &i)
			return fmt.Sprint(2 * i)
		})
		if diff := cmp.Diff(doubled, tables()); diff != "" {
			t.Errorf("rows of two (-twice one, +one and a silent one):\n%s", diff)
		}
		if letters := b.letters(t, "nobody@example.com"); len(letters) != 0 {
			t.Errorf("%d messages went out", len(letters))
		}
		if n := b.count(t, "SELECT COUNT(*) FROM messages WHERE recipient = 'nobody@example.com' AND state = 'failed' AND last_error = 'expired' AND content IS NULL"); n != 1 {
			t.Error("the message was not stored as one that is too late")
		}
		b.pass(30 * time.Second)
		if _, err := b.tryResend(t.Context(), silent.ID); err != nil {
			t.Fatal(err)
		}
		if letters := b.letters(t, "nobody@example.com"); len(letters) != 0 {
			t.Errorf("%d messages went out when sent again", len(letters))
		}
		claim := passwordless.Claim{ID: silent.ID, Attempt: silent.Attempt, Purpose: silent.Purpose, Target: silent.Target, Code: "123456"}
		for range 6 {
			if _, err := b.Guess(t.Context(), b.by, claim); !errors.Is(err, passwordless.ErrCode) {
				t.Error(err)
			}
		}
		if n := b.count(t, "SELECT tries FROM challenges WHERE id = $1", silent.ID); n != 5 {
			t.Errorf("%d tries counted, want 5", n)
		}
	})
}

// A copy of the database holds no link and no code.
func TestTheDatabaseTellsNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		var hash, mac []byte
		err := b.DB.QueryRow(t.Context(), "SELECT link_hash, code_mac FROM challenges WHERE tenant_id = $1 AND id = $2", tenant, s.ID).Scan(&hash, &mac)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(hash, secret.Hash(s.token)) || len(s.token) < 26 { // of base32: 130 bits
			t.Errorf("token %q, hash %x", s.token, hash)
		}
		if bytes.Contains(mac, []byte(s.code)) || len(mac) != 16 {
			t.Errorf("code %s is kept as %x", s.code, mac)
		}
		var detail string
		if err := b.DB.QueryRow(t.Context(), "SELECT detail FROM audit_unsealed WHERE action = 'challenge.sent'").Scan(&detail); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{s.token, s.code + `"`, "ann@example.com\""} {
			if strings.Contains(strings.ReplaceAll(detail, s.Attempt, ""), bad) {
				t.Errorf("the log tells %q: %s", bad, detail)
			}
		}
	})
}

// After a change of the master key, codes that are out still work.
func TestCodesOutliveAChangeOfKeys(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		old := b.Boxes[0]
		b.Boxes = []*secret.Box{newBox(t)}
		if _, err := b.Guess(t.Context(), b.by, s.claim()); !errors.Is(err, passwordless.ErrCode) {
			t.Errorf("without the old key: %v, want %v", err, passwordless.ErrCode)
		}
		b.Boxes = append(b.Boxes, old)
		if _, err := b.redeemCode(t.Context(), s.claim()); err != nil {
			t.Errorf("with it: %v", err)
		}
	})
}

func TestNothingIsSentIfTheTransactionFails(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		failed := errors.New("rolled back")
		err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
			_, err := b.Send(t.Context(), tx, b.by, signIn("ann@example.com"))
			return errors.Join(err, failed)
		})
		if !errors.Is(err, failed) {
			t.Fatal(err)
		}
		if letters := b.letters(t, ""); len(letters) != 0 {
			t.Errorf("%d messages went out", len(letters))
		}
		b.send(t, signIn("ann@example.com")) // nor was it counted
	})
}

func TestTheMessageIsTheTenants(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		s := b.send(t, signIn("ann@example.com"))
		mail := b.letters(t, "ann@example.com")[0]
		if mail.Subject != "Anmelden bei Acme" || !strings.Contains(mail.HTML, s.code) || !strings.Contains(mail.HTML, "token="+s.token) || !strings.Contains(mail.Text, "192.0.2.1") {
			t.Errorf("%+v", mail)
		}
		b.send(t, byText("+4917012345678"))
		if text := b.letters(t, "+4917012345678")[0].Text; !regexp.MustCompile(`^\d{6} ist Ihr Code .*Acme.*\n@acme\.example\.com #\d{6}$`).MatchString(text) {
			t.Errorf("%q", text)
		}
	})
}

func TestSweepRemovesWhatEndedLongAgo(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.send(t, signIn("ann@example.com"))
		b.pass(24 * time.Hour)
		b.send(t, signIn("bob@example.com"))
		for _, step := range []struct {
			pass time.Duration
			want int
		}{{0, 2}, {11 * time.Minute, 1}, {24 * time.Hour, 0}} {
			b.pass(step.pass)
			if err := b.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := b.count(t, "SELECT COUNT(*) FROM challenges"); n != step.want {
				t.Errorf("%d challenges, want %d", n, step.want)
			}
		}
	})
}
