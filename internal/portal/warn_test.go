package portal_test

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app/apptest"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/role"
	"github.com/cardea-id/cardea/internal/sso"
	"github.com/cardea-id/cardea/internal/user"
)

func TestAdministratorsAreToldOfCertificatesThatEnd(t *testing.T) {
	apptest.RunParallel(t, func(t *testing.T, w *apptest.World) {
		o, by := company(t, w, "Acme"), access.System(w.Demo.ID)
		w.Write(t, func(ctx context.Context, tx *database.Tx) error {
			admin, err := role.BySlug(ctx, tx, w.Demo.ID, "admin")
			if err != nil {
				return err
			}
			for mail, roles := range map[string][]string{"admin@acme.test": {admin.ID}, "ann@acme.test": nil} {
				u, err := w.Users.Create(ctx, tx, by, user.User{Email: mail, EmailVerified: true, IsActive: true})
				if err != nil {
					return err
				}
				if _, err := w.Orgs.AddMember(ctx, tx, by, o.ID, u.ID, roles, org.SourceManual); err != nil {
					return err
				}
			}
			return w.SSO.Warn(ctx, tx, by, sso.Connection{OrganizationID: o.ID}, 14)
		})
		if got := w.Letters(t, "ann@acme.test"); len(got) != 0 {
			t.Errorf("somebody without a say got %d letters", len(got))
		}
		got := w.Letters(t, "admin@acme.test")
		if len(got) != 1 || !strings.Contains(got[0].Subject, "ends in 14 days") || !strings.Contains(got[0].Text, "Acme") {
			t.Fatalf("got %d letters: %+v", len(got), got)
		}
		link := regexp.MustCompile(`https?://\S+/portal/\S+`).FindString(got[0].Text)
		w.Browser(apptest.BaseHost).Get(t, link).WantText(t, "ertificates")
	})
}
