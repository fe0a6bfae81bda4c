package scim_test

import (
	"context"
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
	"github.com/cardea-id/cardea/internal/scim"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/user"
)

// What directories may do to accounts: the lines of C5 of the catalogue.

func (s *site) account(t *testing.T, id string) user.User {
	t.Helper()
	u, err := s.w.Users.Find(t.Context(), s.w.DB, s.by, id)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// status is that of a user's membership, empty for none.
func (s *site) status(t *testing.T, id string) string {
	t.Helper()
	m, err := s.w.Orgs.Member(t.Context(), s.w.DB, s.tenant.ID, s.org.ID, id)
	if err != nil {
		return ""
	}
	return m.Status
}

// make makes an account by hand, and a member of the organization if joined.
func (s *site) make(t *testing.T, u user.User, joined bool) (id string) {
	t.Helper()
	s.w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		u.IsActive = true
		made, err := s.w.Users.Create(ctx, tx, s.by, u)
		if err == nil && joined {
			_, err = s.w.Orgs.AddMember(ctx, tx, s.by, s.org.ID, made.ID, nil, org.SourceManual)
		}
		id = made.ID
		return err
	})
	return id
}

// signIn starts a session and makes an API key, and returns a function that says how
// many of the two are live.
func (s *site) signIn(t *testing.T, id string) (live func() int) {
	t.Helper()
	var sessionID, key string
	s.w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		started, _, err := s.w.Sessions.Start(ctx, tx, s.by, id, "", session.Proof{At: tx.Now}, session.From{}, session.SessionLifetimes)
		if err != nil {
			return err
		}
		maker := s.by
		maker.Name = "user:" + id
		sessionID = started.ID
		_, key, err = s.w.Tenants.CreateKey(ctx, tx, maker, "own", []access.Permission{access.UsersRead}, time.Time{})
		return err
	})
	return func() (n int) {
		t.Helper()
		if err := s.w.DB.QueryRow(t.Context(), "SELECT count(*) FROM sessions WHERE tenant_id = $1 AND id = $2 AND ended_at IS NULL", s.tenant.ID, sessionID).Scan(&n); err != nil {
			t.Fatal(err)
		}
		client := s.tenant.Client
		client.Key = key
		if client.Get(t, "/api/v1/users?limit=1").Status == 200 {
			n++
		}
		return n
	}
}

// C5.88.
func TestDeactivationEndsEverything(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		for name, end := range map[string]func(id string){
			"active false": func(id string) {
				s.patch(t, "/Users/"+id, `{"op": "replace", "value": {"active": false}}`).Want(t, 200)
			},
			"PUT": func(id string) {
				s.do(t, "PUT", "/Users/"+id, `{"userName": "`+id+`@acme.test", "active": false}`).Want(t, 200)
			},
			"DELETE": func(id string) { s.do(t, "DELETE", "/Users/"+id, nil).Want(t, 204) },
		} {
			id := s.user(t, strings.ReplaceAll(name, " ", ".")+"@acme.test")
			live := s.signIn(t, id)
			if n := live(); n != 2 {
				t.Fatalf("%s: %d of session and key before", name, n)
			}
			end(id)
			if n := live(); n != 0 {
				t.Errorf("%s: %d of session and key are left", name, n)
			}
			if s.account(t, id).IsActive || s.status(t, id) == org.Active {
				t.Errorf("%s: account active %v, member %q", name, s.account(t, id).IsActive, s.status(t, id))
			}
			if name == "DELETE" {
				continue
			}
			s.patch(t, "/Users/"+id, `{"op": "replace", "path": "active", "value": true}`).Want(t, 200)
			if n := live(); n != 0 {
				t.Errorf("%s: %d came back with the user", name, n)
			}
			if !s.account(t, id).IsActive || s.status(t, id) != org.Active {
				t.Errorf("%s: the user did not come back", name)
			}
		}
	})
}

