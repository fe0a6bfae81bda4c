package sso_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	dsig "github.com/russellhaering/goxmldsig"

	"github.com/cardea-id/cardea/internal/sso"
)

// What administrators of real providers get wrong, one at a time, and the one cause that
// they are told.
func TestEachFaultHasItsOneCause(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.saml(t)
		us := b.us(t, c)
		ours, err := b.Certificates(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		key := publicKey(t, ours[0])
		settings := func(change func(o *sso.Settings)) func(o *sso.Settings) { return change }
		for name, f := range map[string]struct {
			says said
			here func(o *sso.Settings)
			want sso.Cause
		}{
			"nothing":                              {said{}, nil, ""},
			"encrypted for our key":                {said{encrypt: key}, nil, ""},
			"the clock is off by half a minute":    {said{skew: 30 * time.Second}, nil, ""},
			"the audience of another application":  {said{audience: "https://app.example"}, nil, sso.Audience},
			"the origin in place of the entity id": {said{audience: origin}, nil, sso.Audience},
			"an ACS URL with a slash too many":     {said{acs: us.ACS + "/"}, nil, sso.ACS},
			"an ACS URL over http":                 {said{acs: strings.Replace(us.ACS, "https", "http", 1)}, nil, sso.ACS},
			"another recipient":                    {said{recipient: "https://app.example/acs"}, nil, sso.ACS},
			"the entity id of another provider":    {said{issuer: "https://idp.acme.example/other"}, nil, sso.Issuer},
			"a new certificate there":              {said{by: thief()}, nil, sso.OtherCertificate},
			"an expired certificate":               {said{by: over()}, settings(func(o *sso.Settings) { o.IdP = over().settings() }), sso.CertificateExpired},
			"not signed":                           {said{unsigned: true}, nil, sso.Unsigned},
			"only the assertion is signed":         {said{}, settings(func(o *sso.Settings) { o.RequireResponseSigned = true }), sso.Unsigned},
			"changed after it was signed":          {said{edit: func(s string) string { return strings.Replace(s, "Ann@", "Bob@", 1) }}, nil, sso.Signature},
			"SHA-1":                                {said{method: dsig.RSASHA1SignatureMethod}, nil, sso.Algorithm},
			"the clock is ahead":                   {said{skew: 10 * time.Minute}, nil, sso.Clock},
			"the clock is behind":                  {said{skew: -20 * time.Minute}, nil, sso.Clock},
			"encrypted for an old key":             {said{encrypt: &thief().key.PublicKey}, nil, sso.OldKey},
			"not encrypted":                        {said{}, settings(func(o *sso.Settings) { o.RequireEncrypted = true }), sso.NotEncrypted},
			"no e-mail address":                    {said{emails: []string{}}, nil, sso.EmailMissing},
			"an empty e-mail address":              {said{emails: []string{" "}}, nil, sso.EmailMissing},
			"a login in place of an address":       {said{emails: []string{"ACME\\ann"}}, nil, sso.EmailInvalid},
			"several e-mail addresses":             {said{emails: []string{"ann@acme.example", "ann@old.example"}}, nil, sso.EmailAmbiguous},
			"a NameID that changes":                {said{format: transient}, nil, sso.Transient},
			"the user is disabled":                 {said{status: "RequestDenied"}, nil, sso.Denied},
			"the user is not assigned":             {said{status: "UnknownPrincipal"}, nil, sso.Denied},
			"the user did not sign in":             {said{status: "AuthnFailed"}, nil, sso.AuthnFailed},
			"no second factor there":               {said{status: "NoAuthnContext"}, nil, sso.NoContext},
			"a password where more was asked":      {said{}, settings(func(o *sso.Settings) { o.Contexts = []string{"urn:oasis:names:tc:SAML:2.0:ac:classes:X509"} }), sso.Context},
			"a NameID that it does not have":       {said{status: "InvalidNameIDPolicy"}, nil, sso.NameIDPolicy},
			"we are not known there":               {said{status: "Requester"}, nil, sso.RequestRefused},
			"it failed":                            {said{status: "Responder"}, nil, sso.ProviderError},
			"begun at the provider":                {said{request: "none"}, nil, sso.Unsolicited},
			"an answer to nothing":                 {said{request: "_" + rand.Text()}, nil, sso.OtherRequest},
			"a page in place of XML":               {said{edit: func(string) string { return "<html><body>Sign in</body></html>" }}, nil, sso.Malformed},
		} {
			before := sso.Settings{IdP: acme().settings()}
			if f.here != nil {
				f.here(&before)
			}
			c = b.save(t, c, func(o *sso.Settings) { *o = before })
			_, _, err := b.signIn(t, c, f.says)
			got := b.lastTrace(t, c)
			switch {
			case got.Cause != f.want, (err == nil) != (f.want == ""):
				t.Errorf("%s: the cause is %q (%v), want %q: %+v", name, got.Cause, err, f.want, got.Steps)
			case err != nil && !errors.Is(err, sso.ErrRefused):
				t.Errorf("%s: %v", name, err)
			case err != nil && got.Steps[len(got.Steps)-1].OK:
				t.Errorf("%s: the last step went well: %+v", name, got.Steps)
			}
			if f.want == sso.Audience && (got.Fix.Label != "Audience URI (SP Entity ID)" || got.Fix.Value != us.EntityID || got.Fix.Side != sso.AtProvider) {
				t.Errorf("%s: told to change %+v", name, got.Fix)
			}
		}
	})
}

