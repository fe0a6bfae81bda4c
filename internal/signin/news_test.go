package signin_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// subjects are those of the letters to an address, the newest first.
func (b *bench) subjects(t *testing.T, to string) (out []string) {
	t.Helper()
	for _, l := range b.Letters(t, to) {
		out = append(out, l.Subject)
	}
	return out
}

// Whoever has a key of the tenant can not change an account without its owner's knowledge.
func TestOwnersAreToldWhatOthersChange(t *testing.T) {
	const moved = "ann@elsewhere.example"
	address := func(body map[string]any) func(t *testing.T, b *bench, u user.User) {
		return func(t *testing.T, b *bench, u user.User) {
			b.Demo.Put(t, "/api/v1/users/"+u.ID, body).Want(t, http.StatusOK)
		}
	}
	kobil := func(body map[string]any) func(t *testing.T, b *bench, u user.User) {
		return func(t *testing.T, b *bench, u user.User) {
			b.Demo.Put(t, "/digitanium/v4/users/"+ann+"/update", body).Want(t, http.StatusOK)
		}
	}
	credentials := []map[string]any{{"type": "password", "value": "a quite long password", "temporary": false}}
	for name, c := range map[string]struct {
		change func(t *testing.T, b *bench, u user.User)
		says   string // empty if nothing is told
		undo   bool   // there is a link against it
	}{
		"another e-mail address": {address(map[string]any{"email": moved}), "The e-mail address was changed", false},
		"no e-mail address": {func(t *testing.T, b *bench, u user.User) {
			b.changes(t, "key:x", u, user.Change{Email: new(""), Username: new("ann")})
		}, "The e-mail address was removed", false},
		"a phone number": {address(map[string]any{"phone": "+4915112345678"}), "The phone number was changed", false},
		"a password":     {kobil(map[string]any{"credentials": credentials}), "The password of your", true},
		"the second factor": {func(t *testing.T, b *bench, u user.User) {
			b.Demo.Post(t, "/api/v1/users/"+u.ID+"/mfa/reset", map[string]any{}).Want(t, http.StatusOK)
		}, "An administrator removed your second", true},
		"a further address": {func(t *testing.T, b *bench, u user.User) {
			b.Demo.Post(t, "/api/v1/users/"+u.ID+"/addresses", map[string]any{"type": "email", "value": moved, "verified": true}).Want(t, http.StatusCreated)
		}, "An e-mail address was added", false},
		"no further address": {func(t *testing.T, b *bench, u user.User) {
			give(t, b.World, u.ID, moved)
			list := b.Demo.Get(t, "/api/v1/users/"+u.ID+"/addresses").Want(t, http.StatusOK).List(t)
			b.Demo.Delete(t, "/api/v1/users/"+u.ID+"/addresses/"+list[0]["id"].(string)).Want(t, http.StatusOK)
		}, "A further e-mail address was removed", false},
		"a name":           {address(map[string]any{"first_name": "Anna"}), "", false},
		"the same address": {address(map[string]any{"email": ann}), "", false},
		"an address, by an import": {func(t *testing.T, b *bench, u user.User) {
			b.changes(t, "key:x", u, user.Change{Email: new(moved), Untold: true})
		}, "", false},
		"by a directory": {func(t *testing.T, b *bench, u user.User) {
			b.changes(t, "directory:x", u, user.Change{Email: new(moved)})
		}, "", false},
		"by the product itself": {func(t *testing.T, b *bench, u user.User) { b.changes(t, "system", u, user.Change{Email: new(moved)}) }, "", false},
		"by an administrator": {func(t *testing.T, b *bench, u user.User) {
			b.changes(t, "user:"+b.Demo.ID, u, user.Change{Email: new(moved)})
		}, "An administrator of", false},
		"by a command": {func(t *testing.T, b *bench, u user.User) {
			b.changes(t, "command:root", u, user.Change{Email: new(moved)})
		}, "An administrator of", false},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				u := b.person(t, ann)
				b.prove(t, u.ID)
				before := len(b.Letters(t, ann))
				c.change(t, b, u)
				letters := b.Letters(t, ann)
				letters = letters[:len(letters)-before]
				if c.says == "" && len(letters) == 0 {
					return
				}
				if len(letters) != 1 || c.says == "" || !strings.Contains(letters[0].Text, c.says) {
					t.Fatalf("%d letters: %q", len(letters), b.subjects(t, ann))
				}
				if got := strings.Contains(letters[0].Text, notMePath); got != c.undo {
					t.Errorf("a link against it: %v, want %v", got, c.undo)
				}
				if got := b.Letters(t, moved); len(got) != 0 {
					t.Errorf("the new address is told: %+v", got)
				}
			})
		})
	}
	t.Run("unless the tenant does not want it", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			b.settings(t, tenant.SignIn{NoAdminLetters: true})
			u := b.person(t, ann)
			address(map[string]any{"phone": "+4915112345678"})(t, b, u)
			kobil(map[string]any{"credentials": credentials})(t, b, u)
			b.Demo.Post(t, "/api/v1/users/"+u.ID+"/mfa/reset", map[string]any{}).Want(t, http.StatusOK)
			if got := b.subjects(t, ann); len(got) != 0 {
				t.Errorf("got %q", got)
			}
		})
	})
	t.Run("unless they have gone", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			u := b.person(t, ann)
			address(map[string]any{"phone": "+4915112345678"})(t, b, u)
			b.Demo.Delete(t, "/api/v1/users/"+u.ID).Want(t, http.StatusOK)
			if got := b.subjects(t, ann); len(got) != 0 {
				t.Errorf("got %q", got)
			}
		})
	})
}

