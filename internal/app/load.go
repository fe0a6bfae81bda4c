package app

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// envPrefix begins the name of every setting in the environment.
const envPrefix = "CARDEA_"

// fileSuffix behind the name of a secret says that its value is in a file.
const fileSuffix = "_file"

// Sources are the places a configuration comes from, the strongest first. In each
// of them settings have the same names, and a secret may be given as a file.
type Sources struct {
	Flags   map[string]string // given on the command line, by the name of the setting
	Environ []string          // as of os.Environ
	File    string            // a YAML file, or empty
	Folder  string            // the developer's data folder, or empty; it makes Config.Dev true
	// FolderNamed says that somebody has named the folder to work on its data: what
	// it says is then stronger than environment and file, so that one's database is
	// never opened with the other's key.
	FolderNamed bool
}

// A Loaded configuration knows where each value came from.
type Loaded struct {
	Config
	Values   []Value // in the order of Settings
	Warnings []string
	Unknown  []string // those of the warnings that are about variables which are no settings
}

// A Value is one setting as it is in force, fit to be shown.
type Value struct {
	Name  string `json:"name"`
	Value string `json:"value"` // secrets are masked
	From  string `json:"from"`  // "--listen", "CARDEA_LISTEN", "cardea.yaml line 3", "default"
}

// FromDefault is Value.From of a setting that nobody has set.
const FromDefault = "default"

// FromFolder begins Value.From of what the developer's data folder says.
const FromFolder = "developer's folder "

// From says where the value of a setting came from.
func (l *Loaded) From(setting string) string {
	for _, v := range l.Values {
		if v.Name == setting {
			return v.From
		}
	}
	return ""
}

// A Fault is one thing wrong with a configuration.
type Fault struct {
	Setting string `json:"setting"` // empty if it is none's in particular
	From    string `json:"from"`
	What    string `json:"what"` // what it is and what to do about it
}

// Faults is everything that is wrong with a configuration. Secrets are not in it.
type Faults []Fault

func (f Faults) Error() string {
	var b strings.Builder
	for i, x := range f {
		if i > 0 {
			b.WriteByte('\n')
		}
		if x.Setting != "" {
			b.WriteString(x.Setting)
			if x.From != "" && x.From != FromDefault {
				b.WriteString(" (" + x.From + ")")
			}
			b.WriteString(": ")
		} else if x.From != "" {
			b.WriteString(x.From + ": ")
		}
		b.WriteString(x.What)
	}
	return b.String()
}

// given is the value that one source has for a setting, or the fault in finding it.
type given struct{ value, from string }

// Load puts a configuration together and checks it. The settings named in required
// must be set. The error is of type Faults and has everything that is wrong; what
// could be read is returned beside it.
func Load(src Sources, required ...string) (Loaded, error) {
	l := loader{}
	layers := []map[string]given{l.flags(src.Flags), l.environ(src.Environ), l.file(src.File), l.folder(src.Folder, src.FolderNamed)}
	if src.FolderNamed {
		layers = []map[string]given{layers[0], layers[3], layers[1], layers[2]}
	}
	out := Loaded{Config: Config{Dev: src.Folder != "", DataDir: src.Folder}}
	for _, s := range Settings {
		g := l.first(s, layers)
		*s.of(&out.Config) = g.value
		out.Values = append(out.Values, Value{s.Name, s.mask(g.value), g.from})
	}
	if src.FolderNamed {
		l.matchFolder(&out)
	}
	for _, name := range required {
		if s := setting(name); *s.of(&out.Config) == "" && !l.blamed(name) {
			l.blame(name, "", "it is missing: %s Set %s, --%s, or %s in the configuration file.", s.Help, s.Env(), s.Flag(), s.Name)
		}
	}
	out.check(func(setting, format string, args ...any) { l.blame(setting, out.From(setting), format, args...) })
	out.Unknown, out.Warnings = l.warnings, append(slices.Clip(l.warnings), out.warnings(time.Now())...)
	if len(l.faults) > 0 {
		return out, l.faults
	}
	return out, nil
}

// setting returns the setting of a name that is known to be one.
func setting(name string) Setting {
	i := slices.IndexFunc(Settings, func(s Setting) bool { return s.Name == name })
	return Settings[i]
}

