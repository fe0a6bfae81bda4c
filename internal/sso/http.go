package sso

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/outbound"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/web"
)

// Tag is the group of the calls in the API description.
const Tag = "Enterprise connections"

// Mount adds the calls that manage connections, and the metadata of SAML, to r.
func (s *Service) Mount(r *web.Router) {
	type problems = []*problem.Problem
	const all, one = "/api/v1/organizations/{id}/connections", "/api/v1/organizations/{id}/connections/{connection}"
	wrong := problems{ErrInvalid, ErrNotFound, org.ErrRole, role.ErrGrant, outbound.ErrAddress, outbound.ErrUnreachable}
	for _, route := range []web.Route{
		{Method: "GET", Paths: []string{all}, Needs: access.ConnectionsRead, Endpoint: web.JSON(http.StatusOK, s.getConnections),
			Doc: web.Doc{Summary: "List the connections of an organization", Text: "By creation, at most 20.", Example: []form{exampleForm}}},
		{Method: "POST", Paths: []string{all}, Needs: access.ConnectionsWrite, Endpoint: web.JSON(http.StatusCreated, s.postConnection),
			Doc: web.Doc{Summary: "Create a connection of an organization", Text: "It is a draft: it can be tested, and signs nobody in until its state is active. What to set at the provider is in service_provider of the answer.",
				Errors: append(wrong, ErrFull, org.ErrNotFound), Request: exampleWanted, Example: exampleForm}},
		{Method: "GET", Paths: []string{one}, Needs: access.ConnectionsRead, Endpoint: web.JSON(http.StatusOK, s.getConnection),
			Doc: web.Doc{Summary: "Get a connection of an organization", Errors: problems{ErrNotFound}, Example: exampleForm}},
		{Method: "PUT", Paths: []string{one}, Needs: access.ConnectionsWrite, Endpoint: web.JSON(http.StatusOK, s.putConnection),
			Doc: web.Doc{Summary: "Update a connection of an organization", Text: "What the body does not name stays as it is; settings are replaced whole. Disabled, a connection signs nobody in from the next request on, whoever has begun before.",
				Errors: append(wrong, ErrIncomplete, ErrChanged), Request: exampleChange, Example: exampleForm}},
		{Method: "DELETE", Paths: []string{one}, Needs: access.ConnectionsWrite, Endpoint: web.JSON(http.StatusOK, s.deleteConnection),
			Doc: web.Doc{Summary: "Delete a connection of an organization", Text: "Users stay, and are known by it no more.", Errors: problems{ErrNotFound}, Example: deleted{true}}},
		{Method: "POST", Paths: []string{one + "/keys"}, Needs: access.ConnectionsWrite, Endpoint: web.JSON(http.StatusOK, s.postKeys),
			Doc: web.Doc{Summary: "Renew our key of a connection", Text: "In three steps: add puts the next key into our metadata, use signs with it, drop forgets the one before. Give the provider time to read the metadata after the first.",
				Errors: problems{ErrNotFound, ErrInvalid, ErrChanged}, Request: exampleStep, Example: exampleForm}},
		{Method: "POST", Paths: []string{one + "/test"}, Needs: access.ConnectionsWrite, Endpoint: web.JSON(http.StatusOK, s.postTest),
			Doc: web.Doc{Summary: "Check a connection of an organization", Text: "All that can be checked without a person: what is missing, the provider's documents, keys and certificates. The answer is kept as a trace.", Errors: problems{ErrNotFound}, Example: exampleTrace}},
		{Method: "POST", Paths: []string{one + "/preview"}, Needs: access.ConnectionsWrite, Endpoint: web.JSON(http.StatusOK, s.postPreview),
			Doc: web.Doc{Summary: "Preview the attribute mapping", Text: "What the connection would make of attributes. Settings in the body take the place of its own; nothing is kept.", Errors: problems{ErrNotFound, ErrInvalid}, Request: exampleSample, Example: examplePreview}},
		{Method: "GET", Paths: []string{one + "/traces"}, Needs: access.ConnectionsRead, Endpoint: web.JSON(http.StatusOK, s.getTraces),
			Doc: web.Doc{Summary: "List the attempts at a connection", Text: "Newest first, of the last 7 days. Values that tell of people are masked.", Errors: problems{ErrNotFound}, Example: tracePage{Traces: []traceForm{exampleTrace}}}},
		{Method: "GET", Paths: []string{one + "/traces/{trace}"}, Needs: access.ConnectionsRead, Endpoint: web.JSON(http.StatusOK, s.getTrace),
			Doc: web.Doc{Summary: "Get an attempt at a connection", Errors: problems{ErrNotFound, ErrTrace}, Example: exampleTrace}},
		{Method: "GET", Paths: []string{MetadataPath("{connection}")}, Public: true, Endpoint: web.Endpoint{Handler: web.Handler(s.getMetadata), Status: http.StatusOK, Media: metadataMedia},
			Doc: web.Doc{Summary: "SAML metadata of us", Text: "For the provider of a connection.", Errors: problems{ErrNotFound}}},
	} {
		route.Doc.Tag = Tag
		r.Add(route)
	}
}

