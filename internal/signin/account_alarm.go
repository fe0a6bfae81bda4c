package signin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/letter"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// What happens to an account is told to its owner by mail, with a link for whoever knows
// nothing of it. The link ends everything, takes away what was added since, and begins a
// recovery by mail. It signs nobody in, and gives nothing that the mailbox did not give
// before.
//
// Somebody who was in an account for a while would use it to come back. So what it gives
// back is no more than the address that the very change has replaced, and an address that
// was itself put there within the link's life is given back to nobody: the letter to it
// carries no such link.

const (
	pathNotMe = "/signin/not-me"
	alarmLife = 7 * 24 * time.Hour
	reasonNot = "not_me" // in the log
)

// ErrAlarmSpent covers links that are unknown, expired, used, or void because an earlier
// one was used.
var ErrAlarmSpent = problem.New(problem.Invalid, "not_me_spent", "This link has expired or was already used.")

// news is what users are told of, and where they can look at it.
var news = map[string]struct {
	kind letter.Kind
	path string
}{
	"new_signin":       {letter.NewSignIn, page.SessionsPath},
	"password_changed": {letter.PasswordChanged, pathForgot},
	"email_changed":    {letter.ContactChanged, page.ProfilePath},
	"email_removed":    {letter.ContactChanged, page.ProfilePath},
	"email_added":      {letter.ContactChanged, page.ProfilePath},
	"phone_added":      {letter.ContactChanged, page.ProfilePath},
	"phone_changed":    {letter.ContactChanged, page.ProfilePath},
	"phone_removed":    {letter.ContactChanged, page.ProfilePath},

	"further_email_removed": {letter.ContactChanged, page.ProfilePath},
	"further_phone_removed": {letter.ContactChanged, page.ProfilePath},

	"factor_added":     {letter.FactorChanged, page.SecurityPath},
	"factor_removed":   {letter.FactorChanged, page.SecurityPath},
	"factors_reset":    {letter.FactorChanged, page.SecurityPath},
	"codes_renewed":    {letter.FactorChanged, page.SecurityPath},
	"passkey_added":    {letter.FactorChanged, page.PasskeysPath},
	"passkey_removed":  {letter.FactorChanged, page.PasskeysPath},
	"account_linked":   {letter.AccountLinked, page.LinkedPath},
	"account_unlinked": {letter.AccountLinked, page.LinkedPath},
}

// warn tells a user what has happened to their account, one of news, by mail, else by
// text message, to the addresses that were in force before, and to others beside them:
// whoever made the change in the user's stead can not keep it from them. Where nobody can
// be written to, the change still counts.
func (s *Service) warn(ctx context.Context, tx *database.Tx, o *owner, what string, others ...string) error {
	l := o.newsOf(tx, what)
	if l.To == "" && o.user.Phone != "" {
		l.Channel, l.To = notify.SMS, o.user.Phone
	}
	if what == "email_changed" && !o.user.EmailVerified { // nobody can undo it, but it is noted when it was
		if _, err := raiseAlarm(ctx, tx, o, what); err != nil {
			return err
		}
	}
	for _, to := range append([]string{l.To}, others...) {
		if to == "" {
			continue
		}
		if l.To = to; to != o.user.Phone {
			l.Channel = notify.Email
		}
		if err := s.warnAt(ctx, tx, o, what, l); err != nil {
			return err
		}
	}
	return nil
}

// newsOf is the letter about what has happened, to the primary e-mail address.
func (o *owner) newsOf(tx *database.Tx, what string) letter.Letter {
	l := letter.Letter{Kind: news[what].kind, Channel: notify.Email, To: o.user.Email, Language: o.view.Lang.Tag, Brand: letter.BrandOf(o.tenant), At: tx.Now, IP: o.from.IP}
	if slices.Contains(letter.Changes, what) {
		l.Change = what
	}
	from := deviceOf(o.from)
	l.Device, l.Place = from.Name, from.Place
	return l
}

// mention tells of a further address that was removed there, without the link: who reads
// it need not be who has the account.
func (s *Service) mention(ctx context.Context, tx *database.Tx, o *owner, what string, a user.Address) error {
	l := o.newsOf(tx, what)
	l.To, l.Link = a.Value, o.origin+news[what].path
	if !a.IsEmail() {
		l.Channel = notify.SMS
	}
	return s.post(ctx, tx, o, l)
}

