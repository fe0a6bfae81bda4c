package oidc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/outbound"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
)

// A client id may be the https address of a document that describes the client (OAuth
// Client ID Metadata Document), if the tenant takes such. The client is somebody
// else's then. Its document is read when it is first needed and kept for as long as
// the document says, within these bounds.
const (
	maxDocumentID = 512      // bytes
	maxDocument   = 16 << 10 // bytes
	documentLeast = 5 * time.Minute
	documentUsual = time.Hour
	documentMost  = 24 * time.Hour
	documentKept  = 7 * 24 * time.Hour // what was read last counts, while its server does not answer
)

// application returns the application of a client id in the actor's tenant; errClient
// if there is none.
func (s *Service) ofDocument(ctx context.Context, by access.Actor, clientID string) (tenant.Application, error) {
	t, err := s.Tenants.ByID(ctx, by.Tenant)
	if err != nil {
		return tenant.Application{}, err
	}
	if !t.Settings.SignIn.ClientDocuments || checkDocumentID(clientID) != nil {
		return tenant.Application{}, errClient.Because("no address that is taken for a client id")
	}
	return s.described(ctx, by, clientID)
}

// Application returns the application of an id, also of one that is described by a
// document; tenant.ErrApplicationNotFound if there is none, or none any more.
func (s *Service) Application(ctx context.Context, db database.Reader, tenantID, id string) (tenant.Application, error) {
	app, err := s.Tenants.Application(ctx, db, access.System(tenantID), id)
	if !errors.Is(err, tenant.ErrApplicationNotFound) {
		return app, err
	}
	d, found, err := findDocument(ctx, db, tenantID, id)
	if err != nil {
		return tenant.Application{}, err
	}
	if !found {
		return tenant.Application{}, tenant.ErrApplicationNotFound
	}
	return d.application(tenantID)
}

// isDocumentID reports whether a client id is an address rather than one of ours.
func isDocumentID(clientID string) bool { return strings.HasPrefix(clientID, "https://") }

// checkDocumentID judges an address: it has one spelling, and leads to a document
// without telling its server anything.
func checkDocumentID(id string) error {
	u, err := url.Parse(id)
	switch {
	case err != nil || len(id) > maxDocumentID || u.Scheme != "https" || u.Host == "" || u.String() != id:
		return errClient.Because("not an address, or not as it should be written")
	case u.User != nil || strings.ContainsAny(id, "?#"):
		return errClient.Because("an address with a user, a query or a fragment")
	case u.Path == "" || slices.ContainsFunc(strings.Split(u.Path, "/"), func(part string) bool { return part == "." || part == ".." }):
		return errClient.Because("an address without a path, or with dots for one")
	}
	return nil
}

// A document is what the address of a client led to.
type document struct {
	clientID   string
	text       registration
	fetchedAt  time.Time
	freshUntil time.Time
}

func documentApplicationID(tenantID, clientID string) string {
	return secret.DerivedID(tenantID, "client "+clientID)
}

// application is the application that a document describes. People are shown where it
// comes from, because anybody can give it any name.
func (d document) application(tenantID string) (tenant.Application, error) {
	app, err := d.text.application()
	if err != nil {
		return tenant.Application{}, err
	}
	app.ID, app.TenantID, app.ClientID, app.IsActive = documentApplicationID(tenantID, d.clientID), tenantID, d.clientID, true
	app.CreatedAt, app.ModifiedAt = d.fetchedAt, d.fetchedAt
	u, err := url.Parse(d.clientID)
	if err != nil {
		return tenant.Application{}, err
	}
	if app.Name = d.text.Name; app.Name == "" {
		app.Name = u.Host
	} else {
		app.Name += " (" + u.Host + ")"
	}
	return app, nil
}

// described returns the application that the document at an address describes.
func (s *Service) described(ctx context.Context, by access.Actor, clientID string) (tenant.Application, error) {
	kept, found, err := findDocument(ctx, s.DB, by.Tenant, documentApplicationID(by.Tenant, clientID))
	if err != nil {
		return tenant.Application{}, err
	}
	if found && s.now().Before(kept.freshUntil) {
		return kept.application(by.Tenant)
	}
	fetched, err := s.fetchDocument(ctx, by, clientID)
	if found && (errors.Is(err, outbound.ErrUnreachable) || errors.Is(err, ratelimit.ErrLimited)) && s.now().Sub(kept.fetchedAt) < documentKept {
		return kept.application(by.Tenant) // who has signed in by it must not depend on a server of others
	}
	if p, ok := problem.From(err); ok && p.Code != ratelimit.ErrLimited.Code {
		err = errClient.Because("document of the client: %w", err)
	}
	if err != nil {
		return tenant.Application{}, err
	}
	app, err := fetched.application(by.Tenant)
	if err != nil {
		return tenant.Application{}, err
	}
	return app, s.DB.Write(ctx, func(tx *database.Tx) error { return saveDocument(ctx, tx, by.Tenant, fetched) })
}

// fetchDocument reads and judges the document at an address. A stranger chooses it, so
// how often is bounded like registrations.
func (s *Service) fetchDocument(ctx context.Context, by access.Actor, clientID string) (document, error) {
	if err := s.Limits.Take(ctx, by.Tenant, ratelimit.Registration.For(ratelimit.Key("", by.IP))); err != nil {
		return document{}, err
	}
	answer, err := s.Outbound.Get(ctx, clientID, maxDocument)
	if err != nil {
		return document{}, err
	}
	text, err := readDocument(clientID, answer.Body)
	if err != nil {
		return document{}, err
	}
	now := s.now()
	return document{clientID, text, now, now.Add(freshFor(answer.Header.Get("Cache-Control")))}, nil
}

