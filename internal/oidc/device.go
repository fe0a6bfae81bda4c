package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/device"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/signin"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/web"
)

// Times of a device code (RFC 8628, section 3.2).
const (
	deviceLifetime = 10 * time.Minute
	pollEvery      = 5 * time.Second
	// pollSlack is what a poll may come early: networks do not keep time.
	pollSlack = 500 * time.Millisecond
)

// User codes have 8 of these 20 letters, 34 bits: no vowels that could make a word,
// and none that look like a digit (RFC 8628, section 6.1). ratelimit.UserCode stops
// guessing at them.
const (
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLength  = 8
)

// errUserCode is for a code that is unknown, expired, decided, or typed by another
// person before.
var errUserCode = problem.New(problem.NotFound, "user_code_invalid", "This code is not valid, or not valid any more. Look at the device and type it again.").In("user_code")

func (s *Service) deviceRoutes() []web.Route {
	pageErrors := []*problem.Problem{page.ErrForm, ratelimit.ErrLimited, errUserCode}
	html := func(h web.Handler) web.Endpoint {
		return web.Endpoint{Handler: h, Status: http.StatusOK, Media: "text/html"}
	}
	form := func(h web.Handler) web.Endpoint {
		return web.Endpoint{Handler: h, Status: http.StatusSeeOther, Media: "text/html", Takes: formMedia}
	}
	confirm := pathUserCode + "/confirm"
	return []web.Route{
		{Method: "POST", Paths: append([]string{pathDevice}, realms(keycloak+"auth/device")...), Public: true, Own: true,
			Endpoint: web.Endpoint{Handler: web.Handler(s.postDevice), Status: http.StatusOK, Out: reflect.TypeFor[deviceAnswer](), Takes: formMedia},
			Doc: web.Doc{Tag: tag, Summary: "Start the sign-in of a device without a browser",
				Text:    "RFC 8628. Show the person verification_uri and user_code, and poll for tokens meanwhile.",
				Errors:  slices.Concat(clientErrors, []*problem.Problem{errUnauthorized, errScope, errTarget}),
				Request: "client_id=cli_…&scope=openid", Example: exampleDevice}},
		{Method: "GET", Paths: []string{pathUserCode}, Public: true, Own: true, Page: true, Endpoint: html(s.pageUserCode),
			Doc: web.Doc{Tag: pageTag, Summary: "Ask for the code that a device shows", Query: []web.Param{{Name: "user_code", Text: "Filled in already"}}}},
		{Method: "POST", Paths: []string{pathUserCode}, Public: true, Own: true, Page: true, Endpoint: form(s.postUserCode),
			Doc: web.Doc{Tag: pageTag, Summary: "Take the code that a device shows", Errors: pageErrors}},
		{Method: "GET", Paths: []string{confirm}, Public: true, Own: true, Page: true, Endpoint: html(s.pageConfirm),
			Doc: web.Doc{Tag: pageTag, Summary: "Ask whether a device may sign in", Query: []web.Param{{Name: "user_code", Text: "As it was typed"}}, Errors: []*problem.Problem{errUserCode}}},
		{Method: "POST", Paths: []string{confirm}, Public: true, Own: true, Page: true, Endpoint: form(s.postConfirm),
			Doc: web.Doc{Tag: pageTag, Summary: "Let a device sign in, or not", Errors: pageErrors}},
	}
}

// deviceRequest is what a device has asked for, and from where.
type deviceRequest struct {
	Scope     string    `json:"scope,omitempty"`
	Resources []string  `json:"resource,omitempty"`
	Name      string    `json:"name,omitempty"` // of program and system
	Place     string    `json:"place,omitempty"`
	IP        string    `json:"ip,omitempty"`
	At        time.Time `json:"at"`
}

type deviceAnswer struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete" doc:"With the code in it, for a QR code"`
	ExpiresIn  int64  `json:"expires_in" doc:"Seconds"`
	Interval   int64  `json:"interval" doc:"Seconds to wait between two requests for tokens"`
}

