package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/scim"
)

// A directory is one of an organization, and what the other side proves itself with.
type directory struct{ id, token string }

// provisions are users that the directory of an organization brings.
func (p *place) provisions() []measuredRow {
	d := &directory{}
	return []measuredRow{{name: "SCIM create a user", goal: goal{rate: 1500},
		before:  func(ctx context.Context) (err error) { *d, err = p.makeDirectory(ctx); return err },
		product: p.provision(d), control: p.create("/users", "localhost", nil)}}
}

// makeDirectory makes an organization with a directory and a token.
func (p *place) makeDirectory(ctx context.Context) (d directory, err error) {
	by := access.System(p.tenants[0].id)
	return d, p.attached(ctx, func(a *app.App) error {
		return a.DB.Write(ctx, func(tx *database.Tx) error {
			o, err := a.Orgs.Create(ctx, tx, by, org.Organization{Name: "Bench", IsActive: true, AllowOutside: true})
			if err != nil {
				return err
			}
			made, err := a.SCIM.Create(ctx, tx, by, scim.Directory{OrganizationID: o.ID, Name: "Bench", Type: "custom"})
			if err != nil {
				return err
			}
			d.id = made.ID
			_, d.token, err = a.SCIM.NewToken(ctx, tx, by, o.ID, made.ID, scim.NewTokenRequest{})
			return err
		})
	})
}

// provision brings users nobody has been before.
func (p *place) provision(d *directory) script {
	var last atomic.Int64
	last.Store(40_000_000)
	return func(c *conn, _ int) func() error {
		return func() error {
			n := last.Add(1)
			u := personOf(p.seed, int(n))
			r := encode("POST", scim.Prefix+d.id+"/Users", p.host(), append(secure[:2:2], [2]string{"Authorization", "Bearer " + d.token}), fmt.Appendf(nil,
				`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":%q,"externalId":"x%d","active":true,"name":{"givenName":%q,"familyName":%q},"emails":[{"type":"work","primary":true,"value":%q}]}`,
				u.email, n, u.first, u.last, u.email))
			r.check = has(`"userName":"`+u.email+`"`, 1)
			return c.ask(r)
		}
	}
}