func publicKey(t *testing.T, c sso.Certificate) *rsa.PublicKey {
	t.Helper()
	block, _ := pem.Decode([]byte(c.PEM))
	read, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return read.PublicKey.(*rsa.PublicKey)
}

// The same for OpenID Connect (and F.3 of what a relying party must refuse).
func TestEachOpenIDFaultHasItsOneCause(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		claim := func(name string, value any) func() {
			return func() { b.op.claims = func(c map[string]any) { c[name] = value } }
		}
		answered := func(code, description string) func(url.Values) {
			return func(q url.Values) {
				q.Del("code")
				q.Set("error", code)
				q.Set("error_description", description)
			}
		}
		for name, f := range map[string]struct {
			there func()
			comes func(url.Values) // how the browser comes back
			want  sso.Cause
		}{
			"nothing":                {nil, nil, ""},
			"the document is down":   {func() { b.op.discovery = http.NotFound }, nil, sso.DiscoveryUnreachable},
			"the document is slow":   {func() { b.op.discovery = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() } }, nil, sso.DiscoveryUnreachable},
			"the document is huge":   {func() { b.op.discovery = func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) } }, nil, sso.DiscoveryUnreachable},
			"the document is a page": {func() { b.op.discovery = page }, nil, sso.DiscoveryInvalid},
			"the document is of another": {func() {
				b.op.discovery = func(w http.ResponseWriter, _ *http.Request) {
					send(w, 200, map[string]string{"issuer": b.op.URL + "/"})
				}
			}, nil, sso.DiscoveryIssuer},
			"endpoints within our network": {func() {
				b.op.discovery = func(w http.ResponseWriter, _ *http.Request) {
					send(w, 200, map[string]string{"issuer": b.op.URL, "authorization_endpoint": "https://10.0.0.1/", "token_endpoint": "javascript:x"})
				}
			}, nil, sso.DiscoveryInvalid},
			"the secret is wrong":            {func() { b.op.answer = refusing(401, "invalid_client", "AADSTS7000215") }, nil, sso.ClientRefused},
			"the client is not allowed":      {nil, answered("unauthorized_client", ""), sso.ClientRefused},
			"the callback is not registered": {nil, answered("invalid_request", "The 'redirect_uri' parameter must be a Login redirect URI"), sso.RedirectRefused},
			"the callback is another":        {func() { b.op.answer = refusing(400, "redirect_uri_mismatch", "") }, nil, sso.RedirectRefused},
			"the code is old":                {func() { b.op.answer = refusing(400, "invalid_grant", "The code has expired") }, nil, sso.CodeRefused},
			"a scope is not allowed":         {nil, answered("invalid_scope", ""), sso.ScopeRefused},
			"the user may not":               {nil, answered("access_denied", ""), sso.Denied},
			"the user did not sign in":       {nil, answered("login_required", ""), sso.AuthnFailed},
			"it failed":                      {nil, answered("server_error", ""), sso.ProviderError},
			"an answer of another":           {nil, func(q url.Values) { q.Set("iss", "https://evil.example") }, sso.TokenIssuer},
			"no token endpoint":              {func() { b.op.answer = func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) } }, nil, sso.TokenUnreachable},
			"no ID token":                    {claim("id_token", "none"), nil, sso.NoIDToken},
			"another nonce":                  {claim("nonce", "x"), nil, sso.Nonce},
			"no nonce":                       {claim("nonce", nil), nil, sso.Nonce},
			"another audience":               {claim("aud", "somebody-else"), nil, sso.TokenAudience},
			"another party":                  {claim("azp", "somebody-else"), nil, sso.TokenAudience},
			"another issuer":                 {claim("iss", "https://evil.example"), nil, sso.TokenIssuer},
			"the clock is ahead":             {func() { b.op.claims = func(c map[string]any) { c["iat"] = b.DB.Now().Add(time.Hour).Unix() } }, nil, sso.Clock},
			"the clock is behind":            {func() { b.op.claims = func(c map[string]any) { c["exp"] = b.DB.Now().Add(-time.Minute).Unix() } }, nil, sso.Expired},
			"no time of issue":               {claim("iat", nil), nil, sso.InvalidToken},
			"nobody":                         {claim("sub", ""), nil, sso.SubjectMissing},
			"another key":                    {func() { b.op.signer, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }, nil, sso.UnknownKey},
			"no keys":                        {func() { b.op.keys = http.NotFound }, nil, sso.KeysUnreachable},
			"no e-mail address":              {claim("email", nil), nil, sso.EmailMissing},
			"an e-mail address that is none": {claim("email", "ann"), nil, sso.EmailInvalid},
		} {
			b.op.Close()
			b.op = newOP(t, b.DB.Now)
			trust(b)
			b.pass(time.Hour)
			c := b.connect(t, sso.Connection{OrganizationID: b.organization(t, name), Kind: sso.OIDC, Provider: "okta", Settings: sso.Settings{Issuer: b.op.URL, ClientID: clientID}}, clientSecret)
			if f.there != nil {
				f.there()
			}
			sent, err := b.Start(t.Context(), b.by, sso.Request{Connection: c.ID, Attempt: attempt, Browser: browser})
			if err == nil {
				query := b.callback(t, sent.Location)
				if f.comes != nil {
					f.comes(query)
				}
				_, _, err = b.FinishOIDC(t.Context(), b.by, c.ID, query, browser)
			}
			got := b.lastTrace(t, c)
			if got.Cause != f.want || (err == nil) != (f.want == "") || err != nil && !errors.Is(err, sso.ErrRefused) {
				t.Errorf("%s: the cause is %q (%v), want %q: %+v", name, got.Cause, err, f.want, got.Steps)
			}
			if strings.Contains(strings.Join(texts(got), " "), clientSecret) {
				t.Errorf("%s: the trace tells a secret", name)
			}
		}
	})
}

