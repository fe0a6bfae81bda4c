package scim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/scim"
)

// The lines of D.6 of the catalogue, after RFC 7643 and RFC 7644.

func TestMediaTypes(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		send := func(kind, name string) apptest.Answer {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, scim.Prefix+s.dir.ID+"/Users", strings.NewReader(userBody(name)))
			r.Header.Set("Content-Type", kind)
			return s.SendAs(t, r)
		}
		for i, kind := range []string{"application/scim+json", "application/json", "application/scim+json; charset=utf-8"} {
			if a := send(kind, fmt.Sprintf("a%d@acme.test", i)).Want(t, 201); a.Header.Get("Content-Type") != "application/scim+json" {
				t.Errorf("answered with %q", a.Header.Get("Content-Type"))
			}
		}
		for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded"} {
			refused(t, send(kind, "b@acme.test"), 400, "invalidSyntax")
		}
	})
}

func TestCreateIsRefused(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		s.user(t, "ada@acme.test")
		for name, c := range map[string]struct {
			body     string
			scimType string
			status   int
		}{
			"no userName":          {`{"emails": [{"value": "b@acme.test"}]}`, "invalidValue", 400},
			"empty userName":       {`{"userName": " "}`, "invalidValue", 400},
			"misspelt userName":    {`{"usrName": "b@acme.test"}`, "invalidValue", 400},
			"userName is a list":   {`{"userName": ["a@acme.test", "b@acme.test"]}`, "invalidValue", 400},
			"taken":                {userBody("ada@acme.test"), "uniqueness", 409},
			"taken in capitals":    {userBody("ADA@ACME.TEST"), "uniqueness", 409},
			"two primary":          {`{"userName": "b@acme.test", "emails": [{"value": "b@acme.test", "primary": true}, {"value": "c@acme.test", "primary": true}]}`, "invalidValue", 400},
			"emails are a number":  {`{"userName": "b@acme.test", "emails": 7}`, "invalidValue", 400},
			"active is a word":     {`{"userName": "b@acme.test", "active": "perhaps"}`, "invalidValue", 400},
			"no JSON":              {`{"userName": `, "invalidSyntax", 400},
			"a list":               {`[]`, "invalidSyntax", 400},
			"empty":                {``, "invalidSyntax", 400},
			"another schema":       {`{"schemas": ["urn:scim:schemas:core:1.0"], "userName": "b@acme.test"}`, "invalidSyntax", 400},
			"NUL":                  {`{"userName": "b\u0000@acme.test"}`, "invalidSyntax", 400},
			"deep":                 {`{"userName": "b@acme.test", "name": ` + strings.Repeat(`{"x":`, 40) + `1` + strings.Repeat(`}`, 40) + `}`, "invalidSyntax", 400},
			"very long":            {`{"userName": "b@acme.test", "title": "` + strings.Repeat("x", 9000) + `"}`, "invalidValue", 400},
			"too much of it":       {`{"userName": "b@acme.test", "emails": [` + strings.TrimSuffix(strings.Repeat(`{"value": "b@acme.test"},`, 300), ",") + `]}`, "invalidValue", 400},
			"more than a megabyte": {`{"userName": "b@acme.test", "x": "` + strings.Repeat("x", 1<<20) + `"}`, "", 413},
		} {
			a := s.do(t, http.MethodPost, "/Users", c.body)
			t.Log(name)
			refused(t, a, c.status, c.scimType)
		}
		if n := s.total(t, "/Users"); n != 1 {
			t.Errorf("%d users", n)
		}
	})
}

func TestDiscovery(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		config := s.get(t, "/ServiceProviderConfig").Want(t, 200).Object(t)
		for _, name := range []string{"patch", "bulk", "filter", "sort", "etag"} {
			if at(config, name, "supported") != true {
				t.Errorf("%s is not declared", name)
			}
		}
		if at(config, "changePassword", "supported") != false {
			t.Error("changePassword is declared")
		}
		for _, list := range []string{"/ResourceTypes", "/Schemas"} {
			all := s.get(t, list).Want(t, 200).Object(t)
			resources, _ := all["Resources"].([]any)
			if len(resources) == 0 {
				t.Fatalf("%s is empty", list)
			}
			for _, r := range resources {
				id, _ := at(r, "id").(string)
				one := s.get(t, list+"/"+id).Want(t, 200).Object(t)
				if at(one, "meta", "location") != at(r, "meta", "location") {
					t.Errorf("%s/%s differs by itself", list, id)
				}
			}
			refused(t, s.get(t, list+"/nothing"), 404, "")
		}
		for _, path := range []string{"/ServiceProviderConfig", "/ResourceTypes", "/Schemas"} {
			refused(t, s.get(t, path+`?filter=id+pr`), 403, "")
			for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
				if a := s.do(t, method, path, `{}`); a.Status != 405 {
					t.Errorf("%s %s: got %d", method, path, a.Status)
				}
			}
		}
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			refused(t, s.do(t, method, "/Me", nil), 501, "")
		}
		refused(t, s.get(t, "/Nothing"), 404, "")
	})
}

