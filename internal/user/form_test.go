package user_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/user"
)

// The forms encode themselves; this is what the structs' tags say it must be.
func TestFormsFollowTheirTags(t *testing.T) {
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
			type plain user.Full // without the method
			sameJSON(t, full.AppendJSON(nil), plain(full))
		}
		type plain user.Short
		short := user.ShortForm(tenantB, u)
		sameJSON(t, short.AppendJSON(nil), plain(short))
	}
}

func sameJSON(t *testing.T, got []byte, v any) {
	t.Helper()
	var want, have any
	text, err := json.Marshal(v)
	if err != nil || json.Unmarshal(text, &want) != nil || json.Unmarshal(got, &have) != nil {
		t.Fatalf("not JSON: %s, %v", got, err)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("AppendJSON differs from the tags:\n%s", diff)
	}
}
