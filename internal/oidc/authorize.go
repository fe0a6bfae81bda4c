package oidc

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/signin"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// requestLifetime is how long somebody may take to sign in and consent.
const requestLifetime = time.Hour

// errStale covers requests that are unknown, expired, answered, or of another browser.
var errStale = problem.New(problem.Invalid, "authorization_expired", "This request has been answered already, has expired, or was begun in another browser. Go back to the application and begin again.")

const (
	pathContinue = pathAuthorize + "/continue"
	pathConsent  = pathAuthorize + "/consent"
)

const tagAuthorization = "Authorization"

// authorizeRoutes are those of the authorization endpoint.
func (s *Service) authorizeRoutes() []web.Route {
	refused := []*problem.Problem{errRequest, errRedirect, errClient, errStale, errRequestURI, ratelimit.ErrLimited}
	endpoint := func(h web.Handler, takes string) web.Endpoint {
		return web.Endpoint{Handler: h, Media: "text/html", Takes: takes}
	}
	paths := slices.Concat([]string{pathAuthorize}, realms(keycloak+"auth"))
	return []web.Route{
		{Method: "GET", Paths: paths, Public: true, Own: true, Page: true, Endpoint: endpoint(s.getAuthorize, ""),
			Doc: web.Doc{Tag: tagAuthorization, Summary: "Ask for an authorization code", Query: authorizeParams, Errors: refused,
				Text: "Where browsers are sent (OpenID Connect Core, section 3.1.2). The answer goes to redirect_uri with code, state and iss, or with error, error_description, state and iss. " +
					"As long as client_id and redirect_uri are not certain, errors are pages."}},
		{Method: "POST", Paths: paths, Public: true, Own: true, Page: true, Endpoint: endpoint(s.postAuthorize, formMedia),
			Doc: web.Doc{Tag: tagAuthorization, Summary: "Ask for an authorization code by a form", Text: "The same parameters in a form.", Errors: append(refused, web.ErrTooLarge)}},
		{Method: "GET", Paths: []string{pathContinue}, Public: true, Own: true, Page: true, Endpoint: endpoint(s.getContinue, ""),
			Doc: web.Doc{Tag: tagAuthorization, Summary: "Go on after signing in", Text: "Where sign-in leads back to. Not for applications.", Errors: refused,
				Query: []web.Param{{Name: "request", Text: "Names the request"}, {Name: "switch", Text: "1 chooses another account"}}}},
		{Method: "POST", Paths: []string{pathConsent}, Public: true, Own: true, Page: true, Endpoint: endpoint(s.postConsent, formMedia),
			Doc: web.Doc{Tag: tagAuthorization, Summary: "Allow or deny", Text: "The form of the page that asks for consent. Not for applications.", Errors: append(refused, page.ErrForm),
				Query: []web.Param{{Name: "session", Text: "Of the user who was asked"}}}},
		{Method: "POST", Paths: []string{pathPAR}, Public: true, Own: true,
			Endpoint: withForm(web.JSON(http.StatusCreated, func(context.Context, access.Actor, struct{}) (pushed, error) { return pushed{}, nil }), s.postPAR),
			Doc: web.Doc{Tag: tagAuthorization, Summary: "Push an authorization request",
				Text:    "RFC 9126: the parameters of the authorization endpoint in a form, and what proves the client. The browser is then sent there with client_id and request_uri only.",
				Errors:  []*problem.Problem{errRequest, errClient, errRedirect, errResponseType, errRequestObject, errRequestURI, errSelfRegistered, errScope, errTarget, errUnauthorized, errProof, ratelimit.ErrLimited},
				Example: pushed{requestURIPrefix + "4XR6GVT2ZBSDLW7E5QJ3KUYAHM", 60}}},
	}
}

// withForm is an endpoint that is described like described and answered by h, from a
// form.
func withForm(described web.Endpoint, h web.Handler) web.Endpoint {
	described.Handler, described.Takes = h, formMedia
	return described
}

