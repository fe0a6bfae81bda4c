package transfer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
)

// maxRecord is how many bytes of the file one user may take.
const maxRecord = 1 << 20

// A span is where in the file a record is.
type span struct {
	offset int64
	size   int32 // bytes; or one of the below
	line   int32 // where it starts, from 1
	record int32 // its place among the records, from 1
}

// Instead of a size.
const (
	sizeTooLong = -1
	sizeCutOff  = -2
)

// A position is where a splitter goes on.
type position struct {
	offset int64
	line   int32
	record int32 // the last one before
}

// A splitter finds the records of a file one after the other without decoding
// them. It keeps one record in memory and leaves out what is longer than
// maxRecord, so that nothing in a file makes it grow.
type splitter struct {
	file   io.ReaderAt
	length int64
	in     *bufio.Reader
	at     position
	text   []byte // of the record found last
	find   func() (span, error)

	closing bool // the records are in an array, whose end must come
	comma   byte // between the cells of CSV
	// plain is up to where each line of CSV is taken for a row, since a quote was
	// open all the way to there.
	plain int64
}

func newSplitter(file io.ReaderAt, length int64) *splitter {
	s := &splitter{file: file, length: length, in: bufio.NewReaderSize(nil, 128<<10)}
	s.seek(position{line: 1})
	return s
}

func (s *splitter) seek(to position) {
	s.in.Reset(io.NewSectionReader(s.file, to.offset, s.length-to.offset))
	s.at = to
}

// A watched file is one that stops to be read when ctx ends or still says so, even
// where it has no records for gigabytes.
type watched struct {
	io.ReaderAt
	ctx    context.Context
	still  func(context.Context) error // asked every 16 MiB; nil if there is nobody to ask
	unseen atomic.Int64                // bytes since
}

// ReadAt implements io.ReaderAt.
func (w *watched) ReadAt(p []byte, offset int64) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	if w.still != nil && w.unseen.Add(int64(len(p))) > 16<<20 {
		w.unseen.Store(0)
		if err := w.still(w.ctx); err != nil {
			return 0, err
		}
	}
	return w.ReaderAt.ReadAt(p, offset)
}

// next returns the next record, or io.EOF. Its text stays in s.text until the
// following call.
func (s *splitter) next() (span, error) {
	found, err := s.find()
	if err != nil {
		return span{}, err
	}
	s.at.record++
	found.record = s.at.record
	return found, nil
}

// byte reads one byte.
func (s *splitter) byte() (byte, error) {
	c, err := s.in.ReadByte()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = fmt.Errorf("read the file: %w", err)
		}
		return 0, err
	}
	s.at.offset++
	if c == '\n' {
		s.at.line++
	}
	return c, nil
}

// unread steps back over the byte just read, which is no line end.
func (s *splitter) unread() {
	if err := s.in.UnreadByte(); err != nil {
		panic("transfer: there is nothing to step back over")
	}
	s.at.offset--
}

// token reads the next byte that is not white space.
func (s *splitter) token() (byte, error) {
	for {
		if c, err := s.byte(); err != nil || !isSpace(c) {
			return c, err
		}
	}
}

