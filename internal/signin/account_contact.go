package signin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/letter"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/passwordless"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// A contact is one of the ways to reach a user, which they can also sign in with.
// Another address takes the place of the one before when a code that was sent there
// comes back, and not earlier.
type contact struct {
	channel, name, path string
	purpose             string // of the code
	changed, verified   string // notices
	removed             string
	parse               func(string) (string, error)
	further             string // kind of a further address; empty for the primary one
}

var (
	byEmail = contact{notify.Email, "e-mail address", pathEmail, passwordless.VerifyEmail, "email_changed", "email_verified", "email_removed", user.ParseEmail, ""}
	byPhone = contact{notify.SMS, "phone number", pathPhone, passwordless.VerifyPhone, "phone_changed", "phone_verified", "phone_removed", user.ParsePhone, ""}

	furtherEmail = contact{notify.Email, "further e-mail address", pathEmail + "/further", passwordless.VerifyEmail, "email_added", "email_verified", "further_email_removed", user.ParseEmail, user.KindFurtherEmail}
	furtherPhone = contact{notify.SMS, "further phone number", pathPhone + "/further", passwordless.VerifyPhone, "phone_added", "phone_verified", "further_phone_removed", user.ParsePhone, user.KindFurtherPhone}
)

// primary is the contact of the same channel in force.
func (c contact) primary() contact {
	if c.channel == notify.SMS {
		return byPhone
	}
	return byEmail
}

// isOffered reports whether a tenant sends what proves an address.
func (c contact) isOffered(t tenant.Tenant) bool {
	return c.channel == notify.Email || t.Settings.SignIn.SMS
}

// of is the address in force.
func (c contact) of(u user.User) (address string, verified bool) {
	if c.channel == notify.SMS {
		return u.Phone, u.PhoneVerified
	}
	return u.Email, u.EmailVerified
}

// change makes an address that was proved the one in force.
func (c contact) change(address string) user.Change {
	yes := true
	if c.channel == notify.SMS {
		return user.Change{Phone: &address, PhoneVerified: &yes}
	}
	return user.Change{Email: &address, EmailVerified: &yes}
}

// without is the user without the address, as a change.
func (c contact) without(u user.User) user.Change {
	none, no := "", false
	if c.channel != notify.SMS {
		return user.Change{Email: &none, EmailVerified: &no}
	}
	left := slices.DeleteFunc(slices.Clone(u.RequiredActions), isConfirmPhone)
	return user.Change{Phone: &none, PhoneVerified: &no, RequiredActions: &left}
}

// ownContact is own for the pages of one contact.
func (s *Service) ownContact(c contact, step func(w http.ResponseWriter, r *http.Request, o *owner, c contact) error) web.Handler {
	return s.own(c.path, func(w http.ResponseWriter, r *http.Request, o *owner) error {
		if !c.isOffered(o.tenant) {
			return ErrNotOffered
		}
		return step(w, r, o, c)
	})
}

func (s *Service) pageContact(w http.ResponseWriter, r *http.Request, o *owner, c contact) error {
	if asked, err := s.askAgain(w, r, o, c.path); asked || err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, s.contactPage(o, c, ""))
}

func (s *Service) contactPage(o *owner, c contact, typed string) *page.AccountContact {
	p := &page.AccountContact{AccountView: s.accountView(o), SMS: c.channel == notify.SMS, Address: clip(typed), Further: c.further != "", Action: c.path, CloseURL: page.ProfilePath}
	if !p.Further {
		p.Old, _ = c.of(o.user)
	}
	return p
}

// postContact sends a code to another address. Whether the address belongs to somebody
// already is not looked at: only who reads what is sent there may learn it.
func (s *Service) postContact(w http.ResponseWriter, r *http.Request, o *owner, c contact) error {
	if asked, err := s.askAgain(w, r, o, c.path); asked || err != nil {
		return err
	}
	typed := r.PostFormValue("address")
	target, err := c.parse(typed)
	if err != nil {
		p := s.contactPage(o, c, typed)
		return again(w, r, &p.View, inAddress(err), p)
	}
	old, verified := c.of(o.user)
	if target == old && verified {
		return to(w, r, page.ProfilePath)
	}
	if target == old || old == "" {
		c = c.primary()
	}
	if c.further != "" && o.user.Email != "" && !o.user.EmailVerified { // who is in the account need not be who has that address
		p := s.contactPage(o, c, typed)
		return again(w, r, &p.View, ErrUnproved, p)
	}
	id, err := s.sendContactCode(r.Context(), o, c, target)
	if err != nil {
		p := s.contactPage(o, c, typed)
		return again(w, r, &p.View, err, p)
	}
	return to(w, r, c.path+"/code", "state", id)
}

