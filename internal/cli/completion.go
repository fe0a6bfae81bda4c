package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completion prints a script for a shell.
type completion struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"${enum}."`
}

// Help implements kong.HelpProvider.
func (completion) Help() string {
	return "For bash: source <(cardea completion bash). For zsh: the same with zsh, after compinit. " +
		"For fish: cardea completion fish | source. Put that into the shell's start file to keep it."
}

// The scripts only pass on the words typed so far: what may come next is known to
// the program, so it can not be out of date.
var scripts = map[string]string{
	"bash": `_cardea() {
  local IFS=$'\n'
  COMPREPLY=($(cardea __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _cardea cardea
`,
	"zsh": `_cardea() {
  local -a candidates
  candidates=("${(@f)$(cardea __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${candidates[*]}" ]]; then compadd -- "${candidates[@]}"; else _files; fi
}
compdef _cardea cardea
`,
	"fish": `complete -c cardea -f -a '(cardea __complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
`,
}

// Run prints the script.
func (c *completion) Run(p *program) error {
	_, err := fmt.Fprint(p.out, scripts[c.Shell])
	return err
}

// complete is what the scripts call.
type complete struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run prints what the last word may become, one a line.
func (c *complete) Run(p *program) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, candidate := range candidates(p.model.Node, words) {
		fmt.Fprintln(p.out, candidate)
	}
	return nil
}

// candidates follows the words to a command and returns what the last one may be.
func candidates(node *kong.Node, words []string) (out []string) {
	if len(words) == 0 {
		words = []string{""}
	}
	typed, last := words[:len(words)-1], words[len(words)-1]
	flags := slices.Clone(node.Flags)
	for _, word := range typed {
		for _, child := range node.Children {
			if child.Name == word {
				node = child
				flags = append(flags, child.Flags...)
				break
			}
		}
	}
	add := func(word string) {
		if strings.HasPrefix(word, last) && !slices.Contains(typed, word) {
			out = append(out, word)
		}
	}
	if strings.HasPrefix(last, "-") {
		for _, flag := range flags {
			add("--" + flag.Name)
		}
	} else if !takesValue(flags, typed) {
		for _, child := range node.Children {
			if !child.Hidden {
				add(child.Name)
			}
		}
		for _, argument := range node.Positional {
			for _, choice := range argument.EnumSlice() {
				add(choice)
			}
		}
	}
	slices.Sort(out)
	return out
}

// takesValue reports whether the word before is a flag that waits for its value.
func takesValue(flags []*kong.Flag, typed []string) bool {
	if len(typed) == 0 {
		return false
	}
	name, isFlag := strings.CutPrefix(typed[len(typed)-1], "--")
	return isFlag && slices.ContainsFunc(flags, func(f *kong.Flag) bool { return f.Name == name && !f.IsBool() })
}
