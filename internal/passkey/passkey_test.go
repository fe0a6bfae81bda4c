package passkey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"
	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/passkey"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
)

const (
	tenant = "000000000000000000000001"
	other  = "000000000000000000000002"
	rpID   = "login.example.com"
	origin = "https://login.example.com"
)

var rp = passkey.RP{ID: rpID, Name: "Acme", Origins: []string{origin, "https://app.example.com:8443"}}

// bench is the service with two users and a clock that is moved by hand.
type bench struct {
	*passkey.Service
	now     atomic.Int64
	by      access.Actor
	ann, bo string // user ids
}

func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		t.Helper()
		boxes := map[string]*secret.Box{tenant: newBox(t), other: newBox(t)}
		b := &bench{by: access.Visitor(tenant, "192.0.2.1")}
		b.Service = &passkey.Service{DB: db, Box: func(_ context.Context, tenant string) (*secret.Box, error) { return boxes[tenant], nil }}
		b.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
		db.Now = func() time.Time { return time.UnixMilli(b.now.Load()) }
		b.ann, b.bo = b.person(t, tenant, "ann"), b.person(t, tenant, "bo")
		test(t, b)
	})
}

func newBox(t *testing.T) *secret.Box {
	t.Helper()
	box, err := secret.NewBox(secret.NewBoxKey())
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func (b *bench) person(t *testing.T, tenant, name string) (id string) {
	t.Helper()
	users := &user.Service{DB: b.DB, Connection: func(string) string { return secret.ZeroID }}
	b.write(t, func(tx *database.Tx) error {
		u, err := users.Create(t.Context(), tx, access.System(tenant), user.User{Username: name, IsActive: true})
		id = u.ID
		return err
	})
	return id
}

func (b *bench) pass(d time.Duration) { b.now.Add(d.Milliseconds()) }

func (b *bench) write(t *testing.T, f func(tx *database.Tx) error) {
	t.Helper()
	if err := b.DB.Write(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func registration(user string) passkey.Registration {
	return passkey.Registration{Owner: "session", UserID: user, Login: user, DisplayName: user, RP: rp, Verify: true}
}

func (b *bench) beginRegistration(t *testing.T, r passkey.Registration) (o passkey.CreationOptions) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		o, err = b.BeginRegistration(t.Context(), tx, b.by, r)
		return err
	})
	return o
}

func (b *bench) finishRegistration(ctx context.Context, by access.Actor, a passkey.Answer) (p passkey.Passkey, err error) {
	good, err := b.CheckRegistration(ctx, by, a)
	if err != nil {
		return p, err
	}
	err = b.DB.Write(ctx, func(tx *database.Tx) error {
		p, err = b.FinishRegistration(ctx, tx, by, good)
		return err
	})
	return p, err
}

// register registers key for a user and returns the passkey.
func (b *bench) register(t *testing.T, r passkey.Registration, key virtualwebauthn.Credential, with func(c *ceremony)) passkey.Passkey {
	t.Helper()
	c := newCeremony("webauthn.create", b.beginRegistration(t, r).Challenge, key)
	c.rpID, c.client["origin"] = r.RP.ID, r.RP.Origins[0]
	if with != nil {
		with(c)
	}
	p, err := b.finishRegistration(t.Context(), b.by, passkey.Answer{Owner: r.Owner, RP: r.RP, Credential: c.created(t)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(user string) passkey.Request {
	return passkey.Request{Owner: "attempt", Purpose: passkey.SignIn, UserID: user, RP: rp}
}

func (b *bench) beginSignIn(t *testing.T, r passkey.Request) (o passkey.RequestOptions) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		o, err = b.BeginSignIn(t.Context(), tx, b.by, r)
		return err
	})
	return o
}

func (b *bench) finishSignIn(ctx context.Context, by access.Actor, a passkey.Answer) (p passkey.Passkey, err error) {
	good, err := b.CheckSignIn(ctx, by, a)
	if err != nil {
		return p, err
	}
	err = b.DB.Write(ctx, func(tx *database.Tx) error {
		p, err = b.FinishSignIn(ctx, tx, by, good)
		return err
	})
	return p, err
}

// assertion is what an honest browser answers for the owner of a key.
func (b *bench) assertion(t *testing.T, r passkey.Request, key virtualwebauthn.Credential, owner string) *ceremony {
	t.Helper()
	c := newCeremony("webauthn.get", b.beginSignIn(t, r).Challenge, key)
	c.handle = []byte(owner)
	return c
}

func answer(purpose string, credential []byte) passkey.Answer {
	return passkey.Answer{Owner: "attempt", Purpose: purpose, RP: rp, Credential: credential}
}