func TestDeactivationLeavesOthersTheirAccount(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s, other := newSite(t, w, w.Demo, "Acme"), newSite(t, w, w.Demo, "Other")
		id := s.user(t, "ada@acme.test")
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := w.Orgs.AddMember(ctx, tx, s.by, other.org.ID, id, nil, org.SourceManual)
			return err
		})
		s.do(t, "DELETE", "/Users/"+id, nil).Want(t, 204)
		if !s.account(t, id).IsActive || other.status(t, id) != org.Active || s.status(t, id) != "" {
			t.Error("another organization's member lost more than this organization")
		}
		// Made here once, trusted elsewhere now: without a proof of the domain it does not come back.
		refused(t, s.do(t, "POST", "/Users", userBody("ada@acme.test")), 409, "uniqueness")
		s.prove(t, "acme.test")
		if again := s.user(t, "ada@acme.test"); again != id {
			t.Error("somebody else came back")
		}
		// An administrator's account is no directory's to disable.
		off := false
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := w.Users.Update(ctx, tx, s.by, id, user.Change{IsActive: &off})
			return err
		})
		s.patch(t, "/Users/"+id, `{"op": "replace", "path": "active", "value": false}`).Want(t, 200)
		s.patch(t, "/Users/"+id, `{"op": "replace", "path": "active", "value": true}`).Want(t, 200)
		if s.account(t, id).IsActive {
			t.Error("whom an administrator disabled, a directory let in")
		}
	})
}

// C5.86.
func TestExistingAccounts(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		s.prove(t, "acme.test")
		stranger := s.make(t, user.User{Email: "stranger@acme.test", FirstName: "Sheila"}, false)
		outside := s.make(t, user.User{Email: "member@outside.example"}, true)
		member := s.make(t, user.User{Email: "member@acme.test"}, true)
		elsewhere := &site{w: w, tenant: w.Tenant(t, "shop"), by: access.System("")}
		elsewhere.by = access.System(elsewhere.tenant.ID)
		foreign := elsewhere.make(t, user.User{Email: "free@acme.test"}, false)
		var said []string
		for _, name := range []string{"stranger@acme.test", "member@outside.example"} {
			a := s.do(t, "POST", "/Users", userBody(name))
			refused(t, a, 409, "uniqueness")
			said = append(said, string(a.Body))
			if strings.Contains(string(a.Body), stranger) || strings.Contains(string(a.Body), outside) || strings.Contains(string(a.Body), "Sheila") {
				t.Errorf("tells of the account: %s", a.Body)
			}
		}
		if said[0] != said[1] {
			t.Errorf("tells members from others: %s, %s", said[0], said[1])
		}
		if id := s.user(t, "member@acme.test"); id != member {
			t.Errorf("a member with a proved address became another user: %s", id)
		}
		if id := s.user(t, "free@acme.test"); id == foreign {
			t.Error("took an account of another tenant")
		}
		// An adopted account is not disabled with its directory's word.
		s.do(t, "DELETE", "/Users/"+member, nil).Want(t, 204)
		if !s.account(t, member).IsActive {
			t.Error("an account that the directory has not made was disabled")
		}
	})
}

// C5.87.
func TestAddressesFollowOnlyWhereTheyMay(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s, other := newSite(t, w, w.Demo, "Acme"), newSite(t, w, w.Demo, "Other")
		move := func(id, to string) apptest.Answer {
			return s.patch(t, "/Users/"+id, `{"op": "replace", "path": "emails[type eq \"work\"].value", "value": "`+to+`"}`)
		}
		id := s.user(t, "ada@acme.test")
		if s.account(t, id).EmailVerified {
			t.Error("an address is verified that nobody has proved")
		}
		move(id, "ada@evil.example").Want(t, 200)
		if u := s.account(t, id); u.Email != "ada@evil.example" || u.EmailVerified {
			t.Errorf("the directory's own account: got %s, verified %v", u.Email, u.EmailVerified)
		}
		s.prove(t, "acme.test")
		move(id, "ada@acme.test").Want(t, 200)
		if u := s.account(t, id); u.Email != "ada@acme.test" || !u.EmailVerified {
			t.Errorf("a proved address: got %s, verified %v", u.Email, u.EmailVerified)
		}
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := w.Orgs.AddMember(ctx, tx, s.by, other.org.ID, id, nil, org.SourceManual)
			return err
		})
		refused(t, move(id, "ada@evil.example"), 403, "")
		if u := s.account(t, id); u.Email != "ada@acme.test" {
			t.Errorf("an account that others trust moved to %s", u.Email)
		}
		move(id, "ada2@acme.test").Want(t, 200)
		adopted := s.make(t, user.User{Email: "bob@acme.test"}, true)
		s.user(t, "bob@acme.test")
		refused(t, move(adopted, "bob@evil.example"), 403, "")
		taken := s.make(t, user.User{Email: "carol@acme.test"}, false)
		refused(t, move(adopted, "carol@acme.test"), 409, "uniqueness")
		if s.account(t, taken).Email != "carol@acme.test" {
			t.Error("somebody's address went")
		}
	})
}

