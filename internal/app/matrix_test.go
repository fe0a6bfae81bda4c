package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/portal"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/scim"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/web"
)

// Every route times every kind of caller, generated from the router's own table:
// a new route is in it without anybody having to think of it.

// signOut ends the call that finds nobody signed in as long as there are no
// sessions: it answers 409, whoever asks.
const signOut = "/ssms/logout"

// A verdict is what a kind of caller must get.
type verdict int

const (
	welcome      verdict = iota // anything but a refusal for want of a right
	unknown                     // 401
	denied                      // 403; 401 in the KOBIL form, which tells them alike
	unrestricted                // as welcome, and nobody asks for a key
)

// A caller is a kind of client of a tenant.
type caller struct {
	name string
	as   func(t *testing.T, s *site, route web.Route) apptest.Client
	want func(route web.Route) verdict
}

const owning = "an owner whose application may do everything"

func always(v verdict) func(web.Route) verdict { return func(web.Route) verdict { return v } }

var callers = []caller{
	{"nobody", func(_ *testing.T, s *site, _ web.Route) apptest.Client { return without(s.Client) }, always(unknown)},
	{"a key that is none", func(_ *testing.T, s *site, _ web.Route) apptest.Client { return s.with("sk_nonsense") }, always(unknown)},
	{"a key of another tenant", func(_ *testing.T, s *site, _ web.Route) apptest.Client { return s.with(s.stranger.Key) }, always(unknown)},
	{"an expired key", func(t *testing.T, s *site, _ web.Route) apptest.Client {
		return s.expired(t)
	}, always(unknown)},
	{"a key without the scope", func(t *testing.T, s *site, route web.Route) apptest.Client {
		return s.As(t, slices.DeleteFunc(slices.Clone(access.All), func(p access.Permission) bool { return p == route.Needs })...)
	}, func(route web.Route) verdict {
		if route.Needs == "" {
			return welcome
		}
		return denied
	}},
	{"a key with the scope alone", func(t *testing.T, s *site, route web.Route) apptest.Client {
		if route.Needs == "" {
			return s.As(t, access.SCIM) // any will do
		}
		return s.As(t, slices.Concat([]access.Permission{route.Needs}, alsoNeeds[route.Method+" "+route.Paths[0]])...)
	}, always(welcome)},
	{"a key with every scope", func(_ *testing.T, s *site, _ web.Route) apptest.Client { return s.Client }, always(welcome)},
	{owning, func(t *testing.T, s *site, _ web.Route) apptest.Client { return s.owner(t) }, always(welcome)},
}

// alsoNeeds lists what the examples of some calls need beyond the call's own scope,
// because nobody gives what they do not hold.
var alsoNeeds = map[string][]access.Permission{
	"POST /api/v1/keys":         {access.UsersRead, access.UsersWrite},
	"POST /digitanium/v4/users": {access.RolesWrite},

	"GET /api/v1/tenants/{tenantid}/portal/generate_link":   {access.OrganizationsWrite},
	"POST /api/v1/tenants/{tenantid}/portal_links":          {access.OrganizationsWrite},
	"DELETE /api/v1/tenants/{tenantid}/portal_links/{link}": {access.OrganizationsWrite},
}

// A site is a tenant with one thing of each kind, so that addresses can name them.
type site struct {
	*apptest.Tenant
	world    *apptest.World
	stranger *apptest.Tenant
	values   map[string]string // for the wildcards of addresses

	permission string         // of the tenant's making
	owning     apptest.Client // an owner's token

	directoryKey string // of the directory that was made last
}

// owner returns a client with the token of an owner, not the only one.
func (s *site) owner(t *testing.T) apptest.Client {
	t.Helper()
	if s.owning.Key == "" {
		n := serial.Add(1)
		s.owning = s.AsUser(t, s.User(t, fmt.Sprint("owner", n), "owner"), access.All...)
		s.owning.IP = s.IP
	}
	return s.owning
}

func (s *site) with(key string) apptest.Client {
	c := s.Client
	c.Key = key
	return c
}

// expired returns a client whose key has expired. None is made that has.
func (s *site) expired(t *testing.T) apptest.Client {
	t.Helper()
	c := s.Client
	s.world.Write(t, func(ctx context.Context, tx *database.Tx) error {
		k, key, err := s.world.Tenants.CreateKey(ctx, tx, access.System(s.ID), "test", access.All, tx.Now.Add(time.Hour))
		if err != nil {
			return err
		}
		c.Key = key
		_, err = tx.Exec(ctx, "UPDATE api_keys SET expires_at = 1 WHERE tenant_id = $1 AND id = $2", s.ID, k.ID)
		return err
	})
	return c
}

