package signin

import (
	"encoding/json"
	"time"

	"github.com/cardea-id/cardea/internal/user"
)

// Examples of the API description, with the contract's own values where it has some.

const (
	exampleHandle    = "646616daf9a276fa9a6446a1"
	exampleID        = "64661662aadfbd0e2a83172a"
	exampleSessionID = "6694b09b68c33a9e3b8416b4"
	exampleAccess    = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjY2OTRjMTMzNTY1ZGZlZTUxNjZkMWNiNiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIn0.c2lnbmF0dXJl"
	exampleRefresh   = "rt_ZpTBVFZd_uUWbRzHAAAAAaPcN1bzBzBAOgfXS4LkB24"
)

var exampleAt = time.Date(2023, 5, 18, 12, 13, 22, 179e6, time.UTC)

var (
	exampleEmail = json.RawMessage(`{"email":"user@example.com"}`)
	examplePhone = json.RawMessage(`{"phone_id":"+4915112345678"}`)
	exampleAgain = json.RawMessage(`{"state":"` + exampleHandle + `"}`)
	exampleCode  = json.RawMessage(`{"state":"` + exampleHandle + `","otp":"402195"}`)

	exampleState      = stateAnswer{exampleHandle}
	examplePhoneState = phoneStateAnswer{exampleHandle, exampleHandle}
	exampleResult     = authResult{
		Authenticated: true, AccessToken: exampleAccess, RefreshToken: exampleRefresh, TokenType: "Bearer", ExpiresAt: stamp(exampleAt.Add(15*time.Minute), expiryForm),
		Profile: exampleProfile,
	}
	examplePhoneResult = phoneResult{exampleResult, "success", "You are signed in."}
	exampleStatus      = pingStatus{
		Authenticated: true,
		OAuth:         &oauth{AccessToken: exampleAccess, RefreshToken: exampleRefresh, ExpiresAt: stamp(exampleAt.Add(15*time.Minute), expiryForm), TokenType: "Bearer"},
		User: &loginUser{
			CreatedAt: stamp(exampleAt, stampForm), UpdatedAt: stamp(exampleAt, stampForm), Issuer: "https://id.example.com", UserID: exampleID,
			Identifier: "user@example.com", Email: "user@example.com", LastLoginAt: stamp(exampleAt, stampForm),
		},
	}
	exampleIdentifier = json.RawMessage(`{"identifier":"user@example.com"}`)
	exampleEnroll     = json.RawMessage(`{"authenticator_type":"otp"}`)
	exampleInitiate   = json.RawMessage(`{"authenticator_type":"otp","oob_channels":"sms"}`)
	exampleValidate   = json.RawMessage(`{"oob_code":"oob_ZpTBVFZd_uUWbRzHLoQgQ2x2x1Qm5Jt7nXy0Rw","otp":"802895"}`)
	exampleReset      = json.RawMessage(`{"link":true}`)

	exampleMFAToken      = mfaTokenAnswer{"mfa_ZpTBVFZd_uUWbRzHLoQgQ2x2x1Qm5Jt7nXy0Rw", "Bearer", 3600, stamp(exampleAt.Add(time.Hour), expiryForm)}
	exampleAuthenticator = authenticatorForm{ID: exampleID, Type: typeOTP, Name: "Phone", Active: true}
	exampleEnrolled      = enrollAnswer{exampleID, typeOTP, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "otpauth://totp/Acme:user@example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Acme"}
	exampleInitiated     = initiateAnswer{"oob_ZpTBVFZd_uUWbRzHLoQgQ2x2x1Qm5Jt7nXy0Rw", typeOOB, "sms"}
	exampleValidated     = validateAnswer{Validated: true}

	exampleWays = ways{"user@example.com", []string{"magic_link", "magic_otp", "password"}}

	exampleProfile = user.ShortForm("6694c133565dfee5166d1cb6", user.User{
		ID: exampleID, Email: "user@example.com", FirstName: "John", LastName: "Doe", IsActive: true, CreatedAt: exampleAt, ModifiedAt: exampleAt, LastLoginAt: exampleAt,
	})
	exampleSession = sessionForm{
		ID: exampleSessionID, ApplicationID: "6694c133565dfee5166d1cb7", AMR: []string{"otp"}, ACR: ACROneFactor, AuthenticatedAt: exampleAt, CreatedAt: exampleAt, LastSeenAt: exampleAt,
		ExpiresAt: exampleAt.Add(30 * 24 * time.Hour), IPAddress: "203.0.113.7", Name: "Firefox", OS: "Windows", Device: "desktop", Country: "Germany", City: "Berlin",
	}
	exampleCurrent = current{Session: exampleSession, User: exampleProfile}
)
