package cli

import (
	"errors"
	"fmt"

	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/database"
)

// migrate brings the database up to date.
type migrate struct {
	onDatabase
	format
	DryRun bool `help:"Only list the steps that are missing."`
}

// Help implements kong.HelpProvider.
func (migrate) Help() string {
	return "It makes the database if it is missing, runs the steps it lacks and prints them. Servers of the version before go on working beside it. " +
		"cardea serve does the same at its start."
}

// Run migrates. It needs no master key.
func (c *migrate) Run(p *program) (err error) {
	folder, err := c.folder(p)
	if err != nil {
		return err
	}
	cfg, err := c.load(p, folder)
	p.warn(cfg.Unknown)
	if err != nil {
		return err
	}
	c.tellFolder(p, folder)
	if err := app.FindDatabase(cfg.Config); err != nil && c.DryRun {
		return err // a look must not make anything
	}
	db, err := database.Open(p.ctx, cfg.DatabaseURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	steps, err := db.Pending(p.ctx)
	if err == nil && !c.DryRun {
		err = db.Migrate(p.ctx)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(p.out, append([]string{}, steps...))
	}
	for _, step := range steps {
		fmt.Fprintln(p.out, step)
	}
	return nil
}
