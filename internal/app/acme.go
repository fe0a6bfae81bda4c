package app

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/sso"
)

// The organization of the developer mode, so that single sign-on can be tried at once:
// whoever types an address at its domain is sent to the test identity provider.
const (
	acme           = "acme"
	acmeDomain     = "acme.test"
	acmeConnection = "Test identity provider"
)

// isTestDomain reports whether a domain is under .test, which nobody can own (RFC 6761,
// section 6.2). In the developer mode those need no DNS to be proved.
func isTestDomain(domain string) bool { return strings.HasSuffix(domain, ".test") }

// connectAcme connects the test identity provider and proves the domain of Acme. The
// provider has another address when the server has. What somebody has taken away stays
// away.
func (a *App) connectAcme(ctx context.Context, tenantID string) error {
	by := access.System(tenantID)
	o, err := a.Orgs.BySlug(ctx, a.DB, tenantID, acme)
	if errors.Is(err, org.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	domains, err := a.Orgs.Domains(ctx, a.DB, tenantID, o.ID)
	if err != nil {
		return err
	}
	isNew := slices.ContainsFunc(domains, func(d org.Domain) bool { return d.Domain == acmeDomain && !d.IsVerified })
	if err := a.connectTestIdP(ctx, by, o.ID, isNew); err != nil || !isNew {
		return err
	}
	_, err = a.Orgs.VerifyDomain(ctx, by, o.ID, acmeDomain)
	return err
}

func (a *App) connectTestIdP(ctx context.Context, by access.Actor, organization string, isNew bool) error {
	text, err := a.testIdPMetadata(ctx, by.Tenant)
	if err != nil {
		return err
	}
	idp, err := a.SSO.ReadMetadata(text)
	if err != nil {
		return err
	}
	all, err := a.SSO.List(ctx, a.DB, by, organization)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(c sso.Connection) bool { return c.Name == acmeConnection })
	switch {
	case i < 0 && isNew:
		return a.saveAcme(ctx, by, sso.Connection{OrganizationID: organization, Name: acmeConnection, Kind: sso.SAML, Provider: "custom", Settings: sso.Settings{IdP: idp}})
	case i >= 0 && all[i].Settings.IdP.EntityID != idp.EntityID:
		all[i].Settings.IdP = idp
		return a.saveAcme(ctx, by, all[i])
	}
	return nil
}

func (a *App) saveAcme(ctx context.Context, by access.Actor, c sso.Connection) error {
	p, err := a.SSO.Prepare(ctx, by, c, "")
	if err != nil {
		return err
	}
	return a.DB.Write(ctx, func(tx *database.Tx) error {
		if c.ID != "" {
			_, err := a.SSO.Save(ctx, tx, by, p)
			return err
		}
		made, err := a.SSO.Create(ctx, tx, by, p)
		if err == nil {
			_, err = a.SSO.SetState(ctx, tx, by, made.OrganizationID, made.ID, sso.Active)
		}
		return err
	})
}
