package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/tenant"
)

type tenantCommands struct {
	List     tenantList     `cmd:"" help:"List the tenants."`
	Create   tenantCreate   `cmd:"" help:"Create a tenant with its built-in roles."`
	Delete   tenantDelete   `cmd:"" help:"Delete a tenant and everything in it."`
	Settings tenantSettings `cmd:"" help:"Show or change the settings of a tenant."`
}

type tenantForm struct {
	ID         string    `json:"id"`
	Slug       string    `json:"slug"`
	Name       string    `json:"name"`
	Kind       string    `json:"kind"`
	IsActive   bool      `json:"is_active"`
	CreatedAt  time.Time `json:"created_at"`
	ModifiedAt time.Time `json:"modified_at"`
}

func tenantFormOf(t tenant.Tenant) tenantForm {
	return tenantForm{t.ID, t.Slug, t.Name, t.Kind, t.IsActive, t.CreatedAt, t.ModifiedAt}
}

type tenantList struct {
	onDatabase
	format
}

// Run lists.
func (c *tenantList) Run(p *program) error {
	return c.open(p, func(s *session) error {
		tenants, err := s.Tenants.List(s.ctx, s.DB, actor(""))
		if err != nil {
			return err
		}
		forms := make([]tenantForm, len(tenants))
		for i, t := range tenants {
			forms[i] = tenantFormOf(t)
		}
		return list(p.out, c.JSON, forms, "SLUG NAME KIND ACTIVE CREATED ID", func(t tenantForm) []any {
			return []any{t.Slug, t.Name, t.Kind, t.IsActive, t.CreatedAt, t.ID}
		})
	})
}

type tenantCreate struct {
	onDatabase
	format
	Slug string `arg:"" help:"First label of its host and its realm name: lower-case letters, digits and hyphens."`
	Name string `help:"What people see; unset, the slug."`
	Kind string `default:"SSMS" enum:"SSMS,AST" help:"Kind in the KOBIL form: ${enum}."`
}

// Run creates.
func (c *tenantCreate) Run(p *program) error {
	return c.open(p, func(s *session) error {
		by, err := s.operator()
		if err != nil {
			return err
		}
		var made tenant.Tenant
		err = s.write(func(tx *database.Tx) (err error) {
			made, _, err = s.NewTenant(s.ctx, tx, by, c.Slug, c.Name, c.Kind)
			return err
		})
		if err != nil {
			return err
		}
		f := tenantFormOf(made)
		return show(p.out, c.JSON, f, "id", f.ID, "slug", f.Slug, "name", f.Name)
	})
}

type tenantDelete struct {
	onDatabase
	Slug string `arg:"" help:"The tenant."`
	Yes  bool   `short:"y" help:"Do not ask."`
}

// Run deletes.
func (c *tenantDelete) Run(p *program) error {
	return c.open(p, func(s *session) error {
		t, err := s.Tenants.BySlug(s.ctx, c.Slug)
		if err != nil {
			return err
		}
		users, err := s.Users.Count(s.ctx, s.DB, actor(t.ID), noFilter)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("delete tenant %s with its %d users, its applications, keys and log", t.Slug, users)
		if err := p.confirm(c.Yes, what, t.Slug); err != nil {
			return err
		}
		by, err := s.operator()
		if err != nil {
			return err
		}
		return s.write(func(tx *database.Tx) error { return s.Tenants.Delete(s.ctx, tx, by, c.Slug) })
	})
}

type tenantSettings struct {
	onTenant
	Change []string `arg:"" optional:"" placeholder:"NAME=VALUE" help:"What to change, such as branding.accent=#3a5bc7; nothing shows them all."`
}

// Run shows the settings in force as JSON, or changes some.
func (c *tenantSettings) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		if len(c.Change) == 0 {
			return printJSON(p.out, t.Settings.InForce())
		}
		patch, err := patchOf(c.Change)
		if err != nil {
			return err
		}
		return s.write(func(tx *database.Tx) error {
			_, err := s.Tenants.ChangeSettings(s.ctx, tx, by, t.ID, patch)
			return err
		})
	})
}

// patchOf makes changes of the form branding.accent=#3a5bc7 into what the API takes.
// Which names there are, and of what type, is told by the JSON form of the settings.
func patchOf(changes []string) ([]byte, error) {
	text, err := json.Marshal(tenant.Settings{})
	if err != nil {
		return nil, err
	}
	var known map[string]any
	if err := json.Unmarshal(text, &known); err != nil {
		return nil, err
	}
	patch := map[string]any{}
	for _, change := range changes {
		name, value, ok := strings.Cut(change, "=")
		if !ok {
			return nil, usage("%q is not of the form NAME=VALUE", change)
		}
		if err := assign(patch, known, strings.Split(name, "."), value); errors.Is(err, errNoLeaf) {
			return nil, usage("there is no setting %q; there are: %s", name, strings.Join(leaves("", known), ", "))
		} else if err != nil {
			return nil, usage("%s %v, not %q", name, err, value)
		}
	}
	return json.Marshal(patch)
}

var errNoLeaf = errors.New("there is no such setting")

// assign puts the leaf at path into patch, in the type that it has in known. It fails
// with errNoLeaf if there is none, or with what the leaf takes.
func assign(patch, known map[string]any, path []string, value string) error {
	name := path[0]
	old, ok := known[name]
	if inner, isTree := old.(map[string]any); isTree && len(path) > 1 {
		part, _ := patch[name].(map[string]any)
		if part == nil {
			part = map[string]any{}
			patch[name] = part
		}
		return assign(part, inner, path[1:], value)
	}
	if !ok || len(path) > 1 {
		return errNoLeaf
	}
	v, err := typed(old, value)
	patch[name] = v
	return err
}

// typed reads a value as the type of what is there.
func typed(like any, value string) (any, error) {
	switch like.(type) {
	case string:
		return value, nil
	case bool:
		if value != "true" && value != "false" {
			return nil, errors.New("is true or false")
		}
		return value == "true", nil
	case float64:
		v, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return nil, errors.New("is a whole number")
		}
		return v, nil
	case nil, []any: // of texts, separated by commas
		return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }), nil
	}
	return nil, errNoLeaf
}

func leaves(prefix string, tree map[string]any) (names []string) {
	for name, v := range tree {
		if inner, ok := v.(map[string]any); ok {
			names = append(names, leaves(prefix+name+".", inner)...)
		} else {
			names = append(names, prefix+name)
		}
	}
	slices.Sort(names)
	return names
}