func (b *bench) count(t *testing.T, statement string, args ...any) (n int) {
	t.Helper()
	if err := b.DB.QueryRow(t.Context(), statement, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRegistrationKeepsWhatTheAuthenticatorTold(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		p := b.register(t, registration(b.ann), key, func(c *ceremony) {
			c.flags |= backupEligible | backedUp
			c.count = 7
			c.transports = []string{"internal", "hybrid", "hybrid", "<script>"}
			c.extensions = map[string]any{"credProps": map[string]any{"rk": true}}
		})
		want := passkey.Passkey{
			ID: p.ID, UserID: b.ann, CredentialID: key.ID, PublicKey: key.Key.AttestationData(), RPID: rpID, AAGUID: make([]byte, 16), Attestation: "none",
			Transports: []string{"internal", "hybrid"}, SignCount: 7, BackupEligible: true, BackupState: true, Verified: true, CreatedAt: p.CreatedAt,
		}
		if diff := cmp.Diff(want, p); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if list, err := b.List(t.Context(), b.DB, tenant, b.ann); err != nil || len(list) != 1 || !cmp.Equal(list[0], p) {
			t.Errorf("list: %+v, %v", list, err)
		}
		if n := b.count(t, "SELECT count(*) FROM audit_unsealed WHERE tenant_id = $1 AND action = 'passkey.added' AND result = 'success'", tenant); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

// What another's software makes, with a packed attestation signed by the key itself.
func TestAnotherAuthenticatorRegistersAndSignsIn(t *testing.T) {
	for name, kind := range map[string]virtualwebauthn.KeyType{"ES256": virtualwebauthn.KeyTypeEC2, "RS256": virtualwebauthn.KeyTypeRSA} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				site := virtualwebauthn.RelyingParty{ID: rpID, Name: "Acme", Origin: origin}
				key := newKey()
				if kind != virtualwebauthn.KeyTypeEC2 {
					key = virtualwebauthn.NewCredential(kind)
				}
				asked, err := json.Marshal(b.beginRegistration(t, registration(b.ann)))
				if err != nil {
					t.Fatal(err)
				}
				create, err := virtualwebauthn.ParseAttestationOptions(string(asked))
				if err != nil {
					t.Fatal(err)
				}
				if create.UserID != b.ann || create.RelyingPartyID != rpID {
					t.Errorf("it reads %+v", create)
				}
				device := virtualwebauthn.NewAuthenticatorWithOptions(virtualwebauthn.AuthenticatorOptions{UserHandle: []byte(create.UserID)})
				made := virtualwebauthn.CreateAttestationResponse(site, device, key, *create)
				p, err := b.finishRegistration(t.Context(), b.by, passkey.Answer{Owner: "session", RP: rp, Credential: []byte(made)})
				if err != nil || p.Attestation != "packed" || !bytes.Equal(p.AAGUID, device.Aaguid[:]) {
					t.Fatalf("%+v, %v", p, err)
				}
				asked, err = json.Marshal(b.beginSignIn(t, request(passkey.Anyone)))
				if err != nil {
					t.Fatal(err)
				}
				get, err := virtualwebauthn.ParseAssertionOptions(string(asked))
				if err != nil {
					t.Fatal(err)
				}
				got := virtualwebauthn.CreateAssertionResponse(site, device, key, *get)
				if p, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, []byte(got))); err != nil || p.UserID != b.ann {
					t.Errorf("%+v, %v", p, err)
				}
			})
		})
	}
}

func TestSignInProvesTheUser(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		made := b.register(t, registration(b.ann), key, func(c *ceremony) { c.flags |= backupEligible })
		for name, r := range map[string]passkey.Request{"found by the browser": request(passkey.Anyone), "named": request(b.ann)} {
			b.pass(time.Second)
			c := b.assertion(t, r, key, b.ann)
			c.flags |= backupEligible | backedUp
			p, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, c.got(t)))
			if err != nil || p.UserID != b.ann || p.ID != made.ID || !p.BackupState || !p.UsedAt.Equal(b.DB.Now()) {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
		}
		c := b.assertion(t, request(b.ann), key, b.ann) // a handle need not come for somebody who was named
		c.flags |= backupEligible
		c.handle = nil
		if _, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, c.got(t))); err != nil {
			t.Errorf("without a handle: %v", err)
		}
		if n := b.count(t, "SELECT count(*) FROM audit_unsealed WHERE tenant_id = $1 AND action = 'passkey.used' AND result = 'success'", tenant); n != 3 {
			t.Errorf("%d events", n)
		}
	})
}

func TestOtherOriginsOfTheTenantAreTaken(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		b.register(t, registration(b.ann), key, func(c *ceremony) { c.client["origin"] = rp.Origins[1] })
		c := b.assertion(t, request(b.ann), key, b.ann)
		c.client["origin"] = rp.Origins[1]
		if _, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, c.got(t))); err != nil {
			t.Error(err)
		}
	})
}

// faults are wrong for both ceremonies (C6 104).
var faults = map[string]func(c *ceremony){
	"http":                      func(c *ceremony) { c.client["origin"] = "http://login.example.com" },
	"another host":              func(c *ceremony) { c.client["origin"] = "https://login.example.org" },
	"another port":              func(c *ceremony) { c.client["origin"] = "https://login.example.com:444" },
	"the default port":          func(c *ceremony) { c.client["origin"] = "https://login.example.com:443" },
	"another port of a host":    func(c *ceremony) { c.client["origin"] = "https://app.example.com" },
	"a subdomain":               func(c *ceremony) { c.client["origin"] = "https://evil.login.example.com" },
	"the domain above":          func(c *ceremony) { c.client["origin"] = "https://example.com" },
	"an origin in capitals":     func(c *ceremony) { c.client["origin"] = "https://LOGIN.example.com" },
	"an origin with a path":     func(c *ceremony) { c.client["origin"] = origin + "/" },
	"an origin with a user":     func(c *ceremony) { c.client["origin"] = "https://evil@login.example.com" },
	"a host alone":              func(c *ceremony) { c.client["origin"] = rpID },
	"the origin null":           func(c *ceremony) { c.client["origin"] = "null" },
	"no origin":                 func(c *ceremony) { delete(c.client, "origin") },
	"an app":                    func(c *ceremony) { c.client["origin"] = "android:apk-key-hash:c2lnbmF0dXJl" },
	"another RP ID":             func(c *ceremony) { c.rpID = "example.com" },
	"the RP ID of an origin":    func(c *ceremony) { c.rpID = "app.example.com" },
	"a frame":                   func(c *ceremony) { c.client["crossOrigin"] = true },
	"a frame in a foreign page": func(c *ceremony) { c.client["crossOrigin"], c.client["topOrigin"] = true, "https://evil.example" },
	"a top origin alone":        func(c *ceremony) { c.client["topOrigin"] = origin },
	"nobody present":            func(c *ceremony) { c.flags &^= present },
	"backed up, not eligible":   func(c *ceremony) { c.flags |= backedUp },
	"an extension":              func(c *ceremony) { c.extensions = map[string]any{"appid": true} },
	"unknown extension":         func(c *ceremony) { c.extensions = map[string]any{"example.com_x": 1} },
	"an id that is another":     func(c *ceremony) { c.rawID = append([]byte{0}, c.credential...) },
}

