package cli_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/cardea-id/cardea/internal/app"
	"github.com/cardea-id/cardea/internal/cli"
)

var update = flag.Bool("update", false, "rewrite the guide of the commands")

const guideHead = `# Commands

<!-- Made from the commands themselves by: make generate -->

Commands work on the database directly, so they need its address and the master key, and no password. They may run while servers do, which see a
change within a second. Without any configuration they work on the data of ` + "`cardea dev`" + ` in ` + "`./.cardea`" + `, if there is such a folder.

Commands are quiet when all went well. What they print is a table for people, and JSON with ` + "`--json`" + `. What destroys asks first; where nobody can
be asked it needs ` + "`--yes`" + `. Everything that a command changes is in the log, done by ` + "`command:`" + ` and the login of who ran it.

Every setting can be given to every command as a flag, see [Configuration](configuration.md). A configuration file is named with ` + "`--config FILE`" + `.
The letters in brackets below say which of these a command also takes:

| | |
| --- | --- |
| d | ` + "`--data DIR`" + `: the data folder of ` + "`cardea dev`" + ` to work on |
| t | ` + "`--tenant SLUG`" + `: the tenant to work on; unset, the default tenant |
| j | ` + "`--json`" + `: print JSON |
| y | ` + "`--yes`, `-y`" + `: do not ask |

| Exit code | Means |
| ---: | --- |
| 0 | done |
| 1 | it failed, or what was looked at is not in order |
| 2 | the command line is not right, or lacks ` + "`--yes`" + ` |
| 3 | the configuration, the master key or the state of the database is not right |
| 4 | what the command line names does not exist |
| 130 | interrupted |

`

func TestCommandsGuideIsTheCommittedOne(t *testing.T) {
	t.Parallel()
	model, err := cli.Model()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.WriteString(guideHead)
	group := ""
	for _, command := range model.Leaves(true) {
		if g := command.ClosestGroup(); g.Title != group {
			group = g.Title
			fmt.Fprintf(&b, "## %s\n\n", strings.TrimSuffix(group, ":"))
		}
		describe(&b, command)
	}
	const path = "../../docs/guides/commands.md"
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s is out of date: run `make generate` and look at what changed", path)
	}
}

func describe(b *bytes.Buffer, command *kong.Node) {
	usage := command.FullPath()
	for _, argument := range command.Positional {
		usage += " " + argument.Summary()
	}
	common := ""
	for _, flag := range command.Flags {
		if isCommon(command, flag) {
			common += flag.Name[:1]
		}
	}
	if common != "" {
		common = " [" + common + "]"
	}
	fmt.Fprintf(b, "### `%s`%s\n\n%s", usage, common, command.Help)
	if command.Detail != "" {
		b.WriteString("\n\n" + command.Detail)
	}
	b.WriteString("\n\n")
	rows := 0
	row := func(name, help string) {
		if rows++; rows == 1 {
			b.WriteString("| | |\n| --- | --- |\n")
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", strings.ReplaceAll(name, "|", `\|`), strings.ReplaceAll(help, "|", `\|`))
	}
	for _, argument := range command.Positional {
		row(strings.Trim(argument.Summary(), "[]"), argument.Help)
	}
	for _, flag := range command.Flags {
		if !flag.Hidden && flag.Name != "help" && !isCommon(command, flag) {
			row(strings.Replace(flag.String(), "--", map[bool]string{true: "--[no-]", false: "--"}[flag.Negated || flag.Tag.Negatable != ""], 1), flag.Help)
		}
	}
	if rows > 0 {
		b.WriteString("\n")
	}
}

// isCommon reports whether a flag is one of those that the head of the guide tells of.
func isCommon(command *kong.Node, flag *kong.Flag) bool {
	switch flag.Name {
	case "data":
		return command.Name != "dev"
	case "tenant", "json", "yes":
		return true
	}
	return false
}

func TestEveryCommandIsDescribed(t *testing.T) {
	t.Parallel()
	model, err := cli.Model()
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range model.Leaves(true) {
		if !strings.HasSuffix(command.Help, ".") {
			t.Errorf("%s: %q is not a sentence", command.FullPath(), command.Help)
		}
		for _, flag := range command.Flags {
			if flag.Group != nil && flag.Group.Key == cli.SettingsGroup {
				t.Errorf("%s --%s hides a setting", command.FullPath(), flag.Name)
			}
			if !strings.HasSuffix(flag.Help, ".") {
				t.Errorf("%s --%s: %q is not a sentence", command.FullPath(), flag.Name, flag.Help)
			}
		}
		for _, argument := range command.Positional {
			if !strings.HasSuffix(argument.Help, ".") {
				t.Errorf("%s %s: %q is not a sentence", command.FullPath(), argument.Name, argument.Help)
			}
		}
	}
}

// The guide to deploying names settings and commands that exist, and its example
// is a configuration.
func TestDeployingGuideIsTrue(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/guides/deploying.md")
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]bool{"CARDEA_CONFIG": true}
	for _, s := range app.Settings {
		settings[s.Env()], settings[s.Env()+"_FILE"] = true, s.Secret
	}
	for _, name := range regexp.MustCompile(`CARDEA_[A-Z_]+`).FindAllString(string(text), -1) {
		if !settings[name] {
			t.Errorf("there is no setting %s", name)
		}
	}
	model, err := cli.Model()
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string]bool{}
	for _, command := range model.Leaves(true) {
		commands[command.FullPath()] = true
		commands[strings.Join(strings.Fields(command.FullPath())[:2], " ")] = true
	}
	for _, line := range regexp.MustCompile("(?m)(?:^|[`/])(cardea [a-z]+(?: [a-z]+)?)(?:[ `]|$)").FindAllStringSubmatch(string(text), -1) {
		words := strings.Fields(line[1])
		if !commands[line[1]] && !commands[strings.Join(words[:2], " ")] {
			t.Errorf("there is no command %q", line[1])
		}
	}
	yaml := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)[1]
	dir := t.TempDir()
	key := filepath.Join(dir, "master.key")
	if err := os.WriteFile(key, []byte(testKey), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "cardea.yaml")
	if err := os.WriteFile(file, bytes.ReplaceAll(yaml, []byte("/etc/cardea/master.key"), []byte(key)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := app.Load(app.Sources{File: file}, "public_url", "master_key")
	if err != nil || len(cfg.Warnings) > 0 {
		t.Errorf("the example: %v, %q", err, cfg.Warnings)
	}
}
