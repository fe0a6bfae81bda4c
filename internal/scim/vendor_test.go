package scim_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/app/apptest"
)

// A step is one request in the form that a product sends it, after its documentation.
// {user} and {group} stand for what the steps before have made, {other} for a second
// user. keep says what the answer's id becomes.
type step struct {
	method, path, body string
	status             int
	keep               string
	want               string // part of the answer
}

const (
	patchHead      = `{"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": `
	enterpriseUser = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
)

// The requests of a first synchronisation, of changes and of the end, by product.
var corpora = map[string][]step{
	"Entra ID": {
		{"GET", `/Users?filter=userName+eq+"ada@acme.test"`, "", 200, "", `"totalResults":0`},
		{"POST", "/Users", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "` + enterpriseUser + `"], "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef", "userName": "ada@acme.test", "active": true,
			"addresses": [{"primary": false, "type": "work", "country": "GB", "formatted": "London"}], "displayName": "Ada Lovelace", "emails": [{"primary": true, "type": "work", "value": "ada@acme.test"}],
			"meta": {"resourceType": "User"}, "name": {"familyName": "Lovelace", "formatted": "Ada Lovelace", "givenName": "Ada"}, "phoneNumbers": [{"primary": true, "type": "work", "value": "555"}], "preferredLanguage": "en-GB", "title": "Countess",
			"` + enterpriseUser + `": {"department": "Engines", "manager": "26118915"}, "roles": []}`, 201, "user", `"manager":{"value":"26118915"}`},
		{"GET", "/Users/{user}", "", 200, "", `"userName":"ada@acme.test"`},
		{"GET", `/Users?filter=externalId+eq+"0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef"`, "", 200, "", `"totalResults":1`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "Replace", "path": "displayName", "value": "Ada King"}, {"op": "Replace", "path": "name.familyName", "value": "King"}]}`, 200, "", `"familyName":"King"`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "Add", "path": "emails[type eq \"home\"].value", "value": "ada@home.example"}]}`, 200, "", `ada@home.example`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "Replace", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "777"}]}`, 200, "", `"value":"777"`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "Add", "path": "addresses[type eq \"work\"].locality", "value": "London"}]}`, 200, "", `"locality":"London"`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "Replace", "path": "` + enterpriseUser + `:department", "value": "Numbers"}]}`, 200, "", `"department":"Numbers"`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "Add", "path": "` + enterpriseUser + `:manager", "value": "42"}]}`, 200, "", `"manager":{"value":"42"}`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "Replace", "value": {"active": "True", "name.givenName": "Augusta", "` + enterpriseUser + `:costCenter": "7"}}]}`, 200, "", `"givenName":"Augusta"`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "Remove", "path": "` + enterpriseUser + `:manager"}]}`, 200, "", `"costCenter":"7"`},
		{"POST", "/Groups", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group", "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"], "externalId": "8aa1a0c0", "displayName": "Crew", "meta": {"resourceType": "Group"}}`, 201, "group", `"displayName":"Crew"`},
		{"GET", "/Groups/{group}?excludedAttributes=members", "", 200, "", `"id":"{group}"`},
		{"GET", `/Groups?excludedAttributes=members&filter=displayName+eq+"Crew"`, "", 200, "", `"totalResults":1`},
		{"PATCH", "/Groups/{group}", patchHead + `[{"op": "Add", "path": "members", "value": [{"$ref": null, "value": "{user}"}]}]}`, 204, "", ""},
		{"GET", `/Groups?excludedAttributes=members&filter=id+eq+"{group}"+and+members+eq+"{user}"`, "", 200, "", `"totalResults":1`},
		{"PATCH", "/Groups/{group}", patchHead + `[{"op": "Replace", "path": "displayName", "value": "Hands"}]}`, 204, "", ""},
		{"PATCH", "/Groups/{group}", patchHead + `[{"op": "Remove", "path": "members", "value": [{"value": "{user}"}]}]}`, 204, "", ""},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "Replace", "path": "active", "value": "False"}]}`, 200, "", `"active":false`},
		{"DELETE", "/Groups/{group}", "", 204, "", ""},
		{"DELETE", "/Users/{user}", "", 204, "", ""},
		{"GET", "/Users/{user}", "", 404, "", `"status":"404"`},
	},
	"Okta": {
		{"GET", "/Users?startIndex=1&count=2", "", 200, "", `"startIndex":1`},
		{"GET", `/Users?filter=userName eq "ada@acme.test"&startIndex=1&count=100`, "", 200, "", `"Resources":[]`},
		{"POST", "/Users", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada@acme.test", "name": {"givenName": "Ada", "familyName": "Lovelace"}, "emails": [{"primary": true, "value": "ada@acme.test", "type": "work"}],
			"displayName": "Ada Lovelace", "locale": "en-US", "externalId": "00ujl29u0le5T6Aj10h7", "groups": [], "password": "1mz050nq", "active": true}`, 201, "user", `"externalId":"00ujl29u0le5T6Aj10h7"`},
		{"PUT", "/Users/{user}", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "{user}", "userName": "ada@acme.test", "name": {"givenName": "Augusta", "middleName": "", "familyName": "Lovelace"},
			"emails": [{"primary": true, "value": "ada@acme.test", "type": "work", "display": "ada@acme.test"}], "active": true, "groups": [], "meta": {"resourceType": "User"}}`, 200, "", `"givenName":"Augusta"`},
		{"POST", "/Groups", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Crew", "members": [{"value": "{user}", "display": "ada@acme.test"}]}`, 201, "group", `"value":"{user}"`},
		{"PATCH", "/Groups/{group}", patchHead + `[{"op": "replace", "value": {"id": "{group}", "displayName": "Hands"}}]}`, 204, "", ""},
		{"PATCH", "/Groups/{group}", patchHead + `[{"op": "remove", "path": "members[value eq \"{user}\"]"}, {"op": "add", "path": "members", "value": [{"value": "{user}", "display": "ada@acme.test"}]}]}`, 204, "", ""},
		{"PUT", "/Groups/{group}", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "id": "{group}", "displayName": "Hands", "members": []}`, 200, "", `"members":[]`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "replace", "value": {"active": false}}]}`, 200, "", `"active":false`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "replace", "value": {"active": true}}]}`, 200, "", `"active":true`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "replace", "value": {"password": "8h2k"}}]}`, 200, "", `"id":"{user}"`},
		{"DELETE", "/Groups/{group}", "", 204, "", ""},
	},
	"OneLogin": {
		{"GET", "/Users?count=1", "", 200, "", `"itemsPerPage":0`},
		{"POST", "/Users", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "` + enterpriseUser + `"], "userName": "ada", "externalId": "122", "name": {"givenName": "Ada", "familyName": "Lovelace", "formatted": "Ada Lovelace"},
			"emails": [{"value": "ada@acme.test", "type": "work", "primary": true}], "active": true, "` + enterpriseUser + `": {"employeeNumber": 17}}`, 201, "user", `"employeeNumber":"17"`},
		{"GET", `/Groups?filter=displayName eq "Crew"`, "", 200, "", `"totalResults":0`},
		{"POST", "/Groups", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Crew"}`, 201, "group", ""},
		{"PATCH", "/Groups/{group}", patchHead + `[{"op": "add", "path": "members", "value": [{"value": "{user}"}]}]}`, 204, "", ""},
		{"PATCH", "/Groups/{group}", patchHead + `[{"op": "replace", "path": "members", "value": [{"value": "{user}"}]}]}`, 204, "", ""},
		{"PUT", "/Users/{user}", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada", "externalId": "122", "name": {"givenName": "Ada", "familyName": "King"}, "emails": [{"value": "ada@acme.test", "type": "work", "primary": true}], "active": true}`, 200, "", `"familyName":"King"`},
		{"PATCH", "/Users/{user}", patchHead + `{"op": "replace", "path": "active", "value": false}}`, 400, "", "invalidSyntax"},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "replace", "path": "active", "value": false}]}`, 200, "", `"active":false`},
		{"DELETE", "/Users/{user}", "", 204, "", ""},
	},
	"JumpCloud": {
		{"GET", `/Users?filter=userName%20eq%20%22ada%40acme.test%22`, "", 200, "", `"totalResults":0`},
		{"POST", "/Users", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada@acme.test", "displayName": "", "name": {"familyName": "Lovelace", "givenName": "Ada", "middleName": "", "honorificPrefix": ""}, "active": true,
			"emails": [{"value": "ada@acme.test", "type": "work", "primary": true}], "phoneNumbers": [], "addresses": [], "nickName": null, "externalId": ""}`, 201, "user", `"userName":"ada@acme.test"`},
		{"PUT", "/Users/{user}", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "{user}", "userName": "ada@acme.test", "active": false, "emails": [{"value": "ada@acme.test", "type": "work", "primary": true}]}`, 200, "", `"active":false`},
		{"POST", "/Groups", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Crew", "members": []}`, 201, "group", ""},
		{"PATCH", "/Groups/{group}", patchHead + `[{"op": "add", "path": "members", "value": [{"value": "{user}"}]}]}`, 204, "", ""},
		{"PATCH", "/Groups/{group}", patchHead + `[{"op": "remove", "path": "members[value eq \"{user}\"]"}]}`, 204, "", ""},
		{"PUT", "/Groups/{group}", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Hands", "members": [{"value": "{user}", "type": "User"}]}`, 200, "", `"displayName":"Hands"`},
	},
	"Ping": {
		{"GET", "/ServiceProviderConfig", "", 200, "", `"patch":{"supported":true}`},
		{"GET", `/Users?filter=userName eq "ada@acme.test"&attributes=id,userName`, "", 200, "", `"totalResults":0`},
		{"POST", "/Users", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "` + enterpriseUser + `"], "userName": "ada@acme.test", "name": {"givenName": "Ada", "familyName": "Lovelace"}, "emails": [{"value": "ada@acme.test", "type": "Work", "primary": "true"}], "active": "true"}`, 201, "user", `"primary":true`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "add", "path": "` + enterpriseUser + `:manager.value", "value": "77"}, {"op": "replace", "path": "emails[primary eq true].value", "value": "ada.king@acme.test"}, {"op": "remove", "path": "title"}]}`, 200, "", `ada.king@acme.test`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "add", "path": "emails", "value": [{"value": "second@acme.test", "type": "other", "primary": true}]}]}`, 200, "", `"primary":false`},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "replace", "path": "emails[type eq \"nowhere\" or type eq \"elsewhere\"].value", "value": "x@acme.test"}]}`, 400, "", "noTarget"},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "replace", "path": "title", "value": "x"}, {"op": "replace", "path": "nothing", "value": "x"}]}`, 400, "", "invalidPath"},
		{"GET", "/Users/{user}?attributes=title", "", 200, "", `{"id":"{user}","schemas"`}, // none of the two was done
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "remove"}]}`, 400, "", "noTarget"},
		{"PATCH", "/Users/{user}", patchHead + `[{"op": "move", "path": "title"}]}`, 400, "", "invalidSyntax"},
	},
}

func TestProductsAreUnderstood(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		n := 0
		for name, steps := range corpora {
			n++
			s := newSite(t, w, w.Tenant(t, fmt.Sprintf("t%d", n)), name)
			kept := []string{}
			for i, step := range steps {
				fill := strings.NewReplacer(kept...).Replace
				path := strings.ReplaceAll(fill(step.path), " ", "%20")
				path = strings.ReplaceAll(path, `"`, "%22")
				var body any
				if step.body != "" {
					body = fill(step.body)
				}
				a := s.do(t, step.method, path, body)
				if a.Status != step.status || !strings.Contains(string(a.Body), fill(step.want)) {
					t.Errorf("%s, step %d: %s %s: got %d %s, want %d with %s", name, i+1, step.method, path, a.Status, a.Body, step.status, fill(step.want))
				}
				if step.keep != "" {
					id, _ := a.Object(t)["id"].(string)
					kept = append(kept, "{"+step.keep+"}", id)
				}
			}
		}
	})
}
