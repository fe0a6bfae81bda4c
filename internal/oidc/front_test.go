package oidc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/keyring"
	"github.com/cardea-id/cardea/internal/oidc"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/outbound"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/signin"
	"github.com/cardea-id/cardea/internal/social"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

const home = "https://cardea.test"

// A front is the provider with what stands behind it and the edge before it, on a
// database of its own, with a tenant, an application of each kind and two users.
type front struct {
	*oidc.Service
	now      atomic.Int64
	handler  http.Handler
	tenant   string // id
	own      tenant.Application
	ownKey   string // its secret
	public   tenant.Application
	foreign  tenant.Application // of somebody else
	ann, bob user.User
}

// onFront runs a test on each engine.
func onFront(t *testing.T, test func(t *testing.T, b *front)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		t.Helper()
		test(t, newFront(t, db))
	})
}

func newFront(t *testing.T, db *database.DB) *front {
	t.Helper()
	b := &front{}
	b.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
	db.Now = func() time.Time { return time.UnixMilli(b.now.Add(1)) }
	master, err := secret.NewBox(secret.NewBoxKey())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	limits := &ratelimit.Limiter{DB: db}
	tenants := &tenant.Service{DB: db, Log: log, Master: master, Limits: limits, PublicURL: home, BaseHost: "cardea.test", Default: "demo"}
	users := &user.Service{DB: db, Box: tenants.Box, Connection: tenant.ManualConnection}
	sessions := &session.Service{DB: db, Box: tenants.Box}
	ring := &keyring.Ring{DB: db, Box: tenants.Box}
	orgs := &org.Service{DB: db, Tenants: tenants, Users: users, Limits: limits}
	tokens := &token.Service{DB: db, Ring: ring, Tenants: tenants, Users: users, Orgs: orgs, Sessions: sessions}
	signIn := &signin.Service{
		DB: db, Log: log, Tenants: tenants, Users: users, Sessions: sessions, Tokens: tokens, Limits: limits, Orgs: orgs,
		Social: &social.Service{DB: db, Box: tenants.Box}, SSO: &sso.Service{DB: db, Box: tenants.Box},
	}
	b.Service = &oidc.Service{
		DB: db, Tenants: tenants, Users: users, Sessions: sessions, Tokens: tokens, Ring: ring, SignIn: signIn, Limits: limits, Log: log, Jobs: &jobs.Queue{DB: db, Log: log},
		Outbound: &outbound.Client{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowHTTP: true, AnyPort: true, Timeout: 2 * time.Second},
	}
	signIn.Ended = b.SessionEnded
	b.Handle(b.Jobs)
	router := &web.Router{}
	b.Mount(router)
	b.handler = &web.Edge{Log: log, PublicHost: "cardea.test", Knows: tenants.AnswersAt, Next: tenants.Resolve(router), Dialect: func(path string) web.Dialect {
		switch {
		case oidc.IsProtocol(path):
			return oidc.Dialect
		case strings.HasPrefix(path, "/api/"):
			return web.API
		}
		return page.Dialect(func(w http.ResponseWriter, r *http.Request, _ *problem.Problem) page.View { return signIn.View(w, r) })
	}}
	b.populate(t)
	return b
}

func (b *front) populate(t *testing.T) {
	t.Helper()
	b.write(t, func(tx *database.Tx) error {
		row, err := b.Tenants.Create(t.Context(), tx, access.System(""), "demo", "Demo", tenant.KindSSMS)
		b.tenant = row.ID
		return err
	})
	b.own, b.ownKey = b.application(t, tenant.Application{Name: "Own", RedirectURIs: []string{callback}, OAuth: tenant.OAuth{
		PostLogoutRedirectURIs: []string{"https://app.example.com/bye"}, Resources: []string{"https://api.example.com"},
	}})
	b.public, _ = b.application(t, tenant.Application{Name: "Public", RedirectURIs: []string{callback}, OAuth: tenant.OAuth{AuthMethod: tenant.AuthNone}})
	b.foreign, _ = b.application(t, tenant.Application{Name: "Foreign <b>app</b>", RedirectURIs: []string{"https://foreign.example.com/callback"}, OAuth: tenant.OAuth{ThirdParty: true, AuthMethod: tenant.AuthNone}})
	for _, u := range []*user.User{&b.ann, &b.bob} {
		name := "ann@example.com"
		if u == &b.bob {
			name = "bob@example.com"
		}
		b.write(t, func(tx *database.Tx) (err error) {
			*u, err = b.Users.Create(t.Context(), tx, access.System(b.tenant), user.User{Email: name, FirstName: name[:3], IsActive: true})
			return err
		})
	}
}