const metadataMedia = "application/samlmetadata+xml"

func (s *Service) getMetadata(w http.ResponseWriter, r *http.Request) error {
	text, err := s.Metadata(r.Context(), web.ActorOf(r.Context()).Tenant, r.PathValue("connection"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", metadataMedia)
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("Content-Disposition", `attachment; filename="metadata.xml"`)
	_, _ = w.Write(text) // the reader may have gone
	return nil
}

// A form is a connection as the API has it.
type form struct {
	ID             string        `json:"id"`
	OrganizationID string        `json:"organization_id"`
	Name           string        `json:"name" doc:"As people see it"`
	Kind           string        `json:"kind" doc:"saml or oidc"`
	Provider       string        `json:"provider"`
	State          string        `json:"state" doc:"draft, active or disabled"`
	HasSecret      bool          `json:"has_secret"`
	Settings       Settings      `json:"settings"`
	Us             Us            `json:"service_provider" doc:"What to set at the provider"`
	OurKeys        []Certificate `json:"service_provider_certificates" doc:"Of saml; the first signs"`
	Certificates   []Certificate `json:"provider_certificates" doc:"Of saml"`
	Health         healthForm    `json:"health"`
	CreatedAt      time.Time     `json:"created_at"`
	ModifiedAt     time.Time     `json:"modified_at"`
}

type healthForm struct {
	LastSuccess time.Time `json:"last_success,omitzero"`
	LastFailure time.Time `json:"last_failure,omitzero"`
	LastCause   Cause     `json:"last_cause,omitempty"`
}

func (s *Service) form(ctx context.Context, by access.Actor, c Connection) (form, error) {
	out := formOf(c)
	var err error
	if out.Us, err = s.Us(ctx, by.Tenant, c); err != nil {
		return out, err
	}
	ours, err := s.Certificates(ctx, c)
	out.OurKeys = append(out.OurKeys, ours...)
	return out, err
}

func formOf(c Connection) form {
	return form{
		ID: c.ID, OrganizationID: c.OrganizationID, Name: c.Name, Kind: c.Kind, Provider: c.Provider, State: c.State, HasSecret: c.HasSecret, Settings: c.Settings,
		OurKeys: []Certificate{}, Certificates: append([]Certificate{}, ProviderCertificates(c)...), Health: healthForm(c.Health), CreatedAt: c.CreatedAt, ModifiedAt: c.ModifiedAt,
	}
}

type byOrganization struct {
	Organization string `path:"id" doc:"24 hex digits"`
}

type byConnection struct {
	Organization string `path:"id" doc:"24 hex digits"`
	Connection   string `path:"connection" doc:"24 hex digits"`
}

func (s *Service) getConnections(ctx context.Context, by access.Actor, in byOrganization) ([]form, error) {
	found, err := s.List(ctx, s.DB, by, in.Organization)
	out := make([]form, len(found))
	for i, c := range found {
		if out[i], err = s.form(ctx, by, c); err != nil {
			return nil, err
		}
	}
	return out, err
}

func (s *Service) getConnection(ctx context.Context, by access.Actor, in byConnection) (form, error) {
	c, err := s.Find(ctx, s.DB, by, in.Organization, in.Connection)
	if err != nil {
		return form{}, err
	}
	return s.form(ctx, by, c)
}

type postRequest struct {
	Organization string   `path:"id" doc:"24 hex digits"`
	Kind         string   `json:"kind" schema:"required" doc:"saml or oidc"`
	Provider     string   `json:"provider" schema:"required" doc:"okta, entra, google, onelogin, jumpcloud, ping, keycloak, adfs, auth0, simplesamlphp or custom: whose words it is explained in"`
	Name         string   `json:"name" doc:"As people see it; the provider's if absent"`
	Metadata     string   `json:"metadata" doc:"Of saml: the provider's metadata, in place of settings.idp and settings.metadata_url"`
	Secret       string   `json:"client_secret" doc:"Of oidc"`
	Settings     Settings `json:"settings"`
}

func (s *Service) postConnection(ctx context.Context, by access.Actor, in postRequest) (out form, err error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return out, err
	}
	c := Connection{OrganizationID: in.Organization, Kind: in.Kind, Provider: in.Provider, Name: in.Name, Settings: in.Settings}
	if in.Metadata != "" {
		if c.Settings.IdP, err = s.ReadMetadata([]byte(in.Metadata)); err != nil {
			return out, err
		}
	}
	if err := s.Organization(ctx, s.DB, by.Tenant, in.Organization); err != nil {
		return out, err
	}
	p, err := s.Prepare(ctx, by, c, in.Secret)
	if err != nil {
		return out, err
	}
	return s.written(ctx, by, func(tx *database.Tx) (Connection, error) { return s.Create(ctx, tx, by, p) })
}

// written writes and shows what was written.
func (s *Service) written(ctx context.Context, by access.Actor, write func(tx *database.Tx) (Connection, error)) (form, error) {
	var c Connection
	err := s.DB.Write(ctx, func(tx *database.Tx) (err error) {
		c, err = write(tx)
		return err
	})
	if err != nil {
		return form{}, err
	}
	return s.form(ctx, by, c)
}

type putRequest struct {
	Organization string    `path:"id" doc:"24 hex digits"`
	Connection   string    `path:"connection" doc:"24 hex digits"`
	Provider     *string   `json:"provider"`
	Name         *string   `json:"name"`
	State        *string   `json:"state" doc:"active or disabled"`
	Metadata     string    `json:"metadata" doc:"Of saml: in place of settings.idp"`
	Secret       string    `json:"client_secret" doc:"In place of the one there is"`
	Settings     *Settings `json:"settings" doc:"Replaces all of it"`
}

// isOnlyState reports whether a connection is but switched on or off.
func (in putRequest) isOnlyState() bool {
	return in.State != nil && in.Provider == nil && in.Name == nil && in.Settings == nil && in.Metadata == "" && in.Secret == ""
}

func (s *Service) putConnection(ctx context.Context, by access.Actor, in putRequest) (form, error) {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return form{}, err
	}
	c, err := findConnection(ctx, s.DB, by.Tenant, in.Organization, in.Connection)
	if err != nil {
		return form{}, err
	}
	if in.isOnlyState() { // or the log would tell of a change that is none
		return s.written(ctx, by, func(tx *database.Tx) (Connection, error) {
			if err := s.Organization(ctx, tx, by.Tenant, c.OrganizationID); err != nil || *in.State == c.State {
				return c, err
			}
			return s.SetState(ctx, tx, by, in.Organization, in.Connection, *in.State)
		})
	}
	assign(&c.Provider, in.Provider)
	assign(&c.Name, in.Name)
	assign(&c.Settings, in.Settings)
	if in.Metadata != "" {
		if c.Settings.IdP, err = s.ReadMetadata([]byte(in.Metadata)); err != nil {
			return form{}, err
		}
	}
	p, err := s.Prepare(ctx, by, c, in.Secret)
	if err != nil {
		return form{}, err
	}
	return s.written(ctx, by, func(tx *database.Tx) (Connection, error) {
		c, err := s.Save(ctx, tx, by, p)
		if err != nil || in.State == nil || *in.State == c.State {
			return c, err
		}
		return s.SetState(ctx, tx, by, in.Organization, in.Connection, *in.State)
	})
}

