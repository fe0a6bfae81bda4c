package social

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/outbound"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/web"
)

// Tag is the group of the calls in the API description.
const Tag = "Connections"

// Mount adds the calls that manage connections to r.
func (s *Service) Mount(r *web.Router) {
	type problems = []*problem.Problem
	const all, one = "/api/v1/connections", "/api/v1/connections/{id}"
	wrong := problems{ErrInvalid, outbound.ErrAddress}
	for _, route := range []web.Route{
		{Method: "GET", Paths: []string{all}, Needs: access.ConnectionsRead, Endpoint: web.JSON(http.StatusOK, s.getConnections),
			Doc: web.Doc{Summary: "List connections", Text: "By creation, at most 100.", Example: []form{exampleForm}}},
		{Method: "POST", Paths: []string{all}, Needs: access.ConnectionsWrite, Endpoint: web.JSON(http.StatusCreated, s.postConnection),
			Doc: web.Doc{Summary: "Create a connection", Text: "Register redirect_uri of the answer at the provider. The secret is kept sealed and never shown.",
				Errors: append(wrong, ErrFull), Request: exampleWanted, Example: exampleForm}},
		{Method: "GET", Paths: []string{one}, Needs: access.ConnectionsRead, Endpoint: web.JSON(http.StatusOK, s.getConnection),
			Doc: web.Doc{Summary: "Get a connection", Errors: problems{ErrNotFound}, Example: exampleForm}},
		{Method: "PUT", Paths: []string{one}, Needs: access.ConnectionsWrite, Endpoint: web.JSON(http.StatusOK, s.putConnection),
			Doc: web.Doc{Summary: "Update a connection", Text: "What the body does not name stays as it is; settings are replaced whole. Switched off, a connection signs nobody in from the next request on, whoever has begun before. After another client_id, address or claim of the subject, everybody who is linked proves their account once.",
				Errors: append(wrong, ErrNotFound), Request: exampleChange, Example: exampleForm}},
		{Method: "DELETE", Paths: []string{one}, Needs: access.ConnectionsWrite, Endpoint: web.JSON(http.StatusOK, s.deleteConnection),
			Doc: web.Doc{Summary: "Delete a connection", Text: "Users stay, without what they had linked of it.", Errors: problems{ErrNotFound}, Example: deleted{true}}},
	} {
		route.Doc.Tag = Tag
		r.Add(route)
	}
}

// A form is a connection as the API has it.
type form struct {
	ID          string    `json:"id"`
	Provider    string    `json:"provider"`
	Name        string    `json:"name" doc:"As people see it"`
	ClientID    string    `json:"client_id" doc:"Of us, at the provider"`
	HasSecret   bool      `json:"has_secret"`
	Settings    Settings  `json:"settings"`
	IsActive    bool      `json:"is_active"`
	RedirectURI string    `json:"redirect_uri" doc:"To register at the provider"`
	CreatedAt   time.Time `json:"created_at"`
	ModifiedAt  time.Time `json:"modified_at"`
}

func (s *Service) form(ctx context.Context, by access.Actor, c Connection) (form, error) {
	origin, err := s.Origin(ctx, by.Tenant)
	return formOf(c, origin), err
}

func formOf(c Connection, origin string) form {
	return form{c.ID, c.Provider, c.Name, c.ClientID, c.HasSecret, c.Settings, c.Enabled, origin + CallbackPath(c.ID), c.CreatedAt, c.ModifiedAt}
}

type none struct{}

func (s *Service) getConnections(ctx context.Context, by access.Actor, _ none) ([]form, error) {
	found, err := s.Connections(ctx, s.DB, by)
	if err != nil {
		return nil, err
	}
	origin, err := s.Origin(ctx, by.Tenant)
	out := make([]form, len(found))
	for i, c := range found {
		out[i] = formOf(c, origin)
	}
	return out, err
}

type byID struct {
	ID string `path:"id" doc:"24 hex digits"`
}