// inAddress puts a problem to the field that the address was typed in.
func inAddress(err error) error {
	if p, ok := problem.From(err); ok {
		return p.In("address")
	}
	return err
}

// postVerify sends a code to the address in force. It takes no fresh proof: nothing but
// the code is any good, and it only confirms what is so already.
func (s *Service) postVerify(w http.ResponseWriter, r *http.Request, o *owner, c contact) error {
	address, verified := c.of(o.user)
	if address == "" || verified {
		return to(w, r, page.ProfilePath)
	}
	id, err := s.sendContactCode(r.Context(), o, c, address)
	if err != nil {
		return s.profileAgain(w, r, o, err)
	}
	return to(w, r, c.path+"/code", "state", id)
}

// pending is what a code belongs to: the user, the session that asked for it, and the
// addresses in force. When one of these is another, or the session has ended, the code
// is good no more. A code for a further address is none for the one in force.
func (o *owner) pending(c contact, session string) string {
	belongs := fmt.Sprintf("account/%s/%s/%x", o.user.ID, session, secret.Hash(o.user.Email + " " + o.user.Phone)[:8])
	if c.further != "" {
		belongs += "/further"
	}
	return belongs
}

// sendContactCode sends a code and returns the challenge's id. One that was asked for
// before, here or in another session of the user, is void.
func (s *Service) sendContactCode(ctx context.Context, o *owner, c contact, target string) (id string, err error) {
	look, err := s.look(ctx, o.visit)
	if err != nil {
		return "", err
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		sessions, err := s.Sessions.List(ctx, tx, o.by.Tenant, o.user.ID)
		if err != nil {
			return err
		}
		for _, in := range sessions {
			if in.ID == o.in.ID {
				continue // Send sees to it
			}
			if err := s.Codes.Void(ctx, tx, o.by, o.pending(c, in.ID)); err != nil {
				return err
			}
		}
		sent, err := s.Codes.Send(ctx, tx, o.self(), passwordless.Request{Attempt: o.pending(c, o.in.ID), Purpose: c.purpose, Channel: c.channel, Target: target, Look: look})
		id = sent.ID
		return err
	})
	return id, err
}

// look is how a message of a visit looks, without a link.
func (s *Service) look(ctx context.Context, v *visit) (passwordless.Look, error) {
	origin, err := s.Tenants.Origin(ctx, v.tenant)
	if err != nil {
		return passwordless.Look{}, err
	}
	u, err := url.Parse(origin)
	if err != nil {
		return passwordless.Look{}, fmt.Errorf("origin of tenant %s: %w", v.tenant.Slug, err)
	}
	from := deviceOf(v.from)
	return passwordless.Look{Brand: letter.BrandOf(v.tenant), Language: v.view.Lang.Tag, Host: u.Hostname(), Device: from.Name, Place: from.Place}, nil
}

// sentCode returns the challenge of an id, if it is one that this user waits for here
// and can still be sent again.
func (s *Service) sentCode(ctx context.Context, o *owner, c contact, id string) (passwordless.Challenge, error) {
	sent, err := s.Codes.Find(ctx, s.DB, o.by.Tenant, id)
	if err == nil && (sent.Attempt != o.pending(c, o.in.ID) || sent.Purpose != c.purpose || !sent.UsedAt.IsZero()) {
		err = passwordless.ErrNotFound
	}
	if err != nil {
		return passwordless.Challenge{}, err
	}
	o.view.State = id
	return sent, nil
}

func (s *Service) pageContactCode(w http.ResponseWriter, r *http.Request, o *owner, c contact) error {
	sent, err := s.sentCode(r.Context(), o, c, r.URL.Query().Get("state"))
	if errors.Is(err, passwordless.ErrNotFound) {
		return to(w, r, page.ProfilePath)
	}
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, s.contactCodePage(o, c, sent))
}

func (s *Service) contactCodePage(o *owner, c contact, sent passwordless.Challenge) *page.CodeSent {
	p := &page.CodeSent{
		View: o.view, SMS: c.channel == notify.SMS, Address: sent.Target, Action: c.path + "/code",
		ResendAction: c.path + "/resend", ResendAt: sent.ResendAt(), BackURL: c.path,
	}
	p.Here = c.path + "/code?state=" + url.QueryEscape(sent.ID)
	if old, _ := c.of(o.user); old == sent.Target {
		p.BackURL = page.ProfilePath
	}
	return p
}