var exampleDevice = deviceAnswer{"HB3XJ5F6QZ7QKQ5G2V6X7WZ3TY", "WDJB-MJHT", "https://auth.example.com/device", "https://auth.example.com/device?user_code=WDJB-MJHT", 600, 5}

// postDevice gives a device its two codes.
func (s *Service) postDevice(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(r)
	if err != nil {
		return err
	}
	by, app, err := s.client(r, f)
	if err != nil {
		return err
	}
	if !app.May(tenant.GrantDevice) {
		return errUnauthorized
	}
	issuer, err := s.issuer(r.Context(), by.Tenant)
	if err != nil {
		return err
	}
	var q request
	if err := q.readScope(reaching(app, issuer), f); err != nil {
		return err
	}
	code, typed, err := s.startDevice(r.Context(), by, app, q)
	if err != nil {
		return err
	}
	typed = showUserCode(typed)
	return web.Write(w, http.StatusOK, deviceAnswer{
		DeviceCode: code, UserCode: typed, URI: issuer + pathUserCode, Complete: issuer + pathUserCode + "?user_code=" + typed,
		ExpiresIn: int64(deviceLifetime.Seconds()), Interval: int64(pollEvery.Seconds()),
	})
}

// startDevice stores a pair of codes. The short one may be taken, though it hardly
// ever is: then another is made.
func (s *Service) startDevice(ctx context.Context, by access.Actor, app tenant.Application, q request) (code, typed string, err error) {
	seen := device.Describe(by.UserAgent)
	country, city := s.Places.Locate(by.IP)
	asked := deviceRequest{Scope: q.Scope, Resources: q.Resources, Name: joined(" on ", seen.Name, seen.OS), Place: joined(", ", city, country), IP: by.IP, At: s.now()}
	if err := s.Limits.Take(ctx, by.Tenant, ratelimit.DeviceStarts.For(ratelimit.Key("", by.IP))); err != nil {
		return "", "", err
	}
	for range 3 {
		code, hash := secret.NewToken()
		typed = secret.Text(userCodeLetters, userCodeLength)
		mac, err := s.macOf(ctx, by.Tenant, typed)
		if err != nil {
			return "", "", err
		}
		var added bool
		err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
			added, err = insertDevice(ctx, tx, by.Tenant, hash, mac, app.ID, asked)
			return err
		})
		if err != nil || added {
			return code, typed, err
		}
	}
	return "", "", errors.New("no user code is free")
}

func joined(by string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), by)
}

// macOf is how a user code is looked up. A code is too short for a plain hash: who has
// the database could try all of them.
func (s *Service) macOf(ctx context.Context, tenantID, typed string) ([]byte, error) {
	box, err := s.Tenants.Box(ctx, tenantID)
	if err != nil {
		return nil, err
	}
	return secret.MAC(box.Derive("user codes"), typed), nil
}

// readUserCode is a code as people type it: in any case, with or without what stands
// between its halves.
func readUserCode(text string) (string, error) {
	text = strings.Map(func(c rune) rune {
		if c == '-' || c == ' ' || c == '\t' || c == '\u2010' || c == '\u2013' {
			return -1
		}
		return c
	}, strings.ToUpper(text))
	if len(text) != userCodeLength || strings.Trim(text, userCodeLetters) != "" {
		return "", errUserCode
	}
	return text, nil
}

func showUserCode(typed string) string {
	return typed[:userCodeLength/2] + "-" + typed[userCodeLength/2:]
}

// pageUserCode asks for the code. One that stands in the address is only filled in:
// opening a link must not do anything (RFC 8628, section 5.4).
func (s *Service) pageUserCode(w http.ResponseWriter, r *http.Request) error {
	return s.askUserCode(w, r, http.StatusOK, r.URL.Query().Get("user_code"), nil)
}

func (s *Service) askUserCode(w http.ResponseWriter, r *http.Request, status int, typed string, errs page.Errors) error {
	v, err := s.view(w, r)
	if err != nil {
		return err
	}
	if len(typed) > 2*userCodeLength {
		typed = ""
	}
	v.Errors = errs
	return page.Render(w, r, status, &page.DeviceCode{View: v, UserCode: typed, Action: pathUserCode})
}

