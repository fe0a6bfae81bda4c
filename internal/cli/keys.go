package cli

import (
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/tenant"
)

type keyCommands struct {
	List   keyList   `cmd:"" help:"List the API keys, without the keys themselves."`
	Create keyCreate `cmd:"" help:"Create an API key and print it, once."`
	Revoke keyRevoke `cmd:"" help:"End an API key and those it made, within a second."`
}

type keyForm struct {
	ID         string              `json:"id"`
	Key        string              `json:"key,omitempty"` // only when it was made
	Name       string              `json:"name"`
	Hint       string              `json:"hint"`
	Scopes     []access.Permission `json:"scopes"`
	CreatedBy  string              `json:"created_by"`
	CreatedAt  time.Time           `json:"created_at"`
	ExpiresAt  *time.Time          `json:"expires_at"`
	RevokedAt  *time.Time          `json:"revoked_at"`
	LastUsedAt *time.Time          `json:"last_used_at"`
}

func keyFormOf(k tenant.Key, key string) keyForm {
	return keyForm{k.ID, key, k.Name, k.Hint, k.Scopes, k.CreatedBy, k.CreatedAt, stamp(k.ExpiresAt), stamp(k.RevokedAt), stamp(k.LastUsedAt)}
}

// state is a word or a moment that says whether a key works.
func state(k tenant.Key, now time.Time) string {
	switch {
	case !k.RevokedAt.IsZero():
		return "revoked"
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return "expired"
	case !k.ExpiresAt.IsZero():
		return "until " + k.ExpiresAt.Format(time.DateOnly)
	}
	return "works"
}

type keyList struct {
	onTenant
	format
}

// Run lists.
func (c *keyList) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		keys, err := s.Tenants.Keys(s.ctx, s.DB, by)
		if err != nil {
			return err
		}
		if c.JSON {
			forms := make([]keyForm, len(keys))
			for i, k := range keys {
				forms[i] = keyFormOf(k, "")
			}
			return printJSON(p.out, forms)
		}
		now := s.DB.Now()
		return list(p.out, false, keys, "ID NAME KEY STATE LAST_USED SCOPES", func(k tenant.Key) []any {
			return []any{k.ID, k.Name, "sk_…" + k.Hint, state(k, now), orNever(k.LastUsedAt), scopeWords(k.Scopes)}
		})
	})
}

func orNever(t time.Time) any {
	if t.IsZero() {
		return "never"
	}
	return t
}

func scopeWords(scopes []access.Permission) string {
	words := make([]string, len(scopes))
	for i, p := range scopes {
		words[i] = string(p)
	}
	return strings.Join(words, " ")
}

type keyCreate struct {
	onTenant
	format
	Name    string   `arg:"" help:"What it is for."`
	Scope   []string `required:"" placeholder:"SCOPE" help:"What it may do, such as users:read; may be repeated; * is all but users:export_hashes and settings:security."`
	Expires string   `placeholder:"WHEN" help:"When it ends: a date, a time or a span such as 90d. Unset, never."`
}

// Help implements kong.HelpProvider.
func (keyCreate) Help() string { return "Scopes: " + scopeWords(access.All) + "." }

// Run creates.
func (c *keyCreate) Run(p *program) error {
	scopes, err := access.ParseScopes(strings.Join(c.Scope, " "))
	if err != nil {
		return err
	}
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		expires, err := parseTime("expires", c.Expires, s.DB.Now(), 1)
		if err != nil {
			return err
		}
		var f keyForm
		err = s.write(func(tx *database.Tx) error {
			k, key, err := s.Tenants.CreateKey(s.ctx, tx, by, c.Name, scopes, expires)
			f = keyFormOf(k, key)
			return err
		})
		if err != nil {
			return err
		}
		return show(p.out, c.JSON, f, "id", f.ID, "name", f.Name, "key", f.Key, "scopes", scopeWords(f.Scopes), "expires", expires)
	})
}

type keyRevoke struct {
	onTenant
	ID  string `arg:"" help:"Its id, from cardea key list."`
	Yes bool   `short:"y" help:"Do not ask."`
}

// Run revokes.
func (c *keyRevoke) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		k, err := s.Tenants.Key(s.ctx, s.DB, by, c.ID)
		if err != nil {
			return err
		}
		if err := p.confirm(c.Yes, "revoke key "+cell(k.Name)+" of tenant "+t.Slug+" and all keys it made", k.Name); err != nil {
			return err
		}
		return s.write(func(tx *database.Tx) error { return s.Tenants.RevokeKey(s.ctx, tx, by, c.ID) })
	})
}
