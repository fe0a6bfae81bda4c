package tenant_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
)

// bench is the service with a tenant and a clock that is moved by hand.
type bench struct {
	*tenant.Service
	shop  tenant.Tenant
	owner access.Actor // of the shop
	now   time.Time
}

func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		t.Helper()
		master, err := secret.NewBox(secret.NewBoxKey())
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{now: time.Date(2026, 3, 5, 9, 30, 0, 0, time.UTC)}
		db.Now = func() time.Time { return b.now }
		b.Service = &tenant.Service{DB: db, Master: master, Limits: &ratelimit.Limiter{DB: db}, PublicURL: "https://id.example", BaseHost: "id.example", Default: "demo"}
		b.shop = b.create(t, "shop")
		b.owner = access.System(b.shop.ID)
		test(t, b)
	})
}

func (b *bench) create(t *testing.T, slug string) (made tenant.Tenant) {
	t.Helper()
	b.write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		made, err = b.Create(ctx, tx, access.System(""), slug, "", "")
		return err
	})
	return made
}

func (b *bench) try(t testing.TB, f func(ctx context.Context, tx *database.Tx) error) error {
	t.Helper()
	return b.DB.Write(t.Context(), func(tx *database.Tx) error { return f(t.Context(), tx) })
}

func (b *bench) write(t testing.TB, f func(ctx context.Context, tx *database.Tx) error) {
	t.Helper()
	if err := b.try(t, f); err != nil {
		t.Fatal(err)
	}
}

// wantField fails the test unless err is a problem that blames a field.
func wantField(t *testing.T, err error, kind *problem.Problem, field string) {
	t.Helper()
	p, ok := problem.From(err)
	if !ok || !p.Is(kind) || len(p.Fields) != 1 || p.Fields[0].Name != field {
		t.Errorf("got %v (%+v), want %s in %s", err, p, kind.Code, field)
	}
}

func (b *bench) settings(t *testing.T) tenant.Settings {
	t.Helper()
	found, err := b.ByID(t.Context(), b.shop.ID)
	if err != nil {
		t.Fatal(err)
	}
	return found.Settings
}

func (b *bench) save(t *testing.T, s tenant.Settings) error {
	t.Helper()
	return b.try(t, func(ctx context.Context, tx *database.Tx) error {
		return b.SaveSettings(ctx, tx, b.owner, b.shop.ID, s)
	})
}

func TestTenantsAreNamedLikeHosts(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		make := func(slug string) error {
			return b.try(t, func(ctx context.Context, tx *database.Tx) error {
				_, err := b.Create(ctx, tx, access.System(""), slug, "", "")
				return err
			})
		}
		for _, slug := range []string{"", "Shop", "a b", "-a", "a-", "a.b", "ä", "www", "api", "localhost", strings.Repeat("a", 64), "a\x00"} {
			if err := make(slug); !errors.Is(err, tenant.ErrInvalid) {
				t.Errorf("%q: %v", slug, err)
			}
		}
		for _, slug := range []string{"a", "a-b", "0", strings.Repeat("a", 63)} {
			if err := make(slug); err != nil {
				t.Errorf("%q: %v", slug, err)
			}
		}
		if err := make("shop"); !errors.Is(err, tenant.ErrExists) {
			t.Errorf("a second one: %v", err)
		}
		err := b.try(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := b.Create(ctx, tx, access.Actor{Name: "key:x"}.With(access.TenantsRead), "other", "", "")
			return err
		})
		if !errors.Is(err, access.ErrDenied) {
			t.Errorf("by who may not: %v", err)
		}
		if b.shop.Name != "shop" || b.shop.Kind != tenant.KindSSMS || !b.shop.IsActive {
			t.Errorf("the defaults are %+v", b.shop)
		}
	})
}

func TestTheMasterTenantStays(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.create(t, tenant.Master)
		remove := func(slug string) error {
			return b.try(t, func(ctx context.Context, tx *database.Tx) error { return b.Delete(ctx, tx, access.System(""), slug) })
		}
		if err := remove(tenant.Master); !errors.Is(err, tenant.ErrInvalid) {
			t.Errorf("got %v", err)
		}
		if err := remove("shop"); err != nil {
			t.Fatal(err)
		}
		if err := remove("shop"); !errors.Is(err, tenant.ErrNotFound) {
			t.Errorf("a second time: %v", err)
		}
		if _, err := b.BySlug(t.Context(), "shop"); !errors.Is(err, tenant.ErrNotFound) {
			t.Errorf("it is still found: %v", err)
		}
	})
}

