package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

// A file that comes over HTTP must come at some pace, or a few senders of a byte a
// minute would hold all slots and much of the disk for ever.
const (
	paceBytes  = 64 << 10 // in
	paceTime   = 30 * time.Second
	uploadTime = time.Hour // in all

	minRoom = 1 << 30 // bytes of the disk that uploads leave free
)

// slots counts the files of each tenant that this process is receiving.
type slots struct {
	mu sync.Mutex
	of map[string]int64
}

// takeSlot makes sure that with the files on their way a tenant does not get more
// than maxRunning imports. Call free when the import exists or is given up.
func (s *Service) takeSlot(ctx context.Context, tenant string) (free func(), err error) {
	n, err := countRunning(ctx, s.DB, tenant)
	if err != nil {
		return nil, err
	}
	s.uploads.mu.Lock()
	defer s.uploads.mu.Unlock()
	if n+s.uploads.of[tenant] >= maxRunning {
		return nil, errTooManyImports
	}
	if s.uploads.of == nil {
		s.uploads.of = map[string]int64{}
	}
	s.uploads.of[tenant]++
	return sync.OnceFunc(func() { s.freeSlot(tenant) }), nil
}

func (s *Service) freeSlot(tenant string) {
	s.uploads.mu.Lock()
	defer s.uploads.mu.Unlock()
	if s.uploads.of[tenant]--; s.uploads.of[tenant] == 0 {
		delete(s.uploads.of, tenant)
	}
}

// checkRoom refuses a file of a length, -1 if that is not known, for which the
// spool's disk has no room.
func (s *Service) checkRoom(length int64) error {
	ask := s.Room
	if ask == nil {
		ask = freeSpace
	}
	free, err := ask(s.Spool)
	if err == nil && free < max(minRoom, 2*length) {
		err = errNoRoom
	}
	return err
}

// receive writes the body to a new file of the spool and returns its path. The
// server's time limit for a request does not hold here, but a pace.
func (s *Service) receive(w http.ResponseWriter, r *http.Request) (path string, err error) {
	if r.ContentLength > maxUpload {
		return "", errUploadLarge
	}
	if err := s.checkRoom(r.ContentLength); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(s.Spool, "upload-*") // readable by the owner only
	if err != nil {
		return "", fmt.Errorf("spool the file: %w", err)
	}
	control := http.NewResponseController(w)
	n, err := io.Copy(file, io.LimitReader(s.paced(r.Body, control), maxUpload+1))
	switch {
	case errors.Is(err, errNoRoom):
	case err != nil:
		err = errUpload.Because("%w", err)
	case n > maxUpload:
		err = errUploadLarge
	}
	// Time for the answer, which a long body has used up.
	if late := control.SetWriteDeadline(s.DB.Now().Add(idleTimeout)); late != nil && !errors.Is(late, http.ErrNotSupported) {
		err = cmp.Or(err, late)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}

// paced reads body as long as it comes at the pace.
func (s *Service) paced(body io.Reader, control *http.ResponseController) io.Reader {
	lap := s.DB.Now()
	end, come, read := lap.Add(uploadTime), 0, 0
	return readerFunc(func(p []byte) (n int, err error) {
		due := lap.Add(paceTime)
		if end.Before(due) {
			due = end
		}
		if s.DB.Now().After(due) {
			return 0, fmt.Errorf("too slow: %d bytes", read)
		}
		if err := control.SetReadDeadline(due); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return 0, err
		}
		n, err = body.Read(p)
		read += n
		if come += n; come >= paceBytes {
			lap, come = s.DB.Now(), 0
		}
		// Room was there in the beginning, but others write to the disk as well.
		if err == nil && read>>26 != (read-n)>>26 {
			err = s.checkRoom(-1)
		}
		return n, err
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func (s *Service) spooled(tenant, id string) string {
	return filepath.Join(s.Spool, tenant+"."+id+".import")
}

// sweepSpool removes files that nobody will take any more: what a killed server
// left of uploads, and those of imports that have ended or are gone with their
// tenant. They hold hashes of passwords.
func (s *Service) sweepSpool(ctx context.Context) error {
	files, err := os.ReadDir(s.Spool)
	if err != nil {
		return fmt.Errorf("sweep the spool: %w", err)
	}
	for _, f := range files {
		dead, err := s.isDead(ctx, f)
		if err == nil && dead {
			err = os.Remove(filepath.Join(s.Spool, f.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweep the spool: %w", err)
		}
	}
	return nil
}

// isDead reports whether nobody will take a file of the spool. One that is young may
// be on its way: it is there before its import is in the database.
func (s *Service) isDead(ctx context.Context, f fs.DirEntry) (bool, error) {
	at, err := f.Info()
	if err != nil {
		return false, err
	}
	age := s.DB.Now().Sub(at.ModTime())
	if strings.HasPrefix(f.Name(), "upload-") {
		return age > 2*uploadTime, nil
	}
	name, ours := strings.CutSuffix(f.Name(), ".import")
	tenant, id, whole := strings.Cut(name, ".")
	if !ours || !whole || age < 10*database.MaxWrite {
		return false, nil
	}
	m, err := findImport(ctx, s.DB, tenant, id)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return m.State != Running, err
}
