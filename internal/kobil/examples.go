package kobil

import (
	"encoding/json"
	"time"

	"github.com/cardea-id/cardea/internal/tenant"
)

// Examples of the API description.

var (
	exampleForm = userForm{
		ID: "6694c154565dfee5166d1cc7", Username: "ada", FirstName: "Ada", Email: "ada@example.com", Enabled: true,
		Attributes: map[string][]*string{
			"digitaniumCreateActivation": {new("true")},
			"username":                   {new("ada")}, "email": {new("ada@example.com")}, "firstName": {new("Ada")}, "lastName": {nil},
		},
		RequiredActions: []string{},
	}

	exampleList = usersFetched(userList{
		UserList: []listedUser{{Username: "ada", Enabled: true, Attributes: map[string][]string{"digitaniumCreateActivation": {"true"}}, RequiredActions: []string{}}},
		Page:     page{PageSize: 2, TotalRecords: 5, TotalPages: 3, CurrentPage: 1},
	})
	exampleUser    = userFetched(exampleForm)
	exampleCreated = userCreated(exampleForm)
	exampleUpdated = userReplaced(exampleForm)

	exampleCreate = json.RawMessage(`{"username":"ada","firstName":"Ada","email":"ada@example.com","enabled":true,` +
		`"attributes":{"digitaniumCreateActivation":["true"]},"credentials":[{"type":"password","value":"correct horse battery","temporary":true}],"realmRoles":["digitanium_user"]}`)
	exampleUpdate  = json.RawMessage(`{"firstName":"Ada","enabled":true,"emailVerified":false,"attributes":{"digitaniumCreateActivation":["true"]}}`)
	exampleProfile = json.RawMessage(`{"firstName":"Ada","lastName":"Lovelace","attributes":{"city":"London"}}`)
	exampleEnable  = json.RawMessage(`{"enabled":true}`)

	exampleListed     = listedTenant{Name: "acme", Type: tenant.KindSSMS, Enabled: true, AdminUsername: "root", UserCount: 1, RealmCreationStatus: "ACTIVE"}
	exampleTenantForm = tenantForm{ID: "acme", Realm: "acme", listedTenant: exampleListed, CreatedTimeOfTheUser: time.Date(2024, 7, 15, 6, 27, 32, 0, time.UTC).Format(time.RFC3339)}
	exampleTenants    = tenantsFetched([]listedTenant{exampleListed})
	exampleTenant     = tenantFetched(exampleTenantForm)
	exampleTenantMade = tenantCreated(exampleTenantForm)
	exampleStatus     = statusForm(tenant.Tenant{IsActive: true})
	exampleNewTenant  = json.RawMessage(`{"realm":"acme","type":"SSMS","adminUsername":"root","adminPassword":"correct horse battery"}`)
)
