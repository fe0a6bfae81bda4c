// Package cli is the command line: it reads arguments, runs one command and says
// how it went, in words and by the exit code.
//
//	serve, dev        run the server
//	tenant, app, …    work on the database directly, beside a running server
//	doctor, config    look for what is wrong
//
// Commands are quiet when all went well, but for what was asked for; that is a
// table for people and JSON with --json. Errors end with the next step. What a
// command does is in the log as done by "command:" and the login of who ran it.
//
// Whoever may run these commands on the installation's own files is its operator,
// so commands ask for no password. An attacker would be somebody else whose text
// reaches a terminal here, a user with a hostile name: whatever does not print is
// replaced. Secrets are printed only by the commands that make them, once.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/problem"
)

// The exit codes. They are part of what scripts rely on.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2 // the command line is not right, or lacks --yes
	exitConfig      = 3 // configuration, master key or state of the database are not right
	exitNotFound    = 4 // what the command line names does not exist
	exitInterrupted = 130
)

// commands is the command line. Its order is that of the help.
type commands struct {
	ConfigFile string `name:"config" placeholder:"FILE" env:"CARDEA_CONFIG" help:"Configuration file in YAML."`

	Serve serve `cmd:"" group:"run" help:"Run the server."`
	Dev   dev   `cmd:"" group:"run" help:"Run a server to develop with: no configuration, a demo tenant, data in ./.cardea."`

	Tenant tenantCommands `cmd:"" group:"data" help:"Tenants: list, create, delete, settings."`
	App    appCommands    `cmd:"" group:"data" help:"Applications and their secrets."`
	Key    keyCommands    `cmd:"" group:"data" help:"API keys."`
	User   userCommands   `cmd:"" group:"data" help:"Users: list, get, create, update, delete, import, export."`
	Log    logCommands    `cmd:"" group:"data" help:"The log of what was done: list it, prove it."`

	Migrate     migrate       `cmd:"" group:"care" help:"Bring the database up to date."`
	Doctor      doctor        `cmd:"" group:"care" help:"Look for what is wrong with the installation."`
	Healthcheck healthcheck   `cmd:"" group:"care" help:"Ask the running server whether it is ready; for containers."`
	Config      configCommand `cmd:"" group:"care" help:"Show the configuration in force and where each value comes from."`
	Breached    breached      `cmd:"" name:"breached-passwords" group:"care" help:"Make the file of stolen passwords that nobody may choose."`
	Version     versionOf     `cmd:"" group:"care" help:"Show the version."`
	Completion  completion    `cmd:"" group:"care" help:"Print a script that completes commands in a shell."`
	Complete    complete      `cmd:"" hidden:"" name:"__complete"`
}

var groups = []kong.Group{
	{Key: "run", Title: "Run:"},
	{Key: "data", Title: "Work on the data:"},
	{Key: "care", Title: "Look after the installation:"},
	{Key: settingsGroup, Title: "Settings (also as CARDEA_… in the environment and as lines of the configuration file):"},
}

// A program is one run of the command line.
type program struct {
	ctx      context.Context // ends at the first signal
	version  string
	in       *os.File
	out, err io.Writer
	file     string            // of the configuration
	flags    map[string]string // settings given as flags
	asJSON   bool              // --json was given
	model    *kong.Application
}

// Main runs the command line of the process and returns its exit code. Version is
// the program's own.
func Main(version string) int {
	keepFilesPrivate()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	defer stop()
	p := &program{ctx: ctx, version: version, in: os.Stdin, out: os.Stdout, err: os.Stderr}
	err := p.run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(p.err, "cardea: "+explain(err))
	}
	return exitCode(err)
}

// usageError is a command line that can not be carried out.
type usageError struct{ what string }

func (u usageError) Error() string { return u.what }

func usage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// failure is one whose text says all there is to do.
type failure struct{ what string }

func (f failure) Error() string { return f.what }

func fail(format string, args ...any) error { return failure{fmt.Sprintf(format, args...)} }

