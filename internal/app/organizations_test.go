package app_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
)

// The SSOJet calls on organizations, against the forms that the contract documents,
// and what nobody may do with them.

var orgTokenForm = regexp.MustCompile(`^org_token_[0-9a-v]{20}\.[0-9a-f]{32}\.[0-9A-Za-z]{22}$`)

var organizationForm = []string{"id", "name", "WhiteListDomains", "allow_profiles_outside_organization", "sso_connection_token", "domain", "WorkspaceName", "is_active"}

func makeOrganization(t *testing.T, c apptest.Client, body string) (id string) {
	t.Helper()
	id, _ = c.Post(t, "/api/v1/organization", body).Want(t, 200).Object(t)["id"].(string)
	return id
}

func TestAddOrganization(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := w.Demo.Post(t, "/api/v1/organization?client_id="+w.Demo.ClientID, `{"Name": "test", "WhiteListDomains": ["Example.com"], "AllowProfilesOutsideOrganization": false}`).Want(t, 200)
		singular := slices.Clone(organizationForm)
		singular[2] = "WhiteListDomain"
		wantKeys(t, a.Body, singular...)
		wantIDsAndTimes(t, a.Body)
		wantValues(t, a.Body, map[string]string{
			"name": `"test"`, "WhiteListDomain": `["example.com"]`, "allow_profiles_outside_organization": "false", "domain": `""`, "WorkspaceName": `""`, "is_active": "true",
		})
		if token, _ := a.Object(t)["sso_connection_token"].(string); !orgTokenForm.MatchString(token) {
			t.Errorf("the token is %q", token)
		}
		a = w.Demo.Post(t, "/api/v1/organization", `{"Name": "test", "WhiteListDomain": ["a.example"], "AllowProfilesOutsideOrganization": true}`).Want(t, 200) // the same name again
		wantValues(t, a.Body, map[string]string{"WhiteListDomain": `["a.example"]`, "allow_profiles_outside_organization": "true"})
		wantValues(t, w.Demo.Post(t, "/api/v1/organization", `{"Name": "bare"}`).Want(t, 200).Body, map[string]string{"WhiteListDomain": "null"})
		for body, code := range map[string]string{
			`{}`: "invalid_request_body", `{"Name": ""}`: "invalid_organization", `{"Name": "x", "WhiteListDomains": ["no domain"]}`: "invalid_domain", `{"Name": "x", "WhiteListDomains": "example.com"}`: "invalid_request_body",
		} {
			w.Demo.Post(t, "/api/v1/organization", body).WantError(t, 400, code)
		}
	})
}

func TestGetListUpdateAndDeleteOrganizations(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id := makeOrganization(t, w.Demo.Client, `{"Name": "Acme", "WhiteListDomains": ["acme.example"]}`)
		for _, path := range []string{"/api/v1/organization/", "/api/account/organization/", "/api/v1/organization"} {
			a := w.Demo.Put(t, path+id, `{"Name": "Acme 2", "WhiteListDomains": ["acme.example", "acme.test"], "address": "", "website": "https://acme.example", "time_zone": "Europe/Berlin", "currency": "EUR"}`).Want(t, 200)
			wantKeys(t, a.Body, organizationForm...)
			wantValues(t, a.Body, map[string]string{"name": `"Acme 2"`, "WhiteListDomains": `["acme.example","acme.test"]`})
			a = w.Demo.Get(t, path+id).Want(t, 200)
			wantKeys(t, a.Body, organizationForm...)
			wantValues(t, a.Body, map[string]string{"id": `"` + id + `"`, "name": `"Acme 2"`})
		}
		if got := w.Demo.Get(t, "/api/v1/tenants/"+id).Want(t, 200).Object(t); got["website"] != "https://acme.example" || got["time_zone"] != "Europe/Berlin" || got["currency"] != "EUR" {
			t.Errorf("got %v", got)
		}
		list := w.Demo.Get(t, "/api/v1/organizations").Want(t, 200).List(t)
		if len(list) != 1 || list[0]["id"] != id {
			t.Errorf("got %v", list)
		}
		wantValues(t, w.Demo.Delete(t, "/api/account/organization/"+id).Want(t, 200).Body, map[string]string{"is_deleted": "true"})
		w.Demo.Get(t, "/api/v1/organization/"+id).WantError(t, 404, "organization_not_found")
		w.Demo.Delete(t, "/api/v1/organization/"+id).WantError(t, 404, "organization_not_found")
	})
}

