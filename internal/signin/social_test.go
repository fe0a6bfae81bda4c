package signin_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/social"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// upstream is another service, at which everybody is who the test says.
type upstream struct {
	*httptest.Server
	key    *ecdsa.PrivateKey
	claims map[string]any
	nonce  string
}

// service starts another service and connects the tenant with it.
func (b *bench) service(t *testing.T, claims map[string]any) (*upstream, social.Connection) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	up := &upstream{key: key, claims: claims}
	answer := func(v func() any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v()) // whoever asked may have gone
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/.well-known/openid-configuration", answer(func() any {
		return map[string]any{"issuer": up.URL, "authorization_endpoint": up.URL + "/authorize", "token_endpoint": up.URL + "/token", "jwks_uri": up.URL + "/jwks"}
	}))
	mux.Handle("/jwks", answer(func() any {
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}}
	}))
	mux.Handle("/token", answer(func() any {
		return map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": up.idToken(t, b.Clock.Now(), up.nonce)}
	}))
	up.Server = httptest.NewServer(mux)
	t.Cleanup(up.Close)
	b.Outbound.Allow, b.Outbound.AllowHTTP, b.Outbound.AnyPort = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, true, true
	return up, b.connect(t, social.Connection{Provider: social.OpenID, Name: "Acme", ClientID: "cardea", Enabled: true, Settings: social.Settings{Issuer: up.URL}})
}

func (b *bench) connect(t *testing.T, c social.Connection) (made social.Connection) {
	t.Helper()
	b.Write(t, func(ctx context.Context, tx *database.Tx) (err error) {
		if c.ID != "" {
			made, err = b.Social.Save(ctx, tx, access.System(b.Demo.ID), c, "")
			return err
		}
		made, err = b.Social.Create(ctx, tx, access.System(b.Demo.ID), c, "secret")
		return err
	})
	return made
}

func (up *upstream) idToken(t *testing.T, now time.Time, nonce string) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: up.key, KeyID: "k"}}, nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	claims := map[string]any{"iss": up.URL, "aud": "cardea", "sub": "1", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "nonce": nonce, "auth_time": now.Unix(), "name": "Ann There"}
	maps.Copy(claims, up.claims)
	body, err := json.Marshal(claims)
	if err != nil {
		t.Error(err)
	}
	signed, err := signer.Sign(body)
	if err != nil {
		t.Error(err)
		return ""
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Error(err)
	}
	return token
}

func verified(email string) map[string]any {
	return map[string]any{"email": email, "email_verified": true}
}

// away presses the button of the service and returns where it leads back to.
func (b *bench) away(t *testing.T, up *upstream, p apptest.Page, action string) (callback string) {
	t.Helper()
	to := b.Press(t, p, action).Want(t, http.StatusSeeOther).Location()
	if to == nil || !strings.HasPrefix(to.String(), up.URL+"/authorize?") {
		t.Fatalf("the button leads to %v", to)
	}
	q := to.Query()
	up.nonce = q.Get("nonce")
	return q.Get("redirect_uri") + "?" + url.Values{"state": {q.Get("state")}, "code": {"code"}}.Encode()
}

func (b *bench) bySocial(t *testing.T, up *upstream, c social.Connection) apptest.Page {
	t.Helper()
	return b.Get(t, b.away(t, up, b.Get(t, "/signin"), "/signin/social/"+c.ID))
}

// user returns the user of an address.
func (b *bench) user(t *testing.T, email string) (u user.User, found bool) {
	t.Helper()
	u, err := b.Users.FindByLogin(t.Context(), b.DB, access.System(b.Demo.ID), email)
	return u, err == nil
}

func (b *bench) linked(t *testing.T, id string) int {
	t.Helper()
	list, err := b.Social.Identities(t.Context(), b.DB, b.Demo.ID, id)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestSocialSignsUpAndIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		up, c := b.service(t, verified(ann))
		b.Get(t, "/signin").WantText(t, "Continue with Acme")
		b.bySocial(t, up, c)
		b.wantIn(t, true)
		u, ok := b.user(t, ann)
		if !ok || !u.EmailVerified || u.FirstName != "Ann" || b.linked(t, u.ID) != 1 {
			t.Fatalf("signed up is %+v, %t", u, ok)
		}
		// Another browser, and another address there by now: it is the same user.
		up.claims = verified("other@example.com")
		again := b.another()
		again.bySocial(t, up, c)
		again.wantIn(t, true)
		if _, ok := b.user(t, "other@example.com"); ok {
			t.Error("there is a second user")
		}
		if u, _ := b.user(t, ann); u.Email != ann {
			t.Errorf("the user has %q", u.Email)
		}
	})
}

