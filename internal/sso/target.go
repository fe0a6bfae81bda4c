package sso

import (
	"cmp"
	"context"
	"net/url"

	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/tenant"
)

// Who begins at the provider has asked no application of ours for anything: what stands
// in RelayState could send them anywhere, and is not read. A connection names where they
// land, of what that application has registered, and the application begins a request of
// its own there. It is looked up each time, so that an address that is registered no more
// leads nowhere.

// A Landing is where somebody goes who has begun at the provider.
type Landing struct {
	Application tenant.Application
	Address     string
}

// landing is where people go who begin at the provider of a connection: nil for their own
// account. It is a problem if the application is not active or has not registered the
// address.
func (s *Service) landing(ctx context.Context, c Connection) (*Landing, error) {
	wanted := c.Settings.Target
	if wanted == (Target{}) {
		return nil, nil
	}
	app, err := s.Application(ctx, c.tenant, wanted.ApplicationID)
	if err != nil {
		return nil, err
	}
	at := cmp.Or(wanted.Address, app.OAuth.InitiateLoginURI)
	if !app.StartsAt(at) {
		return nil, ErrInvalid.Because("application %s has not registered the address %q", app.ID, at)
	}
	if at == app.OAuth.InitiateLoginURI {
		if at, err = s.withIssuer(ctx, c.tenant, at); err != nil {
			return nil, err
		}
	}
	return &Landing{app, at}, nil
}

// withIssuer is the address of a login initiation endpoint, which wants to know who sends
// somebody there (OpenID Connect Core 1.0, section 4).
func (s *Service) withIssuer(ctx context.Context, tenantID, address string) (string, error) {
	issuer, err := s.Origin(ctx, tenantID)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	q := u.Query()
	q.Set("iss", issuer)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// checkTarget judges a target that was not there before.
func (s *Service) checkTarget(ctx context.Context, c Connection, before Target) error {
	if c.Settings.Target == before {
		return nil
	}
	wrong := ErrInvalid.Saying("settings.target is of saml. It names an active application and, as address, one of its redirect URIs; without address the application needs an initiate_login_uri.").In("settings.target")
	if c.Kind != SAML && c.Settings.Target != (Target{}) {
		return wrong
	}
	_, err := s.landing(ctx, c)
	if p, ok := problem.From(err); ok {
		return wrong.Because("%w", p)
	}
	return err
}

// stepLanding notes in a verdict whether the one whom it is of has where to go.
func (s *Service) stepLanding(ctx context.Context, c Connection, v *verdict) error {
	wanted := c.Settings.Target
	if v.Cause != "" || !v.unasked || wanted == (Target{}) {
		return nil
	}
	to, err := s.landing(ctx, c)
	if _, known := problem.From(err); err != nil && !known {
		return err
	}
	step := Step{Name: "target", Expected: "an address that the application has registered", Received: shorten(cmp.Or(wanted.Address, wanted.ApplicationID)), OK: err == nil}
	if err == nil {
		step.Received = shorten(to.Address)
	} else {
		v.Cause, v.Profile = Landed, Profile{}
	}
	v.trace.Steps = append(v.trace.Steps, step)
	return nil
}