func TestPagesShowEveryOrganizationOnce(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		var want, some []string
		for i := range 11 {
			id := makeOrganization(t, w.Demo.Client, fmt.Sprintf(`{"Name": "Büro %d"}`, i))
			if want = append(want, id); i == 1 || i == 10 {
				some = append(some, id)
			}
		}
		for query, want := range map[string][]string{"limit=3": want, "limit=11": want, "": want, "limit=1&search=b%C3%9CRO+1": some, "search=nobody": nil} {
			var got []string
			for target := "/api/v1/organizations?" + query; target != ""; {
				a := w.Demo.Get(t, target).Want(t, 200)
				for _, o := range a.List(t) {
					got = append(got, o["id"].(string))
				}
				if target = ""; a.Header.Get("X-Next-Cursor") != "" {
					target = linkOf(t, a)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: got %v, want %v", query, got, want)
			}
		}
		first := w.Demo.Get(t, "/api/v1/tenants?limit=2").Want(t, 200).Object(t)
		cursor, _ := first["next_cursor"].(string)
		if tenants, _ := first["tenants"].([]any); len(tenants) != 2 || cursor == "" {
			t.Fatalf("got %v", first)
		}
		// A cursor is its list's, its filter's, its tenant's and its reader's.
		for _, target := range []string{"/api/v1/tenants?search=b&cursor=" + cursor, "/api/v1/tenants/" + want[0] + "/users?cursor=" + cursor, "/api/v1/tenants?cursor=x" + cursor, "/api/v1/tenants?cursor=AAAA"} {
			w.Demo.Get(t, target).WantError(t, 400, "invalid_cursor")
		}
		w.Demo.As(t, access.OrganizationsRead).Get(t, "/api/v1/tenants?cursor="+cursor).WantError(t, 400, "invalid_cursor")
		w.Tenant(t, "other").Get(t, "/api/v1/tenants?cursor="+cursor).WantError(t, 400, "invalid_cursor")
		w.Demo.Get(t, "/api/v1/tenants?limit=2&cursor="+cursor).Want(t, 200)
	})
}

func TestUsersOrganizationsInBothForms(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		user, email := makeUser(t, w.Demo.Client)
		id := makeOrganization(t, w.Demo.Client, `{"Name": "test0121"}`)
		w.Demo.Post(t, "/api/v1/tenants/"+id+"/users", map[string]any{"user_ids": []string{user}, "role_ids": []string{w.Demo.Roles["admin"].ID}}).Want(t, 200)
		role := `[{"role_id":"` + w.Demo.Roles["admin"].ID + `","role_name":"Admin","permissions":["Team View","Team Manage","Manage SSO Connection"]}]`
		for _, target := range []string{"/api/account/identity/users/" + user + "/organizations", "/api/v1/users/" + user + "/organizations"} {
			a := w.Demo.Get(t, target).Want(t, 200)
			wantValues(t, a.Body, map[string]string{"id": `"` + user + `"`, "email_id": `"` + email + `"`,
				"organizations": `[{"id":"` + id + `","Name":"test0121","WhiteListDomains":null,"AllowProfilesOutsideOrganization":false,"domain":"","WorkspaceName":"","roles":` + role + `,"is_active":true,"status":"active"}]`})
		}
		wantValues(t, w.Demo.Get(t, "/api/v1/users/"+user+"/tenants").Want(t, 200).Body, map[string]string{
			"tenants": `[{"tenant_id":"` + id + `","tenant_name":"test0121","status":"active","domains":[],"rules":{"allow_profiles_outside_organization":false},"roles":` + role + `}]`,
		})
		if got := idsOf(t, w.Demo.Get(t, "/api/v1/users?organization_id="+id)); !slices.Equal(got, []string{user}) {
			t.Errorf("members are %v", got)
		}
		w.Demo.Get(t, "/api/v1/users?search=a&organization_id="+id).WantError(t, 400, "invalid_query_parameters")
	})
}

