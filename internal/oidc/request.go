package oidc

import (
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	strict "github.com/go-jose/go-jose/v4/json" // refuses members that come twice, and does not fold case

	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
)

// Problems of authorization requests.
var (
	errRedirect        = problem.New(problem.Invalid, "invalid_redirect_uri", "The redirect URI is not one that is registered for this application.")
	errResponseType    = problem.New(problem.Invalid, "unsupported_response_type", "The only response type is code.")
	errRequestObject   = problem.New(problem.Invalid, "request_not_supported", "Request objects are not supported. Push the request instead.")
	errRequestURI      = problem.New(problem.Invalid, "request_uri_not_supported", "Only addresses of pushed authorization requests are supported.")
	errSelfRegistered  = problem.New(problem.Invalid, "registration_not_supported", "An application can not register itself within a request.")
	errLoginRequired   = problem.New(problem.Invalid, "login_required", "The user has to sign in.")
	errConsentRequired = problem.New(problem.Invalid, "consent_required", "The user has to be asked for consent.")
	errSelectRequired  = problem.New(problem.Invalid, "account_selection_required", "The user has to choose an account.")
	errInteraction     = problem.New(problem.Invalid, "interaction_required", "The user has to do something first.")
	errUnmet           = problem.New(problem.Invalid, "unmet_authentication_requirements", "The user can not be authenticated in the way that was asked for.")
)

// Limits of an authorization request, in bytes. State and nonce are the application's
// and come back as they are.
const (
	maxState  = 4 << 10
	maxClaims = 8 << 10
	maxHint   = 1 << 10
	maxScope  = 4 << 10

	maxOrganization = 128
	maxResources    = 10
)

// Response modes (OAuth 2.0 Multiple Response Type Encoding Practices; Form Post
// Response Mode).
const (
	modeQuery    = "query"
	modeFragment = "fragment"
	modeFormPost = "form_post"
)

// Values of "prompt" (OpenID Connect Core, section 3.1.2.1; Initiating User
// Registration).
const (
	promptNone    = "none"
	promptLogin   = "login"
	promptConsent = "consent"
	promptSelect  = "select_account"
	promptCreate  = "create"
)

var prompts = []string{promptNone, promptLogin, promptConsent, promptSelect, promptCreate}

// A request is what an application asks for at the authorization endpoint, after it
// was judged. From then on nothing of it comes from the browser.
type request struct {
	ClientID      string          `json:"client_id"`
	RedirectURI   string          `json:"redirect_uri"`
	RedirectNamed bool            `json:"redirect_named,omitempty"` // by the request
	Mode          string          `json:"response_mode"`
	State         string          `json:"state,omitempty"`
	Nonce         string          `json:"nonce,omitempty"`
	Scope         string          `json:"scope,omitempty"` // what of it may be granted
	Challenge     string          `json:"code_challenge,omitempty"`
	Prompt        []string        `json:"prompt,omitempty"`
	MaxAge        *int64          `json:"max_age,omitempty"` // seconds
	ACR           string          `json:"acr_values,omitempty"`
	Levels        []string        `json:"acr,omitempty"` // one of them is a must, if there are any
	LoginHint     string          `json:"login_hint,omitempty"`
	UILocales     string          `json:"ui_locales,omitempty"`
	UserID        string          `json:"user,omitempty"` // who it must be
	Claims        json.RawMessage `json:"claims,omitempty"`
	Resources     []string        `json:"resource,omitempty"`
	Thumbprint    string          `json:"dpop_jkt,omitempty"`
	SSO           bool            `json:"sso,omitempty"` // by /api/sso/authorize
	// Organization is the one to act in, by id or slug. Connection is the one to sign in
	// by, of it or of another service.
	Organization string `json:"organization,omitempty"`
	Connection   string `json:"connection,omitempty"`
}

func (q request) prompts(value string) bool { return slices.Contains(q.Prompt, value) }

