package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/tenant"
)

const settingsPath = "/api/v1/settings"

// writer is a key that may change settings but not make signing in less safe.
func writer(t *testing.T, n *apptest.Tenant) apptest.Client {
	t.Helper()
	return n.As(t, access.SettingsRead, access.SettingsWrite)
}

// guardian may both.
func guardian(t *testing.T, n *apptest.Tenant) apptest.Client {
	t.Helper()
	return n.As(t, access.SettingsRead, access.SettingsWrite, access.SettingsSecurity)
}

// leaf is the setting of a name such as mfa.mode.
func leaf(t *testing.T, c apptest.Client, name string) any {
	t.Helper()
	section, last, _ := strings.Cut(name, ".")
	part, _ := c.Get(t, settingsPath).Want(t, 200).Object(t)[section].(map[string]any)
	value, ok := part[last]
	if !ok {
		t.Fatalf("there is no setting %s", name)
	}
	return value
}

func TestSettingsByTheAPI(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		c := guardian(t, w.Demo)
		before := c.Get(t, settingsPath).Want(t, 200).Body
		c.Do(t, "PATCH", settingsPath, `{"branding": {"accent": "#112233", "name": "Shop"}, "mfa": {"required_for_roles": ["0123456789abcdef01234567"]}}`).Want(t, 200)
		got := c.Do(t, "PATCH", settingsPath, `{"branding": {"name": null}, "sign_in": {"session_idle": 3600}}`).Want(t, 200).Object(t)
		if diff := cmp.Diff(got, c.Get(t, settingsPath).Object(t)); diff != "" {
			t.Errorf("the answer is not what is kept: %s", diff)
		}
		for name, want := range map[string]any{
			"branding.accent": "#112233", "branding.name": "", "sign_in.session_idle": 3600.0, "mfa.required_for_roles": []any{"0123456789abcdef01234567"}, "mfa.mode": "optional",
		} {
			if diff := cmp.Diff(want, leaf(t, c, name)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		// null for a section is the default of all of it, and a list is replaced.
		c.Do(t, "PATCH", settingsPath, `{"branding": null, "sign_in": null, "mfa": {"required_for_roles": []}}`).Want(t, 200)
		if diff := cmp.Diff(string(before), string(c.Get(t, settingsPath).Body)); diff != "" {
			t.Errorf("back at the default: %s", diff)
		}
		// They are the same as the command's, and hold for the pages.
		c.Do(t, "PATCH", settingsPath, `{"branding": {"name": "Corner shop"}}`).Want(t, 200)
		w.Browser(w.Demo.Host).Get(t, "/signin").WantText(t, "Corner shop")
	})
}

// What is not set is shown with what holds, and to write back what was read changes
// nothing: whoever may not loosen anything can do it, nothing is stored and nothing is in
// the log.
func TestSettingsAreShownAsTheyHold(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		c := writer(t, w.Demo)
		for name, want := range map[string]any{"sign_in.first": "email", "sign_in.min_password": 15.0, "sign_in.session_idle": 86400.0, "sign_in.session_absolute": 2592000.0, "mfa.mode": "optional"} {
			if got := leaf(t, c, name); got != want {
				t.Errorf("%s is shown as %v, want %v", name, got, want)
			}
		}
		for _, set := range []string{`{}`, `{"sign_in": {"first": "password", "min_password": 20, "session_idle": 3600, "session_absolute": 7200}, "mfa": {"mode": "required"}}`} {
			c.Do(t, "PATCH", settingsPath, set).Want(t, 200)
			before, kept := string(c.Get(t, settingsPath).Want(t, 200).Body), keptSettings(t, w)
			if diff := cmp.Diff(before, string(c.Do(t, "PATCH", settingsPath, before).Want(t, 200).Body)); diff != "" {
				t.Errorf("written back: %s", diff)
			}
			if diff := cmp.Diff(kept, keptSettings(t, w)); diff != "" {
				t.Errorf("what is stored: %s", diff)
			}
		}
		guardian(t, w.Demo).Do(t, "PATCH", settingsPath, `{"sign_in": {"first": "email", "min_password": 15, "session_idle": 86400, "session_absolute": 2592000}, "mfa": {"mode": "optional"}}`).Want(t, 200)
		if diff := cmp.Diff(tenant.Settings{}, keptSettings(t, w)); diff != "" {
			t.Errorf("the default by its value is stored: %s", diff)
		}
		w.Work(t)
		events, err := audit.List(t.Context(), w.DB, w.Demo.ID, audit.Filter{Action: "tenant.updated"}, 10)
		if err != nil || len(events) != 2 {
			t.Errorf("%d events, %v", len(events), err)
		}
	})
}

