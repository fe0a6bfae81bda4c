package token_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/keyring"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
)

// bench is the product with a user, and a grant of theirs for the tenant's application.
type bench struct {
	*apptest.World
	row   tenant.Tenant
	app   tenant.Application
	user  string
	grant session.Grant
}

func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		b := &bench{World: w, user: w.Demo.User(t, "ann", "admin")}
		var err error
		if b.row, err = w.Tenants.ByID(t.Context(), w.Demo.ID); err == nil {
			b.app, err = w.Tenants.ByClientID(t.Context(), w.Demo.ClientID)
		}
		if err != nil {
			t.Fatal(err)
		}
		b.grant = session.Grant{UserID: b.user, ApplicationID: b.app.ID, Scope: "openid profile users:read", Outlives: true}
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			b.grant.Detail.AuthAt = tx.Now
			b.grant, err = w.Sessions.Open(tx, access.System(b.row.ID), b.grant, session.GrantLifetimes)
			return err
		})
		test(t, b)
	})
}

func (b *bench) issue(t *testing.T, o token.Options) token.Tokens {
	t.Helper()
	made, err := b.Tokens.Issue(t.Context(), b.row, b.app, b.grant, o)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// elsewhere is the service in another process of the installation.
func (b *bench) elsewhere() *token.Service {
	sessions := &session.Service{DB: b.DB, Box: b.World.Tenants.Box}
	return &token.Service{DB: b.DB, Ring: b.Ring, Tenants: b.World.Tenants, Users: b.Users, Sessions: sessions, Orgs: b.Tokens.Orgs}
}

// claims are what a token says, unverified.
func claims(t *testing.T, signed string) (out map[string]any) {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(signed, ".")[1])
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantRefused(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, token.ErrToken) {
		t.Errorf("got %v, want ErrToken", err)
	}
}

func TestAccessTokenSaysWhatRFC9068Asks(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		made := b.issue(t, token.Options{WithID: true, Nonce: "n1"})
		got := claims(t, made.Access)
		for name, want := range map[string]any{"iss": "https://" + apptest.BaseHost, "sub": b.user, "client_id": b.app.ClientID, "scope": b.grant.Scope, "gid": b.grant.ID} {
			if name != "iss" && got[name] != want || name == "iss" && got[name] == nil {
				t.Errorf("%s is %v, want %v", name, got[name], want)
			}
		}
		if got["aud"] != got["iss"] || got["exp"].(float64)-got["iat"].(float64) != 900 || got["jti"] == "" {
			t.Errorf("got %v", got)
		}
		id := claims(t, made.ID)
		if id["aud"] != b.app.ClientID || id["nonce"] != "n1" || id["sub"] != b.user || id["preferred_username"] != "ann" || id["scope"] != nil {
			t.Errorf("the ID token says %v", id)
		}
		if more := claims(t, b.issue(t, token.Options{}).Access); more["jti"] == got["jti"] {
			t.Error("two tokens have one jti")
		}
	})
}

func TestClaimsFollowTheScope(t *testing.T) {
	u := user.User{
		ID: "u1", Username: "ann", Email: "ann@example.com", EmailVerified: true, Phone: "+4915112345678", FirstName: "Ann", LastName: "Lee", ModifiedAt: time.Unix(7, 0),
		Attributes: json.RawMessage(`{"sub":"evil","email":"evil","email_verified":false,"phone_number":"evil","updated_at":1,"roles":"evil","picture":"p","address":{"country":"DE"}}`),
	}
	for scope, want := range map[string][]string{
		"openid":                  {"sub"},
		"openid email":            {"email", "email_verified", "sub"},
		"openid phone":            {"phone_number", "phone_number_verified", "sub"},
		"openid address":          {"address", "sub"},
		"openid profile":          {"family_name", "given_name", "name", "picture", "preferred_username", "sub", "updated_at"},
		"Email users:read emails": {"sub"},
	} {
		got := token.Claims(u, scope, nil)
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", scope, diff)
		}
		for name, value := range map[string]any{"sub": "u1", "email": "ann@example.com", "email_verified": true, "phone_number": "+4915112345678", "updated_at": int64(7)} {
			if v, there := got[name]; there && v != value {
				t.Errorf("%s: %s is %v: an attribute says what is ours to say", scope, name, v)
			}
		}
	}
	if got := token.Claims(u, "openid", map[string]any{"email": nil, "roles": nil}); len(got) != 2 || got["email"] != u.Email {
		t.Errorf("asked for by name: %v", got)
	}
}