// run parses the arguments and runs the command.
func (p *program) run(args []string) error {
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "--version":
		args = append([]string{"version"}, args[1:]...)
	case args[0] == "help": // as git, go and others have it
		args = append(args[1:], "--help")
	}
	grammar, settings := grammarFor(args), newSettingFlags()
	parser, err := newParser(grammar.Interface(), settings)
	if err != nil {
		return err
	}
	p.model = parser.Model
	ctx, err := parser.Parse(args)
	if err != nil {
		return asUsage(err)
	}
	p.file, p.flags = grammar.Elem().FieldByName("ConfigFile").String(), settings.given()
	p.asJSON = slices.ContainsFunc(ctx.Flags(), func(f *kong.Flag) bool { return f.Name == "json" && f.Target.Bool() })
	return ctx.Run(p)
}

// grammarFor returns a pointer to commands, or to a struct like it that has only
// the command that args begin with: to build the model of all of them takes a
// tenth of the time that a server has to start.
func grammarFor(args []string) reflect.Value {
	t := reflect.TypeFor[commands]()
	for i := range t.NumField() {
		field := t.Field(i)
		if _, isCommand := field.Tag.Lookup("cmd"); isCommand && strings.ToLower(field.Name) == args[0] && field.Type != reflect.TypeFor[complete]() {
			file, _ := t.FieldByName("ConfigFile")
			return reflect.New(reflect.StructOf([]reflect.StructField{file, field}))
		}
	}
	return reflect.New(t)
}

// newParser builds the model of the command line, which parses into grammar and
// settings.
func newParser(grammar any, settings settingFlags) (*kong.Kong, error) {
	return kong.New(grammar,
		kong.Name("cardea"),
		kong.Description("Cardea keeps the users of a software product, in isolated tenants, and signs them in, is an OpenID provider, and answers the APIs of SSOJet and KOBIL."),
		kong.ExplicitGroups(groups),
		kong.Embed(settings.target, `group:"`+settingsGroup+`"`),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100}),
		kong.Help(printHelp),
	)
}

func asUsage(err error) error {
	next := "cardea --help"
	if parse, ok := errors.AsType[*kong.ParseError](err); ok {
		if selected := parse.Context.Selected(); selected != nil {
			next = selected.FullPath() + " --help"
		}
	}
	return usage("%v; see: %s", err, next)
}

// explain is what a person is told of an error.
func explain(err error) string {
	if faults, ok := errors.AsType[app.Faults](err); ok {
		text := "the configuration is not right:\n  " + strings.ReplaceAll(faults.Error(), "\n", "\n  ")
		return text + "\nSee what is in force with: cardea config"
	}
	if p, ok := problem.From(err); ok {
		return withHint(p)
	}
	_, isTold := errors.AsType[failure](err)
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case isTold:
		return err.Error()
	case exitCode(err) == exitFailed:
		return err.Error() + "; look for the cause with: cardea doctor"
	}
	return err.Error()
}

// hints are the next step after a problem, by its code.
var hints = map[string]string{
	"tenant_not_found":      "cardea tenant list",
	"application_not_found": "cardea app list",
	"resource_not_found":    "cardea key list",
	"user_not_found":        "cardea user list --search TEXT",
	"user_exists":           "cardea user get LOGIN",
	"tenant_exists":         "cardea tenant list",
	"invalid_scope":         "cardea key create --help",
	// Most often it is a column of another name.
	"unreadable_import_file": "cardea user import --help, for a CSV file --map email=HEADING",
}

func withHint(p *problem.Problem) string {
	if hint, ok := hints[p.Code]; ok {
		return p.Message + " See: " + hint
	}
	return p.Message
}

func exitCode(err error) int {
	p, isProblem := problem.From(err)
	_, isUsage := errors.AsType[usageError](err)
	_, isFaults := errors.AsType[app.Faults](err)
	switch {
	case err == nil:
		return exitOK
	case isUsage:
		return exitUsage
	case isFaults, errors.Is(err, app.ErrNotDevelopers), errors.Is(err, app.ErrNoDatabase), errors.Is(err, app.ErrNotMigrated), errors.Is(err, app.ErrWrongKey):
		return exitConfig
	case isProblem && p.Kind == problem.NotFound:
		return exitNotFound
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}
