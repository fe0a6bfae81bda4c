// Package transfer brings users in from files and writes them out again.
//
//	Import   a file of users: our own JSON lines, CSV, or another product's export
//	Export   all users of a tenant as JSON lines or CSV
//	Mount    both over HTTP, where an import is a job
//
// An import goes through the file in windows of some 100,000 records. A splitter
// finds where the records are, without decoding them; they are sorted by what
// their users sign in with, so that what is written together lies together in the
// database's indexes; then one goroutine reads and judges them and another writes
// a thousand in a transaction, which also moves the import's place in the file. So
// a kill at any moment neither loses nor doubles anybody, and the same command
// goes on where it was. Passwords come as hashes and are not computed, only
// checked. A record that is not good is refused, reported and left out.
//
// What an attacker would try with a file: fields and nesting without end (one
// record is held at a time, up to 1 MiB), bytes that a database refuses and so
// stop the good rows (every record is judged before), hashes whose costs would
// stop the server at sign-in (passhash bounds them), roles (left out unless asked
// for), the id or address of somebody who is there (refused), formulas for whoever
// opens an exported sheet (neutralised). An export of hashes takes a permission of
// its own.
package transfer

import (
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/problem"
	"github.com/cardea-id/cardea/internal/user"
)

// Problems of whole imports.
var (
	ErrNotFound = problem.New(problem.NotFound, "import_not_found", "There is no such import.")
	ErrLost     = problem.New(problem.Conflict, "import_taken_over", "Another process is at work on this import, or it was cancelled.")
	ErrOptions  = problem.New(problem.Invalid, "invalid_import_options", "The options of the import do not fit together.")
	errFile     = problem.New(problem.Invalid, "unreadable_import_file", "The file can not be read in this format.")
)

// Service imports and exports users. Its fields are set once, before use.
type Service struct {
	DB    *database.DB
	Users *user.Service
	// Spool is the folder where files that are sent over HTTP wait for their import.
	// It need not be shared between servers. Empty refuses such imports.
	Spool string
	// Room says how many bytes may still be written to a folder; nil asks the system.
	Room func(folder string) (int64, error)
	Log  *slog.Logger // slog.Default if nil

	uploads slots
	working sync.Map // true for each tenant of whom an import is under way here
}

// What to do with a record whose user is there already.
const (
	Skip   = "skip"   // refuse it
	Update = "update" // change the user to what the record gives
)

// Options of an import. Only Format and File are needed, and Format may be empty.
type Options struct {
	File   string `json:"-"`                // path
	Format string `json:"format,omitempty"` // one of Formats; found out from the file if empty
	// Map says which column of a CSV file holds a field, as field: heading. A field
	// is a member of Record, or "attributes." and a name. Columns that are called
	// like a field need no entry.
	Map        map[string]string `json:"map,omitempty"`
	OnConflict string            `json:"on_conflict,omitempty"` // Skip unless set
	DryRun     bool              `json:"dry_run,omitempty"`     // judge every record, write nobody
	// Roles imports the users' roles too. The actor then needs roles:write.
	Roles bool `json:"roles,omitempty"`
	// Rights are what the actor held who asked for an import of roles in the
	// background: nobody gives more.
	Rights      []access.Permission `json:"rights,omitempty"`
	NoPasswords bool                `json:"no_passwords,omitempty"` // leaves the hashes out
	Firebase    Firebase            `json:"firebase,omitzero"`

	// Report, if set, gets a line of JSON for each Refusal: in the order of the file
	// when the import is done, as they are found in a dry run.
	Report io.Writer `json:"-"`
	// Progress, if set, is called after each step, several times a second.
	Progress func(Progress) `json:"-"`
}

// Firebase are a project's password hash parameters, as its console shows them.
// The first two are base64.
type Firebase struct {
	SignerKey     string `json:"signer_key,omitempty"`
	SaltSeparator string `json:"salt_separator,omitempty"`
	Rounds        int    `json:"rounds,omitempty"`
	MemCost       int    `json:"mem_cost,omitempty"`
}

// The states of an import.
const (
	Running   = "running"
	Done      = "done"
	Failed    = "failed" // the file could not be read to its end
	Cancelled = "cancelled"
)

// Progress is how far an import has come, and in the end its result.
type Progress struct {
	ID        string        // empty for a dry run
	State     string        // one of the states
	Error     string        // why it failed, for a person
	Format    string        // the one that was given or found out
	Records   int64         // settled so far
	Total     int64         // in the file; 0 until known
	Created   int64         // users added, or that would have been
	Updated   int64         // users changed
	Refused   int64         // records left out, each with a line in the report up to 10,000 of them
	Present   int64         // of those, the ones whose user is there already
	Bytes     int64         // of the file that are settled, about
	Size      int64         // of the file
	Rate      int64         // records a second, lately
	Remaining time.Duration // an estimate; 0 if there is none
}

// leftOut is how many refusals the report of a kept import does not have.
func (p Progress) leftOut() int64 { return max(0, p.Refused-maxRefusals) }

// A Refusal is a record that was left out. The last line of a report that is not
// complete is one of record 0, which says how many more there were.
type Refusal struct {
	Record  int64  `json:"record"` // its place in the file, from 1
	Line    int64  `json:"line"`   // where it starts, from 1
	Login   string `json:"email"`  // e-mail address, else username or phone number, as far as known
	Code    string `json:"error"`
	Message string `json:"message"`
}