// C1 1 to 9: what an address at a service leads to.
func TestSocialNeverTakesAnAccountByItsAddress(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		up, c := b.service(t, map[string]any{"email": ann, "email_verified": "true"})
		b.prove(t, u.ID)
		p := b.bySocial(t, up, c).At(t, "/signin")
		p.WantText(t, "confirm an e-mail address")
		if p.Says("already an account") {
			t.Error("the page tells that the address is known, to whoever writes it into a profile")
		}
		b.wantIn(t, false)
		up.claims = verified(ann)
		p = b.another().bySocial(t, up, c)
		p.WantText(t, "already an account for "+ann)
		if b.linked(t, u.ID) != 0 {
			t.Error("it is linked without a proof")
		}
	})
}

// prove notes that a user's address was proved.
func (b *bench) prove(t *testing.T, id string) {
	t.Helper()
	yes := true
	b.Write(t, func(ctx context.Context, tx *database.Tx) error {
		_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), id, user.Change{EmailVerified: &yes})
		return err
	})
}

func TestSocialLinksAfterProofAndConsent(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.prove(t, u.ID)
		up, c := b.service(t, verified(ann))
		p := b.bySocial(t, up, c)
		p = b.Submit(t, p, "/signin", "identifier", ann)
		p = b.Submit(t, p, "/signin/code", "code", b.Code(t, ann))
		p.WantText(t, "Connect with Acme?", "Ann There", ann)
		b.wantIn(t, false)
		b.Submit(t, p, "/signin/social-link", "choice", "link")
		b.wantIn(t, true)
		if b.linked(t, u.ID) != 1 {
			t.Error("it is not linked")
		}
		if !slices.ContainsFunc(b.Letters(t, ann), func(l notify.Letter) bool { return strings.Contains(l.Subject, "How you sign in was changed") }) {
			t.Error("the user was not told")
		}
		again := b.another()
		again.bySocial(t, up, c)
		again.wantIn(t, true)
		if hash, _, err := password.Find(t.Context(), b.DB, b.Demo.ID, u.ID); err != nil || hash == "" {
			t.Errorf("the password of a proved account is gone: %v", err)
		}
	})
}

func TestSocialLinkMayBeLeft(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.prove(t, u.ID)
		up, c := b.service(t, verified(ann))
		p := b.Submit(t, b.bySocial(t, up, c), "/signin", "identifier", ann)
		p = b.Submit(t, p, "/signin/code", "code", b.Code(t, ann))
		b.Submit(t, p, "/signin/social-link", "choice", "skip")
		b.wantIn(t, true)
		if b.linked(t, u.ID) != 0 {
			t.Error("it is linked all the same")
		}
	})
}

// C1 1: somebody made an account with the victim's address and waits.
func TestSocialDisownsWhoMadeTheAccountBefore(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann) // not proved
		attacker := b.another()
		attacker.Submit(t, attacker.passwordPage(t, ann), "/signin/password", "password", secret)
		attacker.wantIn(t, true)
		b.Clock.Advance(time.Minute) // until another mail is sent
		up, c := b.service(t, verified(ann))
		p := b.bySocial(t, up, c)
		p.WantText(t, "confirm an e-mail address")
		p = b.Submit(t, p, "/signin", "identifier", ann)
		p = b.Submit(t, p, "/signin/code", "code", b.Code(t, ann))
		b.Submit(t, p, "/signin/social-link", "choice", "link")
		b.wantIn(t, true)
		attacker.wantIn(t, false)
		if hash, _, err := password.Find(t.Context(), b.DB, b.Demo.ID, u.ID); err != nil || hash != "" {
			t.Errorf("the attacker's password is still good: %v", err)
		}
	})
}

// A password does not prove an address, so an account whose address nobody has proved
// is not connected by it.
func TestSocialRefusesAnUnprovedAddress(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		up, c := b.service(t, verified(ann))
		p := b.Submit(t, b.bySocial(t, up, c), "/signin", "identifier", ann)
		p = b.Get(t, "/signin/password?state="+p.URL.Query().Get("state"))
		p = b.Submit(t, p, "/signin/password", "password", secret)
		b.Submit(t, p, "/signin/social-link", "choice", "link").WantText(t, "Confirm the e-mail address")
		if b.linked(t, u.ID) != 0 {
			t.Error("it is linked")
		}
	})
}

func TestSocialWithoutAnAddressAsksForOne(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		up, c := b.service(t, nil)
		p := b.bySocial(t, up, c)
		p.WantText(t, "confirm an e-mail address")
		p = b.Submit(t, p, "/signin", "identifier", "new@example.com")
		p = b.Submit(t, p, "/signin/code", "code", b.Code(t, "new@example.com"))
		b.Submit(t, p, "/signin/social-link", "choice", "link")
		u, ok := b.user(t, "new@example.com")
		if !ok || b.linked(t, u.ID) != 1 || u.FirstName != "Ann" {
			t.Errorf("got %+v, %t", u, ok)
		}
	})
}

