package tenant

import (
	"encoding/json"
	"time"

	"github.com/cardea-id/cardea/internal/access"
)

// Examples of the API description.

const (
	exampleID       = "6694c133565dfee5166d1cb8"
	exampleClientID = "cli_cq2k021saqbs710j7ftg.edce2d27bcdf48189a1f795eda121a6a.uViYAx9kW4eV5DBYwYkSXT"
	exampleSecret   = "cs_…"
)

var (
	exampleTenant = Tenant{ID: "6694c133565dfee5166d1cb6", Slug: "workspace", Name: "workspace"}
	exampleMade   = time.Date(2024, 7, 15, 6, 27, 32, 0, time.UTC)
	exampleApp    = Application{
		ID: exampleID, TenantID: exampleTenant.ID, ClientID: exampleClientID, Name: "Web shop", IsActive: true,
		RedirectURIs: []string{"https://shop.example.com/callback"}, AllowedOrigins: []string{"https://shop.example.com"},
		CreatedAt: exampleMade, ModifiedAt: exampleMade,
	}
	exampleKey = Key{
		ID: exampleID, Name: "Shop backend", Hint: "k4Zq", Scopes: []access.Permission{access.UsersRead, access.UsersWrite},
		CreatedBy: "key:6694c133565dfee5166d1cb7", CreatedAt: exampleMade,
	}

	exampleConfig      = configOf(exampleTenant, exampleApp)
	exampleForm        = formOf(exampleApp, "")
	exampleFormMade    = formOf(exampleApp, exampleSecret)
	exampleSecretMade  = secretMade{ClientSecret: exampleSecret, OthersExpire: exampleMade.Add(SecretOverlap)}
	exampleSecrets     = []secretForm{{ID: exampleID, Hint: "9fQx", CreatedAt: exampleMade}}
	exampleKeyForm     = keyFormOf(exampleKey, "")
	exampleKeyFormMade = keyFormOf(exampleKey, "sk_…")

	exampleSettings       = Settings{Branding: Branding{Name: "Web shop", Accent: "#3a5bc7", Language: "de"}, SignIn: SignIn{First: "password", SMS: true}, MFA: MFA{Mode: MFARequired}}.InForce()
	exampleSettingsWanted = json.RawMessage(`{"branding":{"accent":"#3a5bc7"},"mfa":{"mode":"required"},"sign_in":{"session_idle":3600}}`)

	exampleApplication = json.RawMessage(`{"name":"Web shop","redirect_uris":["https://shop.example.com/callback"],"allowed_origins":["https://shop.example.com"]}`)
	exampleRename      = json.RawMessage(`{"name":"Web shop"}`)
	exampleRotation    = json.RawMessage(`{"overlap_seconds":3600}`)
	exampleKeyWanted   = json.RawMessage(`{"name":"Shop backend","scopes":["users:read","users:write"]}`)
)
