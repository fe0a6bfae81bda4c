package signin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/letter"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/org"
	"github.com/cardea-id/cardea/internal/page"
	"github.com/cardea-id/cardea/internal/password"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/session"
	"github.com/cardea-id/cardea/internal/web"
)

// What is kept about a user, to take away in one file or to be deleted. Both take a fresh
// proof: a session alone may be somebody else's at an unlocked screen.

const (
	pathData   = page.ProfilePath + "/data"
	pathDelete = page.ProfilePath + "/delete"
	dataEvents = 10_000 // of the log, the newest
)

// ErrWord says that the word that confirms a deletion was not typed.
var ErrWord = problem.New(problem.Invalid, "confirmation_word", "This is not the word to be typed.").In("word")

func (s *Service) mountData(r *web.Router) {
	data := pageRoute("POST", pathData, "Form: what is kept about oneself, as a file", s.own(page.ProfilePath, s.fresh(page.ProfilePath, s.postData)), problems{page.ErrForm})
	data.Endpoint.Media, data.Endpoint.Status = "application/json", http.StatusOK
	r.Add(data)
	r.Add(pageRoute("GET", pathDelete, "Page: delete one's account", s.own(pathDelete, s.fresh(pathDelete, s.pageDelete)), nil))
	r.Add(pageRoute("POST", pathDelete, "Form: delete one's account", s.own(pathDelete, s.fresh(pathDelete, s.postDelete)), problems{page.ErrForm, ErrWord, org.ErrLastOwner}))
}

// personal is all that is kept about a user. Nothing in it signs anybody in.
type personal struct {
	ID              string          `json:"id"`
	Username        string          `json:"username"`
	Email           string          `json:"email"`
	EmailVerified   bool            `json:"email_verified"`
	Phone           string          `json:"phone"`
	PhoneVerified   bool            `json:"phone_verified"`
	FirstName       string          `json:"first_name"`
	LastName        string          `json:"last_name"`
	Groups          json.RawMessage `json:"groups"`
	Attributes      json.RawMessage `json:"attributes"`
	RoleIDs         []string        `json:"role_ids"`
	RequiredActions []string        `json:"required_actions"`
	CreatedAt       time.Time       `json:"created_at"`
	ModifiedAt      time.Time       `json:"modified_at"`
	LastLoginAt     time.Time       `json:"last_login_at,omitzero"`
	Language        string          `json:"language,omitempty"`

	PasswordChangedAt time.Time       `json:"password_changed_at,omitzero"`
	Addresses         []ownAddress    `json:"further_addresses"`
	Passkeys          []ownKey        `json:"passkeys"`
	Authenticators    []ownApp        `json:"authenticators"`
	BackupCodesLeft   int             `json:"backup_codes_left"`
	Identities        []ownIdentity   `json:"identities"`
	Organizations     []ownMembership `json:"organizations"`
	Sessions          []sessionForm   `json:"sessions"`
	Remembered        []ownDevice     `json:"remembered_devices"`
	Browsers          []ownBrowser    `json:"known_browsers"`
	Applications      []ownAccess     `json:"applications"`
	Events            []audit.Listed  `json:"events"`
}

type ownAddress struct {
	Address string    `json:"address"`
	Held    bool      `json:"held"`
	AddedAt time.Time `json:"added_at"`
}

type ownKey struct {
	ID            string    `json:"id"`
	Name          string    `json:"name"`
	Authenticator string    `json:"authenticator"`
	Domain        string    `json:"domain"`
	BackedUp      bool      `json:"backed_up"`
	CreatedAt     time.Time `json:"created_at"`
	UsedAt        time.Time `json:"used_at,omitzero"`
}

type ownApp struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	UsedAt    time.Time `json:"used_at,omitzero"`
}