// An account whose further address is of the organization's domain is a member's like any
// other; what is the primary one, its owner says.
func TestFurtherAddressesAndDirectories(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		s.prove(t, "acme.test")
		with := func(primary, work string, joined, held bool) (id string) {
			id = s.make(t, user.User{Email: primary, EmailVerified: true}, joined)
			w.Write(t, func(ctx context.Context, tx *database.Tx) error {
				_, err := w.Users.AddAddress(ctx, tx, s.by, id, user.Address{Kind: user.KindFurtherEmail, Value: work})
				if err == nil && held {
					err = w.Users.HoldAddresses(ctx, tx, s.by, id, "", "test")
				}
				return err
			})
			return id
		}
		member := with("ada@home.test", "ada@acme.test", true, false)
		with("bob@home.test", "bob@acme.test", false, false)
		with("eve@home.test", "eve@acme.test", true, true)
		if id := s.user(t, "ada@acme.test"); id != member {
			t.Errorf("a member with a proved address became another user: %s", id)
		}
		for _, name := range []string{"bob@acme.test", "eve@acme.test"} {
			refused(t, s.do(t, "POST", "/Users", userBody(name)), 409, "uniqueness")
		}
		s.patch(t, "/Users/"+member, `{"op": "replace", "path": "emails[type eq \"work\"].value", "value": "ada2@acme.test"}`).Want(t, 200)
		if u := s.account(t, member); u.Email != "ada@home.test" || !u.EmailVerified {
			t.Errorf("the directory has moved the account from its owner's address to %s", u.Email)
		}
	})
}

// C5.83 to C5.85.
func TestNothingElseIsWritten(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s, other := newSite(t, w, w.Demo, "Acme"), newSite(t, w, w.Demo, "Other")
		victim := other.user(t, "victim@other.test")
		owner := w.Demo.Roles["owner"].ID
		id := s.made(t, "/Users", `{"id": "`+victim+`", "userName": "ada@acme.test", "externalId": "`+victim+`", "meta": {"resourceType": "x"}, "role_ids": ["`+owner+`"],
			"roles": [{"value": "`+owner+`", "primary": true}], "entitlements": [{"value": "admin"}], "groups": [{"value": "x"}], "emails": [{"value": "ada@acme.test", "verified": true}], "email_verified": true, "is_admin": true}`)
		if id == victim {
			t.Fatal("the id is the client's")
		}
		if u := s.account(t, id); len(u.RoleIDs) != 0 || u.EmailVerified {
			t.Errorf("got roles %v, verified %v", u.RoleIDs, u.EmailVerified)
		}
		if m, err := w.Orgs.Member(t.Context(), w.DB, w.Demo.ID, s.org.ID, id); err != nil || len(m.AllRoles()) != 0 {
			t.Errorf("got roles %v, %v", m.AllRoles(), err)
		}
		got := s.get(t, "/Users/"+id).Object(t)
		if got["groups"] != nil || at(got, "emails", 0, "verified") != nil || at(got, "meta", "resourceType") != "User" || got["externalId"] != victim {
			t.Errorf("got %v", got)
		}
		numeric := s.made(t, "/Users", `{"userName": "one@acme.test", "externalId": "1"}`)
		for _, path := range []string{"/Users/1", "/Users/" + victim, "/Users/x"} {
			refused(t, s.get(t, path), 404, "")
			refused(t, s.do(t, "DELETE", path, nil), 404, "")
			refused(t, s.patch(t, path, `{"op": "replace", "path": "active", "value": false}`), 404, "")
		}
		if numeric == "1" || !s.account(t, victim).IsActive {
			t.Error("an externalId was taken for an id")
		}
		for _, op := range []string{
			`{"op": "replace", "path": "id", "value": "` + victim + `"}`, `{"op": "add", "path": "meta.created", "value": "2001-01-01T00:00:00Z"}`, `{"op": "remove", "path": "schemas"}`,
			`{"op": "add", "path": "groups", "value": [{"value": "x"}]}`, `{"op": "remove", "path": "userName"}`, `{"op": "replace", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.displayName", "value": "x"}`,
		} {
			refused(t, s.patch(t, "/Users/"+id, op), 400, "mutability")
		}
		group := s.made(t, "/Groups", `{"displayName": "Crew"}`)
		for _, op := range []string{`{"op": "add", "path": "members", "value": [{"value": "` + victim + `"}]}`, `{"op": "add", "path": "members", "value": [{"value": "` + id + `"}, {"value": "nobody"}]}`,
			`{"op": "replace", "path": "members", "value": [{"value": "` + group + `"}]}`} {
			refused(t, s.patch(t, "/Groups/"+group, op), 400, "invalidValue")
		}
		s.patch(t, "/Groups/"+group, `{"op": "remove", "path": "members[value eq \"`+victim+`\"]"}`).Want(t, 204)
		if members := at(s.get(t, "/Groups/"+group).Object(t), "members"); members != nil && len(members.([]any)) != 0 {
			t.Errorf("members are %v", members)
		}
		limited := &site{Client: s.Client, dir: s.dir}
		limited.Key = s.token(t, scim.NewTokenRequest{Overlap: time.Hour, UsersOnly: true})
		refused(t, limited.do(t, "POST", "/Groups", `{"displayName": "Admins"}`), 403, "")
		refused(t, limited.get(t, "/Groups"), 403, "")
		refused(t, limited.patch(t, "/Groups/"+group, `{"op": "replace", "path": "displayName", "value": "x"}`), 403, "")
		limited.get(t, "/Users/"+id).Want(t, 200)
	})
}