// A token is what its "typ", issuer and signature say, and nothing else.
func TestReadRefuses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		made := b.issue(t, token.Options{WithID: true})
		said := claims(t, made.Access)
		sign := func(tenantID, typ string, change map[string]any) string {
			t.Helper()
			all := maps.Clone(said)
			maps.Copy(all, change)
			signed, err := b.Ring.Sign(t.Context(), tenantID, keyring.ES256, typ, all)
			if err != nil {
				t.Fatal(err)
			}
			return signed
		}
		parts := strings.Split(made.Access, ".")
		encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
		other := b.Tenant(t, "other")
		for name, signed := range map[string]string{
			"an ID token":                      made.ID,
			"an access token's claims as JWT":  sign(b.row.ID, token.TypeID, nil),
			"no type":                          sign(b.row.ID, "", nil),
			"a logout token":                   sign(b.row.ID, "logout+jwt", nil),
			"a security event":                 sign(b.row.ID, "secevent+jwt", nil),
			"a request object":                 sign(b.row.ID, "oauth-authz-req+jwt", nil),
			"a DPoP proof":                     sign(b.row.ID, "dpop+jwt", nil),
			"another issuer":                   sign(b.row.ID, token.TypeAccess, map[string]any{"iss": "https://elsewhere.example"}),
			"another tenant's issuer":          sign(b.row.ID, token.TypeAccess, map[string]any{"iss": "https://other." + apptest.BaseHost}),
			"another tenant's key":             sign(other.ID, token.TypeAccess, nil),
			"expired":                          sign(b.row.ID, token.TypeAccess, map[string]any{"exp": said["iat"]}),
			"an application that there is not": sign(b.row.ID, token.TypeAccess, map[string]any{"client_id": "cli_x", "gid": ""}),
			"a grant that there is not":        sign(b.row.ID, token.TypeAccess, map[string]any{"gid": "aaaaaaaaaaaaaaaaaaaaaaaa"}),
			"no signature":                     parts[0] + "." + parts[1] + ".",
			"the algorithm none":               encode(`{"alg":"none","typ":"at+jwt"}`) + "." + parts[1] + ".",
			"other claims below the signature": parts[0] + "." + encode(strings.Replace(string(must(base64.RawURLEncoding.DecodeString(parts[1]))), "users:read", "users:write", 1)) + "." + parts[2],
			"nothing":                          "",
			"three dots":                       "...",
		} {
			t.Run(name, func(t *testing.T) {
				_, err := b.Tokens.Read(t.Context(), b.row.ID, signed)
				wantRefused(t, err)
			})
		}
		if _, err := b.Tokens.Read(t.Context(), b.row.ID, made.Access); err != nil {
			t.Errorf("the token itself: %v", err)
		}
		_, err := b.Tokens.Read(t.Context(), other.ID, made.Access)
		wantRefused(t, err)
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// What is remembered of a token ends with the token.
func TestReadEndsWithTheToken(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		signed := b.issue(t, token.Options{}).Access
		for range 3 {
			if _, err := b.Tokens.Read(t.Context(), b.row.ID, signed); err != nil {
				t.Fatal(err)
			}
		}
		b.Clock.Advance(15*time.Minute - 3*time.Second) // ends are whole seconds
		if _, err := b.Tokens.Read(t.Context(), b.row.ID, signed); err != nil {
			t.Errorf("before its end: %v", err)
		}
		b.Clock.Advance(3 * time.Second)
		_, err := b.Tokens.Read(t.Context(), b.row.ID, signed)
		wantRefused(t, err)
	})
}

// Whatever stands behind a token ends it: here at once, elsewhere within a second.
func TestReadFollowsWhatStandsBehind(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, b *bench, tx *database.Tx, by access.Actor) error{
		"the grant ends": func(ctx context.Context, b *bench, tx *database.Tx, by access.Actor) error {
			return b.Sessions.EndGrant(ctx, tx, by, b.grant.ID, "test")
		},
		"the user is disabled": func(ctx context.Context, b *bench, tx *database.Tx, by access.Actor) error {
			_, err := b.Users.Update(ctx, tx, by, b.user, user.Change{IsActive: new(false)})
			return err
		},
		"the user is deleted": func(ctx context.Context, b *bench, tx *database.Tx, by access.Actor) error {
			return b.Users.Delete(ctx, tx, by, b.user)
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				signed, there := b.issue(t, token.Options{}).Access, b.elsewhere()
				for _, s := range []*token.Service{b.Tokens, there} {
					if _, err := s.Read(t.Context(), b.row.ID, signed); err != nil {
						t.Fatal(err)
					}
				}
				b.Write(t, func(ctx context.Context, tx *database.Tx) error { return end(ctx, b, tx, access.System(b.row.ID)) })
				_, err := b.Tokens.Read(t.Context(), b.row.ID, signed)
				wantRefused(t, err)
				b.Clock.Advance(time.Second)
				_, err = there.Read(t.Context(), b.row.ID, signed)
				wantRefused(t, err)
			})
		})
	}
}