// postContactCode takes the code. What it proves, and that the session still holds, is
// settled in one transaction with the change.
func (s *Service) postContactCode(w http.ResponseWriter, r *http.Request, o *owner, c contact) error {
	ctx := r.Context()
	sent, err := s.sentCode(ctx, o, c, r.PostFormValue("state"))
	if errors.Is(err, passwordless.ErrNotFound) {
		return to(w, r, page.ProfilePath)
	}
	if err != nil {
		return err
	}
	failed := func(err error) error {
		p := s.contactCodePage(o, c, sent)
		p.Code = clip(r.PostFormValue("code"))
		return again(w, r, &p.View, err, p)
	}
	ticket, err := s.Codes.Guess(ctx, o.self(), passwordless.Claim{ID: sent.ID, Attempt: sent.Attempt, Purpose: c.purpose, Target: sent.Target, Code: r.PostFormValue("code")})
	if err != nil {
		return failed(err)
	}
	in, err := s.takeAddress(ctx, o, c, sent.Target, ticket)
	switch {
	case errors.Is(err, user.ErrExists):
		return s.refuseTaken(w, r, o, c, sent)
	case err != nil:
		return failed(err)
	}
	o.enter(w, r, in)
	notice := c.changed
	if old, _ := c.of(o.user); old == sent.Target {
		notice = c.verified
	}
	return to(w, r, page.ProfilePath, "notice", notice)
}

// takeAddress makes an address that was proved the user's own, and tells them where
// they were reached before.
func (s *Service) takeAddress(ctx context.Context, o *owner, c contact, target string, ticket passwordless.Ticket) (in signedIn, err error) {
	// How somebody with roles signs in may be changed by whoever holds as much, and by
	// themselves: hence everything, with a change that touches no role.
	by := o.self(access.All...)
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		if _, err := s.Codes.RedeemCode(ctx, tx, by, ticket); err != nil {
			return err
		}
		if in, err = s.renew(ctx, tx, o, o.proof()); err != nil {
			return err
		}
		if c.further != "" {
			return s.addFurther(ctx, tx, o, by, c, target)
		}
		change := c.change(target)
		if c.channel == notify.SMS { // confirmed again after a reset, it signs in again
			left := slices.DeleteFunc(slices.Clone(o.user.RequiredActions), isConfirmPhone)
			change.RequiredActions = &left
		}
		if in.user, err = s.Users.Update(ctx, tx, by, o.user.ID, change); err != nil {
			return err
		}
		if old, _ := c.of(o.user); old == target {
			return nil
		}
		if c.channel == notify.Email {
			return s.warn(ctx, tx, o, c.changed, target)
		}
		return s.warn(ctx, tx, o, c.changed)
	})
	return in, err
}

// refuseTaken tells somebody who has proved an address that it belongs to another
// account. The code has done its work.
func (s *Service) refuseTaken(w http.ResponseWriter, r *http.Request, o *owner, c contact, sent passwordless.Challenge) error {
	if err := s.DB.Write(r.Context(), func(tx *database.Tx) error { return s.Codes.Void(r.Context(), tx, o.by, sent.Attempt) }); err != nil {
		return err
	}
	o.view.State = ""
	p := s.contactPage(o, c, sent.Target)
	return again(w, r, &p.View, user.ErrExists.In("address"), p)
}

// postContactResend sends the code again, to the same address.
func (s *Service) postContactResend(w http.ResponseWriter, r *http.Request, o *owner, c contact) error {
	ctx := r.Context()
	sent, err := s.sentCode(ctx, o, c, r.PostFormValue("state"))
	if errors.Is(err, passwordless.ErrNotFound) {
		return to(w, r, page.ProfilePath)
	}
	if err != nil {
		return err
	}
	look, err := s.look(ctx, o.visit)
	if err != nil {
		return err
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		_, err := s.Codes.Resend(ctx, tx, o.self(), sent.ID, look)
		return err
	})
	if err != nil {
		p := s.contactCodePage(o, c, sent)
		return again(w, r, &p.View, err, p)
	}
	return to(w, r, c.path+"/code", "state", sent.ID, "notice", "code_sent")
}

// addFurther gives the user a further address that was proved, and tells them where they
// were reached before. One of theirs that was held is no news.
func (s *Service) addFurther(ctx context.Context, tx *database.Tx, o *owner, by access.Actor, c contact, target string) error {
	before, err := s.Users.Match(ctx, tx, access.System(o.by.Tenant), target)
	if err != nil && !errors.Is(err, user.ErrNotFound) {
		return err
	}
	if _, err := s.Users.AddAddress(ctx, tx, by, o.user.ID, user.Address{Kind: c.further, Value: target}); err != nil || before.Is() {
		return err
	}
	return s.warn(ctx, tx, o, c.changed)
}

