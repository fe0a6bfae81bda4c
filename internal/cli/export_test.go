package cli

import "github.com/alecthomas/kong"

// Model is the command line, for the test of its guide.
func Model() (*kong.Application, error) {
	parser, err := newParser(&commands{}, newSettingFlags())
	if err != nil {
		return nil, err
	}
	return parser.Model, nil
}

// SettingsGroup is the group of the flags that every command has.
const SettingsGroup = settingsGroup