func assign[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

type deleted struct {
	IsDeleted bool `json:"is_deleted"`
}

func (s *Service) deleteConnection(ctx context.Context, by access.Actor, in byConnection) (deleted, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.Delete(ctx, tx, by, in.Organization, in.Connection) })
	return deleted{err == nil}, err
}

type keysRequest struct {
	Organization string `path:"id" doc:"24 hex digits"`
	Connection   string `path:"connection" doc:"24 hex digits"`
	Step         string `json:"step" schema:"required" doc:"add, use or drop"`
}

func (s *Service) postKeys(ctx context.Context, by access.Actor, in keysRequest) (form, error) {
	p, err := s.RollKey(ctx, by, in.Organization, in.Connection, in.Step)
	if err != nil {
		return form{}, err
	}
	return s.written(ctx, by, func(tx *database.Tx) (Connection, error) { return s.Save(ctx, tx, by, p) })
}

func (s *Service) postTest(ctx context.Context, by access.Actor, in byConnection) (traceForm, error) {
	t, err := s.Check(ctx, by, in.Organization, in.Connection)
	return traceFormOf(t), err
}

type previewRequest struct {
	Organization string              `path:"id" doc:"24 hex digits"`
	Connection   string              `path:"connection" doc:"24 hex digits"`
	Subject      string              `json:"subject" doc:"NameID, or sub"`
	Attributes   map[string][]string `json:"attributes" schema:"required"`
	Settings     *Settings           `json:"settings" doc:"In place of the connection's: its attributes, group_attribute and group_rules count"`
}

func (s *Service) postPreview(ctx context.Context, by access.Actor, in previewRequest) (Preview, error) {
	return s.Preview(ctx, by, in.Organization, in.Connection, in.Subject, in.Attributes, in.Settings)
}