// C5.90.
func TestTokens(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s, other, shop := newSite(t, w, w.Demo, "Acme"), newSite(t, w, w.Demo, "Other"), newSite(t, w, w.Tenant(t, "shop"), "Shop")
		as := func(key string) *site {
			c := &site{Client: s.Client, dir: s.dir}
			c.Key = key
			return c
		}
		said := map[string]bool{}
		off := "A"
		if strings.HasSuffix(s.Key, off) {
			off = "B"
		}
		for name, key := range map[string]string{
			"none": "", "of another organization": other.Key, "of another tenant": shop.Key, "API key": w.Demo.Key, "a letter off": s.Key[:len(s.Key)-1] + off, "longer": s.Key + "x", "nonsense": "x",
		} {
			a := as(key).get(t, "/Users")
			if t.Log(name); a.Header.Get("WWW-Authenticate") == "" {
				t.Error("no challenge")
			}
			refused(t, a, 401, "")
			said[string(a.Body)] = true
		}
		if len(said) != 1 {
			t.Errorf("the refusals differ: %v", said)
		}
		bare := as("")
		refused(t, bare.get(t, "/Users?access_token="+s.Key), 401, "")
		bare.Client = bare.With("Authorization", "Basic "+s.Key)
		refused(t, bare.get(t, "/Users"), 401, "")
		nowhere := as(s.Key)
		nowhere.dir.ID = "0123456789abcdef01234567"
		refused(t, nowhere.get(t, "/Users"), 401, "")

		second := s.token(t, scim.NewTokenRequest{Overlap: time.Hour})
		as(s.Key).get(t, "/Users").Want(t, 200)
		as(second).get(t, "/Users").Want(t, 200)
		third := s.token(t, scim.NewTokenRequest{Overlap: time.Hour, ExpiresAt: w.Clock.Now().Add(2 * time.Hour)})
		refused(t, as(s.Key).get(t, "/Users"), 401, "") // two at a time
		as(second).get(t, "/Users").Want(t, 200)
		w.Clock.Advance(61 * time.Minute)
		refused(t, as(second).get(t, "/Users"), 401, "") // the overlap is over
		as(third).get(t, "/Users").Want(t, 200)
		w.Clock.Advance(time.Hour)
		refused(t, as(third).get(t, "/Users"), 401, "") // expired
		fourth := s.token(t, scim.NewTokenRequest{})
		as(fourth).get(t, "/Users").Want(t, 200)
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			d := s.dir
			d.State = scim.Disabled
			_, err := w.SCIM.Save(ctx, tx, s.by, d)
			return err
		})
		refused(t, as(fourth).get(t, "/Users"), 403, "")
	})
}

