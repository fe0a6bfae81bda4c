package signin_test

import (
	"bytes"
	"context"
	"image/png"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/signin"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

const mfaAPI = "/api/v1/auth/mfa/"

// with returns the caller with a bearer token.
func (c *caller) with(bearer string) *caller {
	other := *c
	other.Client.Key = bearer
	return &other
}

// needed begins a sign-in by a code from a mail and returns the MFA token it gives.
func (c *caller) needed(t *testing.T, email string) string {
	t.Helper()
	c.Clock.Advance(time.Minute)
	got := c.verify(t, c.send(t, email), c.Code(t, email)).Want(t, 200).Object(t)
	if got["authenticated"] != false || got["access_token"] != "" || got["refresh_token"] != "" || got["mfa_required"] != true {
		t.Fatalf("after one factor: %v", got)
	}
	if profile, _ := got["profile"].(map[string]any); profile["email"] != "" || profile["id"] != "" {
		t.Errorf("after one factor the profile is known: %v", profile)
	}
	return got["mfa_token"].(string)
}

func (c *caller) validate(t *testing.T, body map[string]string) apptest.Answer {
	t.Helper()
	return c.post(t, mfaAPI+"validate", body)
}

func TestAPISignInTakesTheSecondFactor(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c, u := b.caller(), b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		b.prove(t, u.ID)
		m := c.with(c.needed(t, ann))
		m.get(t, "/api/v1/session").Want(t, 401)
		list := m.get(t, mfaAPI+"authenticators").Want(t, 200)
		if !strings.Contains(string(list.Body), `"authenticator_type":"otp"`) || strings.Contains(string(list.Body), "oob\"") {
			t.Errorf("authenticators %s", list.Body)
		}
		m.post(t, mfaAPI+"enroll", map[string]string{"authenticator_type": "otp"}).Want(t, 403)
		m.get(t, mfaAPI+"backupcode").Want(t, 403)
		m.get(t, mfaAPI+"qr-code").Want(t, 404)
		m.validate(t, map[string]string{"otp": notOTP(b.World, app)}).Want(t, 400)
		got := m.validate(t, map[string]string{"otp": otp(b.World, app)}).Want(t, 200).Object(t)
		bearer, _ := got["access_token"].(string)
		if got["validated"] != true || bearer == "" {
			t.Fatalf("after two: %v", got)
		}
		in := b.newest(t, u)
		if in.ACR != signin.ACRTwoFactors {
			t.Errorf("session %s of %v", in.ACR, in.AMR)
		}
		c.whoami(t, bearer).Want(t, 200)
		m.validate(t, map[string]string{"otp": otp(b.World, app)}).Want(t, 401) // once
		codes := c.with(bearer).get(t, mfaAPI+"backupcode").Want(t, 200).Object(t)["backup_codes"].([]any)
		if len(codes) != 10 {
			t.Fatalf("%d backup codes", len(codes))
		}
		again := c.with(c.needed(t, ann))
		again.validate(t, map[string]string{"otp": codes[0].(string)}).Want(t, 200)
		c.with(c.needed(t, ann)).validate(t, map[string]string{"otp": codes[0].(string)}).Want(t, 400)
	})
}

func TestAPISignInByLinkTakesTheSecondFactor(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c, u := b.caller(), b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		b.prove(t, u.ID)
		state := c.send(t, ann)
		c.verifyLink(t, state, c.linkToken(t, ann)).Want(t, 200)
		got := c.status(t, state).Want(t, 200).Object(t)
		if got["authenticated"] != false || got["oauth"] != nil || got["mfa_required"] != true {
			t.Fatalf("after one factor: %v", got)
		}
		byState := c.post(t, mfaAPI+"token", map[string]string{"state": state}).Want(t, 200).Object(t)["access_token"].(string)
		c.with(byState).validate(t, map[string]string{"otp": otp(b.World, app)}).Want(t, 200)
		c.with(got["mfa_token"].(string)).validate(t, map[string]string{"otp": otp(b.World, app)}).Want(t, 401)
	})
}

