package kobil_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/user"
)

func TestUserLivesThroughEveryCall(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		made := b.ask(t, "POST", f.make, `{"username":"ada","firstName":"Ada","email":"Ada@Example.com","Enabled":true,"attributes":{"city":["London"]}}`).
			is(t, 200, "OK", "User created successfully", 5).data(t)
		read := b.ask(t, "GET", f.user("ada", ""), "").is(t, 200, "Success", "User info fetched successfully", 5).data(t)
		if diff := cmp.Diff(made, read); diff != "" {
			t.Errorf("created and read differ (-created +read):\n%s", diff)
		}
		want := map[string]any{
			"id": b.find(t, "ada").ID, "username": "ada", "firstName": "Ada", "lastName": "", "email": "ada@example.com", "enabled": true, "emailVerified": false,
			"attributes": map[string]any{
				"city": []any{"London"}, "username": []any{"ada"}, "email": []any{"ada@example.com"}, "firstName": []any{"Ada"}, "lastName": []any{nil},
			},
			"requiredActions": []any{}, "admin": false,
		}
		if diff := cmp.Diff(want, read); diff != "" {
			t.Errorf("user (-want +got):\n%s", diff)
		}
		b.ask(t, "PUT", f.user("ada", "/disable"), `{"enabled":false}`).is(t, 200, "Success", "User updated successfully", 5).hasNoData(t)
		if b.find(t, "ada").IsActive {
			t.Error("enabled after disable")
		}
		b.ask(t, "PUT", f.user("ada", "/enable"), `{"enabled":true}`).is(t, 200, "Success", "User updated successfully", 5).hasNoData(t)
		if !b.find(t, "ada").IsActive {
			t.Error("disabled after enable")
		}
		b.ask(t, "PUT", f.user("ada", "/profile"), `{"lastName":"Lovelace","attributes":{"title":"Countess"}}`).
			is(t, 200, "OK", "User profile updated successfully.", 5).hasNoData(t)
		updated := b.ask(t, "PUT", f.user("ada", "/update"), `{"firstName":"Augusta"}`).is(t, 200, "OK", "User updated successfully", 5).data(t)
		if updated["firstName"] != "Augusta" || updated["lastName"] != "Lovelace" || updated["id"] != made["id"] {
			t.Errorf("updated to %v", updated)
		}
		b.ask(t, "PUT", f.user("ada", "/ssms/logout"), "").is(t, 409, "USER_ALREADY_LOGGED_OUT", "User is not logged in state to perform this action.", 5)
		b.ask(t, "DELETE", f.user("ada", "/"), "").is(t, 200, "OK", "User deleted successfully", 5).hasNoData(t)
		b.ask(t, "GET", f.user("ada", ""), "").is(t, 404, "USER_NOT_FOUND", "User does not exist", 5)
	})
}

func (got reply) hasNoData(t *testing.T) {
	t.Helper()
	if _, ok := got.member["data"]; ok {
		t.Errorf("data is there: %s", got.raw)
	}
}

func TestUnknownUserAnswers404(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		b.add(t, "acme", user.User{Username: "anton"})
		for _, name := range []string{"nobody", "anton", "nobody@example.com", "0123456789abcdef01234567", "2d1f3d9a-6f1c-4c6e-9d3e-0d4f6a1b2c3d", "%2B4915112345678", "..%2f..%2fada", "%27%3B--"} {
			b.ask(t, "GET", f.user(name, ""), "").is(t, 404, "USER_NOT_FOUND", "User does not exist", 5)
			for op, body := range map[string]string{"/update": `{}`, "/profile": `{}`, "/enable": `{"enabled":true}`, "/disable": `{"enabled":false}`, "/ssms/logout": ``} {
				b.ask(t, "PUT", f.user(name, op), body).is(t, 404, "USER_NOT_FOUND", "User does not exist", 5)
			}
			b.ask(t, "DELETE", f.user(name, "/"), "").is(t, 404, "USER_NOT_FOUND", "User does not exist", 5)
		}
	})
}

