package app

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/device"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/keyring"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/oidc"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/passkey"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/passwordless"
	"github.com/cardea-id/cardea/internal/portal"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/scim"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/signin"
	"github.com/cardea-id/cardea/internal/social"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/testidp"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/web"
)

// identity is what signs people in and tells applications about it.
type identity struct {
	Ring     *keyring.Ring
	Sessions *session.Service
	Tokens   *token.Service
	Passkeys *passkey.Service
	Codes    *passwordless.Service
	MFA      *mfa.Service
	Social   *social.Service
	Orgs     *org.Service
	SSO      *sso.Service
	SCIM     *scim.Service
	Portal   *portal.Service
	SignIn   *signin.Service
	Provider *oidc.Service

	places   *device.Places
	breached *password.List
}

// buildIdentity connects the services of sign-in. A request that comes with an access
// token of ours is its user's or its application's.
func (a *App) buildIdentity() (err error) {
	if a.Config.GeoIP != "" {
		if a.places, err = device.Open(a.Config.GeoIP); err != nil {
			return err
		}
	}
	if a.Config.BreachedPasswords != "" {
		if a.breached, err = password.OpenList(a.Config.BreachedPasswords); err != nil {
			return err
		}
		a.breached.Log = a.Log
	}
	limits := a.Tenants.Limits
	a.Ring = &keyring.Ring{DB: a.DB, Box: a.Tenants.Box}
	a.Sessions = &session.Service{DB: a.DB, Box: a.Tenants.Box}
	a.Orgs = &org.Service{DB: a.DB, Tenants: a.Tenants, Users: a.Users, Limits: limits, Notify: a.Notify, Rights: a.rightsOf}
	if a.Config.Dev {
		a.Orgs.NeedsNoDNS = isTestDomain
	}
	a.Tokens = &token.Service{DB: a.DB, Ring: a.Ring, Tenants: a.Tenants, Users: a.Users, Orgs: a.Orgs, Sessions: a.Sessions}
	a.Tenants.Tokens = a.Tokens.Authenticate
	a.Users.Changed = func() { // this process need not wait for what it knows
		a.Tokens.Forget()
		a.Sessions.Forget()
	}
	a.Passkeys = &passkey.Service{DB: a.DB, Box: a.Tenants.Box}
	a.Codes = &passwordless.Service{DB: a.DB, Boxes: a.Notify.Boxes, Limits: limits, Notify: a.Notify}
	a.MFA = &mfa.Service{DB: a.DB, Box: a.Tenants.Box, Limits: limits}
	a.Social = &social.Service{DB: a.DB, Box: a.Tenants.Box, Outbound: a.Outbound, Origin: a.originOf}
	a.Tenants.Social = a.Social.Ways
	a.SSO = &sso.Service{DB: a.DB, Box: a.Tenants.Box, Outbound: a.Outbound, Origin: a.originOf, Organization: a.requireOrganization, Proves: a.Orgs.Proves, Application: a.Tenants.ActiveApplication, MayGrant: a.Orgs.MayGrant, Log: a.Log}
	a.Users.Members, a.Users.Leaves, a.Users.Stops = a.Orgs.ListUsers, a.Orgs.UserLeaves, a.Orgs.UserStops
	a.SignIn = &signin.Service{
		DB: a.DB, Log: a.Log, Tenants: a.Tenants, Users: a.Users, Sessions: a.Sessions, Tokens: a.Tokens, Passkeys: a.Passkeys, Codes: a.Codes, Notify: a.Notify,
		Hasher: a.Hasher, Limits: limits, MFA: a.MFA, Social: a.Social, Orgs: a.Orgs, SSO: a.SSO, Places: a.places, Breached: a.breached, Dev: a.Config.Dev,
	}
	a.Provider = &oidc.Service{
		DB: a.DB, Tenants: a.Tenants, Users: a.Users, Sessions: a.Sessions, Tokens: a.Tokens, Ring: a.Ring, SignIn: a.SignIn, Limits: limits,
		Outbound: a.Outbound, Jobs: a.Jobs, Hasher: a.Hasher, Places: a.places, Log: a.Log, Dev: a.Config.Dev,
	}
	a.SCIM = &scim.Service{DB: a.DB, Log: a.Log, Users: a.Users, Orgs: a.Orgs, Limits: limits, Origin: a.originOf, EndAll: a.endAll}
	a.Portal = &portal.Service{
		DB: a.DB, Tenants: a.Tenants, Orgs: a.Orgs, Connections: a.SSO, Limits: limits, View: a.SignIn.View,
		Directories: a.SCIM, Notify: a.Notify,
	}
	a.Users.News = a.SignIn.TellOwner
	a.SSO.Warn = a.Portal.WarnOfCertificate
	a.SignIn.Ended, a.SignIn.Applications = a.Provider.SessionEnded, a.Provider.Application
	a.Orgs.Left = a.left
	a.SignIn.RevokeConsent, a.SignIn.Consents = a.Provider.RevokeConsent, a.consents
	a.Tenants.Own = func(path string) bool {
		return oidc.IsProtocol(path) || scim.IsProtocol(path) || signin.TakesMFAToken(path) || isTestProvider(path)
	}
	a.Tenants.Foreign = isTestProvider
	return nil
}