// A traceForm is a trace as the API has it.
type traceForm struct {
	ID         string    `json:"id"`
	At         time.Time `json:"at"`
	IsTest     bool      `json:"is_test"`
	Outcome    string    `json:"outcome" doc:"ok or refused"`
	Cause      Cause     `json:"cause,omitempty"`
	Message    string    `json:"message,omitempty" doc:"The cause in plain words"`
	Advice     string    `json:"advice,omitempty" doc:"What to do about it"`
	Fix        Fix       `json:"fix,omitzero" doc:"Which setting, where"`
	Steps      []Step    `json:"steps"`
	Attributes []Seen    `json:"attributes,omitempty"`
}

func traceFormOf(t Trace) traceForm {
	out := traceForm{ID: t.ID, At: t.At, IsTest: t.Test, Outcome: "ok", Cause: t.Cause, Fix: t.Fix, Steps: append([]Step{}, t.Steps...), Attributes: t.Attributes}
	if t.Cause != "" {
		words := lang.Pick("en", "", "en")
		out.Outcome, out.Message, out.Advice = "refused", words.Text("sso.cause."+string(t.Cause)), words.Text("sso.fix."+string(t.Cause))
	}
	return out
}

type tracesRequest struct {
	Organization string `path:"id" doc:"24 hex digits"`
	Connection   string `path:"connection" doc:"24 hex digits"`
	Cursor       string `query:"cursor" doc:"next_cursor of the page before"`
}

type tracePage struct {
	Traces []traceForm `json:"traces"`
	Next   string      `json:"next_cursor,omitempty"`
}

func (s *Service) getTraces(ctx context.Context, by access.Actor, in tracesRequest) (tracePage, error) {
	const page = 50
	found, err := s.Traces(ctx, s.DB, by, in.Organization, in.Connection, in.Cursor, page)
	out := tracePage{Traces: []traceForm{}}
	for _, t := range found {
		out.Traces = append(out.Traces, traceFormOf(t))
	}
	if len(found) == page {
		out.Next = found[page-1].ID
	}
	return out, err
}

type traceRequest struct {
	Organization string `path:"id" doc:"24 hex digits"`
	Connection   string `path:"connection" doc:"24 hex digits"`
	Trace        string `path:"trace" doc:"24 hex digits"`
}

func (s *Service) getTrace(ctx context.Context, by access.Actor, in traceRequest) (traceForm, error) {
	t, err := s.Trace(ctx, s.DB, by, in.Organization, in.Connection, in.Trace)
	return traceFormOf(t), err
}

// Examples of the API description.
var (
	exampleMade = time.Date(2026, 7, 15, 6, 27, 32, 0, time.UTC)
	exampleForm = func() form {
		f := formOf(Connection{
			ID: "6694c133565dfee5166d1cc1", OrganizationID: "6694c133565dfee5166d1ca0", Name: "Acme", Kind: OIDC, Provider: "okta", State: Active, HasSecret: true,
			Settings: Settings{Issuer: "https://acme.okta.example", ClientID: "0oa1b2c3", GroupRules: []Rule{{Group: "Engineering", RoleID: "6694c133565dfee5166d1cd7"}}}, CreatedAt: exampleMade, ModifiedAt: exampleMade,
		})
		f.Us = Us{RedirectURI: "https://shop.example.com" + CallbackPath(f.ID)}
		return f
	}()
	exampleWanted = json.RawMessage(`{"kind":"oidc","provider":"okta","client_secret":"…","settings":{"issuer":"https://acme.okta.example","client_id":"0oa1b2c3"}}`)
	exampleChange = json.RawMessage(`{"state":"active"}`)
	exampleStep   = json.RawMessage(`{"step":"add"}`)
	exampleSample = json.RawMessage(`{"subject":"ann","attributes":{"email":["ann@acme.example"],"groups":["Engineering"]}}`)
	exampleTrace  = traceForm{ID: "6694c133565dfee5166d1cf0", At: exampleMade, Outcome: "refused", Cause: Audience, Message: "The response was made for another application.",
		Advice: "Set the Entity ID at the provider to exactly the value that is shown here.",
		Fix:    Fix{Side: AtProvider, Field: TermEntityID, Label: "Audience URI (SP Entity ID)", Value: "https://shop.example.com/saml/6694c133565dfee5166d1cc1/metadata"},
		Steps:  []Step{{Name: "conditions.audience", Expected: "https://shop.example.com/saml/6694c133565dfee5166d1cc1/metadata", Received: "https://shop.example.com"}}}
	examplePreview = Preview{Subject: "ann", Email: "ann@acme.example", Groups: []string{"Engineering"}, RoleIDs: []string{"6694c133565dfee5166d1cd7"}, Attributes: []Seen{{Name: "email", Sample: "a•••@acme.example", Values: 1, UsedAs: "email"}}}
)
