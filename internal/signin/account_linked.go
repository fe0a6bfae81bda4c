package signin

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/social"
	"github.com/cardea-id/cardea/internal/web"
)

// The accounts at other services, and at providers of organizations, that a user signs in
// with. Another of the former is linked by a flow that belongs to the user's session, and
// only once they have seen which account it is: the service may know somebody else in this
// browser. Those of organizations come by signing in.

const (
	pathUnlink      = page.LinkedPath + "/remove"
	pathMine        = page.LinkedPath + "/mine"
	pathLinkConfirm = page.LinkedPath + "/confirm"
	pathLinkOther   = page.LinkedPath + "/with/{connection}"
)

// ownFlows begins what a flow of the account's pages belongs to.
const ownFlows = "account/"

// ErrLastWay says that a user would be left without a way to sign in.
var ErrLastWay = problem.New(problem.Conflict, "last_way", "This is your only way to sign in. Add another one first.")

func (s *Service) mountLinked(r *web.Router) {
	const home = page.LinkedPath
	for _, p := range []struct {
		method, path, summary string
		handler               web.Handler
		errors                problems
	}{
		{"GET", home, "Page: linked accounts", s.own(home, s.pageLinked), nil},
		{"POST", pathLinkOther, "Form: link an account of another service", s.own(home, s.fresh(home, s.postLinkOther)), append(problems{page.ErrForm}, social.Problems...)},
		{"GET", pathLinkConfirm, "Page: link this account", s.own(home, s.pageLinkConfirm), nil},
		{"POST", pathLinkConfirm, "Form: link this account", s.own(home, s.fresh(home, s.postLinkConfirm)), append(problems{page.ErrForm}, social.Problems...)},
		{"POST", pathMine, "Form: a linked account is one's own", s.own(home, s.fresh(home, s.postMine)), problems{page.ErrForm, social.ErrIdentity}},
		{"POST", pathUnlink, "Form: unlink an account", s.own(home, s.fresh(home, s.postUnlink)), problems{page.ErrForm, ErrLastWay, social.ErrIdentity}},
	} {
		r.Add(pageRoute(p.method, p.path, p.summary, p.handler, p.errors))
	}
}

// fresh lets a form through for whoever has shown lately who they are, by all the
// factors they have; others do that first.
func (s *Service) fresh(home string, step func(w http.ResponseWriter, r *http.Request, o *owner) error) func(w http.ResponseWriter, r *http.Request, o *owner) error {
	return func(w http.ResponseWriter, r *http.Request, o *owner) error {
		if asked, err := s.askAgain(w, r, o, home); asked || err != nil {
			return err
		}
		return step(w, r, o)
	}
}

// linking is what a flow of this user belongs to: another session of theirs does not
// go on with it.
func (o *owner) linking() string { return ownFlows + o.user.ID + "/" + o.in.ID }

func (s *Service) pageLinked(w http.ResponseWriter, r *http.Request, o *owner) error {
	p, err := s.linkedPage(r.Context(), o)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) linkedPage(ctx context.Context, o *owner) (*page.AccountLinked, error) {
	p := &page.AccountLinked{AccountView: s.accountView(o), UnlinkAction: pathUnlink, ConfirmAction: pathMine, Ways: s.ways(ctx, o.visit, page.LinkedPath+"/with/")}
	mine, err := s.Social.Identities(ctx, s.DB, o.by.Tenant, o.user.ID)
	if err != nil {
		return nil, err
	}
	connections, err := s.Social.Connections(ctx, s.DB, access.System(o.by.Tenant))
	if err != nil {
		return nil, err
	}
	of := map[string]social.Connection{}
	for _, c := range connections {
		of[c.ID] = c
	}
	for _, i := range mine {
		account := i.Email
		if account == "" {
			account = i.Name
		}
		c := of[i.Connection]
		p.Linked = append(p.Linked, page.Linked{ID: i.ID, Provider: c.Name, Icon: c.Icon(), Account: account, Since: i.CreatedAt, LastUsed: i.UsedAt, Held: i.Held, Waits: i.Waits})
	}
	ofOrganizations, err := s.SSO.Identities(ctx, s.DB, o.by.Tenant, o.user.ID)
	for _, i := range ofOrganizations {
		p.Linked = append(p.Linked, page.Linked{ID: i.ID, Provider: i.Label, Icon: "building", Account: cmp.Or(i.Email, i.Subject), Since: i.CreatedAt, LastUsed: i.UsedAt, Held: i.Held})
	}
	return p, err
}

func (s *Service) linkedAgain(w http.ResponseWriter, r *http.Request, o *owner, err error) error {
	p, later := s.linkedPage(r.Context(), o)
	if later != nil {
		return later
	}
	return again(w, r, &p.View, err, p)
}

func (s *Service) postLinkOther(w http.ResponseWriter, r *http.Request, o *owner) error {
	location, err := s.sendAway(r.Context(), o.visit, r.PathValue("connection"), o.linking(), "")
	if err != nil {
		return s.linkedAgain(w, r, o, err)
	}
	return to(w, r, location)
}