func TestAPISecondFactorByMessage(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c, u := b.caller(), b.person(t, ann)
		policy(t, b.World, tenant.MFA{Mode: tenant.MFARequired, SMS: true})
		number, yes := apiPhone, true
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), u.ID, user.Change{Phone: &number, PhoneVerified: &yes})
			return err
		})
		m := c.with(c.needed(t, ann))
		m.post(t, mfaAPI+"initiate", map[string]string{"authenticator_type": "oob", "oob_channels": "email"}).Want(t, 403) // it was the first
		got := m.post(t, mfaAPI+"initiate", map[string]string{"authenticator_type": "otp", "oob_channels": "sms"}).Want(t, 200).Object(t)
		oob, _ := got["oob_code"].(string)
		c.with(oob).get(t, mfaAPI+"authenticators").Want(t, 401)
		answer := c.validate(t, map[string]string{"oob_code": oob, "otp": b.Code(t, number)}).Want(t, 200).Object(t)
		if answer["access_token"] == nil {
			t.Errorf("got %v", answer)
		}
	})
}

func TestAPIEnrollsOnTheWay(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c, u := b.caller(), b.person(t, ann)
		policy(t, b.World, tenant.MFA{Mode: tenant.MFARequired})
		m := c.with(c.needed(t, ann))
		thief := c.with(c.needed(t, ann)) // who reads the mail, too
		if got := string(m.get(t, mfaAPI+"authenticators").Want(t, 200).Body); strings.TrimSpace(got) != "[]" {
			t.Errorf("authenticators %s", got)
		}
		m.validate(t, map[string]string{"otp": "123456"}).Want(t, 404)
		got := m.post(t, mfaAPI+"enroll", map[string]string{"authenticator_type": "otp"}).Want(t, 200).Object(t)
		picture := m.get(t, mfaAPI+"qr-code").Want(t, 200)
		if _, err := png.Decode(bytes.NewReader(picture.Body)); err != nil || picture.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("the picture: %v, %v", err, picture.Header)
		}
		thief.get(t, mfaAPI+"qr-code").Want(t, 404)
		uri, err := url.Parse(got["barcode_uri"].(string))
		if err != nil || uri.Query().Get("secret") != got["secret"] {
			t.Fatalf("%v, %v", got, err)
		}
		key, err := base32Text.DecodeString(got["secret"].(string))
		if err != nil {
			t.Fatal(err)
		}
		thief.validate(t, map[string]string{"otp": mfa.Code(key, b.Clock.Now())}).Want(t, 404)
		done := m.validate(t, map[string]string{"otp": mfa.Code(key, b.Clock.Now())}).Want(t, 200).Object(t)
		if codes, _ := done["backup_codes"].([]any); len(codes) != 10 || done["access_token"] == nil {
			t.Errorf("got %v", done)
		}
		m.get(t, mfaAPI+"qr-code").Want(t, 401)
		thief.post(t, mfaAPI+"enroll", map[string]string{"authenticator_type": "otp"}).Want(t, 403) // there is one now
		has, err := b.MFA.Enrolled(t.Context(), b.DB, b.Demo.ID, u.ID)
		if err != nil || has.Authenticators != 1 {
			t.Errorf("%+v, %v", has, err)
		}
	})
}

// confidential makes an application with a secret.
func (c *caller) confidential(t *testing.T) (other *caller, key string) {
	t.Helper()
	other = new(caller)
	*other = *c
	c.Write(t, func(ctx context.Context, tx *database.Tx) error {
		app, made, err := c.Tenants.CreateApplication(ctx, tx, access.System(c.Demo.ID), tenant.Application{Name: "Back end", RedirectURIs: []string{"https://back.example.com/"}})
		other.clientID, key = app.ClientID, made
		return err
	})
	return other, key
}

func (c *caller) secretly(key string) *caller {
	other := *c
	other.Client.Header = http.Header{"X-Client-Secret": {key}}
	return &other
}

