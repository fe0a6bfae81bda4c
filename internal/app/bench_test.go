package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cardea-id/cardea/internal/app/apptest"
)

var serial atomic.Int64

// newEmail is an address that no other test of this process uses.
func newEmail() string { return fmt.Sprintf("user%d@example.com", serial.Add(1)) }

// makeUser makes a user and returns its id and address.
func makeUser(t *testing.T, c apptest.Client) (id, email string) {
	t.Helper()
	email = newEmail()
	return makeUserOf(t, c, map[string]any{"first_name": "John", "last_name": "Doe", "email": email}), email
}

func makeUserOf(t *testing.T, c apptest.Client, body map[string]any) (id string) {
	t.Helper()
	id, _ = c.Post(t, "/api/v1/users", body).Want(t, 200).Object(t)["_id"].(string)
	return id
}

// keysOf lists the names in a JSON object, in the order in which they stand.
func keysOf(t *testing.T, object []byte) []string {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(object))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		t.Fatalf("no object: %s", object)
	}
	var keys []string
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.(string))
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func wantKeys(t *testing.T, object []byte, want ...string) {
	t.Helper()
	if got := keysOf(t, object); !slices.Equal(got, want) {
		t.Errorf("got the fields\n\t%s\nwant\n\t%s", strings.Join(got, " "), strings.Join(want, " "))
	}
}

// wantValues compares fields of an object with what they must hold, as JSON.
func wantValues(t *testing.T, object []byte, want map[string]string) {
	t.Helper()
	var got map[string]json.RawMessage
	if err := json.Unmarshal(object, &got); err != nil {
		t.Fatal(err)
	}
	for name, value := range want {
		if string(got[name]) != value {
			t.Errorf("%s is %s, want %s", name, got[name], value)
		}
	}
}

// idsOf lists the ids in a list of users.
func idsOf(t *testing.T, a apptest.Answer) []string {
	t.Helper()
	var ids []string
	for _, u := range a.Want(t, 200).List(t) {
		ids = append(ids, u["_id"].(string))
	}
	return ids
}