func TestEveryRouteAsksForItsRight(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		stranger := w.Tenant(t, "stranger")
		n := 0
		for _, route := range w.Router.Routes() {
			for _, path := range route.Paths {
				n++
				s := newSite(t, w, stranger, route, n)
				for _, c := range callers {
					s.call(t, w, c, route, path)
				}
			}
		}
	})
}

// newSite makes a tenant for one address: what one call changes is not in the way
// of the next. Tenants are managed on master only.
func newSite(t *testing.T, w *apptest.World, stranger *apptest.Tenant, route web.Route, n int) *site {
	t.Helper()
	slug := fmt.Sprintf("t%d", n)
	at := w.Tenant(t, slug)
	if strings.HasPrefix(string(route.Needs), "tenants:") {
		at = w.Master(t)
	}
	s := siteAt(t, w, at, slug)
	s.stranger = stranger
	s.IP = fmt.Sprintf("2001:db8:%x::1", n) // bad keys are counted by address
	return s
}

// siteAt is a tenant as a site; name is that of a tenant and free for anything else.
func siteAt(t *testing.T, w *apptest.World, at *apptest.Tenant, name string) *site {
	t.Helper()
	s := &site{world: w, Tenant: at}
	s.values = map[string]string{"tenant": s.Slug, "name": name, "roleName": "role-" + name, "version": "v", "file...": "cardea.css", "$": ""}
	s.permission = s.made(t, "/api/v1/permissions", `{"name": "`+name+`"}`)
	for _, other := range []string{"deviceId", "tmsId", "type", "connection", "passkeyid", "link", "trace", "directory", "tenantid", "id"} {
		s.values[other] = "x"
	}
	return s
}

// call sends the route's own example at one of its addresses.
func (s *site) call(t *testing.T, w *apptest.World, c caller, route web.Route, path string) {
	t.Helper()
	want := c.want(route)
	if route.Public {
		want = unrestricted
	}
	if route.Own {
		if c.name != owning { // a user's token opens what is the user's own
			s.callOwn(t, c, route, path)
		}
		return
	}
	client := c.as(t, s, route)
	s.refresh(t, w, route, path)
	before := countEvents(t, w, s.ID)
	a := client.Do(t, route.Method, s.address(t, path), s.body(route))
	name := fmt.Sprintf("%s: %s %s", c.name, route.Method, path)
	switch want {
	case unknown, denied:
		if !isRefusal(a, want, path) {
			t.Errorf("%s: got %d %s, want a refusal", name, a.Status, a.Body)
		}
		if after := countEvents(t, w, s.ID); after != before {
			t.Errorf("%s: was refused, and changed something", name)
		}
	default:
		if a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden || a.Status == http.StatusTooManyRequests {
			t.Errorf("%s: got %d %s, want no refusal", name, a.Status, a.Body)
		}
		if wanted := route.Status; wanted != 0 && a.Status != wanted && !strings.HasSuffix(strings.TrimSuffix(path, "/{$}"), signOut) {
			t.Errorf("%s: its own example got %d %s, want %d", name, a.Status, a.Body, route.Status)
		}
	}
}

// callOwn holds that a key opens nothing that asks for other credentials: the answer is
// what somebody without any gets.
func (s *site) callOwn(t *testing.T, c caller, route web.Route, path string) {
	t.Helper()
	ask := func(client apptest.Client) int { return client.Do(t, route.Method, s.address(t, path), nil).Status }
	if got, want := ask(c.as(t, s, route)), ask(without(s.Client)); got != want || got >= 500 {
		t.Errorf("%s: %s %s: got %d, nobody in particular gets %d", c.name, route.Method, path, got, want)
	}
}

func isRefusal(a apptest.Answer, want verdict, path string) bool {
	if strings.HasPrefix(path, "/api/") {
		return want == unknown && a.Status == http.StatusUnauthorized || want == denied && a.Status == http.StatusForbidden
	}
	return a.Status == http.StatusUnauthorized
}

