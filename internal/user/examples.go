package user

import (
	"encoding/json"
	"time"

	"github.com/cardea-id/cardea/internal/secret"
)

// Examples of the API description. Ids and times are those of the contract's own
// pages, so that a reader who comes from there finds their way.

const (
	exampleID      = "6694c154565dfee5166d1cc7"
	exampleAccount = "6694c133565dfee5166d1cb6"
	exampleRole    = "6694c133565dfee5166d1cb9"
)

var (
	exampleMade    = stamp(time.Date(2024, 7, 15, 6, 27, 32, 3e6, time.UTC))
	exampleChanged = stamp(time.Date(2024, 7, 15, 7, 2, 11, 481e6, time.UTC))
)

func exampleFull() Full {
	return Full{
		ID: exampleID, AccountID: exampleAccount, ConnectionID: "6694c133565dfee5166d1cbc", Email: "user@example.com",
		FirstName: "John", LastName: "Doe", CreatedAt: exampleMade, ModifiedAt: exampleMade, IsActive: true,
	}
}

func exampleCreated() Full {
	u := exampleFull()
	u.OrganizationID = secret.ZeroID
	return u
}

func exampleUpdated() Full {
	u := exampleFull()
	u.Groups, u.RawAttributes = json.RawMessage(`{}`), json.RawMessage(`{"test":"abc","test2":"abbc2"}`)
	u.ModifiedAt = exampleChanged
	return u
}

func exampleVerified() Full {
	u := exampleFull()
	u.EmailVerified, u.ModifiedAt = true, exampleChanged
	return u
}

func exampleWithRole() Full {
	u := exampleFull()
	u.Roles, u.ModifiedAt = []string{exampleRole}, exampleChanged
	return u
}

var (
	exampleShort = Short{
		ID: exampleID, AccountID: exampleAccount, ConnectionType: "ManualUser", Email: "user@example.com",
		FirstName: "John", LastName: "Doe", CreatedAt: exampleMade, ModifiedAt: exampleMade, IsActive: true,
	}
	exampleLoginLogs = loginLogs{LoginLogs: []loginLog{{
		IPAddress: "203.0.113.7", Country: "Germany", City: "Berlin", UserAgent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:130.0) Gecko/20100101 Firefox/130.0",
		Name: "Firefox", OS: "Windows", Device: "desktop", CreatedAt: exampleChanged,
	}}}

	exampleCreate = json.RawMessage(`{"first_name":"John","last_name":"Doe","email":"user@example.com"}`)
	exampleUpdate = json.RawMessage(`{"email":"user@example.com","first_name":"John","last_name":"Doe","groups":{},"raw_attributes":{"test":"abc","test2":"abbc2"}}`)
	exampleVerify = json.RawMessage(`{"verification_status":"true"}`)
	exampleRoles  = json.RawMessage(`{"role_id":["` + exampleRole + `"]}`)
)