// Nothing is kept of settings of which one is not allowed, and the answer names it.
func TestSettingsAreJudged(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		good := tenant.Settings{Branding: tenant.Branding{Accent: "#3a5bc7"}, SignIn: tenant.SignIn{MinPassword: 12}}
		if err := b.save(t, good); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			change func(s *tenant.Settings)
			field  string
		}{
			"a colour by its name":           {func(s *tenant.Settings) { s.Branding.Accent = "red" }, "branding.accent"},
			"a colour that goes on":          {func(s *tenant.Settings) { s.Branding.Background = "#ffffff;}" }, "branding.background"},
			"text in three digits":           {func(s *tenant.Settings) { s.Branding.TextColor = "#fff" }, "branding.text_color"},
			"a picture without TLS":          {func(s *tenant.Settings) { s.Branding.LogoURL = "http://shop.example/logo.png" }, "branding.logo_url"},
			"a picture that is a script":     {func(s *tenant.Settings) { s.Branding.FaviconURL = "javascript:alert(1)" }, "branding.favicon_url"},
			"a picture with a quote":         {func(s *tenant.Settings) { s.Branding.BackgroundImage = "https://shop.example/\\x" }, "branding.background_image"},
			"a font of somewhere":            {func(s *tenant.Settings) { s.Branding.FontURL = "//shop.example/font" }, "branding.font_url"},
			"another first step":             {func(s *tenant.Settings) { s.SignIn.First = "sms" }, "sign_in.first"},
			"no way in at all":               {func(s *tenant.Settings) { s.SignIn.NoEmail, s.SignIn.NoPassword = true, true }, "sign_in"},
			"passwords of seven":             {func(s *tenant.Settings) { s.SignIn.MinPassword = 7 }, "sign_in.min_password"},
			"passwords of 65":                {func(s *tenant.Settings) { s.SignIn.MinPassword = 65 }, "sign_in.min_password"},
			"sessions that end before":       {func(s *tenant.Settings) { s.SignIn.SessionIdle = -1 }, "sign_in.session_idle"},
			"sessions of more than a year":   {func(s *tenant.Settings) { s.SignIn.SessionAbsolute = 366 * 24 * 3600 }, "sign_in.session_absolute"},
			"an unknown mode":                {func(s *tenant.Settings) { s.MFA.Mode = "always" }, "mfa.mode"},
			"roles by their names":           {func(s *tenant.Settings) { s.MFA.RequiredForRoles = []string{"owner"} }, "mfa.required_for_roles"},
			"passkeys for the installation":  {func(s *tenant.Settings) { s.SignIn.PasskeyDomain = "id.example" }, "sign_in.passkey_domain"},
			"passkeys for another tenant":    {func(s *tenant.Settings) { s.SignIn.PasskeyDomain = "other.id.example" }, "sign_in.passkey_domain"},
			"passkeys for what is above":     {func(s *tenant.Settings) { s.SignIn.PasskeyDomain = "example" }, "sign_in.passkey_domain"},
			"passkeys for an address":        {func(s *tenant.Settings) { s.SignIn.PasskeyDomain = "192.0.2.1" }, "sign_in.passkey_domain"},
			"passkeys in capitals":           {func(s *tenant.Settings) { s.SignIn.PasskeyDomain = "Shop.example" }, "sign_in.passkey_domain"},
			"passkeys for this very machine": {func(s *tenant.Settings) { s.SignIn.PasskeyDomain = "localhost" }, "sign_in.passkey_domain"},
		} {
			bad := good
			c.change(&bad)
			t.Run(name, func(t *testing.T) { wantField(t, b.save(t, bad), tenant.ErrSettings, c.field) })
		}
		if diff := cmp.Diff(good, b.settings(t)); diff != "" {
			t.Errorf("what was refused has changed them: %s", diff)
		}
		for name, change := range map[string]func(s *tenant.Settings){
			"text messages alone":          func(s *tenant.Settings) { s.SignIn.NoEmail, s.SignIn.NoPassword, s.SignIn.SMS = true, true, true },
			"a picture on this machine":    func(s *tenant.Settings) { s.Branding.LogoURL = "http://localhost:3000/logo.png" },
			"passkeys for the own host":    func(s *tenant.Settings) { s.SignIn.PasskeyDomain = "shop.id.example" },
			"passkeys for an own domain":   func(s *tenant.Settings) { s.SignIn.PasskeyDomain = "shop.example" },
			"the least and the most of it": func(s *tenant.Settings) { s.SignIn.MinPassword, s.SignIn.SessionAbsolute = 8, 365*24*3600 },
		} {
			fine := good
			change(&fine)
			if err := b.save(t, fine); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if diff := cmp.Diff(fine, b.settings(t)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	})
}

