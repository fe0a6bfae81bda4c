package transfer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
)

// A format is one kind of file.
type format struct {
	title string
	// list is the members of the object at the top of which one is the list of
	// users, where a JSON file is not a list by itself.
	list []string
	// lines says that it may be an object a line too, although it has a list.
	lines bool
	// json reads a record that is a JSON object, csv one that is a row of CSV. A
	// format has either or both.
	json func(raw []byte, o *Options) (Record, error)
	csv  func(row csvRow, o *Options) (Record, error)
	// signs are names of which one, as a member of a record or of the object at the
	// top, or as a heading, tells the format.
	signs []string
}

// formats are what Import reads.
var formats = map[string]format{
	"jsonl":    {title: "Cardea, JSON lines", json: readOwn},
	"csv":      {title: "CSV with a heading", csv: readCSV},
	"ssojet":   {title: "SSOJet, answer of List All Users", list: []string{"users", "data"}, lines: true, json: readSSOJet, signs: []string{"account_id", "LastLoginAt"}},
	"keycloak": {title: "Keycloak, realm export", list: []string{"users"}, json: readKeycloak, signs: []string{"realm", "createdTimestamp", "emailVerified", "credentials"}},
	"auth0":    {title: "Auth0, user export or import file", json: readAuth0, signs: []string{"user_id", "passwordHash", "custom_password_hash", "_tmp_is_unique"}},
	"firebase": {title: "Firebase, auth:export", list: []string{"users"}, json: readFirebase, signs: []string{"localId"}},
	"cognito":  {title: "Cognito, user import CSV", csv: readCognito, signs: []string{"cognito:username"}},
	"clerk":    {title: "Clerk, user export", list: []string{"data", "users"}, lines: true, json: readClerk, csv: readClerkCSV, signs: []string{"primary_email_address", "email_addresses", "password_hasher"}},
}

// Formats lists the formats that Import reads, by name, with a title for each.
func Formats() map[string]string {
	titles := map[string]string{}
	for name, f := range formats {
		titles[name] = f.title
	}
	return titles
}

func formatNames() string { return strings.Join(slices.Sorted(maps.Keys(formats)), ", ") }

// detect names the format of a file by the names in its first record.
func detect(file io.ReaderAt, length int64) (string, error) {
	r := &reader{splitter: newSplitter(file, length), options: &Options{}}
	if err := r.skipMark(); err != nil {
		return "", err
	}
	r.format = format{json: readOwn, csv: readCSV, list: []string{"users", "data"}, lines: true}
	names := map[string]bool{}
	if err := r.enter(); err != nil {
		return "", err
	}
	for name := range r.heading {
		names[name] = true
	}
	if r.heading == nil {
		if _, err := r.next(); err == nil {
			memberNames(r.text, names)
		}
	}
	for _, format := range []string{"firebase", "ssojet", "cognito", "clerk", "keycloak", "auth0"} {
		if slices.ContainsFunc(formats[format].signs, func(sign string) bool { return names[sign] }) {
			return format, nil
		}
	}
	if r.heading != nil {
		return "csv", nil
	}
	return "jsonl", nil
}

// memberNames adds the names of an object's members.
func memberNames(text []byte, names map[string]bool) {
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) == nil {
		for name := range object {
			names[name] = true
		}
	}
}

// A reader reads the records of one file.
type reader struct {
	*splitter
	format  format
	options *Options
	heading map[string]int // column by heading, of CSV
	ours    bool           // records may come with ids of ours
	buf     []byte
}

// newReader looks at the head of the file, settles the format in o and stands at
// the first record.
func newReader(file io.ReaderAt, length int64, o *Options) (*reader, error) {
	r := &reader{splitter: newSplitter(file, length), options: o}
	if err := r.skipMark(); err != nil {
		return nil, err
	}
	if o.Format == "" {
		var err error
		if o.Format, err = detect(file, length); err != nil {
			return nil, err
		}
	}
	var ok bool
	if r.format, ok = formats[o.Format]; !ok {
		return nil, ErrOptions.Saying("There is no format of that name. Known are %s.", formatNames()).In("format")
	}
	r.ours = o.Format == "jsonl" || o.Format == "csv" || o.Format == "ssojet"
	return r, r.enter()
}

// enter goes to the first record and settles how to find the others.
func (r *reader) enter() error {
	start := r.at
	c, err := r.token()
	switch {
	case errors.Is(err, io.EOF):
		return errFile.Saying("The file is empty.")
	case err != nil:
		return err
	case c == '[' && r.format.json != nil:
		r.find, r.closing = r.findElement, true
		return nil
	}
	r.seek(start)
	switch {
	case r.format.json == nil || r.format.csv != nil && c != '{':
		return r.readHeading()
	case r.format.list == nil && r.isSpread():
		r.find = r.findElement
	case r.format.list == nil || r.format.lines && r.isLines():
		r.find = r.findLine
	default:
		return r.enterList()
	}
	return nil
}

// enterList goes to the list in the object at the top. SSOJet's documentation also
// shows the answer as one user alone.
func (r *reader) enterList() error {
	start := r.at
	err := r.enterArray(r.format.list...)
	if err == nil || r.options.Format != "ssojet" && r.options.Format != "" {
		return err
	}
	r.seek(start)
	r.find = r.findElement
	return nil
}