func TestGuessingTokensIsLimited(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		guess := &site{Client: s.Client, dir: s.dir}
		guess.Key, guess.IP = "scim_x", "198.51.100.9"
		for range 60 {
			if guess.get(t, "/Users").Status == http.StatusTooManyRequests {
				return
			}
		}
		t.Error("sixty wrong tokens, and no end")
	})
}

func (s *site) save(t *testing.T, d scim.Directory) {
	t.Helper()
	s.w.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		s.dir, err = s.w.SCIM.Save(ctx, tx, s.by, d)
		return err
	})
	s.w.Work(t)
}

func (s *site) roles(t *testing.T, id string) []string {
	t.Helper()
	m, err := s.w.Orgs.Member(t.Context(), s.w.DB, s.tenant.ID, s.org.ID, id)
	if err != nil {
		return nil
	}
	return m.AllRoles()
}

func TestGroupsGiveRoles(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		admin, developer := w.Demo.Roles["admin"].ID, w.Demo.Roles["developer"].ID
		ada, bob := s.user(t, "ada@acme.test"), s.user(t, "bob@acme.test")
		group := s.made(t, "/Groups", `{"displayName": "Crew", "externalId": "g-1", "members": [{"value": "`+ada+`"}]}`)
		want := func(when, id string, roles ...string) {
			t.Helper()
			slices.Sort(roles)
			if got := s.roles(t, id); !slices.Equal(got, roles) {
				t.Errorf("%s: got %v, want %v", when, got, roles)
			}
		}
		want("without a rule", ada)
		d := s.dir
		d.GroupRules = []scim.Rule{{Group: "crew", RoleID: developer}, {Group: "g-2", RoleID: admin}}
		s.save(t, d)
		want("with a rule", ada, developer)
		s.patch(t, "/Groups/"+group, `{"op": "add", "path": "members", "value": [{"value": "`+bob+`"}]}`).Want(t, 204)
		want("who comes", bob, developer)
		s.patch(t, "/Groups/"+group, `{"op": "remove", "path": "members[value eq \"`+bob+`\"]"}`).Want(t, 204)
		want("who goes", bob)
		s.patch(t, "/Groups/"+group, `{"op": "replace", "value": {"displayName": "Hands", "externalId": "g-2", "id": "`+group+`"}}`).Want(t, 204)
		want("another name", ada, admin)
		s.patch(t, "/Users/"+ada, `{"op": "replace", "path": "active", "value": false}`).Want(t, 200)
		s.patch(t, "/Users/"+ada, `{"op": "replace", "path": "active", "value": true}`).Want(t, 200)
		want("who comes back", ada, admin)
		d.GroupRules = nil
		s.save(t, d)
		want("no rule any more", ada)
		d.GroupRules = []scim.Rule{{Group: group, RoleID: developer}}
		s.save(t, d)
		want("by id", ada, developer)
		s.do(t, "DELETE", "/Groups/"+group, nil).Want(t, 204)
		want("no group any more", ada)
		second := s.made(t, "/Groups", `{"displayName": "Crew", "members": [{"value": "`+ada+`"}]}`)
		d.GroupRules = []scim.Rule{{Group: second, RoleID: developer}}
		s.save(t, d)
		want("again", ada, developer)
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			return w.SCIM.Delete(ctx, tx, s.by, s.org.ID, s.dir.ID)
		})
		refused(t, s.get(t, "/Users"), 401, "")
		w.Work(t)
		want("no directory any more", ada)
		if s.status(t, ada) != org.Active || !s.account(t, ada).IsActive {
			t.Error("the users of a deleted directory stay members")
		}
	})
}