// An address without a name is a bad request, whether the name is empty or blank.
func TestNamelessCallsAnswer400(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		b.add(t, "demo", user.User{Username: "ada"})
		const message = "Username should not be null or empty"
		for _, op := range []string{"/update", "/enable", "/disable"} {
			b.ask(t, "PUT", f.user("%20", op), `{"enabled":true}`).is(t, 400, "BAD_REQUEST", message, 5)
			b.ask(t, "PUT", strings.Replace(f.user("ada", op), "/ada", "", 1), `{"enabled":true}`).is(t, 400, "BAD_REQUEST", message, 5)
		}
		b.ask(t, "PUT", f.user("%20", "/profile"), `{}`).is(t, 400, "GENERAL ERROR", "Failed to update profileCaused by null", 5)
		b.ask(t, "GET", f.user("%20", ""), "").is(t, 400, "BAD_REQUEST", message, 5)
		b.ask(t, "DELETE", f.user("%20", "/"), "").is(t, 400, "BAD_REQUEST", message, 5)
		b.ask(t, "DELETE", strings.Replace(f.user("ada", "/"), "/ada", "", 1), "").is(t, 400, "BAD_REQUEST", message, 5)
		if got, want := b.ask(t, "GET", f.list, "").names(t), "ada"; got != want {
			t.Errorf("users are %q, want %q", got, want)
		}
	})
}

// A doubled slash is where a client left the name out.
func TestEmptyNameInAddressAnswers400(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		for _, address := range []string{"/digitanium/v4/users//enable", "/auth/realms/demo/v3_user//enable"} {
			r := httptest.NewRequest("PUT", "http://demo.id.test"+address, strings.NewReader(`{"enabled":true}`))
			r.Header.Set("Authorization", "Bearer "+b.keys["demo"])
			w := httptest.NewRecorder()
			b.handler.ServeHTTP(w, r)
			if to := w.Header().Get("Location"); w.Code != 307 || strings.Contains(to, "//") {
				t.Fatalf("%s answered %d, Location %q; want 307 to the address without the empty name", address, w.Code, to)
			}
			b.ask(t, "PUT", w.Header().Get("Location"), `{"enabled":true}`).is(t, 400, "BAD_REQUEST", "Username should not be null or empty", 5)
		}
	})
}

func TestNamesArePercentDecoded(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		for _, name := range []string{"a$b@(c.d)-*_[e]~!&+", "ada+tag@example.com", "..", ".", "josé", "+++", "(x)", "UPPER"} {
			body, _ := json.Marshal(map[string]string{"username": name})
			b.ask(t, "POST", f.make, string(body)).is(t, 200, "OK", "", 5)
			every := ""
			for _, c := range []byte(name) {
				every += fmt.Sprintf("%%%02X", c)
			}
			for _, encoded := range []string{url.PathEscape(name), every, strings.ToLower(every)} {
				if (name == "." || name == "..") && encoded == name {
					continue // as a path these mean something else
				}
				if got := b.ask(t, "GET", f.user(encoded, ""), "").is(t, 200, "Success", "", 5).data(t)["username"]; got != name {
					t.Errorf("%s names %q, want %q", encoded, got, name)
				}
				b.ask(t, "PUT", f.user(encoded, "/enable"), `{"enabled":true}`).is(t, 200, "Success", "", 5)
			}
			b.ask(t, "DELETE", f.user(every, "/"), "").is(t, 200, "OK", "", 5)
		}
	})
}

func TestGetUserTakesNameAddressPhoneAndID(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		u := b.add(t, "demo", user.User{Username: "Ada", Email: "ada@example.com", Phone: "+4915112345678"})
		for _, key := range []string{"Ada", "ada", "ADA", "ada@example.com", "Ada@EXAMPLE.com", "%2B4915112345678", "+49%20151%2012345678", u.ID} {
			if got := b.ask(t, "GET", f.user(key, ""), "").data(t)["id"]; got != u.ID {
				t.Errorf("%s names %v, want %s", key, got, u.ID)
			}
		}
		// Changes are by name: an id finds nobody.
		b.ask(t, "PUT", f.user(u.ID, "/update"), `{"firstName":"Eve"}`).is(t, 404, "USER_NOT_FOUND", "User does not exist", 5)
		b.ask(t, "PUT", f.user(u.ID, "/enable"), `{"enabled":true}`).is(t, 404, "USER_NOT_FOUND", "User does not exist", 5)
		b.ask(t, "DELETE", f.user(u.ID, "/"), "").is(t, 404, "USER_NOT_FOUND", "User does not exist", 5)
		b.ask(t, "PUT", f.user("ada@example.com", "/update"), `{"firstName":"Augusta"}`).is(t, 200, "OK", "", 5)
		// A username in the form of an id would name two users.
		b.ask(t, "POST", f.make, `{"username":"`+u.ID+`"}`).is(t, 400, "BAD_REQUEST", "", 5)
		other := b.add(t, "acme", user.User{Username: "anton"})
		b.ask(t, "GET", f.user(other.ID, ""), "").is(t, 404, "USER_NOT_FOUND", "User does not exist", 5)
	})
}