// isTestProvider reports whether a path is the test identity provider's, which has clients
// and tokens of its own.
func isTestProvider(path string) bool { return strings.HasPrefix(path, testidp.Path+"/") }

// left ends what was made for an organization that somebody leaves. Who is no member any
// more is no more whom its identity provider says they are.
func (a *App) left(ctx context.Context, tx *database.Tx, by access.Actor, organization, userID, reason string) error {
	if err := a.SignIn.Left(ctx, tx, by, organization, userID, reason); err != nil || userID == "" || reason != "removed" {
		return err
	}
	return a.SSO.Unlink(ctx, tx, by, organization, userID)
}

// requireOrganization returns nil for an organization that is active.
func (a *App) requireOrganization(ctx context.Context, db database.Reader, tenantID, id string) error {
	o, err := a.Orgs.Find(ctx, db, tenantID, id)
	if err == nil && !o.IsActive {
		err = org.ErrNotFound.Because("disabled")
	}
	return err
}

// endAll ends everything a user is signed in with, and the API keys they have made: for
// whoever leaves.
func (a *App) endAll(ctx context.Context, tx *database.Tx, by access.Actor, userID, reason string) error {
	if _, err := a.SignIn.EndSessions(ctx, tx, by, userID, reason); err != nil {
		return err
	}
	return a.Tenants.RevokeKeysOf(ctx, tx, by.With(access.KeysWrite), "user:"+userID, reason)
}

// originOf is the address of a tenant, without a path.
func (a *App) originOf(ctx context.Context, tenantID string) (string, error) {
	t, err := a.Tenants.ByID(ctx, tenantID)
	if err != nil {
		return "", err
	}
	return a.Tenants.Origin(ctx, t)
}

// consents are what the account's pages show of package oidc.
func (a *App) consents(ctx context.Context, tenantID, userID string) (out []signin.Consent, err error) {
	found, err := a.Provider.Consents(ctx, a.DB, tenantID, userID)
	for _, c := range found {
		out = append(out, signin.Consent{ApplicationID: c.ApplicationID, Scope: c.Scope, Since: c.CreatedAt})
	}
	return out, err
}

