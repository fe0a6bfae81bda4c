package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/secret/passhash"
	"github.com/cardea-id/cardea/internal/sso/samlxml"
	"github.com/cardea-id/cardea/internal/testidp"
)

// The program's own parts are tested from inside: it is a command, and exports
// nothing.

func TestPercentileIsOneOfTheTimes(t *testing.T) {
	t.Parallel()
	upTo := func(n int) (times []time.Duration) {
		for i := range n {
			times = append(times, time.Duration(i+1))
		}
		return times
	}
	for _, c := range []struct {
		times []time.Duration
		p     int
		want  time.Duration
	}{
		{nil, 99, 0}, {upTo(1), 50, 1}, {upTo(1), 99, 1}, {upTo(2), 50, 1}, {upTo(100), 50, 50}, {upTo(100), 99, 99}, {upTo(101), 99, 100}, {upTo(1000), 99, 990},
	} {
		if got := percentile(c.times, c.p); got != c.want {
			t.Errorf("percentile %d of %d times: got %d, want %d", c.p, len(c.times), got, c.want)
		}
	}
}

func TestSummaryIsMedianAndRange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   figure
	}{
		{[]float64{7}, figure{Median: 7, Min: 7, Max: 7}},
		{[]float64{3, 1, 2}, figure{Median: 2, Min: 1, Max: 3}},
		{[]float64{4, 1, 2, 3}, figure{Median: 2.5, Min: 1, Max: 4}},
	} {
		if got := summary(c.values); got != c.want {
			t.Errorf("summary of %v: got %+v, want %+v", c.values, got, c.want)
		}
	}
}

func TestReadAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text, body string
		status     int
	}{
		"with a length":          {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 200},
		"empty":                  {"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "", 404},
		"in pieces":              {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n wide worl\r\n1\r\nd\r\n0\r\n\r\n", "hello wide world", 200},
		"of no piece":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", 200},
		"without words for 200":  {"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", "ok", 200},
		"longer than the buffer": {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000), strings.Repeat("x", 100_000), 200},
	} {
		// Twice: the second answer must start where the first one ends.
		in := bufio.NewReaderSize(strings.NewReader(c.text+c.text), 64)
		for range 2 {
			status, body, err := readAnswer(in, nil, nil)
			if err != nil || status != c.status || string(body) != c.body {
				t.Fatalf("%s: got %d, %.40q, %v; want %d, %.40q", name, status, body, err, c.status, c.body)
			}
		}
		if _, _, err := readAnswer(in, nil, nil); !errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v at the end, want EOF", name, err)
		}
	}
}

func TestReadAnswerRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"another protocol":       "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
		"a status of letters":    "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
		"no length":              "HTTP/1.1 200 OK\r\n\r\nhello",
		"a length of letters":    "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
		"a body cut off":         "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
		"a size that is no hex":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"a piece without an end": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n",
		"the head cut off":       "HTTP/1.1 200 OK\r\nContent-Le",
	} {
		if status, body, err := readAnswer(bufio.NewReader(strings.NewReader(text)), nil, nil); err == nil {
			t.Errorf("%s: got %d, %q without an error", name, status, body)
		}
	}
}

// serverOf answers with h, and returns where.
func serverOf(t *testing.T, h http.HandlerFunc) (address string) {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

var short = plan{warm: 20 * time.Millisecond, window: 50 * time.Millisecond, windows: 3}

func TestLoadCountsWhatWasAnswered(t *testing.T) {
	t.Parallel()
	address := serverOf(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"email":"ann@example.com"}`) })
	r := encode("GET", "/", "localhost", nil, nil)
	r.check = has(`"email":"ann@example.com"`, 1)
	f, err := load(t.Context(), short, address, 4, pick([]request{r}))
	if err != nil {
		t.Fatal(err)
	}
	if f.Count == 0 || f.Min > f.Median || f.Median > f.Max || f.P50 <= 0 || f.P50 > f.P99 || f.all < f.Count {
		t.Errorf("the figure is not one: %+v", f)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	refused := serverOf(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	if _, err := load(t.Context(), short, refused, 2, pick([]request{encode("GET", "/", "localhost", nil, nil)})); err == nil || !strings.Contains(err.Error(), "status 403") {
		t.Errorf("a refusal: got %v", err)
	}
	wrong := serverOf(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"email":"bob@example.com"}`) })
	r := encode("GET", "/", "localhost", nil, nil)
	r.check = has(`"email":"ann@example.com"`, 1)
	if _, err := load(t.Context(), short, wrong, 2, pick([]request{r})); err == nil || !strings.Contains(err.Error(), "0 times") {
		t.Errorf("a wrong answer: got %v", err)
	}
}