// A user without a username is called by e-mail address, else by phone number.
func TestUsernameStandsInForWhatIsMissing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.add(t, "demo", user.User{Email: "ada@example.com"})
		b.add(t, "demo", user.User{Phone: "+4915112345678"})
		for _, name := range []string{"ada@example.com", "+4915112345678"} {
			got := b.ask(t, "GET", "/digitanium/v4/users/"+name+"/profile", "").data(t)
			if got["username"] != name || got["attributes"].(map[string]any)["username"].([]any)[0] != name {
				t.Errorf("%s is shown as %v", name, got)
			}
			// Sent back, it is no new name.
			body, _ := json.Marshal(got)
			b.ask(t, "PUT", "/digitanium/v4/users/"+name+"/update", string(body)).is(t, 200, "OK", "", 5)
			if u := b.find(t, name); u.Username != "" || len(u.Attributes) > len("{}") {
				t.Errorf("sending a user back made username %q, attributes %s", u.Username, u.Attributes)
			}
		}
	})
}

// Enabled is false on create and true on update unless the body says otherwise,
// and so is emailVerified.
func TestEnabledHasOppositeDefaults(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		for body, want := range map[string][2]bool{ // enabled, emailVerified
			`{"username":"u1","email":"u1@example.com"}`:                                         {false, false},
			`{"username":"u2","email":"u2@example.com","enabled":null,"emailVerified":null}`:     {false, false},
			`{"username":"u3","email":"u3@example.com","enabled":true,"emailVerified":true}`:     {true, true},
			`{"username":"u4","email":"u4@example.com","Enabled":true}`:                          {true, false},
			`{"username":"u5","email":"u5@example.com","ENABLED":true,"EmailVerified":true}`:     {true, true},
			`{"Username":"u6","Email":"u6@example.com","enabled":false,"emailVerified":false}`:   {false, false},
			`{"username":"u7","emailVerified":true}`:                                             {false, false}, // no address to verify
			`{"username":"u8","email":"u8@example.com","eNABLED":true,"unknown":{"nested":[1]}}`: {true, false},
		} {
			made := b.ask(t, "POST", f.make, body).is(t, 200, "OK", "", 5).data(t)
			if got := [2]bool{made["enabled"].(bool), made["emailVerified"].(bool)}; got != want {
				t.Errorf("create %s: enabled, emailVerified are %v, want %v", body, got, want)
			}
		}
		for body, want := range map[string][2]bool{
			`{}`: {true, true}, `{"firstName":"X"}`: {true, true}, ``: {true, true}, `{"enabled":null}`: {true, true},
			`{"Enabled":false}`: {false, true}, `{"enabled":false,"emailVerified":false}`: {false, false},
			`{"email":"new@example.com"}`: {true, true}, `{"email":"newer@example.com","emailVerified":false}`: {true, false},
		} {
			b.ask(t, "PUT", f.user("u1", "/update"), `{"enabled":false,"emailVerified":false}`).is(t, 200, "OK", "", 5)
			made := b.ask(t, "PUT", f.user("u1", "/update"), body).is(t, 200, "OK", "", 5).data(t)
			if got := [2]bool{made["enabled"].(bool), made["emailVerified"].(bool)}; got != want {
				t.Errorf("update %s: enabled, emailVerified are %v, want %v", body, got, want)
			}
		}
	})
}

