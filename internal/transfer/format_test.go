package transfer_test

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/transfer"
	"github.com/cardea-id/cardea/internal/user"
)

// fixture imports a file of testdata, whose format is found out, and checks that
// and the counts.
func (b *bench) fixture(t *testing.T, name, format string, created int, refused []string, o transfer.Options) {
	t.Helper()
	o.File = filepath.Join("testdata", name)
	got, report := b.load(t, o)
	if got.Format != format || got.State != transfer.Done {
		t.Errorf("format %q, state %q, want %q and done", got.Format, got.State, format)
	}
	if diff := cmp.Diff(refused, codes(report)); diff != "" {
		t.Errorf("refused (-want +got):\n%s%+v", diff, report)
	}
	if got.Created != int64(created) || got.Refused != int64(len(refused)) || got.Records != int64(created+len(refused)) || got.Total != got.Records {
		t.Errorf("result %+v, want %d created, %d refused", got, created, len(refused))
	}
}

// checkUser compares a user but for what differs from run to run.
func checkUser(t *testing.T, got, want user.User) {
	t.Helper()
	want.ID, want.ConnectionID = got.ID, got.ConnectionID
	for _, pair := range [][2]*time.Time{{&got.CreatedAt, &want.CreatedAt}, {&got.ModifiedAt, &want.ModifiedAt}} {
		if pair[1].IsZero() {
			*pair[0] = time.Time{}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("user (-want +got):\n%s", diff)
	}
}

func TestImportReadsOwnLines(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fixture(t, "own.jsonl", "jsonl", 14, []string{}, transfer.Options{Roles: true})
		for _, login := range []string{
			"own.bcrypt@example.com", "md5crypt@example.com", "sha256crypt@example.com", "sha512crypt@example.com", "apr1@example.com", "phpass@example.com",
			"sha1salted@example.com", "sha512salted@example.com", "pbkdf2columns@example.com", "scrypt@example.com", "django@example.com", "keycloak@example.com", "no.mail",
		} {
			b.checkPassword(t, b.find(t, login), typed)
		}
		u := b.find(t, "NO.MAIL")
		if len(u.RoleIDs) != 1 {
			t.Errorf("roles %v, want the developer's", u.RoleIDs)
		}
		u.RoleIDs = nil
		created := time.Date(2020, 2, 3, 4, 5, 6, 789e6, time.UTC)
		checkUser(t, u, user.User{
			Username: "no.mail", Groups: json.RawMessage(`["a","b"]`), Attributes: json.RawMessage(`{"n":1.5,"deep":{"x":[1,2]}}`), RequiredActions: []string{"VERIFY_EMAIL"},
			CreatedAt: created, ModifiedAt: created, LastLoginAt: time.Date(2021, 2, 3, 4, 5, 6, 0, time.UTC),
		})
		if _, due, _ := password.Find(t.Context(), b.DB, b.by.Tenant, u.ID); due != password.Temporary {
			t.Error("the password is not temporary")
		}
		checkUser(t, b.find(t, "+4915112345678"), user.User{Phone: "+4915112345678", PhoneVerified: true, IsActive: true})
		checkUser(t, b.find(t, "own.bcrypt@example.com"), user.User{Email: "own.bcrypt@example.com", EmailVerified: true, FirstName: "Ünal", LastName: "Öztürk", IsActive: true})
	})
}

func TestImportLeavesRolesOutUnlessAsked(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fixture(t, "own.jsonl", "jsonl", 14, []string{}, transfer.Options{})
		if n := b.count(t, "user_roles"); n != 0 {
			t.Errorf("%d roles given", n)
		}
	})
}

func TestImportMapsCSV(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		mapping, err := transfer.ParseMap([]string{"email=E-Mail,first_name=vorname", "last_name=Nachname", "phone=Telefon", "is_active=Aktiv", "attributes.plan=Tarif", "password_hash=Kennwort"})
		if err != nil {
			t.Fatal(err)
		}
		b.fixture(t, "people.csv", "csv", 2, []string{"1 invalid_record", "3 invalid_user"}, transfer.Options{Map: mapping})
		ben := b.find(t, "ben@example.com")
		checkUser(t, ben, user.User{Email: "ben@example.com", FirstName: "Ben", LastName: "Müller", Phone: "+4915112345680", IsActive: true, Attributes: json.RawMessage(`{"plan":"basis"}`)})
		b.checkPassword(t, ben, typed)
		checkUser(t, b.find(t, "dora@example.com"), user.User{Email: "dora@example.com", FirstName: "=Dora", LastName: "O'Hara"})
	})
}