// known returns the setting that a name in a source stands for, and whether the
// name is that of the secret's file.
func known(name string) (s Setting, isFile, ok bool) {
	for _, s := range Settings {
		if s.Name == name || s.Secret && s.Name+fileSuffix == name {
			return s, s.Name != name, true
		}
	}
	return Setting{}, false, false
}

type loader struct {
	faults         Faults
	warnings       []string
	folderDatabase string // the one that the developer's folder belongs to, if it is not in it
}

func (l *loader) blame(setting, from, format string, args ...any) {
	l.faults = append(l.faults, Fault{setting, from, fmt.Sprintf(format, args...)})
}

func (l *loader) blamed(setting string) bool {
	return slices.ContainsFunc(l.faults, func(f Fault) bool { return f.Setting == setting })
}

// first returns what the strongest source says of s.
func (l *loader) first(s Setting, layers []map[string]given) given {
	for _, layer := range layers {
		direct, ok := layer[s.Name]
		file, isFile := layer[s.Name+fileSuffix]
		switch {
		case ok && isFile && s.Secret:
			l.blame(s.Name, direct.from, "it is set twice, here and by %s: remove one of them", file.from)
			return direct
		case ok:
			return direct
		case isFile && s.Secret:
			return l.readSecret(s, file)
		}
	}
	return given{s.Default, FromDefault}
}

// readSecret returns the content of a secret's file, without the line break that
// editors put at its end.
func (l *loader) readSecret(s Setting, file given) given {
	if err := CheckSecretFile(file.value); err != nil {
		l.blame(s.Name, file.from, "%v", err)
		return given{"", file.from}
	}
	text, err := os.ReadFile(file.value)
	if err != nil {
		l.blame(s.Name, file.from, "the file can not be read: %v", err)
	}
	value := strings.TrimRight(string(text), "\r\n")
	if err == nil && value == "" {
		l.blame(s.Name, file.from, "the file %s is empty", file.value)
	}
	return given{value, file.from}
}

func (l *loader) flags(flags map[string]string) map[string]given {
	layer := map[string]given{}
	for name, value := range flags {
		layer[name] = given{value, "--" + strings.ReplaceAll(name, "_", "-")}
	}
	return layer
}

// ConfigFileVariable names the configuration file in the environment.
const ConfigFileVariable = envPrefix + "CONFIG"

// environ reads the variables. An empty one counts as not set, because that is what
// files for containers make of a variable they pass on. An unknown one is only
// worth a warning: the environment is not ours alone.
func (l *loader) environ(environ []string) map[string]given {
	layer := map[string]given{}
	for _, pair := range environ {
		variable, value, _ := strings.Cut(pair, "=")
		rest, ours := strings.CutPrefix(variable, envPrefix)
		if !ours || value == "" || variable == ConfigFileVariable || isForeign(rest) {
			continue
		}
		name := strings.ToLower(rest)
		if _, _, ok := known(name); !ok || variable != envPrefix+strings.ToUpper(name) {
			l.warnings = append(l.warnings, variable+" is not a setting and has no effect"+suggest(name, func(s string) string { return envPrefix + strings.ToUpper(s) }))
			continue
		}
		layer[name] = given{value, variable}
	}
	slices.Sort(l.warnings)
	return layer
}

// isForeign knows what others put under our prefix: our own tests, and Kubernetes
// for a service that is called cardea.
func isForeign(rest string) bool {
	return strings.HasPrefix(rest, "TEST_") || strings.HasPrefix(rest, "SERVICE_") || rest == "PORT" || strings.HasPrefix(rest, "PORT_")
}

// file reads the YAML file: settings and their values, without any nesting.
func (l *loader) file(path string) map[string]given {
	layer := map[string]given{}
	if path == "" {
		return layer
	}
	text, err := os.ReadFile(path)
	if err != nil {
		l.blame("", "--config "+path, "the configuration file can not be read: %v", err)
		return layer
	}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		l.blame("", path+lineOf(err), "this is not YAML: write one setting a line, as name: value")
		return layer
	}
	for _, doc := range tree.Docs {
		l.entries(path, doc.Body, layer)
	}
	for _, s := range Settings {
		if value := layer[s.Name].value; s.mask(value) != value {
			if err := CheckSecretFile(path); err != nil {
				l.blame("", "--config", "%v, or keep %s in a file of its own with %s", err, s.Name, s.Name+fileSuffix)
			}
			break
		}
	}
	return layer
}

