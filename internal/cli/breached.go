package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cardea-id/cardea/internal/password"
)

// breached makes the file of stolen passwords.
type breached struct {
	From string `arg:"" help:"File of SHA-1 hashes in ascending order, one a line, as the public list is downloaded; - for standard input."`
	To   string `arg:"" help:"File to write."`
}

// Help implements kong.HelpProvider.
func (breached) Help() string {
	return "The file holds eight bytes of each hash, so a list of a billion takes eight gigabytes. Name it with CARDEA_BREACHED_PASSWORDS: " +
		"nobody can then choose a password that is in it. It is read where it lies and takes no memory."
}

// Run reads one file and writes the other, whole or not at all.
func (c *breached) Run(p *program) (err error) {
	var from io.Reader = p.in
	if c.From != "-" {
		f, err := os.Open(c.From)
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	to, err := os.CreateTemp(filepath.Dir(c.To), ".breached-*")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(to)
	n, err := password.BuildList(from, w)
	err = errors.Join(err, w.Flush(), to.Chmod(0o644), to.Close())
	if err == nil {
		err = os.Rename(to.Name(), c.To)
	}
	if err != nil {
		return errors.Join(err, os.Remove(to.Name()))
	}
	_, err = fmt.Fprintf(p.out, "%d hashes in %s\n", n, c.To)
	return err
}