// A profile update has no such defaults, and a new address is not verified
// because the old one was.
func TestProfileUpdateChangesWhatItNames(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.add(t, "demo", user.User{Username: "ada", Email: "ada@example.com", EmailVerified: true, FirstName: "Ada", Attributes: json.RawMessage(`{"a":"1","b":["2"],"c":3}`)})
		address := "/digitanium/v4/users/ada/profile"
		b.ask(t, "PUT", address, `{"lastName":"Lovelace","enabled":true,"username":"eve","attributes":{"a":"x","b":null,"d":"new","e":["y","z"],"firstName":[null],"email":["evil@example.com"]}}`).is(t, 200, "OK", "", 5)
		u := b.find(t, "ada")
		if got, want := string(u.Attributes), `{"a":"x","c":3,"d":"new","e":["y","z"]}`; got != want {
			t.Errorf("attributes are %s, want %s", got, want)
		}
		if u.FirstName != "Ada" || u.LastName != "Lovelace" || u.IsActive || u.Username != "ada" || !u.EmailVerified || u.Email != "ada@example.com" {
			t.Errorf("user is %+v", u)
		}
		b.ask(t, "PUT", address, `{"email":"new@example.com"}`).is(t, 200, "OK", "", 5)
		if u := b.find(t, "ada"); u.Email != "new@example.com" || u.EmailVerified {
			t.Errorf("e-mail is %s, verified %v; want the new one, not verified", u.Email, u.EmailVerified)
		}
		b.ask(t, "PUT", address, ``).is(t, 200, "OK", "", 5)
	})
}

func TestBadProfileUpdateIsAGeneralError(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		b.add(t, "demo", user.User{Username: "ada", Email: "ada@example.com"})
		b.add(t, "demo", user.User{Username: "eve", Email: "eve@example.com"})
		for body, details := range map[string]string{
			`{"email":"nonsense"}`:                       "That is not an e-mail address we can send to.",
			`{"firstName":"` + long(300) + `"}`:          "firstName has at most 256 bytes and no control characters.",
			`{"lastName":"a\u0007b"}`:                    "lastName has at most 256 bytes and no control characters.",
			`{"lastName":5}`:                             "lastName must be a JSON string.",
			`{"attributes":["x"]}`:                       "attributes must be a JSON object.",
			`[]`:                                         "The request body must be a JSON object.",
			`{"attributes":{"x":"` + long(70000):         "The request body is not the JSON this call expects.",
			`{"attributes":{"x":"` + long(70000) + `"}}`: "Attributes and groups may have 16 KiB each.",
		} {
			got := b.ask(t, "PUT", f.user("ada", "/profile"), body).is(t, 400, "GENERAL ERROR", "Failed to update profileCaused by null", 5)
			if got.member["details"] != details {
				t.Errorf("%.40s: details are %v, want %q", body, got.member["details"], details)
			}
		}
		b.ask(t, "PUT", f.user("ada", "/profile"), `{"email":"EVE@example.com"}`).is(t, 409, "USER_ALREADY_EXISTS", "", 5)
	})
}

func long(n int) string { return strings.Repeat("x", n) }

// Update replaces the attributes; those that repeat basic fields are what Get
// User added, not the user's own.
func TestUpdateReplacesAttributes(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.add(t, "demo", user.User{Username: "ada", LastName: "Lovelace", Attributes: json.RawMessage(`{"old":"1"}`)})
		address := "/digitanium/v4/users/ada/update"
		for _, c := range []struct{ body, want string }{
			{`{"firstName":"Ada"}`, `{"old":"1"}`},
			{`{"attributes":{"a":["1","2"],"b":"3","c":true,"d":[],"e":[null],"f":null,"g":["x",null],"h":"<&>"}}`, `{"a":["1","2"],"b":"3","c":true,"g":["x",null],"h":"<&>"}`},
			{`{"Attributes":{"username":["eve"],"email":[null],"firstName":["Eve"],"lastName":[null],"k":["v"]}}`, `{"k":["v"]}`},
			{`{"attributes":{}}`, `{}`},
		} {
			b.ask(t, "PUT", address, c.body).is(t, 200, "OK", "", 5)
			if u := b.find(t, "ada"); string(u.Attributes) != c.want || u.LastName != "Lovelace" {
				t.Errorf("after %s attributes are %s, last name %q; want %s", c.body, u.Attributes, u.LastName, c.want)
			}
		}
	})
}

