package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/mfa"
	"github.com/cardea-id/cardea/internal/passkey"
)

// holders is how many users have a passkey.
const holders = 2000

// factors are sign-ins by passkey, and codes of authenticator apps.
func (p *place) factors() []measuredRow {
	apps := &authenticatorApps{}
	return []measuredRow{
		{name: "passkey sign-in", before: p.registerPasskeys, product: p.passkeySignIns(), control: p.proofControl("/passkey"), goal: goal{rate: 1000},
			note: "begun and answered by the API, to its tokens: 2 requests; the control checks one signature and updates one row"},
		{name: "TOTP validate", before: func(ctx context.Context) error { return p.enroll(ctx, apps) }, product: p.validations(apps), control: p.proofControl("/totp"),
			goal: goal{rate: 3000}, most: len(p.sample.ids) / 4, note: "each code once; the control computes one HMAC and updates one row"},
	}
}

// proofControl has the control prove each of the users.
func (p *place) proofControl(target string) script {
	requests := make([]request, len(p.sample.ids))
	for i, id := range p.sample.ids {
		requests[i] = postControl(target, url.Values{"user": {id}})
		requests[i].check = has(`"ok":true`, 1)
	}
	return pick(requests)
}

// attached runs do with the product's packages, beside the server.
func (p *place) attached(ctx context.Context, do func(a *app.App) error) error {
	cfg, err := app.Load(app.Sources{Environ: p.env}, "public_url", "master_key")
	if err != nil {
		return err
	}
	a, err := app.Attach(ctx, cfg.Config, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return errors.Join(do(a), a.Close())
}

// An authenticator has one passkey, of a user who is verified.
type authenticator struct {
	user, email string
	id          []byte
	key         *ecdsa.PrivateKey
}

// Flags of authenticator data (WebAuthn Level 3, section 6.1).
const (
	isPresent   = 0x01
	isVerified  = 0x04
	hasAttested = 0x40
)

// newAuthenticator makes an ES256 key for a user.
func newAuthenticator(user, email string) (authenticator, error) {
	a := authenticator{user: user, email: email, id: make([]byte, 32)}
	rand.Read(a.id)
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return a, err
}

// data is authenticator data without a counter.
func (a authenticator) data(rpID string, flags byte) []byte {
	hash := sha256.Sum256([]byte(rpID))
	return append(hash[:], flags, 0, 0, 0, 0)
}

// create is a credential for navigator.credentials.create: the attestation object says
// "none" around the data, the id and the key (sections 6.5 and 8.7).
func (a authenticator) create(challenge, rpID string) ([]byte, error) {
	public, err := a.key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	data := append(a.data(rpID, isPresent|isVerified|hasAttested), make([]byte, 16)...) // of no known model
	data = append(append(data, 0, byte(len(a.id))), a.id...)
	data = append(append(data, "\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20"...), public[1:33]...) // COSE: EC2, ES256, P-256
	data = append(append(data, "\x22\x58\x20"...), public[33:]...)
	object := append([]byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58"), byte(len(data)))
	return a.credential(map[string]string{
		"clientDataJSON": encodeURL(clientData("webauthn.create", challenge, rpID)), "attestationObject": encodeURL(append(object, data...)),
	})
}

// get is a credential for navigator.credentials.get.
func (a authenticator) get(challenge, rpID string) ([]byte, error) {
	data, client := a.data(rpID, isPresent|isVerified), clientData("webauthn.get", challenge, rpID)
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(data[:len(data):len(data)], hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, digest[:])
	if err != nil {
		return nil, err
	}
	return a.credential(map[string]string{
		"clientDataJSON": encodeURL(client), "authenticatorData": encodeURL(data), "signature": encodeURL(signature), "userHandle": encodeURL([]byte(a.user)),
	})
}

func (a authenticator) credential(response map[string]string) ([]byte, error) {
	return json.Marshal(map[string]any{
		"id": encodeURL(a.id), "rawId": encodeURL(a.id), "type": "public-key", "response": response, "clientExtensionResults": map[string]any{},
	})
}

func clientData(ceremony, challenge, host string) []byte {
	return []byte(`{"type":"` + ceremony + `","challenge":"` + challenge + `","origin":"https://` + host + `","crossOrigin":false}`)
}

func encodeURL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// registerPasskeys gives users of the sample a passkey each.
func (p *place) registerPasskeys(ctx context.Context) error {
	return p.attached(ctx, func(a *app.App) error {
		for i := range min(holders, len(p.sample.ids)) {
			made, err := newAuthenticator(p.sample.ids[i], p.sample.emails[i])
			if err != nil {
				return err
			}
			p.signIn.passkeys = append(p.signIn.passkeys, made)
		}
		return p.keepPasskeys(ctx, a)
	})
}

// keepPasskeys registers them as the product does, many in a transaction.
func (p *place) keepPasskeys(ctx context.Context, a *app.App) error {
	by, rp := access.System(p.tenants[0].id), passkey.RP{ID: p.host(), Name: "bench", Origins: []string{"https://" + p.host()}}
	all := p.signIn.passkeys
	challenges := make([]string, len(all))
	err := a.DB.Write(ctx, func(tx *database.Tx) error {
		for i, each := range all {
			out, err := a.Passkeys.BeginRegistration(ctx, tx, by, passkey.Registration{Owner: "bench", UserID: each.user, Login: each.email, DisplayName: each.email, RP: rp, Verify: true})
			if err != nil {
				return err
			}
			challenges[i] = out.Challenge
		}
		return nil
	})
	if err != nil {
		return err
	}
	judged := make([]passkey.Attestation, len(all))
	for i, each := range all {
		credential, err := each.create(challenges[i], rp.ID)
		if err != nil {
			return err
		}
		if judged[i], err = a.Passkeys.CheckRegistration(ctx, by, passkey.Answer{Owner: "bench", Purpose: passkey.Register, RP: rp, Credential: credential}); err != nil {
			return err
		}
	}
	return a.DB.Write(ctx, func(tx *database.Tx) error {
		for _, each := range judged {
			if _, err := a.Passkeys.FinishRegistration(ctx, tx, by, each); err != nil {
				return err
			}
		}
		return nil
	})
}

const passkeyLogin = "/api/v1/auth/passwordless/passkey/login"

// passkeySignIns signs one user in after the other, each from an address of their own:
// what strangers may begin from one address is bounded.
func (p *place) passkeySignIns() script {
	return func(c *conn, connection int) func() error {
		next := newXorshift(p.seed, uint64(connection))
		return func() error {
			headers := [][2]string{{"X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", next.below(256), next.below(256), next.below(256))}, {"X-Forwarded-Proto", "https"}}
			return p.signInByPasskey(c, headers, p.signIn.passkeys[next.below(len(p.signIn.passkeys))])
		}
	}
}

func (p *place) signInByPasskey(c *conn, headers [][2]string, who authenticator) error {
	query := url.Values{"client_id": {p.signIn.web.clientID}, "identifier": {who.email}}
	begin := encode("GET", passkeyLogin+"?"+query.Encode(), p.host(), headers, nil)
	var challenge string
	begin.check = func(body []byte) error {
		query.Set("auth_code", member(body, "auth_code"))
		challenge = member(body, "challenge")
		return nil
	}
	if err := c.ask(begin); err != nil {
		return err
	}
	credential, err := who.get(challenge, p.host())
	if err != nil {
		return err
	}
	answer := encode("POST", passkeyLogin+"?"+query.Encode(), p.host(), headers, credential)
	answer.check = func(body []byte) error {
		if member(body, "refresh_token") == "" {
			return errors.New("not the tokens of a sign-in")
		}
		return p.signIn.keys.look(member(body, "access_token"), want{alg: "ES256", typ: "at+jwt", subject: who.user, client: p.signIn.web.clientID})
	}
	return c.ask(answer)
}

// authenticatorApps are those of users, each with the MFA token of an attempt that waits
// for a code. A code is good once, and so is a token.
type authenticatorApps struct {
	keys   [][]byte
	tokens []string
}

// enroll gives the users of the sample an app each, and begins an attempt for each.
func (p *place) enroll(ctx context.Context, apps *authenticatorApps) error {
	apps.keys, apps.tokens = make([][]byte, len(p.sample.ids)), make([]string, len(p.sample.ids))
	err := p.attached(ctx, func(a *app.App) error {
		return p.together(ctx, func(ctx context.Context, i int) (err error) {
			apps.keys[i], err = p.enrollOne(ctx, a, p.sample.ids[i])
			return err
		})
	})
	if err != nil {
		return err
	}
	connections := make(chan *conn, p.connections)
	for range p.connections {
		c, err := dial(p.server.address, time.Now().Add(5*time.Minute))
		if err != nil {
			return err
		}
		defer c.close()
		connections <- c
	}
	err = p.together(ctx, func(_ context.Context, i int) error {
		c := <-connections
		defer func() { connections <- c }()
		r := encode("POST", "/api/v1/auth/mfa/token?client_id="+p.signIn.web.clientID, p.host(), append(secure[:2:2], [2]string{"X-Client-Secret", p.signIn.web.secret}),
			fmt.Appendf(nil, `{"identifier":%q}`, p.sample.emails[i]))
		r.check = func(body []byte) error { apps.tokens[i] = member(body, "access_token"); return nil }
		return c.ask(r)
	})
	if err != nil {
		return err
	}
	return p.settle(ctx)
}

// together does something for each user of the sample, for as many at once as there are
// connections.
func (p *place) together(ctx context.Context, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.connections)
	for i := range p.sample.ids {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// enrollOne confirms an app by the code of before, so that the one of now is good still.
func (p *place) enrollOne(ctx context.Context, a *app.App, user string) (key []byte, err error) {
	by := access.System(p.tenants[0].id)
	e, err := a.MFA.Start(ctx, by, user, "bench")
	if err != nil {
		return nil, err
	}
	confirmed, err := a.MFA.Confirm(ctx, by, user, e.ID, mfa.Code(e.Key, time.Now().Add(-30*time.Second)))
	if err != nil {
		return nil, err
	}
	return e.Key, a.DB.Write(ctx, func(tx *database.Tx) error { return a.MFA.Enroll(ctx, tx, by, confirmed) })
}

// validations validates the code of one user after the other.
func (p *place) validations(apps *authenticatorApps) script {
	return func(c *conn, connection int) func() error {
		at := connection
		return func() error {
			if at >= len(apps.tokens) {
				return errors.New("there are no users left whose code was not used")
			}
			r := encode("POST", "/api/v1/auth/mfa/validate?client_id="+p.signIn.web.clientID, p.host(), append(secure[:2:2], [2]string{"Authorization", "Bearer " + apps.tokens[at]}),
				fmt.Appendf(nil, `{"otp":%q}`, mfa.Code(apps.keys[at], time.Now())))
			r.check = has(`"validated":true`, 1)
			at += p.connections
			return c.ask(r)
		}
	}
}