// Whoever has to prove themselves anew is told of a proof that is: max_age has the provider
// say when that was.
func TestAnOldProofAtAnOpenIDProviderIsRefused(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		c := b.oidc(t)
		for name, f := range map[string]struct {
			at     any
			forced bool
			want   sso.Cause
		}{
			"now": {begin.Unix(), true, ""}, "within the skew": {begin.Add(-50 * time.Second).Unix(), true, ""},
			"long ago": {int64(1000000000), true, sso.AuthnFailed}, "not told": {nil, true, sso.AuthnFailed}, "a text": {"now", true, sso.AuthnFailed},
			"long ago, and not asked": {int64(1000000000), false, ""},
		} {
			b.op.claims = func(c map[string]any) { c["auth_time"] = f.at }
			sent, err := b.Start(t.Context(), b.by, sso.Request{Connection: c.ID, Attempt: attempt, Browser: browser, ForceAuthn: f.forced})
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = b.FinishOIDC(t.Context(), b.by, c.ID, b.callback(t, sent.Location), browser)
			if got := b.lastTrace(t, c).Cause; got != f.want || (err == nil) != (f.want == "") {
				t.Errorf("%s: the cause is %q (%v), want %q", name, got, err, f.want)
			}
			b.pass(time.Millisecond)
		}
	})
}