// KOBIL's own required actions live in an attribute; requiredActions has only
// Keycloak's.
func TestRequiredActionsOfKobilLiveInAnAttribute(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		shown := func(name string) string {
			got := b.ask(t, "GET", f.user(name, ""), "").data(t)
			text, _ := json.Marshal([]any{got["requiredActions"], got["attributes"].(map[string]any)["digitaniumRequiredAction"]})
			return string(text)
		}
		for i, c := range []struct{ body, want string }{
			{`"RequiredActions":["kobil-2fa-required-action"]`, `[[],["kobil-2fa-required-action"]]`},
			{`"requiredActions":["kobil-2fa-required-action","UPDATE_PASSWORD","kobil-offline-otp-required-action"]`, `[["UPDATE_PASSWORD"],["kobil-2fa-required-action","kobil-offline-otp-required-action"]]`},
			{`"REQUIREDACTIONS":["VERIFY_EMAIL"]`, `[["VERIFY_EMAIL"],null]`},
			{`"requiredActions":[]`, `[[],null]`},
			{`"attributes":{"digitaniumRequiredAction":["kobil-2fa-required-action"]}`, `[[],["kobil-2fa-required-action"]]`},
		} {
			name := fmt.Sprintf("u%d", i)
			b.ask(t, "POST", f.make, `{"username":"`+name+`",`+c.body+`}`).is(t, 200, "OK", "", 5)
			if got := shown(name); got != c.want {
				t.Errorf("%s shows %s, want %s", c.body, got, c.want)
			}
		}
		b.ask(t, "PUT", f.user("u0", "/update"), `{"attributes":{"city":"London"}}`).is(t, 200, "OK", "", 5)
		b.ask(t, "PUT", f.user("u0", "/update"), `{"RequiredActions":["kobil-2fa-required-action","CONFIGURE_TOTP"]}`).is(t, 200, "OK", "", 5)
		if got, want := shown("u0"), `[["CONFIGURE_TOTP"],["kobil-2fa-required-action"]]`; got != want {
			t.Errorf("after update: %s, want %s", got, want)
		}
		if got := string(b.find(t, "u0").Attributes); !strings.Contains(got, "London") {
			t.Errorf("other attributes are gone: %s", got)
		}
		b.ask(t, "PUT", f.user("u0", "/update"), `{"firstName":"X"}`).is(t, 200, "OK", "", 5)
		b.ask(t, "PUT", f.user("u0", "/update"), `{"requiredActions":[]}`).is(t, 200, "OK", "", 5)
		if got, want := shown("u0"), `[[],["kobil-2fa-required-action"]]`; got != want {
			t.Errorf("after emptying requiredActions: %s, want %s", got, want)
		}
	})
}

func TestEnableFollowsItsBody(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.add(t, "demo", user.User{Username: "ada", Email: "ada@example.com", IsActive: true})
		enable, disable := "/digitanium/v4/users/ada/enable", "/digitanium/v4/users/ada/disable"
		for _, c := range []struct {
			address, body string
			want          bool
		}{
			{enable, `{"enabled":false}`, false}, {enable, `{"Enabled":true}`, true},
			{disable, `{"enabled":false}`, false}, {enable, `{"enabled":true}`, true},
			{disable, ``, false}, {disable, `{"enabled":true}`, false}, {disable, `nonsense`, false},
		} {
			b.ask(t, "PUT", c.address, c.body).is(t, 200, "Success", "User updated successfully", 5)
			if u := b.find(t, "ada"); u.IsActive != c.want || u.EmailVerified {
				t.Errorf("%s %s: enabled is %v, want %v; verified %v, want false", c.address, c.body, u.IsActive, c.want, u.EmailVerified)
			}
		}
		for _, body := range []string{``, `{}`, `{"enabled":null}`, `{"enabled":"true"}`, `{"enabled":1}`, `true`} {
			b.ask(t, "PUT", enable, body).is(t, 400, "BAD_REQUEST", "", 5)
		}
	})
}