// readDocument judges a document: it is of this client, which can have no secret, since
// everybody can read it, and all it names is on the client's own server, or on the
// machine of the user.
func readDocument(clientID string, body []byte) (registration, error) {
	var d struct {
		registration
		ClientID string          `json:"client_id"`
		Secret   json.RawMessage `json:"client_secret"`
		Expires  json.RawMessage `json:"client_secret_expires_at"`
	}
	if err := json.Unmarshal(body, &d); err != nil {
		return registration{}, errMetadata.Because("%w", err)
	}
	m := d.registration
	m.AuthMethod = cmp.Or(m.AuthMethod, tenant.AuthNone)
	if m.ApplicationType == "" && slices.ContainsFunc(m.RedirectURIs, isLoopback) {
		m.ApplicationType = "native" // documents seldom say
	}
	switch {
	case d.ClientID != clientID:
		return m, errMetadata.Because("the document is of another client")
	case d.Secret != nil || d.Expires != nil || m.AuthMethod != tenant.AuthNone && m.AuthMethod != tenant.AuthKey:
		return m, errMetadata.Because("the document speaks of a secret")
	case !slices.Contains([]string{"", "web", "native"}, m.ApplicationType) || !slices.Contains([]string{"", "RS256", "ES256", "EdDSA"}, m.IDTokenAlg) || len(m.Name) > 200:
		return m, errMetadata.Because("a type or algorithm that is not known, or a long name")
	}
	if err := m.staysAt(clientID); err != nil {
		return m, err
	}
	return m, m.check()
}

// staysAt refuses addresses that are neither on the server of the client's document
// nor on the user's own machine. A picture from elsewhere is left out.
func (m *registration) staysAt(clientID string) error {
	at, err := url.Parse(clientID)
	if err != nil {
		return errMetadata.Because("%w", err)
	}
	isOwn := func(address string) bool {
		rest, ok := strings.CutPrefix(address, "https://"+at.Host)
		return ok && (rest == "" || rest[0] == '/' || rest[0] == '?') && !strings.ContainsFunc(rest, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' || c == '#' })
	}
	for _, address := range slices.Concat(m.RedirectURIs, m.PostLogoutRedirectURIs) {
		if !isOwn(address) && !isLoopback(address) {
			return errRedirect.Because("not on the client's own server")
		}
	}
	for _, address := range []string{m.JWKSURI, m.InitiateLoginURI, m.BackchannelLogoutURI, m.FrontchannelLogoutURI, m.PolicyURI, m.TermsURI} {
		if address != "" && !isOwn(address) {
			return errMetadata.Because("an address that is not on the client's own server")
		}
	}
	if !isOwn(m.LogoURI) {
		m.LogoURI = ""
	}
	return nil
}

// isLoopback reports whether an address leads to a program on the user's machine.
func isLoopback(address string) bool {
	return slices.ContainsFunc([]string{"http://127.0.0.1", "http://[::1]", "http://localhost"}, func(origin string) bool {
		rest, ok := cutOrigin(address, origin)
		return ok && !strings.ContainsFunc(rest, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' || c == '#' })
	})
}

// freshFor is how long a document counts by its Cache-Control (RFC 9111, section 5.2).
func freshFor(control string) time.Duration {
	fresh := documentUsual
	for part := range strings.SplitSeq(control, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(strings.ToLower(part)), "=")
		switch seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); {
		case name == "no-store", name == "no-cache":
			return documentLeast
		case name == "max-age" && err == nil:
			fresh = time.Duration(seconds) * time.Second
		}
	}
	return min(max(fresh, documentLeast), documentMost)
}

func findDocument(ctx context.Context, db database.Reader, tenantID, applicationID string) (d document, found bool, err error) {
	var text string
	var fetched, fresh int64
	err = db.QueryRow(ctx, `
		SELECT client_id, document, fetched_at, fresh_until FROM client_documents WHERE tenant_id = $1 AND application_id = $2`,
		tenantID, applicationID).Scan(&d.clientID, &text, &fetched, &fresh)
	switch {
	case errors.Is(err, database.ErrNoRows):
		return document{}, false, nil
	case err != nil:
		return document{}, false, fmt.Errorf("find client document: %w", err)
	}
	d.fetchedAt, d.freshUntil = time.UnixMilli(fetched).UTC(), time.UnixMilli(fresh).UTC()
	return d, true, json.Unmarshal([]byte(text), &d.text)
}

func saveDocument(ctx context.Context, tx *database.Tx, tenantID string, d document) error {
	text, err := json.Marshal(d.text)
	if err != nil {
		return fmt.Errorf("encode client document: %w", err)
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO client_documents (tenant_id, application_id, client_id, document, fetched_at, fresh_until)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (tenant_id, application_id) DO UPDATE SET document = EXCLUDED.document, fetched_at = EXCLUDED.fetched_at, fresh_until = EXCLUDED.fresh_until`,
		tenantID, documentApplicationID(tenantID, d.clientID), d.clientID, string(text), d.fetchedAt.UnixMilli(), d.freshUntil.UnixMilli())
	if err != nil {
		return fmt.Errorf("save client document: %w", err)
	}
	return nil
}

func sweepDocuments(ctx context.Context, tx *database.Tx, before time.Time, limit int) (int64, error) {
	n, err := tx.Exec(ctx, `
		DELETE FROM client_documents WHERE (tenant_id, application_id) IN (
			SELECT tenant_id, application_id FROM client_documents WHERE fetched_at < $1 ORDER BY fetched_at LIMIT $2)`, before.UnixMilli(), limit)
	if err != nil {
		return 0, fmt.Errorf("sweep client documents: %w", err)
	}
	return n, nil
}
