package signin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/lang"
	"github.com/cardea-id/cardea/internal/notify"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/user"
)

// What an administrator or a program changes in an account is told to its owner as their
// own change is: whoever has stolen a key can not keep it from them. A letter about
// another address has no link against it, though: an administrator may have had reason to
// take the account from who has the old one.

// NewsJob is the kind of the job that writes such a letter. The change need not wait for
// the tenant to be read, and many changes at once do not wait for many letters.
const NewsJob = "tell_owner"

// A change is what a letter is about, and where it goes: to what was in force before.
type change struct {
	UserID  string    `json:"user"`
	What    string    `json:"what"` // one of news
	Channel string    `json:"channel"`
	To      string    `json:"to"`
	At      time.Time `json:"at"`
}

// TellOwner has the owner of an account, as it was before, told of a change, one of news,
// if an administrator or a program has made it. What people do themselves is told where
// they do it; what a directory or the product itself does is not told.
func (s *Service) TellOwner(ctx context.Context, tx *database.Tx, by access.Actor, before user.User, what string) error {
	n := change{before.ID, what, notify.Email, before.Email, tx.Now}
	if n.To == "" {
		n.Channel, n.To = notify.SMS, before.Phone
	}
	if n.To == "" || !isForOthers(by, before.ID) {
		return nil
	}
	_, err := jobs.Enqueue(ctx, tx, by.Tenant, NewsJob, n, jobs.Options{})
	return err
}

// isForOthers reports whether an actor is somebody who changes the accounts of others.
func isForOthers(by access.Actor, userID string) bool {
	kind, id, _ := strings.Cut(by.Name, ":")
	return id != userID && slices.Contains([]string{"user", "key", "application", "command", "operator"}, kind)
}

// SendNews works on a NewsJob. Who has gone since, or a tenant that wants no such letters,
// gets none.
func (s *Service) SendNews(ctx context.Context, job *jobs.Job) error {
	var n change
	if err := job.Payload(&n); err != nil {
		return jobs.Permanent(err)
	}
	v, err := s.visitOfNobody(ctx, job.Tenant)
	if errors.Is(err, tenant.ErrNotFound) || err == nil && v.tenant.Settings.SignIn.NoAdminLetters {
		return nil
	}
	if err != nil {
		return err
	}
	u, err := s.Users.Find(ctx, s.DB, v.by, n.UserID)
	if errors.Is(err, user.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	v.view.Lang = languageOf(v.tenant, u)
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		o := &owner{visit: v, user: u}
		l := o.newsOf(tx, n.What)
		l.At, l.Channel, l.To, l.ByAdministrator = n.At, n.Channel, n.To, true
		if n.To != u.Email || !slices.Contains([]string{"password_changed", "factors_reset"}, n.What) {
			l.Link = v.origin + news[n.What].path
			return s.post(ctx, tx, o, l)
		}
		return s.warnAt(ctx, tx, o, n.What, l)
	})
}

// visitOfNobody is what letters need that no request asks for.
func (s *Service) visitOfNobody(ctx context.Context, tenantID string) (*visit, error) {
	t, err := s.Tenants.ByID(ctx, tenantID)
	if err != nil {
		return nil, err
	}
	origin, err := s.Tenants.Origin(ctx, t)
	return &visit{by: access.System(tenantID), tenant: t, origin: origin}, err
}

// languageOf is the language to write to somebody in who is not there: the one they have
// read last, else the tenant's.
func languageOf(t tenant.Tenant, u user.User) *lang.Language {
	return lang.Pick("", u.Language, t.Settings.Branding.Language)
}

// noteLanguage remembers the language in which somebody reads, unless it is the tenant's.
func (s *Service) noteLanguage(tx *database.Tx, v *visit, u user.User) {
	if v.view.Lang == nil || v.backend {
		return
	}
	tag := v.view.Lang.Tag
	if tag == languageOf(v.tenant, user.User{}).Tag {
		tag = ""
	}
	if tag != u.Language {
		s.Users.NoteLanguage(tx, v.by.Tenant, u.ID, tag)
	}
}