func keptSettings(t *testing.T, w *apptest.World) tenant.Settings {
	t.Helper()
	w.Clock.Advance(2 * time.Second)
	kept, err := w.Tenants.ByID(t.Context(), w.Demo.ID)
	if err != nil {
		t.Fatal(err)
	}
	return kept.Settings
}

func TestSettingsAreRefused(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		c := guardian(t, w.Demo)
		before := string(c.Get(t, settingsPath).Body)
		for _, body := range []string{
			`{"nothing": 1}`, `{"sign_in": {"nothing": 1}}`, `{"sign_in": {"NO_EMAIL": true}}`, `{"sign_in": true}`, `{"mfa": {"mode": {"off": true}}}`,
			`{"sign_in": {"sms": "true"}}`, `{"sign_in": {"min_password": 8.5}}`, `{"sign_in": {"min_password": 7}}`, `{"sign_in": {"min_password": 65}}`, `{"sign_in": {"session_idle": -1}}`, `{"sign_in": {"session_absolute": 1e300}}`,
			`{"sign_in": {"first": "passkey"}}`, `{"sign_in": {"no_email": true, "no_password": true}}`, `{"sign_in": {"passkey_domain": "https://x.example"}}`, `{"mfa": {"mode": "never"}}`,
			`{"mfa": {"required_for_roles": ["owner"]}}`, `{"mfa": {"required_for_roles": "owner"}}`, `{"branding": {"accent": "red;}body{"}}`, `{"branding": {"logo_url": "javascript:alert(1)"}}`,
			`{"branding": {"language": "de;"}}`, `{"branding": {"name": "a\nb"}}`, fmt.Sprintf(`{"branding": {"name": %q}}`, strings.Repeat("x", 201)), `{"id": "x"}`, `{"slug": "x"}`, `{"tenant_id": "x"}`,
		} {
			c.Do(t, "PATCH", settingsPath, body).WantError(t, 400, "invalid_settings")
		}
		for _, body := range []string{`[]`, `null`, `"x"`, `{"branding": `, ``} {
			c.Do(t, "PATCH", settingsPath, body).WantError(t, 400, "invalid_request_body")
		}
		// One that is wrong spoils the rest.
		c.Do(t, "PATCH", settingsPath, `{"branding": {"name": "x", "accent": "red"}}`).Want(t, 400)
		if diff := cmp.Diff(before, string(c.Get(t, settingsPath).Body)); diff != "" {
			t.Errorf("a change that was refused: %s", diff)
		}
	})
}

// What makes signing in less safe is for owners, and for keys that name the scope. An
// administrator can not make themselves one.
func TestSettingsThatLoosenAreOfOwners(t *testing.T) {
	tight := `{"sign_in": {"no_password": true, "no_sign_up": true, "min_password": 20, "session_idle": 3600, "session_absolute": 7200},
		"mfa": {"mode": "required", "no_remember": true, "required_for_roles": ["0123456789abcdef01234567"]}}`
	loose := map[string]string{
		"mfa.mode": `"optional"`, "mfa.required_for_roles": `[]`, "mfa.no_remember": `false`, "mfa.email": `true`, "mfa.sms": `true`,
		"sign_in.no_password": `null`, "sign_in.no_sign_up": `false`, "sign_in.min_password": `0`, "sign_in.session_idle": `null`, "sign_in.session_absolute": `7201`,
		"sign_in.sms": `true`, "sign_in.no_passkey": `true`, "sign_in.passkey_domain": `"login.elsewhere.example"`, "sign_in.no_admin_letters": `true`,
		"sign_in.keep_imported": `true`, "sign_in.registration": `true`, "sign_in.client_documents": `true`,
	}
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		admin := w.Demo.AsUser(t, w.Demo.User(t, "admin", "admin"), access.All...)
		owner := w.Demo.AsUser(t, w.Demo.User(t, "owner", "owner"), access.All...)
		key, full := writer(t, w.Demo), w.Demo.As(t, access.Usual...)
		key.Do(t, "PATCH", settingsPath, tight).Want(t, 200) // what is tighter, anybody may who may write
		kept := string(key.Get(t, settingsPath).Body)
		for name, value := range loose {
			section, last, _ := strings.Cut(name, ".")
			body := fmt.Sprintf(`{"branding": {"name": "smuggled"}, %q: {%q: %s}}`, section, last, value)
			for who, c := range map[string]apptest.Client{"an administrator": admin, "a key": key, "a key with all that is usual": full} {
				if a := c.Do(t, "PATCH", settingsPath, body); a.Status != 403 {
					t.Errorf("%s, %s: %d %s", who, name, a.Status, a.Body)
				} else {
					a.WantError(t, 403, "setting_of_owners")
				}
			}
			if diff := cmp.Diff(kept, string(key.Get(t, settingsPath).Body)); diff != "" {
				t.Fatalf("%s was refused and changed %s", name, diff)
			}
			owner.Do(t, "PATCH", settingsPath, body).Want(t, 200)
			owner.Do(t, "PATCH", settingsPath, `{"branding": null, "sign_in": null, "mfa": null}`).Want(t, 200)
			key.Do(t, "PATCH", settingsPath, tight).Want(t, 200)
		}
		guardian(t, w.Demo).Do(t, "PATCH", settingsPath, `{"mfa": {"mode": "off"}}`).Want(t, 200)
		// Nobody hands the scope on who has it not.
		admin.Post(t, "/api/v1/keys", map[string]any{"name": "x", "scopes": []access.Permission{access.SettingsSecurity}}).Want(t, 403)
		full.Post(t, "/api/v1/keys", map[string]any{"name": "x", "scopes": []access.Permission{access.SettingsSecurity}}).Want(t, 403)
	})
}