func TestImportReadsSSOJet(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fixture(t, "ssojet.json", "ssojet", 2, []string{}, transfer.Options{})
		u := b.find(t, "user@example.com")
		if u.ID != "6694c154565dfee5166d1cc7" {
			t.Errorf("id %s was not kept", u.ID)
		}
		checkUser(t, u, user.User{
			Email: "user@example.com", FirstName: "Uma", LastName: "Sen", EmailVerified: true, IsActive: true, Attributes: json.RawMessage(`{"test":"abc"}`),
			CreatedAt: time.Date(2024, 7, 15, 6, 26, 59, 6e6, time.UTC), ModifiedAt: time.Date(2024, 7, 15, 6, 27, 32, 3e6, time.UTC),
		})
		if u := b.find(t, "other@example.com"); u.IsActive || !u.LastLoginAt.IsZero() {
			t.Errorf("other is %+v", u)
		}
	})
}

func TestImportReadsKeycloak(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fixture(t, "keycloak.json", "keycloak", 5, []string{"6 invalid_record", "7 invalid_password_hash"}, transfer.Options{})
		ada := b.find(t, "ada")
		created := time.UnixMilli(1690000000000).UTC()
		checkUser(t, ada, user.User{
			Username: "ada", Email: "ada@example.com", EmailVerified: true, FirstName: "Ada", LastName: "Lovelace", IsActive: true, CreatedAt: created, ModifiedAt: created,
			Groups: json.RawMessage(`["/staff"]`), Attributes: json.RawMessage(`{"external_id":"cfb55bf6-fcbb-4a1e-bfec-30c6649b52f8","locale":["en"],"phone":["1","2"]}`),
		})
		grace := b.find(t, "grace@example.com")
		if _, due, _ := password.Find(t.Context(), b.DB, b.by.Tenant, grace.ID); due != password.Temporary || grace.Username != "" {
			t.Errorf("grace's password is not temporary, or her address her username: %+v", grace)
		}
		for _, login := range []string{"ada", "grace@example.com", "alan", "old", "plugin"} {
			b.checkPassword(t, b.find(t, login), typed)
		}
		if b.find(t, "alan").IsActive {
			t.Error("alan is enabled")
		}
	})
}

func TestImportRefusesUnknownRoles(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fixture(t, "keycloak.json", "keycloak", 4, []string{"2 unknown_role", "6 invalid_record", "7 invalid_password_hash"}, transfer.Options{Roles: true})
		if u := b.find(t, "ada"); len(u.RoleIDs) != 1 {
			t.Errorf("ada has roles %v", u.RoleIDs)
		}
	})
}

func TestImportReadsAuth0(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fixture(t, "auth0.jsonl", "auth0", 10, []string{"11 invalid_password_hash"}, transfer.Options{})
		for _, name := range []string{"hash", "euclid", "custom.md5", "custom.sha256", "custom.hmac", "custom.scrypt", "custom.pbkdf2", "custom.argon2", "custom.ldap"} {
			b.checkPassword(t, b.find(t, name+"@example.com"), typed)
		}
		checkUser(t, b.find(t, "euclid@example.com"), user.User{Email: "euclid@example.com", EmailVerified: true, IsActive: true, Attributes: json.RawMessage(`{"external_id":"auth0|euclid"}`)})
		checkUser(t, b.find(t, "social@example.com"), user.User{
			Email: "social@example.com", EmailVerified: true, FirstName: "Sofia", LastName: "Kowalewskaja",
			Attributes: json.RawMessage(`{"app_metadata":{"plan":"pro"},"external_id":"google-oauth2|1","nickname":"sofia","picture":"https://example.com/s.png","user_metadata":{"theme":"dark"}}`),
			CreatedAt:  time.Date(2020, 1, 2, 3, 4, 5, 678e6, time.UTC), ModifiedAt: time.Date(2021, 1, 2, 3, 4, 5, 678e6, time.UTC), LastLoginAt: time.Date(2022, 1, 2, 3, 4, 5, 678e6, time.UTC),
		})
		b.fixture(t, "auth0.json", "auth0", 1, []string{"1 user_exists"}, transfer.Options{})
		b.checkPassword(t, b.find(t, "plain.import@example.com"), typed)
	})
}