// view is what every page has, with the token for its forms.
func (s *Service) view(w http.ResponseWriter, r *http.Request) (v page.View, err error) {
	v = s.SignIn.View(w, r)
	v.CSRF, err = s.SignIn.FormToken(w, r)
	return v, err
}

// postUserCode takes the code and binds it to the session that is active. Somebody who
// is not signed in does that first, and then is asked again.
func (s *Service) postUserCode(w http.ResponseWriter, r *http.Request) error {
	if err := s.SignIn.CheckForm(w, r); err != nil {
		return err
	}
	given := r.PostFormValue("user_code")
	in, err := s.signedIn(r)
	if err != nil {
		return err
	}
	if in.ID == "" {
		to, err := s.SignIn.Begin(w, r, signin.Start{ReturnTo: withUserCode(pathUserCode, given)})
		if err != nil {
			return err
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return nil
	}
	by := web.ActorOf(r.Context())
	err = s.Limits.Take(r.Context(), by.Tenant, ratelimit.UserCode.For(ratelimit.Key("", by.IP)))
	if err == nil {
		err = s.claimUserCode(r.Context(), by, in, given)
	}
	if p, ok := problem.From(err); ok && (p.Code == errUserCode.Code || p.Code == ratelimit.ErrLimited.Code) {
		return s.askUserCode(w, r, web.Status(p.Kind), given, page.ErrorsOf(p))
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, withUserCode(pathUserCode+"/confirm", given), http.StatusSeeOther)
	return nil
}

func withUserCode(path, typed string) string {
	if len(typed) > 2*userCodeLength {
		return path
	}
	return path + "?" + url.Values{"user_code": {typed}}.Encode()
}

func (s *Service) claimUserCode(ctx context.Context, by access.Actor, in session.Session, given string) error {
	typed, err := readUserCode(given)
	if err != nil {
		return err
	}
	mac, err := s.macOf(ctx, by.Tenant, typed)
	if err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *database.Tx) error { return claimDevice(ctx, tx, by.Tenant, mac, in) })
}

// signedIn returns the active session of the browser, the zero value if nobody is
// signed in.
func (s *Service) signedIn(r *http.Request) (session.Session, error) {
	all, err := s.SignIn.Signed(r)
	if err != nil || len(all) == 0 {
		return session.Session{}, err
	}
	return all[0], nil
}

// waiting returns what a person has typed the code of, if it was in this session.
func (s *Service) waiting(r *http.Request, given string) (in session.Session, typed string, mac []byte, row deviceRow, err error) {
	if in, err = s.signedIn(r); err != nil {
		return in, "", nil, row, err
	}
	if typed, err = readUserCode(given); err != nil {
		return in, "", nil, row, err
	}
	tenantID := web.ActorOf(r.Context()).Tenant
	if mac, err = s.macOf(r.Context(), tenantID, typed); err != nil {
		return in, "", nil, row, err
	}
	row, err = findDevice(r.Context(), s.DB, tenantID, "user_code", mac)
	if errors.Is(err, database.ErrNoRows) || err == nil && (in.ID == "" || row.session != in.ID || !s.now().Before(row.expires)) {
		err = errUserCode
	}
	return in, typed, mac, row, err
}

// pageConfirm shows what the device is and what it wants, to the person who typed its
// code; after that, how it was decided.
func (s *Service) pageConfirm(w http.ResponseWriter, r *http.Request) error {
	in, typed, _, row, err := s.waiting(r, r.URL.Query().Get("user_code"))
	if err != nil {
		return err
	}
	v, err := s.view(w, r)
	if err != nil {
		return err
	}
	app, err := s.Tenants.ActiveApplication(r.Context(), web.ActorOf(r.Context()).Tenant, row.application)
	if errors.Is(err, tenant.ErrApplicationNotFound) {
		return errUserCode
	}
	if err != nil {
		return err
	}
	shown := page.App{Name: app.Name, LogoURL: app.OAuth.LogoURI}
	if row.decision != "" {
		return page.Render(w, r, http.StatusOK, &page.DeviceDone{View: v, App: shown, Allowed: row.decision == allow})
	}
	u, err := s.Users.Find(r.Context(), s.DB, access.System(app.TenantID), in.UserID)
	if err != nil {
		return err
	}
	p := &page.DeviceConfirm{
		View: v, App: shown, Person: page.Person{Name: joined(" ", u.FirstName, u.LastName), Login: u.Login()}, UserCode: showUserCode(typed),
		AskedFrom: page.Device{Name: row.asked.Name, Place: row.asked.Place, IP: row.asked.IP, At: row.asked.At}, Action: pathUserCode + "/confirm",
	}
	for _, name := range strings.Fields(row.asked.Scope) {
		p.Scopes = append(p.Scopes, page.Scope{Name: name})
	}
	return page.Render(w, r, http.StatusOK, p)
}

