package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/scim"
)

// A directory is one of an organization, and what the other side proves itself with.
type directory struct{ id, token string }

// ruledGroup is the group that gives its members a role.
const ruledGroup = "Readers"

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
			reader, err := role.BySlug(ctx, tx, by.Tenant, "developer")
			if err != nil {
				return err
			}
			made, err := a.SCIM.Create(ctx, tx, by, scim.Directory{OrganizationID: o.ID, Name: "Bench", Type: "custom", GroupRules: []scim.Rule{{Group: ruledGroup, RoleID: reader.ID}}})
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
			r, email := p.newcomer(*d, int(last.Add(1)))
			r.check = has(`"userName":"`+email+`"`, 1)
			return c.ask(r)
		}
	}
}

// newcomer is a request that brings the person of a number.
func (p *place) newcomer(d directory, n int) (r request, email string) {
	u := personOf(p.seed, n)
	return p.toDirectory(d, "POST", "/Users", fmt.Sprintf(
		`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":%q,"externalId":"x%d","active":true,"name":{"givenName":%q,"familyName":%q},"emails":[{"type":"work","primary":true,"value":%q}]}`,
		u.email, n, u.first, u.last, u.email)), u.email
}

// toDirectory is a request to the SCIM server; body may be empty.
func (p *place) toDirectory(d directory, method, path, body string) request {
	return encode(method, scim.Prefix+d.id+path, p.host(), append(secure[:2:2], [2]string{"Authorization", "Bearer " + d.token}), []byte(body))
}

// How many users a first synchronisation brings, and how many a group has at once; no
// more than the tenant has.
const (
	syncUsers    = 100_000
	groupMembers = 20_000
	syncMemory   = 150 // MB that the server may hold at most meanwhile
)

// firstSync measures what a directory does when it is connected, and with its largest
// groups afterwards. Every piece is done once, while the tables are as a first
// synchronisation leaves them.
func (p *place) firstSync(ctx context.Context) error {
	name := fmt.Sprintf("SCIM first sync of %s users", number(float64(min(syncUsers, p.users))))
	if !p.options.rows.MatchString(name) && !p.options.rows.MatchString("SCIM PATCH") {
		return nil
	}
	d, err := p.makeDirectory(ctx)
	if err != nil {
		return err
	}
	var ids []string
	err = p.once(name, "users/s", float64(min(syncUsers, p.users)), p.connections, func() (err error) {
		ids, err = p.bring(ctx, d, min(syncUsers, p.users))
		return err
	})
	if err != nil {
		return err
	}
	for _, group := range []string{"Everybody", ruledGroup} {
		if err := p.regroup(d, group, ids); err != nil {
			return fmt.Errorf("group %s: %w", group, err)
		}
	}
	return nil
}

// once measures something that is done once: a rate if all is how much of it there is,
// else how long it takes.
func (p *place) once(name, unit string, all float64, connections int, do func() error) error {
	if err := p.server.resetPeak(); err != nil {
		return err
	}
	before, err := p.server.computed()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, p.server.logTail())
	}
	took := time.Since(start)
	after, err1 := p.server.computed()
	now, peak, err2 := p.server.memory()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	f := summary([]float64{milliseconds(took)})
	if all > 0 {
		f = summary([]float64{all / took.Seconds()})
	}
	p.report.add(row{Engine: p.engine, Name: name, Unit: unit, Connections: connections, Figure: f, MemoryMB: now, PeakMB: peak,
		Note: fmt.Sprintf("%.1f s, of which the server computed %.1f", took.Seconds(), (after.own - before.own).Seconds())}.judge(goal{peak: syncMemory}))
	return p.server.clearLog()
}

// bring brings so many users over all connections and returns their ids.
func (p *place) bring(ctx context.Context, d directory, n int) (ids []string, err error) {
	var mu sync.Mutex
	var last atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range p.connections {
		group.Go(func() error {
			c, err := dial(p.server.address, time.Now().Add(time.Hour))
			if err != nil {
				return err
			}
			defer c.close()
			for at := int(last.Add(1)); at <= n && ctx.Err() == nil; at = int(last.Add(1)) {
				r, _ := p.newcomer(d, 50_000_000+at)
				r.check = func(body []byte) error {
					mu.Lock()
					defer mu.Unlock()
					ids = append(ids, member(body, "id"))
					return nil
				}
				if err := c.ask(r); err != nil {
					return err
				}
			}
			return context.Cause(ctx)
		})
	}
	return ids, group.Wait()
}

// regroup makes a group and changes its members, as many as a large group has at once.
func (p *place) regroup(d directory, name string, ids []string) error {
	c, err := dial(p.server.address, time.Now().Add(time.Hour))
	if err != nil {
		return err
	}
	defer c.close()
	r := p.toDirectory(d, "POST", "/Groups", fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":%q}`, name))
	group := ""
	r.check = func(body []byte) error { group = member(body, "id"); return nil }
	if err := c.ask(r); err != nil {
		return err
	}
	n := min(groupMembers, len(ids)/2)
	what := " members"
	if name == ruledGroup {
		what = " members of a group that gives a role"
	}
	for _, step := range []struct {
		op, how string
		ids     []string
		then    int
	}{{"add", "add", ids[:n], n}, {"replace", "replace", ids[n/2 : n+n/2], n}, {"remove", "remove", ids[n/2 : n+n/2], 0}} {
		row := fmt.Sprintf("SCIM PATCH, %s %s%s", step.how, number(float64(n)), what)
		patch := p.toDirectory(d, "PATCH", "/Groups/"+group, patchMembers(step.op, step.ids))
		err := p.once(row, "ms", 0, 1, func() error {
			status, body, err := c.send(patch.raw, nil)
			if err == nil && status != 204 {
				err = fmt.Errorf("status %d: %.300s", status, body)
			}
			return err
		})
		if err != nil {
			return err
		}
		count := p.toDirectory(d, "GET", "/Groups/"+group, "")
		count.check = has(`"value":"`, step.then)
		if step.then == 0 {
			count.check = nil
		}
		if err := c.ask(count); err != nil {
			return fmt.Errorf("after %s: %w", row, err)
		}
	}
	return nil
}

// patchMembers is the message of one operation on members.
func patchMembers(op string, ids []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":%q,"path":"members","value":[`, op)
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"value":%q}`, id)
	}
	b.WriteString(`]}]}`)
	return b.String()
}