func (s *Service) warnAt(ctx context.Context, tx *database.Tx, o *owner, what string, l letter.Letter) error {
	l.Link = o.origin + news[what].path
	if l.Channel == notify.Email && o.user.EmailVerified {
		token, err := raiseAlarm(ctx, tx, o, what)
		if err != nil {
			return err
		}
		if token != "" {
			l.NotMe, l.Lasts, l.Link = true, alarmLife, o.origin+pathNotMe+"?token="+url.QueryEscape(token)
		}
	}
	return s.post(ctx, tx, o, l)
}

// post sends a letter, if it can be sent.
func (s *Service) post(ctx context.Context, tx *database.Tx, o *owner, l letter.Letter) error {
	m, err := l.Message()
	if err != nil {
		return err
	}
	_, err = s.Notify.Send(ctx, tx, o.by.Tenant, m)
	if errors.Is(err, notify.ErrNoChannel) || errors.Is(err, notify.ErrRecipient) {
		return nil
	}
	return err
}

// meetBrowser notes the browser that a user signs in with, or what stands for one, and
// tells them if it is a new one. The first sign-in of all is no news.
func (s *Service) meetBrowser(ctx context.Context, tx *database.Tx, v *visit, application string, u user.User) error {
	if v.browser != "" {
		s.noteLanguage(tx, v, u)
	}
	isNew, err := noteBrowser(ctx, tx, v.by.Tenant, u.ID, v.mark(application))
	if err != nil || !isNew || u.LastLoginAt.IsZero() {
		return err
	}
	return s.warn(ctx, tx, &owner{visit: v, user: u}, "new_signin")
}

// mark is what a user's browser is known by. Where there is none it is the application
// with the program, system and country that it calls from; a server says nothing of
// where its users are. No cookie makes a browser known by such a mark: it is the hash of
// a hash.
func (v *visit) mark(application string) []byte {
	if v.browser != "" {
		return hashOf(v.browser)
	}
	seen := application
	if !v.backend {
		seen = strings.Join([]string{application, v.from.Client, v.from.OS, v.from.Device, v.from.Country}, "\x00")
	}
	return secret.Hash(string(secret.Hash(seen)))
}

func (s *Service) mountAlarm(r *web.Router) {
	r.Add(pageRoute("GET", pathNotMe, "Page: this was not me", s.pageNotMe, problems{ErrAlarmSpent}))
	r.Add(pageRoute("POST", pathNotMe, "Form: this was not me", s.postNotMe, problems{page.ErrForm, ErrAlarmSpent, ratelimit.ErrLimited}))
}

// pageNotMe is where the link of such a letter leads. Opening it changes nothing: mail
// scanners do.
func (s *Service) pageNotMe(w http.ResponseWriter, r *http.Request) error {
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	token := r.URL.Query().Get("token")
	a, err := findAlarm(r.Context(), s.DB, v.by.Tenant, token)
	if err != nil {
		return err
	}
	v.view.Here = ""
	return page.Render(w, r, http.StatusOK, &page.NotMe{View: v.view, Since: a.At, Token: token, Action: pathNotMe})
}

// postNotMe takes the account away from whoever is in it. There is nothing left to sign
// in with that an intruder could have put there, and what comes next goes to the mailbox.
func (s *Service) postNotMe(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if err := s.CheckForm(w, r); err != nil {
		return err
	}
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	if err := s.Limits.Take(ctx, v.by.Tenant, ratelimit.Redeem.For(ratelimit.Key("", v.by.IP))); err != nil {
		return err
	}
	done := &page.NotMeDone{NextURL: pathSignIn}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		a, err := spendAlarm(ctx, tx, v.by.Tenant, r.PostFormValue("token"))
		if err != nil {
			return err
		}
		done.Mailed, err = s.reclaim(ctx, tx, v, a)
		return err
	})
	if err != nil {
		return err
	}
	done.View = v.view
	done.Coded = !done.Mailed && !v.tenant.Settings.SignIn.NoEmail
	return page.Render(w, r, http.StatusOK, done)
}

