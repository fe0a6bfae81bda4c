package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/jobs"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/secret"
	"github.com/cardea-id/cardea/internal/tenant"
)

// A file that came over HTTP lies in the spool of the server that took it. So that
// the import's job runs where the file is, each spool has an id, and the job's kind
// carries it: servers with other spools do not know that kind.

type jobPayload struct {
	ImportID string `json:"import_id"`
}

// Handle makes q work on the imports of this spool, two at a time but one of a
// tenant, and forget old ones. Without a spool there are none.
func (s *Service) Handle(q *jobs.Queue) error {
	q.Every("transfer.sweep", 24*time.Hour, func(ctx context.Context) error {
		return s.DB.Write(ctx, func(tx *database.Tx) error { return sweepImports(ctx, tx) })
	})
	if s.Spool == "" {
		return nil
	}
	kind, err := s.jobKind()
	if err != nil {
		return err
	}
	q.Handle(kind, jobs.Handler{Run: s.workInTurn, Workers: 2})
	name := strings.Replace(kind, "import", "spool", 1) // of its own for each spool
	q.Every(name, time.Hour, s.sweepSpool)
	return s.sweepSpool(context.Background())
}

// jobKind reads the id of the spool, or makes one.
func (s *Service) jobKind() (string, error) {
	path := filepath.Join(s.Spool, "spool.id")
	id, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(s.Spool, 0o700); err == nil {
			err = s.writeSpoolID(path)
		}
		if err == nil {
			id, err = os.ReadFile(path)
		}
	}
	if err == nil && !secret.IsID(string(id)) {
		err = fmt.Errorf("%s does not hold an id", path)
	}
	if err != nil {
		return "", fmt.Errorf("open the spool: %w", err)
	}
	return "transfer.import." + string(id), nil
}

// writeSpoolID links a written file to its name, so that of two processes one
// names the spool and nobody reads half an id.
func (s *Service) writeSpoolID(path string) error {
	file, err := os.CreateTemp(s.Spool, "upload-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(secret.ID(s.DB.Now()))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// sealSigner seals the signer key of a Firebase project while it waits for the job.
func (s *Service) sealSigner(ctx context.Context, tenant, id, key string) ([]byte, error) {
	if key == "" {
		return nil, nil
	}
	box, err := s.Users.Box(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return box.Seal("imports/"+id+"/signer", []byte(key)), nil
}

func (s *Service) openSigner(ctx context.Context, m kept) (string, error) {
	if m.secret == nil {
		return "", nil
	}
	box, err := s.Users.Box(ctx, m.tenant)
	if err != nil {
		return "", err
	}
	key, err := box.Open("imports/"+m.ID+"/signer", m.secret)
	return string(key), err
}

// putOffTime is how long an import waits before it looks again whether the tenant's
// other one is done.
const putOffTime = 2 * time.Second

// workInTurn is work for the tenant's only import under way here. A further one is
// put off, so that no tenant has all workers.
func (s *Service) workInTurn(ctx context.Context, job *jobs.Job) error {
	if _, busy := s.working.LoadOrStore(job.Tenant, true); busy {
		return s.putOff(ctx, job)
	}
	defer s.working.Delete(job.Tenant)
	return s.work(ctx, job)
}

// putOff lets a later job do the work of this one.
func (s *Service) putOff(ctx context.Context, job *jobs.Job) error {
	var p jobPayload
	if err := job.Payload(&p); err != nil {
		return jobs.Permanent(err)
	}
	return s.DB.Write(ctx, func(tx *database.Tx) error {
		if _, err := jobs.Enqueue(ctx, tx, job.Tenant, job.Kind, p, jobs.Options{Delay: putOffTime}); err != nil {
			return err
		}
		return job.Finish(ctx, tx)
	})
}

// work is one try at an import. What can not be mended by another one ends it as
// failed; the job itself is then done.
func (s *Service) work(ctx context.Context, job *jobs.Job) error {
	var p jobPayload
	if err := job.Payload(&p); err != nil {
		return jobs.Permanent(err)
	}
	m, err := findImport(ctx, s.DB, job.Tenant, p.ImportID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if m.State == Running {
		err = s.checkKey(ctx, m.Actor)
	}
	if m.State == Running && err == nil {
		err = s.resume(ctx, m)
	}
	if errors.Is(err, ErrLost) { // cancelled; or the job has another worker, which removes the file
		if m, err = findImport(ctx, s.DB, job.Tenant, p.ImportID); err != nil || m.State == Running {
			return err
		}
	}
	if ctx.Err() != nil { // the server stops
		return err
	}
	reason, broken := reasonOf(err)
	if err != nil && !broken && !job.IsLastTry() {
		return err
	}
	if err != nil {
		s.log().Error("an import failed", "import", m.ID, "error", err)
		err := s.DB.Write(ctx, func(tx *database.Tx) error { return finishImport(ctx, tx, m.Actor, m.ID, Failed, reason, 0) })
		if err != nil && !errors.Is(err, ErrLost) {
			return err
		}
	}
	if err := os.Remove(s.spooled(m.tenant, m.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clear the spool: %w", err)
	}
	return nil
}

// reasonOf says for a person why an import failed, and whether it would again.
func reasonOf(err error) (reason string, broken bool) {
	if p, ok := problem.From(err); ok {
		return p.Message, true
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "The server no longer has the file. Send it again.", true
	}
	return "The import was tried several times and given up. The server's log says why.", false
}

// resume goes on with an import of the spool.
func (s *Service) resume(ctx context.Context, m kept) error {
	file, err := os.Open(s.spooled(m.tenant, m.ID))
	if err != nil {
		return fmt.Errorf("open the spooled file: %w", err)
	}
	defer file.Close()
	o := m.options
	if o.Firebase.SignerKey, err = s.openSigner(ctx, m); err != nil {
		return err
	}
	r, err := newReaderOf(ctx, file, &o, func(ctx context.Context) error { return s.stillRuns(ctx, m) })
	if err != nil {
		return err
	}
	if o.DryRun {
		if err := s.DB.Write(ctx, func(tx *database.Tx) error { return restartImport(ctx, tx, &m) }); err != nil {
			return err
		}
	}
	_, err = s.run(ctx, actorOf(m), r, m)
	return err
}

// checkKey refuses to go on with an import of an API key that has ended meanwhile. A
// key's scopes do not change.
func (s *Service) checkKey(ctx context.Context, by access.Actor) error {
	id, ok := strings.CutPrefix(by.Name, "key:")
	if !ok {
		return nil
	}
	key, err := (&tenant.Service{DB: s.DB}).Key(ctx, s.DB, access.System(by.Tenant), id)
	if errors.Is(err, tenant.ErrKeyNotFound) || err == nil && !key.IsLive(s.DB.Now()) {
		return tenant.ErrToken.Saying("The API key that asked for the import has been revoked or has expired.")
	}
	return err
}

// actorOf is who asked for an import, with what that takes and no more. That they
// held it was checked when they asked.
func actorOf(m kept) access.Actor {
	may := []access.Permission{access.UsersRead, access.UsersWrite}
	if m.options.Roles {
		may = append(may, m.options.Rights...)
	}
	return m.Actor.With(may...)
}
