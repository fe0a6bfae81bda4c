package app_test

import (
	"testing"

	"github.com/cardea-id/cardea/internal/app/apptest"
)

// Further addresses by the API: only such that the caller vouches for, each of one user,
// and the forms of the contracts show the primary one alone.
func TestAddressesByTheAPI(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		c := w.Demo.Client
		id, mail := makeUser(t, c)
		other, _ := makeUser(t, c)
		all, further := "/api/v1/users/"+id+"/addresses", newEmail()
		for name, body := range map[string]map[string]any{
			"not vouched for": {"type": "email", "value": further},
			"said not to be":  {"type": "email", "value": further, "verified": false},
			"of no type":      {"value": further, "verified": true},
			"no address":      {"type": "email", "value": "a,b@example.com", "verified": true},
			"no number":       {"type": "phone", "value": further, "verified": true},
		} {
			if a := c.Post(t, all, body); a.Status != 400 {
				t.Errorf("%s: %d %s", name, a.Status, a.Body)
			}
		}
		made := c.Post(t, all, map[string]any{"type": "email", "value": " " + further, "verified": true, "held": true, "id": other}).Want(t, 201).Object(t)
		if made["value"] != further || made["held"] != false || made["id"] == other || made["id"] == nil {
			t.Errorf("made %v", made)
		}
		address, _ := made["id"].(string)
		c.Post(t, "/api/v1/users/"+other+"/addresses", map[string]any{"type": "email", "value": further, "verified": true}).Want(t, 409)
		c.Post(t, "/api/v1/users", map[string]any{"email": further}).Want(t, 409)
		// Their user is found by it and shown with the primary one, and another user by nobody else's.
		if u := c.Get(t, "/api/v1/users/"+further+"/email").Want(t, 200).Object(t); u["id"] != id || u["email"] == further {
			t.Errorf("found %v", u)
		}
		for _, query := range []string{"email=" + further, "search=" + further} {
			if list := c.Get(t, "/api/v1/users?"+query).Want(t, 200).List(t); len(list) != 1 {
				t.Errorf("the list of %s has %v", query, list)
			}
		}
		path, stranger := "/addresses/"+address, w.Tenant(t, "another").Client
		for user, by := range map[string]apptest.Client{other: c, id: stranger} { // another user's, another tenant's
			by.Delete(t, "/api/v1/users/"+user+path).Want(t, 404)
			by.Post(t, "/api/v1/users/"+user+path+"/primary", nil).Want(t, 404)
		}
		if u := c.Post(t, all+"/"+address+"/primary", nil).Want(t, 200).Object(t); u["email"] != further || u["email_verified"] != true {
			t.Errorf("got %v", u)
		}
		// The one before was not verified: it is nobody's.
		if list := c.Get(t, all).Want(t, 200).List(t); len(list) != 0 {
			t.Errorf("left are %v", list)
		}
		c.Post(t, "/api/v1/users", map[string]any{"email": mail}).Want(t, 200)
		phone := c.Post(t, all, map[string]any{"type": "phone", "value": "+49 1511 2345678", "verified": true}).Want(t, 201).Object(t)
		if phone["id"] != nil || phone["value"] != "+4915112345678" { // there was none: it is the primary one
			t.Errorf("got %v", phone)
		}
	})
}