func TestRegistrationRefuses(t *testing.T) {
	cases := map[string]func(c *ceremony){
		"an answer to signing in": func(c *ceremony) { c.client["type"] = "webauthn.get" },
		"no type":                 func(c *ceremony) { delete(c.client, "type") },
		"alg not offered": func(c *ceremony) {
			c.publicKey = bytes.Replace(c.publicKey, []byte{0x03, 0x26}, []byte{0x03, 0x38, 0x2e}, 1)
		}, // ES256K
		"a point off the curve":    func(c *ceremony) { c.publicKey = append(bytes.Clone(c.publicKey[:76]), c.publicKey[76]^1) },
		"an id of 1,024 bytes":     func(c *ceremony) { c.credential = make([]byte, 1024) },
		"an id of no bytes":        func(c *ceremony) { c.credential = []byte{} },
		"an authenticator's extra": func(c *ceremony) { c.flags |= extended },
	}
	for name, spoil := range faults {
		cases[name] = spoil
	}
	run(t, func(t *testing.T, b *bench) {
		for name, spoil := range cases {
			t.Run(name, func(t *testing.T) {
				c := newCeremony("webauthn.create", b.beginRegistration(t, registration(b.ann)).Challenge, newKey())
				spoil(c)
				_, err := b.finishRegistration(t.Context(), b.by, passkey.Answer{Owner: "session", RP: rp, Credential: c.created(t)})
				if !errors.Is(err, passkey.ErrRefused) {
					t.Errorf("%v", err)
				}
			})
		}
		t.Run("no user verification", func(t *testing.T) {
			c := newCeremony("webauthn.create", b.beginRegistration(t, registration(b.ann)).Challenge, newKey())
			c.flags &^= verified
			_, err := b.finishRegistration(t.Context(), b.by, passkey.Answer{Owner: "session", RP: rp, Credential: c.created(t)})
			if !errors.Is(err, passkey.ErrUnverified) {
				t.Errorf("%v", err)
			}
		})
		if n, err := b.Count(t.Context(), b.DB, tenant, b.ann, rpID); err != nil || n != 0 {
			t.Errorf("%d passkeys, %v", n, err)
		}
	})
}

// The options asked for less than what is accepted: what the challenge was made for
// counts (the library would have taken it).
func TestVerificationIsOursToDemand(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		r := registration(b.ann)
		r.Selection = passkey.Selection{Attachment: "platform", RequireResidentKey: true, ResidentKey: "required", UserVerification: "preferred"}
		o := b.beginRegistration(t, r)
		if o.Selection != r.Selection {
			t.Errorf("asked %+v", o.Selection)
		}
		c := newCeremony("webauthn.create", o.Challenge, newKey())
		c.flags &^= verified
		if _, err := b.finishRegistration(t.Context(), b.by, passkey.Answer{Owner: "session", RP: rp, Credential: c.created(t)}); !errors.Is(err, passkey.ErrUnverified) {
			t.Errorf("registration: %v", err)
		}
		key := newKey()
		b.register(t, r, key, nil)
		asked := request(b.ann)
		asked.Preferred = true
		options := b.beginSignIn(t, asked)
		if options.UserVerification != "preferred" {
			t.Errorf("asked %+v", options)
		}
		c = newCeremony("webauthn.get", options.Challenge, key)
		c.flags &^= verified
		if _, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, c.got(t))); !errors.Is(err, passkey.ErrUnverified) {
			t.Errorf("signing in: %v", err)
		}
	})
}