var authorizeParams = []web.Param{
	{Name: "response_type", Text: "code"},
	{Name: "redirect_uri", Text: "One that is registered, character by character"},
	{Name: "scope", Text: "openid and what is asked for beside it, separated by spaces"},
	{Name: "state", Text: "Comes back as it is; at most 4 KiB"},
	{Name: "nonce", Text: "Comes back in the ID token; at most 4 KiB"},
	{Name: "code_challenge", Text: "RFC 7636; required unless the application is registered without"},
	{Name: "code_challenge_method", Text: "S256"},
	{Name: "response_mode", Text: "query, fragment or form_post"},
	{Name: "prompt", Text: "none, or some of login, consent, select_account and create"},
	{Name: "max_age", Text: "Seconds that the last proof of who the user is may be old"},
	{Name: "login_hint", Text: "What the user is expected to type"},
	{Name: "id_token_hint", Text: "An ID token, of any age, of the user who must sign in"},
	{Name: "acr_values", Text: "Levels of authentication wanted"},
	{Name: "ui_locales", Text: "Languages wanted"},
	{Name: "claims", Text: "OpenID Connect Core, section 5.5"},
	{Name: "resource", Text: "RFC 8707; may come several times"},
	{Name: "dpop_jkt", Text: "RFC 9449, section 10"},
	{Name: "organization", Text: "Id or slug of the organization that the user is to act in"},
	{Name: "org_id", Text: "The same as organization"},
	{Name: "request_uri", Text: "Of a pushed request; then nothing but client_id counts beside it"},
}

// A journey is one request on its way to its answer.
type journey struct {
	request
	by       access.Actor
	issuer   string
	app      tenant.Application
	handle   string    // of the stored request; empty if it is not stored
	at       time.Time // when the browser came with it
	returned bool      // from signing in
	proven   bool      // the application has pushed it, and proved itself
	counted  bool      // against what a stranger may have us store
	// place is the organization that the session acts in for this request, or the one that
	// it would have to show more for. enter is the session that has to choose one.
	place session.Entry
	enter string
}

// begin makes a journey for a client of the tenant that is asked.
func (s *Service) begin(r *http.Request, clientID string) (*journey, error) {
	by, _, issuer, err := s.asked(r)
	if err != nil {
		return nil, err
	}
	by.Name = access.Visitor(by.Tenant, by.IP).Name // a bearer key authorizes nobody
	app, err := s.namedClient(r.Context(), by, clientID)
	if err != nil {
		return nil, err
	}
	return &journey{by: by, issuer: issuer, app: app, at: s.now().Truncate(time.Millisecond)}, nil
}

func (s *Service) getAuthorize(w http.ResponseWriter, r *http.Request) error {
	f, err := parseForm(r.URL.RawQuery)
	if err != nil {
		return s.unread(w, r, r.URL.RawQuery, err)
	}
	j, err := s.begin(r, f.get("client_id"))
	if err != nil {
		return err
	}
	if handle, ok := strings.CutPrefix(f.get("request_uri"), requestURIPrefix); ok {
		if err := s.resume(w, r, j, handle); err != nil {
			return err
		}
		return s.decide(w, r, j)
	}
	if answerable, err := s.judge(r.Context(), j, f); err != nil {
		return s.refuse(w, r, j, answerable, err)
	}
	return s.decide(w, r, j)
}

// postAuthorize keeps the request and sends the browser on to it. Another site's form
// came without our cookies; the browser comes with them when it follows.
func (s *Service) postAuthorize(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(r)
	if err != nil {
		return err
	}
	j, err := s.begin(r, f.get("client_id"))
	if err != nil {
		return err
	}
	if strings.HasPrefix(f.get("request_uri"), requestURIPrefix) {
		return seeOther(w, pathAuthorize, "client_id", j.app.ClientID, "request_uri", f.get("request_uri"))
	}
	if answerable, err := s.judge(r.Context(), j, f); err != nil {
		return s.refuse(w, r, j, answerable, err)
	}
	handle, err := s.keep(r.Context(), j, nil, pushedLifetime)
	if err != nil {
		return err
	}
	return seeOther(w, pathAuthorize, "client_id", j.app.ClientID, "request_uri", requestURIPrefix+handle)
}

// judge reads a request, and reports whether an error can go to the application.
func (s *Service) judge(ctx context.Context, j *journey, f form) (answerable bool, err error) {
	if j.request, err = returnTo(j.app, f); err != nil {
		return false, err
	}
	if j.app.OAuth.RequirePAR {
		return true, errRequest.Saying("The client has to push its requests (RFC 9126).")
	}
	return true, s.read(ctx, j, f)
}

