package signin

import (
	"context"
	"net/http"

	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/session"
)

// pageOwnPassword asks for another password, or for the first, which takes a fresh
// proof in place of the old one.
func (s *Service) pageOwnPassword(w http.ResponseWriter, r *http.Request, o *owner) error {
	if o.tenant.Settings.SignIn.NoPassword {
		return ErrNotOffered
	}
	if err := s.requireOwnWay(r.Context(), s.DB, o.by.Tenant, o.user.ID); err != nil {
		return err
	}
	old, _, err := password.Find(r.Context(), s.DB, o.by.Tenant, o.user.ID)
	if err != nil {
		return err
	}
	if old == "" {
		if asked, err := s.askAgain(w, r, o, page.PasswordPath); asked || err != nil {
			return err
		}
	}
	return page.Render(w, r, http.StatusOK, s.ownPasswordPage(o, old != ""))
}

func (s *Service) ownPasswordPage(o *owner, has bool) *page.AccountPassword {
	return &page.AccountPassword{AccountView: s.accountView(o), Has: has, MinLength: s.policy(o.tenant.Settings.SignIn).MinLength, Action: page.PasswordPath, ForgotURL: pathForgot}
}

// postOwnPassword sets the password. The user stays signed in here and nowhere else. Who is
// in an account whose address nobody has proved gets no first one: a password in it comes
// from an administrator, see dropFactors.
func (s *Service) postOwnPassword(w http.ResponseWriter, r *http.Request, o *owner) error {
	ctx := r.Context()
	if o.tenant.Settings.SignIn.NoPassword {
		return ErrNotOffered
	}
	old, _, err := password.Find(ctx, s.DB, o.by.Tenant, o.user.ID)
	if err != nil {
		return err
	}
	if old == "" {
		if asked, err := s.askAgain(w, r, o, page.PasswordPath); asked || err != nil {
			return err
		}
		if o.user.Email != "" && !o.user.EmailVerified {
			p := s.ownPasswordPage(o, false)
			return again(w, r, &p.View, ErrUnproved, p)
		}
	}
	in, err := s.changePassword(ctx, o, old, r.PostFormValue("current_password"), r.PostFormValue("password"))
	if err != nil {
		p := s.ownPasswordPage(o, old != "")
		return again(w, r, &p.View, err, p)
	}
	o.enter(w, r, in)
	return to(w, r, page.PasswordPath, "notice", "password_changed")
}

// changePassword puts wanted in place of the password whose hash is old, if given is
// that password. An empty hash is no password, and takes none to prove.
func (s *Service) changePassword(ctx context.Context, o *owner, old, given, wanted string) (in signedIn, err error) {
	if err := password.Check(wanted, s.policyFor(o.visit, o.user)); err != nil {
		return in, err
	}
	shown := o.proof()
	var uses []ratelimit.Use
	if old != "" {
		if old, uses, err = s.proveOld(ctx, o, given); err != nil {
			return in, err
		}
		shown = session.Proof{AMR: amrOf(methodPassword), ACR: o.in.ACR, At: s.DB.Now()}
		if o.in.ACR != ACROneFactor {
			shown.At = o.in.AuthAt // a password alone does not make two factors fresh
		}
	}
	hash, err := s.Hasher.Hash(ctx, wanted)
	if err != nil {
		return in, err
	}
	by := o.self()
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		if err := s.requireOwnWay(ctx, tx, by.Tenant, o.user.ID); err != nil {
			return err
		}
		if in, err = s.renew(ctx, tx, o, shown); err != nil {
			return err
		}
		if err := password.Change(ctx, tx, by, o.user.ID, old, hash); err != nil {
			return err
		}
		if err := s.endElsewhere(ctx, tx, o, "password_changed"); err != nil {
			return err
		}
		s.Limits.Reset(tx, by.Tenant, uses...)
		return s.warn(ctx, tx, o, "password_changed")
	})
	return in, err
}

// proveOld counts a try at the current password and returns the hash it was proved
// against, which a change goes by: not the one before if it has just been upgraded.
func (s *Service) proveOld(ctx context.Context, o *owner, given string) (string, []ratelimit.Use, error) {
	hash, uses, err := s.checkPassword(ctx, o.visit, o.user.Login(), o.user, given)
	if err == nil {
		return hash, uses, nil
	}
	later := s.DB.Write(ctx, func(tx *database.Tx) error {
		return audit.Append(tx, o.self(), audit.Event{Action: "password.changed", Target: "user", TargetID: o.user.ID, Result: audit.Failure, Reason: reasonOf(err)})
	})
	if later != nil {
		return "", nil, later
	}
	return "", nil, inForm(err, "password", "current_password")
}

// endElsewhere ends all that the user is signed in with, and all that applications hold
// for them, but for what came of the session they are in.
func (s *Service) endElsewhere(ctx context.Context, tx *database.Tx, o *owner, reason string) error {
	ended, err := s.Sessions.EndOthers(ctx, tx, o.self(), o.user.ID, o.in.ID, reason)
	if err != nil {
		return err
	}
	if err := s.Sessions.EndOtherGrants(ctx, tx, o.self(), o.user.ID, o.in.ID, reason); err != nil {
		return err
	}
	return s.tell(ctx, tx, o.self(), o.user.ID, ended)
}
