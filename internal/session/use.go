package session

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// touchAfter is how long a session is used before that is written down.
const touchAfter = time.Minute

// uses are the sessions that are in use and wait for that to be written down. One
// commit takes all that wait, and one request at most waits for it: the others only
// ask who is there.
type uses struct {
	mu      sync.Mutex
	waiting map[use]string // the hash of the session's token
	writing bool
}

// A use names a session.
type use struct{ tenant, session string }

// add reports whether it falls to the caller to write.
func (u *uses) add(in use, hash string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.waiting == nil {
		u.waiting = map[use]string{}
	}
	u.waiting[in] = hash
	mine := !u.writing
	u.writing = true
	return mine
}

// take returns what waits. With nothing left nobody is writing any more.
func (u *uses) take() map[use]string {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := u.waiting
	u.waiting = nil
	u.writing = len(all) > 0
	return all
}

// noteUse notes that a session is in use, if that was not done lately.
func (s *Service) noteUse(ctx context.Context, in use, hash string, seen time.Time) error {
	if s.DB.Now().Sub(seen) < touchAfter || !s.uses.add(in, hash) {
		return nil
	}
	ctx = context.WithoutCancel(ctx) // others rely on it
	err := s.writeUses(ctx, s.uses.take())
	if rest := s.uses.take(); len(rest) > 0 {
		go func() {
			for ; len(rest) > 0; rest = s.uses.take() {
				_ = s.writeUses(ctx, rest) // they are due still: the next request tries again, and tells
			}
		}()
	}
	return err
}

// writeUses writes in one order everywhere, so that two processes never wait for each
// other.
func (s *Service) writeUses(ctx context.Context, all map[use]string) error {
	return s.DB.WriteBehind(ctx, func(tx *database.Tx) error {
		for _, in := range slices.SortedFunc(maps.Keys(all), func(a, b use) int {
			return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.session, b.session))
		}) {
			touchSession(tx, in)
			tx.OnCommit(func() {
				s.sessions.Forget(in.tenant + all[in])
				s.sessions.Forget(in.tenant + "/" + in.session)
			})
		}
		return nil
	})
}