func TestTheNewerFormOfOrganizations(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		made := w.Demo.Post(t, "/api/v1/tenants", `{"name": "Acme", "display_name": "Acme Inc.", "domains": ["acme.example"], "external_id": "crm-1", "metadata": {"plan": "gold"}, "rules": {"allow_profiles_outside_organization": true}}`).Want(t, 201)
		wantValues(t, made.Body, map[string]string{"slug": `"acme"`, "metadata": `{"plan":"gold"}`, "domains": `["acme.example"]`, "rules": `{"allow_profiles_outside_organization":true}`, "external_id": `"crm-1"`})
		w.Demo.Post(t, "/api/v1/tenants", `{"name": "ACME"}`).WantError(t, 409, "organization_exists")
		w.Demo.Post(t, "/api/v1/tenants", `{"name": "Other", "external_id": "crm-1"}`).WantError(t, 409, "organization_exists")
		one := "/api/v1/tenants/" + made.Object(t)["id"].(string)
		user, _ := makeUser(t, w.Demo.Client)
		owner, _ := makeUser(t, w.Demo.Client)
		wantValues(t, w.Demo.Put(t, one, `{"policy": {"mfa": "required", "ways": ["passkey"]}}`).Want(t, 200).Body, map[string]string{"is_updated": "true"})
		w.Demo.Put(t, one, `{"policy": {"require_sso": true, "ways": ["passkey"]}}`).WantError(t, 400, "invalid_organization")
		wantValues(t, w.Demo.Post(t, one+"/users", map[string]any{"user_ids": []string{user, owner}}).Want(t, 200).Body, map[string]string{"is_added": "true"})
		wantValues(t, w.Demo.Post(t, one+"/users/"+owner+"/roles", map[string]any{"role_ids": []string{w.Demo.Roles["owner"].ID}}).Want(t, 200).Body, map[string]string{"is_updated": "true"})
		w.Demo.Post(t, one+"/users/"+user+"/roles", `{"role_ids": ["6694c154565dfee5166d1cc7"]}`).WantError(t, 400, "invalid_role")
		w.Demo.Do(t, "DELETE", one+"/users", map[string]any{"users": []string{owner}}).WantError(t, 409, "last_organization_owner")
		w.Demo.Put(t, one+"/users/"+user, `{"break_glass": true}`).WantError(t, 400, "invalid_organization")
		w.Demo.Put(t, one+"/users/"+owner, `{"break_glass": true}`).Want(t, 200)
		wantValues(t, w.Demo.Do(t, "DELETE", one+"/users", map[string]any{"users": []string{user}}).Want(t, 200).Body, map[string]string{"success": "true"})
		users, _ := w.Demo.Get(t, one+"/users").Want(t, 200).Object(t)["users"].([]any)
		if len(users) != 1 || users[0].(map[string]any)["break_glass"] != true {
			t.Errorf("members are %v", users)
		}
		events, _ := w.Demo.Get(t, one+"/audit?limit=100").Want(t, 200).Object(t)["audit_logs"].([]any)
		var names []string
		for _, e := range events {
			names = append(names, strings.TrimPrefix(e.(map[string]any)["event"].(string), "organization."))
		}
		if want := []string{"member_removed", "break_glass_changed", "member_roles_changed", "member_added", "member_added", "updated", "created"}; !slices.Equal(names, want) {
			t.Errorf("the log has %v, want %v", names, want)
		}
		wantValues(t, w.Demo.Delete(t, one).Want(t, 200).Body, map[string]string{"success": "true"})
	})
}

func TestPermissionsAreExplained(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		user, _ := makeUser(t, w.Demo.Client)
		id := makeOrganization(t, w.Demo.Client, `{"Name": "Acme"}`)
		explain := func(query string) (standing string, roles map[string]string, permissions []string) {
			t.Helper()
			var e org.Explanation
			w.Demo.Get(t, "/api/v1/users/"+user+"/permissions"+query).Want(t, 200).Into(t, &e)
			roles = map[string]string{}
			for _, r := range e.Roles {
				roles[r.Slug] = strings.Join(r.Sources, " ")
			}
			for _, p := range e.Permissions {
				permissions = append(permissions, p.Slug)
			}
			return e.Standing, roles, permissions
		}
		want := func(query, standing string, roles map[string]string, permissions ...string) {
			t.Helper()
			s, r, p := explain(query)
			if s != standing || fmt.Sprint(r) != fmt.Sprint(roles) || !slices.Equal(p, permissions) {
				t.Errorf("%q: got %s, %v, %v, want %s, %v, %v", query, s, r, p, standing, roles, permissions)
			}
		}
		in := "?organization_id=" + id
		want("", "active", map[string]string{})
		want(in, "no_member", map[string]string{})
		w.Demo.Put(t, "/api/v1/users/"+user+"/roles", map[string]any{"role_id": []string{w.Demo.Roles["developer"].ID}}).Want(t, 200)
		want("", "active", map[string]string{"developer": "tenant"}, "manage_sso_connection")
		want(in, "no_member", map[string]string{})
		w.Demo.Post(t, "/api/v1/tenants/"+id+"/users", map[string]any{"user_ids": []string{user}, "role_ids": []string{w.Demo.Roles["admin"].ID}}).Want(t, 200)
		w.Demo.Put(t, "/api/v1/tenants/"+id, map[string]any{"policy": map[string]any{"default_roles": []string{w.Demo.Roles["developer"].ID}}}).Want(t, 200)
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return w.Orgs.SetAutomaticRoles(ctx, tx, access.System(w.Demo.ID), id, user, "scim:x", []string{w.Demo.Roles["admin"].ID})
		})
		want(in, "active", map[string]string{"admin": "manual scim:x", "developer": "default"}, "team_view", "team_manage", "manage_sso_connection")
		w.Demo.Put(t, "/api/v1/tenants/"+id+"/users/"+user, `{"status": "suspended"}`).Want(t, 200)
		want(in, "suspended", map[string]string{"admin": "manual scim:x", "developer": "default"})
		w.Demo.As(t, access.UsersRead).Get(t, "/api/v1/users/"+user+"/permissions"+in).WantError(t, 403, "access_denied")
	})
}