// reclaim ends all that a user is signed in with, makes the password void, takes away
// what was added since the alarm, gives back the address that it is about, and has the
// rest wait until its owner confirms it. Second factors can not wait, they would be asked
// for: those go that came since the same browser was first heard of. It reports whether a link to a new password was
// sent.
func (s *Service) reclaim(ctx context.Context, tx *database.Tx, v *visit, a alarm) (mailed bool, err error) {
	u, err := s.Users.Find(ctx, tx, access.System(v.by.Tenant), a.UserID)
	if err != nil {
		return false, err
	}
	by := userActor(v, u)
	began, err := beganAt(ctx, tx, by.Tenant, a)
	if err != nil {
		return false, err
	}
	for _, step := range []func() error{
		func() error { return password.Remove(ctx, tx, by, u.ID, reasonNot) },
		func() error { _, err := s.EndSessions(ctx, tx, by, u.ID, reasonNot); return err },
		func() error { return s.Sessions.EndOtherGrants(ctx, tx, by, u.ID, "", reasonNot) },
		func() error { _, err := unproveAttempts(ctx, tx, by.Tenant, u.ID); return err },
		func() error { return s.MFA.RemoveSince(ctx, tx, by, u.ID, began, reasonNot) },
		func() error { return s.Passkeys.DeleteSince(ctx, tx, by, u.ID, a.At, reasonNot) },
		func() error { return s.Social.UnlinkSince(ctx, tx, by, u.ID, a.At, reasonNot) },
		func() error { return s.SSO.UnlinkSince(ctx, tx, by, u.ID, a.At, reasonNot) },
		func() error { u, err = s.giveBack(ctx, tx, by, u, a); return err },
		func() error {
			u, err = s.Users.RemoveAddressesSince(ctx, tx, by.With(access.All...), u.ID, a.At, reasonNot)
			return err
		},
		func() error { return s.distrust(ctx, tx, v, u, "", reasonNot) },
		func() error { return dropAlarms(ctx, tx, by.Tenant, u.ID, a.At) },
		func() error {
			return audit.Append(tx, by, audit.Event{Action: "account.reclaimed", Target: "user", TargetID: u.ID, Method: "email_link", Reason: a.Change})
		},
	} {
		if err := step(); err != nil {
			return false, err
		}
	}
	if v.tenant.Settings.SignIn.NoPassword || !u.IsActive || !u.EmailVerified {
		return false, nil
	}
	return true, s.mailReset(ctx, tx, v, u.ID, u.Email)
}

// giveBack makes the address that a change has replaced the one in force again, unless
// it is somebody else's by now.
func (s *Service) giveBack(ctx context.Context, tx *database.Tx, by access.Actor, u user.User, a alarm) (user.User, error) {
	mine, err := s.Users.Addresses(ctx, tx, access.System(by.Tenant), u.ID)
	if err != nil {
		return u, err
	}
	for _, f := range mine { // what was there before has only changed places
		if !f.Held && a.Email != "" && f.Value == a.Email || !f.Held && a.Phone != "" && f.Value == a.Phone {
			if u, err = s.Users.MakePrimary(ctx, tx, by.With(access.All...), u.ID, f.ID); err != nil {
				return u, err
			}
		}
	}
	var c user.Change
	yes := true
	if a.Email != "" && a.Email != u.Email {
		c.Email, c.EmailVerified = &a.Email, &yes
	}
	if a.Phone != "" && a.Phone != u.Phone {
		c.Phone, c.PhoneVerified = &a.Phone, &yes
	}
	if c.Email == nil && c.Phone == nil {
		return u, nil
	}
	changed, err := s.Users.Update(ctx, tx, by.With(access.UsersWrite, access.RolesWrite), u.ID, c)
	if errors.Is(err, user.ErrExists) {
		no := false // then nothing is sent to what an intruder has put there
		return s.Users.Update(ctx, tx, by.With(access.UsersWrite, access.RolesWrite), u.ID, user.Change{EmailVerified: &no})
	}
	return changed, err
}

// An alarm is what the link of a letter is about.
type alarm struct {
	UserID string
	Change string // one of news
	Email  string // that the change has replaced, if it was proved
	Phone  string
	At     time.Time

	browser []byte // hash of the one it was done in; nil if it was none
}

