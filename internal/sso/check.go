package sso

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/rp"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// Limits of a connection.
const (
	maxConnections = 20      // of an organization
	maxPage        = 100     // of a list
	maxText        = 512     // bytes of a name, an id, a scope
	maxURL         = 2048    // bytes of an address, an entity id
	maxSecret      = 8 << 10 // bytes
	maxMetadata    = 1 << 20 // bytes
	maxList        = 50
	maxRules       = 200
	maxSkew        = 300 // seconds
)

func (s *Service) prepare(ctx context.Context, by access.Actor, c Connection, given string) (p Prepared, err error) {
	var old Connection
	if p.isNew = c.ID == ""; p.isNew {
		c.ID, c.State, c.tenant = secret.ID(s.DB.Now()), Draft, by.Tenant
		c.sealed, c.keys, c.HasSecret = nil, nil, false
	} else if old, err = s.carryOver(ctx, by, &c, given); err != nil {
		return p, err
	}
	if err := s.check(&c, given); err != nil {
		return p, err
	}
	if c.Kind == SAML && c.Settings.MetadataURL != "" && c.Settings.MetadataURL != old.Settings.MetadataURL {
		if c.Settings.IdP, err = s.fetchMetadata(ctx, c.Settings.MetadataURL); err != nil {
			return p, err
		}
	}
	if err := s.checkIdP(&c); err != nil {
		return p, err
	}
	if err := s.checkTarget(ctx, c, old.Settings.Target); err != nil {
		return p, err
	}
	s.plan(&c)
	if err := s.seal(ctx, &c, given); err != nil {
		return p, err
	}
	p.c, p.secret, p.before = c, given != "", old.ModifiedAt
	return p, nil
}

// carryOver puts into c what a change does not change, and returns what there was.
func (s *Service) carryOver(ctx context.Context, by access.Actor, c *Connection, given string) (Connection, error) {
	old, err := findConnection(ctx, s.DB, by.Tenant, c.OrganizationID, c.ID)
	if err != nil {
		return old, err
	}
	// A secret is sent nowhere but to the provider that it was given for.
	if given == "" && old.HasSecret && old.Settings.Issuer != c.Settings.Issuer {
		return old, ErrInvalid.Saying("Send client_secret too: it is not sent to another issuer than the one it was given for.").In("client_secret")
	}
	c.Kind, c.State, c.tenant, c.sealed, c.keys, c.HasSecret = old.Kind, old.State, old.tenant, old.sealed, old.keys, old.HasSecret
	c.refresh, c.failures, c.warn, c.Health, c.CreatedAt = old.refresh, old.failures, old.warn, old.Health, old.CreatedAt
	return old, nil
}

// seal seals the secret that was given, and makes the keys of a new connection.
func (s *Service) seal(ctx context.Context, c *Connection, given string) error {
	box, err := s.Box(ctx, c.tenant)
	if err != nil {
		return err
	}
	if given != "" {
		c.sealed, c.HasSecret = box.Seal(secretPlace(c.ID), []byte(given)), true
	}
	if c.Kind == SAML && len(c.keys) == 0 {
		key, err := newKey(s.DB.Now(), c.ID)
		if err != nil {
			return err
		}
		sealKeys(box, c, []storedKey{key})
	}
	return nil
}

func secretPlace(id string) string { return "sso_connections/" + id + "/secret" }

// secretOf is what we prove ourselves with at an OpenID provider.
func (s *Service) secretOf(ctx context.Context, c Connection) (string, error) {
	if len(c.sealed) == 0 {
		return "", nil
	}
	box, err := s.Box(ctx, c.tenant)
	if err != nil {
		return "", err
	}
	plain, err := box.Open(secretPlace(c.ID), c.sealed)
	return string(plain), err
}

