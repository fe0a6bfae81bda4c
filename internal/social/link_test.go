package social_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/social"
	"github.com/cardea-id/cardea/internal/user"
)

// person makes a user and returns the id.
func (b *bench) person(t *testing.T, email string) string {
	t.Helper()
	var made user.User
	b.write(t, func(tx *database.Tx) (err error) {
		made, err = b.users.Create(t.Context(), tx, access.System(tenant), user.User{Email: email, EmailVerified: true, IsActive: true})
		return err
	})
	return made.ID
}

func (b *bench) link(t *testing.T, user string, p social.Profile) (made social.Identity, err error) {
	t.Helper()
	err = b.DB.Write(t.Context(), func(tx *database.Tx) (err error) {
		made, err = b.Link(t.Context(), tx, b.by, user, p)
		return err
	})
	return made, err
}

// whose returns the user that p signs in.
func (b *bench) whose(t *testing.T, p social.Profile) (id string) {
	t.Helper()
	b.write(t, func(tx *database.Tx) error {
		user, found, err := b.SignIn(t.Context(), tx, b.by, p)
		if found != (user != "") {
			t.Errorf("found %t, user %q", found, user)
		}
		id = user
		return err
	})
	return id
}

func TestDecide(t *testing.T) {
	t.Parallel()
	verified := social.Profile{Email: "ann@example.com", EmailVerified: true}
	unverified, without := social.Profile{Email: "ann@example.com"}, social.Profile{}
	for name, c := range map[string]struct {
		p    social.Profile
		l    social.Local
		want social.Decision
	}{
		"known":                                   {verified, social.Local{Identity: true}, social.SignIn},
		"known, address of somebody else by now":  {verified, social.Local{Identity: true, Address: true, Verified: true}, social.SignIn},
		"known, address unverified":               {unverified, social.Local{Identity: true}, social.SignIn},
		"known, no newcomers":                     {verified, social.Local{Identity: true, NoSignUp: true}, social.SignIn},
		"both verified":                           {verified, social.Local{Address: true, Verified: true}, social.ProveAccount},
		"both verified, no newcomers":             {verified, social.Local{Address: true, Verified: true, NoSignUp: true}, social.ProveAccount},
		"local unverified":                        {verified, social.Local{Address: true}, social.ProveAddress},
		"upstream unverified":                     {unverified, social.Local{Address: true, Verified: true}, social.ProveAddress},
		"both unverified":                         {unverified, social.Local{Address: true}, social.ProveAddress},
		"upstream unverified, nobody known by it": {unverified, social.Local{}, social.ProveAddress},
		"no address":                              {without, social.Local{}, social.ProveAddress},
		"no address, said to be verified":         {social.Profile{EmailVerified: true}, social.Local{}, social.ProveAddress},
		"new":                                     {verified, social.Local{}, social.Create},
		"new, no newcomers":                       {verified, social.Local{NoSignUp: true}, social.Refuse},
		"new, unverified, no newcomers":           {unverified, social.Local{NoSignUp: true}, social.ProveAddress},
	} {
		if got := social.Decide(c.p, c.l); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

// C1 6: connection, issuer and subject, all three.
func TestIdentityIsConnectionIssuerAndSubject(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ann := b.person(t, "ann@example.com")
		p, err := b.login(t)
		if err != nil {
			t.Fatal(err)
		}
		if b.whose(t, p) != "" {
			t.Fatal("it is somebody's before it was linked")
		}
		if _, err := b.link(t, ann, p); err != nil {
			t.Fatal(err)
		}
		if b.whose(t, p) != ann {
			t.Error("it is not ann's")
		}
		second := b.connect(t, social.Connection{Provider: social.OpenID, Settings: social.Settings{Issuer: b.op.URL}})
		for name, change := range map[string]func(p *social.Profile){
			"another subject":    func(p *social.Profile) { p.Subject = "subject-2" },
			"another spelling":   func(p *social.Profile) { p.Subject = "Subject-1" },
			"another issuer":     func(p *social.Profile) { p.Issuer += "/" },
			"another connection": func(p *social.Profile) { p.Connection = second.ID },
		} {
			q := p
			change(&q)
			if b.whose(t, q) != "" {
				t.Errorf("%s: it is ann's all the same", name)
			}
		}
		stranger := b.by
		stranger.Tenant = other
		err = b.DB.Write(t.Context(), func(tx *database.Tx) error { return third(b.SignIn(t.Context(), tx, stranger, p)) })
		if !errors.Is(err, social.ErrNotFound) {
			t.Errorf("in another tenant: got %v", err)
		}
	})
}

