package access_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/problem"
)

const tenant = "000000000000000000000001"

func TestRequireAllowsExactlyWhatIsListed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		actor access.Actor
		may   []access.Permission
	}{
		"nobody":  {access.Actor{}, nil},
		"visitor": {access.Visitor(tenant, "192.0.2.1"), nil},
		"key":     {access.Actor{Name: "key:1"}.With(access.UsersRead, access.SCIM), []access.Permission{access.UsersRead, access.SCIM}},
		"system":  {access.System(tenant), access.All},
	} {
		for _, p := range append(slices.Clone(access.All), "users:everything", "") {
			err := c.actor.Require(p)
			if may := slices.Contains(c.may, p); may != (err == nil) || may != c.actor.May(p) {
				t.Errorf("%s, %q: %v, may %v; want %v", name, p, err, c.actor.May(p), may)
			}
			if err != nil && !errors.Is(err, access.ErrDenied) {
				t.Errorf("%s, %q: %v, want ErrDenied", name, p, err)
			}
		}
	}
	if p, ok := problem.From(access.Visitor(tenant, "").Require(access.SCIM)); !ok || p.Kind != problem.Forbidden {
		t.Errorf("a denial is %+v, want a problem of kind Forbidden", p)
	}
}

func TestNothingWidensAnActor(t *testing.T) {
	t.Parallel()
	list := []access.Permission{access.UsersRead, access.RolesRead}
	a := access.Actor{Name: "key:1"}.With(list...)
	list[0] = access.UsersWrite
	a.Permissions()[0] = access.UsersWrite
	narrower := a.With(access.RolesRead)
	system := access.System(tenant)
	system.Permissions()[0] = "x"
	if a.May(access.UsersWrite) || !a.May(access.UsersRead) || narrower.May(access.UsersRead) || !access.System(tenant).May(access.All[0]) {
		t.Errorf("a may %v, narrower %v, system %v", a.Permissions(), narrower.Permissions(), system.Permissions())
	}
}

func TestOnlyAVisitorIsAVisitor(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"": true, "visitor": true, "system": false, "key:1": false, "user:visitor": false} {
		if got := (access.Actor{Name: name}).IsVisitor(); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
	if a := access.Visitor(tenant, "192.0.2.1"); a.Tenant != tenant || a.IP != "192.0.2.1" || !a.IsVisitor() {
		t.Errorf("visitor: %+v", a)
	}
}

func TestParseScopes(t *testing.T) {
	t.Parallel()
	most := slices.DeleteFunc(slices.Clone(access.All), func(p access.Permission) bool { return p == access.UsersExportHashes || p == access.SettingsSecurity })
	for in, want := range map[string][]access.Permission{
		"":                       most,
		"*":                      most,
		" , ":                    most,
		"users:read":             {access.UsersRead},
		"users:read, roles:read": {access.UsersRead, access.RolesRead},
		"users:read,users:read":  {access.UsersRead, access.UsersRead},
		"users:export_hashes":    {access.UsersExportHashes},
		"settings:security":      {access.SettingsSecurity},
		"* users:export_hashes settings:security":      access.All,
		"settings:security users:export_hashes scim *": access.All,
	} {
		got, err := access.ParseScopes(in)
		slices.Sort(got)
		want = slices.Sorted(slices.Values(want))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("ParseScopes(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"users", "users:*", "USERS:READ", "users:read;roles:read", "users:read admin", "**"} {
		if got, err := access.ParseScopes(in); !errors.Is(err, access.ErrUnknownScope) || got != nil {
			t.Errorf("ParseScopes(%q) = %v, %v; want ErrUnknownScope", in, got, err)
		}
	}
}

func TestPermissionsAreDistinct(t *testing.T) {
	t.Parallel()
	all := slices.Sorted(slices.Values(access.All))
	if len(slices.Compact(all)) != len(access.All) {
		t.Errorf("a permission is listed twice: %v", access.All)
	}
}
