package kobil

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

type postRoleRequest struct {
	Name string `path:"roleName"`
}

func (s *Service) postRole(ctx context.Context, by access.Actor, in postRoleRequest) (done, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error {
		_, err := role.Create(ctx, tx, by, role.Set{}, role.New{Name: in.Name, Slug: in.Name})
		return err
	})
	return roleCreated, err
}

// requireMaster refuses to manage tenants from any but the operator's own,
// whatever scopes the key has.
func (s *Service) requireMaster(ctx context.Context, by access.Actor, p access.Permission) error {
	if err := by.Require(p); err != nil {
		return err
	}
	t, err := s.Tenants.ByID(ctx, by.Tenant)
	if err == nil && t.Slug != tenant.Master {
		return access.ErrDenied.Because("tenants are managed on %s, not on %s", tenant.Master, t.Slug)
	}
	return err
}

// listedTenant is a tenant in a list.
type listedTenant struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Enabled bool   `json:"enabled"`
	// Three switches of Keycloak's sign-in page, which a tenant does not have here.
	RememberMe          bool   `json:"rememberMe"`
	ResetPassword       bool   `json:"resetPassword"`
	RegistrationAllowed bool   `json:"registrationAllowed"`
	AdminUsername       string `json:"adminUsername"` // of any one administrator
	UserCount           int64  `json:"userCount"`
	RealmCreationStatus string `json:"realmCreationStatus"`
}

// tenantForm is a tenant by itself.
type tenantForm struct {
	ID    string `json:"id"` // the name, as in the contract's sample
	Realm string `json:"realm"`
	listedTenant
	CreatedTimeOfTheUser string `json:"createdTimeOfTheUser"` // of the tenant, RFC 3339; the name is the contract's
}

// statusOf is a tenant's state in the contract's words.
func statusOf(t tenant.Tenant) string {
	if t.IsActive {
		return "ACTIVE"
	}
	return "BLOCKED"
}

func (s *Service) listed(ctx context.Context, by access.Actor, t tenant.Tenant) (listedTenant, error) {
	// Whoever may read tenants on master may know this much of what is in them.
	by.Tenant = t.ID
	by = by.With(access.UsersRead)
	count, err := s.Users.Count(ctx, s.DB, by, user.Filter{})
	if err != nil {
		return listedTenant{}, err
	}
	out := listedTenant{Name: t.Slug, Type: t.Kind, Enabled: t.IsActive, UserCount: count, RealmCreationStatus: statusOf(t)}
	if t.IsActive { // another's keys are not to be had, and lists need them
		out.AdminUsername, err = s.adminOf(ctx, by)
	}
	return out, err
}

// adminOf returns the name of an administrator of by's tenant, empty if there is
// none.
func (s *Service) adminOf(ctx context.Context, by access.Actor) (string, error) {
	roles, err := role.All(ctx, s.DB, by.Tenant)
	if err != nil {
		return "", err
	}
	for _, r := range roles {
		if !r.IsAdmin {
			continue
		}
		users, _, err := s.Users.List(ctx, s.DB, by, user.Query{Filter: user.Filter{RoleID: r.ID}, Limit: 1})
		if err != nil {
			return "", err
		}
		if len(users) > 0 {
			return users[0].Login(), nil
		}
	}
	return "", nil
}

func (s *Service) getTenants(ctx context.Context, by access.Actor, _ struct{}) (out answer[[]listedTenant], err error) {
	if err := s.requireMaster(ctx, by, access.TenantsRead); err != nil {
		return out, err
	}
	tenants, err := s.Tenants.List(ctx, s.DB, by)
	if err != nil {
		return out, err
	}
	list := make([]listedTenant, len(tenants))
	for i, t := range tenants {
		if list[i], err = s.listed(ctx, by, t); err != nil {
			return out, err
		}
	}
	return tenantsFetched(list), nil
}

type tenantRequest struct {
	Name string `path:"name"`
}

func (s *Service) getTenant(ctx context.Context, by access.Actor, in tenantRequest) (out answer[tenantForm], err error) {
	if err := s.requireMaster(ctx, by, access.TenantsRead); err != nil {
		return out, err
	}
	tenants, err := s.Tenants.List(ctx, s.DB, by)
	if err != nil {
		return out, err
	}
	i := slices.IndexFunc(tenants, func(t tenant.Tenant) bool { return t.Slug == in.Name })
	if i < 0 {
		return out, tenant.ErrNotFound
	}
	form, err := s.tenantForm(ctx, by, tenants[i])
	return tenantFetched(form), err
}

func (s *Service) tenantForm(ctx context.Context, by access.Actor, t tenant.Tenant) (tenantForm, error) {
	l, err := s.listed(ctx, by, t)
	return tenantForm{ID: t.Slug, Realm: t.Slug, listedTenant: l, CreatedTimeOfTheUser: t.CreatedAt.Format(time.RFC3339)}, err
}

