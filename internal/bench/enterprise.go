package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/testidp"
)

// How many organizations the tenant has, and how many of them sign their people in by a
// connection of their own and have proved a domain; fewer of both if it has few users.
const (
	organizations = 100_000
	connected     = 10_000
)

// A company is an organization. Only some have a domain and a connection.
type company struct{ id, name, domain, connection string }

// companies are the organizations of the tenant, in the order of the list; the first ones
// have connections.
type companies struct {
	all   []company
	idp   testidp.Key // of all connections
	first string      // id of the first one of the list
	deep  string      // cursor of the page nine tenths down
	after string      // id of the first one on that page
}

var trades = strings.Fields("Bakery Brewery Cargo Catering Design Energy Farming Foods Forestry Freight Gardens Glass Homes Insurance Logistics Machines Media Metals Optics Paper Pharma Plastics Retail Robotics Software")

// companyName is the name of the organization of a number: one in 500 has a given first
// word, and the number is in it.
func companyName(seed uint64, n int) string {
	x := newXorshift(seed+2, uint64(n))
	return fmt.Sprintf("%s%s %s %06d", stems[x.below(len(stems))], endings[x.below(len(endings))], trades[x.below(len(trades))], n)
}

// connected are the companies that have a connection.
func (c *companies) connected() []company { return c.all[:min(connected, max(1, len(c.all)/10))] }

// enterprises are the rows about many organizations with sign-in of their own.
func (p *place) enterprises() []measuredRow {
	c, begun := &companies{}, &begunSignIns{}
	with := func(more ...func(context.Context, *companies) error) func(context.Context) error {
		return func(ctx context.Context) error {
			for _, step := range append([]func(context.Context, *companies) error{p.makeCompanies}, more...) {
				if err := step(ctx, c); err != nil {
					return err
				}
			}
			return nil
		}
	}
	first, note := pick([]request{ofControl("/page?after=", nil)}), p.ofCompanies()
	rows := []measuredRow{
		{name: "list 20 organizations, first page", before: with(), product: later(func() script { return p.listCompanies("", c.first) }), control: first, goal: goal{p99: 10}, note: note},
		{name: "list 20 organizations, by cursor, nine tenths down", before: with(), product: later(func() script { return p.listCompanies("&cursor="+c.deep, c.after) }), control: first, goal: goal{p99: 10}},
		{name: "search organizations, 1 in 500 match", connections: 1, before: with(), product: later(func() script { return p.searchCompanies(c, firstWord) }), control: first, goal: goal{p99: 10}},
		{name: "search organizations, one matches", connections: 1, before: with(), product: later(func() script { return p.searchCompanies(c, lastWord) }), control: first, goal: goal{p99: 10}},
		{name: "search organizations, none matches", connections: 1, before: with(), product: later(func() script { return p.searchCompanies(c, nobody) }), control: first, goal: goal{p99: 10}},
		{name: "list the connections of an organization", before: with(), product: later(func() script { return p.listConnections(c) }), control: first, goal: goal{p99: 10}},
	}
	for _, clients := range []int{1, p.connections} {
		rows = append(rows,
			measuredRow{name: "sign-in page", connections: clients, before: with(), product: p.signInPage(), goal: goal{p99: 5}},
			measuredRow{name: "sign-in page of an organization", connections: clients, before: with(func(ctx context.Context, c *companies) error { return p.beginOrganizations(ctx, c, begun) }), product: p.organizationPage(begun), goal: goal{p99: 5}},
			measuredRow{name: "home realm: an address leads to its organization's provider", connections: clients, before: with(), product: later(func() script { return p.homeRealm(c) }),
				control: p.create("/users", "localhost", nil), goal: goal{p99: 5}, note: "a sign-in is begun, and written down; the control inserts one row"})
	}
	return append(rows, p.samlSignIns(c, with()))
}

func (p *place) ofCompanies() string {
	n := min(organizations, p.users)
	return fmt.Sprintf("%s organizations, %s with a connection", number(float64(n)), number(float64(len((&companies{all: make([]company, n)}).connected()))))
}

// later is a script that is made when the row begins, of what was prepared by then.
func later(made func() script) script {
	once := sync.OnceValue(made)
	return func(c *conn, connection int) func() error { return once()(c, connection) }
}

