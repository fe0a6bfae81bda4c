package scim

import (
	"context"
	"errors"
	"fmt"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/jobs"
)

// ApplyJob is the kind of the jobs that follow a change of rules, or the deletion of a
// directory, through all its users.
const ApplyJob = "scim_apply"

type applyPayload struct {
	Directory string `json:"directory"`
}

// Delete removes a directory: its tokens at once, the roles that it gave and what it
// has said by a job. Its users stay members of the organization. The actor needs
// connections:write.
func (s *Service) Delete(ctx context.Context, tx *database.Tx, by access.Actor, organization, id string) error {
	if err := by.Require(access.ConnectionsWrite); err != nil {
		return err
	}
	if err := markDeleted(ctx, tx, by.Tenant, organization, id); err != nil {
		return err
	}
	if err := s.applyLater(ctx, tx, by.Tenant, id); err != nil {
		return err
	}
	tx.OnCommit(s.callers.Clear)
	return audit.Append(tx, by, audit.Event{Action: "directory.deleted", Target: target, TargetID: organization, Detail: map[string]any{"directory": id}})
}

func (s *Service) applyLater(ctx context.Context, tx *database.Tx, tenant, directory string) error {
	_, err := jobs.Enqueue(ctx, tx, tenant, ApplyJob, applyPayload{directory}, jobs.Options{})
	return err
}

func markDeleted(ctx context.Context, tx *database.Tx, tenant, organization, id string) error {
	if err := holdDirectory(ctx, tx, tenant, organization, id); err != nil {
		return err
	}
	tx.Later(`DELETE FROM directory_tokens WHERE tenant_id = $1 AND directory_id = $2`, tenant, id)
	n, err := tx.Exec(ctx, `UPDATE directories SET state = 'deleted', rules = '[]', modified_at = $3 WHERE tenant_id = $1 AND id = $2`, tenant, id, tx.Millis())
	return orNone(n, err, ErrNotFound, "delete directory")
}

// Apply works on an ApplyJob, a page of users at a time. Each page reads the rules that
// there are now, so that a job which is overtaken by another does no harm.
func (s *Service) Apply(ctx context.Context, job *jobs.Job) error {
	var in applyPayload
	if err := job.Payload(&in); err != nil {
		return jobs.Permanent(err)
	}
	after := ""
	if err := job.Resume(&after); err != nil {
		return jobs.Permanent(err)
	}
	by := access.System(job.Tenant)
	for {
		isDone := false
		err := s.DB.Write(ctx, func(tx *database.Tx) error {
			d, err := findAny(ctx, tx, job.Tenant, in.Directory)
			if errors.Is(err, ErrNotFound) {
				isDone = true
				return nil
			}
			if err != nil {
				return err
			}
			ids, err := peopleAfter(ctx, tx, job.Tenant, d.ID, after, batch)
			if err != nil {
				return err
			}
			if isDone = len(ids) == 0; isDone {
				return s.finishDelete(ctx, tx, job.Tenant, d)
			}
			if err := s.applyRules(ctx, tx, by, d, ids); err != nil {
				return err
			}
			if d.State == deleted {
				if err := forget(ctx, tx, job.Tenant, d.ID, ids); err != nil {
					return err
				}
			}
			after = ids[len(ids)-1]
			return job.Checkpoint(ctx, tx, after, jobs.Progress{})
		})
		if err != nil || isDone {
			return err
		}
	}
}

func (s *Service) finishDelete(ctx context.Context, tx *database.Tx, tenant string, d Directory) error {
	if d.State != deleted {
		return nil
	}
	if _, err := tx.Exec(ctx, `DELETE FROM directories WHERE tenant_id = $1 AND id = $2`, tenant, d.ID); err != nil {
		return fmt.Errorf("remove directory: %w", err)
	}
	return nil
}

// findAny finds a directory whatever its state.
func findAny(ctx context.Context, tx *database.Tx, tenant, id string) (Directory, error) {
	d, err := scanDirectory(tx.QueryRow(ctx, `SELECT `+directoryColumns+` FROM directories d WHERE d.tenant_id = $1 AND d.id = $2`, tenant, id))
	return d, orMissing(err, ErrNotFound, "find directory")
}

func peopleAfter(ctx context.Context, tx *database.Tx, tenant, directory, after string, limit int) ([]string, error) {
	rows, err := tx.Query(ctx, `
		SELECT user_id FROM directory_users
		WHERE tenant_id = $1 AND directory_id = $2 AND user_id > $3 ORDER BY user_id LIMIT $4`, tenant, directory, after, int64(limit))
	return database.Collect(rows, err, "list users of directory", scanID)
}

func forget(ctx context.Context, tx *database.Tx, tenant, directory string, ids []string) error {
	cond, arg := tx.Among("$3", ids)
	if _, err := tx.Exec(ctx, `DELETE FROM directory_users WHERE tenant_id = $1 AND directory_id = $2 AND user_id `+cond, tenant, directory, arg); err != nil {
		return fmt.Errorf("forget users of directory: %w", err)
	}
	return nil
}