func TestRegistrationRefusesAChallenge(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for name, try := range map[string]func(t *testing.T, a passkey.Answer) error{
			"of another session": func(t *testing.T, a passkey.Answer) error {
				a.Owner = "another"
				_, err := b.finishRegistration(t.Context(), b.by, a)
				return err
			},
			"of another RP ID": func(t *testing.T, a passkey.Answer) error {
				a.RP.ID = "example.com"
				_, err := b.finishRegistration(t.Context(), b.by, a)
				return err
			},
			"of another tenant": func(t *testing.T, a passkey.Answer) error {
				_, err := b.finishRegistration(t.Context(), access.Visitor(other, ""), a)
				return err
			},
			"that has expired": func(t *testing.T, a passkey.Answer) error {
				b.pass(passkey.ChallengeLifetime)
				_, err := b.finishRegistration(t.Context(), b.by, a)
				return err
			},
			"that was used": func(t *testing.T, a passkey.Answer) error {
				if _, err := b.finishRegistration(t.Context(), b.by, a); err != nil {
					t.Fatal(err)
				}
				_, err := b.finishRegistration(t.Context(), b.by, a)
				return err
			},
			"checked in time, used too late": func(t *testing.T, a passkey.Answer) error {
				good, err := b.CheckRegistration(t.Context(), b.by, a)
				if err != nil {
					t.Fatal(err)
				}
				b.pass(passkey.ChallengeLifetime)
				return b.DB.Write(t.Context(), func(tx *database.Tx) error {
					_, err := b.FinishRegistration(t.Context(), tx, b.by, good)
					return err
				})
			},
			"in another tenant's transaction": func(t *testing.T, a passkey.Answer) error {
				good, err := b.CheckRegistration(t.Context(), b.by, a)
				if err != nil {
					t.Fatal(err)
				}
				return b.DB.Write(t.Context(), func(tx *database.Tx) error {
					_, err := b.FinishRegistration(t.Context(), tx, access.Visitor(other, ""), good)
					return err
				})
			},
		} {
			t.Run(name, func(t *testing.T) {
				c := newCeremony("webauthn.create", b.beginRegistration(t, registration(b.ann)).Challenge, newKey())
				if err := try(t, passkey.Answer{Owner: "session", RP: rp, Credential: c.created(t)}); !errors.Is(err, passkey.ErrChallenge) {
					t.Errorf("%v", err)
				}
			})
		}
		t.Run("for signing in", func(t *testing.T) {
			c := newCeremony("webauthn.create", b.beginSignIn(t, request(b.ann)).Challenge, newKey())
			if _, err := b.finishRegistration(t.Context(), b.by, passkey.Answer{Owner: "attempt", RP: rp, Credential: c.created(t)}); !errors.Is(err, passkey.ErrChallenge) {
				t.Errorf("%v", err)
			}
		})
		t.Run("nobody gave out", func(t *testing.T) {
			c := newCeremony("webauthn.create", b64(make([]byte, 32)), newKey())
			if _, err := b.finishRegistration(t.Context(), b.by, passkey.Answer{Owner: "session", RP: rp, Credential: c.created(t)}); !errors.Is(err, passkey.ErrChallenge) {
				t.Errorf("%v", err)
			}
		})
	})
}

func TestACredentialIsRegisteredOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		b.register(t, registration(b.ann), key, nil)
		for _, who := range []string{b.bo, b.ann} {
			c := newCeremony("webauthn.create", b.beginRegistration(t, registration(who)).Challenge, key)
			if _, err := b.finishRegistration(t.Context(), b.by, passkey.Answer{Owner: "session", RP: rp, Credential: c.created(t)}); !errors.Is(err, passkey.ErrExists) {
				t.Errorf("%v", err)
			}
		}
		options := b.beginRegistration(t, registration(b.ann))
		if len(options.Exclude) != 1 || options.Exclude[0].ID != b64(key.ID) || options.Exclude[0].Transports == nil {
			t.Errorf("excluded: %+v", options.Exclude)
		}
	})
}

func TestAUserHasTwentyFivePasskeys(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		late := b.beginRegistration(t, registration(b.ann))
		for range passkey.MaxPerUser {
			b.register(t, registration(b.ann), newKey(), nil)
		}
		c := newCeremony("webauthn.create", late.Challenge, newKey())
		if _, err := b.finishRegistration(t.Context(), b.by, passkey.Answer{Owner: "session", RP: rp, Credential: c.created(t)}); !errors.Is(err, passkey.ErrTooMany) {
			t.Errorf("begun before: %v", err)
		}
		err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
			_, err := b.BeginRegistration(t.Context(), tx, b.by, registration(b.ann))
			return err
		})
		if !errors.Is(err, passkey.ErrTooMany) {
			t.Errorf("%v", err)
		}
	})
}

func TestSignInRefuses(t *testing.T) {
	cases := map[string]func(c *ceremony){
		"an answer to registering":  func(c *ceremony) { c.client["type"] = "webauthn.create" },
		"the signature of no one":   func(c *ceremony) { c.signature = func(s []byte) []byte { s[len(s)-1] ^= 1; return s } },
		"no signature":              func(c *ceremony) { c.signature = func([]byte) []byte { return []byte{} } },
		"another key":               func(c *ceremony) { c.key = newKey() },
		"an unknown passkey":        func(c *ceremony) { c.credential = []byte("unknown") },
		"eligible since now":        func(c *ceremony) { c.flags |= backupEligible },
		"no handle":                 func(c *ceremony) { c.handle = nil },
		"an empty handle":           func(c *ceremony) { c.handle = []byte{} },
		"the handle of nobody":      func(c *ceremony) { c.handle = []byte(secret.ZeroID) },
		"data after the data":       func(c *ceremony) { c.flags |= extended },
		"a count that went back":    func(c *ceremony) { c.count = 6 },
		"a count that stood still":  func(c *ceremony) { c.count = 7 },
		"a count that is not there": func(c *ceremony) { c.count = 0 },
	}
	for name, spoil := range faults {
		cases[name] = spoil
	}
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		b.register(t, registration(b.ann), key, func(c *ceremony) { c.count = 7 })
		honest := func(t *testing.T, r passkey.Request) *ceremony {
			c := b.assertion(t, r, key, b.ann)
			c.count = 8
			return c
		}
		for name, spoil := range cases {
			t.Run(name, func(t *testing.T) {
				c := honest(t, request(passkey.Anyone))
				spoil(c)
				if _, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, c.got(t))); !errors.Is(err, passkey.ErrRefused) {
					t.Errorf("%v", err)
				}
			})
		}
		t.Run("no user verification", func(t *testing.T) {
			for _, purpose := range []string{passkey.SignIn, passkey.StepUp} {
				r := request(b.ann)
				r.Purpose = purpose
				c := honest(t, r)
				c.flags &^= verified
				if _, err := b.finishSignIn(t.Context(), b.by, answer(purpose, c.got(t))); !errors.Is(err, passkey.ErrUnverified) {
					t.Errorf("%s: %v", purpose, err)
				}
			}
		})
		t.Run("what is no credential", func(t *testing.T) {
			for _, text := range []string{"", "null", "{}", "[]", `{"id":"","rawId":""}`, `{"id":"AA","rawId":"AA","type":"public-key","response":{}}`, strings.Repeat("[", 1000)} {
				if _, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, []byte(text))); !errors.Is(err, passkey.ErrRefused) {
					t.Errorf("%.20q: %v", text, err)
				}
			}
		})
		if _, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, honest(t, request(passkey.Anyone)).got(t))); err != nil {
			t.Errorf("the honest one: %v", err)
		}
	})
}