// refresh makes what the address names, anew for each call.
func (s *site) refresh(t *testing.T, w *apptest.World, route web.Route, path string) {
	t.Helper()
	n := serial.Add(1)
	if strings.Contains(path, "/portal") {
		s.refreshLink(t, w, path, n)
		return
	}
	if strings.Contains(path, "{directoryid}") || strings.HasSuffix(path, "/directories") {
		s.makeDirectory(t, w, n)
		return
	}
	if strings.Contains(path, "{organizationid}") || strings.Contains(path, "{tenantid}") {
		s.refreshOrganization(t, w, path, n)
		return
	}
	switch {
	case strings.Contains(path, "{userid}"), strings.Contains(path, "{useremail}"):
		s.values["userid"], s.values["useremail"] = makeUser(t, s.Client)
		if strings.Contains(path, "{sessionid}") {
			s.values["sessionid"] = startSession(t, w, s.ID, s.values["userid"])
		}
		if strings.Contains(path, "/addresses") {
			body := map[string]any{"type": "email", "value": newEmail(), "verified": true}
			s.values["addressid"], _ = s.Post(t, "/api/v1/users/"+s.values["userid"]+"/addresses", body).Want(t, 201).Object(t)["id"].(string)
		}
	case strings.Contains(path, "{importid}") && s.values["importid"] == "": // one for all, since only a few may wait
		s.values["importid"], _ = s.Post(t, "/api/v1/users/imports", fmt.Sprintf(`{"username": "brought%d"}`, n)).Want(t, 202).Object(t)["id"].(string)
	case strings.Contains(path, "{userName}"):
		s.values["userName"] = fmt.Sprintf("ada%d", n)
		makeUserOf(t, s.Client, map[string]any{"username": s.values["userName"]})
	case strings.HasPrefix(path, "/api/v1/applications/"):
		s.values["id"], _ = s.Post(t, "/api/v1/applications", `{"name": "x"}`).Want(t, 201).Object(t)["id"].(string)
	case strings.HasPrefix(path, "/saml/") && s.values["connection"] == "x": // one for all: its key takes long to make
		s.enterprise(t, route, "/keys", n)
	case strings.HasPrefix(path, "/api/v1/organizations/{id}/connections"):
		s.enterprise(t, route, path, n)
	case strings.HasPrefix(path, "/api/v1/connections/"):
		s.values["id"], _ = s.Post(t, "/api/v1/connections", `{"provider": "github", "client_id": "x", "client_secret": "x"}`).Want(t, 201).Object(t)["id"].(string)
	case strings.HasPrefix(path, "/api/v1/keys/"):
		s.values["id"], _ = s.Post(t, "/api/v1/keys", `{"name": "x", "scopes": ["users:read"]}`).Want(t, 201).Object(t)["id"].(string)
	case strings.HasPrefix(path, "/api/v1/roles"):
		s.values["roleId"] = s.made(t, "/api/v1/roles", fmt.Sprintf(`{"name": "role %d"}`, n))
	case strings.HasPrefix(path, "/api/v1/messages/"):
		b := w.Browser(s.Host)
		b.Submit(t, b.Get(t, "/signin"), "/signin", "identifier", newEmail())
		w.Work(t) // sends it
		s.values["id"], _ = s.Get(t, "/api/v1/messages").Want(t, 200).List(t)[0]["id"].(string)
	case strings.HasPrefix(path, "/api/v1/permissions/"):
		s.values["permissionid"] = s.made(t, "/api/v1/permissions", fmt.Sprintf(`{"name": "permission %d"}`, n))
	case strings.Contains(path, "{name}") && route.Method == http.MethodDelete:
		s.values["name"] = w.Tenant(t, fmt.Sprintf("gone%d", n)).Slug
	case strings.Contains(path, "{roleName}"):
		s.values["roleName"] = fmt.Sprintf("role%d", n)
	}
}

// enterprise makes an organization with a connection and a trace. Only what is switched
// on is complete: others would ask a provider.
func (s *site) enterprise(t *testing.T, route web.Route, path string, n int64) {
	t.Helper()
	s.world.Write(t, func(ctx context.Context, tx *database.Tx) error {
		o, err := s.world.Orgs.Create(ctx, tx, access.System(s.ID), org.Organization{Name: fmt.Sprintf("Organization %d", n), IsActive: true})
		s.values["id"] = o.ID
		return err
	})
	root, body := "/api/v1/organizations/"+s.values["id"]+"/connections", `{"kind": "oidc", "provider": "okta"}`
	if strings.HasSuffix(path, "/keys") {
		body = `{"kind": "saml", "provider": "okta"}`
	}
	if route.Method == http.MethodPut {
		body = `{"kind": "oidc", "provider": "okta", "client_secret": "x", "settings": {"issuer": "https://idp.example.com", "client_id": "x"}}`
	}
	s.values["connection"] = s.made(t, root, body)
	if strings.HasSuffix(path, "{trace}") {
		s.values["trace"] = s.made(t, root+"/"+s.values["connection"]+"/test", `{}`)
	}
}