func TestSocialCallbackIsRefused(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		up, c := b.service(t, verified(ann))
		callback := b.away(t, up, b.Get(t, "/signin"), "/signin/social/"+c.ID)
		stranger := b.another()
		stranger.Get(t, "/signin")
		stranger.Get(t, callback).Want(t, http.StatusBadRequest).WantText(t, "another browser")
		b.Get(t, "/sso/"+c.ID+"/callback").Want(t, http.StatusBadRequest)
		b.Get(t, "/sso/nobody/callback?state=x&code=y").Want(t, http.StatusBadRequest)
		b.Get(t, callback)
		b.wantIn(t, true)
		b.Get(t, callback).Want(t, http.StatusBadRequest)

		other := b.another()
		refused := strings.Replace(other.away(t, up, other.Get(t, "/signin"), "/signin/social/"+c.ID), "code=code", "error=access_denied", 1)
		p := other.Get(t, refused).WantText(t, "did not sign you in", "Continue with Acme")
		other.Get(t, other.away(t, up, p, "/signin/social/"+c.ID)) // the page goes on with the same attempt
		other.wantIn(t, true)

		late := b.another()
		callback = late.away(t, up, late.Get(t, "/signin"), "/signin/social/"+c.ID)
		c.Enabled = false
		b.connect(t, c)
		late.Get(t, callback).WantText(t, "switched off")
		late.wantIn(t, false)
	})
}

func TestSocialLetsNobodyUpIfNewcomersAreNotLetIn(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		up, c := b.service(t, verified(ann))
		b.settings(t, tenant.SignIn{NoSignUp: true})
		b.bySocial(t, up, c).WantText(t, "There is no account for you here")
		if _, ok := b.user(t, ann); ok {
			t.Error("there is a user")
		}
	})
}

// Apple answers by a form, with which browsers send no cookies.
func TestSocialCallbackByForm(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		up, c := b.service(t, verified(ann))
		callback, err := url.Parse(b.away(t, up, b.Get(t, "/signin"), "/signin/social/"+c.ID))
		if err != nil {
			t.Fatal(err)
		}
		bare := b.another()
		p := bare.PostForm(t, callback.Path, callback.Query()).Want(t, http.StatusOK)
		if len(p.Header.Values("Set-Cookie")) > 0 {
			t.Errorf("the answer would replace the browser's cookies: %v", p.Header.Values("Set-Cookie"))
		}
		b.Submit(t, p, callback.Path)
		b.wantIn(t, true)
		// Who has no cookies the second time either gets no third.
		bare.Submit(t, p, callback.Path).Want(t, http.StatusBadRequest)
	})
}

func TestAccountLinksAndUnlinks(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", secret)
		up, c := b.service(t, verified("there@example.com"))
		with := "/account/linked/with/" + c.ID
		// Browsers hold the redirects that follow a form against this list.
		if policy := b.Get(t, "/account/linked").Header.Get("Content-Security-Policy"); strings.Contains(policy, "form-action") {
			t.Errorf("the forms of the page can not lead to another service: %s", policy)
		}
		p := b.Get(t, b.away(t, up, b.Get(t, "/account/linked"), with)).At(t, "/account/linked/confirm")
		p.WantText(t, "Connect with Acme?", "there@example.com")
		if b.linked(t, u.ID) != 0 {
			t.Fatal("it is linked before the user has seen which account it is")
		}
		b.Submit(t, p, "/account/linked/confirm").WantText(t, "The account is linked", "there@example.com")
		if b.linked(t, u.ID) != 1 {
			t.Fatal("it is not linked")
		}
		// It is nobody else's then.
		bob := b.another()
		b.person(t, "bob@example.com")
		bob.Submit(t, bob.passwordPage(t, "bob@example.com"), "/signin/password", "password", secret)
		p = bob.Get(t, bob.away(t, up, bob.Get(t, "/account/linked"), with))
		bob.Submit(t, p, "/account/linked/confirm").WantText(t, "linked with another account")
		// A session that is not fresh changes nothing.
		p = b.Get(t, "/account/linked")
		b.Clock.Advance(11 * time.Minute)
		b.Submit(t, p, "/account/linked/remove").At(t, "/signin")
		if b.linked(t, u.ID) != 1 {
			t.Error("it was unlinked without a fresh proof")
		}
		fresh := b.another()
		fresh.bySocial(t, up, c)
		fresh.Submit(t, fresh.Get(t, "/account/linked"), "/account/linked/remove").WantText(t, "The account is unlinked")
		if b.linked(t, u.ID) != 0 {
			t.Error("it is still linked")
		}
	})
}