func TestApplicationChecksASecondFactor(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		c, key := b.caller().confidential(t)
		body := map[string]string{"identifier": ann}
		c.post(t, mfaAPI+"token", body).Want(t, 400)
		c.secretly("cs_wrong").post(t, mfaAPI+"token", body).Want(t, 400)
		c.secretly(key).post(t, mfaAPI+"token", map[string]string{"identifier": "nobody@example.com"}).Want(t, 404)
		got := c.secretly(key).post(t, mfaAPI+"token", body).Want(t, 200).Object(t)
		m := c.with(got["access_token"].(string))
		m.get(t, mfaAPI+"backupcode").Want(t, 403)
		m.post(t, mfaAPI+"enroll", map[string]string{}).Want(t, 403)
		begun := m.post(t, mfaAPI+"initiate", map[string]string{"authenticator_type": "otp"}).Want(t, 200).Object(t)
		answer := c.validate(t, map[string]string{"oob_code": begun["oob_code"].(string), "otp": otp(b.World, app)}).Want(t, 200).Object(t)
		if answer["validated"] != true || answer["access_token"] != nil {
			t.Errorf("got %v", answer)
		}
		m.validate(t, map[string]string{"otp": otp(b.World, app)}).Want(t, 401)
		if list, err := b.Sessions.List(t.Context(), b.DB, b.Demo.ID, u.ID); err != nil || len(list) != 0 {
			t.Errorf("an application signs people in on its own word: %v, %v", list, err)
		}
		if codes := m.get(t, mfaAPI+"backupcode").Want(t, 200).Object(t)["backup_codes"].([]any); len(codes) != 10 {
			t.Errorf("codes %v", codes)
		}
		b.Clock.Advance(11 * time.Minute)
		m.get(t, mfaAPI+"backupcode").Want(t, 403)
	})
}

// C6 112a, and C0 32: no verifier is without the limit, and the lock costs the first
// factor.
func TestAPIGuessingEndsWhatWasProved(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c, u := b.caller(), b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		b.prove(t, u.ID)
		m, other := c.with(c.needed(t, ann)), c.with(c.needed(t, ann))
		for range ratelimit.SecondFactor.Count {
			m.validate(t, map[string]string{"otp": notOTP(b.World, app)}).Want(t, 400)
		}
		other.validate(t, map[string]string{"otp": notOTP(b.World, app)}).Want(t, 429)
		b.Clock.Advance(time.Hour / 2)
		m.validate(t, map[string]string{"otp": otp(b.World, app)}).Want(t, 401)
		other.validate(t, map[string]string{"otp": otp(b.World, app)}).Want(t, 401)
		c.with(c.needed(t, ann)).validate(t, map[string]string{"otp": otp(b.World, app)}).Want(t, 200)
	})
}

func TestMFATokensThatAreNone(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c, u := b.caller(), b.person(t, ann)
		authenticator(t, b.World, u.ID)
		b.prove(t, u.ID)
		good := c.needed(t, ann)
		state := c.send(t, "bob@example.com")
		c.post(t, mfaAPI+"token", map[string]string{"state": state}).Want(t, 401) // nothing was proved
		second := c.second(t, tenant.OAuth{})
		for name, m := range map[string]*caller{
			"none":                       c,
			"of another application":     second.with(good),
			"altered":                    c.with(good[:len(good)-1] + map[bool]string{true: "B", false: "A"}[strings.HasSuffix(good, "A")]),
			"cut":                        c.with(good[:len(good)-6]),
			"with the other's beginning": c.with("oob_" + strings.TrimPrefix(good, "mfa_")),
			"nonsense":                   c.with("mfa_"),
			"a key":                      c.with(b.Demo.Client.Key),
		} {
			t.Run(name, func(t *testing.T) {
				m.get(t, mfaAPI+"authenticators").Want(t, 401)
				m.get(t, mfaAPI+"backupcode").Want(t, 401)
				m.get(t, mfaAPI+"qr-code").Want(t, 401)
				m.post(t, mfaAPI+"enroll", map[string]string{}).Want(t, 401)
				m.post(t, mfaAPI+"initiate", map[string]string{}).Want(t, 401)
				m.validate(t, map[string]string{"otp": "123456"}).Want(t, 401)
			})
		}
		b.Clock.Advance(time.Hour)
		c.with(good).get(t, mfaAPI+"authenticators").Want(t, 401)
	})
}