// makeDirectory makes an organization with a directory that has one of each.
func (s *site) makeDirectory(t *testing.T, w *apptest.World, n int64) {
	t.Helper()
	by, token, client := access.System(s.ID), "", s.Client
	w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		o, err := w.Orgs.Create(ctx, tx, by, org.Organization{Name: fmt.Sprintf("acme %d", n), IsActive: true})
		if err != nil {
			return err
		}
		d, err := w.SCIM.Create(ctx, tx, by, scim.Directory{OrganizationID: o.ID, Name: "x", Type: "okta"})
		if err != nil {
			return err
		}
		made, key, err := w.SCIM.NewToken(ctx, tx, by, o.ID, d.ID, scim.NewTokenRequest{})
		s.values["tenantid"], s.values["directoryid"], s.values["tokenid"], token = o.ID, d.ID, made.ID, key
		return err
	})
	client.Key, s.directoryKey = token, token
	base := scim.Prefix + s.values["directoryid"]
	s.values["userid"], _ = client.Post(t, base+"/Users", fmt.Sprintf(`{"userName": "kim%d@acme.test"}`, n)).Want(t, 201).Object(t)["id"].(string)
	s.values["groupid"], _ = client.Post(t, base+"/Groups", `{"displayName": "x"}`).Want(t, 201).Object(t)["id"].(string)
}

// refreshLink makes an organization, and a link of its portal.
func (s *site) refreshLink(t *testing.T, w *apptest.World, path string, n int64) {
	t.Helper()
	w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		o, err := w.Orgs.Create(ctx, tx, access.System(s.ID), org.Organization{Name: fmt.Sprintf("Company %d", n), IsActive: true})
		if s.values["tenantid"] = o.ID; err != nil || !strings.Contains(path, "{link}") {
			return err
		}
		l, _, err := w.Portal.Create(ctx, tx, access.System(s.ID), o.ID, portal.Intents, 0)
		s.values["link"] = l.ID
		return err
	})
}

// made makes something and returns its id.
func (s *site) made(t *testing.T, path, body string) (id string) {
	t.Helper()
	a := s.Post(t, path, body)
	if id, _ = a.Object(t)["id"].(string); id == "" {
		t.Fatalf("make %s: %d %s", path, a.Status, a.Body)
	}
	return id
}

// refreshOrganization makes an organization, and what the address names of it.
func (s *site) refreshOrganization(t *testing.T, w *apptest.World, path string, n int64) {
	t.Helper()
	id, _ := s.Post(t, "/api/v1/tenants", fmt.Sprintf(`{"name": "Company %d", "domains": ["example.com"]}`, n)).Want(t, 201).Object(t)["id"].(string)
	s.values["organizationid"], s.values["tenantid"] = id, id
	s.values["userid"], _ = makeUser(t, s.Client)
	switch {
	case strings.Contains(path, "{userid}"):
		s.Post(t, "/api/v1/tenants/"+id+"/users", map[string]any{"user_ids": []string{s.values["userid"]}}).Want(t, 200)
	case strings.Contains(path, "{inviteId}"):
		s.values["inviteId"], _ = s.Post(t, "/api/v1/tenants/"+id+"/invitations", fmt.Sprintf(`{"email": "invited%d@example.com"}`, n)).Want(t, 201).Object(t)["id"].(string)
	case strings.Contains(path, "{domain}"):
		s.values["domain"] = fmt.Sprintf("company%d.example", n)
		made := s.Post(t, "/api/v1/tenants/"+id+"/domains", map[string]any{"domain": s.values["domain"]}).Want(t, 201).Object(t)
		value, _ := made["value"].(string)
		w.Orgs.TXT = func(context.Context, string) ([]string, error) { return []string{value}, nil }
	}
}

