package app_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/tenant"
)

// onEachEngine runs test with a new data folder whose database is on each engine.
func onEachEngine(t *testing.T, test func(t *testing.T, dir string, settings ...string)) {
	for _, engine := range dbtest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			if engine == database.SQLite {
				test(t, folder(t))
				return
			}
			test(t, folder(t), "CARDEA_DATABASE_URL="+dbtest.EmptyURL(t, engine))
		})
	}
}

// start starts the developer mode on a folder once and returns what it made.
func start(t *testing.T, dir string, settings ...string) (app.Bootstrap, error) {
	t.Helper()
	cfg, err := app.Load(app.Sources{Folder: dir, Environ: append([]string{"CARDEA_PUBLIC_URL=http://localhost:8080"}, settings...)})
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Open(t.Context(), cfg.Config, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return app.Bootstrap{}, err
	}
	b, err := a.Seed(t.Context())
	return b, errors.Join(err, a.Close())
}

func mustStart(t *testing.T, dir string, settings ...string) app.Bootstrap {
	t.Helper()
	b, err := start(t, dir, settings...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestASecondStartChangesNothing(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, dir string, settings ...string) {
		first := mustStart(t, dir, settings...)
		text := read(t, filepath.Join(dir, "bootstrap.json"))
		second := mustStart(t, dir, settings...)
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
		if again := read(t, filepath.Join(dir, "bootstrap.json")); again != text {
			t.Errorf("the file was\n%s\nand is\n%s", text, again)
		}
		for _, name := range []string{"bootstrap.json", "master.key"} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v; want mode 0600", name, info.Mode(), err)
			}
		}
		if first.SCIM.BaseURL == "" || !strings.HasPrefix(first.SCIM.BaseURL, "http://localhost:8080/scim/v2/") || !strings.HasPrefix(first.APIKey, "sk_") {
			t.Errorf("made %+v", first)
		}
	})
}

func TestAnotherPortMovesTheAddressesOnly(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	first := mustStart(t, dir)
	second := mustStart(t, dir, "CARDEA_PUBLIC_URL=http://localhost:9999")
	want := first
	want.PublicURL, want.SCIM.BaseURL = "http://localhost:9999", strings.Replace(first.SCIM.BaseURL, "8080", "9999", 1)
	if diff := cmp.Diff(want, second); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(read(t, filepath.Join(dir, "bootstrap.json")), "http://localhost:9999") {
		t.Error("the file still names the other port")
	}
}

// A crash may come at any moment between the draft of bootstrap.json and its name.
func TestSeedSurvivesACrash(t *testing.T) {
	t.Parallel()
	t.Run("after the commit", func(t *testing.T) {
		t.Parallel()
		onEachEngine(t, func(t *testing.T, dir string, settings ...string) {
			first := mustStart(t, dir, settings...)
			if err := os.Rename(filepath.Join(dir, "bootstrap.json"), filepath.Join(dir, "bootstrap.json."+first.Tenant.ID)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(first, mustStart(t, dir, settings...)); diff != "" {
				t.Errorf("(-first +second):\n%s", diff)
			}
			if drafts, _ := filepath.Glob(filepath.Join(dir, "bootstrap.json.*")); len(drafts) > 0 {
				t.Errorf("%q is left", drafts)
			}
		})
	})
	t.Run("before the commit", func(t *testing.T) {
		t.Parallel()
		other, dir := folder(t), folder(t)
		lost := mustStart(t, other)
		draft := filepath.Join(dir, "bootstrap.json."+lost.Tenant.ID)
		if err := os.WriteFile(draft, []byte(read(t, filepath.Join(other, "bootstrap.json"))), 0o600); err != nil {
			t.Fatal(err)
		}
		if b := mustStart(t, dir); b.Tenant.ID == lost.Tenant.ID {
			t.Error("it takes the draft of a tenant that is not there")
		}
		if _, err := os.Stat(draft); err == nil {
			t.Error("the draft is left")
		}
	})
}

func TestSeedStartsAnewWithoutItsDatabase(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	first := mustStart(t, dir)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove(filepath.Join(dir, "cardea.db"+suffix))
	}
	second := mustStart(t, dir)
	if second.Tenant.ID == first.Tenant.ID || second.APIKey == first.APIKey {
		t.Error("it returns the secrets of a tenant that is gone")
	}
	if diff := cmp.Diff(second, mustStart(t, dir)); diff != "" {
		t.Errorf("(-second +third):\n%s", diff)
	}
}