// Rules give what their writer could give by hand.
func TestRulesGiveWhatTheirWriterCouldGive(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		directories, connections := "/api/v1/tenants/"+s.org.ID+"/directories", "/api/v1/organizations/"+s.org.ID+"/connections"
		for _, slug := range []string{"owner", "developer"} {
			rules := []map[string]any{{"group": "Crew", "role_id": w.Demo.Roles[slug].ID}}
			directory := map[string]any{"name": "By " + slug, "type": "custom", "group_rules": rules}
			connection := map[string]any{"name": "By " + slug, "kind": "saml", "provider": "custom", "settings": map[string]any{"group_rules": rules}}
			narrow := w.Demo.As(t, access.ConnectionsRead, access.ConnectionsWrite, access.OrganizationsRead)
			narrow.Post(t, directories, directory).WantError(t, 403, "grant_not_held")
			narrow.Put(t, directories+"/"+s.dir.ID, map[string]any{"group_rules": rules}).WantError(t, 403, "grant_not_held")
			narrow.Post(t, connections, connection).WantError(t, 403, "grant_not_held")
			full := w.Demo.As(t, access.ConnectionsRead, access.ConnectionsWrite, access.OrganizationsRead, access.OrganizationsWrite)
			full.Post(t, directories, directory).Want(t, 201)
			full.Post(t, connections, connection).Want(t, 201)
		}
		w.Demo.As(t, access.ConnectionsWrite, access.ConnectionsRead).Put(t, directories+"/"+s.dir.ID, map[string]any{"name": "Renamed"}).Want(t, 200)
	})
}

func TestEventsTell(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		id := s.user(t, "ada@acme.test")
		group := s.made(t, "/Groups", `{"displayName": "Crew", "members": [{"value": "`+id+`"}]}`)
		s.patch(t, "/Groups/"+group, `{"op": "remove", "path": "members"}`).Want(t, 204)
		s.patch(t, "/Users/"+id, `{"op": "replace", "path": "active", "value": false}`).Want(t, 200)
		s.do(t, "DELETE", "/Groups/"+group, nil).Want(t, 204)
		rows, err := w.DB.Query(t.Context(), "SELECT action, actor FROM audit_unsealed WHERE tenant_id = $1 AND target_id = $2 ORDER BY id", w.Demo.ID, s.org.ID)
		got := map[string]bool{}
		_, err = database.Collect(rows, err, "read events", func(row database.Scanner) (action string, err error) {
			var actor string
			err = row.Scan(&action, &actor)
			got[action] = got[action] || actor == "directory:"+s.dir.ID
			return action, err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, action := range []string{"user.provisioned", "user.deprovisioned", "group.created", "group.deleted", "user.group.added", "user.group.removed"} {
			if !got[action] {
				t.Errorf("no event %s by the directory", action)
			}
		}
	})
}

func TestRequestsAreKeptMasked(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		id := s.user(t, "ada@acme.test")
		s.do(t, "POST", "/Users", userBody("ada@acme.test"))
		s.get(t, "/Users?filter=userName+eq+%22ada@acme.test%22")
		s.patch(t, "/Users/"+id, `{"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "grace@acme.test"}`)
		log, _, err := w.SCIM.Requests(t.Context(), s.by, s.org.ID, s.dir.ID, "", 10)
		if err != nil || len(log) != 4 {
			t.Fatalf("got %v, %v", log, err)
		}
		text := fmt.Sprint(log)
		for _, secret := range []string{"ada@acme.test", "grace@acme.test", "Lovelace", s.Key} {
			if strings.Contains(text, secret) {
				t.Errorf("the log has %q: %s", secret, text)
			}
		}
		if log[2].Status != 409 || !strings.HasPrefix(log[2].Problem, "uniqueness") || !strings.Contains(log[0].Form, `replace emails[type eq "work"].value g…@acme.test`) {
			t.Errorf("got %s", text)
		}
		if d, err := w.SCIM.Find(t.Context(), w.DB, s.by, s.org.ID, s.dir.ID); err != nil || d.LastSyncAt.IsZero() {
			t.Errorf("heard of last at %v, %v", d.LastSyncAt, err)
		}
		w.Clock.Advance(scim.Kept + time.Hour)
		if err := w.SCIM.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if log, _, err = w.SCIM.Requests(t.Context(), s.by, s.org.ID, s.dir.ID, "", 10); err != nil || len(log) != 0 {
			t.Errorf("after a week: %v, %v", log, err)
		}
	})
}