func TestCreateNeedsAGoodUsername(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		for _, body := range []string{``, `{}`, `null`, `{"username":null}`, `{"username":""}`, `{"username":"  "}`, `{"email":"ada@example.com"}`} {
			b.ask(t, "POST", f.make, body).is(t, 400, "BAD_REQUEST", "Username should not be null or empty", 5)
		}
		for _, name := range []string{"a b", "a/b", "a#b", "a,b", `a\\b`, "ａda", "a\u200bb", long(256), "a%b", "a;b", "a'b", "<b>"} {
			b.ask(t, "POST", f.make, `{"username":"`+name+`"}`).is(t, 400, "BAD_REQUEST", "", 5)
		}
		if got := b.ask(t, "GET", f.list, "").data(t)["page"].(map[string]any)["totalRecords"]; got != 0.0 {
			t.Errorf("%v users were made", got)
		}
	})
}

// Username and address must each be unused, also as the other.
func TestCreateRefusesWhatIsTaken(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		b.ask(t, "POST", f.make, `{"username":"ada","email":"ada@example.com"}`).is(t, 200, "OK", "", 5)
		for _, body := range []string{`{"username":"ada"}`, `{"username":"ADA"}`, `{"username":"eve","email":"Ada@Example.com"}`, `{"username":"ada@example.com"}`} {
			b.ask(t, "POST", f.make, body).is(t, 409, "USER_ALREADY_EXISTS", "", 5)
		}
		b.ask(t, "POST", f.make, `{"username":"eve"}`).is(t, 200, "OK", "", 5)
		b.ask(t, "PUT", f.user("eve", "/update"), `{"username":"ada"}`).is(t, 409, "USER_ALREADY_EXISTS", "", 5)
		b.ask(t, "PUT", f.user("eve", "/update"), `{"username":"mallory"}`).is(t, 200, "OK", "", 5)
		b.ask(t, "GET", f.user("eve", ""), "").is(t, 404, "USER_NOT_FOUND", "", 5)
		b.ask(t, "GET", f.user("mallory", ""), "").is(t, 200, "Success", "", 5)
	})
}

func TestCreateRaceHasOneWinner(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		var won, lost atomic.Int32
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				switch got := b.ask(t, "POST", "/digitanium/v4/users", `{"username":"ada"}`); got.code {
				case 200:
					won.Add(1)
				case 409:
					lost.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || lost.Load() != 19 {
			t.Errorf("%d won and %d lost, want 1 and 19", won.Load(), lost.Load())
		}
	})
}

// Of two who edit different attributes at once neither undoes the other's work.
func TestProfileUpdatesAtOnceBothCount(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.add(t, "demo", user.User{Username: "ada"})
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				b.ask(t, "PUT", "/digitanium/v4/users/ada/profile", fmt.Sprintf(`{"attributes":{"a%d":"x"}}`, i))
			})
		}
		wg.Wait()
		var attributes map[string]string
		if err := json.Unmarshal(b.find(t, "ada").Attributes, &attributes); err != nil || len(attributes) != 10 {
			t.Errorf("%d of 10 attributes are there: %v, %v", len(attributes), attributes, err)
		}
	})
}

func TestPasswordsComeThroughCredentials(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		b.ask(t, "POST", f.make, `{"username":"ada"}`).is(t, 200, "OK", "", 5)
		for _, c := range []struct {
			body, password string
			temporary      bool
		}{
			{`{"credentials":[{"type":"password","value":"first password"}]}`, "first password", true},
			{`{"credentials":[{"value":"second password","temporary":false}]}`, "second password", false},
			{`{"Credentials":[{"Type":"PASSWORD","Value":"third password","Temporary":true}]}`, "third password", true},
			{`{"credentials":[]}`, "third password", true},
			{`{"credentials":[{"value":"not this one"},{"value":"пароль 🔑","temporary":null}]}`, "пароль 🔑", true},
		} {
			b.ask(t, "PUT", f.user("ada", "/update"), c.body).is(t, 200, "OK", "", 5)
			hash, due, err := password.Find(t.Context(), b.db, b.ids["demo"], b.find(t, "ada").ID)
			if err != nil {
				t.Fatal(err)
			}
			if good, _, err := b.hasher.Verify(t.Context(), hash, c.password); !good || err != nil || (due == password.Temporary) != c.temporary {
				t.Errorf("after %s the password is good: %v, %v; due %q, want temporary %v", c.body, good, err, due, c.temporary)
			}
			if strings.Contains(hash, c.password) {
				t.Error("the password is stored as it is")
			}
		}
		made := b.ask(t, "POST", f.make, `{"username":"eve","credentials":[{"type":"password","value":"created with it","temporary":false}]}`).data(t)
		if hash, due, err := password.Find(t.Context(), b.db, b.ids["demo"], made["id"].(string)); hash == "" || due != password.NotDue || err != nil {
			t.Errorf("created without the password: due %q, %v", due, err)
		}
	})
}

