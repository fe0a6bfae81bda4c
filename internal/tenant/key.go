package tenant

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/ratelimit"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/web"
)

// Problems of API keys.
var (
	ErrToken       = problem.New(problem.Unauthenticated, "invalid_access_token", "The API key or access token is not valid here: unknown, expired, revoked, or of another tenant.")
	ErrKeyNotFound = problem.New(problem.NotFound, "resource_not_found", "There is no such API key.")
	ErrKeysFull    = problem.New(problem.Conflict, "too_many_keys", "A tenant has at most 1,000 live API keys. Revoke one that is not used.")
)

// A Key is an API key, without the secret itself.
type Key struct {
	ID         string
	Name       string
	Hint       string // its last four characters
	Scopes     []access.Permission
	CreatedBy  string
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero if it does not expire
	RevokedAt  time.Time // zero while it works
	LastUsedAt time.Time // to the nearest five minutes, zero if never
}

// IsLive reports whether the key works at a moment.
func (k Key) IsLive(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// CreateKey makes an API key with the given scopes, each of which the actor must
// hold (of people, owners alone give roles:write), and returns the key itself once. A zero expires means never; a key made by
// one that expires does not outlive that one. ErrKeysFull if the tenant has 1,000
// live keys. The actor needs keys:write.
func (s *Service) CreateKey(ctx context.Context, tx *database.Tx, by access.Actor, name string, scopes []access.Permission, expires time.Time) (Key, string, error) {
	if err := by.Require(access.KeysWrite); err != nil {
		return Key{}, "", err
	}
	for _, p := range scopes {
		if err := mayHandOn(by, p); err != nil {
			return Key{}, "", err
		}
	}
	if name = strings.TrimSpace(name); name == "" || len(name) > 200 {
		return Key{}, "", web.ErrBody.Saying("A key needs a name of at most 200 bytes.").In("name")
	}
	if err := makeRoom(ctx, tx, by.Tenant, countLiveKeys, ErrKeysFull); err != nil {
		return Key{}, "", err
	}
	expires, err := s.endOfNewKey(ctx, tx, by, expires)
	if err != nil {
		return Key{}, "", err
	}
	key, hash := secret.NewKey("sk_")
	k := Key{ID: tx.NewID(), Name: name, Hint: key[len(key)-4:], Scopes: scopes, CreatedBy: by.Name, CreatedAt: tx.Now, ExpiresAt: expires}
	if err := insertKey(ctx, tx, by.Tenant, k, hash); err != nil {
		return Key{}, "", err
	}
	return k, key, audit.Append(tx, by, audit.Event{Action: "api_key.created", Target: "api_key", TargetID: k.ID, Detail: map[string]any{"name": name, "scopes": scopes}})
}

// mayHandOn returns access.ErrDenied if the actor may not give a permission to a program:
// nobody gives what they do not hold. Programs hold no roles, so with roles:write and the
// rights of an owner they may give and take the owner's too, and change the account of an
// owner. An administrator may not, and is not to do it by a key of their own making: of
// people only owners hand roles:write on, known by what they alone may.
func mayHandOn(by access.Actor, p access.Permission) error {
	if err := by.Require(p); err != nil {
		return err
	}
	if p == access.RolesWrite && strings.HasPrefix(by.Name, "user:") && !by.May(access.SettingsSecurity) {
		return access.ErrDenied.Because("%s is no owner and would give %s to a program", by.Name, p)
	}
	return nil
}

// endOfNewKey judges when a new key is to expire, and returns when it does. It
// refuses a maker that has just been revoked.
func (s *Service) endOfNewKey(ctx context.Context, tx *database.Tx, by access.Actor, expires time.Time) (time.Time, error) {
	if !expires.IsZero() && !expires.After(tx.Now) {
		return expires, errKeyEnd.In("expires_at")
	}
	id, ok := strings.CutPrefix(by.Name, "key:")
	if !ok {
		return expires, nil
	}
	maker, err := findKeyByID(ctx, tx, by.Tenant, id)
	if errors.Is(err, ErrKeyNotFound) || err == nil && !maker.IsLive(tx.Now) {
		return expires, ErrToken.Because("the key that makes another has ended")
	}
	if err != nil || maker.ExpiresAt.IsZero() {
		return expires, err
	}
	if expires.IsZero() {
		return maker.ExpiresAt, nil
	}
	if expires.After(maker.ExpiresAt) {
		return expires, web.ErrBody.Saying("A key made by a key ends no later than that one: at %s.", maker.ExpiresAt.Format(time.RFC3339)).In("expires_at")
	}
	return expires, nil
}

var errKeyEnd = web.ErrBody.Saying("expires_at is not in the future.")

// RevokeKey ends an API key and all keys that it made, and those that they made:
// refused from the next request in this process, and within a second in others.
// ErrKeyNotFound if all of them have been revoked before. The actor needs
// keys:write.
func (s *Service) RevokeKey(ctx context.Context, tx *database.Tx, by access.Actor, id string) error {
	if err := by.Require(access.KeysWrite); err != nil {
		return err
	}
	if err := Hold(ctx, tx, by.Tenant); err != nil { // or it could be making another meanwhile
		return err
	}
	revoked, err := revokeKeys(ctx, tx, by.Tenant, id)
	if err != nil {
		return err
	}
	tx.OnCommit(s.forget)
	for _, each := range revoked {
		e := audit.Event{Action: "api_key.revoked", Target: "api_key", TargetID: each}
		if each != id {
			e.Detail = map[string]any{"descends_from": id}
		}
		if err := audit.Append(tx, by, e); err != nil {
			return err
		}
	}
	return nil
}

// RevokeKeysOf ends all API keys that an actor of this name has made, such as
// "user:<id>", with those that these have made. The actor needs keys:write.
func (s *Service) RevokeKeysOf(ctx context.Context, tx *database.Tx, by access.Actor, maker, reason string) error {
	if err := by.Require(access.KeysWrite); err != nil {
		return err
	}
	made, err := liveKeysOf(ctx, tx, by.Tenant, maker)
	if err != nil || len(made) == 0 {
		return err
	}
	if err := Hold(ctx, tx, by.Tenant); err != nil { // or one could be making another meanwhile
		return err
	}
	tx.OnCommit(s.forget)
	for _, id := range made {
		revoked, err := revokeKeys(ctx, tx, by.Tenant, id)
		if errors.Is(err, ErrKeyNotFound) { // with one before it
			continue
		}
		if err != nil {
			return err
		}
		for _, each := range revoked {
			if err := audit.Append(tx, by, audit.Event{Action: "api_key.revoked", Target: "api_key", TargetID: each, Reason: reason, Detail: map[string]any{"maker": maker}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Key returns one API key, also one that has ended. The actor needs keys:write.
func (s *Service) Key(ctx context.Context, db database.Reader, by access.Actor, id string) (Key, error) {
	if err := by.Require(access.KeysWrite); err != nil {
		return Key{}, err
	}
	return findKeyByID(ctx, db, by.Tenant, id)
}

// Keys lists a tenant's API keys, at most 1,000: those that work before those that
// have ended, each newest first. So no key that works is left out. The actor needs
// keys:write.
func (s *Service) Keys(ctx context.Context, db database.Reader, by access.Actor) ([]Key, error) {
	if err := by.Require(access.KeysWrite); err != nil {
		return nil, err
	}
	return listKeys(ctx, db, by.Tenant, s.DB.Now())
}

// Authenticate returns the actor of a bearer key within by's tenant, or ErrToken.
// An address from which too many keys were not good gets ratelimit.ErrLimited for
// further ones; good keys from there are taken all the same.
func (s *Service) Authenticate(ctx context.Context, by access.Actor, bearer string) (access.Actor, error) {
	actor, err := s.authenticate(ctx, by, bearer)
	if errors.Is(err, ErrToken) {
		if limited := s.Limits.Take(ctx, by.Tenant, ratelimit.APIKey.For(ratelimit.Key("", by.IP))); limited != nil {
			return by, limited
		}
	}
	return actor, err
}

func (s *Service) authenticate(ctx context.Context, by access.Actor, bearer string) (access.Actor, error) {
	if s.Tokens != nil && strings.Count(bearer, ".") == 2 {
		actor, err := s.Tokens(ctx, by, bearer)
		if p, ok := problem.From(err); ok && p.Kind == problem.Unauthenticated {
			err = ErrToken.Because("access token: %w", err)
		}
		return actor, err
	}
	if !secret.LooksLikeKey("sk_", bearer) {
		return by, ErrToken.Because("not in the form of a key")
	}
	hash := secret.Hash(bearer)
	now := s.DB.Now()
	k, err := s.keys.Get(now, by.Tenant+string(hash), func() (Key, error) { return s.useKey(ctx, by.Tenant, hash, now) })
	if err != nil {
		return by, err
	}
	if !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
		return by, ErrToken.Because("key %s expired", k.ID)
	}
	by.Name = "key:" + k.ID
	return by.With(k.Scopes...), nil
}

// useKey reads a key and, now and then, notes that it is in use.
func (s *Service) useKey(ctx context.Context, tenant string, hash []byte, now time.Time) (Key, error) {
	k, err := findKey(ctx, s.DB, tenant, hash)
	if err == nil && now.Sub(k.LastUsedAt) >= 5*time.Minute {
		s.noteUse(ctx, tenant, k.ID, now)
	}
	return k, err
}

// How long a request waits for the note that its key is in use, and how long
// nobody tries again after that has failed.
const (
	noteWait  = 500 * time.Millisecond
	notePause = 10 * time.Second
)

// noteUse notes that a key is in use. A request that only reads must not fail for
// it, nor wait behind a long write: what could not be noted is logged, and noted
// with a later request.
func (s *Service) noteUse(ctx context.Context, tenant, id string, now time.Time) {
	if !s.noting.TryLock() { // one request that waits is enough
		return
	}
	defer s.noting.Unlock()
	if now.Before(s.noteAgain) {
		return
	}
	// Whoever hangs up must not keep the others from trying.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteWait)
	defer cancel()
	if err := s.DB.Write(ctx, func(tx *database.Tx) error { return touchKey(ctx, tx, tenant, id) }); err != nil {
		s.noteAgain = now.Add(notePause)
		s.log().WarnContext(ctx, "the use of an API key could not be noted", "tenant", tenant, "key", id, "err", err)
	}
}

func (s *Service) log() *slog.Logger { return cmp.Or(s.Log, slog.Default()) }