// afterCommas is token over the commas between elements or members as well.
func (s *splitter) afterCommas() (byte, error) {
	for {
		if c, err := s.token(); err != nil || c != ',' {
			return c, err
		}
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// skipMark steps over a byte order mark. UTF-16 is refused here, since it would
// look like rubbish record by record.
func (s *splitter) skipMark() error {
	head, err := s.in.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the file: %w", err)
	}
	switch {
	case bytes.Equal(head, []byte("\xef\xbb\xbf")):
		s.seek(position{offset: 3, line: 1})
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return errFile.Saying("The file is UTF-16. Save it as UTF-8.")
	}
	return nil
}

// start begins a span at the current position.
func (s *splitter) start() span {
	s.text = s.text[:0]
	return span{offset: s.at.offset, line: s.at.line}
}

// add appends to the record's text, up to the limit.
func (s *splitter) add(f *span, part ...byte) {
	if len(s.text)+len(part) > maxRecord {
		f.size = sizeTooLong
	}
	if f.size != sizeTooLong {
		s.text = append(s.text, part...)
		f.size = int32(len(s.text))
	}
}

// findLine takes each line that is not blank for a record.
func (s *splitter) findLine() (span, error) {
	for {
		f := s.start()
		for {
			part, err := s.in.ReadSlice('\n')
			s.at.offset += int64(len(part))
			s.add(&f, part...)
			if err == nil {
				s.at.line++
				break
			}
			if errors.Is(err, io.EOF) && s.at.offset == f.offset {
				return f, io.EOF
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return f, fmt.Errorf("read the file: %w", err)
			}
		}
		if f.size == sizeTooLong || len(bytes.TrimSpace(s.text)) > 0 {
			return f, nil
		}
	}
}

// findElement takes each element of the array we are in for a record, or each
// value of a sequence. It looks at quotes and brackets only, so a broken element
// does not hide those after it as long as its brackets match.
func (s *splitter) findElement() (span, error) {
	c, err := s.afterCommas()
	switch {
	case errors.Is(err, io.EOF) && s.closing:
		s.closing = false
		f := s.start()
		f.size = sizeCutOff
		return f, nil
	case err != nil:
		return span{}, err
	}
	s.unread()
	if c == ']' && s.closing {
		return span{}, io.EOF // whatever comes after the list
	}
	f := s.start()
	return f, s.value(&f)
}

// value reads one JSON value into the record's text, or what there is of it.
func (s *splitter) value(f *span) error {
	depth, inString, escaped := 0, false, false
	for {
		c, err := s.byte()
		if errors.Is(err, io.EOF) {
			return nil // cut off: what there is will not decode
		}
		if err != nil {
			return err
		}
		outside := depth == 0 && !inString
		if outside && f.size != 0 && (c == ',' || c == ']' || c == '}') { // behind a number or a word
			s.unread()
			return nil
		}
		if outside && f.size != 0 && isSpace(c) {
			return nil
		}
		s.add(f, c)
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		if depth <= 0 && !inString && (c == '"' || c == '}' || c == ']') {
			return nil
		}
	}
}

// enterArray goes to the array that is the value of one of the members of the
// object at the top, over all that stands before it.
func (s *splitter) enterArray(members ...string) error {
	if c, err := s.token(); err != nil || c != '{' {
		return errFile.Saying("The file does not start with an object that has %q.", members[0])
	}
	for {
		var name span
		if err := s.member(&name); err != nil {
			return errFile.Saying("There is no list %q in the file.", members[0]).Because("%w", err)
		}
		key := strings.Trim(string(s.text), `"`)
		c, err := s.token()
		if err != nil {
			return errFile.Saying("There is no list %q in the file.", members[0]).Because("%w", err)
		}
		if c == '[' && slices.Contains(members, key) {
			s.find, s.closing = s.findElement, true
			return nil
		}
		s.unread()
		skipped := s.start()
		if err := s.value(&skipped); err != nil {
			return err
		}
	}
}

// member reads the name of the next member and the colon behind it.
func (s *splitter) member(name *span) error {
	c, err := s.afterCommas()
	if err != nil {
		return err
	}
	if c != '"' {
		return errors.New("the object ends")
	}
	s.unread()
	*name = s.start()
	if err := s.value(name); err != nil {
		return err
	}
	if c, err = s.token(); err == nil && c != ':' {
		err = errors.New("a name without a value")
	}
	return err
}

// findRow takes each row of CSV for a record. A quote that is never closed would
// hide all rows after it: then the row ends with its first line, and so does each
// further one in what has been read for it. Otherwise a file of such rows would be
// read once for each of them.
func (s *splitter) findRow() (span, error) {
	for {
		f, quoted, next, err := s.csvRow()
		if err != nil {
			return f, err
		}
		if quoted && next.offset > 0 {
			s.plain = max(s.plain, s.at.offset)
			if s.at != next { // or the buffer is thrown away for each row
				s.seek(next)
			}
			f.size = sizeTooLong
			return f, nil
		}
		if f.size == sizeTooLong || len(bytes.TrimSpace(s.text)) > 0 {
			return f, nil
		}
	}
}

// csvRow reads a row. If it is too long or the file ends within quotes, or its
// first line does where lines are rows, quoted is true and next is where its second
// line starts.
func (s *splitter) csvRow() (f span, quoted bool, next position, err error) {
	f = s.start()
	fresh, closed := true, false // at the start of a cell, or behind a quote that closed: where a quote opens
	for {
		c, err := s.byte()
		switch {
		case errors.Is(err, io.EOF) && s.at.offset == f.offset:
			return f, false, next, io.EOF
		case errors.Is(err, io.EOF):
			return f, quoted, next, nil
		case err != nil:
			return f, false, next, err
		}
		s.add(&f, c)
		within := quoted
		switch {
		case c == '"' && (quoted || fresh || closed):
			quoted = !quoted
		case c == '\n' && !quoted:
			return f, false, next, nil
		case c == '\n' && next.offset == 0:
			next = s.at
		}
		closed, fresh = within && c == '"', !quoted && c == s.comma
		if quoted && next.offset > 0 && (f.size == sizeTooLong || f.offset < s.plain) {
			return f, true, next, nil
		}
	}
}

// cells takes a row of CSV (RFC 4180) apart.
func cells(text []byte, comma byte) ([]string, error) {
	text = bytes.TrimRight(text, "\r\n")
	var out []string
	for {
		if len(text) == 0 || text[0] != '"' {
			cell, rest, more := bytes.Cut(text, []byte{comma})
			if bytes.IndexByte(cell, '"') >= 0 {
				return nil, errRecord.Saying("There is a quote inside a cell that does not begin with one.")
			}
			out = append(out, string(cell))
			if !more {
				return out, nil
			}
			text = rest
			continue
		}
		cell, rest, err := quotedCell(text[1:])
		if err != nil {
			return nil, err
		}
		out = append(out, cell)
		if len(rest) == 0 {
			return out, nil
		}
		if rest[0] != comma {
			return nil, errRecord.Saying("There is something between a closing quote and the end of its cell.")
		}
		text = rest[1:]
	}
}

// quotedCell reads a cell up to its closing quote.
func quotedCell(text []byte) (cell string, rest []byte, err error) {
	var b strings.Builder
	for {
		i := bytes.IndexByte(text, '"')
		if i < 0 {
			return "", nil, errRecord.Saying("A quote is not closed.")
		}
		b.Write(text[:i])
		if text = text[i+1:]; len(text) == 0 || text[0] != '"' {
			return b.String(), text, nil
		}
		b.WriteByte('"')
		text = text[1:]
	}
}
