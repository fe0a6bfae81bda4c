package tenant

import (
	"context"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
)

// Problems of applications.
var (
	ErrClient              = problem.New(problem.Invalid, "invalid_client", "The client is invalid or missing.")
	ErrApplicationNotFound = problem.New(problem.NotFound, "application_not_found", "There is no such application.")
	ErrApplication         = problem.New(problem.Invalid, "invalid_application", "The application is not valid.")
	ErrApplicationsFull    = problem.New(problem.Conflict, "too_many_applications", "A tenant has at most 1,000 applications. Delete one that is not used.")
)

// Limits of what a caller may choose of an application. Some of it is read for
// requests of strangers, so it stays small.
const (
	maxAddress   = 2 << 10  // bytes of one redirect URI or origin
	maxAddresses = 16 << 10 // bytes of all of them
)

// SecretOverlap is how long an application's old secret still works after it was
// rotated, unless the caller says otherwise.
const SecretOverlap = 24 * time.Hour

// An Application is a program that signs users in or calls the API.
type Application struct {
	ID             string
	TenantID       string
	ClientID       string
	Name           string
	RedirectURIs   []string
	AllowedOrigins []string
	OAuth          OAuth
	IsActive       bool
	CreatedAt      time.Time
	ModifiedAt     time.Time
}

// A Secret is one of an application's secrets, without the secret itself.
type Secret struct {
	ID        string
	Hint      string // its last four characters
	CreatedAt time.Time
	ExpiresAt time.Time // zero for the current one
}

// newClientID returns an id in the documented form: cli_, 20 characters, a dot,
// 32 hex digits, a dot, 22 letters and digits.
func newClientID() string {
	const base32hex, hex, base62 = "0123456789abcdefghijklmnopqrstuv", "0123456789abcdef", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	return "cli_" + secret.Text(base32hex, 20) + "." + secret.Text(hex, 32) + "." + secret.Text(base62, 22)
}

// check normalises and judges what a caller may choose of an application.
func (a *Application) check() error {
	if a.Name = strings.TrimSpace(a.Name); a.Name == "" || len(a.Name) > 200 {
		return ErrApplication.Saying("An application needs a name of at most 200 bytes.").In("name")
	}
	if len(a.RedirectURIs) > 100 || len(a.AllowedOrigins) > 100 {
		return ErrApplication.Saying("An application has at most 100 redirect URIs and 100 allowed origins.")
	}
	total := 0
	for _, u := range a.RedirectURIs {
		if total += len(u); !isRedirectURI(u) {
			return ErrApplication.Saying("A redirect URI is an absolute https address of at most 2,048 visible ASCII characters without a fragment; http only for loopback, or a scheme of your own that is a domain name in reverse.").In("redirect_uris")
		}
	}
	for i, o := range a.AllowedOrigins {
		a.AllowedOrigins[i] = strings.ToLower(strings.TrimSuffix(o, "/"))
		if total += len(o); !isOrigin(a.AllowedOrigins[i]) {
			return ErrApplication.Saying("An allowed origin looks like https://app.example.com: scheme, host and port only, in at most 2,048 ASCII characters.").In("allowed_origins")
		}
	}
	if total > maxAddresses {
		return ErrApplication.Saying("The redirect URIs and allowed origins of an application have at most 16 KiB in all.")
	}
	return a.OAuth.check()
}

// isRedirectURI follows RFC 8252 for native applications and RFC 9700 section
// 4.1.3 for the rest.
func isRedirectURI(s string) bool {
	if len(s) > maxAddress || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' || c == '#' }) {
		return false
	}
	u, err := url.Parse(s)
	if err != nil || !u.IsAbs() || u.User != nil {
		return false
	}
	switch u.Scheme {
	case "https":
		return isHost(u)
	case "http":
		return isHost(u) && isLoopback(u.Hostname())
	default:
		return isPrivateScheme(u.Scheme)
	}
}

func isOrigin(s string) bool {
	if len(s) > maxAddress {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && isHost(u) && u.Scheme+"://"+u.Host == s
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?$`)

// isHost reports whether u has a host that reads the same to everybody: a name in
// ASCII or an address, and a port only if it is one.
func isHost(u *url.URL) bool {
	name, port := u.Hostname(), u.Port()
	if a, err := netip.ParseAddr(name); err == nil && a.Zone() != "" || err != nil && (!hostName.MatchString(name) || strings.Contains(name, "..")) {
		return false
	}
	if port == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

var privateScheme = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z][a-z0-9-]*(\.[a-z0-9-]+)+$`) })

