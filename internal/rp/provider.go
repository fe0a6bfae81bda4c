package rp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"

	"github.com/cardea-id/cardea/internal/outbound"
)

// Limits of what is read from a provider, in bytes.
const (
	maxDocument = 64 << 10
	maxAnswer   = 128 << 10
)

// documentLife is how long a discovery document counts.
const documentLife = time.Hour

// metadata is what is needed of a provider (OpenID Connect Discovery, section 3).
type metadata struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Userinfo      string   `json:"userinfo_endpoint"`
	JWKS          string   `json:"jwks_uri"`
	SendsIssuer   bool     `json:"authorization_response_iss_parameter_supported"`
	TokenAuth     []string `json:"token_endpoint_auth_methods_supported"`
}

// tokenAuth is how the provider wants us to prove ourselves; empty if it does not say.
func (m metadata) tokenAuth() string {
	for _, method := range []string{"client_secret_basic", "client_secret_post"} {
		if slices.Contains(m.TokenAuth, method) {
			return method
		}
	}
	return ""
}

// A Provider is where a client's provider is.
type Provider struct {
	Client
	party *Party
	m     metadata
}

// Open finds the provider of a client. It asks over the network if that was not done
// within the hour. Its error is a *Fault, or that of ctx.
func (p *Party) Open(ctx context.Context, c Client) (Provider, error) {
	out := Provider{Client: c, party: p, m: metadata{Issuer: c.Issuer}}
	if c.OpenID {
		var err error
		if out.m, err = p.discover(ctx, c); err != nil {
			return out, err
		}
	}
	m := &out.m
	m.Authorization, m.Token, m.Userinfo = cmp.Or(c.Authorization, m.Authorization), cmp.Or(c.Token, m.Token), cmp.Or(c.Userinfo, m.Userinfo)
	for _, address := range []string{m.Authorization, m.Token} {
		if _, err := p.Outbound.Parse(address); err != nil {
			return out, &Fault{Cause: DiscoveryInvalid, Expected: "endpoints at https addresses", Received: cut(address), err: err}
		}
	}
	return out, nil
}

// DocumentOf is where the discovery document of an issuer is.
func DocumentOf(issuer string) string {
	return strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
}

// discover reads the document of a provider, if that was not done lately.
func (p *Party) discover(ctx context.Context, c Client) (metadata, error) {
	address := cmp.Or(c.Discovery, DocumentOf(c.Issuer))
	// By the issuer, too: the same document is right for one spelling of it and wrong for
	// another, and no tenant's mistake is another tenant's.
	e, err := p.documents.entry(ctx, c.Issuer+" "+address)
	if err != nil {
		return metadata{}, err
	}
	defer e.release()
	return e.fetch(ctx, p.Now(), documentLife, func() (m metadata, err error) {
		a, err := p.Outbound.Get(ctx, address, maxDocument)
		if err != nil {
			return m, &Fault{Cause: DiscoveryUnreachable, Expected: address, err: err}
		}
		if err := json.Unmarshal(a.Body, &m); err != nil {
			return m, &Fault{Cause: DiscoveryInvalid, Expected: "a discovery document at " + address, err: err}
		}
		if m.Issuer != c.Issuer {
			return m, &Fault{Cause: DiscoveryIssuer, Expected: c.Issuer, Received: cut(m.Issuer)}
		}
		return m, nil
	})
}

// cut bounds what a stranger can put into a fault.
func cut(s string) string {
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "…"
	}
	return strings.ToValidUTF8(s, "�")
}

// Forget drops what is kept of a provider's document, for somebody who has just mended
// it.
func (p *Party) Forget(c Client) {
	p.documents.mu.Lock()
	defer p.documents.mu.Unlock()
	delete(p.documents.entries, c.Issuer+" "+cmp.Or(c.Discovery, DocumentOf(c.Issuer)))
}

// config is the client in the words of package oauth2.
func (p Provider) config(secret, redirect string) *oauth2.Config {
	style := oauth2.AuthStyleInHeader
	switch cmp.Or(p.TokenAuth, p.m.tokenAuth()) {
	case "client_secret_post", "none":
		style = oauth2.AuthStyleInParams
	case "":
		if p.SecretInBody {
			style = oauth2.AuthStyleInParams
		}
	}
	return &oauth2.Config{
		ClientID: p.ID, ClientSecret: secret, RedirectURL: redirect, Scopes: p.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: p.m.Authorization, TokenURL: p.m.Token, AuthStyle: style},
	}
}

// AuthURL is where to send a browser that is to come back to redirect. A verifier, if
// there is one, is sent as a challenge (RFC 7636). Parameters that are empty are left
// out.
func (p Provider) AuthURL(redirect, state, verifier string, parameters map[string]string) string {
	var more []oauth2.AuthCodeOption
	if verifier != "" {
		more = append(more, oauth2.S256ChallengeOption(verifier))
	}
	for name, value := range parameters {
		if value != "" {
			more = append(more, oauth2.SetAuthURLParam(name, value))
		}
	}
	return p.config("", redirect).AuthCodeURL(state, more...)
}

// CheckIssuer compares the "iss" of an answer (RFC 9207, section 2.4). A provider that
// says it always sends one is not believed without.
func (p Provider) CheckIssuer(iss string) error {
	switch {
	case iss == "" && !p.m.SendsIssuer:
		return nil
	case iss == "":
		return &Fault{Cause: AnswerIssuer, Expected: p.m.Issuer, err: errors.New("the answer has no iss, which the provider says it always has")}
	case iss == p.m.Issuer, strings.Contains(p.m.Issuer, tenantPart) && matches(p.m.Issuer, iss, ""):
		return nil
	}
	return &Fault{Cause: AnswerIssuer, Expected: p.m.Issuer, Received: cut(iss)}
}