// after is the moment after which the user must have proved who they are, for a
// request that came at a moment; zero if any proof is good enough.
func (q request) after(at time.Time) (after time.Time) {
	if q.MaxAge != nil {
		after = at.Add(-time.Duration(*q.MaxAge) * time.Second)
	}
	if q.prompts(promptLogin) {
		after = at
	}
	return after
}

// returnTo reads where the answer of a request goes. As long as that is not certain
// nobody is sent anywhere: its errors are for the person in front of the browser (RFC
// 6749, section 4.1.2.1).
func returnTo(app tenant.Application, f form) (q request, err error) {
	q = request{ClientID: app.ClientID, RedirectURI: f.get("redirect_uri"), State: f.get("state"), Mode: modeQuery}
	if q.RedirectNamed = q.RedirectURI != ""; !q.RedirectNamed {
		if q.RedirectURI, err = onlyRedirect(app, f); err != nil {
			return q, err
		}
	}
	switch {
	case !matchesRedirect(app, q.RedirectURI):
		return q, errRedirect.In("redirect_uri")
	case answersItself(q.RedirectURI):
		return q, errRedirect.Saying("The redirect URI has a parameter of the answer in it, such as code or state.").In("redirect_uri")
	case len(q.State) > maxState:
		return q, errRequest.Saying("The state is longer than 4 KiB.").In("state")
	}
	if mode := f.get("response_mode"); slices.Contains([]string{modeFragment, modeFormPost}, mode) {
		q.Mode = mode
	}
	return q, nil
}

// onlyRedirect is where the answer goes if the request does not say: to the only
// address that is registered. OpenID Connect wants it said.
func onlyRedirect(app tenant.Application, f form) (string, error) {
	if len(app.RedirectURIs) != 1 || slices.Contains(strings.Fields(f.get("scope")), "openid") {
		return "", errRequest.Saying("The parameter redirect_uri is missing.").In("redirect_uri")
	}
	return app.RedirectURIs[0], nil
}

// matchesRedirect reports whether an application may have its answers at an address:
// it is registered, character by character (RFC 9700, section 4.1.3). Only a native
// application on the user's own machine, which can not know its port beforehand, may
// name another port than the registered one on 127.0.0.1 and [::1] (RFC 8252, section
// 7.3). The address is not parsed: two parsers could read it differently.
func matchesRedirect(app tenant.Application, address string) bool {
	if slices.Contains(app.RedirectURIs, address) {
		return true
	}
	if !app.IsNative() {
		return false
	}
	host, rest, ok := cutLoopback(address)
	return ok && slices.ContainsFunc(app.RedirectURIs, func(registered string) bool {
		h, r, ok := cutLoopback(registered)
		return ok && h == host && r == rest
	})
}

// cutLoopback takes the port out of an address on loopback. It reports false for all
// other addresses.
func cutLoopback(address string) (host, rest string, ok bool) {
	for _, host := range []string{"http://127.0.0.1", "http://[::1]"} {
		if rest, ok := cutOrigin(address, host); ok {
			return host, rest, true
		}
	}
	return "", "", false
}

// cutOrigin returns what follows an origin, and any port, in an address. It reports
// false if the address is of another origin.
func cutOrigin(address, origin string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(address, origin)
	if port, hasPort := strings.CutPrefix(rest, ":"); ok && hasPort {
		rest = strings.TrimLeft(port, "0123456789")
		if n, err := strconv.ParseUint(port[:len(port)-len(rest)], 10, 16); err != nil || n == 0 {
			return "", false
		}
	}
	return rest, ok && (rest == "" || rest[0] == '/' || rest[0] == '?')
}

// ofAnswers are the parameters of answers. One that stands in the redirect URI already
// would be taken for ours.
var ofAnswers = []string{"code", "state", "iss", "error", "error_description", "error_uri", "response", "access_token", "id_token", "token_type", "expires_in", "session_state"}

func answersItself(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return true
	}
	for name := range u.Query() {
		if slices.Contains(ofAnswers, strings.ToLower(name)) {
			return true
		}
	}
	return false
}