func TestBadCredentialsChangeNothing(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		for _, credentials := range []string{
			`[{"value":"short"}]`, `[{"value":""}]`, `[{}]`, `[{"type":"otp","value":"long enough"}]`, `[{"value":"` + long(1025) + `"}]`, `{"value":"long enough"}`, `[{"value":12345678}]`,
			`[{"value":"long enough","temporary":"yes"}]`, "[{\"value\":\"long enough \xff\"}]",
		} {
			b.ask(t, "POST", f.make, `{"username":"ada","credentials":`+credentials+`}`).is(t, 400, "BAD_REQUEST", "", 5)
		}
		b.ask(t, "POST", f.make, `{"username":"ada","credentials":[{"type":"ACTIVATION_CODE","credentialData":"{\"period\":\"60d\"}","secretData":"{\"code\":\"123456\"}"}]}`).
			is(t, 501, "NOT_SUPPORTED", "", 5)
		b.ask(t, "GET", f.user("ada", ""), "").is(t, 404, "USER_NOT_FOUND", "", 5)
	})
}

func TestRolesAreGivenByName(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		b.add(t, "demo", user.User{Username: "owner", IsActive: true, RoleIDs: []string{b.roleID(t, "demo", "owner")}})
		made := b.ask(t, "POST", f.make, `{"username":"ada","realmRoles":["digitanium_admin","digitanium_user"],"ClientRoles":["developer","digitanium_user"]}`).is(t, 200, "OK", "", 5).data(t)
		if made["admin"] != true {
			t.Error("a digitanium_admin is no admin")
		}
		if got := len(b.find(t, "ada").RoleIDs); got != 3 {
			t.Errorf("holds %d roles, want 3", got)
		}
		b.ask(t, "PUT", f.user("ada", "/update"), `{"firstName":"Ada"}`).is(t, 200, "OK", "", 5)
		if got := len(b.find(t, "ada").RoleIDs); got != 3 {
			t.Errorf("an update without roles left %d, want 3", got)
		}
		for body, want := range map[string]int{`{"realmRoles":["digitanium_user"]}`: 1, `{"clientroles":[]}`: 0, `{"REALMROLES":["admin","owner"]}`: 2} {
			b.ask(t, "PUT", f.user("ada", "/update"), body).is(t, 200, "OK", "", 5)
			if got := len(b.find(t, "ada").RoleIDs); got != want {
				t.Errorf("%s left %d roles, want %d", body, got, want)
			}
		}
		for _, body := range []string{`{"username":"eve","realmRoles":["no such role"]}`, `{"username":"eve","ClientRoles":["no such role"]}`, `{"username":"eve","realmRoles":"admin"}`} {
			b.ask(t, "POST", f.make, body).is(t, 400, "BAD_REQUEST", "", 5)
		}
		// Who may write users may not make administrators.
		writer := b.key(t, "demo", access.UsersRead, access.UsersWrite)
		b.send(t, writer, "POST", f.make, `{"username":"eve","realmRoles":["admin"]}`).is(t, 401, "Unauthorized", "HTTP 401 Unauthorized", 5)
		b.send(t, writer, "PUT", f.user("ada", "/update"), `{"realmRoles":[]}`).is(t, 401, "Unauthorized", "HTTP 401 Unauthorized", 5)
		b.ask(t, "GET", f.user("eve", ""), "").is(t, 404, "USER_NOT_FOUND", "", 5)
	})
}

// A key that may write but not read can name the user it writes to.
func TestWriterNeedNotRead(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		writer := b.key(t, "demo", access.UsersWrite)
		b.send(t, writer, "POST", "/digitanium/v4/users", `{"username":"ada"}`).is(t, 200, "OK", "", 5)
		b.send(t, writer, "PUT", "/digitanium/v4/users/ada/enable", `{"enabled":true}`).is(t, 200, "Success", "", 5)
		b.send(t, writer, "GET", "/digitanium/v4/users/ada/profile", "").is(t, 401, "Unauthorized", "", 5)
		b.send(t, writer, "DELETE", "/digitanium/v4/users/ada", "").is(t, 200, "OK", "", 5)
	})
}

