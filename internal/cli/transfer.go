package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/tenant"
	"github.com/cardea-id/cardea/internal/transfer"
)

// transfers is the service of imports and exports, without a spool: the files are
// here already.
func (s *session) transfers() *transfer.Service {
	return &transfer.Service{DB: s.DB, Users: s.Users, Log: s.Log}
}

type userImport struct {
	onTenant
	format
	File        string   `arg:"" help:"The file."`
	Format      string   `placeholder:"FORMAT" help:"What it is; unset, that is found out."`
	Map         []string `placeholder:"FIELD=HEADING" help:"Column of a CSV file that holds a field, such as email=Mail; may be repeated."`
	OnConflict  string   `default:"skip" enum:"skip,update" help:"What to do where the user is there already: ${enum}. Default: ${default}."`
	Roles       bool     `help:"Import the users' roles too."`
	NoPasswords bool     `help:"Leave the password hashes out."`
	DryRun      bool     `help:"Judge every record and write nobody."`
	Report      string   `placeholder:"FILE" help:"Where to write a line of JSON for each record that is refused or skipped; unset, the first ten are shown."`

	FirebaseSignerKeyFile string `placeholder:"FILE" help:"For Firebase: file with the base64_signer_key of the project's hash parameters."`
	FirebaseSaltSeparator string `placeholder:"TEXT" help:"For Firebase: base64_salt_separator."`
	FirebaseRounds        int    `placeholder:"N" help:"For Firebase: rounds."`
	FirebaseMemCost       int    `placeholder:"N" help:"For Firebase: mem_cost."`
}

// Help implements kong.HelpProvider.
func (userImport) Help() string {
	titles := transfer.Formats()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(titles)) {
		lines = append(lines, "    "+name+strings.Repeat(" ", max(1, 10-len(name)))+titles[name])
	}
	return "Formats:\n\n" + strings.Join(lines, "\n") + "\n\n" +
		"An import that was stopped, by whatever, goes on where it was when the same command is given again. " +
		"Records that are not good are refused and left out; the command then fails, and all others are there. " +
		"Users who are there already are skipped, which is no failure; both stand in the report."
}

// imported is the result in JSON.
type imported struct {
	ID      string `json:"id,omitempty"` // none for a dry run
	State   string `json:"state"`
	Error   string `json:"error,omitempty"`
	Format  string `json:"format"`
	Records int64  `json:"records"`
	Created int64  `json:"created"`
	Updated int64  `json:"updated"`
	Skipped int64  `json:"skipped"` // who is there already, and stays as they are
	Refused int64  `json:"refused"`
}

// Run imports.
func (c *userImport) Run(p *program) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) (err error) {
		report, shown, err := c.report()
		if err != nil {
			return err
		}
		bar := p.progress()
		o.Report, o.Progress = report, func(at transfer.Progress) { bar.at(at.Records, at.Total) }
		s.wrote = true
		result, err := s.transfers().Import(s.ctx, by, o)
		bar.end()
		if closed := report.Close(); err == nil {
			err = closed
		}
		if errors.Is(err, context.Canceled) {
			fmt.Fprintln(p.err, "The import goes on where it was when the same command is given again.")
		}
		if err != nil {
			return err
		}
		return c.tell(p, result, shown)
	})
}

func (c *userImport) options() (o transfer.Options, err error) {
	o = transfer.Options{
		File: c.File, Format: c.Format, OnConflict: c.OnConflict, Roles: c.Roles, NoPasswords: c.NoPasswords, DryRun: c.DryRun,
		Firebase: transfer.Firebase{SaltSeparator: c.FirebaseSaltSeparator, Rounds: c.FirebaseRounds, MemCost: c.FirebaseMemCost},
	}
	if o.Map, err = transfer.ParseMap(c.Map); err != nil {
		return o, usage("%s See: cardea user import --help", explain(err))
	}
	if _, known := transfer.Formats()[c.Format]; c.Format != "" && !known {
		return o, usage("there is no format %q; there are: %s", c.Format, strings.Join(slices.Sorted(maps.Keys(transfer.Formats())), ", "))
	}
	if _, err := os.Stat(c.File); err != nil {
		return o, fail("the file can not be read: %v", err)
	}
	if c.FirebaseSignerKeyFile != "" {
		if err := app.CheckSecretFile(c.FirebaseSignerKeyFile); err != nil {
			return o, err
		}
		key, err := os.ReadFile(c.FirebaseSignerKeyFile)
		if err != nil {
			return o, err
		}
		o.Firebase.SignerKey = strings.TrimSpace(string(key))
	}
	return o, nil
}

