// Package tenant keeps the isolated pools of users of an installation: tenants
// with their settings and domains, the applications that sign users in, and the
// API keys of management calls.
//
//	Resolve         host, client id or path of a request -> its tenant
//	Authenticate    bearer key -> who is asking and what they may do
//	ChangeSettings  what a tenant may choose, judged and noted the same for all who ask
//
// What these need is read for every request and changes rarely, so it is kept in
// memory for at most a second: a revoked key is refused everywhere within that.
// An attacker would use a key of one tenant on another's host, or a host that
// names nobody: keys are looked up within the tenant that the request names, and
// an unknown host is refused, never served as the default.
package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
)

// Master is the slug of the operator's tenant, the only one from which tenants
// are managed.
const Master = "master"

// Kinds of tenant, as the KOBIL contract has them.
const (
	KindSSMS = "SSMS"
	KindAST  = "AST"
)

// Problems of tenants.
var (
	ErrNotFound    = problem.New(problem.NotFound, "tenant_not_found", "There is no such tenant.")
	ErrExists      = problem.New(problem.Conflict, "tenant_exists", "A tenant of this name exists already.")
	ErrInvalid     = problem.New(problem.Invalid, "invalid_tenant", "A tenant's name has 1 to 63 lower-case letters, digits and inner hyphens.")
	ErrUnknownHost = problem.New(problem.Misdirected, "unknown_host", "No tenant of this installation answers at this host name.")
)

// A Tenant is one isolated pool of users.
type Tenant struct {
	ID         string
	Slug       string // first label of its host, and its realm name
	Name       string
	Kind       string // KindSSMS or KindAST
	IsActive   bool
	Settings   Settings
	CreatedAt  time.Time
	ModifiedAt time.Time

	dataKey []byte // sealed under the master key
}

// ManualConnection is the id of the built-in connection of users made by API,
// import or command.
func (t Tenant) ManualConnection() string { return ManualConnection(t.ID) }

// ManualConnection is Tenant.ManualConnection for an id.
func ManualConnection(tenant string) string { return secret.DerivedID(tenant, "ManualUser") }

// Service manages tenants. Its fields are set once, before use.
type Service struct {
	DB     *database.DB
	Master *secret.Box // seals every tenant's data key

	// Log is told of what went wrong without failing a request; slog.Default() if nil.
	Log *slog.Logger

	// Limits counts the keys that were not good, per address.
	Limits *ratelimit.Limiter

	// Tokens returns the actor of an access token, for management calls that come with
	// one in place of a key. It may be nil.
	Tokens func(ctx context.Context, by access.Actor, bearer string) (access.Actor, error)

	// Own reports whether what is at a path reads its bearer tokens by itself, so that
	// they are not taken for those of a management call. It may be nil.
	Own func(path string) bool
	// Foreign reports whether client ids at a path are none of ours: those of a provider
	// that is somebody else's, such as the one for developing. It may be nil.
	Foreign func(path string) bool

	// Social returns what people may sign in with at other services, as JSON, for the
	// configuration object. It may be nil.
	Social func(ctx context.Context, tenantID string) (json.RawMessage, error)

	// PublicURL is the public address, without a path.
	PublicURL string
	// BaseHost is the host of the public address, without a port. Tenants answer
	// at {slug}.BaseHost.
	BaseHost string
	// Aliases are further names of BaseHost itself.
	Aliases []string
	// Default is the slug of the tenant that BaseHost itself stands for.
	Default string

	tenants      database.Fresh[Tenant]
	clients      database.Fresh[Application]
	applications database.Fresh[Application]
	keys         database.Fresh[Key]
	boxes        database.Fresh[*secret.Box]
	origins      database.Fresh[map[string]bool]
	firsts       database.Fresh[Application]
	origin       database.Fresh[string]
	secrets      database.Fresh[[][]byte]

	noting    sync.Mutex // held by the request that notes the use of its key
	noteAgain time.Time  // when to try again after a failure
}

var slugForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`) })

// Reserved labels are hosts the installation may want for itself.
var reserved = map[string]bool{"www": true, "api": true, "mail": true, "localhost": true}

// Create makes a tenant of a slug. The actor needs tenants:write.
func (s *Service) Create(ctx context.Context, tx *database.Tx, by access.Actor, slug, name, kind string) (Tenant, error) {
	if err := by.Require(access.TenantsWrite); err != nil {
		return Tenant{}, err
	}
	if !slugForm().MatchString(slug) || reserved[slug] {
		return Tenant{}, ErrInvalid
	}
	if kind != KindAST {
		kind = KindSSMS
	}
	if name = strings.TrimSpace(name); name == "" {
		name = slug
	}
	t := Tenant{ID: tx.NewID(), Slug: slug, Name: name, Kind: kind, IsActive: true, CreatedAt: tx.Now, ModifiedAt: tx.Now}
	t.dataKey = s.Master.Seal("tenants/"+t.ID, secret.NewBoxKey())
	if err := insertTenant(ctx, tx, t); err != nil {
		return Tenant{}, err
	}
	// The event belongs to the new tenant's own log as well as the creator's.
	for _, log := range []string{by.Tenant, t.ID} {
		if log == "" {
			continue
		}
		at := by
		at.Tenant = log
		if err := audit.Append(tx, at, audit.Event{Action: "tenant.created", Target: "tenant", TargetID: t.ID, Detail: map[string]any{"slug": slug}}); err != nil {
			return Tenant{}, err
		}
	}
	return t, nil
}

// Delete removes a tenant and everything in it. The actor needs tenants:write.
func (s *Service) Delete(ctx context.Context, tx *database.Tx, by access.Actor, slug string) error {
	if err := by.Require(access.TenantsWrite); err != nil {
		return err
	}
	t, err := findTenant(ctx, tx, "slug", slug)
	if err != nil {
		return err
	}
	if slug == Master {
		return ErrInvalid.Saying("The master tenant can not be deleted.")
	}
	if err := tx.DeleteTenant(ctx, t.ID); err != nil {
		return err
	}
	// Requests that had found the tenant before may still write for it, on this
	// server or another. When none can be left, what they wrote goes too.
	if _, err := jobs.Enqueue(ctx, tx, "", WipeJob, wipe{t.ID}, jobs.Options{Delay: database.MaxWrite + database.MaxAge + time.Minute}); err != nil {
		return err
	}
	tx.OnCommit(s.forget)
	return audit.Append(tx, by, audit.Event{Action: "tenant.deleted", Target: "tenant", TargetID: t.ID, Detail: map[string]any{"slug": slug}})
}

// WipeJob is the kind of the job that removes what was written for a tenant while it
// was being deleted.
const WipeJob = "wipe_tenant"

type wipe struct {
	TenantID string `json:"tenant_id"`
}

// Wipe works on a WipeJob. A tenant that exists is left alone.
func (s *Service) Wipe(ctx context.Context, job *jobs.Job) error {
	var w wipe
	if err := job.Payload(&w); err != nil {
		return jobs.Permanent(err)
	}
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		if _, err := findTenant(ctx, tx, "id", w.TenantID); !errors.Is(err, ErrNotFound) {
			return err
		}
		return tx.DeleteTenant(ctx, w.TenantID)
	})
}

// List returns all tenants by slug. The actor needs tenants:read.
func (s *Service) List(ctx context.Context, db database.Reader, by access.Actor) ([]Tenant, error) {
	if err := by.Require(access.TenantsRead); err != nil {
		return nil, err
	}
	return listTenants(ctx, db)
}

// BySlug returns the tenant of that slug, at most a second old.
func (s *Service) BySlug(ctx context.Context, slug string) (Tenant, error) {
	return s.tenants.Get(s.DB.Now(), "slug "+slug, func() (Tenant, error) {
		if !slugForm().MatchString(slug) { // it comes from hosts and addresses, and may be no text at all
			return Tenant{}, ErrNotFound
		}
		return findTenant(ctx, s.DB, "slug", slug)
	})
}

// ByID returns the tenant of that id, at most a second old.
func (s *Service) ByID(ctx context.Context, id string) (Tenant, error) {
	return s.tenants.Get(s.DB.Now(), "id "+id, func() (Tenant, error) { return findTenant(ctx, s.DB, "id", id) })
}

// byHost returns the tenant of a custom domain.
func (s *Service) byHost(ctx context.Context, host string) (Tenant, error) {
	return s.tenants.Get(s.DB.Now(), "host "+host, func() (Tenant, error) { return findTenantByHost(ctx, s.DB, host) })
}

// Box returns the box of a tenant's secrets.
func (s *Service) Box(ctx context.Context, id string) (*secret.Box, error) {
	return s.boxes.Get(s.DB.Now(), id, func() (*secret.Box, error) {
		t, err := s.ByID(ctx, id)
		if err != nil {
			return nil, err
		}
		key, err := s.Master.Open("tenants/"+t.ID, t.dataKey)
		if err != nil {
			return nil, fmt.Errorf("data key of tenant %s: %w", t.Slug, err)
		}
		return secret.NewBox(key)
	})
}

// forget drops what is kept in memory, after a change in this process.
func (s *Service) forget() {
	s.tenants.Clear()
	s.clients.Clear()
	s.applications.Clear()
	s.keys.Clear()
	s.boxes.Clear()
	s.origins.Clear()
	s.firsts.Clear()
	s.origin.Clear()
	s.secrets.Clear()
}

func encodeJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own structs and lists of strings
	}
	return string(b)
}

func notFoundAs(err error, p *problem.Problem, doing string) error {
	if errors.Is(err, database.ErrNoRows) {
		return p
	}
	return fmt.Errorf("%s: %w", doing, err)
}