// C5.91: twenty thousand members in one PATCH and in pages.
func TestLargeGroup(t *testing.T) {
	const many = 20_000
	apptest.Run(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		ids := s.crowd(t, many)
		d := s.dir
		d.GroupRules = []scim.Rule{{Group: "Everybody", RoleID: w.Demo.Roles["developer"].ID}}
		s.save(t, d)
		group := s.made(t, "/Groups", `{"displayName": "Everybody"}`)
		members := func(ids []string) string {
			return `[{"value": "` + strings.Join(ids, `", "display": "Somebody", "$ref": "https://directory.example.com/scim/v2/Users/0123456789"}, {"value": "`) + `"}]`
		}
		s.patch(t, "/Groups/"+group, `{"op": "add", "path": "members", "value": `+members(ids)+`}`).Want(t, 204)
		if n := strings.Count(string(s.get(t, "/Groups/"+group).Want(t, 200).Body), `"$ref"`); n != many {
			t.Errorf("%d members", n)
		}
		if got := s.roles(t, ids[many-1]); len(got) != 1 {
			t.Errorf("the last one has the roles %v", got)
		}
		s.patch(t, "/Groups/"+group, `{"op": "remove", "path": "members", "value": `+members(ids[:many-2])+`}`).Want(t, 204)
		if n := len(at(s.get(t, "/Groups/"+group).Object(t), "members").([]any)); n != 2 {
			t.Errorf("%d members are left", n)
		}
		if got := s.roles(t, ids[0]); len(got) != 0 {
			t.Errorf("the first one has the roles %v", got)
		}
	})
}

// crowd makes users of the directory without asking it for each. PostgreSQL has not
// counted them, as after a first synchronisation.
func (s *site) crowd(t *testing.T, n int) (ids []string) {
	t.Helper()
	for from := 0; from < n; from += 1000 {
		s.w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			people := make([]user.Newcomer, min(1000, n-from))
			for i := range people {
				people[i].User = user.User{Email: fmt.Sprintf("u%d@crowd.test", from+i), IsActive: true}
			}
			if refused, err := s.w.Users.Import(ctx, tx, s.by, "crowd", people); err != nil || slices.ContainsFunc(refused, func(err error) bool { return err != nil }) {
				return fmt.Errorf("import: %v %w", refused[0], err)
			}
			rows, joined := make([][]any, len(people)), make([][]any, len(people))
			for i, u := range people {
				ids = append(ids, u.ID)
				rows[i] = []any{s.tenant.ID, s.dir.ID, u.ID, u.Email, u.Email, "", u.Email, u.Email, true, false, true, false, `{"active":true,"userName":"` + u.Email + `"}`, int64(1), tx.Millis(), tx.Millis()}
				joined[i] = []any{s.tenant.ID, s.org.ID, u.ID, "active", "scim", false, tx.Millis(), tx.Millis()}
			}
			if err := tx.Copy(ctx, "directory_users", []string{"tenant_id", "directory_id", "user_id", "username", "username_key", "external_id", "email_key", "display", "is_active", "is_deleted", "made", "disabled", "resource", "version", "created_at", "modified_at"}, rows); err != nil {
				return err
			}
			return tx.Copy(ctx, "organization_members", []string{"tenant_id", "organization_id", "user_id", "status", "source", "break_glass", "created_at", "modified_at"}, joined)
		})
	}
	return ids
}

// What no index answers is looked for among ten thousand at most.
func TestWideFiltersAreBounded(t *testing.T) {
	apptest.Run(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		s.crowd(t, 10_001)
		refused(t, s.get(t, "/Users?filter=title+co+%22x%22"), 400, "tooMany")
		refused(t, s.get(t, "/Users?sortBy=title"), 400, "tooMany")
		if n := s.total(t, "/Users?filter=userName+eq+%22u77@crowd.test%22+and+title+co+%22x%22"); n != 0 {
			t.Errorf("found %d", n)
		}
		if n := s.total(t, "/Users?startIndex=9001&count=5"); n != 10_001 {
			t.Errorf("%d in all", n)
		}
	})
}
