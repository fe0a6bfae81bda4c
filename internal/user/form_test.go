package user_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/user"
)

// The full form encodes itself; this is what the struct's tags say it must be.
func TestFullFormFollowsItsTags(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	for _, u := range []user.User{
		{ID: tenantA},
		{ID: tenantA, Username: "ann", Email: "ann@example.com", Phone: "+4915112345678", FirstName: `A"n\n`, LastName: "Lée\u2028<&>\t", EmailVerified: true, IsActive: true,
			Groups: json.RawMessage(`{}`), Attributes: json.RawMessage(`{"a":[1,"ü"]}`), RoleIDs: []string{tenantA, tenantB}, CreatedAt: at, ModifiedAt: at, LastLoginAt: at},
	} {
		for _, organization := range []string{"", tenantB} {
			full := user.FullForm(tenantB, u)
			full.OrganizationID = organization
			got := full.AppendJSON(nil)
			type plain user.Full // without the method
			var want, have any
			text, err := json.Marshal(plain(full))
			if err != nil {
				t.Fatal(err)
			}
			if len(got) == 0 || json.Unmarshal(text, &want) != nil || json.Unmarshal(got, &have) != nil {
				t.Fatalf("not JSON: %s", got)
			}
			again, _ := json.Marshal(have)
			wanted, _ := json.Marshal(want)
			if string(again) != string(wanted) {
				t.Errorf("AppendJSON = %s\nwant      %s", got, text)
			}
		}
	}
}
