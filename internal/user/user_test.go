package user_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/database/dbtest"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/user"
)

const (
	tenantA = "aaaaaaaaaaaaaaaaaaaaaaaa"
	tenantB = "bbbbbbbbbbbbbbbbbbbbbbbb"
)

// bench is the service on a database with a movable clock.
type bench struct {
	*user.Service
	mu    sync.Mutex
	now   time.Time
	by    access.Actor
	roles map[string]role.Role // of tenant A, by slug
}

func newBench(db *database.DB) *bench {
	b := &bench{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), by: access.System(tenantA)}
	db.Now = func() time.Time {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.now = b.now.Add(time.Millisecond) // no two moments are the same
		return b.now
	}
	b.Service = &user.Service{
		DB: db, Connection: func(string) string { return secret.ZeroID },
		Box: func(_ context.Context, tenant string) (*secret.Box, error) {
			return secret.NewBox([]byte(strings.Repeat(tenant[:1], secret.KeySize)))
		},
	}
	return b
}

// run runs test on both engines.
func run(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Parallel()
	dbtest.Run(t, func(t *testing.T, db *database.DB) {
		b := newBench(db)
		b.addRoles(t)
		test(t, b)
	})
}

// addRoles makes tenant A with the built-in roles, and two that give nothing and have
// the ids of tenants.
func (b *bench) addRoles(t *testing.T) {
	t.Helper()
	err := b.DB.Write(t.Context(), func(tx *database.Tx) (err error) {
		tx.Later("INSERT INTO tenants (id, slug, name, kind, settings, data_key, created_at, modified_at) VALUES ($1, $1, '', '', '{}', $2, 0, 0)", tenantA, []byte{1})
		for _, id := range []string{tenantA, tenantB} {
			tx.Later("INSERT INTO roles (tenant_id, id, name, slug, description, is_admin, created_at, modified_at) VALUES ($1, $2, $2, $2, '', FALSE, 0, 0)", tenantA, id)
		}
		b.roles, err = role.Seed(t.Context(), tx, tenantA)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func (b *bench) tryCreate(ctx context.Context, by access.Actor, u user.User) (made user.User, err error) {
	err = b.DB.Write(ctx, func(tx *database.Tx) error {
		made, err = b.Create(ctx, tx, by, u)
		return err
	})
	return made, err
}

func (b *bench) create(t *testing.T, u user.User) user.User {
	t.Helper()
	u.IsActive = true
	made, err := b.tryCreate(t.Context(), b.by, u)
	if err != nil {
		t.Fatalf("create %s: %v", u.Login(), err)
	}
	return made
}

func (b *bench) tryUpdate(ctx context.Context, id string, c user.Change) (u user.User, err error) {
	err = b.DB.Write(ctx, func(tx *database.Tx) error {
		u, err = b.Update(ctx, tx, b.by, id, c)
		return err
	})
	return u, err
}

func (b *bench) update(t *testing.T, id string, c user.Change) user.User {
	t.Helper()
	u, err := b.tryUpdate(t.Context(), id, c)
	if err != nil {
		t.Fatalf("update: %v", err)
	}
	return u
}

func (b *bench) remove(t *testing.T, id string) {
	t.Helper()
	if err := b.DB.Write(t.Context(), func(tx *database.Tx) error { return b.Delete(t.Context(), tx, b.by, id) }); err != nil {
		t.Fatalf("delete: %v", err)
	}
}

func (b *bench) list(t *testing.T, q user.Query) (logins []string, next string) {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	users, next, err := b.List(t.Context(), b.DB, b.by, q)
	if err != nil {
		t.Fatalf("list %+v: %v", q, err)
	}
	for _, u := range users {
		logins = append(logins, u.Login())
	}
	return logins, next
}

func (b *bench) index(t *testing.T) {
	t.Helper()
	if err := (&user.Indexer{DB: b.DB, Log: slog.New(slog.DiscardHandler)}).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) wantCount(t *testing.T, f user.Filter, want int64) {
	t.Helper()
	if n, err := b.Count(t.Context(), b.DB, b.by, f); err != nil || n != want {
		t.Errorf("count %+v = %d, %v; want %d", f, n, err, want)
	}
}

func ptr[T any](v T) *T { return &v }

func TestCreateKeepsEverything(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		made := b.create(t, user.User{
			Username: "Ann", Email: " ANN@Example.com ", Phone: "+49 (151) 123-45678", FirstName: "Änn", LastName: "Lee", EmailVerified: true,
			Attributes: json.RawMessage(`{"a":[1]}`), Groups: json.RawMessage(`{}`), RoleIDs: []string{tenantA}, RequiredActions: []string{"x"},
		})
		found, err := b.Find(t.Context(), b.DB, b.by, made.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(made, found); diff != "" {
			t.Errorf("found differs from made:\n%s", diff)
		}
		if found.Email != "ann@example.com" || found.Phone != "+4915112345678" || found.Username != "Ann" {
			t.Errorf("identifiers = %q %q %q", found.Email, found.Phone, found.Username)
		}
		for _, login := range []string{"ann", "ANN", "Ann@EXAMPLE.com", "+49 151 12345678"} {
			if u, err := b.FindByLogin(t.Context(), b.DB, b.by, login); err != nil || u.ID != made.ID {
				t.Errorf("find by %q = %q, %v", login, u.ID, err)
			}
		}
	})
}

func TestCreateRefuses(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.create(t, user.User{Email: "taken@example.com", Phone: "+4915112345678", Username: "taken"})
		for name, c := range map[string]struct {
			u    user.User
			want error
		}{
			"same address":                {user.User{Email: "Taken@Example.COM"}, user.ErrExists},
			"same phone":                  {user.User{Phone: "+49 151 12345678"}, user.ErrExists},
			"same username":               {user.User{Username: "TAKEN"}, user.ErrExists},
			"somebody's address as name":  {user.User{Username: "taken@example.com"}, user.ErrExists},
			"somebody's phone as name":    {user.User{Username: "+4915112345678"}, user.ErrExists},
			"nothing to be found by":      {user.User{FirstName: "Ann"}, user.ErrNobody},
			"attributes that are a list":  {user.User{Email: "a@example.com", Attributes: json.RawMessage(`[]`)}, user.ErrInvalid},
			"attributes that are too big": {user.User{Email: "a@example.com", Attributes: json.RawMessage(`{"a":"` + strings.Repeat("x", 1<<16) + `"}`)}, user.ErrInvalid},
			"attributes without end":      {user.User{Email: "a@example.com", Attributes: manyAttributes(501)}, user.ErrInvalid},
			"an action that is too long":  {user.User{Email: "a@example.com", RequiredActions: []string{strings.Repeat("x", 255)}}, user.ErrInvalid},
			"an action not printable":     {user.User{Email: "a@example.com", RequiredActions: []string{"\x1b[2J"}}, user.ErrInvalid},
			"a name with a line break":    {user.User{Email: "a@example.com", FirstName: "a\nb"}, user.ErrInvalid},
			"a name that is too long":     {user.User{Email: "a@example.com", LastName: strings.Repeat("x", 257)}, user.ErrInvalid},
			"a role that is no id":        {user.User{Email: "a@example.com", RoleIDs: []string{"owner"}}, problem.New(problem.Invalid, "invalid_role", "")},
		} {
			if _, err := b.tryCreate(t.Context(), b.by, c.u); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		if _, err := b.tryCreate(t.Context(), access.System(tenantB), user.User{Email: "taken@example.com"}); err != nil {
			t.Errorf("the same address in another tenant: %v", err)
		}
		b.wantCount(t, user.Filter{}, 1)
	})
}

// manyAttributes is an object of n members.
func manyAttributes(n int) json.RawMessage {
	object := map[string]int{}
	for i := range n {
		object[fmt.Sprint("a", i)] = i
	}
	text, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	return text
}

func TestEveryOperationNeedsItsScope(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, user.User{Email: "ann@example.com"})
		without := func(p access.Permission) access.Actor {
			return access.Visitor(tenantA, "").With(slices.DeleteFunc(slices.Clone(access.All), func(q access.Permission) bool { return q == p })...)
		}
		reader, writer, roles := without(access.UsersRead), without(access.UsersWrite), without(access.RolesWrite)
		ctx := t.Context()
		in := func(fn func(tx *database.Tx) error) error { return b.DB.Write(ctx, fn) }
		for name, try := range map[string]func() error{
			"find":          func() error { _, err := b.Find(ctx, b.DB, reader, u.ID); return err },
			"find by login": func() error { _, err := b.FindByLogin(ctx, b.DB, reader, u.Email); return err },
			"list":          func() error { _, _, err := b.List(ctx, b.DB, reader, user.Query{Limit: 1}); return err },
			"count":         func() error { _, err := b.Count(ctx, b.DB, reader, user.Filter{}); return err },
			"create":        func() error { _, err := b.tryCreate(ctx, writer, user.User{Email: "b@example.com"}); return err },
			"give a role at creation": func() error {
				_, err := b.tryCreate(ctx, roles, user.User{Email: "b@example.com", RoleIDs: []string{tenantA}})
				return err
			},
			"update": func() error {
				return in(func(tx *database.Tx) error { _, err := b.Update(ctx, tx, writer, u.ID, user.Change{}); return err })
			},
			"give a role": func() error {
				return in(func(tx *database.Tx) error {
					_, err := b.Update(ctx, tx, roles, u.ID, user.Change{RoleIDs: &[]string{tenantA}})
					return err
				})
			},
			"delete": func() error { return in(func(tx *database.Tx) error { return b.Delete(ctx, tx, writer, u.ID) }) },
		} {
			if err := try(); !errors.Is(err, access.ErrDenied) {
				t.Errorf("%s: %v, want ErrDenied", name, err)
			}
		}
	})
}