func TestSeedRefusesATenantWithoutItsFile(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	mustStart(t, dir)
	if err := os.Remove(filepath.Join(dir, "bootstrap.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := start(t, dir); err == nil || !strings.Contains(err.Error(), "start anew") {
		t.Errorf("got %v", err)
	}
}

func TestSeedRaceMakesOneTenant(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, dir string, settings ...string) {
		var made [5]app.Bootstrap
		var errs [5]error
		var wg sync.WaitGroup
		for i := range made {
			wg.Go(func() { made[i], errs[i] = start(t, dir, settings...) })
		}
		wg.Wait()
		for i := range made {
			if errs[i] != nil {
				t.Fatal(errs[i])
			}
			if diff := cmp.Diff(made[0], made[i]); diff != "" {
				t.Errorf("start %d differs:\n%s", i, diff)
			}
		}
	})
}

func TestPrepareFolderRaceMakesOneKey(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var keys [10]string
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			if err := app.PrepareFolder(dir); err != nil {
				t.Error(err)
				return
			}
			text, err := os.ReadFile(filepath.Join(dir, "master.key"))
			if err != nil {
				t.Error(err)
			}
			keys[i] = string(text)
		})
	}
	wg.Wait()
	for _, key := range keys {
		if key != keys[0] || len(strings.TrimSpace(key)) != 64 {
			t.Fatalf("keys %q", keys)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 2 {
		t.Errorf("the folder holds %q", files)
	}
}

func TestOpenRefusesAnotherMasterKey(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, dir string, settings ...string) {
		mustStart(t, dir, settings...)
		_, err := start(t, dir, append(settings, "CARDEA_MASTER_KEY="+otherKey)...)
		if !errors.Is(err, app.ErrWrongKey) || !strings.Contains(err.Error(), "the data key of tenant master does not open") {
			t.Errorf("got %v, want ErrWrongKey", err)
		}
		if strings.Contains(err.Error(), otherKey) {
			t.Errorf("the error repeats the key: %v", err)
		}
	})
}

func TestAttachRefuses(t *testing.T) {
	t.Parallel()
	attach := func(url string) error {
		a, err := app.Attach(t.Context(), app.Config{DatabaseURL: url, MasterKey: goodKey}, slog.New(slog.DiscardHandler))
		if err == nil {
			_, err = a.Tenants.BySlug(t.Context(), tenant.Master)
			return errors.Join(err, a.Close())
		}
		return err
	}
	for _, engine := range dbtest.Engines {
		t.Run("a database that is not migrated/"+engine, func(t *testing.T) {
			t.Parallel()
			url := dbtest.EmptyURL(t, engine)
			if engine == database.SQLite {
				if err := os.WriteFile(strings.TrimPrefix(url, "sqlite:"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := attach(url); !errors.Is(err, app.ErrNotMigrated) || !strings.Contains(err.Error(), "run: cardea migrate") {
				t.Errorf("got %v, want ErrNotMigrated", err)
			}
		})
		t.Run("nothing else/"+engine, func(t *testing.T) {
			t.Parallel()
			if err := attach(dbtest.URL(t, engine)); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("a file that is not there", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "none.db")
		if err := attach("sqlite:" + path); !errors.Is(err, app.ErrNoDatabase) {
			t.Errorf("got %v, want ErrNoDatabase", err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("looking for the file has made it")
		}
	})
}

// Whoever tries enterprise sign-in at home has no DNS to publish in. Nobody can own what
// is under .test, so it is given away; anything else is asked for as on any server.
func TestDevelopersProveTestDomains(t *testing.T) {
	t.Parallel()
	cfg, err := app.Load(app.Sources{Folder: folder(t), Environ: []string{"CARDEA_PUBLIC_URL=http://localhost:8080"}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Open(t.Context(), cfg.Config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := a.Seed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	asked := ""
	a.Orgs.TXT = func(_ context.Context, name string) ([]string, error) { asked = name; return nil, nil }
	by := access.System(b.Tenant.ID)
	for domain, want := range map[string]bool{"mine.test": true, "acme.test.example": false} {
		var o org.Organization
		err := a.DB.Write(t.Context(), func(tx *database.Tx) (err error) {
			if o, err = a.Orgs.Create(t.Context(), tx, by, org.Organization{Name: domain, IsActive: true}); err == nil {
				_, err = a.Orgs.AddDomain(t.Context(), tx, by, o.ID, domain)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if d, err := a.Orgs.VerifyDomain(t.Context(), by, o.ID, domain); d.IsVerified != want || (err == nil) != want {
			t.Errorf("%s: proved %v, %v", domain, d.IsVerified, err)
		}
	}
	if asked != "_cardea-challenge.acme.test.example." {
		t.Errorf("the DNS was asked for %q", asked)
	}
}