// read reads the rest of a request. Its errors go to the application.
func (q *request) read(app tenant.Application, f form) error {
	for _, part := range []func(tenant.Application, form) error{q.readKind, q.readPKCE, q.readScope, q.readPrompt, q.readUser, q.readClaims} {
		if err := part(app, f); err != nil {
			return err
		}
	}
	return nil
}

func (q *request) readKind(app tenant.Application, f form) error {
	mode := f.get("response_mode")
	switch {
	case f.get("request") != "":
		return errRequestObject
	case f.get("request_uri") != "":
		return errRequestURI
	case f.get("registration") != "":
		return errSelfRegistered
	case f.get("response_type") == "":
		return errRequest.Saying("The parameter response_type is missing.").In("response_type")
	case f.get("response_type") != "code":
		return errResponseType.In("response_type")
	case mode != "" && !slices.Contains([]string{modeQuery, modeFragment, modeFormPost}, mode):
		return errRequest.Saying("The response mode is query, fragment or form_post.").In("response_mode")
	case !app.May(tenant.GrantCode):
		return errUnauthorized.Saying("The client is not registered for authorization codes.")
	}
	return nil
}

// readPKCE reads the challenge that binds the code to who asks for it (RFC 7636). The
// method plain would hand the verifier to whoever sees the request.
func (q *request) readPKCE(app tenant.Application, f form) error {
	q.Challenge = f.get("code_challenge")
	method := f.get("code_challenge_method")
	switch {
	case q.Challenge == "" && method != "":
		return errRequest.Saying("The parameter code_challenge is missing.").In("code_challenge")
	case q.Challenge == "" && (app.IsPublic() || !app.OAuth.WithoutPKCE):
		return errRequest.Saying("PKCE is required: send code_challenge and code_challenge_method=S256.").In("code_challenge")
	case q.Challenge == "":
		return nil
	case method != "S256":
		return errRequest.Saying("The parameter code_challenge_method must be S256.").In("code_challenge_method")
	case !isThumbprint(q.Challenge): // the same form: a SHA-256 hash
		return errRequest.Saying("The parameter code_challenge is not a SHA-256 hash in base64url.").In("code_challenge")
	}
	return nil
}

// readScope keeps what the application may be granted of what it asks for. What nobody
// knows is left out (OpenID Connect Core, section 3.1.2.1); if nothing is left the
// application is told.
func (q *request) readScope(app tenant.Application, f form) error {
	asked := f.get("scope")
	if len(asked) > maxScope {
		return errScope.Saying("The scope is longer than 4 KiB.")
	}
	var granted []string
	for _, scope := range strings.Fields(asked) {
		if mayHave(app, scope) && !slices.Contains(granted, scope) {
			granted = append(granted, scope)
		}
	}
	if q.Scope = strings.Join(granted, " "); q.Scope == "" && strings.TrimSpace(asked) != "" {
		return errScope.Saying("The application may have nothing of this scope.").In("scope")
	}
	return q.readResources(app, f)
}

// mayHave reports whether a scope may be granted to an application for a user: those
// of OpenID Connect to all, others if they are registered for it. Scopes of the
// management API do nothing in the token of a user who is no administrator.
func mayHave(app tenant.Application, scope string) bool {
	if scope == "offline_access" {
		return app.May(tenant.GrantRefresh)
	}
	return slices.Contains(token.Scopes, scope) || slices.Contains(app.OAuth.Scopes, scope)
}

// reaching returns an application with the issuer among the resources that it may name:
// it needs no registration for what a token is for that names none.
func reaching(app tenant.Application, issuer string) tenant.Application {
	app.OAuth.Resources = append(slices.Clone(app.OAuth.Resources), issuer)
	return app
}

// readResources reads where the access token is to be used (RFC 8707).
func (q *request) readResources(app tenant.Application, f form) error {
	q.Resources = f.all("resource")
	if len(q.Resources) > maxResources {
		return errTarget.Saying("A request names at most %d resources.", maxResources).In("resource")
	}
	for _, r := range q.Resources {
		if !slices.Contains(app.OAuth.Resources, r) {
			return errTarget.Saying("The application may not ask for a token for this resource.").In("resource")
		}
	}
	return nil
}

