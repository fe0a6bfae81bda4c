package tenant

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/web"
)

type applicationForm struct {
	ID             string    `json:"id"`
	AccountID      string    `json:"account_id" doc:"The tenant"`
	ClientID       string    `json:"client_id"`
	ClientSecret   string    `json:"client_secret,omitempty" doc:"Only in the answer to create"`
	Name           string    `json:"name"`
	RedirectURIs   []string  `json:"redirect_uris"`
	AllowedOrigins []string  `json:"allowed_origins"`
	OAuth          OAuth     `json:"oauth" doc:"How it takes part in OAuth 2 and OpenID Connect; what is absent is the default"`
	IsActive       bool      `json:"is_active"`
	CreatedAt      time.Time `json:"created_at"`
	ModifiedAt     time.Time `json:"modified_at"`
}

func formOf(a Application, key string) applicationForm {
	return applicationForm{
		ID: a.ID, AccountID: a.TenantID, ClientID: a.ClientID, ClientSecret: key, Name: a.Name, RedirectURIs: orNone(a.RedirectURIs),
		AllowedOrigins: orNone(a.AllowedOrigins), OAuth: a.OAuth, IsActive: a.IsActive, CreatedAt: a.CreatedAt, ModifiedAt: a.ModifiedAt,
	}
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

type none struct{}

func (s *Service) getApplications(ctx context.Context, by access.Actor, _ none) ([]applicationForm, error) {
	apps, err := s.Applications(ctx, s.DB, by)
	out := make([]applicationForm, len(apps))
	for i, a := range apps {
		out[i] = formOf(a, "")
	}
	return out, err
}

type postApplicationRequest struct {
	Name           string   `json:"name" schema:"required" doc:"At most 200 bytes"`
	RedirectURIs   []string `json:"redirect_uris" doc:"Absolute https addresses without a fragment; http only for loopback"`
	AllowedOrigins []string `json:"allowed_origins" doc:"Origins of pages that may call the API, such as https://app.example.com"`
	OAuth          OAuth    `json:"oauth" doc:"A confidential web application of your own if absent"`
}

func (s *Service) postApplication(ctx context.Context, by access.Actor, in postApplicationRequest) (out applicationForm, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		a, key, err := s.CreateApplication(ctx, tx, by, Application{Name: in.Name, RedirectURIs: in.RedirectURIs, AllowedOrigins: in.AllowedOrigins, OAuth: in.OAuth})
		out = formOf(a, key)
		return err
	})
	return out, err
}

type byID struct {
	ID string `path:"id" doc:"24 hex digits"`
}

func (s *Service) getApplication(ctx context.Context, by access.Actor, in byID) (applicationForm, error) {
	a, err := s.Application(ctx, s.DB, by, in.ID)
	return formOf(a, ""), err
}

type putApplicationRequest struct {
	ID             string    `path:"id" doc:"24 hex digits"`
	Name           *string   `json:"name"`
	RedirectURIs   *[]string `json:"redirect_uris"`
	AllowedOrigins *[]string `json:"allowed_origins"`
	OAuth          *OAuth    `json:"oauth" doc:"Replaces all of it"`
	IsActive       *bool     `json:"is_active"`
}

func (s *Service) putApplication(ctx context.Context, by access.Actor, in putApplicationRequest) (out applicationForm, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		a, err := s.Application(ctx, tx, by.With(append(by.Permissions(), access.ApplicationsRead)...), in.ID)
		if err != nil {
			return err
		}
		assign(&a.Name, in.Name)
		assign(&a.RedirectURIs, in.RedirectURIs)
		assign(&a.AllowedOrigins, in.AllowedOrigins)
		assign(&a.OAuth, in.OAuth)
		assign(&a.IsActive, in.IsActive)
		a, err = s.SaveApplication(ctx, tx, by, a)
		out = formOf(a, "")
		return err
	})
	return out, err
}

func assign[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

type deleted struct {
	IsDeleted bool `json:"is_deleted"`
}

func (s *Service) deleteApplication(ctx context.Context, by access.Actor, in byID) (deleted, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.DeleteApplication(ctx, tx, by, in.ID) })
	return deleted{err == nil}, err
}

type postSecretRequest struct {
	ID      string `path:"id" doc:"24 hex digits"`
	Overlap *int64 `json:"overlap_seconds" doc:"At most 90 days"`
}

type secretMade struct {
	ClientSecret string    `json:"client_secret"`
	OthersExpire time.Time `json:"others_expire_at"`
}