// report opens what refused records are written to. Without a file the first of
// them are kept to be shown.
func (c *userImport) report() (io.WriteCloser, *firstLines, error) {
	if c.Report == "" {
		shown := &firstLines{left: 10}
		return shown, shown, nil
	}
	file, err := os.Create(c.Report)
	return file, &firstLines{}, err
}

// firstLines keeps the first lines of what is written.
type firstLines struct {
	left  int
	lines [][]byte
}

// Write takes one line.
func (f *firstLines) Write(line []byte) (int, error) {
	for l := range bytes.Lines(line) {
		if f.left > 0 {
			f.left--
			f.lines = append(f.lines, bytes.Clone(l))
		}
	}
	return len(line), nil
}

// Close has nothing to do.
func (*firstLines) Close() error { return nil }

// tell says how an import ended. It fails if records were refused; who is there
// already is skipped, unless they were to be changed.
func (c *userImport) tell(p *program, result transfer.Progress, shown *firstLines) error {
	skipped := int64(0)
	if c.OnConflict == transfer.Skip {
		skipped = result.Present
	}
	for _, line := range shown.lines {
		var r transfer.Refusal
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		fmt.Fprintf(p.err, "line %d: %s: %s: %s\n", r.Line, cell(r.Login), r.Code, cell(r.Message))
	}
	form := imported{result.ID, result.State, result.Error, result.Format, result.Records, result.Created, result.Updated, skipped, result.Refused - skipped}
	would := ""
	if c.DryRun {
		would = "would be "
	}
	err := show(p.out, c.JSON, form, "format", form.Format, "records", form.Records,
		would+"created", form.Created, would+"updated", form.Updated, would+"skipped", form.Skipped, would+"refused", form.Refused)
	switch {
	case err != nil:
		return err
	case result.State == transfer.Failed:
		return fmt.Errorf("the import ended early: %s", result.Error)
	case form.Refused > 0 && c.Report == "":
		return fail("%d of %d records were refused; write all of them to a file with --report FILE", form.Refused, form.Records)
	case form.Refused > 0:
		return fail("%d of %d records were refused; see %s", form.Refused, form.Records, c.Report)
	}
	return nil
}

type userExport struct {
	onTenant
	File   string `arg:"" optional:"" help:"Where to; unset, standard output."`
	Format string `default:"jsonl" enum:"jsonl,csv" help:"${enum}. Default: ${default}."`
	Hashes bool   `help:"Export the password hashes too."`
	Yes    bool   `short:"y" help:"Replace the file if there is one, without asking."`
}

// Help implements kong.HelpProvider.
func (userExport) Help() string {
	return "Users come in the order of their ids, so that the same users give the same bytes. cardea user import reads it again without a loss."
}

// Run exports. A file is there whole or not at all.
func (c *userExport) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		if c.File == "" {
			return c.write(p, s, by, p.out)
		}
		if _, err := os.Stat(c.File); err == nil {
			if err := p.confirm(c.Yes, "replace the file "+c.File, filepath.Base(c.File)); err != nil {
				return err
			}
		}
		draft, err := os.CreateTemp(filepath.Dir(c.File), ".export-*")
		if err != nil {
			return err
		}
		err = errors.Join(c.write(p, s, by, draft), draft.Sync(), draft.Close())
		if err == nil {
			err = os.Rename(draft.Name(), c.File)
		}
		if err != nil {
			return errors.Join(err, os.Remove(draft.Name()))
		}
		return nil
	})
}

func (c *userExport) write(p *program, s *session, by access.Actor, out io.Writer) error {
	total, err := s.Users.Count(s.ctx, s.DB, by, noFilter)
	if err != nil {
		return err
	}
	bar := p.progress()
	if out == p.out && app.IsTerminal(p.out) {
		bar = nil // it would stand between the users
	}
	s.wrote = true
	_, err = s.transfers().Export(s.ctx, by, out, transfer.ExportOptions{
		Format: c.Format, Hashes: c.Hashes, Progress: func(users int64) { bar.at(users, total) },
	})
	bar.end()
	return err
}
