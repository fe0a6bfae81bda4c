package app_test

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
)

// The SSOJet calls on users and configuration, against the forms that the
// contract documents: every field, in the example's order, with its nulls, empty
// strings and mixed case.

var (
	fullForm = []string{
		"_id", "account_id", "connection_id", "email", "first_name", "last_name", "groups", "raw_attributes", "roles", "passkey_credential", "phone_id",
		"created_at", "modified_at", "email_verified", "is_active", "LastLoginAt", "tenants", "identities",
	}
	createdForm = slices.Insert(slices.Clone(fullForm), 2, "organization_id")
	shortForm   = []string{
		"id", "account_id", "connection_type", "email", "first_name", "last_name", "created_at", "modified_at", "is_active", "LastLoginAt",
	}
)

func wantIDsAndTimes(t *testing.T, object []byte) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(object, &got); err != nil {
		t.Fatal(err)
	}
	for name, form := range map[string]string{
		"_id": `^[0-9a-f]{24}$`, "id": `^[0-9a-f]{24}$`, "account_id": `^[0-9a-f]{24}$`, "connection_id": `^[0-9a-f]{24}$`,
		"created_at": `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, "modified_at": `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`,
	} {
		value, ok := got[name]
		if text, _ := value.(string); ok && !regexp.MustCompile(form).MatchString(text) {
			t.Errorf("%s is %v, want the form %s", name, value, form)
		}
	}
}

func TestCreateUser(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		a := w.Demo.Post(t, "/api/v1/users?client_id="+w.Demo.ClientID, `{"first_name": "John", "last_name": "Doe", "email": "user@example.com"}`).Want(t, 200)
		wantKeys(t, a.Body, createdForm...)
		wantIDsAndTimes(t, a.Body)
		wantValues(t, a.Body, map[string]string{
			"account_id": `"` + w.Demo.ID + `"`, "organization_id": `"000000000000000000000000"`, "email": `"user@example.com"`, "first_name": `"John"`, "last_name": `"Doe"`,
			"groups": "null", "raw_attributes": "null", "roles": "null", "passkey_credential": "null", "phone_id": `""`,
			"email_verified": "false", "is_active": "true", "LastLoginAt": "null", "tenants": "null", "identities": "null",
		})
	})
}

func TestListUsers(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		if a := w.Demo.Get(t, "/api/v1/users").Want(t, 200); strings.TrimSpace(string(a.Body)) != "[]" {
			t.Errorf("without users: got %s, want an empty array", a.Body)
		}
		first, _ := makeUser(t, w.Demo.Client)
		second, _ := makeUser(t, w.Demo.Client)
		for _, target := range []string{
			"/api/v1/users", "/api/api/users", "/api/v1/users?limit=100", "/api/api/users?client_id=" + w.Demo.ClientID + "&client_id=&limit=100",
		} {
			a := w.Demo.Get(t, target)
			if got := idsOf(t, a); !slices.Equal(got, []string{first, second}) {
				t.Errorf("%s: got %v, want %s and %s", target, got, first, second)
			}
			var users []json.RawMessage
			a.Into(t, &users)
			wantKeys(t, users[0], fullForm...)
			wantIDsAndTimes(t, users[0])
		}
		for _, next := range []string{"Link", "X-Next-Cursor"} {
			if got := w.Demo.Get(t, "/api/v1/users").Header.Get(next); got != "" {
				t.Errorf("the only page has %s: %s", next, got)
			}
		}
	})
}

func TestGetUser(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id := makeUserOf(t, w.Demo.Client, map[string]any{"first_name": "Jane", "last_name": "Doe", "email": "Jane+shop@Example.COM"})
		full := w.Demo.Get(t, "/api/v1/users/"+id).Want(t, 200)
		wantKeys(t, full.Body, fullForm...)
		wantIDsAndTimes(t, full.Body)
		wantValues(t, full.Body, map[string]string{"_id": `"` + id + `"`, "email": `"jane+shop@example.com"`})

		for _, target := range []string{
			"/api/v1/users/jane+shop@example.com/email", "/api/v1/users/JANE%2Bshop%40example.com/email",
			"/api/v1/users/jane+shop@example.com", "/api/v1/users/jane%2Bshop%40EXAMPLE.com",
		} {
			short := w.Demo.Get(t, target).Want(t, 200)
			wantKeys(t, short.Body, shortForm...)
			wantIDsAndTimes(t, short.Body)
			wantValues(t, short.Body, map[string]string{"id": `"` + id + `"`, "connection_type": `"ManualUser"`, "LastLoginAt": "null", "is_active": "true"})
		}
	})
}

func TestGetUserWhoIsNotThere(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		other := w.Tenant(t, "other")
		foreign, foreignEmail := makeUser(t, other.Client)
		for target, code := range map[string]string{
			"/api/v1/users/6694c154565dfee5166d1cc7":            "user_not_found",
			"/api/v1/users/" + strings.ToUpper(foreign):         "user_not_found",
			"/api/v1/users/not-an-id":                           "user_not_found",
			"/api/v1/users/nobody@example.com":                  "user_not_found",
			"/api/v1/users/nobody@example.com/email":            "user_not_found",
			"/api/v1/users/" + foreign:                          "user_not_found",
			"/api/v1/users/" + foreignEmail + "/email":          "user_not_found",
			"/api/v1/users/" + foreign + "/loginlogs":           "user_not_found",
			"/api/v1/users/" + foreign + "/organizations":       "user_not_found",
			"/api/v1/users/" + foreign + "/organizations/roles": "resource_not_found",
		} {
			w.Demo.Get(t, target).WantError(t, 404, code)
		}
		w.Demo.Get(t, "/api/v1/users/nobody/email").WantError(t, 400, "invalid_email")
		// A username with an @ is no address, and an address is no username.
		makeUserOf(t, w.Demo.Client, map[string]any{"username": "ann@home"})
		w.Demo.Get(t, "/api/v1/users/ann@home/email").WantError(t, 400, "invalid_email")
	})
}

func TestUpdateUser(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, email := makeUser(t, w.Demo.Client)
		a := w.Demo.Put(t, "/api/v1/users/"+id+"?client_id="+w.Demo.ClientID,
			`{"email": "new@example.com", "first_name": "Jo", "last_name": "Do", "groups": {}, "raw_attributes": {"test": "abc", "test2": "abbc2"}}`).Want(t, 200)
		wantKeys(t, a.Body, fullForm...)
		wantValues(t, a.Body, map[string]string{
			"_id": `"` + id + `"`, "email": `"new@example.com"`, "first_name": `"Jo"`, "groups": "{}", "raw_attributes": `{"test":"abc","test2":"abbc2"}`, "roles": "null",
		})
		w.Demo.Get(t, "/api/v1/users/"+email+"/email").WantError(t, 404, "user_not_found")
		if again := w.Demo.Get(t, "/api/v1/users/"+id).Want(t, 200); string(again.Body) != string(a.Body) {
			t.Errorf("kept %s, answered %s", again.Body, a.Body)
		}
		// What is not named stays, an empty body changes nothing, null counts as not named.
		for _, body := range []any{`{"first_name": "Jo"}`, `{}`, nil, `{"email": null, "last_name": null, "is_active": null}`} {
			if same := w.Demo.Put(t, "/api/v1/users/"+id, body).Want(t, 200); string(same.Body) != string(a.Body) {
				t.Errorf("after %v: got %s, want %s", body, same.Body, a.Body)
			}
		}
		wantValues(t, w.Demo.Put(t, "/api/v1/users/"+id, `{"groups": null, "raw_attributes": null, "first_name": ""}`).Want(t, 200).Body,
			map[string]string{"groups": "null", "raw_attributes": "null", "first_name": `""`})
		w.Demo.Put(t, "/api/v1/users/6694c154565dfee5166d1cc7", `{"first_name": "x"}`).WantError(t, 404, "user_not_found")
	})
}

func TestUpdateRefusesAnotherUsersAddress(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		_, taken := makeUser(t, w.Demo.Client)
		id, email := makeUser(t, w.Demo.Client)
		w.Demo.Put(t, "/api/v1/users/"+id, map[string]any{"email": strings.ToUpper(taken), "first_name": "changed"}).WantError(t, 409, "user_exists")
		wantValues(t, w.Demo.Get(t, "/api/v1/users/"+id).Body, map[string]string{"email": `"` + email + `"`, "first_name": `"John"`})
		w.Demo.Put(t, "/api/v1/users/"+id, map[string]any{"username": taken}).WantError(t, 409, "user_exists")
	})
}

func TestVerifyUser(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, _ := makeUser(t, w.Demo.Client)
		for _, c := range []struct{ body, verified string }{
			{`{"verification_status": "true"}`, "true"}, {`{"verification_status": "false"}`, "false"},
			{`{"verification_status": true}`, "true"}, {`{"verification_status": false}`, "false"},
			{`{"vefification_status": "true"}`, "true"}, {`{"vefification_status": false}`, "false"},
			{`{"verification_status": "true", "vefification_status": "false"}`, "true"}, {`{"verification_status": "False"}`, "false"},
		} {
			a := w.Demo.Post(t, "/api/v1/users/"+id+"/verify", c.body).Want(t, 200)
			wantKeys(t, a.Body, fullForm...)
			wantValues(t, a.Body, map[string]string{"_id": `"` + id + `"`, "email_verified": c.verified})
		}
		for _, body := range []any{nil, `{}`, `{"verification_status": null}`, `{"verification_status": "yes"}`, `{"verification_status": 1}`, `{"verification_status": ""}`, `{"verification_status": ["true"]}`, `[]`} {
			w.Demo.Post(t, "/api/v1/users/"+id+"/verify", body).WantError(t, 400, "invalid_request_body")
		}
		w.Demo.Post(t, "/api/v1/users/6694c154565dfee5166d1cc7/verify", `{"verification_status": "true"}`).WantError(t, 404, "user_not_found")
	})
}

func TestANewAddressIsUnverified(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, _ := makeUser(t, w.Demo.Client)
		w.Demo.Post(t, "/api/v1/users/"+id+"/verify", `{"verification_status": "true"}`).Want(t, 200)
		wantValues(t, w.Demo.Put(t, "/api/v1/users/"+id, map[string]any{"email": newEmail()}).Want(t, 200).Body, map[string]string{"email_verified": "false"})
	})
}

func TestDeleteUser(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, email := makeUser(t, w.Demo.Client)
		a := w.Demo.Do(t, "DELETE", "/api/v1/users/"+id+"?client_id="+w.Demo.ClientID, `{}`).Want(t, 200)
		if strings.TrimSpace(string(a.Body)) != `{"is_deleted":true}` {
			t.Errorf("got %s", a.Body)
		}
		for _, target := range []string{"/api/v1/users/" + id, "/api/v1/users/" + email + "/email"} {
			w.Demo.Get(t, target).WantError(t, 404, "user_not_found")
		}
		w.Demo.Delete(t, "/api/v1/users/"+id).WantError(t, 404, "user_not_found")
		// The address is free again, and who takes it is somebody else.
		if again := makeUserOf(t, w.Demo.Client, map[string]any{"email": email}); again == id {
			t.Error("an id was used twice")
		}
	})
}

// The contract's sample of delete lacks the id. Nobody must be deleted by it.
func TestDeleteWithoutAnIDDeletesNobody(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, _ := makeUser(t, w.Demo.Client)
		for _, target := range []string{"/api/v1/users/?client_id=" + w.Demo.ClientID, "/api/v1/users/", "/api/v1/users?client_id=" + w.Demo.ClientID} {
			w.Demo.Do(t, "DELETE", target, `{}`).WantError(t, 400, "malformed_request")
		}
		w.Demo.Get(t, "/api/v1/users/"+id).Want(t, 200)
	})
}

func TestManageRoles(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		w.Demo.User(t, "owner", "owner") // one stays
		id, _ := makeUser(t, w.Demo.Client)
		admin, owner := w.Demo.Roles["admin"].ID, w.Demo.Roles["owner"].ID
		for _, c := range []struct{ body, roles string }{
			{`{"role_id": ["` + admin + `"]}`, `["` + admin + `"]`},
			{`{"role_id": ["` + owner + `", "` + admin + `"]}`, `["` + owner + `","` + admin + `"]`},
			{`["` + admin + `"]`, `["` + admin + `"]`},
			{`{"role_id": "` + owner + `"}`, `["` + owner + `"]`},
			{`{"role_ids": ["` + admin + `"]}`, `["` + admin + `"]`},
			{`{"role_id": []}`, `null`},
		} {
			a := w.Demo.Put(t, "/api/v1/users/"+id+"/roles", c.body).Want(t, 200)
			wantKeys(t, a.Body, fullForm...)
			wantValues(t, a.Body, map[string]string{"_id": `"` + id + `"`, "roles": c.roles})
			wantValues(t, w.Demo.Get(t, "/api/v1/users/"+id).Body, map[string]string{"roles": c.roles})
		}
		for _, body := range []any{nil, `{}`, `{"role_id": null}`, `{"role_id": 7}`, `{"role_id": [7]}`, `{"role_id": {}}`, `"` + admin + `"`} {
			w.Demo.Put(t, "/api/v1/users/"+id+"/roles", body).WantError(t, 400, "invalid_request_body")
		}
		w.Demo.Put(t, "/api/v1/users/6694c154565dfee5166d1cc7/roles", `["`+admin+`"]`).WantError(t, 404, "user_not_found")
	})
}

// Another tenant's role can not be given, nor what is none.
func TestManageRolesGrantsOnlyRolesOfTheTenant(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, _ := makeUser(t, w.Demo.Client)
		other := w.Tenant(t, "other")
		for _, role := range []string{other.Roles["owner"].ID, "6694c154565dfee5166d1cc7", "owner", "", "6694C154565DFEE5166D1CC7"} {
			w.Demo.Put(t, "/api/v1/users/"+id+"/roles", map[string]any{"role_id": []string{w.Demo.Roles["developer"].ID, role}}).WantError(t, 400, "invalid_role")
		}
		wantValues(t, w.Demo.Get(t, "/api/v1/users/"+id).Body, map[string]string{"roles": "null"})
	})
}

func TestUsersOrganizations(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, email := makeUser(t, w.Demo.Client)
		for _, target := range []string{"/api/account/identity/users/" + id + "/organizations", "/api/v1/users/" + id + "/organizations"} {
			a := w.Demo.Get(t, target).Want(t, 200)
			wantKeys(t, a.Body, "id", "email_id", "organizations")
			wantValues(t, a.Body, map[string]string{"id": `"` + id + `"`, "email_id": `"` + email + `"`, "organizations": "[]"})
		}
	})
}

func TestLoginLogs(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		id, _ := makeUser(t, w.Demo.Client)
		stranger, _ := makeUser(t, w.Demo.Client)
		wantValues(t, w.Demo.Get(t, "/api/v1/users/"+id+"/loginlogs").Want(t, 200).Body, map[string]string{"login_logs": "[]"})
		w.Write(t, func(_ context.Context, tx *database.Tx) error {
			for target, result := range map[string]string{id: audit.Success, stranger: audit.Success} {
				by := access.Visitor(w.Demo.ID, "203.0.113.7")
				by.UserAgent = "Mozilla/5.0"
				from := map[string]any{"name": "Firefox", "os": "Linux", "device": "desktop", "country": "Germany", "city": "Berlin", "application": "x"}
				if err := audit.Append(tx, by, audit.Event{Action: "signin.succeeded", Target: "user", TargetID: target, Result: result, Detail: from}); err != nil {
					return err
				}
			}
			return audit.Append(tx, access.Visitor(w.Demo.ID, ""), audit.Event{Action: "signin.failed", Target: "user", TargetID: id, Result: audit.Failure})
		})
		var logs struct {
			Entries []json.RawMessage `json:"login_logs"`
		}
		w.Demo.Get(t, "/api/v1/users/"+id+"/loginlogs?client_id="+w.Demo.ClientID).Want(t, 200).Into(t, &logs)
		if len(logs.Entries) != 1 {
			t.Fatalf("got %d sign-ins, want the one that went well", len(logs.Entries))
		}
		wantKeys(t, logs.Entries[0], "IpAddress", "Country", "City", "UserAgent", "Name", "Os", "Device", "CreatedAt")
		wantValues(t, logs.Entries[0], map[string]string{
			"IpAddress": `"203.0.113.7"`, "UserAgent": `"Mozilla/5.0"`, "Name": `"Firefox"`, "Os": `"Linux"`, "Device": `"desktop"`, "Country": `"Germany"`, "City": `"Berlin"`,
		})
	})
}

func TestConfig(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		visitor := w.Demo.Client
		visitor.Key = ""
		byClient := visitor.Get(t, "/api/v1/config?client_id="+w.Demo.ClientID).Want(t, 200)
		wantKeys(t, byClient.Body, "id", "name", "client_id", "branding", "connection", "default_redirect_url", "auth_config", "localization")
		wantValues(t, byClient.Body, map[string]string{
			"id": `"` + w.Demo.ID + `"`, "name": `"demo"`, "client_id": `"` + w.Demo.ClientID + `"`, "default_redirect_url": `"https://app.example.com/callback"`,
			"auth_config": `{"webauthn":false,"passkey_auth":false,"social":null}`,
		})
		var c struct{ Branding, Localization json.RawMessage }
		byClient.Into(t, &c)
		wantKeys(t, c.Branding, "branding_schema", "admin_branding_schema", "brand", "signature", "btn_color", "text_color", "background_image", "login_box_color",
			"background", "brand_logo", "favicon", "font", "lang", "white_label", "page_title", "background_style", "input_style", "social_button", "logo_style",
			"login_box_style", "page_submit_button_style")
		wantKeys(t, c.Localization, "language", "iso_code", "direction", "login", "magic_otp")
		wantValues(t, c.Branding, map[string]string{"background_style": "null", "input_style": "null", "social_button": "null", "logo_style": "null", "admin_branding_schema": `""`})

		for _, domain := range []string{"demo.cardea.test", "DEMO.Cardea.Test.", "demo.cardea.test:8443"} {
			byDomain := visitor.Get(t, "/api/v1/config?domain="+domain).Want(t, 200)
			if string(byDomain.Body) != string(byClient.Body) {
				t.Errorf("by domain %s: got %s, want %s", domain, byDomain.Body, byClient.Body)
			}
		}
	})
}

// The branding schema is a JSON document in a string.
func TestConfigBrandingSchema(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		var c struct {
			Branding struct {
				Schema string `json:"branding_schema"`
			}
		}
		w.Demo.Get(t, "/api/v1/config?client_id="+w.Demo.ClientID).Into(t, &c)
		var schema map[string]any
		if err := json.Unmarshal([]byte(c.Branding.Schema), &schema); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"fontStyle", "pageConfig", "inputBox", "socialConfig", "colorConfig", "imageConfig", "browserConfigdata", "loginBoxConfigData", "submitButtonConfigData"} {
			if _, ok := schema[key].(map[string]any); !ok {
				t.Errorf("%s is missing", key)
			}
		}
	})
}

func TestConfigRefuses(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		visitor := w.Demo.Client
		visitor.Key = ""
		for target, want := range map[string]string{
			"/api/v1/config":                             "invalid_client",
			"/api/v1/config?client_id=":                  "invalid_client",
			"/api/v1/config?client_id=cli_nobody":        "invalid_client",
			"/api/v1/config?domain=elsewhere.example":    "tenant_not_found",
			"/api/v1/config?domain=nobody.cardea.test":   "tenant_not_found",
			"/api/v1/config?domain=cardea.test":          "tenant_not_found", // the base host names no tenant
			"/api/v1/config?domain=192.0.2.1":            "tenant_not_found",
			"/api/v1/config?domain=a.demo.cardea.test":   "tenant_not_found",
			"/api/v1/config?domain=..cardea.test":        "tenant_not_found",
			"/api/v1/config?domain=%27%20OR%201%3D1--":   "tenant_not_found",
			"/api/v1/config?domain=%ff":                  "invalid_query_parameters",
			"/api/v1/config?client_id=%00":               "invalid_query_parameters",
			"/api/v1/config?client_id=%C3%28":            "invalid_query_parameters",
			"/api/v1/config?client_id=x%27%20OR%201%3D1": "invalid_client",
		} {
			status := 400
			if want == "tenant_not_found" {
				status = 404
			}
			visitor.Get(t, target).WantError(t, status, want)
		}
	})
}