// comeBackToAccount holds what a browser comes back with, if the session is still the
// one that it was sent by.
func (s *Service) comeBackToAccount(w http.ResponseWriter, r *http.Request, v *visit, f social.Flow, who social.Profile, failed error) error {
	o, err := s.owner(w, r)
	if errors.Is(err, errNobody) {
		return s.detour(w, r, Start{ReturnTo: page.LinkedPath})
	}
	if err != nil {
		return err
	}
	o.view.Here = ""
	if f.Attempt != o.linking() {
		return social.ErrFlow.Because("begun in another session")
	}
	if failed != nil {
		return s.linkedAgain(w, r, o, failed)
	}
	if err := s.DB.Write(r.Context(), func(tx *database.Tx) error { return s.Social.Keep(r.Context(), tx, v.by, f, who) }); err != nil {
		return err
	}
	return to(w, r, pathLinkConfirm)
}

func (s *Service) pageLinkConfirm(w http.ResponseWriter, r *http.Request, o *owner) error {
	p, err := s.linkConfirmPage(r.Context(), o)
	if err != nil {
		return err
	}
	if p.Flow == "" {
		return to(w, r, page.LinkedPath)
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) linkConfirmPage(ctx context.Context, o *owner) (*page.AccountLink, error) {
	who, id, err := s.Social.Kept(ctx, s.DB, o.by.Tenant, o.linking())
	return &page.AccountLink{
		AccountView: s.accountView(o), Provider: who.Label, Icon: social.Icon(who.Provider),
		There: there(who), Flow: id, Action: pathLinkConfirm, CloseURL: page.LinkedPath,
	}, err
}

func (s *Service) postLinkConfirm(w http.ResponseWriter, r *http.Request, o *owner) error {
	in, err := s.changeWays(r.Context(), o, "account_linked", func(tx *database.Tx) error {
		who, err := s.Social.Settle(r.Context(), tx, o.by, social.Flow{ID: r.PostFormValue("flow"), Attempt: o.linking()})
		if err != nil {
			return err
		}
		return s.Social.LinkProved(r.Context(), tx, o.self(), o.user.ID, who)
	})
	if err != nil {
		return s.linkedAgain(w, r, o, err)
	}
	o.enter(w, r, in)
	return to(w, r, page.LinkedPath, "notice", "account_linked")
}

// changeWays changes what the user signs in with, gives the session another token and
// tells the user.
func (s *Service) changeWays(ctx context.Context, o *owner, what string, change func(tx *database.Tx) error) (in signedIn, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		if in, err = s.renew(ctx, tx, o, o.proof()); err != nil {
			return err
		}
		if err := change(tx); err != nil {
			return err
		}
		return s.warn(ctx, tx, o, what)
	})
	return in, err
}

func (s *Service) postUnlink(w http.ResponseWriter, r *http.Request, o *owner) error {
	ctx := r.Context()
	in, err := s.changeWays(ctx, o, "account_unlinked", func(tx *database.Tx) error {
		id := r.PostFormValue("identity")
		found, err := s.SSO.UnlinkOne(ctx, tx, o.self(), o.user.ID, id)
		if err == nil && !found {
			err = s.Social.Unlink(ctx, tx, o.self(), o.user.ID, id)
		}
		if err != nil {
			return err
		}
		left, err := s.usableIdentities(ctx, tx, o.by.Tenant, o.user.ID)
		if err != nil {
			return err
		}
		hash, _, err := password.Find(ctx, tx, o.by.Tenant, o.user.ID)
		if err != nil {
			return err
		}
		passkeys, err := s.usablePasskeys(ctx, tx, o.visit, o.user.ID)
		if err != nil {
			return err
		}
		if left == 0 && passkeys == 0 && !hasOtherWay(o.tenant.Settings.SignIn, o.user, hash) {
			return ErrLastWay
		}
		return nil
	})
	if err != nil {
		return s.linkedAgain(w, r, o, err)
	}
	o.enter(w, r, in)
	return to(w, r, page.LinkedPath, "notice", "account_unlinked")
}

// usableIdentities is how many linked accounts sign a user in, at other services and at
// organizations.
func (s *Service) usableIdentities(ctx context.Context, db database.Reader, tenantID, userID string) (n int, err error) {
	list, err := s.Social.Identities(ctx, db, tenantID, userID)
	if err != nil {
		return 0, err
	}
	for _, i := range list {
		if !i.Held && !i.Waits {
			n++
		}
	}
	ofOrganizations, err := s.SSO.Identities(ctx, db, tenantID, userID)
	for _, i := range ofOrganizations {
		if !i.Held {
			n++
		}
	}
	return n, err
}

// postMine makes a linked account good again that a recovery has switched off.
func (s *Service) postMine(w http.ResponseWriter, r *http.Request, o *owner) error {
	err := s.DB.Write(r.Context(), func(tx *database.Tx) error {
		found, err := s.SSO.Confirm(r.Context(), tx, o.self(), o.user.ID, r.PostFormValue("identity"))
		if err == nil && !found {
			err = s.Social.Confirm(r.Context(), tx, o.self(), o.user.ID, r.PostFormValue("identity"))
		}
		return err
	})
	if err != nil {
		return s.linkedAgain(w, r, o, err)
	}
	return to(w, r, page.LinkedPath, "notice", "identity_confirmed")
}
