package role

import (
	"encoding/json"
	"time"
)

// Examples of the API description. Ids are in the contract's form.

const (
	exampleRoleID       = "6694c133565dfee5166d1cb9"
	examplePermissionID = "6694c133565dfee5166d1cb7"
)

var (
	exampleAt         = time.Date(2024, 7, 15, 6, 27, 32, 0, time.UTC)
	examplePermission = Permission{ID: examplePermissionID, Name: "Team View", Slug: TeamView, Description: "Team View", BuiltIn: true, IsActive: true, CreatedAt: exampleAt, ModifiedAt: exampleAt}
	exampleReports    = Permission{ID: "6694c154565dfee5166d1cc8", Name: "Read reports", Slug: "read:reports", Description: "Sees the monthly reports", IsActive: true, CreatedAt: exampleAt, ModifiedAt: exampleAt}

	exampleOwner     = Role{ID: "6694c133565dfee5166d1cb8", Name: "Owner", Slug: Owner, Description: "Owner Role", PermissionIDs: []string{examplePermissionID}, BuiltIn: true, IsActive: true, CreatedAt: exampleAt, ModifiedAt: exampleAt}
	exampleDeveloper = Role{ID: "6694c133565dfee5166d1cba", Name: "Developer", Slug: "developer", Description: "Developer Role", BuiltIn: true, IsActive: true, CreatedAt: exampleAt, ModifiedAt: exampleAt}
	exampleMade      = Role{ID: exampleRoleID, Name: "test", Slug: "test", Description: "test", IsActive: true, CreatedAt: exampleAt, ModifiedAt: exampleAt}
	exampleChanged   = Role{ID: exampleRoleID, Name: "test", Slug: "test", Description: "test", PermissionIDs: []string{examplePermissionID}, IsActive: true, CreatedAt: exampleAt, ModifiedAt: exampleAt}

	exampleRoleWanted       = json.RawMessage(`{"name":"test","slug":"test","description":"test"}`)
	exampleRoleChange       = json.RawMessage(`{"name":"test","slug":"test","description":"test","permission_id":["` + examplePermissionID + `"]}`)
	exampleAssignment       = json.RawMessage(`{"id":"` + exampleRoleID + `","permission_ids":["` + examplePermissionID + `"]}`)
	examplePermissionWanted = json.RawMessage(`{"name":"Read reports","slug":"read:reports","description":"Sees the monthly reports"}`)
	examplePermissionChange = json.RawMessage(`{"name":"Read reports","slug":"read:reports","description":"Sees all reports"}`)
)
