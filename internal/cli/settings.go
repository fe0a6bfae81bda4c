package cli

import (
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/cardea-id/cardea/internal/app"
)

const settingsGroup = "settings"

// settingFlags are the flags of the settings, made from app.Settings: one each, and
// one for the file of each secret. A flag that was not given is nil.
type settingFlags struct {
	target any      // pointer to a struct of *string, for kong
	names  []string // of the fields
}

func newSettingFlags() settingFlags {
	var f settingFlags
	var fields []reflect.StructField
	add := func(name, flag, placeholder, help string) {
		tag := fmt.Sprintf("name:%s placeholder:%s help:%s", strconv.Quote(flag), strconv.Quote(placeholder), strconv.Quote(help))
		fields = append(fields, reflect.StructField{
			Name: "Setting" + strconv.Itoa(len(fields)), Type: reflect.TypeFor[*string](), Tag: reflect.StructTag(tag),
		})
		f.names = append(f.names, name)
	}
	for _, s := range app.Settings {
		help := s.Help
		if s.Default != "" {
			help += " Default: " + s.Default + "."
		}
		add(s.Name, s.Flag(), s.Placeholder, help)
		if s.Secret {
			add(s.Name+"_file", s.Flag()+"-file", "FILE", "File that holds it, in place of --"+s.Flag()+".")
		}
	}
	f.target = reflect.New(reflect.StructOf(fields)).Interface()
	return f
}

// given returns the settings that stand on the command line, by name.
func (f settingFlags) given() map[string]string {
	out := map[string]string{}
	v := reflect.ValueOf(f.target).Elem()
	for i, name := range f.names {
		if value := v.Field(i).Interface().(*string); value != nil {
			out[name] = *value
		}
	}
	return out
}

// showsSettings are the commands whose help lists the flags of all settings. They
// work everywhere, but would bury the help of the others.
func showsSettings(node *kong.Node) bool {
	return node != nil && (node.Name == "serve" || node.Name == "config")
}

func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	if !showsSettings(ctx.Selected()) {
		for _, flag := range ctx.Model.Flags {
			flag.Hidden = flag.Hidden || flag.Group != nil && flag.Group.Key == settingsGroup
		}
	}
	return kong.DefaultHelpPrinter(options, ctx)
}

// load reads the configuration. A folder is the developer's; empty is none.
func (p *program) load(folder string, required ...string) (app.Loaded, error) {
	return p.loadFrom(app.Sources{Folder: folder}, required...)
}

func (p *program) loadFrom(src app.Sources, required ...string) (app.Loaded, error) {
	src.Flags, src.Environ, src.File = p.flags, os.Environ(), p.file
	cfg, err := app.Load(src, required...)
	cfg.Version = p.version
	return cfg, err
}

// warn tells of variables that look like settings and are none.
func (p *program) warn(unknown []string) {
	for _, w := range unknown {
		fmt.Fprintln(p.err, "cardea: warning: "+w)
	}
}

const defaultFolder = ".cardea"

// onDatabase is what commands have in common that work on the database.
type onDatabase struct {
	Data string `placeholder:"DIR" help:"Data folder of cardea dev to work on, whatever else is configured. Without a configuration that is ./.cardea, if there is one."`
}

// load reads the configuration for a command. The folder is the one it works on, if
// any: what a folder that was named says is stronger than the environment.
func (d onDatabase) load(p *program, folder string, required ...string) (app.Loaded, error) {
	return p.loadFrom(app.Sources{Folder: folder, FolderNamed: d.Data != ""}, required...)
}

// folder returns the developer's data folder to work on, if any: the one that is
// named, or the usual one if no configuration says which database is meant.
func (d onDatabase) folder(p *program) (string, error) {
	if d.Data != "" {
		if !app.IsFolder(d.Data) {
			return "", fmt.Errorf("%w in %s: that is no data folder of cardea dev, there is no bootstrap.json", app.ErrNoDatabase, d.Data)
		}
		return d.Data, nil
	}
	cfg, err := p.load("")
	if err != nil {
		return "", nil // load will fail for the command too, and be reported there
	}
	if isConfigured(cfg) || !app.IsFolder(defaultFolder) {
		return "", nil
	}
	return defaultFolder, nil
}

// isConfigured reports whether the configuration says which database is meant.
func isConfigured(cfg app.Loaded) bool {
	return cfg.From("database_url") != app.FromDefault || cfg.From("master_key") != app.FromDefault
}

// mustFind says where the data may be if neither a configuration nor a folder here
// names it.
func (d onDatabase) mustFind(p *program, folder string) error {
	if cfg, err := p.load(""); folder != "" || p.file != "" || err != nil || isConfigured(cfg) {
		return nil
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	return fmt.Errorf("%w to work on: no .cardea here in %s, and no configuration. Go to the folder that has it, give --data DIR, or configure: "+
		"name a file with --config or %s", app.ErrNoDatabase, here, app.ConfigFileVariable)
}

// tellFolder says on a terminal which database it is that nobody has named.
func (d onDatabase) tellFolder(p *program, folder string) {
	if folder != "" && d.Data == "" && !p.asJSON && app.IsTerminal(p.out) {
		fmt.Fprintf(p.err, "On the developer's data in %s, because nothing is configured here.\n", folder)
	}
}

// configCommand shows the configuration.
type configCommand struct {
	onDatabase
	format
}

// Help implements kong.HelpProvider.
func (configCommand) Help() string {
	return "Values come from, the strongest first: flags, the environment, the configuration file, defaults. Secrets are masked."
}

// Run shows it, also when it is not right; what is wrong comes after it.
func (c *configCommand) Run(p *program) error {
	folder, err := c.folder(p)
	if err != nil {
		return err
	}
	cfg, err := c.load(p, folder)
	if printErr := list(p.out, c.JSON, cfg.Values, "SETTING VALUE FROM", func(v app.Value) []any {
		return []any{v.Name, v.Value, v.From}
	}); printErr != nil {
		return printErr
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintln(p.err, "warning: "+w)
	}
	return err
}

// versionOf shows what is running.
type versionOf struct{ format }

// Run shows the version.
func (c *versionOf) Run(p *program) error {
	b := buildOf(p.version)
	if c.JSON {
		return printJSON(p.out, b)
	}
	_, err := fmt.Fprintln(p.out, strings.TrimSpace("cardea "+b.Version+" "+b.Commit), b.Go, b.OS+"/"+b.Arch)
	return err
}
