package samlxml_test

import (
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/sso/samlxml"
)

// What the provider "samlp" answered, recorded by e2e/clients/saml/record.js.
func TestRecordedResponses(t *testing.T) {
	t.Parallel()
	raw, err := testdata.ReadFile("testdata/samlp.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		At      time.Time
		Samples map[string]string
	}
	if err := json.Unmarshal(raw, &recorded); err != nil {
		t.Fatal(err)
	}
	refusals := map[string]samlxml.Cause{"encrypted with CBC": samlxml.CauseAlgorithm, "signed with SHA-1": samlxml.CauseAlgorithm}
	if len(recorded.Samples) < 8 {
		t.Fatalf("%d samples", len(recorded.Samples))
	}
	for name, text := range recorded.Samples {
		t.Run(name, func(t *testing.T) {
			response, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			e := expect()
			e.Now, e.RequestedAt = recorded.At.Add(time.Second), recorded.At
			got, _, err := samlxml.Verify(response, e)
			if c := cause(t, err); c != refusals[name] {
				t.Fatalf("cause %q, want %q: %v\n%s", c, refusals[name], err, response)
			}
			if err != nil {
				return
			}
			values := map[string]string{}
			for _, a := range got.Attributes {
				values[a.Name] = a.Values[0]
			}
			const claims = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
			if got.NameID != "alice" || got.SessionIndex != "_session" || values[claims+"emailaddress"] != "alice@acme.test" ||
				values[claims+"surname"] != "Müller" || values[claims+"name"] != "Alice & <Bob>" {
				t.Errorf("%+v", got)
			}
		})
	}
}