// read reads what a request asks for, once it is certain where its answer goes.
func (s *Service) read(ctx context.Context, j *journey, f form) error {
	issuer, err := s.issuer(ctx, j.by.Tenant)
	if err != nil {
		return err
	}
	if err := j.request.read(reaching(j.app, issuer), f); err != nil {
		return err
	}
	hint := f.get("id_token_hint")
	if hint == "" {
		return nil
	}
	sub, _, _, err := s.Tokens.Hint(ctx, j.by.Tenant, hint)
	if p, ok := problem.From(err); ok {
		return errRequest.Saying("The parameter id_token_hint is not an ID token of this provider.").In("id_token_hint").Because("%w", error(p))
	}
	if err != nil {
		return err
	}
	if j.UserID != "" && j.UserID != sub {
		return errLoginRequired.Because("hint and claims name two users")
	}
	j.UserID = sub
	return nil
}

// unread answers a request whose parameters can not be read, such as one that has a
// parameter twice. The application is told if it is certain nevertheless who it is and
// where it wants its answers: each is named once, and the address is registered.
func (s *Service) unread(w http.ResponseWriter, r *http.Request, text string, unreadable error) error {
	q, err := url.ParseQuery(text)
	if err != nil || len(q["client_id"]) != 1 || len(q["redirect_uri"]) != 1 {
		return unreadable
	}
	j, err := s.begin(r, q.Get("client_id"))
	if err != nil {
		return err
	}
	f := form{{"redirect_uri", q.Get("redirect_uri")}}
	if state := q["state"]; len(state) == 1 && isText(state[0]) {
		f = append(f, parameter{"state", state[0]})
	}
	if j.request, err = returnTo(j.app, f); err != nil {
		return err
	}
	return s.refuse(w, r, j, true, unreadable)
}

// getContinue goes on with a request after somebody has signed in.
func (s *Service) getContinue(w http.ResponseWriter, r *http.Request) error {
	handle, err := web.Query(r, "request")
	if err != nil {
		return err
	}
	j, err := s.stored(w, r, handle)
	if err != nil {
		return err
	}
	j.returned = true
	if r.URL.Query().Get("switch") != "" {
		return s.signIn(w, r, j, errSelectRequired)
	}
	return s.decide(w, r, j)
}

// stored returns the journey of a request that is kept.
func (s *Service) stored(w http.ResponseWriter, r *http.Request, handle string) (*journey, error) {
	by, _, issuer, err := s.asked(r)
	if err != nil {
		return nil, err
	}
	by.Name = access.Visitor(by.Tenant, by.IP).Name
	j := &journey{by: by, issuer: issuer}
	if err := s.resume(w, r, j, handle); err != nil {
		return nil, err
	}
	j.app, err = s.namedClient(r.Context(), by, j.ClientID)
	return j, err
}

// namedClient is application for where nobody could prove to be the client: the answer
// is no challenge to do so.
func (s *Service) namedClient(ctx context.Context, by access.Actor, clientID string) (tenant.Application, error) {
	app, err := s.findClient(ctx, by, clientID)
	if errors.Is(err, errClient) {
		err = tenant.ErrClient.Because("%w", err)
	}
	return app, err
}

// resume takes up a request that is kept, for the browser that goes on with it. What
// the application is registered for may have changed meanwhile.
func (s *Service) resume(w http.ResponseWriter, r *http.Request, j *journey, handle string) error {
	if handle == "" || len(handle) > 64 {
		return errStale
	}
	name := secret.Hash(browser(w, r))
	var kept storedRequest
	err := s.DB.Write(r.Context(), func(tx *database.Tx) (err error) {
		kept, err = claimRequest(r.Context(), tx, j.by.Tenant, secret.Hash(handle), name)
		return err
	})
	if err != nil {
		return err
	}
	if j.app.ID != "" && j.app.ClientID != kept.ClientID {
		return errStale.Because("pushed by another client")
	}
	j.request, j.handle, j.at = kept.request, handle, kept.startedAt
	return nil
}

// keep stores the request of a journey and returns the handle. Strangers have us store
// only so many: ratelimit.ErrLimited.
func (s *Service) keep(ctx context.Context, j *journey, browser []byte, lifetime time.Duration) (string, error) {
	handle, hash := secret.NewToken()
	err := s.DB.Write(ctx, func(tx *database.Tx) error {
		if !j.proven {
			if err := s.SignIn.CountStart(ctx, tx, j.by); err != nil {
				return err
			}
		}
		return insertRequest(ctx, tx, j.by.Tenant, hash, browser, j.request, lifetime)
	})
	j.counted = err == nil && !j.proven
	return handle, err
}

