package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// net/http's client costs more than the servers measured here. This one sends
// requests that are encoded already and reads just enough of the answer to know
// where it ends.

// A request is encoded, and knows a right answer when it sees one.
type request struct {
	raw   []byte
	check func(body []byte) error // nil: the status says enough
}

// A script is what a client does over its connections. It returns what is done over
// and over on one of them: a request, or several that belong together.
type script func(c *conn, connection int) func() error

// pick asks for any of the requests, in an order that differs from connection to
// connection.
func pick(requests []request) script {
	return func(c *conn, connection int) func() error {
		next := newXorshift(1, uint64(connection))
		return func() error { return c.ask(requests[next.below(len(requests))]) }
	}
}

// load runs a script over connections that stay open, one request at a time on each.
// An answer that is not right ends it.
func load(ctx context.Context, p plan, address string, connections int, s script) (figure, error) {
	end := p.end()
	return measure(ctx, p, connections, func(i int) (worker, error) {
		c, err := dial(address, end)
		if err != nil {
			return worker{}, err
		}
		return worker{s(c, i), c.close}, nil
	})
}

type conn struct {
	net  net.Conn
	in   *bufio.Reader
	body []byte
}

// dial connects. The connection fails after end.
func dial(address string, end time.Time) (*conn, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &conn{net: c, in: bufio.NewReaderSize(c, 32<<10)}, c.SetDeadline(end)
}

func (c *conn) close() { _ = c.net.Close() } // whatever it says, the answers are in

// send sends a request and returns the answer. The body is good until the next one.
// field is told of each header field, unless it is nil.
func (c *conn) send(raw []byte, field func(name, value []byte)) (status int, body []byte, err error) {
	if _, err := c.net.Write(raw); err != nil {
		return 0, nil, fmt.Errorf("send request: %w", err)
	}
	status, c.body, err = readAnswer(c.in, c.body[:0], field)
	if err != nil {
		return 0, nil, fmt.Errorf("read answer to %s: %w", firstLine(raw), err)
	}
	return status, c.body, nil
}

// ask sends a request and judges the answer, whose status must be 200, or 201.
func (c *conn) ask(r request) error {
	status, body, err := c.send(r.raw, nil)
	if err != nil {
		return err
	}
	if status != 200 && status != 201 {
		return fmt.Errorf("%s: status %d: %.300s", firstLine(r.raw), status, body)
	}
	if r.check == nil {
		return nil
	}
	if err := r.check(body); err != nil {
		return fmt.Errorf("%s: %w: %.300s", firstLine(r.raw), err, body)
	}
	return nil
}

func firstLine(raw []byte) []byte {
	line, _, _ := bytes.Cut(raw, []byte("\r\n"))
	return line
}

var errAnswer = errors.New("not an answer this client understands")

// readAnswer reads one answer (RFC 9112) and appends its body to body. field is told
// of each header field, unless it is nil.
func readAnswer(in *bufio.Reader, body []byte, field func(name, value []byte)) (status int, _ []byte, err error) {
	line, err := readLine(in)
	if err != nil {
		return 0, body, err
	}
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, body, fmt.Errorf("%w: %q", errAnswer, line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, body, fmt.Errorf("%w: %q", errAnswer, line)
	}
	length, chunked, err := readHead(in, field)
	switch {
	case err != nil:
	case status == 204 || status == 304: // they have no body, whatever they say
	case chunked:
		body, err = readChunks(in, body)
	case length >= 0:
		body, err = readFull(in, body, length)
	default:
		err = fmt.Errorf("%w: it does not say how long it is", errAnswer)
	}
	return status, body, err
}

// readHead reads the header fields and returns what they say of the body; length is
// -1 if they do not say it.
func readHead(in *bufio.Reader, field func(name, value []byte)) (length int, chunked bool, err error) {
	length = -1
	for {
		line, err := readLine(in)
		if err != nil || len(line) == 0 {
			return length, chunked, err
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		if field != nil {
			field(name, value)
		}
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return length, chunked, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
}

func readChunks(in *bufio.Reader, body []byte) ([]byte, error) {
	for {
		line, err := readLine(in)
		if err != nil {
			return body, err
		}
		size, err := strconv.ParseUint(string(line), 16, 31)
		if err != nil {
			return body, err
		}
		if body, err = readFull(in, body, int(size)); err != nil {
			return body, err
		}
		if line, err = readLine(in); err != nil || len(line) > 0 {
			return body, errors.Join(err, errAnswerUnless(len(line) == 0))
		}
		if size == 0 {
			return body, nil
		}
	}
}

func errAnswerUnless(right bool) error {
	if right {
		return nil
	}
	return errAnswer
}

func readFull(in *bufio.Reader, body []byte, n int) ([]byte, error) {
	start := len(body)
	if cap(body)-start < n {
		body = append(make([]byte, 0, 2*(start+n)), body...)
	}
	body = body[:start+n]
	_, err := io.ReadFull(in, body[start:])
	return body, err
}

// readLine returns a line without its end. It is valid until the next read.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}
