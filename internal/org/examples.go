package org

import (
	"encoding/json"
	"time"
)

// Examples of the API description. Ids and times are those of the contract's own
// pages, so that a reader who comes from there finds their way.
var (
	exampleMade         = time.Date(2024, 7, 15, 6, 27, 32, 3e6, time.UTC)
	exampleOrganization = Organization{
		ID: "66571f9edbf3b4061789ea5c", Name: "test", Slug: "test", WhiteList: []string{"example.com"}, IsActive: true, CreatedAt: exampleMade, ModifiedAt: exampleMade,
		Token: "org_token_cq2k021saqbs710j7ftg.edce2d27bcdf48189a1f795eda121a6a.uViYAx9kW4eV5DBYwYkSXT",
	}
	exampleAdd                = json.RawMessage(`{"Name":"test","WhiteListDomains":["example.com"],"AllowProfilesOutsideOrganization":false}`)
	exampleUpdate             = json.RawMessage(`{"Name":"test","WhiteListDomains":["example.com"],"address":"","website":"","time_zone":"","currency":""}`)
	exampleUsersOrganizations = usersOrganizations{ID: exampleUser, EmailID: "user@example.com", Organizations: []usersOrganization{
		{ID: exampleOrganization.ID, Name: "test0121", Roles: exampleNamed, IsActive: true, Status: Active},
	}}
	exampleExplanation = Explanation{
		UserID: exampleUser, OrganizationID: exampleOrganization.ID, Standing: Active,
		Roles:       []ExplainedRole{{exampleRole, "Admin", "admin", true, []string{FromManual, "scim:66571f9edbf3b4061789ea60"}}},
		Permissions: []ExplainedPermission{{"6694c133565dfee5166d1cb0", "Team View", "team_view", []string{"admin"}}},
	}

	exampleTenant       = tenantOf(exampleOrganization)
	exampleTenantWanted = json.RawMessage(`{"name":"test","display_name":"Test Inc.","domains":["example.com"],"external_id":"crm-42","metadata":{"plan":"gold"}}`)
	exampleTenantChange = json.RawMessage(`{"display_name":"Test Ltd.","policy":{"require_sso":false,"mfa":"required"}}`)
	exampleUsersTenants = usersTenants{[]usersTenant{{exampleOrganization.ID, "test", Active, []string{"example.com"}, rules{}, exampleNamed}}}
	exampleEvent        = auditEntry{
		ID: "6694c201565dfee5166d1cd2", Event: "organization.member_added", CreatedAt: exampleMade, Text: "Ann Lee became a member", Actor: "key:6694c133565dfee5166d1cc2", Result: "success",
		Detail: json.RawMessage(`{"user_id":"` + exampleUser + `","role_ids":[]}`), IPAddress: "203.0.113.7", UserAgent: "curl/8.5.0",
	}
)