// startSession signs a user in.
func startSession(t *testing.T, w *apptest.World, tenant, user string) (id string) {
	t.Helper()
	w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		started, _, err := w.Sessions.Start(ctx, tx, access.System(tenant), user, "", session.Proof{At: tx.Now}, session.From{}, session.SessionLifetimes)
		id = started.ID
		return err
	})
	return id
}

func (s *site) address(t *testing.T, path string) string {
	t.Helper()
	for name, value := range s.values {
		path = strings.ReplaceAll(path, "{"+name+"}", value)
	}
	if strings.Contains(path, "{") {
		t.Fatalf("what should %s name? Say so in newSite or refresh", path)
	}
	if path == "/api/v1/config" {
		path += "?client_id=" + s.ClientID
	}
	return path
}

// body is the example of the request, with names that are not taken, and roles and
// permissions that there are and that give no right: nobody gives what they do not hold.
func (s *site) body(route web.Route) any {
	raw, ok := route.Doc.Request.(json.RawMessage)
	if !ok {
		return nil
	}
	n := serial.Add(1)
	return strings.NewReplacer(
		"user@example.com", fmt.Sprintf("example%d@example.com", n), "ada@example.com", fmt.Sprintf("ada%d@example.com", n), "john@example.org", fmt.Sprintf("john%d@example.org", n), `"username":"ada"`, fmt.Sprintf(`"username":"example%d"`, n),
		`"realm":"acme"`, fmt.Sprintf(`"realm":"acme%d"`, n), "6694c133565dfee5166d1cb9", s.Roles["digitanium_user"].ID, "6694c133565dfee5166d1cb7", s.permission,
		"6694c154565dfee5166d1cc7", s.values["userid"], `"name":"test","display_name"`, fmt.Sprintf(`"name":"test %d","display_name"`, n), "crm-42", fmt.Sprintf("crm-%d", n),
		`"slug":"test"`, fmt.Sprintf(`"slug":"test%d"`, n), "read:reports", fmt.Sprintf("read:reports%d", n),
	).Replace(string(raw))
}

// countEvents counts what the tenant's log tells of: every change is in it.
func countEvents(t *testing.T, w *apptest.World, tenant string) (n int64) {
	t.Helper()
	if err := w.DB.QueryRow(t.Context(), "SELECT count(*) FROM audit_unsealed WHERE tenant_id = $1", tenant).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Who may what, beside a key that has the scope that a route needs. Every kind of actor
// asks at every address; what it must get follows from what it may.
type actor struct {
	name string
	may  []access.Permission
	want verdict // for who lacks the right
	apptest.Client
}

// actors are those of one tenant, and strangers to it.
func actors(t *testing.T, w *apptest.World, here *apptest.Tenant) (all []actor) {
	t.Helper()
	for _, p := range access.All {
		all = append(all, actor{"a key for " + string(p), []access.Permission{p}, denied, here.As(t, p)})
	}
	var reading []access.Permission
	for _, p := range access.All {
		if strings.HasSuffix(string(p), ":read") {
			reading = append(reading, p)
		}
	}
	all = append(all, actor{"a key that only reads", reading, denied, here.As(t, reading...)})
	for _, slug := range []string{role.TeamView, role.TeamManage} {
		all = append(all, actor{"holder of " + slug, rightsOf[slug], denied, here.AsUser(t, userOf(t, here, slug), access.All...)})
	}
	every := access.Usual
	person := func(slugs ...string) string { return here.User(t, fmt.Sprint("person", serial.Add(1)), slugs...) }
	all = append(all,
		actor{"a user who holds nothing", nil, denied, here.AsUser(t, person(), access.All...)},
		actor{"a user of the KOBIL form", nil, denied, here.AsUser(t, person("digitanium_user"), access.All...)},
		actor{"a developer", rightsOf[role.ManageSSOConnection], denied, here.AsUser(t, person("developer"), access.All...)},
		actor{"an administrator", every, denied, here.AsUser(t, person("admin"), access.All...)},
		actor{"an administrator of the KOBIL form", every, denied, here.AsUser(t, person("digitanium_admin"), access.All...)},
		actor{"an owner", append(slices.Clone(every), access.SettingsSecurity), denied, here.AsUser(t, person("owner"), access.All...)},
		actor{"an owner whose application may nothing", nil, denied, here.AsUser(t, person("owner"))},
		actor{"an owner whose application may read users", []access.Permission{access.UsersRead}, denied, here.AsUser(t, person("owner"), access.UsersRead)},
	)
	other, gone := w.Tenant(t, "other"), w.Tenant(t, "gone")
	strangers := []actor{
		{name: "another tenant's key", Client: other.Client},
		{name: "another tenant's owner", Client: other.AsUser(t, other.User(t, "owner", "owner"), access.All...)},
		{name: "a deleted tenant's key", Client: gone.Client},
		{name: "a deleted tenant's owner", Client: gone.AsUser(t, gone.User(t, "owner", "owner"), access.All...)},
	}
	drop(t, w, gone)
	disabled, deleted := person("owner"), person("owner")
	strangers = append(strangers, actor{name: "a disabled owner", Client: here.AsUser(t, disabled, access.All...)}, actor{name: "a deleted owner", Client: here.AsUser(t, deleted, access.All...)})
	here.Put(t, "/api/v1/users/"+disabled, `{"is_active": false}`).Want(t, 200)
	here.Delete(t, "/api/v1/users/"+deleted).Want(t, 200)
	for _, a := range strangers {
		a.want, a.Host = unknown, here.Host
		all = append(all, a)
	}
	return all
}

// drop deletes a tenant.
func drop(t *testing.T, w *apptest.World, gone *apptest.Tenant) {
	t.Helper()
	master := w.Master(t)
	w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		return w.Tenants.Delete(ctx, tx, access.System(master.ID), gone.Slug)
	})
}