func TestListIsPaged(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		var want []string
		for i := range 7 {
			want = append(want, s.user(t, fmt.Sprintf("u%d@acme.test", 6-i)))
		}
		ids := func(query string) (out []string) {
			list := s.get(t, "/Users?"+query).Want(t, 200).Object(t)
			resources, _ := list["Resources"].([]any)
			for _, r := range resources {
				id, _ := at(r, "id").(string)
				out = append(out, id)
			}
			if n, _ := list["itemsPerPage"].(float64); int(n) != len(out) {
				t.Errorf("%s: itemsPerPage is %v", query, list["itemsPerPage"])
			}
			return out
		}
		var got []string
		for start := 1; start <= 7; start += 3 {
			got = append(got, ids(fmt.Sprintf("startIndex=%d&count=3", start))...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages: got %v, want %v", got, want)
		}
		for query, want := range map[string][]string{
			"startIndex=5&count=2":    want[4:6], // into the middle, which nobody has led to
			"startIndex=0&count=2":    want[:2],
			"startIndex=-3&count=2":   want[:2],
			"startIndex=8":            nil,
			"startIndex=99999999999":  nil,
			"count=0":                 nil,
			"count=-1":                nil,
			"sortBy=userName&count=2": {want[6], want[5]},
			"sortBy=userName&sortOrder=descending&count=2":        want[:2],
			"sortBy=userName&startIndex=3&count=2":                {want[4], want[3]},
			"sortBy=emails.value&count=2":                         {want[6], want[5]}, // no index has it
			"sortBy=meta.lastModified&startIndex=7":               want[6:],
			"filter=userName+sw+%22u1%22+or+userName+sw+%22u2%22": want[4:6],
			"filter=emails.value+co+%22u1%22":                     want[5:6],
		} {
			if got := ids(query); !slices.Equal(got, want) {
				t.Errorf("%s: got %v, want %v", query, got, want)
			}
		}
		if n := s.total(t, "/Users?count=0"); n != 7 {
			t.Errorf("count=0 says %d in all", n)
		}
		refused(t, s.get(t, "/Users?startIndex=x"), 400, "invalidValue")
		refused(t, s.get(t, "/Users?sortBy=nothing"), 400, "invalidPath")
		refused(t, s.get(t, "/Users?sortBy=password"), 400, "invalidPath")
	})
}

// How many there are may have been counted a moment before. What was made since is
// there for whoever made it.
func TestListHasWhatWasJustMade(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		for i := range 4 {
			for _, query := range []string{"", "?count=0", "?count=9&startIndex=2", "?startIndex=5", "?sortBy=displayName"} {
				if n := s.total(t, "/Groups"+query); n != i {
					t.Errorf("%q says %d groups of %d", query, n, i)
				}
			}
			id := s.made(t, "/Groups", fmt.Sprintf(`{"displayName": "g%d"}`, i))
			list := s.get(t, "/Groups").Want(t, 200).Object(t)
			if at(list, "Resources", i, "id") != id {
				t.Errorf("group %d is not in the list: %v", i, list)
			}
			if got := at(s.get(t, fmt.Sprintf("/Groups?count=1&startIndex=%d", i+1)).Want(t, 200).Object(t), "Resources", 0, "id"); got != id {
				t.Errorf("on a page of its own there is %v, want %s", got, id)
			}
		}
	})
}