// A token of an application itself has no grant: it is revoked alone.
func TestRevokeEndsATokenWithoutAGrant(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		var signed [2]string
		for i := range signed {
			made, err := b.Tokens.IssueSelf(t.Context(), b.row, b.app, "users:read", nil, "")
			if err != nil {
				t.Fatal(err)
			}
			signed[i] = made.Access
		}
		a, err := b.Tokens.Read(t.Context(), b.row.ID, signed[0])
		if err != nil || a.UserID != "" || !a.Has("users:read") || a.Has("users") {
			t.Fatalf("got %+v, %v", a, err)
		}
		there := b.elsewhere()
		if _, err := there.Read(t.Context(), b.row.ID, signed[0]); err != nil {
			t.Fatal(err)
		}
		if err := b.Tokens.Revoke(t.Context(), access.System(b.row.ID), a, b.app); err != nil {
			t.Fatal(err)
		}
		_, err = b.Tokens.Read(t.Context(), b.row.ID, signed[0])
		wantRefused(t, err)
		if _, err := b.Tokens.Read(t.Context(), b.row.ID, signed[1]); err != nil {
			t.Errorf("the other one: %v", err)
		}
		b.Clock.Advance(time.Second)
		_, err = there.Read(t.Context(), b.row.ID, signed[0])
		wantRefused(t, err)
	})
}

func TestSweepForgetsWhatHasExpired(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		made, err := b.Tokens.IssueSelf(t.Context(), b.row, b.app, "", nil, "")
		if err != nil {
			t.Fatal(err)
		}
		a, err := b.Tokens.Read(t.Context(), b.row.ID, made.Access)
		if err == nil {
			err = b.Tokens.Revoke(t.Context(), access.System(b.row.ID), a, b.app)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []int64{1, 0} {
			if err := b.Tokens.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			var n int64
			if err := b.DB.QueryRow(t.Context(), "SELECT count(*) FROM revoked_tokens WHERE tenant_id = $1", b.row.ID).Scan(&n); err != nil || n != want {
				t.Errorf("%d are kept, %v; want %d", n, err, want)
			}
			b.Clock.Advance(time.Hour)
		}
	})
}

// The management API takes tokens that are meant for it, and gives them no more than
// their scopes, nor than the user's roles.
func TestAuthenticate(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		visitor := access.Visitor(b.row.ID, "192.0.2.7")
		by, err := b.Tokens.Authenticate(t.Context(), visitor, b.issue(t, token.Options{}).Access)
		if err != nil || by.Name != "user:"+b.user || !slices.Equal(by.Permissions(), []access.Permission{access.UsersRead}) || by.IP != visitor.IP {
			t.Errorf("got %+v, %v", by, err)
		}
		for name, o := range map[string]token.Options{
			"another audience": {Audience: []string{"https://api.example.com"}},
			"the client's id":  {Audience: []string{b.app.ClientID}},
			"bound to a key":   {KeyThumbprint: "x"},
		} {
			_, err := b.Tokens.Authenticate(t.Context(), visitor, b.issue(t, o).Access)
			if wantRefused(t, err); t.Failed() {
				t.Log(name)
			}
		}
		part, err := b.Tokens.Authenticate(t.Context(), visitor, b.issue(t, token.Options{Scope: "openid"}).Access)
		if err != nil || len(part.Permissions()) != 0 {
			t.Errorf("without its scope: %v, %v", part.Permissions(), err)
		}
		self, err := b.Tokens.IssueSelf(t.Context(), b.row, b.app, "users:read roles:read unknown:scope openid", nil, "")
		if err != nil {
			t.Fatal(err)
		}
		by, err = b.Tokens.Authenticate(t.Context(), visitor, self.Access)
		if err != nil || by.Name != "application:"+b.app.ClientID || !slices.Equal(by.Permissions(), []access.Permission{access.UsersRead, access.RolesRead}) {
			t.Errorf("the application itself: %+v, %v", by, err)
		}
	})
}

// An ID token hints at who somebody was, also once it has expired; nothing else does.
func TestHint(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		made := b.issue(t, token.Options{WithID: true})
		b.Clock.Advance(24 * time.Hour)
		who, _, client, err := b.Tokens.Hint(t.Context(), b.row.ID, made.ID)
		if err != nil || who != b.user || client != b.app.ClientID {
			t.Errorf("got %s, %s, %v", who, client, err)
		}
		_, _, _, err = b.Tokens.Hint(t.Context(), b.row.ID, made.Access)
		wantRefused(t, err)
		_, _, _, err = b.Tokens.Hint(t.Context(), b.Tenant(t, "other").ID, made.ID)
		wantRefused(t, err)
	})
}