// browser is the name of the browser, as page.Browser has it. A new name is made part
// of the request: whoever asks again while it is answered must learn the same.
func browser(w http.ResponseWriter, r *http.Request) string {
	name := page.Browser(w, r)
	for _, line := range w.Header()["Set-Cookie"] {
		if c, err := http.ParseSetCookie(line); err == nil && c.Value == name && len(r.CookiesNamed(c.Name)) == 0 {
			r.AddCookie(c)
		}
	}
	return name
}

// decide finds out what is missing for an answer and has it done.
func (s *Service) decide(w http.ResponseWriter, r *http.Request, j *journey) error {
	if !matchesRedirect(j.app, j.RedirectURI) { // not any more
		return errRedirect
	}
	sessions, err := s.SignIn.Signed(r)
	if err != nil {
		return err
	}
	in, missing, err := s.choose(r.Context(), j, sessions)
	if err != nil {
		return err
	}
	if missing == nil {
		missing, err = s.consentMissing(r.Context(), j, in)
		if err != nil {
			return err
		}
	}
	switch {
	case missing == nil:
		return s.complete(w, r, j, in, false)
	case j.prompts(promptNone), missing.Is(errUnmet):
		return s.refuse(w, r, j, true, missing)
	case missing.Is(errConsentRequired):
		return s.askConsent(w, r, j, in)
	}
	return s.signIn(w, r, j, missing)
}

// choose finds the session that a request is to be answered for, or says what is
// missing. What has to be asked of the person once, it takes for asked when they come
// back from signing in.
func (s *Service) choose(ctx context.Context, j *journey, sessions []session.Session) (in session.Session, missing *problem.Problem, err error) {
	if j.UserID != "" {
		sessions = slices.DeleteFunc(slices.Clone(sessions), func(in session.Session) bool { return in.UserID != j.UserID })
	}
	if len(sessions) == 0 {
		return in, errLoginRequired, nil
	}
	in = sessions[0]
	if !j.returned && len(sessions) > 1 {
		hinted, found, err := s.hinted(ctx, j, sessions)
		if err != nil {
			return in, nil, err
		}
		if !found {
			return in, errSelectRequired, nil
		}
		in = hinted
	}
	if missing = j.lacks(in); missing != nil {
		return in, missing, nil
	}
	if !j.returned && signin.AsksTwo(j.ACR) && in.ACR != signin.ACRTwoFactors {
		return in, errLoginRequired, nil
	}
	missing, err = s.admit(ctx, j, in)
	return in, missing, err
}

// admit finds the organization that a session acts in for a request, and says what the
// session lacks for that or for the application; nil if nothing. What was shown on the
// way here is judged like any other session: it may have been chosen, not proved.
func (s *Service) admit(ctx context.Context, j *journey, in session.Session) (*problem.Problem, error) {
	if missing, err := s.locate(ctx, j, in); missing != nil || err != nil {
		return missing, err
	}
	enough, err := s.SignIn.Suffices(ctx, j.by.Tenant, in, j.app)
	if err != nil || enough {
		return nil, err
	}
	return errLoginRequired, nil
}

// locate finds the organization that a session acts in for a request, or says what is
// missing for that.
func (s *Service) locate(ctx context.Context, j *journey, in session.Session) (*problem.Problem, error) {
	if j.Connection != "" && !j.returned {
		organization, err := s.SignIn.Connection(ctx, j.by.Tenant, j.Connection)
		if err != nil || organization == "" || !slices.Contains(in.Ways, signin.BySSO(organization)) {
			return errLoginRequired, nil // what is wrong with the connection is told there
		}
	}
	var missing *problem.Problem
	var err error
	j.place, missing, err = s.SignIn.Place(ctx, j.by.Tenant, in, j.Organization)
	switch {
	case err != nil || missing == nil:
		return nil, err
	case missing.Is(signin.ErrChoose):
		j.enter = in.ID
		return errInteraction, nil
	}
	return errLoginRequired, nil
}

// lacks says what a session lacks to answer a request; nil if nothing.
func (j *journey) lacks(in session.Session) *problem.Problem {
	switch {
	case !j.returned && j.prompts(promptCreate):
		return errInteraction
	case !j.returned && j.prompts(promptSelect):
		return errSelectRequired
	case in.AuthAt.Before(j.after(j.at)):
		return errLoginRequired
	case len(j.Levels) > 0 && !slices.Contains(j.Levels, in.ACR):
		if j.returned {
			return errUnmet
		}
		return errLoginRequired
	}
	return nil
}