// rightsOf is what the built-in permissions give in the whole tenant: said once more,
// so that nobody changes it without meaning to.
var rightsOf = map[string][]access.Permission{
	role.TeamView:            {access.UsersRead, access.RolesRead, access.OrganizationsRead},
	role.TeamManage:          {access.UsersRead, access.UsersWrite, access.RolesRead, access.OrganizationsRead, access.OrganizationsWrite},
	role.ManageSSOConnection: {access.ConnectionsRead, access.ConnectionsWrite, access.OrganizationsRead},
}

// userOf makes a user who holds one built-in permission.
func userOf(t *testing.T, here *apptest.Tenant, slug string) string {
	t.Helper()
	permissions := here.Get(t, "/api/v1/permissions").Want(t, 200).List(t)
	i := slices.IndexFunc(permissions, func(p map[string]any) bool { return p["slug"] == slug })
	holds := here.Post(t, "/api/v1/roles", map[string]any{"name": "only " + slug, "permission_ids": []any{permissions[i]["id"]}}).Want(t, 200).Object(t)["id"]
	id := here.User(t, slug)
	here.Put(t, "/api/v1/users/"+id+"/roles", map[string]any{"role_id": []any{holds}}).Want(t, 200)
	return id
}

func TestEveryActorTimesEveryRoute(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		here := w.Tenant(t, "here")
		all := actors(t, w, here)
		s, asked := siteAt(t, w, here, here.Slug), 0
		for _, route := range w.Router.Routes() {
			if route.Needs != "" && !slices.Contains(access.All, route.Needs) {
				t.Errorf("%s %s needs %s, which nobody can hold", route.Method, route.Paths[0], route.Needs)
			}
			if route.Public || route.Own || route.Needs == "" { // TestEveryRouteAsksForItsRight
				continue
			}
			for _, path := range route.Paths {
				s.refresh(t, w, route, path)
				address, before := s.address(t, path), countEvents(t, w, s.ID)
				for _, a := range all {
					if slices.Contains(a.may, route.Needs) {
						continue
					}
					asked++
					a.IP = fmt.Sprintf("2001:db8:%x::1", asked) // bad keys are counted by address
					if got := a.Do(t, route.Method, address, s.body(route)); !isRefusal(got, a.want, path) {
						t.Errorf("%s: %s %s: got %d %s, want a refusal", a.name, route.Method, path, got.Status, got.Body)
					}
				}
				if after := countEvents(t, w, s.ID); after != before {
					t.Errorf("%s %s: was refused, and changed something", route.Method, path)
				}
				if route.Method != http.MethodGet || strings.HasPrefix(string(route.Needs), "tenants:") || strings.HasSuffix(path, "/generate_link") {
					continue // what is read stays as it is, for the next to read
				}
				for _, a := range all {
					if !slices.Contains(a.may, route.Needs) {
						continue
					}
					asked++
					if got := a.Do(t, route.Method, address, nil); got.Status == http.StatusUnauthorized || got.Status == http.StatusForbidden {
						t.Errorf("%s: %s %s: got %d %s, want no refusal", a.name, route.Method, path, got.Status, got.Body)
					}
				}
			}
		}
		if asked < 1000 {
			t.Errorf("only %d were asked", asked)
		}
	})
}

