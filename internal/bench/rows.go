package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A sample is what a walk through the whole list has brought: some of the users, and
// the place nine tenths down.
type sample struct {
	ids, emails []string
	first       string // id of the first user
	deep        string // cursor of the page nine tenths down
	deepAfter   string // id of the user before that page
	deepFirst   string // id of its first user
}

// sampleSize is how many users the look-ups ask for in turn.
const sampleSize = 20_000

// walk reads the whole list by cursor and proves that it has every user once.
func (p *place) walk(ctx context.Context) error {
	start := time.Now()
	every, seen, last, cursor := max(1, p.users/sampleSize), 0, "", ""
	for {
		page, next, err := p.page(ctx, cursor)
		if err != nil {
			return fmt.Errorf("walk through the list: %w", err)
		}
		for _, u := range page {
			if u.ID <= last {
				return fmt.Errorf("walk through the list: %s comes after %s", u.ID, last)
			}
			if seen == 0 {
				p.sample.first = u.ID
			}
			if p.sample.deep != "" && p.sample.deepFirst == "" {
				p.sample.deepFirst = u.ID
			}
			if seen%every == 0 {
				p.sample.ids, p.sample.emails = append(p.sample.ids, u.ID), append(p.sample.emails, u.Email)
			}
			last = u.ID
			seen++
		}
		if p.sample.deep == "" && seen >= p.users*9/10 {
			p.sample.deep, p.sample.deepAfter = next, last
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	if seen != p.users {
		return fmt.Errorf("the list has %d users, %d were imported", seen, p.users)
	}
	took := time.Since(start)
	p.report.add(row{Engine: p.engine, Name: "walk through all users, 500 a page", Unit: "users/s", Connections: 1,
		Figure: summary([]float64{float64(seen) / took.Seconds()}), Note: "every user once, in order"})
	return nil
}

type listed struct {
	ID    string `json:"_id"`
	Email string `json:"email"`
}

// page asks for a page of 500 users with an ordinary client.
func (p *place) page(ctx context.Context, cursor string) (users []listed, next string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.server.address+"/api/v1/users?limit=500&cursor="+cursor, nil)
	if err != nil {
		return nil, "", err
	}
	r.Host = p.host()
	for _, h := range p.headers() {
		r.Header.Set(h[0], h[1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, "", errors.New(answer.Status)
	}
	err = json.NewDecoder(answer.Body).Decode(&users)
	return users, answer.Header.Get("X-Next-Cursor"), err
}

func (p *place) host() string { return p.tenants[0].slug + "." + baseHost }

// headers are those of an application behind a proxy that ends TLS.
func (p *place) headers() [][2]string {
	return append(secure[:2:2], [2]string{"Authorization", "Bearer " + p.tenants[0].key})
}

// encode writes a request down as it is sent.
func encode(method, target, host string, headers [][2]string, body []byte) request {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: cardea-bench\r\n", method, target, host)
	for _, h := range headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	if body != nil {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return request{raw: b.Bytes()}
}

func (p *place) get(target string, check func(body []byte) error) request {
	r := encode("GET", target, p.host(), p.headers(), nil)
	r.check = check
	return r
}

func ofControl(target string, check func(body []byte) error) request {
	r := encode("GET", target, "localhost", nil, nil)
	r.check = check
	return r
}

// has checks that an answer holds a text so many times; 0 is at least once.
func has(text string, times int) func(body []byte) error {
	return func(body []byte) error {
		n := bytes.Count(body, []byte(text))
		if n == 0 || times > 0 && n != times {
			return fmt.Errorf("the answer holds %s %d times", text, n)
		}
		return nil
	}
}

// starts checks that a list of 20 starts with a user.
func starts(id string) func(body []byte) error {
	full := has(`"_id":`, 20)
	return func(body []byte) error {
		if !bytes.HasPrefix(body, []byte(`[{"_id":"`+id+`"`)) {
			return fmt.Errorf("the list does not start with %s", id)
		}
		return full(body)
	}
}

// A measuredRow is asked of the control, then of the product.
type measuredRow struct {
	name        string
	connections int // of one client, or all of them if 0
	product     script
	control     script // nil: there is none
	goal        goal
	note        string
	isFirst     bool // the rate is what deep pages are held against
	hashing     bool // it hashes passwords
	most        int  // pieces of work in the windows, 0 for as many as there can be
	before      func(ctx context.Context) error
	after       func(ctx context.Context) error
	meanwhile   script // of one client more, with pauses
}

// rows measures what is asked of the full database. Passwords come last: see there.
func (p *place) rows(ctx context.Context) error {
	err := p.measureAll(ctx, p.lists, p.lookups, p.searches, p.pageNumbers, p.documents, p.credentials, p.introspections, p.sessionChecks, p.refreshes, p.factors, p.creations, p.provisions, p.enterprises)
	if err == nil {
		err = p.firstSync(ctx)
	}
	if err != nil {
		return err
	}
	return p.measureAll(ctx, p.passwords)
}

func (p *place) measureAll(ctx context.Context, groups ...func() []measuredRow) error {
	for _, group := range groups {
		for _, m := range group() {
			if !p.options.rows.MatchString(m.name) {
				continue
			}
			if err := p.measure(ctx, m); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	return nil
}

func (p *place) measure(ctx context.Context, m measuredRow) error {
	clients := m.connections
	if clients == 0 {
		clients = p.connections
	}
	var control *figure
	if m.control != nil {
		f, err := p.control.load(ctx, p.plan(), clients, m.control)
		if err != nil {
			return fmt.Errorf("control: %w", err)
		}
		control = &f
	}
	if m.before != nil {
		if err := m.before(ctx); err != nil {
			return err
		}
	}
	if err := p.server.resetPeak(); err != nil {
		return err
	}
	others := p.watch(ctx, m)
	f, err := p.loadServer(ctx, m, clients)
	meanwhile, failed := others()
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("%w\n%s", err, p.server.logTail())
	}
	now, peak, err := p.server.memory()
	if err != nil {
		return err
	}
	if m.isFirst {
		p.first = f.Median
	}
	if m.after != nil {
		if err := m.after(ctx); err != nil {
			return err
		}
	}
	m.goal.first, m.goal.ofFirst = p.first, m.goal.ofFirst && p.first > 0
	p.report.add(row{Engine: p.engine, Name: m.name, Unit: "req/s", Connections: clients, Figure: f, MemoryMB: now, PeakMB: peak, Hashing: m.hashing, Note: m.note}.
		compare(control).judge(m.goal))
	if meanwhile != nil {
		p.report.add(row{Engine: p.engine, Name: "other requests, during: " + m.name, Unit: "req/s", Connections: 1, Figure: *meanwhile, Note: "with pauses of 10 ms"}.judge(goal{p99: 50}))
	}
	return p.server.clearLog()
}

// watch asks what a row asks meanwhile, until the function it returns is called.
func (p *place) watch(ctx context.Context, m measuredRow) (done func() (*figure, error)) {
	if m.meanwhile == nil {
		return func() (*figure, error) { return nil, nil }
	}
	finished, failed, f := make(chan struct{}), make(chan error, 1), figure{}
	go func() {
		var err error
		watch := plan{warm: time.Millisecond, window: 2 * time.Hour, windows: 1, pause: 10 * time.Millisecond, until: finished}
		f, err = load(ctx, watch, p.server.address, 1, m.meanwhile)
		failed <- err
	}()
	return func() (*figure, error) {
		close(finished)
		return &f, <-failed
	}
}

// loadServer measures the product and, if asked to, saves a profile of it.
func (p *place) loadServer(ctx context.Context, m measuredRow, clients int) (figure, error) {
	if p.profile == "" {
		return p.server.load(ctx, p.planOf(m), clients, m.product)
	}
	saved := make(chan error, 1)
	go func() { saved <- p.saveProfile(ctx, m.name, p.warm+3*p.window) }()
	f, err := p.server.load(ctx, p.planOf(m), clients, m.product)
	return f, errors.Join(err, <-saved)
}

// planOf is the plan for the product's part of a row.
func (p *place) planOf(m measuredRow) plan {
	plan := p.plan()
	if m.most > 0 {
		plan.most = m.most
	}
	return plan
}

func (p *place) lists() []measuredRow {
	first := pick([]request{p.get("/api/v1/users?limit=20", starts(p.sample.first))})
	deep := pick([]request{p.get("/api/v1/users?limit=20&cursor="+p.sample.deep, starts(p.sample.deepFirst))})
	controlFirst := pick([]request{ofControl("/page?after=", starts(p.sample.first))})
	controlDeep := pick([]request{ofControl("/page?after="+p.sample.deepAfter, starts(p.sample.deepFirst))})
	return []measuredRow{
		{name: "list 20, first page", product: first, control: controlFirst, goal: goal{rate: 6000, p99: 10, limit: 12_211, limitP99: 5.5}, isFirst: true},
		{name: "list 20, by cursor, nine tenths down", product: deep, control: controlDeep, goal: goal{ofFirst: true, p99: 10, limitP99: 5.5},
			note: fmt.Sprintf("after %s users", number(float64(p.users*9/10)))},
	}
}

func (p *place) lookups() []measuredRow {
	byEmail, byID := make([]request, len(p.sample.ids)), make([]request, len(p.sample.ids))
	controlEmail, controlID := make([]request, len(p.sample.ids)), make([]request, len(p.sample.ids))
	for i, id := range p.sample.ids {
		email := p.sample.emails[i]
		isEmail, isID := has(`"email":"`+email+`"`, 1), has(`"_id":"`+id+`"`, 1)
		byEmail[i], byID[i] = p.get("/api/v1/users/"+email+"/email", isEmail), p.get("/api/v1/users/"+id, isID)
		controlEmail[i], controlID[i] = ofControl("/email/"+email, isEmail), ofControl("/id/"+id, isID)
	}
	return []measuredRow{
		{name: "get by e-mail", product: pick(byEmail), control: pick(controlEmail), goal: goal{rate: 10_000, p99: 6, limit: 22_767, limitP99: 2.9}},
		{name: "get by id", product: pick(byID), control: pick(controlID), goal: goal{rate: 10_000, p99: 6, limit: 22_767, limitP99: 2.9}},
	}
}

// searchers is how many different searches take turns.
const searchers = 500

// searches are asked by one client. Beside them stands what a look at every user
// takes.
func (p *place) searches() []measuredRow {
	scan := pick([]request{ofControl("/scan?part=nobody-has-this", nil)})
	search := func(of func(u person) (word, want string)) script {
		requests := make([]request, searchers)
		for i := range requests {
			word, want := of(personOf(p.seed, i*(p.users/searchers)))
			requests[i] = p.get("/api/v1/users?limit=20&search="+url.QueryEscape(word), has(want, 0))
		}
		return pick(requests)
	}
	scanned := "the control looks at every user"
	return []measuredRow{
		{name: "search by beginning of the last name, 1 in 25 match", connections: 1, goal: goal{p99: 10}, control: scan, note: scanned,
			product: search(func(u person) (string, string) { return stemOf(u.last), `"last_name":"` + stemOf(u.last) })},
		{name: "search by beginning of the last name, 1 in 500 match", connections: 1, goal: goal{p99: 10}, control: scan, note: scanned,
			product: search(func(u person) (string, string) { return u.last[:len(u.last)-1], `"last_name":"` + u.last + `"` })},
		{name: "search by first name and beginning of the last name", connections: 1, goal: goal{p99: 10}, control: scan, note: scanned,
			product: search(func(u person) (string, string) {
				return u.first + " " + u.last[:len(u.last)-1], `"last_name":"` + u.last + `"`
			})},
		{name: "search by part of the e-mail address, 1 in 100,000 match", connections: 1, goal: goal{p99: 10}, control: scan, note: scanned,
			product: search(func(u person) (string, string) {
				name, _, _ := strings.Cut(u.email, "@")
				return name[len(name)-5:] + "@", `"email":"` + u.email + `"`
			})},
	}
}

func stemOf(last string) string {
	for _, s := range stems {
		if strings.HasPrefix(last, s) {
			return s
		}
	}
	return last
}

// pageNumbers is KOBIL's form of the list, which tells how many users there are.
func (p *place) pageNumbers() []measuredRow {
	list := func(query string, check func(body []byte) error) script {
		return pick([]request{p.get("/digitanium/v4/users?limit=20&"+query, check)})
	}
	// Many people take turns, so that a total the product remembers helps only as
	// much as it would in practice.
	filter := func(of func(u person) string, times int) script {
		requests := make([]request, searchers)
		for i := range requests {
			u := personOf(p.seed, i*(p.users/searchers))
			requests[i] = p.get("/digitanium/v4/users?limit=20&"+of(u), has(`"username":`, times))
		}
		return pick(requests)
	}
	full, many := has(`"username":`, 20), 20
	if p.users < 50_000 {
		many = 0 // too few of a name to fill a page
	}
	page := pick([]request{ofControl("/page?after=", nil)})
	return []measuredRow{
		{name: "KOBIL list, page 1", connections: 1, product: list("pageNumber=1", full), control: page, goal: goal{p99: 10}},
		{name: "KOBIL list, page 1, by e-mail", connections: 1, control: page, goal: goal{p99: 10},
			product: filter(func(u person) string { return "email=" + u.email }, 1)},
		{name: "KOBIL list, page 1, last name, 1 in 500 match", connections: 1, control: page, goal: goal{p99: 10},
			product: filter(func(u person) string { return "lastName=" + u.last }, many)},
		{name: "KOBIL list, page 1, first name, 1 in 64 match", connections: 1, control: page, goal: goal{p99: 10},
			product: filter(func(u person) string { return "firstName=" + url.QueryEscape(u.first) }, many)},
		{name: "KOBIL list, page number nine tenths down", connections: 1, product: list(fmt.Sprintf("pageNumber=%d", p.users*9/10/20), full), control: page, note: "counts and skips"},
	}
}

// creations come last: they change the list.
func (p *place) creations() []measuredRow {
	g := goal{rate: 4000, p99: 15, limit: 11_065, limitP99: 4.3}
	if p.engine == "sqlite" {
		g = goal{share: 0.7} // one writer at a time
	}
	return []measuredRow{{name: "create a user", goal: g,
		product: p.create("/api/v1/users", p.host(), p.headers()),
		control: p.create("/users", "localhost", nil)}}
}

// newcomersAt is behind everybody who was imported.
const newcomersAt = 20_000_000

// create asks for users nobody has been before.
func (p *place) create(target, host string, headers [][2]string) script {
	return func(c *conn, _ int) func() error {
		return func() error {
			u := personOf(p.seed, newcomersAt+int(p.newcomers.Add(1)))
			body := fmt.Appendf(nil, `{"email":%q,"first_name":%q,"last_name":%q,"raw_attributes":{"plan":%q,"locale":"en-GB"}}`, u.email, u.first, u.last, u.plan)
			r := encode("POST", target, host, headers, body)
			r.check = has(`"email":"`+u.email+`"`, 1)
			return c.ask(r)
		}
	}
}

// judgeMemory finds the rows after which the server held most, and in which it did
// while it hashed passwords: each hash takes 19 MiB. With SQLite the pages of the
// database are in the server's memory too.
func (p *place) judgeMemory() error {
	after, during := row{}, row{}
	for _, r := range p.report.Rows {
		if r.Engine == p.engine && !r.Hashing && r.MemoryMB > after.MemoryMB {
			after = r
		}
		if r.Engine == p.engine && r.Hashing && r.PeakMB > during.PeakMB {
			during = r
		}
	}
	most := 45.0
	if p.engine == "sqlite" {
		most = 120
	}
	p.report.add(row{Engine: p.engine, Name: "memory after any row without hashing, at most", Unit: "MB", Figure: summary([]float64{after.MemoryMB}), Note: "after: " + after.Name}.
		judge(goal{most: most}))
	if during.PeakMB > 0 {
		p.report.add(row{Engine: p.engine, Name: "memory while passwords are hashed, at most", Unit: "MB", Figure: summary([]float64{during.PeakMB}), Note: "during: " + during.Name}.
			judge(goal{most: 120}))
	}
	return nil
}
