// Package passwordless proves that a person receives what is sent to an address: one
// challenge is a link and a code in one mail, or a code in a text message.
//
//	Send, Resend        make a challenge and the message with it, in one transaction
//	PeekLink            whom a link is for; changes nothing
//	RedeemLink          use the challenge up by its link
//	Guess, RedeemCode   count a try at the code and judge it, then use the challenge up
//	Void                what was sent for an attempt is good no more
//
// What the proof is good for is decided by the caller, in the transaction that uses
// the challenge up. A challenge belongs to an attempt, such as one to sign in, and to
// a purpose: of both there is one at a time, and a new one takes its place. One
// conditional UPDATE uses it up, link and code together.
//
// An attacker would guess the code, in parallel, from many addresses, one code after
// the other: a try is counted and committed before it is judged, five for a code and
// fifty a day for a target, and RedeemCode takes nothing but the Ticket of a try that
// was counted. They would use what was sent for one thing for another: purpose,
// attempt and target are part of the check. They would learn from a copy of the
// database or from how long we take: it holds a hash of the link and a MAC of the
// code, and a Silent challenge, for whom nothing may be sent to, costs the same. They
// would have us flood somebody, or numbers that earn by it: see limits.
package passwordless

import (
	"context"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/letter"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
)

// What a challenge proves somebody for.
const (
	SignIn      = "signin"
	SignUp      = "signup"
	VerifyEmail = "verify_email"
	VerifyPhone = "verify_phone"
	Reset       = "reset" // of a password
	// SecondFactor is for a sign-in whose first factor was proved.
	SecondFactor = "second_factor"
)

// Each of these covers unknown, used, expired and replaced alike, and what was sent
// for something else, so that nobody learns which it is.
var (
	ErrLinkSpent = problem.New(problem.Invalid, "link_spent", "This link has expired or was already used. Ask for a new one.")
	ErrCode      = problem.New(problem.Invalid, "code_invalid", "This code is not right, or it holds no more. Check it, or ask for a new one.")
	ErrNotFound  = problem.New(problem.NotFound, "challenge_not_found", "There is nothing to send again. Please start over.")
)

const (
	// Life is how long a link and a code can be used.
	Life = 10 * time.Minute
	// maxTries is how many guesses at a code are judged.
	maxTries = 5
	// kept is how long after its end a challenge can still be sent again.
	kept = 24 * time.Hour
)

// A Service sends challenges and has them redeemed. Its fields are set once, before
// use.
type Service struct {
	DB *database.DB
	// Boxes give the keys of the MAC of codes. The first makes, the others, of earlier
	// master keys, only check. They belong to the installation, not to a tenant, so that
	// Send never has to read a key in the middle of a transaction.
	Boxes  []*secret.Box
	Limits *ratelimit.Limiter
	Notify *notify.Service
}

// A Request asks for a challenge.
type Request struct {
	// Attempt is the id of what the challenge belongs to: an attempt to sign in, or
	// anything else that a stranger can not name. If it is empty, whoever asks for
	// another challenge of this purpose for the target makes this one void.
	Attempt string
	Purpose string
	Channel string // notify.Email or notify.SMS
	Target  string // e-mail address or phone number, as user.ParseEmail or ParsePhone returns it
	// Silent is for a target that may not get a message, such as an unknown one where
	// nobody can sign up. All is as ever, but nothing goes out and nothing redeems the
	// challenge: the message is stored as one that has expired already.
	Silent bool
	// Backend says that the request comes from a server that has proved itself and asks
	// for all its users from one address: limits by address do not apply.
	Backend bool
	Look
}

// A Look is what a message shows beside the challenge. All of it may be empty.
type Look struct {
	Brand       letter.Brand
	Language    string // BCP 47; when sending again, empty means that of before
	Application string // what somebody wants to sign in to; its name may be a stranger's
	// Link makes the address of a link. Nil means a code alone; a text message never has
	// a link. The address must be of a page whose GET changes nothing: programs that
	// look for viruses open it too.
	Link func(token string) string
	Host string // of the page that takes the code, for browsers that fill it in

	Device, Place string // where it was asked from: "Firefox on Windows", "Berlin, Germany"
}

// A Challenge is a link and a code that are out with somebody.
type Challenge struct {
	ID       string // a handle that stays when it is sent again; not secret
	Attempt  string
	Purpose  string
	Channel  string
	Target   string // what is proved, once the challenge is redeemed
	Language string
	Sends    int64
	// SentAt is when it was sent last. Sending again is refused for ratelimit.Resend.Per
	// after that.
	SentAt    time.Time
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedAt    time.Time // zero if it was not

	silent bool
}

// ResendAt is from when on the challenge can be sent again.
func (c Challenge) ResendAt() time.Time { return c.SentAt.Add(ratelimit.Resend.Per) }

