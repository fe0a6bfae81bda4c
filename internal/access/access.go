// Package access says who is asking and what they may do.
//
// Every exported operation takes an Actor, so tenant, permission and audit
// trail can not be forgotten. An attacker would try to act in another tenant or
// beyond a key's scopes: an Actor is made in one place only, by the
// authentication at the edge, and is a value that nothing can widen later.
package access

import (
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/problem"
)

// ErrDenied is returned when the actor lacks the permission an operation needs.
var ErrDenied = problem.New(problem.Forbidden, "access_denied", "You are not allowed to do this. The key or token lacks the scope this call needs.")

// A Permission names one thing an actor may do, as "resource:action".
type Permission string

// The permissions of management calls; they are the scopes of API keys and
// access tokens.
const (
	UsersRead         Permission = "users:read"
	UsersWrite        Permission = "users:write"
	UsersExportHashes Permission = "users:export_hashes"
	RolesRead         Permission = "roles:read"
	RolesWrite        Permission = "roles:write"
	OrganizationsRead Permission = "organizations:read"
	// OrganizationsWrite covers members, invitations and domains too.
	OrganizationsWrite Permission = "organizations:write"
	ConnectionsRead    Permission = "connections:read"
	ConnectionsWrite   Permission = "connections:write"
	ApplicationsRead   Permission = "applications:read"
	ApplicationsWrite  Permission = "applications:write"
	KeysWrite          Permission = "keys:write"
	LogsRead           Permission = "logs:read"
	SettingsRead       Permission = "settings:read"
	SettingsWrite      Permission = "settings:write"
	// SettingsSecurity is for changes of settings that make signing in less safe.
	SettingsSecurity Permission = "settings:security"
	TenantsRead      Permission = "tenants:read"
	TenantsWrite     Permission = "tenants:write"
	SCIM             Permission = "scim"
)

// All lists every permission, in the order they are shown.
var All = []Permission{
	UsersRead, UsersWrite, UsersExportHashes, RolesRead, RolesWrite, OrganizationsRead, OrganizationsWrite,
	ConnectionsRead, ConnectionsWrite,
	ApplicationsRead, ApplicationsWrite, KeysWrite, LogsRead, SettingsRead, SettingsWrite, SettingsSecurity, TenantsRead, TenantsWrite, SCIM,
}

// Usual lists every permission but those that have to be named, on a key as elsewhere:
// "everything" does not mean them.
var Usual = slices.DeleteFunc(slices.Clone(All), func(p Permission) bool { return p == UsersExportHashes || p == SettingsSecurity })

// An Actor is whoever asked for an operation.
type Actor struct {
	Tenant    string // id of the tenant the operation happens in
	Name      string // "key:<id>", "user:<id>", "command:<login>", "system", "visitor"
	IP        string // canonical text form, empty for commands and the system
	UserAgent string
	RequestID string
	may       []Permission
}

// Visitor is a person or program that has not yet proved who they are.
func Visitor(tenant, ip string) Actor { return Actor{Tenant: tenant, Name: "visitor", IP: ip} }

// IsVisitor reports whether nobody knows who a is.
func (a Actor) IsVisitor() bool { return a.Name == "" || a.Name == "visitor" }

// System is the server acting by itself, with every permission.
func System(tenant string) Actor { return Actor{Tenant: tenant, Name: "system", may: All} }

// With returns a copy of a that may do exactly what is listed.
func (a Actor) With(may ...Permission) Actor {
	a.may = slices.Clone(may)
	return a
}

// May reports whether a holds p.
func (a Actor) May(p Permission) bool { return slices.Contains(a.may, p) }

// Permissions lists what a may do.
func (a Actor) Permissions() []Permission { return slices.Clone(a.may) }

// Require returns ErrDenied unless a may do p.
func (a Actor) Require(p Permission) error {
	if !a.May(p) {
		return ErrDenied.Because("%s lacks %s", a.Name, p)
	}
	return nil
}

// ErrUnknownScope says that a scope is not one of All.
var ErrUnknownScope = problem.New(problem.Invalid, "invalid_scope", "A scope is not known.")

// ParseScopes reads a list of permissions separated by spaces or commas; "*"
// and the empty list stand for Usual.
func ParseScopes(s string) ([]Permission, error) {
	var out []Permission
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' }) {
		if word == "*" {
			continue
		}
		if !slices.Contains(All, Permission(word)) {
			return nil, ErrUnknownScope.Saying("There is no scope %q.", word)
		}
		out = append(out, Permission(word))
	}
	if len(out) == 0 || strings.Contains(s, "*") {
		for _, p := range Usual {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out, nil
}