// isPrivateScheme reports whether a scheme is a domain name in reverse, RFC 8252
// section 7.1. Schemes that programs run or open have no such relatives: "data.x"
// is there to be taken for "data".
func isPrivateScheme(scheme string) bool {
	top, _, _ := strings.Cut(scheme, ".")
	switch top {
	case "about", "blob", "data", "file", "ftp", "http", "https", "javascript", "vbscript", "ws", "wss":
		return false
	}
	return privateScheme().MatchString(scheme)
}

func isLoopback(host string) bool { return host == "localhost" || host == "127.0.0.1" || host == "::1" }

// CreateApplication makes an application and, if it proves itself by one, its first
// secret, which is returned once and never again; ErrApplicationsFull if the tenant has 1,000. The actor needs
// applications:write.
func (s *Service) CreateApplication(ctx context.Context, tx *database.Tx, by access.Actor, a Application) (Application, string, error) {
	if err := by.Require(access.ApplicationsWrite); err != nil {
		return Application{}, "", err
	}
	if err := a.check(); err != nil {
		return Application{}, "", err
	}
	if err := requireScopes(by, a.OAuth.Scopes); err != nil {
		return Application{}, "", err
	}
	a.ID, a.TenantID, a.ClientID = tx.NewID(), by.Tenant, newClientID()
	a.IsActive, a.CreatedAt, a.ModifiedAt = true, tx.Now, tx.Now
	if err := makeRoom(ctx, tx, a.TenantID, countApplications, ErrApplicationsFull); err != nil {
		return Application{}, "", err
	}
	if err := insertApplication(ctx, tx, a); err != nil {
		return Application{}, "", err
	}
	tx.OnCommit(s.forget)
	key := ""
	if a.OAuth.AuthMethod == AuthSecret {
		var hash []byte
		key, hash = secret.NewKey("cs_")
		if err := insertSecret(ctx, tx, a.TenantID, a.ID, hash, key[len(key)-4:]); err != nil {
			return Application{}, "", err
		}
	}
	return a, key, audit.Append(tx, by, audit.Event{Action: "application.created", Target: "application", TargetID: a.ID, Detail: map[string]any{"name": a.Name}})
}

// requireScopes returns access.ErrDenied if scopes has one of the management API that
// the actor may not hand on and that was not there before.
func requireScopes(by access.Actor, scopes []string, before ...string) error {
	for _, scope := range scopes {
		p := access.Permission(scope)
		if !slices.Contains(access.All, p) || slices.Contains(before, scope) {
			continue
		}
		if err := mayHandOn(by, p); err != nil {
			return err
		}
	}
	return nil
}

// provesAnother reports whether other keys than before prove to be the application.
func (o OAuth) provesAnother(before OAuth) bool {
	return o.AuthMethod != before.AuthMethod || o.JWKSURI != before.JWKSURI || encodeJSON(o.JWKS) != encodeJSON(before.JWKS)
}

// SaveApplication replaces name, redirect URIs, allowed origins, OAuth settings and
// activity of an application. The actor needs applications:write; and, where it proves
// itself by something else from now on, all the scopes that it may have for itself.
func (s *Service) SaveApplication(ctx context.Context, tx *database.Tx, by access.Actor, a Application) (Application, error) {
	if err := by.Require(access.ApplicationsWrite); err != nil {
		return Application{}, err
	}
	if err := a.check(); err != nil {
		return Application{}, err
	}
	before, err := findApplication(ctx, tx, by.Tenant, "id", a.ID)
	had := before.OAuth.Scopes
	if a.OAuth.provesAnother(before.OAuth) {
		had = nil // whoever has the key has them
	}
	if err == nil {
		err = requireScopes(by, a.OAuth.Scopes, had...)
	}
	if err != nil {
		return Application{}, err
	}
	a, err = updateApplication(ctx, tx, by.Tenant, a)
	if err != nil {
		return Application{}, err
	}
	tx.OnCommit(s.forget)
	return a, audit.Append(tx, by, audit.Event{Action: "application.updated", Target: "application", TargetID: a.ID})
}

// DeleteApplication removes an application. The actor needs applications:write.
func (s *Service) DeleteApplication(ctx context.Context, tx *database.Tx, by access.Actor, id string) error {
	if err := by.Require(access.ApplicationsWrite); err != nil {
		return err
	}
	if err := deleteApplication(ctx, tx, by.Tenant, id); err != nil {
		return err
	}
	tx.OnCommit(s.forget)
	return audit.Append(tx, by, audit.Event{Action: "application.deleted", Target: "application", TargetID: id})
}