func TestFiltersAgreeWithTheDatabase(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		ada := s.made(t, "/Users", `{"userName": "Ada@Acme.test", "externalId": "X1", "title": "Countess", "emails": [{"type": "work", "value": "ada@acme.test"}, {"type": "home", "value": "ada@home.example"}]}`)
		s.made(t, "/Users", `{"userName": "bob@acme.test", "externalId": "x1", "active": false}`)
		group := s.made(t, "/Groups", `{"displayName": "Crew", "externalId": "G", "members": [{"value": "`+ada+`"}]}`)
		quote := func(f string) string {
			return strings.NewReplacer("%", "%25", " ", "%20", `"`, "%22", "[", "%5B", "]", "%5D").Replace(f)
		}
		for filter, want := range map[string]int{
			`userName eq "ada@acme.test"`:                            1,
			`userName eq "ADA@ACME.TEST"`:                            1,
			`userName ne "ada@acme.test"`:                            1,
			`userName sw "b"`:                                        1,
			`externalId eq "X1"`:                                     1,
			`externalId eq "X1" or externalId eq "x1"`:               2,
			`externalId eq "X1" and active eq false`:                 0,
			`id eq "` + ada + `"`:                                    1,
			`id eq "' OR 1=1 --"`:                                    0,
			`userName eq "x\" or \"1\" eq \"1"`:                      0,
			`active eq true`:                                         1,
			`not (active eq true)`:                                   1,
			`emails eq "ADA@HOME.example"`:                           1,
			`emails[type eq "home" and value eq "ada@home.example"]`: 1,
			`emails[type eq "work" and value eq "ada@home.example"]`: 0,
			`emails[type eq "work"].value eq "ada@acme.test"`:        1,
			`emails co "acme"`:                                       1,
			`title pr`:                                               1,
			`title co "ount" and userName eq "ada@acme.test"`:        1,
			`title co "%"`:                                           0,
			`title co ".*"`:                                          0,
			`groups.value eq "` + group + `"`:                        1,
			`groups eq "` + group + `" and active eq true`:           1,
			`meta.lastModified gt "2011-05-13T04:42:34Z"`:            2,
			`meta.lastModified lt "2011-05-13T04:42:34Z"`:            0,
			`meta.created ge "2011-05-13T04:42:34.5Z" and title pr`:  1,
			`userName eq "nobody@acme.test"`:                         0, // Entra ID and Okta ask this first
		} {
			if n := s.total(t, "/Users?filter="+quote(filter)); n != want {
				t.Errorf("%s: found %d, want %d", filter, n, want)
			}
		}
		for filter, want := range map[string]int{
			`displayName eq "crew"`:                                  1,
			`externalId eq "g"`:                                      0,
			`members.value eq "` + ada + `"`:                         1,
			`members[value eq "` + ada + `"] and displayName sw "c"`: 1,
			`id eq "` + group + `" and members eq "` + ada + `"`:     1, // Entra ID
			`id eq "` + group + `" and members eq "` + group + `"`:   0,
		} {
			if n := s.total(t, "/Groups?excludedAttributes=members&filter="+quote(filter)); n != want {
				t.Errorf("%s: found %d, want %d", filter, n, want)
			}
		}
		refused(t, s.get(t, "/Groups?filter="+quote(`members co "a"`)), 400, "invalidFilter")
		refused(t, s.get(t, "/Groups?filter="+quote(`displayName co "a" and members eq "`+ada+`"`)), 400, "invalidFilter")
	})
}

// C5.81, C5.82 over HTTP: a word of refusal, in time.
func TestHostileFilters(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		s.user(t, "ada@acme.test")
		for name, filter := range map[string]string{
			"quotes":          `userName eq "'" or '1' = '1'`,
			"comment":         `userName eq "a" --`,
			"password":        `password pr`,
			"password prefix": `password sw "a"`,
			"second factor":   `mfa pr`,
			"tenant":          `tenant_id pr`,
			"unknown":         `favourite eq "x"`,
			"foreign schema":  `urn:ietf:params:scim:schemas:core:2.0:Group:members pr`,
			"deep":            strings.Repeat("(", 10_000),
			"a megabyte":      `userName eq "` + strings.Repeat("a", 1<<20) + `"`,
		} {
			began := time.Now()
			body, _ := json.Marshal(map[string]any{"schemas": []string{"urn:ietf:params:scim:api:messages:2.0:SearchRequest"}, "filter": filter})
			a := s.do(t, http.MethodPost, "/Users/.search", string(body))
			if took := time.Since(began); took > time.Second {
				t.Errorf("%s took %v", name, took)
			}
			if a.Status == 413 {
				continue
			}
			refused(t, a, 400, "invalidFilter")
			if strings.Contains(string(a.Body), "ada@acme.test") {
				t.Errorf("%s: %s", name, a.Body)
			}
		}
	})
}