// changes changes a user as an actor of a name.
func (b *bench) changes(t *testing.T, name string, u user.User, c user.Change) {
	t.Helper()
	by := access.System(b.Demo.ID)
	by.Name = name
	b.Write(t, func(ctx context.Context, tx *database.Tx) error {
		_, err := b.Users.Update(ctx, tx, by, u.ID, c)
		return err
	})
}

// Letters that no visit asks for are in the language that their reader has read last.
func TestLettersAreInTheReadersLanguage(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		u := b.person(t, ann)
		const german = "Ihre Anmeldedaten wurden geändert"
		change := func(phone string) { b.changes(t, "key:x", u, user.Change{Phone: &phone}) }
		newest := func() string { return b.subjects(t, ann)[0] }
		if change("+4915112345678"); newest() != "Your sign-in details were changed" {
			t.Fatalf("before anything is known: %q", newest())
		}
		b.Get(t, "/signin?lang=de")
		b.Submit(t, b.identify(t, ann), "/signin/code", "code", b.Code(t, ann)).At(t, "/account")
		if got, _ := b.user(t, ann); got.Language != "de" {
			t.Fatalf("language %q", got.Language)
		}
		if change("+4915112345679"); newest() != german {
			t.Errorf("to a reader of German: %q", newest())
		}
		invites, err := b.Orgs.Look(t.Context(), b.Demo.ID)
		if err != nil {
			t.Fatal(err)
		}
		for n, c := range []struct{ asked, to, want string }{{"", ann, "Einladung zu"}, {"fr", ann, "Invitation à"}, {"", "bo@example.com", "You are invited"}} {
			acme := b.company(t, "Acme "+string(rune('A'+n)), org.Policy{})
			b.Write(t, func(ctx context.Context, tx *database.Tx) error {
				_, err := b.Orgs.Invite(ctx, tx, access.System(b.Demo.ID), invites, org.Invitation{OrganizationID: acme.ID, Email: c.to, Language: c.asked})
				return err
			})
			if got := b.subjects(t, c.to)[0]; !strings.Contains(got, c.want) {
				t.Errorf("an invitation in %q to %s: %q", c.asked, c.to, got)
			}
			b.Clock.Advance(time.Minute)
		}
		// Who comes back in the tenant's language has none of their own any more.
		other := b.another()
		other.Get(t, "/signin?lang=en")
		b.Clock.Advance(time.Minute)
		other.Submit(t, other.identify(t, ann), "/signin/code", "code", b.Code(t, ann)).At(t, "/account")
		if got, _ := b.user(t, ann); got.Language != "" {
			t.Errorf("language %q", got.Language)
		}
		if change("+4915112345670"); slices.Contains(b.subjects(t, ann)[:1], german) {
			t.Errorf("to a reader of English: %q", newest())
		}
	})
}