// Whoever may not write tenants changes none, and who may leaves an event.
func TestSettingsAreWrittenByWhoMay(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		all := b.owner
		b.owner = access.Actor{Tenant: b.shop.ID, Name: "key:x"}.With(access.TenantsRead, access.UsersWrite)
		if err := b.save(t, tenant.Settings{}); !errors.Is(err, access.ErrDenied) {
			t.Errorf("got %v", err)
		}
		b.owner = all
		if err := b.save(t, tenant.Settings{SignIn: tenant.SignIn{NoSignUp: true}}); err != nil {
			t.Fatal(err)
		}
		events, err := audit.List(t.Context(), b.DB, b.shop.ID, audit.Filter{Action: "tenant.updated"}, 10)
		if err != nil || len(events) != 1 || events[0].Actor != "system" {
			t.Errorf("the log has %+v, %v", events, err)
		}
		missing := b.try(t, func(ctx context.Context, tx *database.Tx) error {
			return b.SaveSettings(ctx, tx, all, "000000000000000000000abc", tenant.Settings{})
		})
		if !errors.Is(missing, tenant.ErrNotFound) {
			t.Errorf("of a tenant that is none: %v", missing)
		}
	})
}

// The zero value is the default, and reads back as it was.
func TestTheZeroSettingsAreTheDefault(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		if diff := cmp.Diff(tenant.Settings{}, b.settings(t)); diff != "" {
			t.Errorf("a new tenant: %s", diff)
		}
		if err := b.save(t, tenant.Settings{}); err != nil {
			t.Errorf("the default is refused: %v", err)
		}
		var older tenant.Settings // as an earlier version has written them
		if err := json.Unmarshal([]byte(`{"sign_in":{"first":"password"},"gone":true}`), &older); err != nil || older.SignIn.First != "password" {
			t.Errorf("got %+v, %v", older, err)
		}
	})
}

func TestOriginIsThatOfTheTenant(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		demo := b.create(t, "demo")
		for want, of := range map[string]tenant.Tenant{"https://id.example": demo, "https://shop.id.example": b.shop} {
			if got, err := b.Origin(t.Context(), of); err != nil || got != want {
				t.Errorf("%s: %q, %v", of.Slug, got, err)
			}
		}
		for host, want := range map[string]bool{"id.example": true, "shop.id.example": true, "nobody.id.example": false, "a.shop.id.example": false, "192.0.2.1": false, "other.example": false, "ID.example": false} {
			if got := b.AnswersAt(t.Context(), host); got != want {
				t.Errorf("answers at %s: %t", host, got)
			}
		}
	})
}

// Each tenant has a key of its own: what is sealed in one opens in no other.
func TestTenantsHaveKeysOfTheirOwn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		other := b.create(t, "other")
		mine, err := b.Box(t.Context(), b.shop.ID)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := b.Box(t.Context(), other.ID)
		if err != nil {
			t.Fatal(err)
		}
		sealed := mine.Seal("a place", []byte("a secret"))
		if got, err := mine.Open("a place", sealed); err != nil || string(got) != "a secret" {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := theirs.Open("a place", sealed); err == nil {
			t.Error("another tenant opens it")
		}
		if _, err := b.Box(t.Context(), "000000000000000000000abc"); !errors.Is(err, tenant.ErrNotFound) {
			t.Errorf("of nobody: %v", err)
		}
	})
}