var firebase = transfer.Firebase{
	SignerKey:     "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==",
	SaltSeparator: "Bw==", Rounds: 8, MemCost: 14,
}

func TestImportReadsFirebase(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fixture(t, "firebase.json", "firebase", 2, []string{"1 invalid_password_hash"}, transfer.Options{})
		b.fixture(t, "firebase.json", "firebase", 1, []string{"2 user_exists", "3 user_exists"}, transfer.Options{Firebase: firebase})
		u := b.find(t, "user1@example.com")
		b.checkPassword(t, u, "user1password")
		checkUser(t, u, user.User{
			Email: "user1@example.com", EmailVerified: true, FirstName: "Ann Marie", LastName: "Miller", IsActive: true, LastLoginAt: time.UnixMilli(1620956573071).UTC(),
			Attributes: json.RawMessage(`{"custom_claims":{"role":"admin"},"external_id":"abcdefg","picture":"https://example.com/a.png"}`),
		})
		checkUser(t, b.find(t, "+4915112345678"), user.User{Phone: "+4915112345678", PhoneVerified: true, Attributes: json.RawMessage(`{"external_id":"phoneonly"}`)})
	})
}

func TestImportReadsCognito(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fixture(t, "cognito.csv", "cognito", 3, []string{"4 invalid_user", "5 invalid_email"}, transfer.Options{})
		modified := time.Unix(1600000000, 0).UTC()
		ada := b.find(t, "ada")
		ada.CreatedAt = time.Time{}
		if ada.ModifiedAt != modified {
			t.Errorf("modified at %s", ada.ModifiedAt)
		}
		checkUser(t, ada, user.User{
			Username: "ada", Email: "ada@example.com", EmailVerified: true, Phone: "+441632960001", FirstName: "Ada", LastName: "Lovelace", IsActive: true,
			Attributes: json.RawMessage(`{"address":"1 High Street, London","custom:plan":"pro","locale":"en-GB","nickname":"ada","zoneinfo":"Europe/London"}`),
		})
		checkUser(t, b.find(t, "alan@example.com"), user.User{
			Email: "alan@example.com", EmailVerified: true, FirstName: "Alan", LastName: "Turing", IsActive: true, Attributes: json.RawMessage(`{"external_id":"7c9e6679-7425-40de-944b-e07fc1f90ae7"}`),
		})
		if u := b.find(t, "grace@example.com"); u.Username != "" || u.EmailVerified {
			t.Errorf("grace is %+v", u)
		}
	})
}

func TestImportReadsClerk(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fixture(t, "clerk.csv", "clerk", 10, []string{"11 invalid_password_hash"}, transfer.Options{})
		for _, login := range []string{"ada", "alan@example.com", "sha256@example.com", "p1@example.com", "p256@example.com", "p512@example.com", "dj@example.com", "wz@example.com", "a2i@example.com", "ssha@example.com"} {
			b.checkPassword(t, b.find(t, login), typed)
		}
		checkUser(t, b.find(t, "ada"), user.User{
			Username: "ada", Email: "ada@example.com", EmailVerified: true, Phone: "+441632960001", FirstName: "Ada", LastName: "Lovelace", IsActive: true,
			Attributes: json.RawMessage(`{"external_id":"user_01"}`),
		})
		if b.find(t, "alan@example.com").EmailVerified {
			t.Error("alan's address is verified")
		}

		b.by = b.newTenant(t, "second")
		b.fixture(t, "clerk.json", "clerk", 2, []string{}, transfer.Options{})
		b.checkPassword(t, b.find(t, "two@example.com"), typed)
		checkUser(t, b.find(t, "ada"), user.User{
			Username: "ada", Email: "ada@example.com", EmailVerified: true, Phone: "+441632960001", FirstName: "Ada", LastName: "Lovelace", IsActive: true,
			Attributes: json.RawMessage(`{"external_id":"user_20","picture":"https://example.com/a.png","public_metadata":{"plan":"pro"}}`), LastLoginAt: time.UnixMilli(1690000002000).UTC(),
		})
	})
}
