package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// A Bootstrap is what the developer mode makes and prints, and keeps in
// bootstrap.json for scripts, tests and guides. Its form is stable.
type Bootstrap struct {
	PublicURL string `json:"public_url"`
	Tenant    struct {
		ID   string `json:"id"`
		Slug string `json:"slug"`
	} `json:"tenant"`
	Owner struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	} `json:"owner"`
	Application struct {
		ClientID     string   `json:"client_id"`
		ClientSecret string   `json:"client_secret"`
		RedirectURIs []string `json:"redirect_uris"`
	} `json:"application"`
	APIKey string `json:"api_key"`
	SCIM   struct {
		BaseURL string `json:"base_url"`
		Token   string `json:"token"`
	} `json:"scim"`
}

// DevConfig is the configuration of the developer mode in a data folder, which is
// made with a master key of its own if it is new.
func DevConfig(dir, listen string) (Config, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Config{}, err
	}
	key, err := devKey(filepath.Join(dir, "master.key"))
	if err != nil {
		return Config{}, err
	}
	_, port, ok := strings.Cut(listen, ":")
	if !ok {
		return Config{}, fmt.Errorf("listen: %q is not host:port", listen)
	}
	return Config{
		PublicURL: "http://localhost:" + port, Listen: listen, DatabaseURL: "sqlite:" + filepath.Join(dir, "cardea.db"),
		MasterKey: key, DefaultTenant: "demo", DataDir: dir, Dev: true,
	}, nil
}

func devKey(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	key := fmt.Sprintf("%x", secret.NewBoxKey())
	return key, os.WriteFile(path, []byte(key+"\n"), 0o600)
}

// Seed makes tenant demo with an owner, an application and keys, and writes
// bootstrap.json. When that file is there already it changes nothing and returns
// what it says.
func (a *App) Seed(ctx context.Context) (Bootstrap, error) {
	path := filepath.Join(a.Config.DataDir, "bootstrap.json")
	var b Bootstrap
	text, err := os.ReadFile(path)
	if err == nil {
		return b, json.Unmarshal(text, &b)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	b.Owner.Email, b.Owner.Password = "owner@demo.test", secret.Text("abcdefghijkmnpqrstuvwxyz23456789", 20)
	hash, err := a.Hasher.Hash(ctx, b.Owner.Password)
	if err != nil {
		return b, err
	}
	if err := a.DB.Write(ctx, func(tx *database.Tx) error { return a.seed(ctx, tx, &b, hash) }); err != nil {
		return b, fmt.Errorf("make the demo tenant: %w", err)
	}
	if text, err = json.MarshalIndent(b, "", "  "); err != nil {
		return b, err
	}
	return b, os.WriteFile(path, append(text, '\n'), 0o600)
}

func (a *App) seed(ctx context.Context, tx *database.Tx, b *Bootstrap, hash string) error {
	t, roles, err := a.NewTenant(ctx, tx, access.System(""), "demo", "Demo", tenant.KindSSMS)
	if err != nil {
		return err
	}
	by := access.System(t.ID)
	b.PublicURL, b.Tenant.ID, b.Tenant.Slug = a.Config.PublicURL, t.ID, t.Slug
	owner, err := a.Users.Create(ctx, tx, by, user.User{
		Email: b.Owner.Email, FirstName: "Olivia", LastName: "Owner", EmailVerified: true, IsActive: true, RoleIDs: []string{roles[role.Owner].ID},
	})
	if err != nil {
		return err
	}
	if err := password.Set(ctx, tx, by, owner.ID, hash, false); err != nil {
		return err
	}
	b.Application.RedirectURIs = []string{"http://localhost:3000/callback"}
	app, key, err := a.Tenants.CreateApplication(ctx, tx, by, tenant.Application{
		Name: "Demo application", RedirectURIs: b.Application.RedirectURIs, AllowedOrigins: []string{"http://localhost:3000"},
	})
	if err != nil {
		return err
	}
	b.Application.ClientID, b.Application.ClientSecret = app.ClientID, key
	if _, b.APIKey, err = a.Tenants.CreateKey(ctx, tx, by, "Demo key", access.All, time.Time{}); err != nil {
		return err
	}
	b.SCIM.BaseURL = b.PublicURL + "/scim/v2/" + secret.DerivedID(t.ID, "directory")
	_, b.SCIM.Token, err = a.Tenants.CreateKey(ctx, tx, by, "Demo directory", []access.Permission{access.SCIM}, time.Time{})
	return err
}