func (s *Service) getConnection(ctx context.Context, by access.Actor, in byID) (form, error) {
	c, err := s.Connection(ctx, s.DB, by, in.ID)
	if err != nil {
		return form{}, err
	}
	return s.form(ctx, by, c)
}

type postRequest struct {
	Provider string   `json:"provider" schema:"required" doc:"google, microsoft, github, apple, facebook, linkedin, gitlab, discord, slack, x, openid or oauth2"`
	Name     string   `json:"name" doc:"As people see it; the provider's if absent"`
	ClientID string   `json:"client_id" schema:"required"`
	Secret   string   `json:"client_secret" doc:"Of apple the private key, as PEM"`
	Settings Settings `json:"settings"`
	IsActive *bool    `json:"is_active" doc:"true if absent"`
}

func (s *Service) postConnection(ctx context.Context, by access.Actor, in postRequest) (out form, err error) {
	c := Connection{Provider: in.Provider, Name: in.Name, ClientID: in.ClientID, Settings: in.Settings, Enabled: in.IsActive == nil || *in.IsActive}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		made, err := s.Create(ctx, tx, by, c, in.Secret)
		if err != nil {
			return err
		}
		out, err = s.form(ctx, by, made)
		return err
	})
	return out, err
}

type putRequest struct {
	ID       string    `path:"id" doc:"24 hex digits"`
	Name     *string   `json:"name"`
	ClientID *string   `json:"client_id"`
	Secret   string    `json:"client_secret" doc:"In place of the one there is"`
	Settings *Settings `json:"settings" doc:"Replaces all of it"`
	IsActive *bool     `json:"is_active"`
}

func (s *Service) putConnection(ctx context.Context, by access.Actor, in putRequest) (out form, err error) {
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		c, err := findConnection(ctx, tx, by.Tenant, in.ID)
		if err != nil {
			return err
		}
		assign(&c.Name, in.Name)
		assign(&c.ClientID, in.ClientID)
		assign(&c.Settings, in.Settings)
		assign(&c.Enabled, in.IsActive)
		if c, err = s.Save(ctx, tx, by, c, in.Secret); err != nil {
			return err
		}
		out, err = s.form(ctx, by, c)
		return err
	})
	return out, err
}

func assign[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

type deleted struct {
	IsDeleted bool `json:"is_deleted"`
}

func (s *Service) deleteConnection(ctx context.Context, by access.Actor, in byID) (deleted, error) {
	err := s.DB.Write(ctx, func(tx *database.Tx) error { return s.Delete(ctx, tx, by, in.ID) })
	return deleted{err == nil}, err
}

// Examples of the API description.
var (
	exampleMade = time.Date(2024, 7, 15, 6, 27, 32, 0, time.UTC)
	exampleForm = formOf(Connection{
		ID: "6694c133565dfee5166d1cc1", Provider: "google", Name: "Google", ClientID: "1234567890.apps.googleusercontent.com", HasSecret: true, Enabled: true,
		CreatedAt: exampleMade, ModifiedAt: exampleMade,
	}, "https://shop.example.com")
	exampleWanted = json.RawMessage(`{"provider":"google","client_id":"1234567890.apps.googleusercontent.com","client_secret":"…"}`)
	exampleChange = json.RawMessage(`{"is_active":false}`)
)

// A Way is a connection as the configuration object of the SSOJet contract has it in
// auth_config.social. Nothing in it is secret.
type Way struct {
	Provider     string `json:"provider"`
	ConnectionID string `json:"connection_id"`
	Name         string `json:"name"`
}

// Ways are what people may sign in with, for auth_config.social: null if there is
// nothing.
func (s *Service) Ways(ctx context.Context, tenant string) (json.RawMessage, error) {
	found, err := s.Enabled(ctx, tenant)
	if err != nil || len(found) == 0 {
		return json.RawMessage("null"), err
	}
	out := make([]Way, len(found))
	for i, c := range found {
		out[i] = Way{c.Provider, c.ID, c.Name}
	}
	return json.RawMessage(encode(out)), nil
}