// C0 2: the start belongs to the session.
func TestAccountLinkIsOfTheSession(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.person(t, ann)
		b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", secret)
		up, c := b.service(t, verified(ann))
		callback := b.away(t, up, b.Get(t, "/account/linked"), "/account/linked/with/"+c.ID)
		b.Submit(t, b.Get(t, "/signout"), "/signout")
		b.Get(t, callback).At(t, "/signin")
		b.Submit(t, b.passwordPage(t, ann), "/signin/password", "password", secret)
		b.Get(t, callback).Want(t, http.StatusBadRequest)
		if u, _ := b.user(t, ann); b.linked(t, u.ID) != 0 {
			t.Error("it is linked")
		}
	})
}

// An application swaps the ID token that its own page got (Google's One Tap).
func TestSocialCredential(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		up, c := b.service(t, verified(ann))
		root := "/api/v1/auth/social/" + c.ID + "/"
		app := b.Demo.With("X-Client-Id", b.Demo.ClientID)
		app.Key = ""
		begin := func() (state, nonce string) {
			t.Helper()
			made := app.Post(t, root+"nonce", nil).Want(t, 200).Object(t)
			return made["state"].(string), made["nonce"].(string)
		}
		swap := func(state, token string) apptest.Answer {
			t.Helper()
			return app.Post(t, root+"token", map[string]string{"state": state, "credential": token})
		}
		state, nonce := begin()
		token := up.idToken(t, b.Clock.Now(), nonce)
		got := swap(state, token).Want(t, 200).Object(t)
		if got["access_token"] == "" || got["profile"] == nil {
			t.Errorf("got %v", got)
		}
		swap(state, token).WantError(t, 400, "social_expired")
		state, _ = begin()
		swap(state, token).WantError(t, 400, "social_failed")
		state, nonce = begin()
		other := b.Tenant(t, "other")
		other.With("X-Client-Id", other.ClientID).Post(t, root+"token", map[string]string{"state": state, "credential": up.idToken(t, b.Clock.Now(), nonce)}).WantError(t, 400, "social_expired")

		b.prove(t, b.person(t, "bob@example.com").ID)
		up.claims = map[string]any{"sub": "2", "email": "bob@example.com", "email_verified": true}
		state, nonce = begin()
		swap(state, up.idToken(t, b.Clock.Now(), nonce)).WantError(t, 409, "account_link_required")
		app.Post(t, "/api/v1/auth/social/"+b.Demo.ID+"/nonce", nil).WantError(t, 404, "connection_not_found")
	})
}

func TestSocialIsInTheConfiguration(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		config := func() any {
			t.Helper()
			return b.Demo.Get(t, "/api/v1/config?client_id="+b.Demo.ClientID).Want(t, 200).Object(t)["auth_config"].(map[string]any)["social"]
		}
		if got := config(); got != nil {
			t.Errorf("without connections it is %v, want null", got)
		}
		_, c := b.service(t, nil)
		b.Clock.Advance(time.Second)
		got, ok := config().([]any)
		if !ok || len(got) != 1 || got[0].(map[string]any)["connection_id"] != c.ID || got[0].(map[string]any)["provider"] != "openid" {
			t.Errorf("it is %v", got)
		}
	})
}

func TestConnectionsByTheAPI(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		made := b.Demo.Post(t, "/api/v1/connections", `{"provider":"google","client_id":"id","client_secret":"very secret"}`).Want(t, 201)
		if strings.Contains(string(made.Body), "very secret") {
			t.Error("the answer has the secret")
		}
		one := made.Object(t)
		id := one["id"].(string)
		if one["redirect_uri"] != "https://"+apptest.BaseHost+"/sso/"+id+"/callback" && !strings.HasSuffix(one["redirect_uri"].(string), "/sso/"+id+"/callback") {
			t.Errorf("the redirect URI is %v", one["redirect_uri"])
		}
		b.Demo.Get(t, "/api/v1/connections/"+id).Want(t, 200)
		b.Demo.Put(t, "/api/v1/connections/"+id, `{"is_active":false}`).Want(t, 200)
		b.Demo.Post(t, "/api/v1/connections", `{"provider":"openid","client_id":"id","client_secret":"s","settings":{"issuer":"https://169.254.169.254/"}}`).WantError(t, 400, "address_refused")
		b.Demo.Post(t, "/api/v1/connections", `{"provider":"myspace","client_id":"id","client_secret":"s"}`).WantError(t, 400, "invalid_connection")
		reader := b.Demo.As(t, access.ConnectionsRead)
		reader.Get(t, "/api/v1/connections").Want(t, 200)
		reader.Delete(t, "/api/v1/connections/"+id).WantError(t, 403, "access_denied")
		b.Demo.Delete(t, "/api/v1/connections/"+id).Want(t, 200)
		b.Demo.Get(t, "/api/v1/connections/"+id).WantError(t, 404, "connection_not_found")
	})
}