func TestSettingsAreOfOneTenant(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		other := w.Tenant(t, "other")
		kept := string(guardian(t, w.Demo).Get(t, settingsPath).Body)
		guardian(t, other).Do(t, "PATCH", settingsPath, `{"branding": {"name": "Other"}}`).Want(t, 200)
		if diff := cmp.Diff(kept, string(guardian(t, w.Demo).Get(t, settingsPath).Body)); diff != "" {
			t.Errorf("another tenant's settings: %s", diff)
		}
	})
}

// The log has each setting with what it was before; what changes nothing is not in it.
func TestChangesOfSettingsAreInTheLog(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		c := guardian(t, w.Demo)
		c.Do(t, "PATCH", settingsPath, `{"mfa": {"mode": "required"}, "branding": {"accent": "#112233"}}`).Want(t, 200)
		c.Do(t, "PATCH", settingsPath, `{"mfa": {"mode": "required", "required_for_roles": []}}`).Want(t, 200)
		c.Do(t, "PATCH", settingsPath, `{}`).Want(t, 200)
		c.Do(t, "PATCH", settingsPath, `{"mfa": {"mode": "off"}}`).Want(t, 200)
		w.Work(t)
		if _, err := (&audit.Sealer{DB: w.DB}).Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		events, err := audit.List(t.Context(), w.DB, w.Demo.ID, audit.Filter{Action: "tenant.updated"}, 10)
		if err != nil || len(events) != 2 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		var got []any
		for _, e := range events {
			var detail any
			if err := json.Unmarshal([]byte(e.Detail), &detail); err != nil || !strings.HasPrefix(e.Actor, "key:") {
				t.Errorf("%+v, %v", e, err)
			}
			got = append(got, detail)
		}
		want := []any{
			map[string]any{"settings": map[string]any{"mfa.mode": map[string]any{"before": "required", "after": "off"}}, "loosened": []any{"mfa.mode"}},
			map[string]any{"settings": map[string]any{"mfa.mode": map[string]any{"before": "optional", "after": "required"}, "branding.accent": map[string]any{"before": "", "after": "#112233"}}, "loosened": nil},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// Of changes at once none is lost: each names its own settings.
func TestSettingsChangedAtOnceAreAllKept(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		c := guardian(t, w.Demo)
		changes := []string{`"branding": {"name": "Shop"}`, `"branding": {"accent": "#112233"}`, `"branding": {"language": "de"}`, `"mfa": {"sms": true}`, `"mfa": {"mode": "required"}`, `"sign_in": {"sms": true}`, `"sign_in": {"min_password": 20}`, `"kobil": {"list_profile_fields": true}`}
		var all sync.WaitGroup
		for _, change := range changes {
			all.Go(func() { c.Do(t, "PATCH", settingsPath, "{"+change+"}").Want(t, 200) })
		}
		all.Wait()
		for name, want := range map[string]any{"branding.name": "Shop", "branding.accent": "#112233", "branding.language": "de", "mfa.sms": true, "mfa.mode": "required", "sign_in.sms": true, "sign_in.min_password": 20.0, "kobil.list_profile_fields": true} {
			if got := leaf(t, c, name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
	})
}