// lineOf says where in the file an error is. The error itself would quote the lines
// around, which may hold a secret.
func lineOf(err error) string {
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil && e.GetToken().Position != nil {
		return fmt.Sprintf(" line %d", e.GetToken().Position.Line)
	}
	return ""
}

func (l *loader) entries(path string, body ast.Node, layer map[string]given) {
	mapping, ok := body.(ast.MapNode)
	if !ok {
		if body != nil && body.Type() != ast.NullType && body.Type() != ast.CommentType {
			l.blame("", path, "this is not a list of settings: write one setting a line, as name: value")
		}
		return
	}
	for entry := mapping.MapRange(); entry.Next(); {
		name, from := entry.Key().GetToken().Value, fmt.Sprintf("%s line %d", path, entry.Key().GetToken().Position.Line)
		value, isScalar := scalar(entry.Value())
		switch _, _, ok := known(name); {
		case !ok:
			l.blame(name, from, "there is no such setting%s", suggest(name, func(s string) string { return s }))
		case !isScalar:
			l.blame(name, from, "its value is one text, not a list or a table; several are separated by commas")
		case entry.Value().Type() != ast.NullType: // nothing behind the colon is nothing said
			layer[name] = given{value, from}
		}
	}
}

// scalar returns the text of a value as it stands in the file: a key of digits only
// must not become a number on the way.
func scalar(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimRight(n.Value.Value, "\n"), true
	case ast.ScalarNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// Files of the developer's data folder.
const (
	bootstrapFile = "bootstrap.json"
	masterKeyFile = "master.key"
	databaseFile  = "cardea.db"
)

// folder is what the developer's data folder says. Unless it was named it is the
// weakest source, so that all else can be set as for a server.
func (l *loader) folder(dir string, named bool) map[string]given {
	layer := map[string]given{}
	if dir == "" {
		return layer
	}
	from := FromFolder + dir
	if key := filepath.Join(dir, masterKeyFile); named || IsFolder(dir) || fileExists(key) { // a new one gets it in PrepareFolder
		layer["master_key"+fileSuffix] = given{key, from}
	}
	layer["database_url"] = given{"sqlite:" + filepath.Join(dir, databaseFile), from}
	layer["default_tenant"] = given{demo, from}
	b, err := readBootstrap(dir)
	switch {
	case err == nil:
		layer["public_url"] = given{b.PublicURL, from}
		if b.Database != "" && named { // which has a password that is not written here
			delete(layer, "database_url")
			l.folderDatabase = b.Database
		}
	case !errors.Is(err, fs.ErrNotExist):
		l.blame("", from, "%v", err)
	}
	return layer
}

// matchFolder sees that the database is the one of the folder that was named.
func (l *loader) matchFolder(out *Loaded) {
	from := out.From("database_url")
	if l.folderDatabase != "" && out.databaseName() != l.folderDatabase {
		l.blame("database_url", from, "the folder %s belongs to the database %s: set it to that, with its password", out.DataDir, l.folderDatabase)
	}
	if l.folderDatabase == "" && !out.isFoldersOwn() {
		l.blame("database_url", from, "the folder %s has a database of its own: leave one of the two out", out.DataDir)
	}
}

// suggest names the setting that was probably meant.
func suggest(name string, form func(string) string) string {
	names := map[string]bool{}
	for _, s := range Settings {
		names[s.Name] = true
		if s.Secret {
			names[s.Name+fileSuffix] = true
		}
	}
	sorted := slices.Sorted(maps.Keys(names))
	best := slices.MinFunc(sorted, func(a, b string) int { return cmp.Compare(distance(name, a), distance(name, b)) })
	if distance(name, best) > 2+len(best)/6 {
		return "; cardea config lists those there are"
	}
	return "; do you mean " + form(best) + "?"
}

// distance is the number of letters to insert, remove or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
