package signin

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/passkey"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// Problems of passkeys in the journey, beside those of package passkey.
var (
	// ErrProofTooOld is in the words of RFC 9470, section 3.
	ErrProofTooOld = problem.New(problem.Unauthenticated, "insufficient_user_authentication", "Sign in again first: this needs a proof that is not older than ten minutes.")
	ErrLastPasskey = problem.New(problem.Conflict, "last_passkey", "This is your only way to sign in. Add another one before you remove it.")
)

// relyingParty is whom a tenant's passkeys are for: the domain that it has chosen, else
// that of its own address. It may ask the database, and so is not for the middle of a transaction.
func (s *Service) relyingParty(ctx context.Context, t tenant.Tenant) (passkey.RP, error) {
	address, err := s.Tenants.Origin(ctx, t)
	if err != nil {
		return passkey.RP{}, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return passkey.RP{}, err
	}
	domain := cmp.Or(t.Settings.SignIn.PasskeyDomain, strings.ToLower(u.Hostname()))
	return passkey.RP{ID: domain, Name: cmp.Or(t.Settings.Branding.Name, t.Name), Origins: []string{originOf(u)}}, nil
}

// party is the relying party of a call: the pages of the application take part.
func (c *call) party() passkey.RP {
	rp := c.rp
	rp.Origins = append(slices.Clone(rp.Origins), c.app.AllowedOrigins...)
	return rp
}

// originOf writes an origin as browsers do: in small letters, without the port that
// goes without saying.
func originOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch {
	case u.Scheme == "https":
		host = strings.TrimSuffix(host, ":443")
	case u.Scheme == "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host
}

type noRequest struct{}

// getRelatedOrigins tells browsers which other pages may use a tenant's passkeys: those
// of its own applications (section 5.11).
func (s *Service) getRelatedOrigins(ctx context.Context, by access.Actor, _ noRequest) (passkey.RelatedOriginsForm, error) {
	t, err := s.Tenants.ByID(ctx, by.Tenant)
	if err != nil {
		return passkey.RelatedOriginsForm{}, err
	}
	origins, err := s.related.Get(s.DB.Now(), t.ID, func() ([]string, error) { return s.originsOf(ctx, t) })
	return passkey.RelatedOrigins(origins), err
}

func (s *Service) originsOf(ctx context.Context, t tenant.Tenant) ([]string, error) {
	rp, err := s.relyingParty(ctx, t)
	if err != nil {
		return nil, err
	}
	apps, err := s.Tenants.Applications(ctx, s.DB, access.System(t.ID))
	for _, app := range apps {
		for _, origin := range app.AllowedOrigins {
			if app.IsActive && !app.OAuth.ThirdParty && !slices.Contains(rp.Origins, origin) {
				rp.Origins = append(rp.Origins, origin)
			}
		}
	}
	return rp.Origins, err
}

// askPasskey begins a proof by passkey for an attempt. Whom it is for says identifier;
// one that is not known gets the same as any other. Without one the passkey says it.
func (s *Service) askPasskey(ctx context.Context, tx *database.Tx, v *visit, r passkey.Request) (passkey.RequestOptions, error) {
	if v.by.IP != "" && !v.backend {
		if err := s.Limits.TakeWithin(ctx, tx, v.by.Tenant, ratelimit.Challenges.For(ratelimit.Key("", v.by.IP))); err != nil {
			return passkey.RequestOptions{}, err
		}
	}
	return s.Passkeys.BeginSignIn(ctx, tx, v.by, r)
}

// ownerOf is whom a passkey that answers for an identifier must be of.
func (s *Service) ownerOf(ctx context.Context, v *visit, identifier string) (string, error) {
	if identifier == "" {
		return passkey.Anyone, nil
	}
	u, err := s.find(ctx, s.DB, v, identifier)
	return cmp.Or(u.ID, passkey.Nobody), err
}

// provePasskey uses up what a passkey has proved, and returns whose it is.
func (s *Service) provePasskey(ctx context.Context, tx *database.Tx, v *visit, as passkey.Assertion) (proof, error) {
	p, err := s.Passkeys.FinishSignIn(ctx, tx, v.by, as)
	if err != nil {
		return proof{}, err
	}
	u, err := s.Users.Find(ctx, tx, access.System(v.by.Tenant), p.UserID)
	return proof{u, methodPasskey, amrOf(methodPasskey)}, err
}

// newPasskey is what a user's new passkey is asked for with. It is good for signing in
// without anything else.
func newPasskey(u user.User, rp passkey.RP, owner string) passkey.Registration {
	name := strings.TrimSpace(u.FirstName + " " + u.LastName)
	return passkey.Registration{Owner: owner, UserID: u.ID, Login: loginOf(u), DisplayName: cmp.Or(name, loginOf(u)), RP: rp, Verify: true}
}

// loginOf is the name under which a device offers a passkey: what people know best of
// themselves.
func loginOf(u user.User) string { return cmp.Or(u.Email, u.Username, u.Phone) }

// stillSignsIn returns ErrLastPasskey unless a user can sign in with what is left.
func (s *Service) stillSignsIn(ctx context.Context, tx *database.Tx, v *visit, u user.User) error {
	hash, _, err := password.Find(ctx, tx, v.by.Tenant, u.ID)
	if err != nil || hasOtherWay(v.tenant.Settings.SignIn, u, hash) {
		return err
	}
	linked, err := s.usableIdentities(ctx, tx, v.by.Tenant, u.ID)
	if err != nil || linked > 0 {
		return err
	}
	if n, err := s.usablePasskeys(ctx, tx, v, u.ID); err != nil || n > 0 {
		return err
	}
	return ErrLastPasskey
}

// usablePasskeys is how many passkeys a user can sign in with here.
func (s *Service) usablePasskeys(ctx context.Context, db database.Reader, v *visit, userID string) (int, error) {
	if v.tenant.Settings.SignIn.NoPasskey {
		return 0, nil
	}
	return s.Passkeys.Count(ctx, db, v.by.Tenant, userID, v.rp.ID)
}

// warnOfPasskeys tells a user by mail that their passkeys have changed.
func (s *Service) warnOfPasskeys(ctx context.Context, tx *database.Tx, v *visit, u user.User, what string) error {
	return s.warn(ctx, tx, &owner{visit: v, user: u}, what)
}