// Send makes a challenge and queues the message with it; both exist if tx commits.
// The one before of the same attempt and purpose is void. It returns
// ratelimit.ErrLimited, notify.ErrRecipient or notify.ErrNoChannel.
func (s *Service) Send(ctx context.Context, tx *database.Tx, by access.Actor, r Request) (Challenge, error) {
	c := Challenge{
		ID: tx.NewID(), Attempt: r.Attempt, Purpose: r.Purpose, Channel: r.Channel, Target: r.Target, Language: r.Language,
		Sends: 1, SentAt: tx.Now, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(Life), silent: r.Silent,
	}
	from := by.IP
	if r.Backend {
		from = ""
	}
	if err := s.Limits.TakeWithin(ctx, tx, by.Tenant, limits(from, c)...); err != nil {
		return Challenge{}, err
	}
	made, err := s.make(ctx, tx, by, c, r.Look)
	if err != nil {
		return Challenge{}, err
	}
	putChallenge(tx, by.Tenant, c, made)
	return c, nil
}

// Resend sends the challenge of an id again, with a new link and a new code; those of
// before are void. It returns ErrNotFound for one that was used or replaced, and what
// Send returns.
func (s *Service) Resend(ctx context.Context, tx *database.Tx, by access.Actor, id string, look Look) (Challenge, error) {
	c, err := findChallenge(ctx, tx, by.Tenant, id)
	if err != nil {
		return Challenge{}, err
	}
	if err := s.Limits.TakeWithin(ctx, tx, by.Tenant, limits(by.IP, c)...); err != nil {
		return Challenge{}, err
	}
	if look.Language != "" {
		c.Language = look.Language
	}
	look.Language = c.Language
	c.Sends, c.SentAt, c.ExpiresAt = c.Sends+1, tx.Now, tx.Now.Add(Life)
	made, err := s.make(ctx, tx, by, c, look)
	if err != nil {
		return Challenge{}, err
	}
	return renewChallenge(ctx, tx, by.Tenant, c, made)
}

// limits are what sending c counts against; without an address those of none.
func limits(ip string, c Challenge) []ratelimit.Use {
	target := ratelimit.Key(c.Target, "")
	uses := []ratelimit.Use{ratelimit.Send.For(target), ratelimit.Resend.For(target)}
	if ip != "" {
		uses = append(uses, ratelimit.SendAddress.For(ratelimit.Key("", ip)))
	}
	if c.Channel == notify.SMS {
		uses = append(uses, ratelimit.SMSRange.For(ratelimit.Key(numberRange(c.Target), "")), ratelimit.SMSCountry.For(ratelimit.Key(country(c.Target), "")))
	}
	return uses
}

// made is what the database keeps of a link and a code.
type made struct{ linkHash, codeMAC []byte }

// make makes link and code of c, and queues the message with them.
func (s *Service) make(ctx context.Context, tx *database.Tx, by access.Actor, c Challenge, look Look) (made, error) {
	token, hash := secret.NewToken()
	code := secret.Text("0123456789", 6)
	m, err := message(by, c, look, token, code)
	if err != nil {
		return made{}, err
	}
	out := made{hash, s.mac(s.Boxes[0], by.Tenant, c, code)}
	if c.silent {
		// Nothing that anybody could send or guess leads to these.
		_, out.linkHash = secret.NewToken()
		_, never := secret.NewToken()
		out.codeMAC = never[:len(out.codeMAC)]
		m.ExpiresAt = tx.Now
	}
	if _, err := s.Notify.Send(ctx, tx, by.Tenant, m); err != nil {
		return made{}, err
	}
	return out, audit.Append(tx, by, audit.Event{
		Action: "challenge.sent", Target: "challenge", TargetID: c.ID, Method: c.Channel,
		Detail: map[string]any{"purpose": c.Purpose, "attempt": c.Attempt, "identifier": fmt.Sprintf("%x", secret.Hash(c.Target)[:16]), "sends": c.Sends, "silent": c.silent},
	})
}

// kinds are the letters of the purposes.
var kinds = map[string]letter.Kind{
	SignIn: letter.SignIn, SignUp: letter.SignUp, VerifyEmail: letter.Verify, VerifyPhone: letter.Verify, Reset: letter.Reset, SecondFactor: letter.SignIn,
}

func message(by access.Actor, c Challenge, look Look, token, code string) (notify.Message, error) {
	l := letter.Letter{
		Kind: kinds[c.Purpose], Channel: c.Channel, To: c.Target, Language: c.Language, Brand: look.Brand, Application: look.Application,
		Code: code, Lasts: Life, Host: look.Host, At: c.SentAt, Device: look.Device, Place: look.Place, IP: by.IP,
	}
	if look.Link != nil && c.Channel == notify.Email {
		l.Link = look.Link(token)
	}
	m, err := l.Message()
	m.ExpiresAt = c.ExpiresAt
	return m, err
}

