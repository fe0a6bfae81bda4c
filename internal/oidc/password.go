package oidc

import (
	"context"
	"errors"
	"fmt"

	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/device"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/signin"
)

// errCredentials is the answer to a wrong password, an unknown user, and one who can
// not sign in this way.
var errCredentials = errGrant.Saying("The user name or the password is not right, or this user can not sign in this way.")

// byPassword takes a user's password out of an application's hands. OAuth has no such
// grant any more (RFC 9700, section 2.4): it is there for clients of the KOBIL SHIFT
// contract, for applications that an operator has named it for, and the log complains
// each time. It proves one factor and nothing more, so a user who must do anything
// else to sign in can not use it.
func (s *Service) byPassword(ctx context.Context, c call) (tokenAnswer, error) {
	s.Log.WarnContext(ctx, "an application sends passwords by itself: the password grant lets it see them; move it to the authorization code flow",
		"tenant", c.tenant.Slug, "client_id", c.app.ClientID)
	name, err := c.form.need("username")
	if err != nil {
		return tokenAnswer{}, err
	}
	given, err := c.form.need("password")
	if err != nil {
		return tokenAnswer{}, err
	}
	issuer, err := s.issuer(ctx, c.by.Tenant)
	if err != nil {
		return tokenAnswer{}, err
	}
	var q request
	if err := q.readScope(reaching(c.app, issuer), c.form); err != nil {
		return tokenAnswer{}, err
	}
	if c.tenant.Settings.SignIn.NoPassword {
		return tokenAnswer{}, errUnauthorized.Saying("Users of this tenant do not sign in with passwords.")
	}
	checked, err := s.checkPassword(ctx, c, name, given)
	if err != nil {
		return tokenAnswer{}, err
	}
	g, err := s.enter(ctx, c, checked, q)
	if err != nil {
		return tokenAnswer{}, err
	}
	return s.open(ctx, c, g, "", true)
}

// checkPassword returns the user whose password it is, and where it lets them in to.
func (s *Service) checkPassword(ctx context.Context, c call, name, given string) (in signin.Checked, err error) {
	in, err = s.SignIn.CheckPassword(ctx, c.by, c.app, name, given)
	for _, p := range []error{signin.ErrCredentials, signin.ErrSecondFactor, signin.ErrSSORequired, signin.ErrOrganizationWay} { // this grant has no place for more
		if errors.Is(err, p) {
			return in, errCredentials.Because("%w", err)
		}
	}
	if err != nil {
		return in, err
	}
	_, due, err := password.Find(ctx, s.DB, c.by.Tenant, in.User.ID)
	if err == nil && (due == password.Temporary || len(in.User.RequiredActions) > 0) {
		err = errCredentials.Because("user %s has something to do first", in.User.ID)
	}
	return in, err
}

// enter starts a session, which a user can see and end like others, and the grant
// that hangs on it.
func (s *Service) enter(ctx context.Context, c call, checked signin.Checked, q request) (g session.Grant, err error) {
	id, into := checked.User.ID, checked.Entry
	seen := device.Describe(c.by.UserAgent)
	country, city := s.Places.Locate(c.by.IP)
	from := session.From{IP: c.by.IP, Client: seen.Name, OS: seen.OS, Device: seen.Kind, Country: country, City: city}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		life, err := s.lifetimes(ctx, tx, c.by.Tenant, c.app, into.Organization, id)
		if err != nil {
			return err
		}
		proof := session.Proof{AMR: []string{"pwd"}, ACR: signin.ACROneFactor, At: tx.Now, Ways: checked.Ways, Entry: into}
		password.Hold(tx, c.by.Tenant, id, checked.Hash)
		in, _, err := s.Sessions.Start(ctx, tx, c.by, id, c.app.ID, proof, from, session.SessionLifetimes)
		if err != nil {
			return err
		}
		g, err = s.Sessions.OpenNew(tx, c.by, session.Grant{
			UserID: id, SessionID: in.ID, ApplicationID: c.app.ID, OrganizationID: into.Organization, Scope: q.Scope, KeyThumbprint: ofRefresh(c.app, c.thumbprint),
			Detail: session.Detail{AuthAt: in.AuthAt, AMR: in.AMR, ACR: in.ACR, Audience: q.Resources},
		}, life)
		return err
	})
	if errors.Is(err, session.ErrNotFound) || errors.Is(err, password.ErrChanged) {
		return g, errCredentials.Because("the user or the password is gone: %w", err)
	}
	if err != nil {
		return g, fmt.Errorf("sign in by password grant: %w", err)
	}
	return g, nil
}