// C1 8 and 9: what is said of addresses moves nobody.
func TestChangedAddressMovesNobody(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ann, bob := b.person(t, "ann@example.com"), b.person(t, "bob@example.com")
		p, err := b.login(t)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.link(t, ann, p); err != nil {
			t.Fatal(err)
		}
		b.op.claims = func(c map[string]any) { c["email"] = "bob@example.com" }
		if p, err = b.login(t); err != nil || p.Email != "bob@example.com" {
			t.Fatal(p, err)
		}
		if got := b.whose(t, p); got != ann {
			t.Errorf("it signs in %q, want ann %q (bob is %q)", got, ann, bob)
		}
		u, err := b.users.Find(t.Context(), b.DB, access.System(tenant), ann)
		if err != nil || u.Email != "ann@example.com" {
			t.Errorf("ann has %q, %v", u.Email, err)
		}
		mine, err := b.Identities(t.Context(), b.DB, tenant, ann)
		if err != nil || len(mine) != 1 || mine[0].Email != "bob@example.com" {
			t.Errorf("ann's identities are %+v, %v", mine, err)
		}
	})
}

func TestIdentityIsOfOneUser(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		p, err := b.login(t)
		if err != nil {
			t.Fatal(err)
		}
		users := make([]string, 8)
		for i := range users {
			users[i] = b.person(t, fmt.Sprintf("user%d@example.com", i))
		}
		var won atomic.Int64
		var all sync.WaitGroup
		for _, id := range users {
			all.Go(func() {
				_, err := b.link(t, id, p)
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, social.ErrLinked) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("%d users have linked it, want 1", won.Load())
		}
	})
}

func TestUnlink(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ann, bob := b.person(t, "ann@example.com"), b.person(t, "bob@example.com")
		p, err := b.login(t)
		if err != nil {
			t.Fatal(err)
		}
		made, err := b.link(t, ann, p)
		if err != nil {
			t.Fatal(err)
		}
		unlink := func(user string) error {
			return b.DB.Write(t.Context(), func(tx *database.Tx) error { return b.Unlink(t.Context(), tx, b.by, user, made.ID) })
		}
		if err := unlink(bob); !errors.Is(err, social.ErrIdentity) {
			t.Errorf("by another user: got %v", err)
		}
		if err := unlink(ann); err != nil {
			t.Fatal(err)
		}
		if err := unlink(ann); !errors.Is(err, social.ErrIdentity) {
			t.Errorf("again: got %v", err)
		}
		if b.whose(t, p) != "" {
			t.Error("it still signs ann in")
		}
		if _, err := b.link(t, bob, p); err != nil {
			t.Errorf("bob links it then: %v", err)
		}
		b.write(t, func(tx *database.Tx) error { return b.UnlinkAll(t.Context(), tx, b.by, bob, "test") })
		if b.whose(t, p) != "" {
			t.Error("it still signs bob in")
		}
	})
}

// C1 17: who comes after inherits nothing.
func TestDeletedUserLeavesNoIdentity(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		p, err := b.login(t)
		if err != nil {
			t.Fatal(err)
		}
		ann := b.person(t, "ann@example.com")
		if _, err := b.link(t, ann, p); err != nil {
			t.Fatal(err)
		}
		b.write(t, func(tx *database.Tx) error { return b.users.Delete(t.Context(), tx, access.System(tenant), ann) })
		b.person(t, "ann@example.com")
		if got := b.whose(t, p); got != "" {
			t.Errorf("it signs in %q", got)
		}
	})
}

