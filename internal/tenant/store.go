package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
)

// maxListed bounds how many a tenant has of the things it has few of, and lists of
// them.
const maxListed = 1000

// makeRoom fails with full if a tenant has maxListed of what count counts. It
// writes the tenant's row first, unchanged, so that on PostgreSQL one transaction
// after the other counts.
func makeRoom(ctx context.Context, tx *database.Tx, tenant string, count func(context.Context, *database.Tx, string) (int64, error), full *problem.Problem) error {
	if err := Hold(ctx, tx, tenant); err != nil {
		return err
	}
	n, err := count(ctx, tx, tenant)
	if err == nil && n >= maxListed {
		return full
	}
	return err
}

// Hold makes whoever else holds the tenant wait until tx has ended, so that one after
// the other counts what a tenant may have only some of. ErrNotFound if it is gone.
func Hold(ctx context.Context, tx *database.Tx, id string) error {
	n, err := tx.Exec(ctx, "UPDATE tenants SET modified_at = modified_at WHERE id = $1", id)
	if err != nil {
		return fmt.Errorf("hold tenant: %w", err)
	}
	if n == 0 {
		return ErrNotFound
	}
	return nil
}

const tenantColumns = "id, slug, name, kind, is_active, settings, data_key, created_at, modified_at"

func scanTenant(row database.Scanner) (Tenant, error) {
	var t Tenant
	var settings string
	var created, modified int64
	if err := row.Scan(&t.ID, &t.Slug, &t.Name, &t.Kind, &t.IsActive, &settings, &t.dataKey, &created, &modified); err != nil {
		return Tenant{}, err
	}
	t.CreatedAt, t.ModifiedAt = at(created), at(modified)
	return t, json.Unmarshal([]byte(settings), &t.Settings)
}

func insertTenant(ctx context.Context, tx *database.Tx, t Tenant) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO tenants (id, slug, name, kind, is_active, settings, data_key, created_at, modified_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		t.ID, t.Slug, t.Name, t.Kind, t.IsActive, encodeJSON(t.Settings), t.dataKey, t.CreatedAt.UnixMilli(), t.ModifiedAt.UnixMilli())
	if database.IsDuplicate(err) {
		return ErrExists
	}
	if err != nil {
		return fmt.Errorf("insert tenant: %w", err)
	}
	return nil
}

// findTenant reads an active tenant by its id or slug; by is a constant.
func findTenant(ctx context.Context, db database.Reader, by, value string) (Tenant, error) {
	t, err := scanTenant(db.QueryRow(ctx, "SELECT "+tenantColumns+" FROM tenants WHERE "+by+" = $1 AND is_active", value))
	if err != nil {
		return Tenant{}, notFoundAs(err, ErrNotFound, "find tenant")
	}
	return t, nil
}

func findTenantByHost(ctx context.Context, db database.Reader, host string) (Tenant, error) {
	var id string
	if err := db.QueryRow(ctx, "SELECT tenant_id FROM tenant_hosts WHERE host = $1", host).Scan(&id); err != nil {
		return Tenant{}, notFoundAs(err, ErrNotFound, "find tenant by host")
	}
	return findTenant(ctx, db, "id", id)
}

// firstHost returns the custom domain a tenant had first, empty if it has none.
func firstHost(ctx context.Context, db database.Reader, tenant string) (host string, err error) {
	err = db.QueryRow(ctx, "SELECT host FROM tenant_hosts WHERE tenant_id = $1 ORDER BY created_at, host LIMIT 1", tenant).Scan(&host)
	if err != nil && !errors.Is(err, database.ErrNoRows) {
		return "", fmt.Errorf("find host of tenant: %w", err)
	}
	return host, nil
}

func listTenants(ctx context.Context, db database.Reader) ([]Tenant, error) {
	rows, err := db.Query(ctx, "SELECT "+tenantColumns+" FROM tenants ORDER BY slug")
	return database.Collect(rows, err, "list tenants", scanTenant)
}

func updateSettings(ctx context.Context, tx *database.Tx, id string, settings Settings) error {
	n, err := tx.Exec(ctx, "UPDATE tenants SET settings = $2, modified_at = $3 WHERE id = $1", id, encodeJSON(settings), tx.Millis())
	if err != nil {
		return fmt.Errorf("update settings: %w", err)
	}
	if n == 0 {
		return ErrNotFound
	}
	return nil
}

const applicationColumns = "tenant_id, id, client_id, name, redirect_uris, allowed_origins, oauth, is_active, created_at, modified_at"

