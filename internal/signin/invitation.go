package signin

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// Invitations. The link of the mail leads to a page that changes nothing. Whoever is not
// signed in does that first, by whatever way, also by an organization's own, and comes
// back: the browser keeps the token meanwhile. Only the button makes somebody a member,
// and who was not invited is asked whether it is meant for them.

const pathInvitation = org.InvitationPath

// An invited person may sign up where nobody else may.
type invited struct {
	ID           string `json:"id"`
	Organization string `json:"organization"`
	Address      string `json:"address"`
}

func (s *Service) mountInvitation(r *web.Router) {
	wrong := problems{org.ErrSpent, org.ErrOtherAddress, org.ErrAddressRefused, org.ErrTooMany, ratelimit.ErrLimited}
	r.Add(pageRoute("GET", pathInvitation, "Page: the link of an invitation", s.pageInvitation, problems{org.ErrSpent}))
	r.Add(pageRoute("POST", pathInvitation, "Form: join an organization", s.postInvitation, append(problems{page.ErrForm}, wrong...)))
}

// invitationCookie holds the token of an invitation while its owner signs in.
const invitationCookie = "cardea-invitation"

// carry has the browser keep a token; an empty one is forgotten.
func carry(w http.ResponseWriter, r *http.Request, token string) {
	c := &http.Cookie{
		Name: hostName(r, invitationCookie), Value: token, Path: "/", MaxAge: int(attemptLifetime.Seconds()),
		Secure: web.Of(r.Context()).Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if token == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// carried is the token that the browser keeps, empty for none.
func carried(r *http.Request) string {
	found := r.CookiesNamed(hostName(r, invitationCookie))
	if len(found) != 1 || len(found[0].Value) > 64 {
		return ""
	}
	return found[0].Value
}

func (s *Service) pageInvitation(w http.ResponseWriter, r *http.Request) error {
	v, err := s.visit(w, r)
	if err != nil {
		return err
	}
	token := r.URL.Query().Get("token")
	if token == "" {
		token = carried(r)
	}
	p, _, err := s.invitationPage(r.Context(), v, token)
	if err != nil {
		return err
	}
	return page.Render(w, r, http.StatusOK, p)
}

func (s *Service) invitationPage(ctx context.Context, v *visit, token string) (*page.Invitation, org.Invitation, error) {
	in, o, err := s.Orgs.Invitation(ctx, s.DB, v.by.Tenant, token)
	if err != nil {
		return nil, in, err
	}
	v.view.Brand = brandOf(v.view.Brand, o)
	v.view.Here = pathInvitation + "?token=" + url.QueryEscape(token) // as in the link of the mail
	p := &page.Invitation{View: v.view, Organization: organizationOf(o), Address: in.Email, Token: token, Action: pathInvitation}
	if len(v.sessions) == 0 {
		return p, in, nil
	}
	u, err := s.Users.Find(ctx, s.DB, access.System(v.by.Tenant), v.sessions[0].UserID)
	if errors.Is(err, user.ErrNotFound) || err == nil && !u.IsActive {
		return p, in, nil // since a moment
	}
	if err != nil {
		return nil, in, err
	}
	mine, err := s.Orgs.IsFor(ctx, s.DB, v.by.Tenant, in, u)
	p.Person, p.Other, p.SwitchAction = personOf(u), !mine, pathInvitation
	return p, in, err
}

func (s *Service) postInvitation(w http.ResponseWriter, r *http.Request) error {
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
	token := r.PostFormValue("token")
	p, in, err := s.invitationPage(ctx, v, token)
	if err != nil {
		return err
	}
	if p.Person.Login == "" || r.PostFormValue("switch") == "1" {
		return s.signInInvited(w, r, v, token, in)
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		by := v.by
		by.Name = "user:" + v.sessions[0].UserID
		tx.OnCommit(s.belongs.Clear)
		_, _, err := s.Orgs.Redeem(ctx, tx, by, token, v.sessions[0].UserID, p.Other && r.PostFormValue("agreed") == "1")
		return err
	})
	if known, ok := problem.From(err); ok && !errors.Is(err, org.ErrSpent) {
		return again(w, r, &p.View, known, p)
	}
	if err != nil {
		return err
	}
	carry(w, r, "")
	return to(w, r, page.ProfilePath, "notice", "organization_joined")
}

// signInInvited has somebody sign in or up, and come back.
func (s *Service) signInInvited(w http.ResponseWriter, r *http.Request, v *visit, token string, in org.Invitation) error {
	carry(w, r, token)
	_, handle, err := s.begin(r.Context(), v, request{
		ReturnTo: pathInvitation, LoginHint: in.Email, SelectAccount: len(v.sessions) > 1, Invited: &invited{in.ID, in.OrganizationID, in.Email},
	})
	if err != nil {
		return err
	}
	return to(w, r, pathSignIn, "state", handle)
}

// takesNew reports whether the owner of an address may sign up.
func (s *Service) takesNew(ctx context.Context, db database.Reader, v *visit, a attempt, address string) (bool, error) {
	if !v.tenant.Settings.SignIn.NoSignUp {
		return true, nil
	}
	return s.isInvited(ctx, db, v.by.Tenant, a, address)
}

// isInvited reports whether the owner of an address may sign up because of an invitation,
// which must still be one.
func (s *Service) isInvited(ctx context.Context, db database.Reader, tenantID string, a attempt, address string) (bool, error) {
	in := a.Request.Invited
	if in == nil || in.Address != address {
		return false, nil
	}
	found, err := s.Orgs.FindInvitation(ctx, db, access.System(tenantID), in.Organization, in.ID)
	if errors.Is(err, org.ErrInvitationNotFound) {
		return false, nil
	}
	return err == nil && found.Status(s.DB.Now()) == org.Pending, err
}