// askMore is where the person proves more, if the application or their organization needs
// more than the session shows, or chooses an organization; empty if it does not. Then into
// is the organization that the device acts in.
func (s *Service) askMore(w http.ResponseWriter, r *http.Request, in session.Session, row deviceRow, typed string) (into session.Entry, location string, err error) {
	tenantID := web.ActorOf(r.Context()).Tenant
	app, err := s.Tenants.ActiveApplication(r.Context(), tenantID, row.application)
	if err != nil {
		return into, "", err
	}
	into, missing, err := s.SignIn.Place(r.Context(), tenantID, in, "")
	if err != nil {
		return into, "", err
	}
	if missing != nil {
		st := signin.Start{Application: app, ReturnTo: withUserCode(pathUserCode+"/confirm", typed)}
		if missing.Is(signin.ErrChoose) {
			st.Enter = in.ID
		} else {
			st.UserID, st.After, st.Organization = in.UserID, s.now(), into.Organization
		}
		location, err = s.SignIn.Begin(w, r, st)
		return into, location, err
	}
	enough, err := s.SignIn.Suffices(r.Context(), tenantID, in, app)
	if err != nil || enough {
		return into, "", err
	}
	location, err = s.SignIn.Begin(w, r, signin.Start{Application: app, ReturnTo: withUserCode(pathUserCode+"/confirm", typed), UserID: in.UserID, ACR: signin.ACRTwoFactors, After: s.now()})
	return into, location, err
}

// Decisions about a device.
const (
	allow = "allow"
	deny  = "deny"
)

// postConfirm decides. Only the session in which the code was typed can: somebody who
// was sent a link with another's code sees what they let in before they do.
func (s *Service) postConfirm(w http.ResponseWriter, r *http.Request) error {
	if err := s.SignIn.CheckForm(w, r); err != nil {
		return err
	}
	given, decision := r.PostFormValue("user_code"), r.PostFormValue("decision")
	in, _, mac, row, err := s.waiting(r, given)
	if err != nil {
		return err
	}
	var into session.Entry
	if decision != allow {
		decision = deny
	} else {
		location := ""
		if into, location, err = s.askMore(w, r, in, row, given); err != nil || location != "" {
			if err == nil {
				http.Redirect(w, r, location, http.StatusSeeOther)
			}
			return err
		}
	}
	by := web.ActorOf(r.Context())
	by.Name = "user:" + in.UserID
	err = s.DB.Write(r.Context(), func(tx *database.Tx) error { return s.settleDevice(r.Context(), tx, by, in, into, mac, row, decision) })
	if err != nil {
		return err
	}
	http.Redirect(w, r, withUserCode(pathUserCode+"/confirm", given), http.StatusSeeOther)
	return nil
}

func (s *Service) settleDevice(ctx context.Context, tx *database.Tx, by access.Actor, in session.Session, into session.Entry, mac []byte, row deviceRow, decision string) error {
	detail := deviceDetail{session.Detail{AuthAt: in.AuthAt, AMR: in.AMR, ACR: in.ACR, Audience: row.asked.Resources}, into.Organization}
	if into.Organization != in.OrganizationID && decision == allow {
		if _, err := s.Sessions.Enter(ctx, tx, by, in.ID, into); err != nil {
			return err
		}
	}
	if err := decideDevice(ctx, tx, by.Tenant, mac, in.ID, decision, detail); err != nil {
		return err
	}
	e := audit.Event{Action: "consent.granted", Target: "user", TargetID: in.UserID, Method: "device",
		Detail: map[string]any{"application": row.application, "scope": row.asked.Scope, "device": row.asked.Name, "place": row.asked.Place, "ip": row.asked.IP}}
	if decision != allow {
		e.Action = "consent.denied"
	}
	return audit.Append(tx, by, e)
}

