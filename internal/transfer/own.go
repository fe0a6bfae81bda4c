package transfer

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// readOwn reads a record of our own JSON lines.
func readOwn(raw []byte, _ *Options) (r Record, err error) {
	return r, decode(raw, &r)
}

// fields are the columns of our CSV in order: the members of Record.
var fields = []string{
	"id", "username", "email", "email_verified", "phone", "phone_verified", "first_name", "last_name", "is_active",
	"groups", "raw_attributes", "roles", "required_actions", "addresses", "language", "created_at", "modified_at", "last_login_at",
	"password_hash", "password_temporary", "password_changed_at",
}

// moreFields are read but not written.
var moreFields = []string{"password_algorithm", "password_salt", "password_iterations", "password_order"}

const attributePrefix = "attributes."

func isField(name string) bool {
	return slices.Contains(fields, name) || slices.Contains(moreFields, name) ||
		strings.HasPrefix(name, attributePrefix) && len(name) > len(attributePrefix)
}

// readRow reads a row of CSV with the format's own function.
func (r *reader) readRow(raw []byte) (Record, error) {
	if !utf8.Valid(raw) {
		return Record{}, errRecord.Saying("The row is not valid UTF-8.")
	}
	if strings.IndexByte(string(raw), 0) >= 0 {
		return Record{}, errRecord.Saying("The row contains a NUL character.")
	}
	row, err := cells(raw, r.comma)
	if err != nil {
		return Record{}, err
	}
	if len(row) > len(r.heading) {
		return Record{}, errRecord.Saying("The row has %d cells, the heading %d.", len(row), len(r.heading))
	}
	return r.format.csv(csvRow{r, row}, r.options)
}

// A csvRow is a row of CSV with the heading above it.
type csvRow struct {
	*reader
	cells []string
}

// cell returns the cell below a heading; empty if there is none.
func (row csvRow) cell(heading string) string {
	if i, ok := row.column(heading); ok && i < len(row.cells) {
		return row.cells[i]
	}
	return ""
}

// readCSV reads a row whose headings are our fields, or are mapped to them.
func readCSV(row csvRow, o *Options) (r Record, err error) {
	cell := func(field string) string { return strings.TrimSpace(plain(row.cell(field))) }
	r = Record{
		ID: cell("id"), Username: cell("username"), Email: cell("email"), Phone: cell("phone"), FirstName: cell("first_name"), LastName: cell("last_name"), Language: cell("language"),
		PasswordHash: cell("password_hash"), PasswordAlgorithm: cell("password_algorithm"), PasswordSalt: plain(row.cell("password_salt")), PasswordOrder: cell("password_order"),
	}
	var flags [4]*bool
	for i, name := range [...]string{"email_verified", "phone_verified", "is_active", "password_temporary"} {
		if flags[i], err = parseFlag(name, cell(name)); err != nil {
			return r, err
		}
	}
	r.EmailVerified, r.PhoneVerified, r.IsActive, r.PasswordTemporary = flags[0], flags[1], flags[2], isTrue(flags[3])
	for name, into := range map[string]*Moment{"created_at": &r.CreatedAt, "modified_at": &r.ModifiedAt, "last_login_at": &r.LastLoginAt, "password_changed_at": &r.PasswordChangedAt} {
		if *into, err = parseMoment(cell(name)); err != nil {
			return r, err
		}
	}
	if n := cell("password_iterations"); n != "" {
		if r.PasswordIterations, err = strconv.Atoi(n); err != nil {
			return r, errRecord.Saying("password_iterations must be a whole number.")
		}
	}
	if r.Roles, err = parseList("roles", cell("roles")); err != nil {
		return r, err
	}
	if r.RequiredActions, err = parseList("required_actions", cell("required_actions")); err != nil {
		return r, err
	}
	if r.Addresses, err = parseAddresses(cell("addresses")); err != nil {
		return r, err
	}
	return r, readCSVObjects(&r, cell, o)
}

// readCSVObjects reads the cells that hold JSON, and the columns that are mapped
// to single attributes.
func readCSVObjects(r *Record, cell func(field string) string, o *Options) error {
	for name, into := range map[string]*json.RawMessage{"groups": &r.Groups, "raw_attributes": &r.Attributes} {
		if text := cell(name); text != "" {
			if err := decode([]byte(text), into); err != nil {
				return errRecord.Saying("%s must hold JSON.", name)
			}
		}
	}
	attributes := map[string]any{}
	for field := range o.Map {
		if name, ok := strings.CutPrefix(field, attributePrefix); ok && cell(field) != "" {
			attributes[name] = cell(field)
		}
	}
	if len(attributes) == 0 {
		return nil
	}
	var given map[string]json.RawMessage
	if len(r.Attributes) > 0 {
		if err := decode(r.Attributes, &given); err != nil {
			return err
		}
	}
	for name, value := range given {
		attributes[name] = value
	}
	var err error
	r.Attributes, err = object(attributes)
	return err
}

// parseFlag reads a boolean as spreadsheets write it; empty is not given.
func parseFlag(name, text string) (*bool, error) {
	var v bool
	switch strings.ToLower(text) {
	case "":
		return nil, nil
	case "true", "t", "yes", "y", "1", "x":
		v = true
	case "false", "f", "no", "n", "0":
	default:
		return nil, errRecord.Saying("%s must be true or false.", name)
	}
	return &v, nil
}

// parseList reads a JSON array of strings, or words between semicolons.
func parseList(name, text string) (list []string, err error) {
	if strings.HasPrefix(text, "[") {
		if json.Unmarshal([]byte(text), &list) != nil {
			return nil, errRecord.Saying("%s must be a list of texts.", name)
		}
		return list, nil
	}
	for word := range strings.SplitSeq(text, ";") {
		if word = strings.TrimSpace(word); word != "" {
			list = append(list, word)
		}
	}
	return list, nil
}

// parseAddresses reads a JSON array of addresses, or such between semicolons.
func parseAddresses(text string) (list []Address, err error) {
	if strings.HasPrefix(text, "[") {
		if decode([]byte(text), &list) != nil {
			return nil, errRecord.Saying("addresses must be a list of addresses.")
		}
		return list, nil
	}
	for word := range strings.SplitSeq(text, ";") {
		if word = strings.TrimSpace(word); word != "" {
			list = append(list, Address{Value: word})
		}
	}
	return list, nil
}

// A spreadsheet takes a cell that starts with one of these for a formula.
const formulaSigns = "=+-@\t\r＝＋－＠"

// neutral puts an apostrophe before a text that a spreadsheet would run, and
// before one that looks as if it had been treated so already.
func neutral(cell string) string {
	first, size := utf8.DecodeRuneInString(strings.TrimLeft(cell, "'"))
	if size > 0 && strings.ContainsRune(formulaSigns, first) {
		return "'" + cell
	}
	return cell
}

// plain reverses neutral.
func plain(cell string) string {
	if strings.HasPrefix(cell, "'") && neutral(cell[1:]) == cell {
		return cell[1:]
	}
	return cell
}