// makeCompanies makes the organizations, once.
func (p *place) makeCompanies(ctx context.Context, c *companies) error {
	if c.all != nil {
		return nil
	}
	err := p.attached(ctx, func(a *app.App) error {
		if err := p.makeOrganizations(ctx, a, c); err != nil {
			return fmt.Errorf("make organizations: %w", err)
		}
		if err := p.connect(ctx, a, c); err != nil {
			return fmt.Errorf("make connections: %w", err)
		}
		if err := p.proveDomains(ctx, a, c); err != nil {
			return fmt.Errorf("prove domains: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.settle(ctx); err != nil {
		return err
	}
	return p.walkCompanies(ctx, c)
}

func (p *place) makeOrganizations(ctx context.Context, a *app.App, c *companies) error {
	const portion = 500
	by := access.System(p.tenants[0].id)
	for n := min(organizations, p.users); len(c.all) < n; {
		from := len(c.all)
		var made []company
		err := a.DB.Write(ctx, func(tx *database.Tx) error {
			made = nil // if it is tried again
			for i := from; i < min(from+portion, n); i++ {
				o, err := a.Orgs.Create(ctx, tx, by, org.Organization{Name: companyName(p.seed, i), Slug: fmt.Sprintf("company-%06d", i), IsActive: true})
				if err != nil {
					return err
				}
				made = append(made, company{id: o.ID, name: o.Name})
			}
			return nil
		})
		if err != nil {
			return err
		}
		slices.SortFunc(made, func(a, b company) int { return strings.Compare(a.id, b.id) }) // of one moment
		c.all = append(c.all, made...)
	}
	return nil
}

// connect makes one connection as the product does, and copies it. The copies have the
// first one's key, sealed for each: making thousands of keys takes many minutes.
func (p *place) connect(ctx context.Context, a *app.App, c *companies) (err error) {
	by, first := access.System(p.tenants[0].id), &c.connected()[0]
	if c.idp, err = testidp.NewKey(time.Now()); err != nil {
		return err
	}
	idp := sso.IdP{EntityID: idpEntity, SSORedirect: idpAddress, Certificates: []string{base64.StdEncoding.EncodeToString(c.idp.Certificate)}}
	prepared, err := a.SSO.Prepare(ctx, by, sso.Connection{OrganizationID: first.id, Name: "Company sign-in", Kind: sso.SAML, Provider: "custom", Settings: sso.Settings{IdP: idp}}, "")
	if err != nil {
		return err
	}
	box, err := a.Tenants.Box(ctx, by.Tenant)
	if err != nil {
		return err
	}
	place := func(connection string) string { return "sso_connections/" + connection + "/keys" }
	return a.DB.Write(ctx, func(tx *database.Tx) error {
		made, err := a.SSO.Create(ctx, tx, by, prepared)
		if err != nil {
			return err
		}
		if _, err := a.SSO.SetState(ctx, tx, by, first.id, made.ID, sso.Active); err != nil {
			return err
		}
		first.connection = made.ID
		var sealed []byte
		if err := tx.QueryRow(ctx, "SELECT sp_keys FROM sso_connections WHERE tenant_id = $1 AND id = $2", by.Tenant, made.ID).Scan(&sealed); err != nil {
			return err
		}
		keys, err := box.Open(place(made.ID), sealed)
		if err != nil {
			return err
		}
		for i := range c.connected()[1:] {
			to := &c.all[i+1]
			to.connection = secret.ID(time.Now())
			if _, err := tx.Exec(ctx, copyConnection, by.Tenant, made.ID, to.connection, to.id, box.Seal(place(to.connection), keys)); err != nil {
				return err
			}
		}
		return nil
	})
}

const copyConnection = `
	INSERT INTO sso_connections (tenant_id, id, organization_id, name, kind, provider, state, settings, secret, sp_keys, refresh_failures, last_cause, created_at, modified_at, trusted_at)
	SELECT tenant_id, CAST($3 AS TEXT), CAST($4 AS TEXT), name, kind, provider, state, settings, secret, $5, refresh_failures, last_cause, created_at, modified_at, trusted_at
	FROM sso_connections WHERE tenant_id = $1 AND id = $2`

// proveDomains gives each company with a connection a domain, and proves it by a DNS that
// says whatever is asked for.
func (p *place) proveDomains(ctx context.Context, a *app.App, c *companies) error {
	by := access.System(p.tenants[0].id)
	values := make(map[string]string, len(c.connected()))
	err := inPortions(c.connected(), func(part []company) error {
		return a.DB.Write(ctx, func(tx *database.Tx) error {
			for i := range part {
				d, err := a.Orgs.AddDomain(ctx, tx, by, part[i].id, part[i].id+".example")
				if err != nil {
					return err
				}
				part[i].domain = d.Domain
				values[d.Record()+"."] = d.Value()
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	a.Orgs.TXT = func(_ context.Context, name string) ([]string, error) { return []string{values[name]}, nil }
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.connections)
	for _, each := range c.connected() {
		group.Go(func() error {
			_, err := a.Orgs.VerifyDomain(ctx, by, each.id, each.domain)
			return err
		})
	}
	return group.Wait()
}

func inPortions(all []company, do func(part []company) error) error {
	const portion = 500
	for from := 0; from < len(all); from += portion {
		if err := do(all[from:min(from+portion, len(all))]); err != nil {
			return err
		}
	}
	return nil
}

// walkCompanies reads the list of organizations by cursor, proves that it has each once,
// and notes where nine tenths are behind.
func (p *place) walkCompanies(ctx context.Context, c *companies) error {
	cursor, seen := "", 0
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.server.address+"/api/v1/organizations?limit=500&cursor="+cursor, nil)
		if err != nil {
			return err
		}
		r.Host = p.host()
		for _, h := range p.headers() {
			r.Header.Set(h[0], h[1])
		}
		page, next, err := readCompanies(r)
		if err != nil {
			return fmt.Errorf("walk through the organizations: %w", err)
		}
		for _, each := range page {
			if c.first == "" {
				c.first = each.ID
			}
			if seen < len(c.all) && each.ID == c.all[seen].id {
				seen++
			}
		}
		if c.deep == "" && seen >= len(c.all)*9/10 && next != "" {
			c.deep, c.after = next, c.all[seen].id
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	if seen != len(c.all) {
		return fmt.Errorf("the list has %d of %d organizations", seen, len(c.all))
	}
	return nil
}

func readCompanies(r *http.Request) (page []struct{ ID string }, next string, err error) {
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, "", errors.New(answer.Status)
	}
	err = json.NewDecoder(answer.Body).Decode(&page)
	return page, answer.Header.Get("X-Next-Cursor"), err
}

// listCompanies asks for a page that starts with the organization of an id.
func (p *place) listCompanies(more, first string) script {
	return pick([]request{p.get("/api/v1/organizations?limit=20"+more, func(body []byte) error {
		if !strings.HasPrefix(string(body), `[{"id":"`+first+`"`) {
			return fmt.Errorf("the list does not start with %s", first)
		}
		return nil
	})})
}

// What of a company is searched for, and how often it is in an answer; 0 is at least once.
func firstWord(c company) (word string, times int) {
	word, _, _ = strings.Cut(c.name, " ")
	return word, 0
}

func lastWord(c company) (word string, times int) {
	return c.name[strings.LastIndexByte(c.name, ' ')+1:], 1
}

func nobody(c company) (word string, times int) { return "nobody " + c.name, -1 }

func (p *place) searchCompanies(c *companies, of func(c company) (word string, times int)) script {
	n := min(searchers, len(c.all))
	requests := make([]request, n)
	for i := range requests {
		word, times := of(c.all[i*(len(c.all)/n)])
		check := has(`"sso_connection_token":`, times)
		if times < 0 {
			check = has("[]", 1)
		}
		requests[i] = p.get("/api/v1/organizations?limit=20&search="+url.QueryEscape(word), check)
	}
	return pick(requests)
}

func (p *place) listConnections(c *companies) script {
	requests := make([]request, len(c.connected()))
	for i, each := range c.connected() {
		requests[i] = p.get("/api/v1/organizations/"+each.id+"/connections", has(`"id":"`+each.connection+`"`, 1))
	}
	return pick(requests)
}