// keepIdentity registers what repeats: keys in time, and the end of what is over.
func (a *App) keepIdentity() {
	a.Provider.Handle(a.Jobs)
	a.Jobs.Handle(signin.NewsJob, jobs.Handler{Run: a.SignIn.SendNews})
	a.Jobs.Handle(scim.ApplyJob, jobs.Handler{Run: a.SCIM.Apply})
	a.Jobs.Every("rotate_keys", time.Hour, a.Ring.Rotate)
	a.Jobs.Every("check_domains", time.Hour, a.Orgs.CheckDomains)
	for name, sweep := range map[string]func(context.Context) error{
		"sweep_sessions": a.Sessions.Sweep, "sweep_tokens": a.Tokens.Sweep, "sweep_challenges": a.Codes.Sweep, "sweep_attempts": a.SignIn.Sweep, "sweep_factors": a.MFA.Sweep, "sweep_flows": a.Social.Sweep, "sweep_invitations": a.Orgs.Sweep, "sweep_portal_links": a.Portal.Sweep, "sweep_directory_requests": a.SCIM.Sweep,
		"sweep_sso": a.SSO.Sweep, "refresh_metadata": a.SSO.Refresh, "warn_of_certificates": a.SSO.WarnOfCertificates,
		"sweep_assertions": a.Provider.Sweep, "sweep_authorizations": a.Provider.SweepRequests,
		"sweep_passkeys": a.Passkeys.Sweep,
		"sweep_resets":   func(ctx context.Context) error { return password.SweepResets(ctx, a.DB) },
	} {
		a.Jobs.Every(name, time.Hour, sweep)
	}
}

func (a *App) mountIdentity() {
	a.SignIn.Mount(a.Router)
	a.Social.Mount(a.Router)
	a.SSO.Mount(a.Router)
	a.Orgs.Mount(a.Router)
	a.Portal.Mount(a.Router)
	a.Provider.Mount(a.Router)
	a.SCIM.Mount(a.Router)
}

// canonical sends browsers that look at a page at one of a tenant's other hosts to the
// tenant's own: cookies belong to a host, and so does the issuer of tokens.
func (a *App) canonical(next http.Handler) http.Handler {
	return web.Handler(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet && r.Method != http.MethodHead || !isPage(r.URL.Path) && !oidc.IsPage(r.URL.Path) {
			next.ServeHTTP(w, r)
			return nil
		}
		t, err := a.Tenants.ByID(r.Context(), web.ActorOf(r.Context()).Tenant)
		if err != nil {
			return err
		}
		origin, err := a.Tenants.Origin(r.Context(), t)
		if err != nil {
			return err
		}
		_, authority, _ := strings.Cut(origin, "://")
		if web.CanonicalHost(authority) != web.Of(r.Context()).Host {
			http.Redirect(w, r, origin+r.URL.RequestURI(), http.StatusSeeOther)
			return nil
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// pageDialect answers errors where people look. A developer is told which field it was
// and how to mend it.
func (a *App) pageDialect() web.Dialect {
	return page.Dialect(func(w http.ResponseWriter, r *http.Request, p *problem.Problem) page.View {
		v := a.SignIn.View(w, r)
		if !a.Config.Dev {
			return v
		}
		v.Dev = []string{p.Code + ": " + p.Message}
		for _, f := range p.Fields {
			v.Dev = append(v.Dev, "field: "+f.Name)
		}
		if cause := errors.Unwrap(p); cause != nil {
			v.Dev = append(v.Dev, "because: "+cause.Error())
		}
		return v
	})
}

// isPage reports whether people look at what an address answers.
func isPage(path string) bool {
	for _, prefix := range []string{"/signin", "/signup", "/signout", "/account", "/sso", "/sso-test", "/portal", testidp.Path, "/.well-known/change-password"} {
		if rest, ok := strings.CutPrefix(path, prefix); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return strings.HasPrefix(path, "/saml/") && (strings.HasSuffix(path, "/acs") || strings.HasSuffix(path, "/slo") || strings.HasSuffix(path, "/leave"))
}

func (a *App) closeIdentity() (err error) {
	if a.places != nil {
		err = a.places.Close()
	}
	if a.breached != nil {
		err = errors.Join(err, a.breached.Close())
	}
	return err
}