type newTenant struct {
	Realm          string `json:"realm" schema:"required" doc:"The tenant's name: 1 to 63 lower-case letters, digits and inner hyphens"`
	Type           string `json:"type" doc:"SSMS, also if absent, or AST"`
	AdminUsername  string `json:"adminUsername" schema:"required"`
	AdminPassword  string `json:"adminPassword" schema:"required"`
	AdminEmail     string `json:"adminEmail"`
	AdminFirstName string `json:"adminFirstName"`
	AdminLastName  string `json:"adminLastName"`
}

type postTenantRequest struct{ newTenant }

// UnmarshalJSON implements json.Unmarshaler.
func (r *postTenantRequest) UnmarshalJSON(raw []byte) error { return decode(raw, &r.newTenant) }

// Schema tells the API description what the body holds.
func (postTenantRequest) Schema() any { return newTenant{} }

// check judges what tenant.Create and user.Create do not.
func (n newTenant) check() error {
	for _, value := range []string{n.Realm, n.AdminUsername, n.AdminPassword} {
		if strings.TrimSpace(value) == "" {
			return web.ErrBody.Saying("realm, adminUsername and adminPassword are required.")
		}
	}
	if n.Type != "" && n.Type != tenant.KindSSMS && n.Type != tenant.KindAST {
		return web.ErrBody.Saying("type is SSMS or AST.").In("type")
	}
	return password.Check(n.AdminPassword, passwordPolicy(&n.Realm, &n.AdminUsername, &n.AdminEmail, &n.AdminFirstName, &n.AdminLastName))
}

func (s *Service) postTenant(ctx context.Context, by access.Actor, in postTenantRequest) (out answer[tenantForm], err error) {
	if err := s.requireMaster(ctx, by, access.TenantsWrite); err != nil {
		return out, err
	}
	if err := in.check(); err != nil {
		return out, err
	}
	hash, err := s.Hasher.Hash(ctx, in.AdminPassword)
	if err != nil {
		return out, err
	}
	var t tenant.Tenant
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		t, err = s.create(ctx, tx, by, in.newTenant, hash)
		return err
	})
	if err != nil {
		return out, err
	}
	form, err := s.tenantForm(ctx, by, t)
	return tenantCreated(form), err
}

// create makes a tenant and its first user, who owns it.
func (s *Service) create(ctx context.Context, tx *database.Tx, by access.Actor, in newTenant, hash string) (tenant.Tenant, error) {
	t, roles, err := s.NewTenant(ctx, tx, by, in.Realm, in.Realm, in.Type)
	if err != nil {
		return t, err
	}
	// Same actor, other tenant: the new tenant's log says who made its owner.
	by.Tenant = t.ID
	if id, ok := strings.CutPrefix(by.Name, "user:"); ok {
		by.Name = "operator:" + id // a user of master and not of the new tenant
	}
	by = by.With(access.All...)
	owner, err := s.Users.Create(ctx, tx, by, user.User{
		Username: in.AdminUsername, Email: in.AdminEmail, FirstName: in.AdminFirstName, LastName: in.AdminLastName,
		IsActive: true, RoleIDs: []string{roles[role.Owner].ID},
	})
	if err != nil {
		return t, err
	}
	return t, password.Set(ctx, tx, by, owner.ID, hash, false)
}

func (s *Service) deleteTenant(ctx context.Context, by access.Actor, in tenantRequest) (done, error) {
	if err := s.requireMaster(ctx, by, access.TenantsWrite); err != nil {
		return done{}, err
	}
	err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.Tenants.Delete(ctx, tx, by, in.Name) })
	return tenantDeleted, err
}

// realmStatus is the state of a tenant and of the certificates that KOBIL makes
// for one; without KOBIL's app shield there are none.
type realmStatus struct {
	Status                 string             `json:"status"`
	IAMStatus              string             `json:"iamStatus"`
	SignerCertStatus       string             `json:"signerCertStatus"`
	IdentityUserCertStatus identityCertStatus `json:"identityUserCertStatus"`
}

type identityCertStatus struct {
	External certStatus `json:"externalIdentityUser"`
	Internal certStatus `json:"internalIdentityUser"`
}

type certStatus struct {
	Authentication string `json:"authentication"`
	Encryption     string `json:"encryption"`
	Signature      string `json:"signature"`
}

func (s *Service) getStatus(ctx context.Context, by access.Actor, _ struct{}) (realmStatus, error) {
	if err := by.Require(access.TenantsRead); err != nil {
		return realmStatus{}, err
	}
	t, err := s.Tenants.ByID(ctx, by.Tenant)
	return statusForm(t), err
}

func statusForm(t tenant.Tenant) realmStatus {
	none := statusOfKind[problem.Unsupported]
	certs := certStatus{none, none, none}
	return realmStatus{statusOf(t), "SUCCESS", none, identityCertStatus{certs, certs}}
}