func (b *front) write(t *testing.T, fn func(tx *database.Tx) error) {
	t.Helper()
	if err := b.DB.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (b *front) pass(d time.Duration) { b.now.Add(d.Milliseconds()) }

func (b *front) application(t *testing.T, a tenant.Application) (made tenant.Application, key string) {
	t.Helper()
	b.write(t, func(tx *database.Tx) (err error) {
		made, key, err = b.Tenants.CreateApplication(t.Context(), tx, access.System(b.tenant), a)
		return err
	})
	return made, key
}

func (b *front) save(t *testing.T, a tenant.Application) {
	t.Helper()
	b.write(t, func(tx *database.Tx) error {
		_, err := b.Tenants.SaveApplication(t.Context(), tx, access.System(b.tenant), a)
		return err
	})
}

func (b *front) settings(t *testing.T, change func(s *tenant.Settings)) {
	t.Helper()
	row, err := b.Tenants.ByID(t.Context(), b.tenant)
	if err != nil {
		t.Fatal(err)
	}
	change(&row.Settings)
	b.write(t, func(tx *database.Tx) error {
		return b.Tenants.SaveSettings(t.Context(), tx, access.System(b.tenant), b.tenant, row.Settings)
	})
}

// events counts the events of an action.
func (b *front) events(t *testing.T, action string) int {
	t.Helper()
	list, err := audit.List(t.Context(), b.DB, b.tenant, audit.Filter{Action: action}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A browser keeps cookies. It follows nothing by itself.
type browser struct {
	b       *front
	ip      string
	cookies map[string]string
}

func (b *front) browser() *browser { return &browser{b, "192.0.2.7", map[string]string{}} }

// trust has the provider take the certificate of a server of the test's.
func (b *front) trust(server *httptest.Server) {
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	b.Outbound.TLS = &tls.Config{RootCAs: roots}
}

// An answer is what came back.
type answer struct {
	status int
	head   http.Header
	body   string
}

func (br *browser) do(t *testing.T, r *http.Request) answer {
	t.Helper()
	r.TLS, r.Host, r.RemoteAddr = &tls.ConnectionState{}, "cardea.test", br.ip+":4000"
	for name, value := range br.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	br.b.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(br.cookies, c.Name)
			continue
		}
		br.cookies[c.Name] = c.Value
	}
	a := answer{w.Code, w.Header(), w.Body.String()}
	if a.status == http.StatusInternalServerError {
		t.Errorf("%s %s: %s", r.Method, r.URL, a.body)
	}
	return a
}

func (br *browser) get(t *testing.T, target string) answer {
	t.Helper()
	return br.do(t, httptest.NewRequest(http.MethodGet, target, nil))
}

func (br *browser) post(t *testing.T, target string, form url.Values) answer {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return br.do(t, r)
}

// signIn signs a user in, in front of whoever is signed in already.
func (br *browser) signIn(t *testing.T, u user.User) (in session.Session) {
	t.Helper()
	var key string
	br.b.write(t, func(tx *database.Tx) (err error) {
		in, key, err = br.b.Sessions.Start(t.Context(), tx, access.Visitor(br.b.tenant, "192.0.2.7"), u.ID, "", session.Proof{AMR: []string{"pwd"}, ACR: "urn:cardea:acr:1", At: tx.Now}, session.From{}, session.SessionLifetimes)
		return err
	})
	if old := br.cookies["__Host-cardea"]; old != "" {
		key += "." + old
	}
	br.cookies["__Host-cardea"] = key
	return in
}

// query is a request of an application that is as it should be, with changes.
func query(app tenant.Application, change url.Values) string {
	q := good(url.Values{"client_id": {app.ClientID}, "redirect_uri": {app.RedirectURIs[0]}})
	for name, values := range change {
		if q[name] = values; len(values) == 0 {
			q.Del(name)
		}
	}
	return q.Encode()
}

func (br *browser) authorize(t *testing.T, app tenant.Application, change url.Values) answer {
	t.Helper()
	return br.get(t, "/oauth2/authorize?"+query(app, change))
}

// returned reads the answer that goes to an application in the query.
func (a answer) returned(t *testing.T, app tenant.Application) url.Values {
	t.Helper()
	to, ok := strings.CutPrefix(a.head.Get("Location"), app.RedirectURIs[0]+"?")
	q, err := url.ParseQuery(to)
	if a.status != http.StatusSeeOther || !ok || err != nil {
		t.Fatalf("got %d to %q, %v: %s", a.status, a.head.Get("Location"), err, a.body)
	}
	if q.Get("iss") != home {
		t.Errorf("iss is %q", q.Get("iss"))
	}
	return q
}

// code is the code that goes to an application.
func (a answer) code(t *testing.T, app tenant.Application) string {
	t.Helper()
	q := a.returned(t, app)
	if q.Get("code") == "" || q.Get("error") != "" {
		t.Fatalf("got %v", q)
	}
	return q.Get("code")
}

// wantError fails the test unless an application gets this error.
func (a answer) wantError(t *testing.T, app tenant.Application, code string) {
	t.Helper()
	if q := a.returned(t, app); q.Get("error") != code || q.Has("code") || q.Get("state") != "s" {
		t.Errorf("got %v, want %s", q, code)
	}
}

// wantPage fails the test unless the answer is a page, and leads nowhere.
func (a answer) wantPage(t *testing.T, status int, text string) {
	t.Helper()
	if a.status != status || a.head.Get("Location") != "" || !strings.HasPrefix(a.head.Get("Content-Type"), "text/html") || !strings.Contains(a.body, text) {
		t.Errorf("got %d to %q: %s", a.status, a.head.Get("Location"), a.body)
	}
}

// signsIn follows an answer that leads to sign-in, signs a user in, and returns the
// address that sign-in leads back to.
func (a answer) signsIn(t *testing.T, b *front) string {
	t.Helper()
	if to := a.head.Get("Location"); a.status != http.StatusSeeOther || !strings.HasPrefix(to, "/signin?state=") && !strings.HasPrefix(to, "/signup?state=") {
		t.Fatalf("got %d to %q: %s", a.status, to, a.body)
	}
	var text string
	if err := b.DB.QueryRow(t.Context(), "SELECT request FROM attempts WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1", b.tenant).Scan(&text); err != nil {
		t.Fatal(err)
	}
	var begun struct {
		ReturnTo string `json:"return_to"`
	}
	if err := json.Unmarshal([]byte(text), &begun); err != nil {
		t.Fatal(err)
	}
	return begun.ReturnTo
}

var fields = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
var actions = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)

