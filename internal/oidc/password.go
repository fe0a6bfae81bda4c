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
	"github.com/cardea-id/cardea/internal/token"
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
	var q request
	if err := q.readScope(c.app, c.form); err != nil {
		return tokenAnswer{}, err
	}
	if c.tenant.Settings.SignIn.NoPassword {
		return tokenAnswer{}, errUnauthorized.Saying("Users of this tenant do not sign in with passwords.")
	}
	id, err := s.checkPassword(ctx, c, name, given)
	if err != nil {
		return tokenAnswer{}, err
	}
	g, err := s.enter(ctx, c, id, q)
	if err != nil {
		return tokenAnswer{}, err
	}
	return s.open(ctx, c, g, "", true)
}

// checkPassword returns the user whose password it is.
func (s *Service) checkPassword(ctx context.Context, c call, name, given string) (id string, err error) {
	u, err := s.SignIn.CheckPassword(ctx, c.by, c.app, name, given)
	if errors.Is(err, signin.ErrCredentials) || errors.Is(err, signin.ErrSecondFactor) { // this grant has no place for one
		return "", errCredentials.Because("%w", err)
	}
	if err != nil {
		return "", err
	}
	_, temporary, err := password.Find(ctx, s.DB, c.by.Tenant, u.ID)
	if err == nil && (temporary || len(u.RequiredActions) > 0) {
		err = errCredentials.Because("user %s has something to do first", u.ID)
	}
	return u.ID, err
}

// enter starts a session, which a user can see and end like others, and the grant
// that hangs on it.
func (s *Service) enter(ctx context.Context, c call, id string, q request) (g session.Grant, err error) {
	seen := device.Describe(c.by.UserAgent)
	country, city := s.Places.Locate(c.by.IP)
	from := session.From{IP: c.by.IP, Client: seen.Name, OS: seen.OS, Device: seen.Kind, Country: country, City: city}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		proof := session.Proof{AMR: []string{"pwd"}, ACR: signin.ACROneFactor, At: tx.Now}
		in, _, err := s.Sessions.Start(ctx, tx, c.by, id, c.app.ID, proof, from, session.SessionLifetimes)
		if err != nil {
			return err
		}
		g, err = s.Sessions.Open(ctx, tx, c.by, session.Grant{
			UserID: id, SessionID: in.ID, ApplicationID: c.app.ID, Scope: q.Scope, KeyThumbprint: ofRefresh(c.app, c.thumbprint),
			Detail: session.Detail{AuthAt: in.AuthAt, AMR: in.AMR, ACR: in.ACR, Audience: q.Resources},
		}, token.GrantLifetimes(c.app))
		return err
	})
	if errors.Is(err, session.ErrNotFound) {
		return g, errCredentials.Because("the user is gone")
	}
	if err != nil {
		return g, fmt.Errorf("sign in by password grant: %w", err)
	}
	return g, nil
}