func TestAnotherTenantsUserDoesNotExist(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, user.User{Email: "ann@example.com"})
		other := access.System(tenantB)
		if _, err := b.Find(t.Context(), b.DB, other, u.ID); !errors.Is(err, user.ErrNotFound) {
			t.Errorf("find: %v", err)
		}
		if _, err := b.FindByLogin(t.Context(), b.DB, other, u.Email); !errors.Is(err, user.ErrNotFound) {
			t.Errorf("find by login: %v", err)
		}
		err := b.DB.Write(t.Context(), func(tx *database.Tx) error {
			_, err := b.Update(t.Context(), tx, other, u.ID, user.Change{FirstName: ptr("x")})
			return err
		})
		if !errors.Is(err, user.ErrNotFound) {
			t.Errorf("update: %v", err)
		}
		if err := b.DB.Write(t.Context(), func(tx *database.Tx) error { return b.Delete(t.Context(), tx, other, u.ID) }); !errors.Is(err, user.ErrNotFound) {
			t.Errorf("delete: %v", err)
		}
		b.index(t)
		if users, _, err := b.List(t.Context(), b.DB, other, user.Query{Filter: user.Filter{Search: "ann"}, Limit: 10}); err != nil || len(users) != 0 {
			t.Errorf("search: %v, %v", users, err)
		}
	})
}

