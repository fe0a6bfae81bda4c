package apptest

import (
	"context"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/token"
	"github.com/cardea-id/cardea/internal/user"
)

// User makes a user who may sign in and holds roles, by slug, and returns the id.
func (n *Tenant) User(t *testing.T, username string, roles ...string) (id string) {
	t.Helper()
	u := user.User{Username: username, IsActive: true}
	for _, slug := range roles {
		u.RoleIDs = append(u.RoleIDs, n.Roles[slug].ID)
	}
	n.w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		made, err := n.w.Users.Create(ctx, tx, access.System(n.ID), u)
		id = made.ID
		return err
	})
	return id
}

// AsUser returns the client with an access token that the tenant's application got for
// a user, with these scopes.
func (n *Tenant) AsUser(t *testing.T, userID string, scopes ...access.Permission) Client {
	t.Helper()
	app, err := n.w.Tenants.ByClientID(t.Context(), n.ClientID)
	if err != nil {
		t.Fatal(err)
	}
	words := []string{"openid"}
	for _, p := range scopes {
		words = append(words, string(p))
	}
	g := session.Grant{UserID: userID, ApplicationID: app.ID, Scope: strings.Join(words, " ")}
	n.w.Write(t, func(ctx context.Context, tx *database.Tx) error {
		proof := session.Proof{AMR: []string{"pwd"}, At: tx.Now}
		in, _, err := n.w.Sessions.Start(ctx, tx, access.System(n.ID), userID, app.ID, proof, session.From{}, session.SessionLifetimes)
		if err != nil {
			return err
		}
		g.SessionID, g.Detail.AuthAt = in.ID, in.AuthAt
		g, err = n.w.Sessions.Open(tx, access.System(n.ID), g, session.GrantLifetimes)
		return err
	})
	row, err := n.w.Tenants.ByID(t.Context(), n.ID)
	if err != nil {
		t.Fatal(err)
	}
	made, err := n.w.Tokens.Issue(t.Context(), row, app, g, token.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := n.Client
	c.Key = made.Access
	return c
}
