package scim_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/scim"
)

// A site is a directory of an organization, and the other side's client.
type site struct {
	apptest.Client
	w      *apptest.World
	tenant *apptest.Tenant
	org    org.Organization
	dir    scim.Directory
	by     access.Actor
}

// newSite makes an organization with a directory and a token.
func newSite(t *testing.T, w *apptest.World, tenant *apptest.Tenant, name string) *site {
	t.Helper()
	s := &site{w: w, tenant: tenant, by: access.System(tenant.ID)}
	w.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		if s.org, err = w.Orgs.Create(ctx, tx, s.by, org.Organization{Name: name, IsActive: true, AllowOutside: true}); err != nil {
			return err
		}
		s.dir, err = w.SCIM.Create(ctx, tx, s.by, scim.Directory{OrganizationID: s.org.ID, Name: name, Type: "custom"})
		return err
	})
	s.Client = tenant.Client
	s.Key = s.token(t, scim.NewTokenRequest{})
	return s
}

func (s *site) token(t *testing.T, want scim.NewTokenRequest) (key string) {
	t.Helper()
	s.w.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		_, key, err = s.w.SCIM.NewToken(ctx, tx, s.by, s.org.ID, s.dir.ID, want)
		return err
	})
	return key
}

// prove marks a domain as proved by the organization.
func (s *site) prove(t *testing.T, domain string) {
	t.Helper()
	s.w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO organization_domains (tenant_id, organization_id, domain, token, is_verified, verified_at, checked_at, failures, created_at)
			VALUES ($1, $2, $3, 'x', TRUE, $4, $4, 0, $4)`, s.tenant.ID, s.org.ID, domain, tx.Millis())
		return err
	})
	s.w.Clock.Advance(database.MaxAge)
}

// do asks the directory.
func (s *site) do(t *testing.T, method, path string, body any) apptest.Answer {
	t.Helper()
	return s.Do(t, method, scim.Prefix+s.dir.ID+path, body)
}

func (s *site) get(t *testing.T, path string) apptest.Answer {
	t.Helper()
	return s.do(t, http.MethodGet, path, nil)
}

// made creates a resource and returns its id.
func (s *site) made(t *testing.T, path, body string) string {
	t.Helper()
	id, _ := s.do(t, http.MethodPost, path, body).Want(t, 201).Object(t)["id"].(string)
	return id
}

// user creates a user of this name.
func (s *site) user(t *testing.T, name string) string {
	t.Helper()
	return s.made(t, "/Users", userBody(name))
}

func userBody(name string) string {
	return `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "` + name + `", "externalId": "x-` + name + `", "active": true,
		"name": {"givenName": "Ada", "familyName": "Lovelace"}, "emails": [{"type": "work", "primary": true, "value": "` + name + `"}]}`
}

func (s *site) patch(t *testing.T, path string, operations string) apptest.Answer {
	t.Helper()
	return s.do(t, http.MethodPatch, path, `{"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [`+operations+`]}`)
}

// refused checks an error in the dialect of SCIM.
func refused(t *testing.T, a apptest.Answer, status int, scimType string) {
	t.Helper()
	var f scim.Failure
	if err := json.Unmarshal(a.Body, &f); err != nil || a.Status != status || f.ScimType != scimType || f.Detail == "" ||
		len(f.Schemas) != 1 || f.Schemas[0] != "urn:ietf:params:scim:api:messages:2.0:Error" || f.Status != http.StatusText(status) && f.Status == "" {
		t.Errorf("%s %s: got %d %s, want %d %s", a.Request.Method, a.Request.URL, a.Status, a.Body, status, scimType)
	}
}

// at walks into a decoded answer.
func at(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

// total asks for how many a filter finds.
func (s *site) total(t *testing.T, path string) int {
	t.Helper()
	n, _ := s.get(t, path).Want(t, 200).Object(t)["totalResults"].(json.Number)
	if n == "" {
		f, _ := s.get(t, path).Object(t)["totalResults"].(float64)
		return int(f)
	}
	i, _ := n.Int64()
	return int(i)
}

func TestUserLife(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		a := s.do(t, "POST", "/Users", userBody("ada@acme.test")).Want(t, 201)
		u := a.Object(t)
		id, _ := u["id"].(string)
		if a.Header.Get("Location") != at(u, "meta", "location") || !strings.HasSuffix(a.Header.Get("Location"), "/scim/v2/"+s.dir.ID+"/Users/"+id) {
			t.Errorf("Location is %q, meta.location %q", a.Header.Get("Location"), at(u, "meta", "location"))
		}
		if a.Header.Get("Content-Type") != "application/scim+json" || a.Header.Get("ETag") != at(u, "meta", "version") {
			t.Errorf("got %v", a.Header)
		}
		s.get(t, "/Users/"+id).Want(t, 200)
		s.patch(t, "/Users/"+id, `{"op": "Replace", "path": "active", "value": "False"}`).Want(t, 200)
		if got := at(s.get(t, "/Users/"+id).Object(t), "active"); got != false {
			t.Errorf("active is %v", got)
		}
		s.do(t, "DELETE", "/Users/"+id, nil).Want(t, 204)
		refused(t, s.get(t, "/Users/"+id), 404, "")
		if n := s.total(t, "/Users?filter=userName+eq+%22ada@acme.test%22"); n != 0 {
			t.Errorf("%d found after the end", n)
		}
		if again := s.user(t, "ada@acme.test"); again != id {
			t.Errorf("came back as %s, was %s", again, id)
		}
	})
}