func TestSearchByPost(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		ada, bob := s.user(t, "ada@acme.test"), s.user(t, "bob@acme.test")
		crew := s.made(t, "/Groups", `{"displayName": "Crew", "members": [{"value": "`+ada+`"}, {"value": "`+bob+`"}]}`)
		ask := func(path, fields string) map[string]any {
			return s.do(t, http.MethodPost, path, `{"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"]`+fields+`}`).Want(t, 200).Object(t)
		}
		if got := ask("/Users/.search", `, "filter": "userName eq \"bob@acme.test\"", "attributes": ["userName"]`); at(got, "Resources", 0, "userName") != "bob@acme.test" || at(got, "Resources", 0, "name") != nil {
			t.Errorf("users: %v", got)
		}
		if got := ask("/Groups/.search", `, "sortBy": "displayName"`); at(got, "Resources", 0, "id") != crew || len(at(got, "Resources", 0, "members").([]any)) != 2 {
			t.Errorf("groups: %v", got)
		}
		all := ask("/.search", `, "startIndex": 2, "count": 2`)
		if all["totalResults"] != 3.0 || at(all, "Resources", 0, "id") != bob || at(all, "Resources", 1, "id") != crew {
			t.Errorf("both: %v", all)
		}
		if got := ask("/.search", `, "filter": "displayName eq \"crew\""`); got["totalResults"] != 1.0 {
			t.Errorf("both, filtered: %v", got)
		}
		if got := ask("/.search", `, "startIndex": 9`); got["totalResults"] != 3.0 || len(at(got, "Resources").([]any)) != 0 {
			t.Errorf("both, beyond: %v", got)
		}
		refused(t, s.do(t, http.MethodPost, "/Users/.search", `{"filter": "userName pr"}`), 400, "invalidSyntax")
	})
}

func TestAttributesShown(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		id := s.made(t, "/Users", `{"userName": "ada@acme.test", "password": "tiger", "name": {"givenName": "Ada", "familyName": "Lovelace"}, "title": "Countess",
			"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Engines", "costCenter": "7"}, "emails": [{"value": "ada@acme.test", "type": "work"}]}`)
		names := func(query string) string {
			u := s.get(t, "/Users/"+id+"?"+query).Want(t, 200).Object(t)
			var out []string
			var walk func(prefix string, m map[string]any)
			walk = func(prefix string, m map[string]any) {
				for name, v := range m {
					if sub, ok := v.(map[string]any); ok && name != "meta" {
						walk(strings.TrimPrefix(name, "urn:ietf:params:scim:schemas:extension:")+".", sub)
					} else {
						out = append(out, prefix+name)
					}
				}
			}
			walk("", u)
			slices.Sort(out)
			return strings.Join(out, " ")
		}
		const e = "enterprise:2.0:User."
		for query, want := range map[string]string{
			"":                                "active emails " + e + "costCenter " + e + "department id meta name.familyName name.givenName schemas title userName",
			"attributes=userName":             "id schemas userName",
			"attributes=USERNAME,password":    "id schemas userName",
			"attributes=name.givenName,title": "id name.givenName schemas title",
			"attributes=meta":                 "id meta schemas",
			"attributes=nothing":              "id schemas",
			"attributes=urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department":               e + "department id schemas",
			"attributes=urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":                          e + "costCenter " + e + "department id schemas",
			"excludedAttributes=emails,name,meta,urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": "active id schemas title userName",
			"excludedAttributes=name.givenName,id,schemas,emails,active,title,meta":                          e + "costCenter " + e + "department id name.familyName schemas userName",
		} {
			if got := names(query); got != want {
				t.Errorf("%s:\n got %s\nwant %s", query, got, want)
			}
		}
	})
}