// form reads the hidden fields and the address of the first form of a page.
func (a answer) form(t *testing.T) (action string, form url.Values) {
	t.Helper()
	m := actions.FindStringSubmatch(a.body)
	if m == nil {
		t.Fatalf("no form in %d: %s", a.status, a.body)
	}
	form = url.Values{}
	for _, f := range fields.FindAllStringSubmatch(a.body, -1) {
		form.Set(unescape(f[1]), unescape(f[2]))
	}
	return unescape(m[1]), form
}

// unescape reads what html/template has written.
func unescape(s string) string {
	return strings.NewReplacer("&amp;", "&", "&lt;", "<", "&gt;", ">", "&#34;", `"`, "&#39;", "'", "&#43;", "+").Replace(s)
}

// tokens is the answer of the token endpoint.
type tokens struct {
	Access  string `json:"access_token"`
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
	Scope   string `json:"scope"`
	Error   string `json:"error"`
}

// redeem sends a code of b.public to the token endpoint, with changes.
func (b *front) redeem(t *testing.T, code string, change url.Values) (tokens, answer) {
	t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "client_id": {b.public.ClientID}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	for name, values := range change {
		if form[name] = values; len(values) == 0 {
			form.Del(name)
		}
	}
	return b.token(t, form)
}

func (b *front) token(t *testing.T, form url.Values) (out tokens, a answer) {
	t.Helper()
	a = b.browser().post(t, "/oauth2/token", form)
	decode(t, a, &out)
	return out, a
}

func decode(t *testing.T, a answer, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Errorf("%d %s: %v", a.status, a.body, err)
	}
}

// works reports whether an access token is still good.
func (b *front) works(t *testing.T, accessToken string) bool {
	t.Helper()
	b.pass(2 * time.Second) // nothing is remembered for longer
	_, err := b.Tokens.Read(context.Background(), b.tenant, accessToken)
	return err == nil
}