// byDevice answers a device that asks whether it was let in (RFC 8628, section 3.4).
// Of many that ask at once one gets the grant.
func (s *Service) byDevice(ctx context.Context, c call) (tokenAnswer, error) {
	code, err := c.form.need("device_code")
	if err != nil {
		return tokenAnswer{}, err
	}
	var g session.Grant
	var refused error
	err = s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		row, err := takeDevice(ctx, tx, c.by.Tenant, secret.Hash(code), c.app.ID)
		if refused = nil; errors.Is(err, database.ErrNoRows) {
			refused, err = s.poll(ctx, tx, c, code)
			return err
		}
		if err == nil {
			g, err = s.openDevice(ctx, tx, c, row)
		}
		return err
	})
	if errors.Is(err, session.ErrNotFound) {
		err = errDenied.Because("the session that let it in has ended")
	}
	if err = errors.Join(err, refused); err != nil {
		return tokenAnswer{}, err
	}
	return s.open(ctx, c, g, "", true)
}

// openDevice makes the grant of a device, if the session that let it in still holds.
// The grant does not hang on that session: the device is another place, where nobody
// signs out when they close a browser.
func (s *Service) openDevice(ctx context.Context, tx *database.Tx, c call, row deviceRow) (session.Grant, error) {
	if _, err := s.Sessions.ByID(ctx, tx, c.by.Tenant, row.session); err != nil {
		return session.Grant{}, err
	}
	life, err := s.lifetimes(ctx, tx, c.by.Tenant, c.app, row.detail.Organization, row.user)
	if err != nil {
		return session.Grant{}, err
	}
	return s.Sessions.Open(tx, c.by, session.Grant{
		UserID: row.user, Outlives: true, ApplicationID: c.app.ID, OrganizationID: row.detail.Organization, Scope: row.asked.Scope, Detail: row.detail.Detail, KeyThumbprint: ofRefresh(c.app, c.thumbprint),
	}, life)
}

// poll says why a device gets nothing yet, and has it wait longer if it can not wait.
func (s *Service) poll(ctx context.Context, tx *database.Tx, c call, code string) (refused, err error) {
	row, err := findDevice(ctx, tx, c.by.Tenant, "code_hash", secret.Hash(code))
	switch {
	case errors.Is(err, database.ErrNoRows):
		return errGrant, nil
	case err != nil:
		return nil, err
	case row.application != c.app.ID || row.used:
		return errGrant.Because("device code of another client, or used"), nil
	case !tx.Now.Before(row.expires):
		return errExpired, nil
	case row.decision == deny:
		return errDenied, nil
	}
	refused = errPending
	wait := row.wait
	if tx.Now.Before(row.polled.Add(row.wait - pollSlack)) {
		refused, wait = errSlowDown, row.wait+pollEvery
	}
	return refused, pollDevice(ctx, tx, c.by.Tenant, row.id, wait)
}

// A deviceRow is a device that waits.
type deviceRow struct {
	id, application, session, user, decision string
	asked                                    deviceRequest
	detail                                   deviceDetail
	wait                                     time.Duration
	polled, expires                          time.Time
	used                                     bool
}

// A deviceDetail is what was decided for a device.
type deviceDetail struct {
	session.Detail
	Organization string `json:"org,omitempty"` // that it acts in, empty for none
}

const deviceColumns = `id, application_id, session_id, user_id, decision, request, detail, wait, polled_at, expires_at, used_at`

