package signin

import (
	"encoding/json"

	"github.com/cardea-id/cardea/internal/passkey"
)

// Examples of the passkey calls, with the contract's own values.

const (
	exampleChallenge = "Z2l2ZW4tb3V0LWJ5LXRoZS1zZXJ2ZXItMzItYnl0ZXM"
	exampleKey       = "iQ9QtdIyXoN1WAdxOAR9foSd24s"
)

var (
	exampleAssertion = json.RawMessage(`{"id":"` + exampleKey + `","rawId":"` + exampleKey + `","type":"public-key","authenticatorAttachment":"platform","clientExtensionResults":{},` +
		`"response":{"clientDataJSON":"eyJ0eXBlIjoid2ViYXV0aG4uZ2V0In0","authenticatorData":"c2lnbmVk","signature":"MEUCIQ","userHandle":"NjQ2NjE2NjJhYWRmYmQwZTJhODMxNzJh"}}`)
	exampleAttestation = json.RawMessage(`{"id":"` + exampleKey + `","rawId":"` + exampleKey + `","type":"public-key","authenticatorAttachment":"platform","clientExtensionResults":{},` +
		`"response":{"clientDataJSON":"eyJ0eXBlIjoid2ViYXV0aG4uY3JlYXRlIn0","attestationObject":"o2NmbXRkbm9uZQ","transports":["internal"]}}`)

	examplePasskeyLogin = passkeyLogin{"6694b09b68c33a9e3b8416b4", passkey.RequestOptions{Challenge: exampleChallenge, Timeout: 300000, RPID: "id.example.com", UserVerification: "preferred"}}

	examplePasskeyResult   = passkeyResult{exampleResult, exampleAccess, exampleID}
	examplePasskeyRegister = passkeyRegister{"6694ba22295723f812d44565", exampleCreation()}
	examplePasskeyAdded    = passkeyAdded{examplePasskey, passkeyDone{"success", "The passkey is registered."}}
	examplePasskeyStatus   = passkeyStatus{"pending", stamp(exampleAt.Add(passkey.ChallengeLifetime), expiryForm)}

	examplePasskey = passkeyForm{
		ID: exampleKey, LastUsedAt: stamp(exampleAt, stampForm), CreatedAt: stamp(exampleAt, stampForm), UpdatedAt: "0001-01-01T00:00:00Z",
		PublicKey: "pQECAyYgASFYIA", AttestationType: "none", AAGUID: "ea9b8d66-4d01-1d21-3ce4-b6b48cb575d4", Transports: []string{"hybrid", "internal"}, BackupEligible: true, BackupState: true,
	}
)

func exampleCreation() (o passkey.CreationOptions) {
	o.RP.Name, o.RP.ID = "Example", "id.example.com"
	o.User.Name, o.User.DisplayName, o.User.ID = "user@example.com", "user@example.com", "NjQ2NjE2NjJhYWRmYmQwZTJhODMxNzJh"
	o.Challenge, o.Timeout, o.Attestation = exampleChallenge, 300000, "none"
	o.Parameters = []passkey.Parameter{{Type: "public-key", Algorithm: -7}, {Type: "public-key", Algorithm: -257}, {Type: "public-key", Algorithm: -8}}
	o.Selection = passkey.Selection{Attachment: "platform", RequireResidentKey: true, ResidentKey: "required", UserVerification: "preferred"}
	o.Extensions.CredentialProperties = true
	return o
}