func scanApplication(row database.Scanner) (Application, error) {
	var a Application
	var uris, origins, oauth string
	var created, modified int64
	err := row.Scan(&a.TenantID, &a.ID, &a.ClientID, &a.Name, &uris, &origins, &oauth, &a.IsActive, &created, &modified)
	if err != nil {
		return Application{}, err
	}
	a.CreatedAt, a.ModifiedAt = at(created), at(modified)
	if err := json.Unmarshal([]byte(uris), &a.RedirectURIs); err != nil {
		return Application{}, err
	}
	if err := json.Unmarshal([]byte(origins), &a.AllowedOrigins); err != nil {
		return Application{}, err
	}
	return a, json.Unmarshal([]byte(oauth), &a.OAuth)
}

func insertApplication(ctx context.Context, tx *database.Tx, a Application) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO applications (tenant_id, id, client_id, name, redirect_uris, allowed_origins, oauth, is_active, created_at, modified_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)`,
		a.TenantID, a.ID, a.ClientID, a.Name, list(a.RedirectURIs), list(a.AllowedOrigins), encodeJSON(a.OAuth), a.IsActive, a.CreatedAt.UnixMilli())
	if err == nil {
		_, err = tx.Exec(ctx, "INSERT INTO tenant_clients (client_id, tenant_id) VALUES ($1, $2)", a.ClientID, a.TenantID)
	}
	if err != nil {
		return fmt.Errorf("insert application: %w", err)
	}
	return nil
}

// list encodes strings as a JSON array, never as null.
func list(s []string) string {
	if s == nil {
		s = []string{}
	}
	return encodeJSON(s)
}

func findClient(ctx context.Context, db database.Reader, clientID string) (tenant string, err error) {
	if err := db.QueryRow(ctx, "SELECT tenant_id FROM tenant_clients WHERE client_id = $1", clientID).Scan(&tenant); err != nil {
		return "", notFoundAs(err, ErrClient, "find client")
	}
	return tenant, nil
}

// findApplication reads an application by its id or client_id; by is a constant.
func findApplication(ctx context.Context, db database.Reader, tenant, by, value string) (Application, error) {
	a, err := scanApplication(db.QueryRow(ctx, "SELECT "+applicationColumns+" FROM applications WHERE tenant_id = $1 AND "+by+" = $2", tenant, value))
	if err != nil {
		return Application{}, notFoundAs(err, ErrApplicationNotFound, "find application")
	}
	return a, nil
}

func listApplications(ctx context.Context, db database.Reader, tenant string) ([]Application, error) {
	rows, err := db.Query(ctx, "SELECT "+applicationColumns+" FROM applications WHERE tenant_id = $1 ORDER BY id LIMIT $2", tenant, maxListed)
	return database.Collect(rows, err, "list applications", scanApplication)
}

// firstApplication returns a tenant's oldest application, an empty one if it has
// none.
func firstApplication(ctx context.Context, db database.Reader, tenant string) (Application, error) {
	a, err := scanApplication(db.QueryRow(ctx, "SELECT "+applicationColumns+" FROM applications WHERE tenant_id = $1 ORDER BY id LIMIT 1", tenant))
	if errors.Is(err, database.ErrNoRows) {
		return Application{}, nil
	}
	if err != nil {
		return Application{}, fmt.Errorf("find first application: %w", err)
	}
	return a, nil
}

// listOrigins returns the allowed origins of a tenant's active applications.
func listOrigins(ctx context.Context, db database.Reader, tenant string) (map[string]bool, error) {
	rows, err := db.Query(ctx, "SELECT allowed_origins FROM applications WHERE tenant_id = $1 AND is_active AND allowed_origins <> '[]' ORDER BY id LIMIT $2", tenant, maxListed)
	lists, err := database.Collect(rows, err, "list origins", func(row database.Scanner) (origins []string, err error) {
		var text string
		if err := row.Scan(&text); err != nil {
			return nil, err
		}
		err = json.Unmarshal([]byte(text), &origins)
		return origins, err
	})
	out := map[string]bool{}
	for _, o := range slices.Concat(lists...) {
		out[o] = true
	}
	return out, err
}

func countApplications(ctx context.Context, tx *database.Tx, tenant string) (n int64, err error) {
	if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM applications WHERE tenant_id = $1", tenant).Scan(&n); err != nil {
		return 0, fmt.Errorf("count applications: %w", err)
	}
	return n, nil
}

func updateApplication(ctx context.Context, tx *database.Tx, tenant string, a Application) (Application, error) {
	a, err := scanApplication(tx.QueryRow(ctx, `
		UPDATE applications SET name = $3, redirect_uris = $4, allowed_origins = $5, is_active = $6, modified_at = $7, oauth = $8
		WHERE tenant_id = $1 AND id = $2
		RETURNING `+applicationColumns,
		tenant, a.ID, a.Name, list(a.RedirectURIs), list(a.AllowedOrigins), a.IsActive, tx.Millis(), encodeJSON(a.OAuth)))
	if err != nil {
		return Application{}, notFoundAs(err, ErrApplicationNotFound, "update application")
	}
	return a, nil
}

// touchApplication notes a change of what belongs to an application. Written first,
// its row makes changes at the same moment follow one another.
func touchApplication(ctx context.Context, tx *database.Tx, tenant, id string) error {
	n, err := tx.Exec(ctx, "UPDATE applications SET modified_at = $3 WHERE tenant_id = $1 AND id = $2", tenant, id, tx.Millis())
	if err != nil {
		return fmt.Errorf("touch application: %w", err)
	}
	if n == 0 {
		return ErrApplicationNotFound
	}
	return nil
}

func deleteApplication(ctx context.Context, tx *database.Tx, tenant, id string) error {
	var clientID string
	err := tx.QueryRow(ctx, "DELETE FROM applications WHERE tenant_id = $1 AND id = $2 RETURNING client_id", tenant, id).Scan(&clientID)
	if err != nil {
		return notFoundAs(err, ErrApplicationNotFound, "delete application")
	}
	if _, err := tx.Exec(ctx, "DELETE FROM tenant_clients WHERE tenant_id = $1 AND client_id = $2", tenant, clientID); err != nil {
		return fmt.Errorf("delete client id: %w", err)
	}
	return nil
}

func insertSecret(ctx context.Context, tx *database.Tx, tenant, application string, hash []byte, hint string) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO application_secrets (tenant_id, application_id, id, hash, hint, created_at)
		VALUES ($1, $2, $3, $4, $5, $6)`,
		tenant, application, tx.NewID(), hash, hint, tx.Millis())
	if err != nil {
		return fmt.Errorf("insert application secret: %w", err)
	}
	return nil
}