// A tenant that was deleted answers nobody, not even its own keys.
func TestNoRouteAnswersForADeletedTenant(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		gone := w.Tenant(t, "gone")
		s := siteAt(t, w, gone, "x")
		for _, name := range []string{"userid", "useremail", "userName", "id", "importid", "sessionid", "roleId", "permissionid", "link", "trace", "directory", "tenantid", "organizationid", "inviteId", "domain", "directoryid", "groupid", "tokenid", "addressid"} {
			s.values[name] = "x"
		}
		drop(t, w, gone)
		for _, route := range w.Router.Routes() {
			if route.Public || route.Own || route.Page {
				continue // TestNoRouteAnswersForAnUnknownHost
			}
			for _, path := range route.Paths {
				if a := gone.Do(t, route.Method, s.address(t, path), nil); a.Status != http.StatusMisdirectedRequest {
					t.Errorf("%s %s: got %d %s", route.Method, path, a.Status, a.Body)
				}
			}
		}
	})
}

// A host that names nobody reaches no route but those that belong to no tenant.
func TestNoRouteAnswersForAnUnknownHost(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := &site{Tenant: w.Demo, values: map[string]string{
			"tenant": "demo", "name": "demo", "userid": "x", "useremail": "x", "userName": "x", "id": "x", "roleName": "x", "importid": "x", "deviceId": "x", "tmsId": "x", "type": "x", "connection": "x", "$": "",
			"version": "v", "file...": "cardea.css", "sessionid": "x", "passkeyid": "x", "organizationid": "x", "tenantid": "x", "inviteId": "x", "domain": "x", "roleId": "x", "permissionid": "x", "directory": "x", "directoryid": "x", "groupid": "x", "tokenid": "x",
			"link": "x", "trace": "x", "addressid": "x",
		}}
		for _, route := range w.Router.Routes() {
			for _, path := range route.Paths {
				a := at(w.Demo.Client, "elsewhere.example").Do(t, route.Method, s.address(t, path), nil)
				ofNoTenant := slices.Contains([]string{"/livez", "/readyz", "/openapi.json", "/docs", "/docs/errors", "/ui/{version}/{file...}"}, path)
				if ofNoTenant != (a.Status == http.StatusOK) || !ofNoTenant && a.Status != http.StatusMisdirectedRequest {
					t.Errorf("%s %s: got %d %s", route.Method, path, a.Status, a.Body)
				}
			}
		}
	})
}

// Plain http gets nothing: the key has been shown to the network already, so the
// caller must notice.
func TestNoRouteAnswersOverPlainHTTP(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := &site{Tenant: w.Demo, values: map[string]string{
			"tenant": "demo", "name": "demo", "userid": "x", "useremail": "x", "userName": "x", "id": "x", "roleName": "x", "importid": "x", "deviceId": "x", "tmsId": "x", "type": "x", "connection": "x", "$": "",
			"version": "v", "file...": "cardea.css", "sessionid": "x", "passkeyid": "x", "organizationid": "x", "tenantid": "x", "inviteId": "x", "domain": "x", "roleId": "x", "permissionid": "x", "directory": "x", "directoryid": "x", "groupid": "x", "tokenid": "x",
			"link": "x", "trace": "x", "addressid": "x",
		}}
		for _, route := range w.Router.Routes() {
			for _, path := range route.Paths {
				if path == "/livez" || path == "/readyz" {
					continue
				}
				r, err := http.NewRequestWithContext(t.Context(), route.Method, s.address(t, path), nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Host, r.RemoteAddr = w.Demo.Host, "192.0.2.7:40000"
				r.Header.Set("Authorization", "Bearer "+w.Demo.Key)
				r.Header.Set("X-Forwarded-Proto", "https") // says anybody
				if a := w.Demo.Send(t, r); a.Status != http.StatusForbidden || !route.Own && !route.Page && !strings.Contains(strings.ToLower(string(a.Body)), "https_required") && !strings.Contains(string(a.Body), web.ErrPlainHTTP.Message) {
					t.Errorf("%s %s: got %d %s, want 403 https_required", route.Method, path, a.Status, a.Body)
				}
			}
		}
	})
}
