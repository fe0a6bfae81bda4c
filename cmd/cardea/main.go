// Command cardea is the server and its tools.
package main

import (
	"os"

	"github.com/cardea-id/cardea/internal/cli"
)

// version is set by the linker, see the Makefile.
var version = "devel"

func main() { os.Exit(cli.Main(version)) }