func (q *request) readPrompt(_ tenant.Application, f form) error {
	q.Prompt = strings.Fields(f.get("prompt"))
	for _, p := range q.Prompt {
		if !slices.Contains(prompts, p) {
			return errRequest.Saying("The parameter prompt has a value that is not known.").In("prompt")
		}
	}
	if q.prompts(promptNone) && len(q.Prompt) > 1 {
		return errRequest.Saying("The prompt none goes with no other.").In("prompt")
	}
	age := f.get("max_age")
	if age == "" {
		return nil
	}
	seconds, err := strconv.ParseUint(age, 10, 31)
	if err != nil {
		return errRequest.Saying("The parameter max_age is a number of seconds.").In("max_age")
	}
	maxAge := int64(seconds)
	q.MaxAge = &maxAge
	return nil
}

func (q *request) readUser(_ tenant.Application, f form) error {
	q.Nonce, q.ACR, q.LoginHint, q.UILocales, q.Thumbprint = f.get("nonce"), f.get("acr_values"), f.get("login_hint"), f.get("ui_locales"), f.get("dpop_jkt")
	q.Organization = cmp.Or(f.get("organization"), f.get("org_id"))
	switch {
	case f.get("organization") != "" && f.get("org_id") != "" && f.get("organization") != f.get("org_id"):
		return errRequest.Saying("The parameters organization and org_id name two organizations.").In("organization")
	case len(q.Organization) > maxOrganization:
		return errRequest.Saying("The parameter organization has at most 128 bytes.").In("organization")
	case len(q.Nonce) > maxState:
		return errRequest.Saying("The nonce is longer than 4 KiB.").In("nonce")
	case len(q.LoginHint) > maxHint, len(q.ACR) > maxHint, len(q.UILocales) > maxHint:
		return errRequest.Saying("The parameters login_hint, acr_values and ui_locales have at most 1 KiB each.")
	case q.Thumbprint != "" && !isThumbprint(q.Thumbprint):
		return errRequest.Saying("The parameter dpop_jkt is not a SHA-256 hash in base64url.").In("dpop_jkt")
	}
	return nil
}

// A claimWanted is what is asked of one claim.
type claimWanted struct {
	Essential bool     `json:"essential"`
	Value     string   `json:"value"`
	Values    []string `json:"values"`
}

// readClaims reads the claims parameter (OpenID Connect Core, section 5.5). Two claims
// say who must sign in and how; the rest is for the tokens.
func (q *request) readClaims(_ tenant.Application, f form) error {
	text := f.get("claims")
	if text == "" {
		return nil
	}
	bad := errRequest.Saying("The parameter claims is not the JSON object that it should be.").In("claims")
	var parts struct {
		Userinfo map[string]json.RawMessage `json:"userinfo,omitempty"`
		IDToken  map[string]json.RawMessage `json:"id_token,omitempty"`
	}
	if len(text) > maxClaims || strict.Unmarshal([]byte(text), &parts) != nil {
		return bad
	}
	var sub, acr claimWanted
	if raw := parts.IDToken["sub"]; raw != nil && strict.Unmarshal(raw, &sub) != nil {
		return bad
	}
	if raw := parts.IDToken["acr"]; raw != nil && strict.Unmarshal(raw, &acr) != nil {
		return bad
	}
	q.UserID = sub.Value
	if acr.Value != "" {
		acr.Values = append(acr.Values, acr.Value)
	}
	if acr.Essential {
		q.Levels = acr.Values
	}
	if q.ACR == "" {
		q.ACR = strings.Join(acr.Values, " ")
	}
	kept, err := json.Marshal(parts)
	if err != nil {
		return bad
	}
	q.Claims = kept
	return nil
}

// textOf is a message as an answer may carry it (RFC 6749, section 4.1.2.1).
func textOf(message string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '\''
		}
		return c
	}, message)
}

// requestURIPrefix and a handle are the address of a pushed request (RFC 9126,
// section 2.2).
const requestURIPrefix = "urn:ietf:params:oauth:request_uri:"