// tenantPart stands for the id of a directory in an issuer.
const tenantPart = "{tenantid}"

// directoryForm is the id of a directory of Microsoft.
var directoryForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`) })

// IsDirectory reports whether s is the id of a directory.
func IsDirectory(s string) bool { return directoryForm().MatchString(s) }

// IsPattern reports whether an issuer stands for many.
func IsPattern(issuer string) bool { return strings.Contains(issuer, tenantPart) }

// matches compares an issuer with a pattern in which {tenantid} stands for the id of a
// directory: that one, if directory is not empty.
func matches(pattern, issuer, directory string) bool {
	before, after, found := strings.Cut(pattern, tenantPart)
	if !found {
		return issuer == pattern
	}
	id, ok := strings.CutPrefix(issuer, before)
	if ok {
		id, ok = strings.CutSuffix(id, after)
	}
	return ok && directoryForm().MatchString(id) && (directory == "" || directory == id)
}

// through sends the requests of a library by the guarded client.
type through struct{ *outbound.Client }

func (t through) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := t.Do(r.Context(), r, maxAnswer)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: a.Status, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.Body)), ContentLength: int64(len(a.Body)), Request: r}, nil
}

// Exchange swaps a code for tokens. Secret and verifier may be empty.
func (p Provider) Exchange(ctx context.Context, secret, redirect, code, verifier string) (*oauth2.Token, error) {
	var more []oauth2.AuthCodeOption
	if verifier != "" {
		more = append(more, oauth2.VerifierOption(verifier))
	}
	// No redirect is followed, which would take code and secret along.
	client := &http.Client{Transport: through{p.party.Outbound}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	got, err := p.config(secret, redirect).Exchange(context.WithValue(ctx, oauth2.HTTPClient, client), code, more...)
	if err != nil {
		return nil, refusal(ctx, err)
	}
	return got, nil
}

// refusal is why there are no tokens. The provider's own words are left out: some repeat
// what was sent.
func refusal(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return &Fault{Cause: TokenRefused, Expected: "tokens", Received: cut(refused.ErrorCode), Hint: cut(refused.ErrorDescription), err: fmt.Errorf("the token endpoint answered %d %.64q", refused.Response.StatusCode, refused.ErrorCode)}
	}
	if errors.Is(err, outbound.ErrUnreachable) || errors.Is(err, outbound.ErrAddress) {
		return &Fault{Cause: TokenUnreachable, err: err}
	}
	return &Fault{Cause: TokenInvalid, Expected: "tokens", err: errors.New("the answer of the token endpoint can not be used")}
}

// HasUserinfo reports whether the provider can be asked whom an access token is for.
func (p Provider) HasUserinfo() bool { return p.m.Userinfo != "" }

// Userinfo asks by an access token whom it is for. Signed is what an ID token said, nil
// if there was none: it must be the same subject (OpenID Connect Core, section 5.3.2),
// and what was signed counts. An address and what is said of it come from the same
// place.
func (p Provider) Userinfo(ctx context.Context, access string, signed Claims) (Claims, error) {
	more, err := p.userinfo(ctx, access)
	if err != nil || signed == nil {
		return more, err
	}
	if more.Subject("sub") != signed.Subject("sub") {
		return nil, &Fault{Cause: Userinfo, Expected: "the subject of the ID token", Received: "another subject"}
	}
	out := Claims{}
	for name, v := range more {
		out[name] = v
	}
	if signed.Text("email") != "" {
		delete(out, "email_verified")
	}
	for name, v := range signed {
		out[name] = v
	}
	return out, nil
}

func (p Provider) userinfo(ctx context.Context, access string) (Claims, error) {
	a, err := p.Get(ctx, p.m.Userinfo, access)
	if err != nil {
		return nil, err
	}
	if a.Status != http.StatusOK {
		return nil, &Fault{Cause: Userinfo, Expected: "status 200", Received: fmt.Sprint(a.Status)}
	}
	media, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if media != "application/jwt" {
		return parseClaims(Userinfo, a.Body)
	}
	if !p.OpenID {
		return nil, &Fault{Cause: Userinfo, err: errors.New("userinfo is signed, by keys that are not known")}
	}
	body, err := keySet{p.party, p.m.JWKS}.VerifySignature(ctx, string(bytes.TrimSpace(a.Body)))
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Fault{Cause: Userinfo, err: err}
	}
	in, err := parseClaims(Userinfo, body)
	if err != nil {
		return nil, err
	}
	var said struct {
		Audience jwt.Audience `json:"aud"`
	}
	if err := json.Unmarshal(body, &said); err != nil || in.Text("iss") != p.m.Issuer || !said.Audience.Contains(p.ID) {
		return nil, &Fault{Cause: Userinfo, err: errors.New("userinfo is signed for somebody else")}
	}
	return in, nil
}

// Get asks an address of the provider by an access token.
func (p Provider) Get(ctx context.Context, address, access string) (outbound.Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return outbound.Answer{}, &Fault{Cause: Userinfo, err: errors.New("not an address")}
	}
	r.Header.Set("Authorization", "Bearer "+access)
	r.Header.Set("Accept", "application/json, application/jwt")
	a, err := p.party.Outbound.Do(ctx, r, maxAnswer)
	if err != nil {
		return a, fault(ctx, Userinfo, err)
	}
	return a, nil
}