// plan says when to read the metadata anew and when to warn of certificates.
func (s *Service) plan(c *Connection) {
	now := s.DB.Now()
	c.refresh, c.failures = 0, 0
	if c.Settings.MetadataURL != "" {
		c.refresh = now.Add(refreshEvery).UnixMilli()
	}
	c.warn = nextWarning(validUntil(*c), now)
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
	case given != "" && c.Kind == SAML:
		return ErrInvalid.Saying("A connection over SAML has no client_secret.").In("client_secret")
	}
	if c.Name = strings.TrimSpace(c.Name); c.Name == "" {
		c.Name = v.Name
	}
	if len(c.Name) > maxText || !isLine(c.Name) {
		return ErrInvalid.Saying("name has at most %d bytes and no control characters.", maxText).In("name")
	}
	if err := c.Settings.check(); err != nil {
		return err
	}
	return s.checkAddresses(c.Settings)
}

func isLine(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }

// internalNames are fields that an attribute is mapped to.
var internalNames = []string{"subject", "email", "first_name", "last_name", "username"}

func (o *Settings) check() error {
	for field, text := range map[string]string{"entity_id": o.EntityID, "name_id_format": o.NameIDFormat, "client_id": o.ClientID, "group_attribute": o.GroupAttribute} {
		if len(text) > maxURL || !isLine(text) || strings.TrimSpace(text) != text {
			return ErrInvalid.Saying("settings.%s is too long, or has space or control characters at its ends.", field).In("settings." + field)
		}
	}
	if !slices.Contains([]string{"", "client_secret_basic", "client_secret_post", "none"}, o.TokenAuth) {
		return ErrInvalid.Saying("settings.token_auth is client_secret_basic, client_secret_post or none.").In("settings.token_auth")
	}
	if o.SkewSeconds < 0 || o.SkewSeconds > maxSkew {
		return ErrInvalid.Saying("settings.skew_seconds is 0 to %d.", maxSkew).In("settings.skew_seconds")
	}
	for field, list := range map[string][]string{"scopes": o.Scopes, "contexts": o.Contexts} {
		for _, word := range list {
			if len(list) > maxList || word == "" || len(word) > maxText || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
				return ErrInvalid.Saying("settings.%s has at most %d words of visible ASCII characters.", field, maxList).In("settings." + field)
			}
		}
	}
	for i, id := range o.Directories {
		if o.Directories[i] = strings.ToLower(strings.TrimSpace(id)); len(o.Directories) > maxList || !rp.IsDirectory(o.Directories[i]) {
			return ErrInvalid.Saying("settings.directories has at most %d ids of directories (tenants), such as 72f988bf-86f1-41af-91ab-2d7cd011db47.", maxList).In("settings.directories")
		}
	}
	for name, attribute := range o.Attributes {
		if !slices.Contains(internalNames, name) || len(attribute) > maxURL || !isLine(attribute) {
			return ErrInvalid.Saying("settings.attributes says which attribute holds: %s.", strings.Join(internalNames, ", ")).In("settings.attributes")
		}
	}
	return checkRules(o.GroupRules)
}

func checkRules(rules []Rule) error {
	if len(rules) > maxRules {
		return ErrInvalid.Saying("There are at most %d rules for groups.", maxRules).In("settings.group_rules")
	}
	for _, r := range rules {
		if r.Group == "" || len(r.Group) > maxText || !isLine(r.Group) || !secret.IsID(r.RoleID) {
			return ErrInvalid.Saying("A rule has a group as the provider sends it, and the id of a role.").In("settings.group_rules")
		}
	}
	return nil
}

// checkAddresses judges what we would ask ourselves; where browsers are sent is judged
// with the metadata.
func (s *Service) checkAddresses(o Settings) error {
	for field, address := range map[string]string{"settings.issuer": o.Issuer, "settings.metadata_url": o.MetadataURL} {
		if address == "" {
			continue
		}
		u, err := s.Outbound.Parse(address)
		if p, ok := problem.From(err); ok {
			return p.In(field)
		}
		if err != nil {
			return err
		}
		if u.Fragment != "" || field == "settings.issuer" && u.RawQuery != "" {
			return ErrInvalid.Saying("The address has a part that does not belong there.").In(field)
		}
	}
	return nil
}