// C6 105: the other way round it would be as bad.
func TestEligibilityForBackupDoesNotGoAway(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		b.register(t, registration(b.ann), key, func(c *ceremony) { c.flags |= backupEligible })
		c := b.assertion(t, request(b.ann), key, b.ann)
		if _, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, c.got(t))); !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("%v", err)
		}
	})
}

// C6 106 and C0 58.
func TestAPasskeyIsOfItsUserOnly(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ann, bo := newKey(), newKey()
		b.register(t, registration(b.ann), ann, nil)
		without := b.person(t, tenant, "without")
		for name, c := range map[string]*ceremony{
			"for another who was named":                  b.assertion(t, request(b.bo), ann, b.ann),
			"for another, with their handle":             b.assertion(t, request(b.bo), ann, b.bo),
			"for another, without a handle":              func() *ceremony { c := b.assertion(t, request(b.bo), ann, ""); c.handle = nil; return c }(),
			"for somebody who has none":                  b.assertion(t, request(without), ann, without),
			"for nobody":                                 b.assertion(t, request(passkey.Nobody), ann, b.ann),
			"for nobody, with the handle nobody":         b.assertion(t, request(passkey.Nobody), ann, passkey.Nobody),
			"named by another's handle":                  b.assertion(t, request(passkey.Anyone), ann, b.bo),
			"that was not registered, with ann's handle": b.assertion(t, request(passkey.Anyone), bo, b.ann),
		} {
			if _, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, c.got(t))); !errors.Is(err, passkey.ErrRefused) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// C6 106: the second factor of somebody who has none.
func TestASecondFactorIsOfWhoPassedTheFirst(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		r := registration(b.ann)
		r.Verify = false
		b.register(t, r, key, func(c *ceremony) { c.flags &^= verified })
		for who, want := range map[string]error{b.ann: nil, b.bo: passkey.ErrRefused, passkey.Nobody: passkey.ErrRefused} {
			asked := request(who)
			asked.Purpose = passkey.SecondFactor
			c := b.assertion(t, asked, key, b.ann)
			c.handle, c.flags = nil, present
			if _, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SecondFactor, c.got(t))); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
			asked := request(passkey.Anyone)
			asked.Purpose = passkey.SecondFactor
			_, err := b.BeginSignIn(t.Context(), tx, b.by, asked)
			return err
		})
		if err == nil {
			t.Error("a second factor of anyone")
		}
	})
}

// Section 7.2, step 25: it would make one factor of two.
func TestAPasskeyMadeWithoutItsUserNeverSignsInAlone(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		r := registration(b.ann)
		r.Verify = false
		b.register(t, r, key, func(c *ceremony) { c.flags &^= verified })
		c := b.assertion(t, request(b.ann), key, b.ann) // verified now
		if _, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, c.got(t))); !errors.Is(err, passkey.ErrUnverified) {
			t.Errorf("%v", err)
		}
	})
}

func TestSignInRefusesAChallenge(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		b.register(t, registration(b.ann), key, nil)
		for name, change := range map[string]func(a *passkey.Answer, by *access.Actor){
			"of another attempt":   func(a *passkey.Answer, _ *access.Actor) { a.Owner = "another" },
			"for a second factor":  func(a *passkey.Answer, _ *access.Actor) { a.Purpose = passkey.SecondFactor },
			"for a step up":        func(a *passkey.Answer, _ *access.Actor) { a.Purpose = passkey.StepUp },
			"for registering":      func(a *passkey.Answer, _ *access.Actor) { a.Purpose = passkey.Register },
			"of another RP ID":     func(a *passkey.Answer, _ *access.Actor) { a.RP.ID = "example.com" },
			"of another tenant":    func(_ *passkey.Answer, by *access.Actor) { by.Tenant = other },
			"that has expired now": func(*passkey.Answer, *access.Actor) { b.pass(passkey.ChallengeLifetime) },
		} {
			a, by := answer(passkey.SignIn, b.assertion(t, request(b.ann), key, b.ann).got(t)), b.by
			change(&a, &by)
			if _, err := b.finishSignIn(t.Context(), by, a); !errors.Is(err, passkey.ErrChallenge) {
				t.Errorf("%s: %v", name, err)
			}
		}
		used := answer(passkey.SignIn, b.assertion(t, request(b.ann), key, b.ann).got(t))
		for _, want := range []error{nil, passkey.ErrChallenge} {
			if _, err := b.finishSignIn(t.Context(), b.by, used); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
	})
}