// expireSecrets lets no secret outlive expires; those that end sooner stay so.
func expireSecrets(ctx context.Context, tx *database.Tx, tenant, application string, expires time.Time) error {
	_, err := tx.Exec(ctx, `
		UPDATE application_secrets SET expires_at = $3
		WHERE tenant_id = $1 AND application_id = $2 AND (expires_at IS NULL OR expires_at > $3)`,
		tenant, application, expires.UnixMilli())
	if err != nil {
		return fmt.Errorf("expire application secrets: %w", err)
	}
	return nil
}

func liveSecrets(ctx context.Context, db database.Reader, tenant, application string, now time.Time) ([][]byte, error) {
	rows, err := db.Query(ctx, `
		SELECT hash FROM application_secrets
		WHERE tenant_id = $1 AND application_id = $2 AND (expires_at IS NULL OR expires_at > $3)`,
		tenant, application, now.UnixMilli())
	return database.Collect(rows, err, "list live secrets", func(row database.Scanner) (h []byte, err error) {
		err = row.Scan(&h)
		return h, err
	})
}

func listSecrets(ctx context.Context, db database.Reader, tenant, application string) ([]Secret, error) {
	rows, err := db.Query(ctx, `
		SELECT id, hint, created_at, expires_at FROM application_secrets
		WHERE tenant_id = $1 AND application_id = $2 ORDER BY id DESC LIMIT $3`, tenant, application, maxListed)
	return database.Collect(rows, err, "list secrets", func(row database.Scanner) (Secret, error) {
		var x Secret
		var created int64
		var expires *int64
		err := row.Scan(&x.ID, &x.Hint, &created, &expires)
		x.CreatedAt, x.ExpiresAt = at(created), atOrZero(expires)
		return x, err
	})
}

const keyColumns = "id, name, hint, scopes, created_by, created_at, expires_at, revoked_at, last_used_at"

func scanKey(row database.Scanner) (Key, error) {
	var k Key
	var scopes string
	var created int64
	var expires, revoked, used *int64
	err := row.Scan(&k.ID, &k.Name, &k.Hint, &scopes, &k.CreatedBy, &created, &expires, &revoked, &used)
	for _, p := range strings.Fields(scopes) {
		k.Scopes = append(k.Scopes, access.Permission(p))
	}
	k.CreatedAt, k.ExpiresAt, k.RevokedAt, k.LastUsedAt = at(created), atOrZero(expires), atOrZero(revoked), atOrZero(used)
	return k, err
}