// hinted finds, among several sessions, the one of the user whom login_hint names.
func (s *Service) hinted(ctx context.Context, j *journey, sessions []session.Session) (session.Session, bool, error) {
	if j.LoginHint == "" {
		return session.Session{}, false, nil
	}
	u, err := s.Users.FindByLogin(ctx, s.DB, access.System(j.by.Tenant), j.LoginHint)
	if _, ok := problem.From(err); ok { // nobody, or not a login at all
		return session.Session{}, false, nil
	}
	if err != nil {
		return session.Session{}, false, err
	}
	i := slices.IndexFunc(sessions, func(in session.Session) bool { return in.UserID == u.ID })
	if i < 0 {
		return session.Session{}, false, nil
	}
	return sessions[i], true, nil
}

// signIn has the person prove who they are, or choose an account, and come back.
func (s *Service) signIn(w http.ResponseWriter, r *http.Request, j *journey, missing *problem.Problem) error {
	if err := s.park(w, r, j); err != nil {
		return err
	}
	start := signin.Start{
		Application: j.app, ReturnTo: address(pathContinue, "request", j.handle), LoginHint: j.LoginHint, UILocales: j.UILocales, ACR: j.ACR,
		After: j.after(j.at), UserID: j.UserID, SignUp: !j.returned && j.prompts(promptCreate),
		SelectAccount: missing.Is(errSelectRequired) || !j.returned && j.prompts(promptSelect),
		Organization:  j.Organization, Enter: j.enter, Connection: j.Connection,
		Counted: j.counted,
	}
	if j.returned {
		start.Connection = ""
	}
	if start.Organization == "" && j.enter == "" {
		start.Organization = j.place.Organization
	}
	location, err := s.SignIn.Begin(w, r, start)
	if err != nil {
		return err
	}
	return seeOther(w, location)
}

// park stores a journey that is not stored yet, for this browser.
func (s *Service) park(w http.ResponseWriter, r *http.Request, j *journey) (err error) {
	if j.handle != "" {
		return nil
	}
	j.handle, err = s.keep(r.Context(), j, secret.Hash(browser(w, r)), requestLifetime)
	return err
}

// complete answers a request with a code for the user of a session. A stored request is
// used up in the transaction that makes the code; consented says that its user has just
// allowed it, which is remembered.
func (s *Service) complete(w http.ResponseWriter, r *http.Request, j *journey, in session.Session, consented bool) error {
	ctx, by := r.Context(), j.by
	by.Name = "user:" + in.UserID
	var code string
	err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		if err := s.settle(ctx, tx, j); err != nil {
			return err
		}
		if consented {
			if err := s.grantConsent(ctx, tx, by, in.UserID, j.app, j.Scope); err != nil {
				return err
			}
		}
		if j.place.Organization != in.OrganizationID {
			if in, err = s.SignIn.Sessions.Enter(ctx, tx, by, in.ID, j.place); err != nil {
				return err
			}
		}
		code, err = makeCode(ctx, tx, j.app, j.request, in)
		return err
	})
	if err != nil {
		return err
	}
	return s.answer(w, r, j, url.Values{"code": {code}})
}

// settle uses up the stored request of a journey, if it is stored.
func (s *Service) settle(ctx context.Context, tx *database.Tx, j *journey) error {
	if j.handle == "" {
		return nil
	}
	return spendRequest(ctx, tx, j.by.Tenant, secret.Hash(j.handle))
}

// refuse answers a request with an error: to the application if it is answerable. The
// application of a stranger, who may have registered it to send people astray by a
// request that is broken on purpose, gets none: the person is told and may follow a
// link (RFC 9700, section 4.11.2).
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, j *journey, answerable bool, refused error) error {
	p, ok := problem.From(refused)
	if !ok || !answerable {
		return refused
	}
	if j.handle != "" {
		if err := s.DB.Write(r.Context(), func(tx *database.Tx) error { return s.settle(r.Context(), tx, j) }); err != nil {
			return err
		}
	}
	code := codeOf(p)
	if p.Is(errUnmet) {
		code = errUnmet.Code
	}
	values := url.Values{"error": {code}, "error_description": {textOf(p.Message)}}
	if j.app.OAuth.ThirdParty && j.handle == "" && !j.prompts(promptNone) {
		failure := page.Problem(s.SignIn.View(w, r), p, web.Of(r.Context()).ID)
		failure.NextURL = j.location(j.complement(values))
		return page.Render(w, r, http.StatusBadRequest, failure)
	}
	return s.answer(w, r, j, values)
}