func texts(t sso.Trace) (out []string) {
	for _, s := range t.Steps {
		out = append(out, s.Expected, s.Received)
	}
	for _, s := range t.Attributes {
		out = append(out, s.Sample)
	}
	return out
}

// C3 71, C10: metadata are read from public servers, are those of one provider, and stay
// those of the same.
func TestMetadataAreRead(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		text := acme().metadata(entity)
		serve := func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(text)) }
		b.op.keys = serve
		prepare := func(o sso.Settings) error {
			_, err := b.Prepare(t.Context(), b.admin, sso.Connection{OrganizationID: b.acme, Kind: sso.SAML, Provider: "okta", Settings: o}, "")
			return err
		}
		for name, address := range map[string]string{"within our network": "https://169.254.169.254/latest", "a file": "file:///etc/passwd", "down": b.op.URL + "/missing"} {
			if prepare(sso.Settings{MetadataURL: address}) == nil {
				t.Errorf("%s: it was read", name)
			}
		}
		for name, wrong := range map[string]string{"a page": "<html>", "several": `<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">` + text + text + `</md:EntitiesDescriptor>`, "a script": strings.Replace(text, "https://idp.acme.example/sso", "javascript:alert(1)", 1), "entities": `<!DOCTYPE x [<!ENTITY y "z">]>` + text} {
			if _, err := b.ReadMetadata([]byte(wrong)); !errors.Is(err, sso.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		c := b.connect(t, sso.Connection{Kind: sso.SAML, Provider: "okta", Settings: sso.Settings{MetadataURL: b.op.URL + "/jwks"}}, "")
		if c.Settings.IdP.EntityID != entity || len(c.Settings.IdP.Certificates) != 1 {
			t.Fatalf("got %+v", c.Settings.IdP)
		}
		refresh := func() sso.Connection {
			b.pass(25 * time.Hour)
			if err := b.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			c, err := b.Find(t.Context(), b.DB, b.admin, b.acme, c.ID)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		text = thief().metadata("https://evil.example")
		if got := refresh(); got.Settings.IdP.EntityID != entity || got.Settings.IdP.Certificates[0] != c.Settings.IdP.Certificates[0] || b.lastTrace(t, c).Cause != sso.MetadataInvalid {
			t.Errorf("metadata of another provider: %+v", got.Settings.IdP)
		}
		b.op.keys = http.NotFound
		if refresh(); b.lastTrace(t, c).Cause != sso.MetadataUnreachable {
			t.Errorf("got %s", b.lastTrace(t, c).Cause)
		}
		b.op.keys, text = serve, thief().metadata(entity)
		if got := refresh(); got.Settings.IdP.Certificates[0] != base64.StdEncoding.EncodeToString(thief().cert) {
			t.Errorf("the new certificate is not taken over: %+v", got.Settings.IdP)
		}
		if _, _, err := b.signIn(t, c, said{by: thief()}); err != nil {
			t.Error(err)
		}
	})
}