// checkIdP puts what is known of a SAML provider into its normal form, or says what is
// wrong with it.
func (s *Service) checkIdP(c *Connection) error {
	o := &c.Settings.IdP
	if c.Kind != SAML || o.EntityID == "" && len(o.Certificates) == 0 {
		return nil
	}
	if o.EntityID == "" || len(o.EntityID) > maxURL || !isLine(o.EntityID) {
		return ErrInvalid.Saying("settings.idp.entity_id is what the provider calls itself.").In("settings.idp.entity_id")
	}
	for field, address := range map[string]string{"sso_redirect": o.SSORedirect, "sso_post": o.SSOPost, "slo_redirect": o.SLORedirect, "slo_post": o.SLOPost, "slo_redirect_answer": o.SLORedirectAnswer, "slo_post_answer": o.SLOPostAnswer} {
		if address != "" && samlxml.CheckEndpoint(address, s.Outbound.AllowHTTP) != nil {
			return ErrInvalid.Saying("settings.idp.%s is an https address.", field).In("settings.idp." + field)
		}
	}
	if len(o.Certificates) > 10 {
		return ErrInvalid.Saying("There are at most 10 certificates.").In("settings.idp.certificates")
	}
	for i, text := range o.Certificates {
		certificate, err := samlxml.ParseCertificate([]byte(strings.TrimSpace(text)))
		if err != nil {
			return ErrInvalid.Saying("A certificate is X.509 as PEM or Base64, with an RSA key from 2048 bits or ECDSA.").In("settings.idp.certificates").Because("%w", err)
		}
		o.Certificates[i] = base64.StdEncoding.EncodeToString(certificate.Raw)
	}
	return nil
}

// complete says what is missing for a connection to be on.
func (c Connection) complete() error {
	missing := func(field string) error { return ErrIncomplete.Saying("%s is missing.", field).In(field) }
	o := c.Settings
	switch {
	case c.Kind == SAML && o.IdP.EntityID == "":
		return missing("settings.idp")
	case c.Kind == SAML && o.IdP.SSORedirect == "" && o.IdP.SSOPost == "":
		return missing("settings.idp.sso_redirect")
	case c.Kind == SAML && len(o.IdP.Certificates) == 0:
		return missing("settings.idp.certificates")
	case c.Kind == OIDC && o.Issuer == "":
		return missing("settings.issuer")
	case c.Kind == OIDC && isMany(o.Issuer) && len(o.Directories) == 0:
		return ErrIncomplete.Saying("This issuer is that of everybody's directories. settings.directories names those whose people may sign in; or put the id of the directory into the issuer, in place of common or organizations.").In("settings.directories")
	case c.Kind == OIDC && o.ClientID == "":
		return missing("settings.client_id")
	case c.Kind == OIDC && !c.HasSecret && o.TokenAuth != "none":
		return missing("client_secret")
	}
	return nil
}

func isMany(issuer string) bool {
	_, many := manyOf(issuer)
	return many
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

// ReadMetadata reads what somebody uploads. Its error is ErrInvalid.
func (s *Service) ReadMetadata(raw []byte) (IdP, error) {
	if len(raw) > maxMetadata {
		return IdP{}, ErrInvalid.Saying("Metadata have at most 1 MiB.").In("metadata")
	}
	read, err := samlxml.ParseMetadata(raw, samlxml.MetadataRules{Now: s.DB.Now(), AllowInsecure: s.Outbound.AllowHTTP})
	if fault, ok := errors.AsType[*samlxml.Fault](err); ok {
		last := fault.Checks[len(fault.Checks)-1]
		return IdP{}, ErrInvalid.Saying("These are not the metadata of one identity provider: %s should be %s.", last.Name, last.Expected).In("metadata").Because("%w", err)
	}
	return idpFrom(read), err
}

// fetchMetadata reads metadata from an address.
func (s *Service) fetchMetadata(ctx context.Context, address string) (IdP, error) {
	a, err := s.Outbound.Get(ctx, address, maxMetadata)
	if p, ok := problem.From(err); ok {
		return IdP{}, p.In("settings.metadata_url")
	}
	if err != nil {
		return IdP{}, err
	}
	read, err := s.ReadMetadata(a.Body)
	if p, ok := problem.From(err); ok {
		return IdP{}, ErrInvalid.Saying("%s", p.Message).In("settings.metadata_url").Because("%w", err)
	}
	return read, err
}