// raiseAlarm stores the link of a letter and returns its token; none for a letter to an
// address that was itself put there within the life of another link.
func raiseAlarm(ctx context.Context, tx *database.Tx, o *owner, what string) (token string, err error) {
	tenant, u := o.by.Tenant, o.user
	a, recent := alarm{UserID: u.ID, Change: what}, false
	switch what {
	case "phone_changed", "phone_removed":
		if u.PhoneVerified {
			a.Phone = u.Phone
		}
	case "email_changed", "email_removed", "email_added":
		if u.EmailVerified {
			a.Email = u.Email
		}
		if recent, err = hasNewAddress(ctx, tx, tenant, u.ID); err != nil {
			return "", err
		}
	}
	token, hash := secret.NewToken()
	_, err = tx.Exec(ctx, `INSERT INTO alarms (tenant_id, token_hash, user_id, change, email, phone, created_at, expires_at, browser_hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		tenant, hash, a.UserID, a.Change, a.Email, a.Phone, tx.Millis(), tx.Now.Add(alarmLife).UnixMilli(), o.visit.browserHash())
	if err != nil {
		return "", fmt.Errorf("raise alarm: %w", err)
	}
	if recent {
		return "", nil
	}
	return token, nil
}

// hasNewAddress reports whether a user's e-mail address was put there within the life of
// an alarm, and not by this transaction.
func hasNewAddress(ctx context.Context, tx *database.Tx, tenant, user string) (recent bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM alarms WHERE tenant_id = $1 AND user_id = $2 AND change = 'email_changed' AND expires_at > $3 AND created_at < $3)`,
		tenant, user, tx.Millis()).Scan(&recent)
	if err != nil {
		return false, fmt.Errorf("look for a change of address: %w", err)
	}
	return recent, nil
}

// browserHash is the hash of the browser's name; nil if there is no browser.
func (v *visit) browserHash() []byte {
	if v.browser == "" {
		return nil
	}
	return hashOf(v.browser)
}

// beganAt is when the browser that an alarm is about was first heard of, in letters whose
// links are good still: whoever was in the account has done more than the letter at hand
// tells of. It gives the mailbox nothing, which has those links too.
func beganAt(ctx context.Context, tx *database.Tx, tenant string, a alarm) (time.Time, error) {
	if len(a.browser) == 0 {
		return a.At, nil
	}
	var first *int64
	err := tx.QueryRow(ctx, `SELECT MIN(created_at) FROM alarms WHERE tenant_id = $1 AND user_id = $2 AND browser_hash = $3 AND created_at < $4 AND expires_at > $5`,
		tenant, a.UserID, a.browser, a.At.UnixMilli(), tx.Millis()).Scan(&first)
	if err != nil {
		return a.At, fmt.Errorf("find what else a browser did: %w", err)
	}
	if first == nil {
		return a.At, nil
	}
	return time.UnixMilli(*first).UTC(), nil
}

const alarmColumns = `user_id, change, email, phone, created_at, browser_hash`

func scanAlarm(row database.Scanner) (a alarm, err error) {
	var at int64
	err = row.Scan(&a.UserID, &a.Change, &a.Email, &a.Phone, &at, &a.browser)
	if errors.Is(err, database.ErrNoRows) {
		return alarm{}, ErrAlarmSpent
	}
	if err != nil {
		return alarm{}, fmt.Errorf("find alarm: %w", err)
	}
	a.At = time.UnixMilli(at).UTC()
	return a, nil
}

func findAlarm(ctx context.Context, db *database.DB, tenant, token string) (alarm, error) {
	return scanAlarm(db.QueryRow(ctx, `SELECT `+alarmColumns+` FROM alarms WHERE tenant_id = $1 AND token_hash = $2 AND expires_at > $3`, tenant, secret.Hash(token), db.Now().UnixMilli()))
}

// spendAlarm is one statement, so that of two at once one succeeds.
func spendAlarm(ctx context.Context, tx *database.Tx, tenant, token string) (alarm, error) {
	return scanAlarm(tx.QueryRow(ctx, `DELETE FROM alarms WHERE tenant_id = $1 AND token_hash = $2 AND expires_at > $3 RETURNING `+alarmColumns, tenant, secret.Hash(token), tx.Millis()))
}

// dropAlarms makes void the links about what happened at a moment or later: of what the
// intruder did.
func dropAlarms(ctx context.Context, tx *database.Tx, tenant, user string, since time.Time) error {
	if _, err := tx.Exec(ctx, `DELETE FROM alarms WHERE tenant_id = $1 AND user_id = $2 AND created_at >= $3`, tenant, user, since.UnixMilli()); err != nil {
		return fmt.Errorf("drop alarms: %w", err)
	}
	return nil
}