// RotateSecret gives an application a new secret. Those before it work until
// overlap has passed, so that both are good while the new one is rolled out; an
// overlap of zero ends them at once. The actor needs applications:write.
func (s *Service) RotateSecret(ctx context.Context, tx *database.Tx, by access.Actor, application string, overlap time.Duration) (string, error) {
	if err := by.Require(access.ApplicationsWrite); err != nil {
		return "", err
	}
	if overlap < 0 || overlap > 90*24*time.Hour {
		return "", ErrApplication.Saying("Old secrets may live on for 0 to 90 days.")
	}
	if err := touchApplication(ctx, tx, by.Tenant, application); err != nil {
		return "", err
	}
	a, err := findApplication(ctx, tx, by.Tenant, "id", application)
	if err == nil {
		err = requireScopes(by, a.OAuth.Scopes) // whoever has the secret has them
	}
	if err != nil {
		return "", err
	}
	if err := expireSecrets(ctx, tx, by.Tenant, application, tx.Now.Add(overlap)); err != nil {
		return "", err
	}
	tx.OnCommit(s.secrets.Clear)
	key, hash := secret.NewKey("cs_")
	if err := insertSecret(ctx, tx, by.Tenant, application, hash, key[len(key)-4:]); err != nil {
		return "", err
	}
	return key, audit.Append(tx, by, audit.Event{Action: "application.secret_rotated", Target: "application", TargetID: application})
}

// CheckSecret reports whether key is one of the application's live secrets, as of at
// most a second ago.
func (s *Service) CheckSecret(ctx context.Context, a Application, key string) (bool, error) {
	if !secret.LooksLikeKey("cs_", key) {
		return false, nil
	}
	now := s.DB.Now()
	hashes, err := s.secrets.Get(now, a.ID, func() ([][]byte, error) { return liveSecrets(ctx, s.DB, a.TenantID, a.ID, now) })
	if err != nil {
		return false, err
	}
	given, ok := secret.Hash(key), false
	for _, h := range hashes {
		ok = secret.Equal(given, h) || ok
	}
	return ok, nil
}

// Secrets lists an application's secrets, newest first. The actor needs
// applications:read.
func (s *Service) Secrets(ctx context.Context, db database.Reader, by access.Actor, application string) ([]Secret, error) {
	if err := by.Require(access.ApplicationsRead); err != nil {
		return nil, err
	}
	return listSecrets(ctx, db, by.Tenant, application)
}

// Applications lists a tenant's applications by creation, at most 1,000. The
// actor needs applications:read.
func (s *Service) Applications(ctx context.Context, db database.Reader, by access.Actor) ([]Application, error) {
	if err := by.Require(access.ApplicationsRead); err != nil {
		return nil, err
	}
	return listApplications(ctx, db, by.Tenant)
}

// Application returns one application. The actor needs applications:read.
func (s *Service) Application(ctx context.Context, db database.Reader, by access.Actor, id string) (Application, error) {
	if err := by.Require(access.ApplicationsRead); err != nil {
		return Application{}, err
	}
	return findApplication(ctx, db, by.Tenant, "id", id)
}

// ApplicationOf returns the application of a client id in the actor's tenant, active or
// not. The actor needs applications:read.
func (s *Service) ApplicationOf(ctx context.Context, db database.Reader, by access.Actor, clientID string) (Application, error) {
	if err := by.Require(access.ApplicationsRead); err != nil {
		return Application{}, err
	}
	return findApplication(ctx, db, by.Tenant, "client_id", clientID)
}

// ByClientID returns the active application of a client id, whatever its tenant,
// at most a second old; ErrClient if there is none.
func (s *Service) ByClientID(ctx context.Context, clientID string) (Application, error) {
	if len(clientID) > 128 {
		return Application{}, ErrClient
	}
	return s.clients.Get(s.DB.Now(), clientID, func() (Application, error) {
		tenant, err := findClient(ctx, s.DB, clientID)
		if err != nil {
			return Application{}, err
		}
		a, err := findApplication(ctx, s.DB, tenant, "client_id", clientID)
		if err != nil {
			return Application{}, err
		}
		if !a.IsActive {
			return Application{}, ErrClient.Because("application %s is not active", a.ID)
		}
		return a, nil
	})
}

// ActiveApplication returns an active application of a tenant, at most a second old;
// ErrClient or ErrApplicationNotFound if there is none.
func (s *Service) ActiveApplication(ctx context.Context, tenant, id string) (Application, error) {
	return s.applications.Get(s.DB.Now(), tenant+"/"+id, func() (Application, error) {
		a, err := findApplication(ctx, s.DB, tenant, "id", id)
		if err == nil && !a.IsActive {
			err = ErrClient.Because("application %s is not active", id)
		}
		return a, err
	})
}