func TestReplace(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		id := s.made(t, "/Users", `{"userName": "ada@acme.test", "title": "Countess", "nickName": "A", "emails": [{"value": "ada@acme.test"}]}`)
		group := s.made(t, "/Groups", `{"displayName": "Crew", "members": [{"value": "`+id+`"}]}`)
		before := s.get(t, "/Users/"+id).Object(t)
		got := s.do(t, http.MethodPut, "/Users/"+id, `{"id": "`+id+`", "userName": "ada@acme.test", "title": "Lady", "groups": [], "meta": {"created": "2001-01-01T00:00:00Z"}, "emails": [{"value": "ada@acme.test"}]}`).Want(t, 200).Object(t)
		if got["title"] != "Lady" || got["nickName"] != nil || at(got, "groups", 0, "value") != group || at(got, "meta", "created") != at(before, "meta", "created") || at(got, "meta", "version") == at(before, "meta", "version") {
			t.Errorf("got %v", got)
		}
		refused(t, s.do(t, http.MethodPut, "/Users/"+id, `{"title": "Lady"}`), 400, "invalidValue")
		refused(t, s.do(t, http.MethodPut, "/Users/"+id, `{"id": "`+group+`", "userName": "ada@acme.test"}`), 400, "mutability")
		refused(t, s.do(t, http.MethodPut, "/Users/"+group, `{"userName": "ada@acme.test"}`), 404, "")
		s.patch(t, "/Users/"+id, `{"op": "replace", "path": "active", "value": false}`).Want(t, 200)
		if got := s.do(t, http.MethodPut, "/Users/"+id, `{"userName": "ada@acme.test"}`).Want(t, 200).Object(t); got["active"] != false {
			t.Error("a replacement without a word of it lets the user in again")
		}
	})
}

// C5.92: versions.
func TestVersions(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		id := s.user(t, "ada@acme.test")
		first := s.get(t, "/Users/"+id).Header.Get("ETag")
		if a := (&site{Client: s.With("If-None-Match", first), dir: s.dir}).get(t, "/Users/"+id); a.Status != http.StatusNotModified {
			t.Errorf("the version that is known: got %d", a.Status)
		}
		current := &site{Client: s.With("If-Match", first), dir: s.dir}
		current.patch(t, "/Users/"+id, `{"op": "replace", "path": "title", "value": "x"}`).Want(t, 200)
		refused(t, current.patch(t, "/Users/"+id, `{"op": "replace", "path": "title", "value": "y"}`), 412, "")
		refused(t, current.do(t, http.MethodPut, "/Users/"+id, userBody("ada@acme.test")), 412, "")
		refused(t, current.do(t, http.MethodDelete, "/Users/"+id, nil), 412, "")
		group := s.made(t, "/Groups", `{"displayName": "Crew"}`)
		stale := &site{Client: s.With("If-Match", `W/"7"`), dir: s.dir}
		refused(t, stale.patch(t, "/Groups/"+group, `{"op": "replace", "path": "displayName", "value": "y"}`), 412, "")
		refused(t, stale.do(t, http.MethodDelete, "/Groups/"+group, nil), 412, "")
		any := &site{Client: s.With("If-Match", "*"), dir: s.dir}
		any.patch(t, "/Users/"+id, `{"op": "replace", "path": "title", "value": "z"}`).Want(t, 200)
	})
}

func TestParallelPatchesLoseNothing(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		id := s.user(t, "ada@acme.test")
		group := s.made(t, "/Groups", `{"displayName": "Crew"}`)
		var all sync.WaitGroup
		for i := range 10 {
			member := s.user(t, fmt.Sprintf("u%d@acme.test", i))
			all.Go(func() {
				s.patch(t, "/Users/"+id, fmt.Sprintf(`{"op": "add", "path": "phoneNumbers", "value": [{"value": "+49 %d"}]}`, i)).Want(t, 200)
			})
			all.Go(func() {
				s.patch(t, "/Groups/"+group, `{"op": "add", "path": "members", "value": [{"value": "`+member+`"}]}`).Want(t, 204)
			})
		}
		all.Wait()
		if n := len(at(s.get(t, "/Users/"+id).Object(t), "phoneNumbers").([]any)); n != 10 {
			t.Errorf("%d numbers", n)
		}
		if n := len(at(s.get(t, "/Groups/"+group).Object(t), "members").([]any)); n != 10 {
			t.Errorf("%d members", n)
		}
	})
}

// C5.93.
func TestOneOfFiftyCreates(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		var made, taken atomic.Int64
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				switch a := s.do(t, http.MethodPost, "/Users", userBody("ada@acme.test")); a.Status {
				case 201:
					made.Add(1)
				case 409:
					taken.Add(1)
				default:
					t.Errorf("got %d %s", a.Status, a.Body)
				}
			})
		}
		all.Wait()
		if made.Load() != 1 || taken.Load() != 49 {
			t.Errorf("%d made, %d refused", made.Load(), taken.Load())
		}
	})
}