func TestAWrongAnswerUsesTheChallengeUp(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		b.register(t, registration(b.ann), key, nil)
		c := b.assertion(t, request(b.ann), key, b.ann)
		c.client["origin"] = "https://evil.example"
		if _, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, c.got(t))); !errors.Is(err, passkey.ErrRefused) {
			t.Fatal(err)
		}
		c.client["origin"] = origin
		if _, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, c.got(t))); !errors.Is(err, passkey.ErrChallenge) {
			t.Errorf("%v", err)
		}
		if n := b.count(t, "SELECT count(*) FROM audit_unsealed WHERE tenant_id = $1 AND action = 'passkey.used' AND result = 'failure' AND target_id = $2", tenant, b.ann); n != 1 {
			t.Errorf("%d events of it", n)
		}
	})
}

// C6 105: there may be a copy of the key.
func TestALowerCountIsNotedAndTakenOnlyIfAsked(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		b.register(t, registration(b.ann), key, func(c *ceremony) { c.count = 10 })
		try := func(take bool) (passkey.Passkey, error) {
			c := b.assertion(t, request(b.ann), key, b.ann)
			c.count = 3
			a := answer(passkey.SignIn, c.got(t))
			a.TakeLowerCount = take
			return b.finishSignIn(t.Context(), b.by, a)
		}
		if _, err := try(false); !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("refused: %v", err)
		}
		if p, err := try(true); err != nil || p.SignCount != 10 {
			t.Errorf("taken: %+v, %v", p, err)
		}
		for result, part := range map[string]string{"failure": "reason = 'count_went_back'", "success": "detail LIKE '%count_went_back%'"} {
			if n := b.count(t, "SELECT count(*) FROM audit_unsealed WHERE tenant_id = $1 AND action = 'passkey.used' AND result = $2 AND "+part, tenant, result); n != 1 {
				t.Errorf("%s: %d events", result, n)
			}
		}
	})
}

func TestOneChallengeHasOneAnswer(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		b.register(t, registration(b.ann), key, nil)
		a := answer(passkey.SignIn, b.assertion(t, request(b.ann), key, b.ann).got(t))
		wins := atOnce(t, 200, func() error {
			_, err := b.finishSignIn(t.Context(), b.by, a)
			return err
		}, passkey.ErrChallenge)
		if wins != 1 {
			t.Errorf("%d of 200 signed in", wins)
		}
		c := newCeremony("webauthn.create", b.beginRegistration(t, registration(b.bo)).Challenge, newKey())
		made := passkey.Answer{Owner: "session", RP: rp, Credential: c.created(t)}
		wins = atOnce(t, 200, func() error {
			_, err := b.finishRegistration(t.Context(), b.by, made)
			return err
		}, passkey.ErrChallenge)
		if wins != 1 {
			t.Errorf("%d of 200 registered", wins)
		}
	})
}

// Two copies of a key, each with a challenge of its own, count the same.
func TestTwoCopiesOfAKeyDoNotBothCount(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		b.register(t, registration(b.ann), key, func(c *ceremony) { c.count = 1 })
		answers := make(chan []byte, 20)
		for range cap(answers) {
			c := b.assertion(t, request(b.ann), key, b.ann)
			c.count = 2
			answers <- c.got(t)
		}
		wins := atOnce(t, cap(answers), func() error {
			_, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, <-answers))
			return err
		}, passkey.ErrRefused)
		if wins != 1 {
			t.Errorf("%d signed in", wins)
		}
	})
}

// atOnce runs try n times at once and returns how many succeeded. The others must
// fail with want.
func atOnce(t *testing.T, n int, try func() error, want error) (wins int64) {
	t.Helper()
	var all sync.WaitGroup
	var won atomic.Int64
	for range n {
		all.Go(func() {
			if err := try(); err == nil {
				won.Add(1)
			} else if !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		})
	}
	all.Wait()
	return won.Load()
}

// C6 107.
func TestStrangersAreShownWhatNeverChanges(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		allow := func(tenant, user, identifier, rpID string) []passkey.Descriptor {
			t.Helper()
			list, err := b.Allow(t.Context(), b.DB, tenant, user, identifier, rpID)
			if err != nil || len(list) == 0 {
				t.Fatalf("%v, %v", list, err)
			}
			return list
		}
		unknown := allow(tenant, passkey.Nobody, "ann@example.com", rpID)
		b.pass(400 * 24 * time.Hour)
		if diff := cmp.Diff(unknown, allow(tenant, passkey.Nobody, "ann@example.com", rpID)); diff != "" {
			t.Errorf("changed with time: %s", diff)
		}
		if diff := cmp.Diff(unknown, allow(tenant, b.ann, "ann@example.com", rpID)); diff != "" {
			t.Errorf("changed when somebody signed up: %s", diff)
		}
		elsewhere := registration(b.ann)
		elsewhere.RP = passkey.RP{ID: "old.example.com", Name: "Acme", Origins: []string{"https://old.example.com"}}
		b.register(t, elsewhere, newKey(), nil)
		if diff := cmp.Diff(unknown, allow(tenant, b.ann, "ann@example.com", rpID)); diff != "" {
			t.Errorf("changed with a passkey for another RP ID: %s", diff)
		}
		seen := map[string]bool{}
		for _, list := range [][]passkey.Descriptor{unknown, allow(tenant, passkey.Nobody, "bo@example.com", rpID), allow(tenant, passkey.Nobody, "ann@example.com", "example.com"), allow(other, passkey.Nobody, "ann@example.com", rpID)} {
			seen[list[0].ID] = true
		}
		if len(seen) != 4 {
			t.Errorf("the same for another name, domain or tenant: %v", seen)
		}
		key := newKey()
		b.register(t, registration(b.ann), key, nil)
		if list := allow(tenant, b.ann, "ann@example.com", rpID); len(list) != 1 || list[0].ID != b64(key.ID) {
			t.Errorf("%+v", list)
		}
		lengths := map[int]bool{}
		for i := range 100 {
			lengths[len(allow(tenant, passkey.Nobody, fmt.Sprint(i), rpID)[0].ID)] = true
		}
		if len(lengths) != 3 {
			t.Errorf("decoys of lengths %v", lengths)
		}
	})
}

