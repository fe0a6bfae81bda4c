package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// prepareMove has the tenant shop at id.old.example, behind a proxy that speaks TLS for
// whatever name it is asked by; passkeys are for https alone. A POST to the address of
// the move gives it login.new.example beside, as its address from then on, and keeps its
// passkeys for the old one.
func prepareMove(t *testing.T, s *server) []string {
	t.Helper()
	s.command(t, "tenant", "create", "shop")
	s.addHost(t, "id.old.example", 2)
	to, err := url.Parse("http://" + s.address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}}
	tls := httptest.NewTLSServer(proxy)
	t.Cleanup(tls.Close)
	move := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		s.command(t, "tenant", "settings", "--tenant", "shop", "sign_in.passkey_domain=id.old.example")
		s.addHost(t, "login.new.example", 1)
		time.Sleep(database.MaxAge + 200*time.Millisecond) // the server has it in memory for so long
	}))
	t.Cleanup(move.Close)
	return []string{"CARDEA_TLS_ADDRESS=" + tls.Listener.Addr().String(), "CARDEA_MOVE_URL=" + move.URL}
}

// command runs a command of the program on the server's database.
func (s *server) command(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(binary, append(args, "--data", s.dir)...)
	cmd.Env = append(os.Environ(), "CARDEA_DATABASE_URL="+s.url)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
}

// addHost gives the tenant shop a custom domain. The one that it had first is its address.
func (s *server) addHost(t *testing.T, host string, at int64) {
	t.Helper()
	ctx := context.Background()
	db, err := database.Open(ctx, s.url)
	if err == nil {
		err = db.Write(ctx, func(tx *database.Tx) error {
			n, err := tx.Exec(ctx, "INSERT INTO tenant_hosts (host, tenant_id, created_at) SELECT $1, id, CAST($2 AS BIGINT) FROM tenants WHERE slug = 'shop'", host, at)
			if err == nil && n != 1 {
				err = fmt.Errorf("%d tenants", n)
			}
			return err
		})
		db.Close()
	}
	if err != nil {
		t.Errorf("add %s: %v", host, err)
	}
}