// complement adds what is part of every answer: the state as it came, and who answers,
// so that a client of several providers can not be made to mix them up (RFC 9207).
func (j *journey) complement(values url.Values) url.Values {
	values.Set("iss", j.issuer)
	if j.State != "" {
		values.Set("state", j.State)
	}
	return values
}

// location is where the answer goes, with the answer in it.
func (j *journey) location(values url.Values) string {
	switch {
	case j.Mode == modeFragment:
		return j.RedirectURI + "#" + values.Encode()
	case strings.Contains(j.RedirectURI, "?"):
		return j.RedirectURI + "&" + values.Encode()
	}
	return j.RedirectURI + "?" + values.Encode()
}

// answer sends the browser to the application with the answer.
func (s *Service) answer(w http.ResponseWriter, r *http.Request, j *journey, values url.Values) error {
	j.complement(values)
	if j.Mode != modeFormPost {
		return seeOther(w, j.location(values))
	}
	form := &page.FormPost{View: s.SignIn.View(w, r), App: appOf(j.app), Action: j.RedirectURI}
	form.Here = "" // another language would ask again
	for _, name := range []string{"code", "error", "error_description", "state", "iss"} {
		if values.Has(name) {
			form.Fields = append(form.Fields, page.Pair{Name: name, Value: values.Get(name)})
		}
	}
	return page.Render(w, r, http.StatusOK, form)
}

// isText reports whether s can be kept: a database takes nothing else.
func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

func appOf(app tenant.Application) page.App {
	return page.App{Name: app.Name, LogoURL: app.OAuth.LogoURI}
}

func personOf(u user.User) page.Person {
	return page.Person{Name: strings.TrimSpace(u.FirstName + " " + u.LastName), Login: u.Login()}
}

// address is a path of ours with parameters in pairs of name and value.
func address(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// seeOther sends the browser on. It is 303 everywhere: with 307 a browser would hand
// what it has posted to us to whoever is next (RFC 9700, section 4.12). There is no
// body, in which an address with a code would stand a second time.
func seeOther(w http.ResponseWriter, location string, pairs ...string) error {
	w.Header().Set("Location", address(location, pairs...))
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// pushedLifetime is how long a pushed request waits for its browser.
const pushedLifetime = time.Minute

// pushed is the answer to a pushed request (RFC 9126, section 2.2).
type pushed struct {
	RequestURI string `json:"request_uri"`
	ExpiresIn  int64  `json:"expires_in" doc:"Seconds"`
}

// postPAR keeps a request that its application sends by itself.
func (s *Service) postPAR(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(r)
	if err != nil {
		return err
	}
	by, app, err := s.client(r, f)
	if err != nil {
		return err
	}
	j := &journey{by: by, app: app, proven: !app.IsPublic()}
	if j.request, err = returnTo(app, f); errors.Is(err, errRedirect) {
		err = errRequest.Saying("%s", errRedirect.Message).In("redirect_uri") // the code is one of registration
	}
	if err != nil {
		return err
	}
	if f.has("request_uri") {
		return errRequest.Saying("A pushed request does not name another (RFC 9126, section 2.1).").In("request_uri")
	}
	if err := s.read(r.Context(), j, f); err != nil {
		return err
	}
	if err := s.bindRequest(r, j); err != nil {
		return err
	}
	handle, err := s.keep(r.Context(), j, nil, pushedLifetime)
	if err != nil {
		return err
	}
	return web.Write(w, http.StatusCreated, pushed{requestURIPrefix + handle, int64(pushedLifetime.Seconds())})
}

// bindRequest binds the code of a pushed request to the key of its DPoP proof (RFC
// 9449, section 10.1).
func (s *Service) bindRequest(r *http.Request, j *journey) error {
	thumbprint, err := s.clientProof(r, j.by, j.app)
	if err == nil && thumbprint != "" && j.Thumbprint != "" && thumbprint != j.Thumbprint {
		err = errProof.Saying("The DPoP proof is of another key than dpop_jkt.")
	}
	j.Thumbprint = cmp.Or(j.Thumbprint, thumbprint)
	return err
}

// mountBrowser adds what browsers call to r, and what belongs to it.
func (s *Service) mountBrowser(r *web.Router) {
	for _, routes := range [][]web.Route{s.authorizeRoutes(), s.logoutRoutes(), s.registerRoutes(), s.ssoRoutes()} {
		for _, route := range routes {
			r.Add(route)
		}
	}
}