func (s *Service) postSecret(ctx context.Context, by access.Actor, in postSecretRequest) (out secretMade, err error) {
	overlap := SecretOverlap
	if in.Overlap != nil {
		overlap = time.Duration(min(max(*in.Overlap, -1), 1e9)) * time.Second
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		out.OthersExpire = tx.Now.Add(overlap)
		out.ClientSecret, err = s.RotateSecret(ctx, tx, by, in.ID, overlap)
		return err
	})
	return out, err
}

type secretForm struct {
	ID        string     `json:"id"`
	Hint      string     `json:"hint" doc:"Last four characters"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
}

func (s *Service) getSecrets(ctx context.Context, by access.Actor, in byID) ([]secretForm, error) {
	if _, err := s.Application(ctx, s.DB, by, in.ID); err != nil {
		return nil, err
	}
	secrets, err := s.Secrets(ctx, s.DB, by, in.ID)
	out := make([]secretForm, len(secrets))
	for i, x := range secrets {
		out[i] = secretForm{x.ID, x.Hint, x.CreatedAt, orAbsent(x.ExpiresAt)}
	}
	return out, err
}

func orAbsent(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// patchSettingsRequest takes the body whole: what it does not name is known by its absence.
type patchSettingsRequest struct{ patch json.RawMessage }

// UnmarshalJSON implements json.Unmarshaler.
func (r *patchSettingsRequest) UnmarshalJSON(b []byte) error {
	r.patch = slices.Clone(b)
	return nil
}

// Schema tells the API description what the body holds.
func (patchSettingsRequest) Schema() any { return Settings{} }

func (s *Service) getSettings(ctx context.Context, by access.Actor, _ none) (Settings, error) {
	return s.Settings(ctx, s.DB, by)
}

func (s *Service) patchSettings(ctx context.Context, by access.Actor, in patchSettingsRequest) (out Settings, err error) {
	if !bytes.HasPrefix(bytes.TrimSpace(in.patch), []byte("{")) {
		return out, web.ErrBody.Saying("Settings are an object, such as {\"sign_in\": {\"sms\": true}}.")
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		out, err = s.ChangeSettings(ctx, tx, by, by.Tenant, in.patch)
		return err
	})
	return out, err
}

type keyForm struct {
	ID         string              `json:"id"`
	Key        string              `json:"key,omitempty" doc:"Only in the answer to create"`
	Name       string              `json:"name"`
	Hint       string              `json:"hint" doc:"Last four characters"`
	Scopes     []access.Permission `json:"scopes"`
	CreatedBy  string              `json:"created_by" doc:"key:, user: or command: and who"`
	CreatedAt  time.Time           `json:"created_at"`
	ExpiresAt  *time.Time          `json:"expires_at"`
	RevokedAt  *time.Time          `json:"revoked_at"`
	LastUsedAt *time.Time          `json:"last_used_at" doc:"To the nearest five minutes"`
}

func keyFormOf(k Key, key string) keyForm {
	return keyForm{k.ID, key, k.Name, k.Hint, k.Scopes, k.CreatedBy, k.CreatedAt, orAbsent(k.ExpiresAt), orAbsent(k.RevokedAt), orAbsent(k.LastUsedAt)}
}

func (s *Service) getKeys(ctx context.Context, by access.Actor, _ none) ([]keyForm, error) {
	keys, err := s.Keys(ctx, s.DB, by)
	out := make([]keyForm, len(keys))
	for i, k := range keys {
		out[i] = keyFormOf(k, "")
	}
	return out, err
}

type postKeyRequest struct {
	Name      string              `json:"name" schema:"required" doc:"At most 200 bytes"`
	Scopes    []access.Permission `json:"scopes" schema:"required" doc:"What the key may do"`
	ExpiresAt *time.Time          `json:"expires_at" doc:"In the future. Absent for a key that does not expire, or ends with the key that makes it"`
}

func (s *Service) postKey(ctx context.Context, by access.Actor, in postKeyRequest) (out keyForm, err error) {
	if len(in.Scopes) == 0 {
		return keyForm{}, web.ErrBody.Saying("scopes is required: what the key may do.").In("scopes")
	}
	for _, p := range in.Scopes {
		if !slices.Contains(access.All, p) {
			return keyForm{}, access.ErrUnknownScope.In("scopes")
		}
	}
	var expires time.Time
	if in.ExpiresAt != nil {
		if expires = *in.ExpiresAt; expires.IsZero() { // which is not to say "never"
			return keyForm{}, errKeyEnd.In("expires_at")
		}
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		k, key, err := s.CreateKey(ctx, tx, by, in.Name, in.Scopes, expires)
		out = keyFormOf(k, key)
		return err
	})
	return out, err
}

func (s *Service) deleteKey(ctx context.Context, by access.Actor, in byID) (deleted, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.RevokeKey(ctx, tx, by, in.ID) })
	return deleted{err == nil}, err
}