// firstLine returns the first line that is not blank, as far as the buffer goes, and
// whether it is all of it.
func (r *reader) firstLine() (line []byte, whole bool) {
	head, _ := r.in.Peek(r.in.Size()) // the error only says that there is no more
	line, _, ended := bytes.Cut(bytes.TrimLeft(head, "\r\n\t "), []byte("\n"))
	return line, ended || len(head) < r.in.Size()
}

// isSpread reports whether the first object is written over several lines.
func (r *reader) isSpread() bool {
	line, _ := r.firstLine()
	return string(bytes.TrimSpace(line)) == "{"
}

// isLines reports whether the file is one object a line rather than one object
// with a list in it: whether its first line is a whole object without that list.
func (r *reader) isLines() bool {
	line, whole := r.firstLine()
	var object map[string]json.RawMessage
	if !whole || json.Unmarshal(line, &object) != nil {
		return false
	}
	for _, name := range r.format.list {
		if list := object[name]; len(list) > 0 && list[0] == '[' {
			return false
		}
	}
	return true
}

// readHeading reads the first row of CSV, whose separator is whichever of the
// usual ones it has most.
func (r *reader) readHeading() error {
	line, _ := r.firstLine()
	r.comma = ','
	for _, c := range []byte(";\t|") {
		if bytes.Count(line, []byte{c}) > bytes.Count(line, []byte{r.comma}) {
			r.comma = c
		}
	}
	r.find = r.findRow
	if _, err := r.find(); err != nil {
		return errFile.Saying("The file has no heading.").Because("%w", err)
	}
	names, err := cells(r.text, r.comma)
	if err != nil {
		return errFile.Saying("The heading can not be read.").Because("%w", err)
	}
	r.heading = map[string]int{}
	for i, name := range names {
		r.heading[strings.ToLower(strings.TrimSpace(name))] = i
	}
	return r.checkHeading()
}

// checkHeading refuses a file of which nobody would come in.
func (r *reader) checkHeading() error {
	for field, heading := range r.options.Map {
		if !isField(field) {
			return ErrOptions.Saying("There is no field %q to map a column to.", field).In("map")
		}
		if _, ok := r.heading[strings.ToLower(heading)]; !ok {
			return ErrOptions.Saying("The file has no column %q.", heading).In("map")
		}
	}
	if r.options.Format != "csv" {
		return nil
	}
	for _, field := range []string{"email", "username", "phone"} {
		if _, ok := r.column(field); ok {
			return nil
		}
	}
	return errFile.Saying("The file has no column email, username or phone. Say which one it is with a mapping.")
}

// column finds the column of one of our fields.
func (r *reader) column(field string) (int, bool) {
	heading := field
	if mapped, ok := r.options.Map[field]; ok {
		heading = strings.ToLower(mapped)
	}
	i, ok := r.heading[heading]
	return i, ok
}

// read decodes a record at its place in the file.
func (r *reader) read(at span) (Record, error) {
	switch at.size {
	case sizeTooLong:
		return Record{}, errTooLong
	case sizeCutOff:
		return Record{}, errCutOff
	}
	r.buf = slices.Grow(r.buf[:0], int(at.size))[:at.size]
	if n, err := r.file.ReadAt(r.buf, at.offset); n < len(r.buf) {
		return Record{}, err
	}
	if r.heading == nil {
		return r.format.json(r.buf, r.options)
	}
	return r.readRow(r.buf)
}

// A key is what records are sorted by: the beginning of what the user signs in
// with. It is found by looking for the name of the member, which is quick and may
// be wrong: only speed hangs on it. Records of users who keep an id of ours have
// an empty one, and so keep their order, which is likely that of the ids.
type key [2]uint64

func (r *reader) key() key {
	login := r.loginInObject()
	if r.heading != nil {
		login = r.loginInRow()
	}
	var prefix [16]byte
	copy(prefix[:], bytes.ToLower(login[:min(len(login), len(prefix))]))
	return key{binary.BigEndian.Uint64(prefix[:8]), binary.BigEndian.Uint64(prefix[8:])}
}

// loginNames are the members that hold what a user signs in with.
var loginNames = [][]byte{[]byte(`"username"`), []byte(`"email"`), []byte(`"email_address"`), []byte(`"phone"`)}

func (r *reader) loginInObject() []byte {
	if r.ours && (bytes.Contains(r.text, []byte(`"id":`)) || bytes.Contains(r.text, []byte(`"_id":`))) {
		return nil
	}
	for _, name := range loginNames {
		_, after, _ := bytes.Cut(r.text, name)
		after = bytes.TrimLeft(after[:min(len(after), 256)], ": ")
		if value, ok := bytes.CutPrefix(after, []byte(`"`)); ok && len(value) > 0 && value[0] != '"' {
			login, _, _ := bytes.Cut(value, []byte(`"`))
			return login
		}
	}
	return nil
}

func (r *reader) loginInRow() []byte {
	row, err := cells(r.text, r.comma)
	if err != nil {
		return nil
	}
	if i, ok := r.column("id"); ok && r.ours && i < len(row) && row[i] != "" {
		return nil
	}
	for _, name := range []string{"username", "email", "primary_email_address", "phone"} {
		if i, ok := r.column(name); ok && i < len(row) && row[i] != "" {
			return []byte(row[i])
		}
	}
	return nil
}