func TestMeasureKeepsToItsBounds(t *testing.T) {
	t.Parallel()
	idle := func(int) (worker, error) { return repeat(func() error { time.Sleep(time.Millisecond); return nil }) }

	bounded := plan{warm: 50 * time.Millisecond, window: time.Hour, windows: 3, most: 60}
	f, err := measure(t.Context(), bounded, 2, idle)
	if err != nil || f.Count == 0 || f.Count > 600 { // a busy machine is not exact
		t.Errorf("about 60: got %d, %v", f.Count, err)
	}

	until := make(chan struct{})
	time.AfterFunc(100*time.Millisecond, func() { close(until) })
	f, err = measure(t.Context(), plan{warm: time.Millisecond, window: time.Hour, windows: 1, until: until}, 1, idle)
	if err != nil || f.Count == 0 {
		t.Errorf("until told: got %d, %v", f.Count, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := measure(ctx, plan{warm: time.Hour, window: time.Hour, windows: 1}, 1, idle); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestPeopleAreTheSameInEachRun(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	stem, last := 0, 0
	for n := range 20_000 {
		p := personOf(1, n)
		if p != personOf(1, n) {
			t.Fatalf("person %d is not always the same", n)
		}
		if seen[p.email] {
			t.Fatalf("two people have the address %s", p.email)
		}
		seen[p.email] = true
		if strings.HasPrefix(p.last, "Gold") {
			stem++
		}
		if p.last == "Goldhausen" {
			last++
		}
	}
	if stem < 700 || stem > 900 || last < 20 || last > 65 {
		t.Errorf("of 20,000 people %d have a name that starts with Gold, want about 800; %d are Goldhausen, want about 40", stem, last)
	}
	if personOf(1, 5) == personOf(2, 5) {
		t.Error("another seed gives the same people")
	}
}

func TestPasswordHashesAreGoodOnes(t *testing.T) {
	t.Parallel()
	for n := range 100 {
		if err := passhash.Check(passwordHash(1, n)); err != nil {
			t.Fatalf("%s: %v", passwordHash(1, n), err)
		}
	}
	if passwordHash(1, 1) == passwordHash(1, 2) {
		t.Error("two people have the same salt")
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	fast := figure{Median: 100, Min: 90, Max: 110, P99: 5}
	for name, c := range map[string]struct {
		goal goal
		met  bool
	}{
		"a rate":                   {goal{rate: 100}, true},
		"a rate not reached":       {goal{rate: 101}, false},
		"a time":                   {goal{p99: 5}, true},
		"a time passed":            {goal{rate: 100, p99: 4.9}, false},
		"a share":                  {goal{share: 0.5}, true},
		"a share not reached":      {goal{share: 0.6}, false},
		"near the first page":      {goal{ofFirst: true, first: 111}, true},
		"far from the first page":  {goal{ofFirst: true, first: 112}, false},
		"little enough":            {goal{most: 100}, true},
		"too much":                 {goal{most: 99}, false},
		"the first, not asked for": {goal{rate: 1, first: 1000}, true},
	} {
		r := row{Figure: fast, Unit: "req/s"}.compare(&figure{Median: 200}).judge(c.goal)
		if r.Met == nil || *r.Met != c.met {
			t.Errorf("%s: %s is not judged right", name, r.Goal)
		}
	}
	for limit, want := range map[float64]string{500: "≥ 101; as a share ≥ 20 %: yes", 150: "≥ 101; as a share ≥ 67 %: NO"} {
		if r := (row{Figure: fast}).compare(&figure{Median: 200}).judge(goal{rate: 101, limit: limit}); r.Goal != want || *r.Met {
			t.Errorf("a slower machine: %q, met %v; want %q and not met", r.Goal, *r.Met, want)
		}
	}
	for _, c := range []struct {
		control figure
		goal    goal
		want    string
	}{
		{figure{Median: 200, P99: 4}, goal{p99: 3, limitP99: 2}, "p99 ≤ 3 ms; as a share p99 ≤ 1.5 times: yes"},
		{figure{Median: 200, P99: 3}, goal{rate: 90, p99: 3, limit: 100, limitP99: 2}, "≥ 90.0, p99 ≤ 3 ms; as a share ≥ 90 %: NO, p99 ≤ 1.5 times: NO"},
	} {
		if r := (row{Figure: fast}).compare(&c.control).judge(c.goal); r.Goal != c.want {
			t.Errorf("beside a control of %v and %v ms: %q, want %q", c.control.Median, c.control.P99, r.Goal, c.want)
		}
	}
	if r := (row{Figure: fast}).judge(goal{}); r.Met != nil || r.Goal != "" {
		t.Errorf("without a goal: got %q", r.Goal)
	}
}

func TestPublishReplacesOnlyTheTable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	figures, page := filepath.Join(dir, "bench.json"), filepath.Join(dir, "performance.md")
	r := &report{Users: 1000, Rows: []row{row{Engine: "sqlite", Name: "list", Unit: "req/s", Figure: figure{Median: 12345, Min: 1, Max: 20000, P99: 3}}.judge(goal{rate: 5})}}
	if err := r.save(figures); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(page, []byte("before\n"+beginMarker+"\nold\n"+endMarker+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time changes nothing
		if err := publish(figures, page); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	want := "before\n" + beginMarker + "\n" + r.markdown() + endMarker + "\nafter\n"
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(text), "| 12,345 (1.0–20,000) req/s |") {
		t.Errorf("the figure is not in the table:\n%s", text)
	}
	if err := publish(figures, figures); err == nil {
		t.Error("a document without markers was taken")
	}
}

func TestMemberAndHiddenField(t *testing.T) {
	t.Parallel()
	body := []byte(`{"access_token":"a.b.c","expires_in":900,"refresh_token":"rt_1"}`)
	for name, want := range map[string]string{"access_token": "a.b.c", "refresh_token": "rt_1", "id_token": "", "expires_in": ""} {
		if got := member(body, name); got != want {
			t.Errorf("member %s: got %q, want %q", name, got, want)
		}
	}
	form := []byte(`<form><input type="hidden" name="csrf" value="x-1"><input type="hidden" name="state" value="2"></form>`)
	for name, want := range map[string]string{"csrf": "x-1", "state": "2", "other": ""} {
		if got := hidden(form, name); got != want {
			t.Errorf("hidden %s: got %q, want %q", name, got, want)
		}
	}
}

func TestBrowserKeepsCookiesAndFollows(t *testing.T) {
	t.Parallel()
	address := serverOf(t, func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("name"); r.URL.Path == "/end" && err == nil && c.Value == "2" {
			http.Redirect(w, r, "https://app.bench.test/callback?code=1", http.StatusSeeOther)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "name", Value: "1"})
		http.SetCookie(w, &http.Cookie{Name: "name", Value: "2"})
		http.Redirect(w, r, "/end", http.StatusSeeOther)
	})
	c, err := dial(address, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	b := &browser{c: c, host: "localhost", ip: "10.0.0.1"}
	p, err := b.get("/begin")
	if err == nil {
		p, err = b.follow(p)
	}
	if err != nil || p.location != "https://app.bench.test/callback?code=1" {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestKeysRefuse(t *testing.T) {
	t.Parallel()
	m, err := newMaker()
	if err != nil {
		t.Fatal(err)
	}
	const kid, issuer = "0123456789abcdef01234567", "https://big." + baseHost
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &m.ec.PublicKey, KeyID: kid, Algorithm: "ES256"}}})
	if err != nil {
		t.Fatal(err)
	}
	k, err := parseKeys(set, issuer)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(m *maker, change func(c *controlClaims)) string {
		c := controlClaims{Issuer: issuer, Subject: "ann", ClientID: "web", Expires: time.Now().Unix() + 60, ID: "1"}
		change(&c)
		token, err := m.sign("ES256", c)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	right := want{alg: "ES256", typ: "at+jwt", subject: "ann", client: "web"}
	good := sign(m, func(*controlClaims) {})
	if _, err := k.check(good, right); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(k.look(good, right), k.look("not looked at", right)); err != nil {
		t.Error(err)
	}
	other, err := newMaker()
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"another key":     sign(other, func(*controlClaims) {}),
		"another issuer":  sign(m, func(c *controlClaims) { c.Issuer = "https://else.example" }),
		"another subject": sign(m, func(c *controlClaims) { c.Subject = "bob" }),
		"another client":  sign(m, func(c *controlClaims) { c.ClientID = "else" }),
		"the past":        sign(m, func(c *controlClaims) { c.Expires = time.Now().Unix() - 1 }),
		"no token":        "",
	} {
		if _, err := k.check(token, right); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := k.check(good, want{alg: "ES256", typ: "JWT"}); err == nil {
		t.Error("an access token was taken for an ID token")
	}
}

// What the provider of the companies signs is taken by whoever verifies, and a changed one
// is not.
func TestSAMLResponseIsTaken(t *testing.T) {
	t.Parallel()
	now := time.Now()
	key, err := testidp.NewKey(now)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(key.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	const acs, audience = "https://big.bench.test/saml/1/acs", "https://big.bench.test/saml/1/metadata"
	text, err := samlResponse(key, "_request", acs, audience, "ann@one.example", now)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	expect := samlxml.Expect{
		SP: samlxml.SP{EntityID: audience, ACS: acs}, IdP: samlxml.IdP{EntityID: idpEntity, SSORedirect: idpAddress, Certificates: []*x509.Certificate{certificate}},
		RequestID: "_request", RequestedAt: now.Add(-time.Second), Now: now.Add(time.Second), Skew: time.Minute,
	}
	a, _, err := samlxml.Verify(raw, expect)
	if err != nil || len(a.Attributes) != 5 || !slices.Equal(a.Attributes[0].Values, []string{"ann@one.example"}) {
		t.Errorf("it is not taken: %v, %v", a.Attributes, err)
	}
	if _, _, err := samlxml.Verify(bytes.Replace(raw, []byte("ann@"), []byte("eve@"), 1), expect); err == nil {
		t.Error("a changed one is taken")
	}
}