type ownIdentity struct {
	ID         string    `json:"id"`
	Connection string    `json:"connection"`
	Issuer     string    `json:"issuer"`
	Subject    string    `json:"subject"`
	Email      string    `json:"email"`
	Name       string    `json:"name"`
	Picture    string    `json:"picture"`
	CreatedAt  time.Time `json:"created_at"`
	UsedAt     time.Time `json:"used_at"`
}

type ownMembership struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	RoleIDs   []string  `json:"role_ids"`
	Status    string    `json:"status"`
	Source    string    `json:"source"`
	CreatedAt time.Time `json:"created_at"`
}

type ownDevice struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	OS        string    `json:"os"`
	IPAddress string    `json:"ip_address"`
	Country   string    `json:"country"`
	City      string    `json:"city"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

type ownBrowser struct {
	FirstSeenAt time.Time `json:"first_seen_at"`
	LastSeenAt  time.Time `json:"last_seen_at"`
}

type ownAccess struct {
	ID     string    `json:"id"`
	Name   string    `json:"name"`
	Scopes []string  `json:"scopes"`
	Since  time.Time `json:"since"`
	UsedAt time.Time `json:"used_at,omitzero"`
}

// postData sends the file, and writes down that it did.
func (s *Service) postData(w http.ResponseWriter, r *http.Request, o *owner) error {
	ctx := r.Context()
	data, err := s.personal(ctx, o)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(data, "", "  ")
	if err != nil {
		return err
	}
	err = s.DB.Write(ctx, func(tx *database.Tx) error {
		return audit.Append(tx, o.self(), audit.Event{Action: "account.exported", Target: "user", TargetID: o.user.ID})
	})
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Disposition", `attachment; filename="my-data.json"`)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, err = w.Write(text)
	return err
}

func (s *Service) personal(ctx context.Context, o *owner) (*personal, error) {
	u := o.user
	p := &personal{
		ID: u.ID, Username: u.Username, Email: u.Email, EmailVerified: u.EmailVerified, Phone: u.Phone, PhoneVerified: u.PhoneVerified, FirstName: u.FirstName, LastName: u.LastName,
		Groups: u.Groups, Attributes: u.Attributes, RoleIDs: u.RoleIDs, RequiredActions: u.RequiredActions, CreatedAt: u.CreatedAt, ModifiedAt: u.ModifiedAt, LastLoginAt: u.LastLoginAt, Language: u.Language,
	}
	for _, gather := range []func(context.Context, *owner, *personal) error{s.gatherKeys, s.gatherFactors, s.gatherIdentities, s.gatherSessions, s.gatherEvents} {
		if err := gather(ctx, o, p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (s *Service) gatherKeys(ctx context.Context, o *owner, p *personal) (err error) {
	if p.PasswordChangedAt, err = password.ChangedAt(ctx, s.DB, o.by.Tenant, p.ID); err != nil {
		return err
	}
	further, err := s.Users.Addresses(ctx, s.DB, access.System(o.by.Tenant), p.ID)
	if err != nil {
		return err
	}
	for _, a := range further {
		p.Addresses = append(p.Addresses, ownAddress{a.Value, a.Held, a.AddedAt})
	}
	keys, err := s.Passkeys.List(ctx, s.DB, o.by.Tenant, p.ID)
	for _, k := range keys {
		p.Passkeys = append(p.Passkeys, ownKey{k.ID, k.Name, k.Authenticator(), k.RPID, k.BackupState, k.CreatedAt, k.UsedAt})
	}
	return err
}

func (s *Service) gatherFactors(ctx context.Context, o *owner, p *personal) error {
	has, err := s.MFA.Enrolled(ctx, s.DB, o.by.Tenant, p.ID)
	if err != nil {
		return err
	}
	p.BackupCodesLeft = has.BackupCodes
	apps, err := s.MFA.Authenticators(ctx, s.DB, o.by.Tenant, p.ID)
	if err != nil {
		return err
	}
	for _, a := range apps {
		p.Authenticators = append(p.Authenticators, ownApp{a.ID, a.Name, a.CreatedAt, a.UsedAt})
	}
	devices, err := s.MFA.Devices(ctx, s.DB, o.by.Tenant, p.ID)
	for _, d := range devices {
		p.Remembered = append(p.Remembered, ownDevice{d.ID, d.From.Client, d.From.OS, d.From.IP, d.From.Country, d.From.City, d.CreatedAt, d.ExpiresAt})
	}
	return err
}

func (s *Service) gatherIdentities(ctx context.Context, o *owner, p *personal) error {
	linked, err := s.Social.Identities(ctx, s.DB, o.by.Tenant, p.ID)
	if err != nil {
		return err
	}
	for _, i := range linked {
		p.Identities = append(p.Identities, ownIdentity{i.ID, i.Connection, i.Issuer, i.Subject, i.Email, i.Name, i.Picture, i.CreatedAt, i.UsedAt})
	}
	ofOrganizations, err := s.SSO.Identities(ctx, s.DB, o.by.Tenant, p.ID)
	if err != nil {
		return err
	}
	for _, i := range ofOrganizations {
		p.Identities = append(p.Identities, ownIdentity{i.ID, i.Connection, i.Issuer, i.Subject, i.Email, "", "", i.CreatedAt, i.UsedAt})
	}
	memberships, err := s.Orgs.Memberships(ctx, s.DB, o.by.Tenant, p.ID)
	for _, m := range memberships {
		p.Organizations = append(p.Organizations, ownMembership{m.Organization.ID, m.Organization.DisplayName, m.Member.AllRoles(), m.Member.Status, m.Member.Source, m.Member.CreatedAt})
	}
	return err
}

func (s *Service) gatherSessions(ctx context.Context, o *owner, p *personal) error {
	live, err := s.Sessions.List(ctx, s.DB, o.by.Tenant, p.ID)
	if err != nil {
		return err
	}
	for _, in := range live {
		p.Sessions = append(p.Sessions, sessionFormOf(in))
	}
	if p.Browsers, err = listBrowsers(ctx, s.DB, o.by.Tenant, p.ID); err != nil {
		return err
	}
	holding, err := s.accessTo(ctx, o)
	for _, a := range holding {
		own := ownAccess{ID: a.ID, Name: a.App.Name, Since: a.Since, UsedAt: a.LastUsed}
		for _, scope := range a.Scopes {
			own.Scopes = append(own.Scopes, scope.Name)
		}
		p.Applications = append(p.Applications, own)
	}
	return err
}

// gatherEvents adds what the log says the user did, and what happened to them: the
// newest of each. Other people's addresses and programs are left out of the latter.
func (s *Service) gatherEvents(ctx context.Context, o *owner, p *personal) error {
	self := "user:" + p.ID
	for _, f := range []audit.Filter{{Actor: self}, {TargetID: p.ID}} {
		for n := 0; n < dataEvents; {
			list, err := audit.List(ctx, s.DB, o.by.Tenant, f, audit.MaxList)
			if err != nil {
				return err
			}
			for _, e := range list {
				f.Cursor = e.ID
				switch {
				case f.Actor != "":
				case e.Actor == self:
					continue // it is there already
				case !strings.HasPrefix(e.Action, "signin."):
					e.Actor, e.IP, e.UserAgent = "", "", ""
				}
				p.Events = append(p.Events, e)
			}
			if n += len(list); len(list) < audit.MaxList {
				break
			}
		}
	}
	return nil
}

func listBrowsers(ctx context.Context, db database.Reader, tenant, user string) ([]ownBrowser, error) {
	rows, err := db.Query(ctx, `SELECT first_at, last_at FROM known_browsers WHERE tenant_id = $1 AND user_id = $2 ORDER BY last_at DESC LIMIT 1000`, tenant, user)
	return database.Collect(rows, err, "list browsers", func(row database.Scanner) (b ownBrowser, err error) {
		var first, last int64
		err = row.Scan(&first, &last)
		b.FirstSeenAt, b.LastSeenAt = time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC()
		return b, err
	})
}

func (s *Service) deletePage(o *owner) *page.AccountDelete {
	return &page.AccountDelete{AccountView: s.accountView(o), Action: pathDelete, CloseURL: page.ProfilePath, DataAction: pathData}
}

func (s *Service) pageDelete(w http.ResponseWriter, r *http.Request, o *owner) error {
	return page.Render(w, r, http.StatusOK, s.deletePage(o))
}

// postDelete deletes the account and with it everything that hangs on it. Whoever uses
// it last owns a tenant or an organization hands that over first.
func (s *Service) postDelete(w http.ResponseWriter, r *http.Request, o *owner) error {
	err := error(ErrWord)
	if strings.EqualFold(strings.TrimSpace(r.PostFormValue("word")), o.view.Lang.Text("delete.word")) {
		err = s.deleteSelf(r.Context(), o)
	}
	if err != nil {
		p := s.deletePage(o)
		return again(w, r, &p.View, err, p)
	}
	keep(w, r, o.sessions[1:])
	return to(w, r, pathSignIn, "notice", "account_deleted")
}

func (s *Service) deleteSelf(ctx context.Context, o *owner) error {
	by := o.self(access.UsersWrite, access.RolesWrite, access.OrganizationsWrite)
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		// It fails if the session has ended meanwhile.
		if _, _, err := s.Sessions.Renew(ctx, tx, by, o.in.ID, session.Proof{AMR: o.in.AMR, ACR: o.in.ACR, At: o.in.AuthAt}); err != nil {
			return err
		}
		memberships, err := s.Orgs.Memberships(ctx, tx, o.by.Tenant, o.user.ID)
		if err != nil {
			return err
		}
		for _, m := range memberships { // one by one, for each may be without an owner then
			if err := s.Orgs.RemoveMember(ctx, tx, by, m.Organization.ID, o.user.ID, "account_deleted"); err != nil {
				return err
			}
		}
		if _, err := s.EndSessions(ctx, tx, by, o.user.ID, "account_deleted"); err != nil {
			return err
		}
		if err := s.Sessions.EndOtherGrants(ctx, tx, by, o.user.ID, "", "account_deleted"); err != nil {
			return err
		}
		if err := deleteAttempts(ctx, tx, o.by.Tenant, o.user.ID); err != nil {
			return err
		}
		if err := s.Users.Delete(ctx, tx, by, o.user.ID); err != nil {
			return err
		}
		return s.sayGoodbye(ctx, tx, o)
	})
}

// sayGoodbye tells whoever could be reached that the account is gone.
func (s *Service) sayGoodbye(ctx context.Context, tx *database.Tx, o *owner) error {
	from := deviceOf(o.from)
	l := letter.Letter{
		Kind: letter.AccountDeleted, Channel: notify.Email, To: o.user.Email, Language: o.view.Lang.Tag, Brand: letter.BrandOf(o.tenant), Link: o.origin,
		At: tx.Now, IP: o.from.IP, Device: from.Name, Place: from.Place,
	}
	if l.To == "" {
		l.Channel, l.To = notify.SMS, o.user.Phone
	}
	if l.To == "" {
		return nil
	}
	m, err := l.Message()
	if err != nil {
		return err
	}
	_, err = s.Notify.Send(ctx, tx, o.by.Tenant, m)
	if errors.Is(err, notify.ErrNoChannel) || errors.Is(err, notify.ErrRecipient) {
		return nil
	}
	return err
}

func deleteAttempts(ctx context.Context, tx *database.Tx, tenant, user string) error {
	_, err := tx.Exec(ctx, `DELETE FROM attempts WHERE tenant_id = $1 AND user_id = $2`, tenant, user)
	return err
}