func TestHostileBodiesAreBadRequests(t *testing.T) {
	runForms(t, func(t *testing.T, b *bench, f form) {
		b.add(t, "demo", user.User{Username: "ada"})
		deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
		for _, body := range []string{
			`{`, `[]`, `"ada"`, `5`, `{"username":5}`, `{"username":"eve"} trailing`, `{"username":"e\u0000ve"}`, "{\"username\":\"e\x00ve\"}",
			"{\"username\":\"e\xffve\"}", "{\"username\":\"eve\",\"attributes\":{\"a\":\"\xc3\x28\"}}", "{\"username\":\"eve\",\"attributes\":{\"\xff\":1}}",
			`{"username":"eve","attributes":` + deep + `}`, deep, `{"username":"eve","attributes":{"a":"\u0000"}}`, `{"username":"eve","enabled":"yes"}`,
			`{"username":"eve","firstName":{"a":1}}`, `{"username":"eve","email":"two@@example.com"}`, `{"username":"eve","attributes":[1]}`,
			`{"username":"eve","requiredActions":"kobil-2fa"}`, `{"username":"eve","firstName":"a\nb"}`,
		} {
			for _, c := range []struct{ method, address string }{{"POST", f.make}, {"PUT", f.user("ada", "/update")}} {
				got := b.ask(t, c.method, c.address, body).is(t, 400, "BAD_REQUEST", "", 5)
				if strings.Contains(got.raw, "Unmarshal") || strings.Contains(got.raw, "kobil.") {
					t.Errorf("%.60s: the answer tells of our insides: %s", body, got.raw)
				}
			}
		}
		b.ask(t, "POST", f.make, `{"username":"`+long(2<<20)+`"}`).is(t, 413, "REQUEST_TOO_LARGE", "", 5)
		// A name in the address that can not be text names nobody.
		for _, name := range []string{"%00", "a%00b", "%ff", "%C3%28"} {
			if got := b.ask(t, "GET", f.user(name, ""), ""); got.code != 404 {
				t.Errorf("%s answered %d %s, want 404", name, got.code, got.raw)
			}
		}
		if got, want := b.ask(t, "GET", f.list, "").names(t), "ada"; got != want {
			t.Errorf("users are %q, want %q", got, want)
		}
	})
}

// What was done stands in the log, under the key that did it and the request's id.
func TestChangesAreInTheLog(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		const users = "/digitanium/v4/users"
		b.ask(t, "POST", users, `{"username":"ada","credentials":[{"value":"long enough"}]}`).is(t, 200, "OK", "", 5)
		id := b.find(t, "ada").ID
		b.ask(t, "PUT", users+"/ada/update", `{"firstName":"Ada"}`).is(t, 200, "OK", "", 5)
		b.ask(t, "PUT", users+"/ada/enable", `{"enabled":false}`).is(t, 200, "Success", "", 5)
		b.ask(t, "PUT", users+"/ada/enable", `{"enabled":false}`).is(t, 200, "Success", "", 5) // changes nothing
		b.ask(t, "PUT", users+"/ada/profile", `{"lastName":"Lovelace"}`).is(t, 200, "OK", "", 5)
		b.ask(t, "DELETE", users+"/ada", "").is(t, 200, "OK", "", 5)
		b.ask(t, "POST", "/digitanium/v4/role/new", "").is(t, 200, "OK", "", 1)
		events, err := audit.List(t.Context(), b.db, b.ids["demo"], audit.Filter{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, e := range events {
			if !strings.HasPrefix(e.Actor, "key:") {
				continue
			}
			count[e.Action]++
			if e.RequestID == "" || e.IP == "" || e.Action != "role.created" && e.TargetID != id {
				t.Errorf("event %+v lacks request, address or target", e)
			}
		}
		want := map[string]int{"user.created": 1, "password.set": 1, "user.updated": 3, "user.deleted": 1, "role.created": 1}
		if diff := cmp.Diff(want, count); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}