// mac is what a code is kept as. It says nothing without the key, though a code has
// only 20 bits, and it is good for this challenge alone.
func (s *Service) mac(box *secret.Box, tenant string, c Challenge, code string) []byte {
	return secret.MAC(box.Derive("passwordless code"), tenant+"\x00"+c.ID+"\x00"+c.Purpose+"\x00"+c.Target+"\x00"+code)
}

// Find returns the challenge of an id, whatever has become of it. It is ErrNotFound a
// day after its end, or once another has taken its place.
func (s *Service) Find(ctx context.Context, db database.Reader, tenant, id string) (Challenge, error) {
	return findChallenge(ctx, db, tenant, id)
}

// PeekLink returns the challenge that a link's token would use up, for the page that
// asks whether to, and changes nothing. It returns ErrLinkSpent.
func (s *Service) PeekLink(ctx context.Context, db database.Reader, tenant, token string) (Challenge, error) {
	return peekLink(ctx, db, tenant, secret.Hash(token), s.DB.Now())
}

// RedeemLink uses up the challenge of a link's token, if it was made for this
// purpose. It returns ErrLinkSpent. A token has too many bits to be guessed; the
// front still takes ratelimit.Redeem, so that nobody can have us search for nothing.
func (s *Service) RedeemLink(ctx context.Context, tx *database.Tx, by access.Actor, purpose, token string) (Challenge, error) {
	return spendLink(ctx, tx, by.Tenant, purpose, secret.Hash(token))
}

// A Claim says that somebody knows the code of a challenge. All fields but Code are
// what the caller knows of the challenge by itself, and must be the challenge's own;
// only Attempt may be empty, if the challenge has none.
type Claim struct {
	ID, Attempt, Purpose, Target string
	Code                         string // as typed
	Backend                      bool   // as in Request
}

// A Ticket is a try at a code that was counted and was right. It is good for
// RedeemCode only, as long as the challenge is.
type Ticket struct {
	tenant, id string
	mac        []byte
}

// Guess counts a try at a code and then judges it. It has a transaction of its own,
// so call it outside of any: a try counts whatever becomes of the rest. It returns
// ErrCode or ratelimit.ErrLimited. What can not be a code at all counts for the address
// and not for the challenge.
func (s *Service) Guess(ctx context.Context, by access.Actor, claim Claim) (Ticket, error) {
	code, ok := parseCode(claim.Code)
	var mac []byte
	err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		if by.IP != "" && !claim.Backend {
			if err := s.Limits.TakeWithin(ctx, tx, by.Tenant, ratelimit.Redeem.For(ratelimit.Key("", by.IP))); err != nil {
				return err
			}
		}
		if !ok {
			return nil
		}
		if mac, err = countTry(ctx, tx, by.Tenant, claim); err != nil || mac == nil {
			return err
		}
		return s.Limits.TakeWithin(ctx, tx, by.Tenant, codeTries(claim.Target))
	})
	if err != nil {
		return Ticket{}, err
	}
	if mac == nil || !s.isRight(by.Tenant, claim, code, mac) {
		return Ticket{}, ErrCode
	}
	return Ticket{by.Tenant, claim.ID, mac}, nil
}

func codeTries(target string) ratelimit.Use {
	return ratelimit.CodeTries.For(ratelimit.Key(target, ""))
}

func (s *Service) isRight(tenant string, claim Claim, code string, mac []byte) bool {
	for _, box := range s.Boxes {
		if secret.Equal(mac, s.mac(box, tenant, Challenge{ID: claim.ID, Purpose: claim.Purpose, Target: claim.Target}, code)) {
			return true
		}
	}
	return false
}

// RedeemCode uses up the challenge whose code was guessed. It returns ErrCode if that
// was used, sent again or replaced meanwhile.
func (s *Service) RedeemCode(ctx context.Context, tx *database.Tx, by access.Actor, t Ticket) (Challenge, error) {
	if t.tenant != by.Tenant {
		return Challenge{}, ErrCode
	}
	c, err := spendCode(ctx, tx, t)
	if err != nil {
		return Challenge{}, err
	}
	s.Limits.Reset(tx, by.Tenant, codeTries(c.Target))
	return c, nil
}

// Void makes what was sent for an attempt worthless, such as when that has ended.
func (s *Service) Void(ctx context.Context, tx *database.Tx, by access.Actor, attempt string) error {
	return deleteChallenges(ctx, tx, by.Tenant, attempt)
}

// Sweep removes challenges that ended long ago, in portions. Run it every hour or so.
func (s *Service) Sweep(ctx context.Context) error {
	const portion = 1000
	for {
		var n int64
		err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
			n, err = sweepChallenges(ctx, tx, tx.Now.Add(-kept), portion)
			return err
		})
		if err != nil || n < portion {
			return err
		}
	}
}