// C6 108.
func TestAPasskeyIsForItsDomainOnly(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		b.register(t, registration(b.ann), key, nil)
		moved := passkey.RP{ID: "id.example.org", Name: "Acme", Origins: []string{"https://id.example.org"}}
		r := request(b.ann)
		r.RP = moved
		c := b.assertion(t, r, key, b.ann)
		c.rpID, c.client["origin"] = moved.ID, moved.Origins[0]
		a := answer(passkey.SignIn, c.got(t))
		a.RP = moved
		if _, err := b.finishSignIn(t.Context(), b.by, a); !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("%v", err)
		}
		here, err := b.Count(t.Context(), b.DB, tenant, b.ann, moved.ID)
		list, later := b.List(t.Context(), b.DB, tenant, b.ann)
		if err != nil || later != nil || here != 0 || len(list) != 1 || list[0].RPID != rpID {
			t.Errorf("%d, %+v, %v, %v", here, list, err, later)
		}
	})
}

func TestRelatedOriginsAreThoseOfTheTenant(t *testing.T) {
	got, err := json.Marshal(passkey.RelatedOrigins([]string{"https://login.example.com", "http://localhost:8080", "https://app.example.com:8443"}))
	if want := `{"origins":["https://login.example.com","https://app.example.com:8443"]}`; err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	if got, err := json.Marshal(passkey.RelatedOrigins(nil)); err != nil || string(got) != `{"origins":[]}` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestPasskeysAreRenamedAndRemovedByTheirUser(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		p := b.register(t, registration(b.ann), newKey(), nil)
		b.pass(time.Minute)
		rename := func(by access.Actor, user, name string) (out passkey.Passkey, err error) {
			err = b.DB.Write(t.Context(), func(tx *database.Tx) error {
				out, err = b.Rename(t.Context(), tx, by, user, p.ID, name)
				return err
			})
			return out, err
		}
		remove := func(by access.Actor, user string) error {
			return b.DB.Write(t.Context(), func(tx *database.Tx) error {
				_, err := b.Delete(t.Context(), tx, by, user, p.ID)
				return err
			})
		}
		if got, err := rename(b.by, b.ann, "  My \t phone "); err != nil || got.Name != "My phone" || got.Title() != "My phone" || !got.UpdatedAt.Equal(b.DB.Now()) {
			t.Errorf("%+v, %v", got, err)
		}
		for _, name := range []string{"", " ", strings.Repeat("ü", 65), "a\x00b", "\u202eevil", "\xff"} {
			if _, err := rename(b.by, b.ann, name); !errors.Is(err, passkey.ErrName) {
				t.Errorf("%q: %v", name, err)
			}
		}
		if found, err := b.Find(t.Context(), b.DB, tenant, b.ann, p.Key()); err != nil || found.ID != p.ID {
			t.Errorf("%+v, %v", found, err)
		}
		for name, err := range map[string]error{
			"renamed by another": func() error { _, err := rename(b.by, b.bo, "mine"); return err }(),
			"renamed elsewhere":  func() error { _, err := rename(access.Visitor(other, ""), b.ann, "mine"); return err }(),
			"removed by another": remove(b.by, b.bo),
			"removed elsewhere":  remove(access.Visitor(other, ""), b.ann),
			"found by another":   func() error { _, err := b.Find(t.Context(), b.DB, tenant, b.bo, p.Key()); return err }(),
			"found by nonsense":  func() error { _, err := b.Find(t.Context(), b.DB, tenant, b.ann, "!"); return err }(),
		} {
			if !errors.Is(err, passkey.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := remove(b.by, b.ann); err != nil {
			t.Fatal(err)
		}
		if err := remove(b.by, b.ann); !errors.Is(err, passkey.ErrNotFound) {
			t.Errorf("twice: %v", err)
		}
		for _, action := range []string{"passkey.added", "passkey.renamed", "passkey.removed"} {
			if n := b.count(t, "SELECT count(*) FROM audit_unsealed WHERE tenant_id = $1 AND action = $2", tenant, action); n != 1 {
				t.Errorf("%s: %d events", action, n)
			}
		}
	})
}

// C1 3: an intruder may have added one.
func TestAHeldPasskeyWaitsForItsUser(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		p := b.register(t, registration(b.ann), key, nil)
		early, err := b.CheckSignIn(t.Context(), b.by, answer(passkey.SignIn, b.assertion(t, request(b.ann), key, b.ann).got(t)))
		if err != nil {
			t.Fatal(err)
		}
		hold := func(tx *database.Tx) error { return b.Hold(t.Context(), tx, b.by, b.ann, "password_reset") }
		b.write(t, hold)
		b.write(t, hold)
		err = b.DB.Write(t.Context(), func(tx *database.Tx) error {
			_, err := b.FinishSignIn(t.Context(), tx, b.by, early)
			return err
		})
		if !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("checked before: %v", err)
		}
		try := func() error {
			_, err := b.finishSignIn(t.Context(), b.by, answer(passkey.SignIn, b.assertion(t, request(b.ann), key, b.ann).got(t)))
			return err
		}
		if err := try(); !errors.Is(err, passkey.ErrHeld) {
			t.Errorf("held: %v", err)
		}
		if n, err := b.Count(t.Context(), b.DB, tenant, b.ann, rpID); err != nil || n != 0 {
			t.Errorf("%d, %v", n, err)
		}
		if o := b.beginRegistration(t, registration(b.ann)); len(o.Exclude) != 1 {
			t.Errorf("excluded: %v", o.Exclude)
		}
		confirm := func(user string) error {
			return b.DB.Write(t.Context(), func(tx *database.Tx) error {
				_, err := b.Confirm(t.Context(), tx, b.by, user, p.ID)
				return err
			})
		}
		if err := confirm(b.bo); !errors.Is(err, passkey.ErrNotFound) {
			t.Errorf("by another: %v", err)
		}
		if err := confirm(b.ann); err != nil {
			t.Error(err)
		}
		if err := try(); err != nil {
			t.Errorf("confirmed: %v", err)
		}
		b.write(t, func(tx *database.Tx) error {
			return b.DeleteAll(t.Context(), tx, b.by, b.ann, "address_proved")
		})
		if err := try(); !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("removed: %v", err)
		}
		for action, want := range map[string]int{"passkey.held": 1, "passkey.confirmed": 1, "passkey.removed": 1} {
			if n := b.count(t, "SELECT count(*) FROM audit_unsealed WHERE tenant_id = $1 AND action = $2", tenant, action); n != want {
				t.Errorf("%s: %d events", action, n)
			}
		}
	})
}

func TestARemovedPasskeyIsRefusedAtOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		key := newKey()
		p := b.register(t, registration(b.ann), key, nil)
		good, err := b.CheckSignIn(t.Context(), b.by, answer(passkey.SignIn, b.assertion(t, request(b.ann), key, b.ann).got(t)))
		if err != nil {
			t.Fatal(err)
		}
		b.write(t, func(tx *database.Tx) error {
			_, err := b.Delete(t.Context(), tx, b.by, b.ann, p.ID)
			return err
		})
		err = b.DB.Write(t.Context(), func(tx *database.Tx) error {
			_, err := b.FinishSignIn(t.Context(), tx, b.by, good)
			return err
		})
		if !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("%v", err)
		}
	})
}

func TestAuthenticatorsHaveNames(t *testing.T) {
	aaguid := []byte{0xea, 0x9b, 0x8d, 0x66, 0x4d, 0x01, 0x1d, 0x21, 0x3c, 0xe4, 0xb6, 0xb4, 0x8c, 0xb5, 0x75, 0xd4}
	if p := (passkey.Passkey{AAGUID: aaguid}); p.Title() != "Google Password Manager" {
		t.Errorf("%q", p.Title())
	}
	if p := (passkey.Passkey{AAGUID: make([]byte, 16)}); p.Title() != "" {
		t.Errorf("%q", p.Title())
	}
}

func TestSweepRemovesWhatNobodyAnswered(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.beginSignIn(t, request(passkey.Anyone))
		b.pass(passkey.ChallengeLifetime - time.Second)
		b.beginSignIn(t, request(passkey.Anyone))
		b.pass(time.Second)
		if err := b.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := b.count(t, "SELECT count(*) FROM passkey_challenges WHERE tenant_id = $1", tenant); n != 1 {
			t.Errorf("%d are left", n)
		}
	})
}

// The contract's example, in its order.
func TestOptionsAreWrittenAsTheContractHasThem(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		r := registration(b.ann)
		r.Login, r.DisplayName = "u@example.com", "u@example.com"
		r.Selection = passkey.Selection{Attachment: "platform", RequireResidentKey: true, ResidentKey: "required", UserVerification: "preferred"}
		o := b.beginRegistration(t, r)
		if len(o.Challenge) != 43 {
			t.Errorf("challenge %q", o.Challenge)
		}
		o.Challenge = "c"
		got, err := json.Marshal(o)
		want := `{"rp":{"name":"Acme","id":"login.example.com"},"user":{"name":"u@example.com","displayName":"u@example.com","id":"` + b64([]byte(b.ann)) + `"},"challenge":"c","pubKeyCredParams":[` +
			`{"type":"public-key","alg":-7},{"type":"public-key","alg":-35},{"type":"public-key","alg":-36},{"type":"public-key","alg":-257},{"type":"public-key","alg":-258},` +
			`{"type":"public-key","alg":-259},{"type":"public-key","alg":-37},{"type":"public-key","alg":-38},{"type":"public-key","alg":-39},{"type":"public-key","alg":-8}],"timeout":300000,` +
			`"authenticatorSelection":{"authenticatorAttachment":"platform","requireResidentKey":true,"residentKey":"required","userVerification":"preferred"},"attestation":"none","extensions":{"credProps":true}}`
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("%v, (-want +got)\n%s", err, diff)
		}
		asked := request(passkey.Anyone)
		asked.Preferred = true
		get := b.beginSignIn(t, asked)
		get.Challenge = "c"
		got, err = json.Marshal(get)
		if want := `{"challenge":"c","timeout":300000,"rpId":"login.example.com","userVerification":"preferred"}`; err != nil || string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	})
}