// A user's own access token sets up factors, if the user has shown lately those there are.
func TestFactorsByAccessToken(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.caller()
		b.person(t, ann)
		l := c.login(t, ann)
		m := c.with(l.Access)
		m.get(t, mfaAPI+"backupcode").Want(t, 404)
		m.post(t, mfaAPI+"initiate", map[string]string{}).Want(t, 401)
		got := m.post(t, mfaAPI+"enroll", map[string]string{"name": "Tablet"}).Want(t, 200).Object(t)
		id, _ := got["id"].(string)
		m.get(t, mfaAPI+"qr-code").Want(t, 404)
		m.get(t, mfaAPI+"qr-code", "authenticator", id).Want(t, 200)
		key, err := base32Text.DecodeString(got["secret"].(string))
		if err != nil {
			t.Fatal(err)
		}
		done := m.validate(t, map[string]string{"authenticator_id": id, "otp": mfa.Code(key, b.Clock.Now())}).Want(t, 200).Object(t)
		if codes, _ := done["backup_codes"].([]any); len(codes) != 10 || done["access_token"] != nil {
			t.Errorf("got %v", done)
		}
		m.post(t, mfaAPI+"enroll", map[string]string{}).Want(t, 403) // of one factor, where there are two now
		m.get(t, mfaAPI+"backupcode").Want(t, 403)
		if letters := b.Letters(t, ann); !strings.Contains(letters[0].Subject, "second sign-in step") {
			t.Errorf("told %q", letters[0].Subject)
		}
	})
}

func TestAdministratorResetsFactors(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		app := authenticator(t, b.World, u.ID)
		b.Submit(t, b.byPassword(t, ann), "/signin/second", "code", otp(b.World, app), "remember", "1")
		path := "/api/v1/users/" + u.ID + "/mfa/reset"
		key := b.Demo.As(t, access.UsersWrite)
		link, _ := key.Post(t, path, map[string]bool{"link": true}).Want(t, 200).Object(t)["link"].(string)
		if !strings.HasPrefix(link, "https://") || !strings.Contains(link, "/signin/recover?token=") {
			t.Errorf("link %q", link)
		}
		b.Get(t, link).Want(t, 200)
		b.wantIn(t, true) // nothing has changed
		got := key.Post(t, path, map[string]bool{}).Want(t, 200).Object(t)
		if got["removed"] != true || got["ended"] != float64(1) {
			t.Errorf("got %v", got)
		}
		b.Clock.Advance(2 * time.Second)
		b.wantIn(t, false)
		b.Get(t, link).Want(t, 400)
		if letters := b.Letters(t, ann); !strings.Contains(letters[0].Subject, "second sign-in step") {
			t.Errorf("told %q", letters[0].Subject)
		}
		b.byPassword(t, ann)
		b.wantIn(t, true)
		key.Post(t, "/api/v1/users/000000000000000000000000/mfa/reset", map[string]bool{}).Want(t, 404)
	})
}

func TestAdministratorsFactorsAreResetByTheirEqualsOnly(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		b.Write(t, func(ctx context.Context, tx *database.Tx) error {
			_, err := b.Users.Update(ctx, tx, access.System(b.Demo.ID), u.ID, user.Change{RoleIDs: &[]string{b.Demo.Roles["admin"].ID}})
			return err
		})
		authenticator(t, b.World, u.ID)
		for _, body := range []map[string]bool{{}, {"link": true}} {
			b.Demo.As(t, access.UsersWrite, access.RolesWrite).Post(t, "/api/v1/users/"+u.ID+"/mfa/reset", body).Want(t, 403)
		}
		b.Demo.Post(t, "/api/v1/users/"+u.ID+"/mfa/reset", map[string]bool{}).Want(t, 200)
	})
}

// The contract's own sample sends a body with a GET.
func TestAuthenticatorsTakesABodyAndIgnoresIt(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c, u := b.caller(), b.person(t, ann)
		authenticator(t, b.World, u.ID)
		b.prove(t, u.ID)
		m := c.with(c.needed(t, ann))
		m.Client.Do(t, "GET", mfaAPI+"authenticators?client_id="+c.clientID, map[string]string{"oob_code": "x", "otp": "303801"}).Want(t, 200)
	})
}

// Wrong keys are counted by address: MFA tokens are none.
func TestMFATokenIsNoWrongKey(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c, u := b.caller(), b.person(t, ann)
		authenticator(t, b.World, u.ID)
		b.prove(t, u.ID)
		m := c.with(c.needed(t, ann))
		for range ratelimit.APIKey.Count + 1 {
			m.get(t, mfaAPI+"authenticators").Want(t, http.StatusOK)
		}
		c.with("sk_wrong").get(t, "/api/v1/users").Want(t, http.StatusUnauthorized)
	})
}