// What came back is settled once, for the flow that was shown (C0 3 and 34).
func TestHeldProfileIsSettledOnce(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		keep := func(subject string) social.Flow {
			t.Helper()
			b.op.claims = func(c map[string]any) { c["sub"] = subject }
			p, f, err := b.Finish(t.Context(), b.by, b.comeBack(t))
			if err != nil {
				t.Fatal(err)
			}
			b.write(t, func(tx *database.Tx) error { return b.Keep(t.Context(), tx, b.by, f, p) })
			return f
		}
		settle := func(f social.Flow) (p social.Profile, err error) {
			err = b.DB.Write(t.Context(), func(tx *database.Tx) (err error) {
				p, err = b.Settle(t.Context(), tx, b.by, f)
				return err
			})
			return p, err
		}
		first := keep("subject-1")
		if p, id, err := b.Kept(t.Context(), b.DB, tenant, attempt); err != nil || id != first.ID || p.Subject != "subject-1" {
			t.Fatalf("held is %+v, %q, %v", p, id, err)
		}
		next := keep("subject-2")
		if _, err := settle(first); !errors.Is(err, social.ErrFlow) {
			t.Errorf("the one before: got %v", err)
		}
		if _, err := settle(social.Flow{ID: next.ID, Attempt: "000000000000000000000a02"}); !errors.Is(err, social.ErrFlow) {
			t.Errorf("for another attempt: got %v", err)
		}
		var won atomic.Int64
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				p, err := settle(next)
				if err == nil && p.Subject == "subject-2" {
					won.Add(1)
				} else if !errors.Is(err, social.ErrFlow) {
					t.Error(p, err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("it was settled %d times, want 1", won.Load())
		}
		if _, id, err := b.Kept(t.Context(), b.DB, tenant, attempt); err != nil || id != "" {
			t.Errorf("still held: %q, %v", id, err)
		}
		late := keep("subject-3")
		b.pass(3 * time.Hour)
		if _, err := settle(late); !errors.Is(err, social.ErrFlow) {
			t.Errorf("three hours later: got %v", err)
		}
		if err := b.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := b.DB.QueryRow(t.Context(), "SELECT count(*) FROM connection_flows").Scan(&left); err != nil || left != 0 {
			t.Errorf("%d flows are left, %v", left, err)
		}
	})
}

func TestKeepsTokensOnlyIfAsked(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		ann := b.person(t, "ann@example.com")
		p, err := b.login(t)
		if err != nil {
			t.Fatal(err)
		}
		made, err := b.link(t, ann, p)
		if err != nil || p.Tokens != nil {
			t.Fatalf("tokens are %+v, %v", p.Tokens, err)
		}
		if kept, err := b.Tokens(t.Context(), b.DB, tenant, made.ID); err != nil || kept != nil {
			t.Errorf("kept %+v, %v", kept, err)
		}
		b.save(t, func(c *social.Connection) { c.Settings.KeepTokens = true })
		if p, err = b.login(t); err != nil || p.Tokens == nil {
			t.Fatalf("tokens are %+v, %v", p.Tokens, err)
		}
		b.whose(t, p)
		kept, err := b.Tokens(t.Context(), b.DB, tenant, made.ID)
		if err != nil || kept.Access != p.Tokens.Access || kept.Refresh != "rt-upstream" {
			t.Errorf("kept %+v, %v", kept, err)
		}
		var sealed []byte
		if err := b.DB.QueryRow(t.Context(), "SELECT tokens FROM identities WHERE tenant_id = $1", tenant).Scan(&sealed); err != nil {
			t.Fatal(err)
		}
		if bytesHave(sealed, "rt-upstream") || bytesHave(sealed, "at-") {
			t.Error("the database has the tokens as they are")
		}
	})
}
