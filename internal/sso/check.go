package sso

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/secret"
)

// Limits of a connection.
const (
	maxConnections = 20      // of an organization
	maxPage        = 100     // of a list
	maxText        = 512     // bytes of a name, an id, a scope
	maxSecret      = 8 << 10 // bytes
	maxList        = 50
	maxRules       = 200
	maxSkew        = 300 // seconds
)

func (s *Service) prepare(ctx context.Context, by access.Actor, c Connection, given string) (p Prepared, err error) {
	if p.isNew = c.ID == ""; p.isNew {
		c.ID, c.State, c.tenant = secret.ID(s.DB.Now()), Draft, by.Tenant
		c.sealed, c.keys, c.HasSecret = nil, nil, false
	} else if err := s.carryOver(ctx, by, &c, given); err != nil {
		return p, err
	}
	if err := s.check(&c, given); err != nil {
		return p, err
	}
	p.c = c
	return p, errLater
}

// carryOver puts into c what a change does not change.
func (s *Service) carryOver(ctx context.Context, by access.Actor, c *Connection, given string) error {
	old, err := findConnection(ctx, s.DB, by.Tenant, c.OrganizationID, c.ID)
	if err != nil {
		return err
	}
	// A secret is sent nowhere but to the provider that it was given for.
	if given == "" && old.HasSecret && old.Settings.Issuer != c.Settings.Issuer {
		return ErrInvalid.Saying("Send client_secret too: it is not sent to another issuer than the one it was given for.").In("client_secret")
	}
	c.Kind, c.tenant, c.sealed, c.keys, c.HasSecret = old.Kind, old.tenant, old.sealed, old.keys, old.HasSecret
	c.refresh, c.failures, c.warn = old.refresh, old.failures, old.warn
	return nil
}

// check puts c into its normal form, or says what is wrong with it.
func (s *Service) check(c *Connection, given string) error {
	v, ok := vendors[c.Provider]
	switch {
	case c.Kind != SAML && c.Kind != OIDC:
		return ErrInvalid.Saying("kind is saml or oidc.").In("kind")
	case !ok || len(v.kinds) > 0 && !slices.Contains(v.kinds, c.Kind):
		return ErrInvalid.Saying("provider is one of: %s.", strings.Join(Providers(), ", ")).In("provider")
	case len(given) > maxSecret:
		return ErrInvalid.Saying("client_secret has at most 8 KiB.").In("client_secret")
	}
	if c.Name = strings.TrimSpace(c.Name); c.Name == "" {
		c.Name = v.Name
	}
	if len(c.Name) > maxText || !isLine(c.Name) {
		return ErrInvalid.Saying("name has at most %d bytes and no control characters.", maxText).In("name")
	}
	return nil
}

func isLine(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }

// complete says what is missing for a connection to be on.
func (c Connection) complete() error {
	missing := func(field string) error { return ErrIncomplete.Saying("%s is missing.", field).In(field) }
	o := c.Settings
	switch {
	case c.Kind == SAML && o.IdP.EntityID == "":
		return missing("settings.idp")
	case c.Kind == SAML && len(o.IdP.Certificates) == 0:
		return missing("settings.idp.certificates")
	case c.Kind == OIDC && o.Issuer == "":
		return missing("settings.issuer")
	case c.Kind == OIDC && o.ClientID == "":
		return missing("settings.client_id")
	case c.Kind == OIDC && !c.HasSecret && o.TokenAuth != "none":
		return missing("client_secret")
	}
	return nil
}

// addedRoles are those that rules give and did not give before.
func addedRoles(rules, before []Rule) (out []string) {
	for _, r := range rules {
		known := slices.ContainsFunc(before, func(b Rule) bool { return b.RoleID == r.RoleID })
		if !known && !slices.Contains(out, r.RoleID) {
			out = append(out, r.RoleID)
		}
	}
	return out
}

// fingerprints are those of the provider's certificates, for the log.
func fingerprints(c Connection) (out []string) {
	for _, text := range c.Settings.IdP.Certificates {
		sum := sha256.Sum256([]byte(text))
		out = append(out, hex.EncodeToString(sum[:8]))
	}
	return out
}