// C5.89.
func TestBulk(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		s := newSite(t, w, w.Demo, "Acme")
		bulk := func(more string, ops ...string) apptest.Answer {
			return s.do(t, http.MethodPost, "/Bulk", `{"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"]`+more+`, "Operations": [`+strings.Join(ops, ",")+`]}`)
		}
		user := func(id, name string) string {
			return `{"method": "POST", "path": "/Users", "bulkId": "` + id + `", "data": ` + userBody(name) + `}`
		}
		group := func(id, name, member string) string {
			return `{"method": "post", "path": "/Groups", "bulkId": "` + id + `", "data": {"displayName": "` + name + `", "members": [{"value": "` + member + `"}]}}`
		}
		statuses := func(a apptest.Answer) string {
			var out []string
			ops, _ := a.Want(t, 200).Object(t)["Operations"].([]any)
			for _, op := range ops {
				text, _ := at(op, "status").(string)
				if kind, ok := at(op, "response", "scimType").(string); ok {
					text += " " + kind
				}
				out = append(out, text)
			}
			return strings.Join(out, ", ")
		}
		// The group comes first and waits for its member.
		if got := statuses(bulk("", group("g", "Crew", "bulkId:u"), user("u", "ada@acme.test"), user("v", "ada@acme.test"), user("w", "bob@acme.test"))); got != "201, 201, 409 uniqueness, 201" {
			t.Errorf("got %s", got)
		}
		crew := at(s.get(t, "/Groups").Object(t), "Resources", 0)
		if at(crew, "members", 0, "display") != "Ada Lovelace" {
			t.Errorf("the group is %v", crew)
		}
		id, _ := at(crew, "members", 0, "value").(string)
		for name, c := range map[string]struct {
			got  apptest.Answer
			want string
		}{
			"stops at the first error":  {bulk(`, "failOnErrors": 1`, user("a", "ada@acme.test"), user("b", "eve@acme.test")), "409 uniqueness"},
			"goes on before the second": {bulk(`, "failOnErrors": 2`, user("a", "ada@acme.test"), user("b", "fay@acme.test")), "409 uniqueness, 201"},
			"a circle":                  {bulk("", group("x", "X", "bulkId:y"), group("y", "Y", "bulkId:x")), "400 invalidValue, 409"},
			"of itself":                 {bulk("", group("x", "X", "bulkId:x")), "409"},
			"an unknown bulkId":         {bulk("", group("x", "X", "bulkId:nobody")), "400 invalidValue"},
			"one that has failed":       {bulk("", group("x", "X", "bulkId:u"), user("u", "ada@acme.test")), "400 invalidValue, 409 uniqueness"},
			"all methods": {bulk("", `{"method": "PATCH", "path": "/Users/`+id+`", "data": {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "path": "title", "value": "x"}]}}`,
				`{"method": "PUT", "path": "/Users/`+id+`", "data": `+userBody("ada@acme.test")+`}`, `{"method": "DELETE", "path": "/Users/`+id+`"}`, `{"method": "DELETE", "path": "/Users/`+id+`"}`), "200, 200, 204, 404"},
			"a stale version": {bulk("", `{"method": "DELETE", "path": "/Groups/`+at(crew, "id").(string)+`", "version": "W/\"99\""}`), "412"},
			"elsewhere":       {bulk("", `{"method": "POST", "path": "/Schemas", "bulkId": "s", "data": {}}`, `{"method": "GET", "path": "/Users/`+id+`"}`), "400 invalidPath, 400 invalidSyntax"},
		} {
			if got := statuses(c.got); got != c.want {
				t.Errorf("%s: got %s, want %s", name, got, c.want)
			}
		}
		many := make([]string, 1001)
		for i := range many {
			many[i] = `{"method": "DELETE", "path": "/Users/x"}`
		}
		refused(t, bulk("", many...), 413, "")
		refused(t, bulk("", `{"method": "DELETE", "path": "`+strings.Repeat("x", 1<<20)+`"}`), 413, "")
		refused(t, bulk(""), 400, "invalidSyntax")
		refused(t, bulk("", `{"method": "POST", "path": "/Users", "data": {}}`), 400, "invalidSyntax")
		refused(t, bulk("", user("a", "x@acme.test"), user("a", "y@acme.test")), 400, "invalidSyntax")
	})
}
