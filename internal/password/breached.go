package password

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:depguard // the public lists are of SHA-1; it protects nothing here
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
)

// A list of breached passwords is a file that an operator makes once, with
// BuildList, from a public download:
//
//	8 bytes        "CARDEAP1"
//	8 bytes each   the first 64 bits of the SHA-1 of a password, ascending
//	8 bytes        how many there are, so that half a file is not taken for a whole one
//
// All numbers are big-endian. 64 bits are enough: of a thousand million entries, one
// password in 18 thousand million is taken for a breached one by mistake.
const (
	listMagic = "CARDEAP1"
	listEntry = 8
)

// A List is an open list of breached passwords. It is safe for concurrent use.
type List struct {
	// Log is told when the list can not be read; slog.Default() if nil.
	Log *slog.Logger

	file    *os.File
	entries int64
}

// OpenList opens the file that BuildList made. A new edition must replace it under
// its name, not be written into it, and is seen after a restart.
func OpenList(path string) (*List, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the list of breached passwords: %w", err)
	}
	l := &List{file: file}
	if l.entries, err = countEntries(file); err != nil {
		return nil, errors.Join(fmt.Errorf("open the list of breached passwords: %w", err), file.Close())
	}
	return l, nil
}

var errNoList = errors.New("the file is no list of breached passwords, or not a whole one")

func countEntries(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	entries := (info.Size() - int64(len(listMagic)) - listEntry) / listEntry
	head := make([]byte, len(listMagic))
	if !info.Mode().IsRegular() || info.Size() < int64(len(listMagic))+listEntry || info.Size()%listEntry != 0 {
		return 0, errNoList
	}
	if _, err := file.ReadAt(head, 0); err != nil {
		return 0, err
	}
	var end [listEntry]byte
	if _, err := file.ReadAt(end[:], info.Size()-listEntry); err != nil {
		return 0, err
	}
	if string(head) != listMagic || binary.BigEndian.Uint64(end[:]) != uint64(entries) {
		return 0, errNoList
	}
	return entries, nil
}

// Close closes the file.
func (l *List) Close() error { return l.file.Close() }

// has says whether a password, in form NFC, is on the list. A list that can not be
// read must not keep anybody from choosing a password: then the password passes,
// and the log tells. The nil List is empty.
func (l *List) has(password string) bool {
	if l == nil {
		return false
	}
	sum := sha1.Sum([]byte(password))
	found, err := l.search(binary.BigEndian.Uint64(sum[:]))
	if err != nil {
		log := l.Log
		if log == nil {
			log = slog.Default()
		}
		log.Warn("the list of breached passwords can not be read; a new password was not compared with it", "err", err)
	}
	return found
}

// search reads some thirty entries of the largest list there is; the operating
// system keeps the first of them in memory.
func (l *List) search(want uint64) (bool, error) {
	var entry [listEntry]byte
	from, to := int64(0), l.entries
	for from < to {
		middle := from + (to-from)/2
		if _, err := l.file.ReadAt(entry[:], int64(len(listMagic))+middle*listEntry); err != nil {
			return false, err
		}
		switch got := binary.BigEndian.Uint64(entry[:]); {
		case got == want:
			return true, nil
		case got < want:
			from = middle + 1
		default:
			to = middle
		}
	}
	return false, nil
}

// BuildList reads SHA-1 hashes of passwords from r, each a line of 40 hex digits,
// in ascending order, with or without ":" and a count behind, as the public
// downloads are; and writes the file that OpenList takes to w. It needs no memory to
// speak of and returns how many entries it wrote. Its errors name the line.
func BuildList(r io.Reader, w io.Writer) (entries int64, err error) {
	out := bufio.NewWriterSize(w, 1<<16)
	write := func(number uint64) { // an error stays until Flush
		_, _ = out.Write(binary.BigEndian.AppendUint64(out.AvailableBuffer(), number))
	}
	_, _ = out.WriteString(listMagic)
	lines := bufio.NewScanner(r)
	var last uint64
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		prefix, err := parseLine(line)
		if err != nil || prefix < last {
			return 0, fmt.Errorf("line %d: want a SHA-1 in hex, above the one before", n)
		}
		if prefix == last && entries > 0 {
			continue
		}
		last = prefix
		entries++
		write(prefix)
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("read the hashes: %w", err)
	}
	write(uint64(entries))
	if err := out.Flush(); err != nil {
		return 0, fmt.Errorf("write the list: %w", err)
	}
	return entries, nil
}

// parseLine returns the first 64 bits of the hash in a line.
func parseLine(line []byte) (uint64, error) {
	digits, _, _ := bytes.Cut(line, []byte(":"))
	var sum [sha1.Size]byte
	if len(digits) != hex.EncodedLen(len(sum)) {
		return 0, errNoList
	}
	if _, err := hex.Decode(sum[:], digits); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(sum[:]), nil
}