func scanDevice(row database.Scanner) (d deviceRow, err error) {
	var asked, detail string
	var wait, polled, expires int64
	var used *int64
	if err := row.Scan(&d.id, &d.application, &d.session, &d.user, &d.decision, &asked, &detail, &wait, &polled, &expires, &used); err != nil {
		return d, err
	}
	d.wait, d.polled, d.expires, d.used = time.Duration(wait)*time.Millisecond, time.UnixMilli(polled), time.UnixMilli(expires), used != nil
	if detail != "" {
		err = json.Unmarshal([]byte(detail), &d.detail)
	}
	return d, errors.Join(err, json.Unmarshal([]byte(asked), &d.asked))
}

// insertDevice reports whether the pair of codes is there now: either may be taken.
func insertDevice(ctx context.Context, tx *database.Tx, tenantID string, hash, mac []byte, application string, asked deviceRequest) (bool, error) {
	text, err := json.Marshal(asked)
	if err != nil {
		return false, fmt.Errorf("encode device request: %w", err)
	}
	n, err := tx.Exec(ctx, `
		INSERT INTO device_codes (tenant_id, id, code_hash, user_code, application_id, request, wait, polled_at, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING`,
		tenantID, tx.NewID(), hash, mac, application, string(text), pollEvery.Milliseconds(), int64(0), tx.Millis(), tx.Now.Add(deviceLifetime).UnixMilli())
	if err != nil {
		return false, fmt.Errorf("insert device code: %w", err)
	}
	return n == 1, nil
}

// findDevice returns the device of that code_hash or user_code, expired or not;
// database.ErrNoRows if there is none.
func findDevice(ctx context.Context, db database.Reader, tenantID, column string, value []byte) (deviceRow, error) {
	d, err := scanDevice(db.QueryRow(ctx, `SELECT `+deviceColumns+` FROM device_codes WHERE tenant_id = $1 AND `+column+` = $2`, tenantID, value))
	if err != nil {
		return d, fmt.Errorf("find device code: %w", err)
	}
	return d, nil
}

// claimDevice binds a code that nobody has typed yet to a session.
func claimDevice(ctx context.Context, tx *database.Tx, tenantID string, mac []byte, in session.Session) error {
	n, err := tx.Exec(ctx, `
		UPDATE device_codes SET session_id = $3, user_id = $4
		WHERE tenant_id = $1 AND user_code = $2 AND (session_id = '' OR session_id = $3) AND decision = '' AND expires_at > $5`,
		tenantID, mac, in.ID, in.UserID, tx.Millis())
	return orUserCode(n, err, "claim device code")
}

// decideDevice is one statement, so that what was decided once stays.
func decideDevice(ctx context.Context, tx *database.Tx, tenantID string, mac []byte, sessionID, decision string, detail deviceDetail) error {
	text, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("encode detail of device: %w", err)
	}
	n, err := tx.Exec(ctx, `
		UPDATE device_codes SET decision = $4, detail = $5
		WHERE tenant_id = $1 AND user_code = $2 AND session_id = $3 AND decision = '' AND expires_at > $6`,
		tenantID, mac, sessionID, decision, string(text), tx.Millis())
	return orUserCode(n, err, "decide device code")
}

func orUserCode(n int64, err error, doing string) error {
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if n == 0 {
		return errUserCode
	}
	return nil
}

// takeDevice is one statement that uses up a code that was allowed;
// database.ErrNoRows if there is none of this application.
func takeDevice(ctx context.Context, tx *database.Tx, tenantID string, hash []byte, application string) (deviceRow, error) {
	d, err := scanDevice(tx.QueryRow(ctx, `
		UPDATE device_codes SET used_at = $4
		WHERE tenant_id = $1 AND code_hash = $2 AND application_id = $3 AND decision = 'allow' AND used_at IS NULL AND expires_at > $4
		RETURNING `+deviceColumns, tenantID, hash, application, tx.Millis()))
	if err != nil {
		return d, fmt.Errorf("take device code: %w", err)
	}
	return d, nil
}

func pollDevice(ctx context.Context, tx *database.Tx, tenantID, id string, wait time.Duration) error {
	_, err := tx.Exec(ctx, `UPDATE device_codes SET polled_at = $3, wait = $4 WHERE tenant_id = $1 AND id = $2`, tenantID, id, tx.Millis(), wait.Milliseconds())
	if err != nil {
		return fmt.Errorf("note poll of device: %w", err)
	}
	return nil
}