// postPrimary makes a further address the one in force. It is told to both.
func (s *Service) postPrimary(w http.ResponseWriter, r *http.Request, o *owner, c contact) error {
	return s.changeFurther(w, r, o, c.primary().changed, func(tx *database.Tx) error {
		ctx, by := r.Context(), o.self(access.All...) // as in takeAddress
		u, err := s.Users.MakePrimary(ctx, tx, by, o.user.ID, r.PostFormValue("address"))
		if err != nil {
			return err
		}
		if c.channel == notify.Email {
			return s.warn(ctx, tx, o, c.primary().changed, u.Email)
		}
		if left := slices.DeleteFunc(slices.Clone(u.RequiredActions), isConfirmPhone); len(left) < len(u.RequiredActions) { // it was about the number before
			if _, err := s.Users.Update(ctx, tx, by, u.ID, user.Change{RequiredActions: &left}); err != nil {
				return err
			}
		}
		return s.warn(ctx, tx, o, c.primary().changed)
	})
}

// postRemoveFurther takes a further address off the account. It is told there too.
func (s *Service) postRemoveFurther(w http.ResponseWriter, r *http.Request, o *owner, c contact) error {
	return s.changeFurther(w, r, o, c.removed, func(tx *database.Tx) error {
		ctx := r.Context()
		a, err := s.Users.RemoveAddress(ctx, tx, o.self(access.All...), o.user.ID, r.PostFormValue("address"))
		if err != nil {
			return err
		}
		if err := s.stillSignsIn(ctx, tx, o.visit, o.user); err != nil {
			return ErrLastWay.Because("%w", err)
		}
		if err := s.warn(ctx, tx, o, c.removed); err != nil {
			return err
		}
		return s.mention(ctx, tx, o, c.removed, a)
	})
}

// changeFurther changes the further addresses, gives the session another token and shows
// the profile again.
func (s *Service) changeFurther(w http.ResponseWriter, r *http.Request, o *owner, notice string, change func(tx *database.Tx) error) error {
	var in signedIn
	err := s.DB.Write(r.Context(), func(tx *database.Tx) (err error) {
		if in, err = s.renew(r.Context(), tx, o, o.proof()); err != nil {
			return err
		}
		return change(tx)
	})
	if errors.Is(err, user.ErrAddressNotFound) { // a page that is old
		return to(w, r, page.ProfilePath)
	}
	if err != nil {
		return s.profileAgain(w, r, o, err)
	}
	o.enter(w, r, in)
	return to(w, r, page.ProfilePath, "notice", notice)
}

// profileAgain shows the profile with what went wrong.
func (s *Service) profileAgain(w http.ResponseWriter, r *http.Request, o *owner, err error) error {
	p, later := s.profilePage(r.Context(), o)
	if later != nil {
		return later
	}
	return again(w, r, &p.View, err, p)
}

// postRemoveContact takes an address off the account, unless nobody could sign in any
// more. It is told to that address.
func (s *Service) postRemoveContact(w http.ResponseWriter, r *http.Request, o *owner, c contact) error {
	if address, _ := c.of(o.user); address == "" {
		return to(w, r, page.ProfilePath)
	}
	in, err := s.removeContact(r.Context(), o, c)
	if err != nil {
		return s.profileAgain(w, r, o, err)
	}
	o.enter(w, r, in)
	return to(w, r, page.ProfilePath, "notice", c.removed)
}

func (s *Service) removeContact(ctx context.Context, o *owner, c contact) (in signedIn, err error) {
	by := o.self(access.UsersWrite, access.RolesWrite) // as in takeAddress
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		if in, err = s.renew(ctx, tx, o, o.proof()); err != nil {
			return err
		}
		if err := s.isAlone(ctx, tx, o, c); err != nil {
			return err
		}
		if in.user, err = s.Users.Update(ctx, tx, by, o.user.ID, c.without(o.user)); err != nil {
			return err
		}
		if err := s.stillSignsIn(ctx, tx, o.visit, in.user); err != nil {
			return ErrLastWay.Because("%w", err)
		}
		return s.warn(ctx, tx, o, c.removed)
	})
	return in, err
}

// isAlone returns user.ErrPrimary if there are further addresses beside the one in force:
// then another one of them has to be that first.
func (s *Service) isAlone(ctx context.Context, tx *database.Tx, o *owner, c contact) error {
	mine, err := s.Users.Addresses(ctx, tx, access.System(o.by.Tenant), o.user.ID)
	for _, a := range mine {
		if a.IsEmail() == (c.channel == notify.Email) && !a.Held {
			return user.ErrPrimary
		}
	}
	return err
}
