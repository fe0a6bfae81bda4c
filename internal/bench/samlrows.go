package main

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/testidp"
)

// The identity provider of all companies. Nothing is ever sent there.
const (
	idpEntity  = "https://idp.bench.test/metadata"
	idpAddress = "https://idp.bench.test/sso"
)

// somewhere is an address of a browser: what one of them may begin is bounded.
func somewhere(next *xorshift) string {
	return fmt.Sprintf("10.%d.%d.%d", next.below(256), next.below(256), next.below(256))
}

// signInPage opens the first page, each time in a browser that has been here before.
func (p *place) signInPage() script {
	return func(c *conn, connection int) func() error {
		next := newXorshift(p.seed, uint64(connection))
		b := &browser{c: c, host: p.host(), ip: somewhere(&next)}
		return func() error {
			at, err := b.get("/signin")
			if err == nil && (at.status != 200 || hidden(at.body, "csrf") == "") {
				err = fmt.Errorf("the page has status %d: %.300s", at.status, at.body)
			}
			return err
		}
	}
}

// begunSignIns are sign-ins that an application has begun for an organization, each in a
// browser of its own.
type begunSignIns struct {
	targets []string
	cookies [][][2]string
}

// beginOrganizations begins one for each of some organizations with a connection, once.
func (p *place) beginOrganizations(ctx context.Context, c *companies, begun *begunSignIns) error {
	n := min(2000, len(c.connected()))
	if len(begun.targets) == n {
		return nil
	}
	begun.targets, begun.cookies = make([]string, n), make([][][2]string, n)
	err := p.eachOf(ctx, n, func(conn *conn, i int) error {
		next := newXorshift(p.seed+3, uint64(i))
		b := &browser{c: conn, host: p.host(), ip: somewhere(&next)}
		at, err := b.get("/oauth2/authorize?" + url.Values{
			"client_id": {p.signIn.web.clientID}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "scope": {fullScope}, "organization": {c.all[i].id},
			"state": {"of-the-application"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
		}.Encode())
		if err != nil {
			return err
		}
		begun.targets[i], begun.cookies[i] = strings.TrimPrefix(at.location, "https://"+p.host()), b.cookies
		at, err = b.get(begun.targets[i])
		if err == nil && !bytes.Contains(at.body, []byte(c.all[i].connection)) {
			err = fmt.Errorf("the page of an organization has status %d and no button: %.300s", at.status, at.body)
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.settle(ctx)
}

// eachOf does something for each of n numbers, over all connections.
func (p *place) eachOf(ctx context.Context, n int, do func(c *conn, i int) error) error {
	var last atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range p.connections {
		group.Go(func() error {
			c, err := dial(p.server.address, time.Now().Add(10*time.Minute))
			if err != nil {
				return err
			}
			defer c.close()
			for i := int(last.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(last.Add(1)) - 1 {
				if err := do(c, i); err != nil {
					return err
				}
			}
			return context.Cause(ctx)
		})
	}
	return group.Wait()
}

// organizationPage opens the page of one begun sign-in after the other.
func (p *place) organizationPage(begun *begunSignIns) script {
	return func(c *conn, connection int) func() error {
		next := newXorshift(p.seed, uint64(connection))
		return func() error {
			i := next.below(len(begun.targets))
			b := &browser{c: c, host: p.host(), ip: somewhere(&next), cookies: begun.cookies[i]}
			at, err := b.get(begun.targets[i])
			if err == nil && (at.status != 200 || !bytes.Contains(at.body, []byte(`action="/signin/sso/`))) {
				err = fmt.Errorf("the page has status %d: %.300s", at.status, at.body)
			}
			return err
		}
	}
}

// homeRealm types the address of somebody of one company after the other.
func (p *place) homeRealm(all *companies) script {
	return func(c *conn, connection int) func() error {
		next := newXorshift(p.seed, uint64(connection))
		b := &browser{c: c, host: p.host(), ip: somewhere(&next)}
		csrf := ""
		return func() error {
			if csrf == "" {
				at, err := b.get("/signin")
				if err != nil {
					return err
				}
				csrf = hidden(at.body, "csrf")
			}
			b.ip = somewhere(&next)
			who := fmt.Sprintf("somebody%d@%s", next.below(1000), all.connected()[next.below(len(all.connected()))].domain)
			_, err := p.sentToProvider(b, csrf, who)
			return err
		}
	}
}

// sentToProvider types an address, and returns the id of the request with which the
// browser is sent on.
func (p *place) sentToProvider(b *browser, csrf, address string) (id string, err error) {
	at, err := b.post("/signin", url.Values{"csrf": {csrf}, "identifier": {address}})
	if err != nil {
		return "", err
	}
	to, err := url.Parse(at.location)
	if err != nil || !strings.HasPrefix(at.location, idpAddress+"?") {
		return "", fmt.Errorf("%s leads to status %d at %q: %.300s", address, at.status, at.location, at.body)
	}
	packed, err := base64.StdEncoding.DecodeString(to.Query().Get("SAMLRequest"))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if err != nil {
		return "", err
	}
	_, after, _ := strings.Cut(string(text), ` ID="`)
	id, _, _ = strings.Cut(after, `"`)
	if id == "" {
		return "", fmt.Errorf("no request: %.300s", text)
	}
	return id, nil
}

// samlPeople are at their provider, and have its answers already.
type samlPeople struct{ all []samlPerson }

type samlPerson struct {
	email, acs, response string
	ip                   string
	cookies              [][2]string
}

// samlSignIns sign people in whom nobody has seen before.
func (p *place) samlSignIns(c *companies, prepare func(ctx context.Context) error) measuredRow {
	people := &samlPeople{}
	seconds := (p.warm + 3*p.window).Seconds()
	n := max(100, int(600*seconds))
	return measuredRow{
		name: "SAML sign-in of somebody new", goal: goal{rate: 300}, most: n * 2 / 3, control: p.create("/users", "localhost", nil),
		note: "the response verified, the user made and linked, a member, with a session: 2 requests; signed beforehand; the control inserts one row",
		before: func(ctx context.Context) error {
			if err := prepare(ctx); err != nil {
				return err
			}
			return p.sendPeople(ctx, c, people, n)
		},
		product: p.comeBack(people),
	}
}

// sendPeople sends so many to their companies' provider, which signs its answers.
func (p *place) sendPeople(ctx context.Context, c *companies, people *samlPeople, n int) error {
	people.all = make([]samlPerson, n)
	err := p.eachOf(ctx, n, func(conn *conn, i int) error {
		next := newXorshift(p.seed+4, uint64(i))
		of := c.connected()[i%len(c.connected())]
		b := &browser{c: conn, host: p.host(), ip: somewhere(&next)}
		at, err := b.get("/signin")
		if err != nil {
			return err
		}
		who := fmt.Sprintf("person%07d@%s", i, of.domain)
		id, err := p.sentToProvider(b, hidden(at.body, "csrf"), who)
		if err != nil {
			return err
		}
		origin := "https://" + p.host()
		text, err := samlResponse(c.idp, id, origin+sso.ACSPath(of.connection), origin+sso.MetadataPath(of.connection), who, time.Now())
		people.all[i] = samlPerson{email: who, acs: sso.ACSPath(of.connection), response: text, ip: b.ip, cookies: b.cookies}
		return err
	})
	if err != nil {
		return err
	}
	return p.settle(ctx)
}

// comeBack brings the answers of one person after the other.
func (p *place) comeBack(people *samlPeople) script {
	return func(c *conn, connection int) func() error {
		at := connection
		return func() error {
			if at >= len(people.all) {
				return errors.New("there is nobody left who has not come back")
			}
			who := people.all[at]
			at += p.connections
			return p.comeBackAs(c, who, at%1000 == 0)
		}
	}
}

func (p *place) comeBackAs(c *conn, who samlPerson, look bool) error {
	b := &browser{c: c, host: p.host(), ip: who.ip}
	headers := b.headers([][2]string{{"Origin", "https://idp.bench.test"}, {"Sec-Fetch-Site", "cross-site"}})
	at, err := b.send(encodeForm(who.acs, b.host, headers, url.Values{"SAMLResponse": {who.response}}))
	if err != nil {
		return err
	}
	target, ours := strings.CutPrefix(at.location, "https://"+b.host)
	if target == "" || !ours && !strings.HasPrefix(target, "/") {
		return fmt.Errorf("the response of %s leads to status %d at %q: %.500s", who.email, at.status, at.location, at.body)
	}
	b.cookies = append([][2]string{}, who.cookies...)
	before := len(b.cookies)
	if at, err = b.get(target); err != nil {
		return err
	}
	if at.status != 303 || !strings.HasSuffix(at.location, "/account") || len(b.cookies) == before {
		return fmt.Errorf("%s ends with status %d at %q: %.500s", who.email, at.status, at.location, at.body)
	}
	if !look {
		return nil
	}
	at, err = b.get("/api/v1/session")
	if err == nil && !bytes.Contains(at.body, []byte(`"email":"`+who.email+`"`)) {
		err = fmt.Errorf("%s is not signed in: %.300s", who.email, at.body)
	}
	return err
}

// samlResponse is a response whose assertion is signed, in Base64. It is written as
// exclusive canonicalization would write it, so that nothing has to be parsed.
func samlResponse(by testidp.Key, request, acs, audience, email string, now time.Time) (string, error) {
	at := func(d time.Duration) string { return now.Add(d).UTC().Format("2006-01-02T15:04:05.000Z") }
	id := "_a" + rand.Text()
	head := `<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="` + id + `" IssueInstant="` + at(0) + `" Version="2.0"><saml:Issuer>` + idpEntity + `</saml:Issuer>`
	rest := `<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">` + rand.Text() + `</saml:NameID>` +
		`<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData InResponseTo="` + request + `" NotOnOrAfter="` + at(30*time.Minute) + `" Recipient="` + acs + `"></saml:SubjectConfirmationData></saml:SubjectConfirmation></saml:Subject>` +
		`<saml:Conditions NotBefore="` + at(-time.Second) + `" NotOnOrAfter="` + at(30*time.Minute) + `"><saml:AudienceRestriction><saml:Audience>` + audience + `</saml:Audience></saml:AudienceRestriction></saml:Conditions>` +
		`<saml:AuthnStatement AuthnInstant="` + at(0) + `" SessionIndex="` + id + `"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>` +
		`<saml:AttributeStatement>` + attribute("email", email) + attribute("firstName", "Ann") + attribute("lastName", "Example") + attribute("department", "Sales") + attribute("groups", "everybody") + `</saml:AttributeStatement></saml:Assertion>`
	signature, err := enveloped(by, id, head+rest)
	if err != nil {
		return "", err
	}
	text := `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" Destination="` + acs + `" ID="_r` + rand.Text() + `" InResponseTo="` + request + `" IssueInstant="` + at(0) + `" Version="2.0">` +
		`<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">` + idpEntity + `</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"></samlp:StatusCode></samlp:Status>` +
		head + signature + rest + `</samlp:Response>`
	return base64.StdEncoding.EncodeToString([]byte(text)), nil
}

func attribute(name, value string) string {
	return `<saml:Attribute Name="` + name + `"><saml:AttributeValue>` + value + `</saml:AttributeValue></saml:Attribute>`
}

// enveloped is the signature (XML Signature 1.1) of an element that is canonical already,
// to be put into it.
func enveloped(by testidp.Key, id, element string) (string, error) {
	const space = ` xmlns:ds="http://www.w3.org/2000/09/xmldsig#"`
	digest := sha256.Sum256([]byte(element))
	b64 := base64.StdEncoding.EncodeToString
	info := func(space string) string {
		return `<ds:SignedInfo` + space + `><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:CanonicalizationMethod>` +
			`<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"></ds:SignatureMethod>` +
			`<ds:Reference URI="#` + id + `"><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"></ds:Transform><ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform></ds:Transforms>` +
			`<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></ds:DigestMethod><ds:DigestValue>` + b64(digest[:]) + `</ds:DigestValue></ds:Reference></ds:SignedInfo>`
	}
	sum := sha256.Sum256([]byte(info(space)))
	private, ok := by.Private.(*rsa.PrivateKey)
	if !ok {
		return "", errors.New("the provider's key is not RSA")
	}
	signed, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return `<ds:Signature` + space + `>` + info("") + `<ds:SignatureValue>` + b64(signed) + `</ds:SignatureValue>` +
		`<ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + b64(by.Certificate) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></ds:Signature>`, nil
}