// What belongs to one organization is not found under the id of another, and nothing of
// a tenant is found by another.
func TestNestedIDsBelongTogether(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		w.Orgs.TXT = func(context.Context, string) ([]string, error) { return nil, nil }
		a := "/api/v1/tenants/" + makeOrganization(t, w.Demo.Client, `{"Name": "A", "AllowProfilesOutsideOrganization": true}`)
		b := "/api/v1/tenants/" + makeOrganization(t, w.Demo.Client, `{"Name": "B", "AllowProfilesOutsideOrganization": true}`)
		user, _ := makeUser(t, w.Demo.Client)
		w.Demo.Post(t, b+"/users", map[string]any{"user_ids": []string{user}}).Want(t, 200)
		w.Demo.Post(t, b+"/domains", `{"domain": "b.example"}`).Want(t, 201)
		invited, _ := w.Demo.Post(t, b+"/invitations", `{"email": "ann@example.com"}`).Want(t, 201).Object(t)["id"].(string)
		other := w.Tenant(t, "other")
		for _, c := range []struct {
			method, path, body, code string
		}{
			{"GET", "/users/" + user, "", "organization_member_not_found"},
			{"PUT", "/users/" + user, `{"status": "suspended"}`, "organization_member_not_found"},
			{"POST", "/users/" + user + "/roles", `{"role_ids": []}`, "organization_member_not_found"},
			{"POST", "/domains/b.example/verify", "", "domain_not_found"},
			{"DELETE", "/domains/b.example", "", "domain_not_found"},
			{"GET", "/invitations/" + invited, "", "invitation_not_found"},
			{"PATCH", "/invitations/" + invited, `{"role_ids": []}`, "invitation_not_found"},
			{"DELETE", "/invitations/" + invited, "", "invitation_not_found"},
			{"POST", "/invitations/" + invited + "/resend", "", "invitation_not_found"},
		} {
			var body any
			if c.body != "" {
				body = c.body
			}
			w.Demo.Do(t, c.method, a+c.path, body).WantError(t, 404, c.code)
			if got := other.Do(t, c.method, b+c.path, body); got.Status != http.StatusNotFound {
				t.Errorf("another tenant: %s %s: %d %s", c.method, c.path, got.Status, got.Body)
			}
		}
		for _, path := range []string{"", "/users", "/domains", "/invitations", "/audit"} {
			other.Get(t, b+path).WantError(t, 404, "organization_not_found")
		}
		stranger, _ := makeUser(t, other.Client)
		w.Demo.Post(t, b+"/users", map[string]any{"user_ids": []string{stranger}}).WantError(t, 404, "organization_not_found")
	})
}

// The account that an invitation was sent to inherits none when it is made anew.
func TestADeletedAccountLeavesNoInvitation(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		one := "/api/v1/tenants/" + makeOrganization(t, w.Demo.Client, `{"Name": "A", "AllowProfilesOutsideOrganization": true}`)
		user, email := makeUser(t, w.Demo.Client)
		invited, _ := w.Demo.Post(t, one+"/invitations", map[string]any{"email": email}).Want(t, 201).Object(t)["id"].(string)
		w.Demo.Delete(t, "/api/v1/users/"+user).Want(t, 200)
		wantValues(t, w.Demo.Get(t, one+"/invitations/"+invited).Want(t, 200).Body, map[string]string{"status": `"revoked"`})
	})
}