func TestCreateRaceHasOneWinner(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				u := user.User{Email: "ann@example.com"}
				if i%2 == 0 { // whatever the kind of identifier
					u = user.User{Username: "Ann@example.com", Email: fmt.Sprintf("ann%d@example.com", i)}
				}
				if _, err := b.tryCreate(t.Context(), b.by, u); err == nil {
					won.Add(1)
				} else if !errors.Is(err, user.ErrExists) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d succeeded, want 1", won.Load())
		}
		b.wantCount(t, user.Filter{}, 1)
	})
}

func TestUpdateRaceLosesNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, user.User{Email: "ann@example.com"})
		var wg sync.WaitGroup
		for _, c := range []user.Change{
			{FirstName: ptr("Ann")}, {LastName: ptr("Lee")}, {Phone: ptr("+4915112345678")}, {Username: ptr("ann")},
			{IsActive: ptr(false)}, {EmailVerified: ptr(true)}, {Attributes: json.RawMessage(`{"a":1}`)}, {RoleIDs: &[]string{tenantA}},
		} {
			wg.Go(func() {
				if _, err := b.tryUpdate(t.Context(), u.ID, c); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got, err := b.Find(t.Context(), b.DB, b.by, u.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got.FirstName != "Ann" || got.LastName != "Lee" || got.Phone == "" || got.Username != "ann" || got.IsActive || !got.EmailVerified || got.Attributes == nil || got.RoleIDs == nil {
			t.Errorf("an update was lost: %+v", got)
		}
	})
}

func TestUpdateMovesIdentifiers(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, user.User{Email: "old@example.com", EmailVerified: true})
		b.create(t, user.User{Email: "other@example.com"})
		if _, err := b.tryUpdate(t.Context(), u.ID, user.Change{Email: ptr("Other@example.com")}); !errors.Is(err, user.ErrExists) {
			t.Errorf("to somebody's address: %v", err)
		}
		got := b.update(t, u.ID, user.Change{Email: ptr("NEW@example.com")})
		if got.Email != "new@example.com" || got.EmailVerified {
			t.Errorf("after the change: %q, verified %v; a new address is not proved", got.Email, got.EmailVerified)
		}
		if _, err := b.FindByLogin(t.Context(), b.DB, b.by, "old@example.com"); !errors.Is(err, user.ErrNotFound) {
			t.Errorf("by the old address: %v", err)
		}
		b.create(t, user.User{Email: "old@example.com"}) // free again
		b.update(t, u.ID, user.Change{Username: ptr("new@example.com")})
		b.update(t, u.ID, user.Change{Email: ptr("newer@example.com")})
		if found, err := b.FindByLogin(t.Context(), b.DB, b.by, "new@example.com"); err != nil || found.ID != u.ID {
			t.Errorf("by the username that was the address: %v, %v", found.ID, err)
		}
		if _, err := b.tryUpdate(t.Context(), u.ID, user.Change{Email: ptr(""), Username: ptr("")}); !errors.Is(err, user.ErrNobody) {
			t.Errorf("to nothing: %v", err)
		}
	})
}

func TestDeleteInheritsNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.create(t, user.User{Email: "ann@example.com", Phone: "+4915112345678", Username: "ann", RoleIDs: []string{tenantA}, FirstName: "Ann"})
		b.index(t)
		b.remove(t, u.ID)
		b.wantCount(t, user.Filter{}, 0)
		b.wantCount(t, user.Filter{RoleID: tenantA}, 0)
		b.index(t)
		again := b.create(t, user.User{Email: "ann@example.com"})
		if again.ID == u.ID || again.RoleIDs != nil || again.FirstName != "" || again.Phone != "" {
			t.Errorf("the new user has something of the old: %+v", again)
		}
		if _, err := b.FindByLogin(t.Context(), b.DB, b.by, "ann"); !errors.Is(err, user.ErrNotFound) {
			t.Errorf("by the deleted user's name: %v", err)
		}
		var left int64
		for _, name := range []string{"user_search", "user_roles"} {
			if err := b.DB.QueryRow(t.Context(), "SELECT count(*) FROM "+name+" WHERE tenant_id = $1 AND user_id = $2", tenantA, u.ID).Scan(&left); err != nil || left != 0 {
				t.Errorf("%s: %d rows left, %v", name, left, err)
			}
		}
	})
}

// Who may only write users must not become an administrator by way of one.
func TestAdministratorsAreGuarded(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		admin, plain := b.create(t, user.User{Email: "admin@example.com", RoleIDs: []string{b.roles[role.Owner].ID}}), b.create(t, user.User{Email: "ann@example.com", RoleIDs: []string{tenantB}})
		b.by = access.Visitor(tenantA, "").With(access.UsersRead, access.UsersWrite)
		for _, c := range []user.Change{{Email: ptr("x@example.com")}, {Username: ptr("x")}, {Phone: ptr("+4915112345678")}, {IsActive: ptr(false)}, {EmailVerified: ptr(true)}, {RequiredActions: &[]string{}}} {
			if _, err := b.tryUpdate(t.Context(), admin.ID, c); !errors.Is(err, access.ErrDenied) {
				t.Errorf("update of an administrator %+v: %v, want ErrDenied", c, err)
			}
		}
		for name, try := range map[string]func(tx *database.Tx, id string) error{
			"delete":       func(tx *database.Tx, id string) error { return b.Delete(t.Context(), tx, b.by, id) },
			"set password": func(tx *database.Tx, id string) error { return user.Guard(t.Context(), tx, b.by, id) },
		} {
			if err := b.DB.Write(t.Context(), func(tx *database.Tx) error { return try(tx, admin.ID) }); !errors.Is(err, access.ErrDenied) {
				t.Errorf("%s an administrator: %v, want ErrDenied", name, err)
			}
		}
		b.update(t, admin.ID, user.Change{FirstName: ptr("Ada")})
		b.update(t, plain.ID, user.Change{IsActive: ptr(false)})
		b.remove(t, plain.ID)
	})
}

func TestEveryChangeHasItsEvent(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.by.Name, b.by.IP, b.by.RequestID = "key:k1", "192.0.2.1", "req-1"
		u := b.create(t, user.User{Email: "ann@example.com"})
		b.update(t, u.ID, user.Change{FirstName: ptr("Ann")})
		b.update(t, u.ID, user.Change{FirstName: ptr("Ann")}) // changes nothing
		b.remove(t, u.ID)
		b.tryCreate(t.Context(), b.by, user.User{Email: "nobody"})
		rows, err := b.DB.Query(t.Context(), "SELECT action, actor, ip, request_id, target_id, detail FROM audit_unsealed WHERE tenant_id = $1 ORDER BY id", tenantA)
		got, err := database.Collect(rows, err, "read", func(row database.Scanner) (string, error) {
			var f [6]string
			err := row.Scan(&f[0], &f[1], &f[2], &f[3], &f[4], &f[5])
			return strings.Join(f[:], " "), err
		})
		want := []string{
			"user.created key:k1 192.0.2.1 req-1 " + u.ID + " {}",
			`user.updated key:k1 192.0.2.1 req-1 ` + u.ID + ` {"changed":["first_name"]}`,
			"user.deleted key:k1 192.0.2.1 req-1 " + u.ID + " {}",
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("events = %q, %v; want %q", got, err, want)
		}
	})
}