func insertKey(ctx context.Context, tx *database.Tx, tenant string, k Key, hash []byte) error {
	words := make([]string, len(k.Scopes))
	for i, p := range k.Scopes {
		words[i] = string(p)
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO api_keys (tenant_id, id, hash, hint, name, scopes, created_by, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		tenant, k.ID, hash, k.Hint, k.Name, strings.Join(words, " "), k.CreatedBy, k.CreatedAt.UnixMilli(), orNull(k.ExpiresAt))
	if err != nil {
		return fmt.Errorf("insert api key: %w", err)
	}
	return nil
}

// findKey reads a key that is not revoked.
func findKey(ctx context.Context, db database.Reader, tenant string, hash []byte) (Key, error) {
	k, err := scanKey(db.QueryRow(ctx, "SELECT "+keyColumns+" FROM api_keys WHERE tenant_id = $1 AND hash = $2 AND revoked_at IS NULL", tenant, hash))
	if err != nil {
		return Key{}, notFoundAs(err, ErrToken, "find api key")
	}
	return k, nil
}

// findKeyByID reads a key, also one that has ended.
func findKeyByID(ctx context.Context, db database.Reader, tenant, id string) (Key, error) {
	k, err := scanKey(db.QueryRow(ctx, "SELECT "+keyColumns+" FROM api_keys WHERE tenant_id = $1 AND id = $2", tenant, id))
	if err != nil {
		return Key{}, notFoundAs(err, ErrKeyNotFound, "find api key")
	}
	return k, nil
}

// isLiveKey is the condition that a key works at $2.
const isLiveKey = "(revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2))"

func listKeys(ctx context.Context, db database.Reader, tenant string, now time.Time) ([]Key, error) {
	rows, err := db.Query(ctx, "SELECT "+keyColumns+" FROM api_keys WHERE tenant_id = $1 ORDER BY CASE WHEN "+isLiveKey+" THEN 0 ELSE 1 END, id DESC LIMIT $3",
		tenant, now.UnixMilli(), maxListed)
	return database.Collect(rows, err, "list api keys", scanKey)
}

func countLiveKeys(ctx context.Context, tx *database.Tx, tenant string) (n int64, err error) {
	if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM api_keys WHERE tenant_id = $1 AND "+isLiveKey, tenant, tx.Millis()).Scan(&n); err != nil {
		return 0, fmt.Errorf("count api keys: %w", err)
	}
	return n, nil
}

// revokeKeys revokes a key and its descendants, and returns those that were not
// revoked before.
func revokeKeys(ctx context.Context, tx *database.Tx, tenant, id string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		WITH RECURSIVE family (id) AS (
			SELECT id FROM api_keys WHERE tenant_id = $1 AND id = $2
			UNION
			SELECT k.id FROM api_keys k JOIN family f ON k.created_by = 'key:' || f.id WHERE k.tenant_id = $1
		)
		UPDATE api_keys SET revoked_at = $3
		WHERE tenant_id = $1 AND id IN (SELECT id FROM family) AND revoked_at IS NULL
		RETURNING id`, tenant, id, tx.Millis())
	revoked, err := database.Collect(rows, err, "revoke api keys", func(row database.Scanner) (id string, err error) {
		err = row.Scan(&id)
		return id, err
	})
	if err == nil && len(revoked) == 0 {
		return nil, ErrKeyNotFound
	}
	return revoked, err
}

// liveKeysOf returns the keys that an actor has made and that work.
func liveKeysOf(ctx context.Context, tx *database.Tx, tenant, maker string) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM api_keys WHERE tenant_id = $1 AND created_by = $2 AND revoked_at IS NULL ORDER BY id LIMIT $3`, tenant, maker, int64(maxListed))
	return database.Collect(rows, err, "find keys of maker", func(row database.Scanner) (id string, err error) {
		err = row.Scan(&id)
		return id, err
	})
}

func touchKey(ctx context.Context, tx *database.Tx, tenant, id string) error {
	if _, err := tx.Exec(ctx, "UPDATE api_keys SET last_used_at = $3 WHERE tenant_id = $1 AND id = $2", tenant, id, tx.Millis()); err != nil {
		return fmt.Errorf("note use of api key: %w", err)
	}
	return nil
}

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func atOrZero(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return at(*ms)
}

func orNull(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}
