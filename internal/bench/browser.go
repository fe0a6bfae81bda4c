package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// A browser goes through the hosted pages: it keeps cookies, follows redirects and
// sends forms with their hidden fields.
type browser struct {
	c       *conn
	host    string
	ip      string
	cookies [][2]string
}

// A page is what the browser was answered.
type page struct {
	status   int
	location string
	body     []byte
}

// get opens an address of the host.
func (b *browser) get(target string) (page, error) {
	return b.send(encode("GET", target, b.host, b.headers(nil), nil))
}

// post sends a form as a page of the host would.
func (b *browser) post(target string, form url.Values) (page, error) {
	more := [][2]string{{"Origin", "https://" + b.host}, {"Sec-Fetch-Site", "same-origin"}}
	return b.send(encodeForm(target, b.host, b.headers(more), form))
}

// submit sends the form of a page that belongs to a sign-in, filled in.
func (b *browser) submit(p page, target, field, value string) (page, error) {
	csrf, state := hidden(p.body, "csrf"), hidden(p.body, "state")
	if csrf == "" || state == "" {
		return page{}, fmt.Errorf("the page has no form for %s: %.300s", target, p.body)
	}
	next, err := b.post(target, url.Values{"csrf": {csrf}, "state": {state}, field: {value}})
	if err == nil && next.status != 303 {
		err = fmt.Errorf("POST %s: status %d: %.2000s", target, next.status, next.body)
	}
	return next, err
}

// hidden returns the value of a hidden field, which is plain text in all of ours.
func hidden(body []byte, name string) string {
	_, after, _ := bytes.Cut(body, []byte(`<input type="hidden" name="`+name+`" value="`))
	value, _, _ := bytes.Cut(after, []byte(`"`))
	return string(value)
}

func (b *browser) headers(more [][2]string) [][2]string {
	h := [][2]string{
		{"X-Forwarded-For", b.ip}, {"X-Forwarded-Proto", "https"}, {"Accept-Language", "en"},
		{"Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"},
	}
	if len(b.cookies) > 0 {
		pairs := make([]string, len(b.cookies))
		for i, c := range b.cookies {
			pairs[i] = c[0] + "=" + c[1]
		}
		h = append(h, [2]string{"Cookie", strings.Join(pairs, "; ")})
	}
	return append(h, more...)
}

func (b *browser) send(r request) (p page, err error) {
	p.status, p.body, err = b.c.send(r.raw, func(name, value []byte) {
		switch {
		case bytes.EqualFold(name, []byte("Location")):
			p.location = string(value)
		case bytes.EqualFold(name, []byte("Set-Cookie")):
			b.keep(string(value))
		}
	})
	return p, err
}

func (b *browser) keep(line string) {
	pair, _, _ := strings.Cut(line, ";")
	name, value, _ := strings.Cut(pair, "=")
	for i, c := range b.cookies {
		if c[0] == name {
			b.cookies[i][1] = value
			return
		}
	}
	b.cookies = append(b.cookies, [2]string{name, value})
}

// follow goes where redirects lead within the host. A page that leads elsewhere is the
// last one.
func (b *browser) follow(p page) (page, error) {
	for range 10 {
		target := strings.TrimPrefix(p.location, "https://"+b.host)
		if p.status != 303 || !strings.HasPrefix(target, "/") {
			return p, nil
		}
		var err error
		if p, err = b.get(target); err != nil {
			return p, err
		}
	}
	return p, errors.New("redirects without end")
}

// PKCE (RFC 7636, appendix B).
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// signInBy goes from an application's link to its tokens: the pages for the login and
// the password, back to the application with a code, and the code for tokens.
func (p *place) signInBy(b *browser, who person) error {
	at, err := b.get("/oauth2/authorize?" + url.Values{
		"client_id": {p.signIn.web.clientID}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "scope": {fullScope},
		"state": {"of-the-application"}, "nonce": {"of-the-application"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}.Encode())
	if err != nil {
		return err
	}
	for _, step := range [][3]string{{"/signin", "identifier", who.email}, {"/signin/password", "password", guestPassword}} {
		if at, err = b.follow(at); err != nil {
			return err
		}
		if at, err = b.submit(at, step[0], step[1], step[2]); err != nil {
			return err
		}
	}
	if at, err = b.follow(at); err != nil {
		return err
	}
	back, err := url.Parse(at.location)
	if err != nil || !strings.HasPrefix(at.location, redirectURI+"?") || back.Query().Get("code") == "" || back.Query().Get("state") != "of-the-application" {
		return fmt.Errorf("signing in ends with status %d at %q: %.300s", at.status, at.location, at.body)
	}
	return p.spendCode(b, back.Query().Get("code"), who)
}

// spendCode gets the tokens of a code, as the application's server does, and checks
// whose they are.
func (p *place) spendCode(b *browser, code string, who person) error {
	r := p.post("/oauth2/token", p.signIn.web, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI}, "code_verifier": {verifier}})
	status, body, err := b.c.send(r.raw, nil)
	if err != nil {
		return err
	}
	if status != 200 || member(body, "refresh_token") == "" {
		return fmt.Errorf("the code gives status %d: %.300s", status, body)
	}
	id, err := p.signIn.keys.check(member(body, "id_token"), want{alg: "ES256", typ: "JWT"})
	if err != nil {
		return err
	}
	if id.Email != who.email {
		return fmt.Errorf("%s was taken for %s", who.email, id.Email)
	}
	_, err = p.signIn.keys.check(member(body, "access_token"), want{alg: "ES256", typ: "at+jwt", subject: id.Subject, client: p.signIn.web.clientID})
	return err
}
