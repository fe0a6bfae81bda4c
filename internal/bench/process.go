package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A process is a child that answers HTTP on loopback.
type process struct {
	address string
	cmd     *exec.Cmd
	log     *os.File      // what it writes to standard error
	exited  chan struct{} // closed when it has ended
	err     error         // how it ended; read after exited

	postmaster int // PostgreSQL's first process, 0 without one
}

// spawn starts a child whose errors go to the file log.
func spawn(cmd *exec.Cmd, log string) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd.Stderr = f
	p := &process{cmd: cmd, log: f, exited: make(chan struct{})}
	return p, cmd.Start()
}

// watch takes note of the child's end. Whoever reads its output calls it after that.
func (p *process) watch() {
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
}

// startServer starts a server and returns once it is ready, with the time that took
// from the start of the process to the first 200.
func startServer(ctx context.Context, command, env []string, log string) (*process, time.Duration, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, 0, err
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(append(os.Environ(), env...), "CARDEA_LISTEN="+address)
	start := time.Now()
	p, err := spawn(cmd, log)
	if err != nil {
		return nil, 0, err
	}
	p.address = address
	p.watch()
	err = p.awaitReady(ctx)
	took := time.Since(start)
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("start the server: %w\n%s", err, p.logTail()), p.stop())
	}
	return p, took, nil
}

// freeAddress returns one that nobody listens on, at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// awaitReady asks until the answer is 200, for a minute: the first start of all
// makes the tables.
func (p *process) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if p.isReady(ctx) {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("it ended: %w", p.err)
		case <-ctx.Done():
			return errors.New("it does not get ready")
		case <-time.After(500 * time.Microsecond):
		}
	}
}

func (p *process) isReady(ctx context.Context) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/readyz", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// startControl starts this program as a control server, which says on standard
// output where it listens once it is ready.
func startControl(log string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append([]string{"control"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, err := spawn(cmd, log)
	if err != nil {
		return nil, fmt.Errorf("start the control: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	p.watch()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the control: %w\n%s", err, p.logTail()), p.stop())
	}
	p.address = strings.TrimSpace(line)
	return p, nil
}

// stop ends the child and waits for it.
func (p *process) stop() error {
	defer p.log.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended already
	select {
	case <-p.exited:
		return nil
	case <-time.After(30 * time.Second):
	}
	_ = p.cmd.Process.Kill()
	<-p.exited
	return errors.New("a child did not end by itself and was killed")
}

// logTail returns the last lines of the child's log.
func (p *process) logTail() string {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte("\n")))
}

// clearLog throws the log away, which grows by a line with each request.
func (p *process) clearLog() error { return os.Truncate(p.log.Name(), 0) }

// load is load on the child, with what each request cost it.
func (p *process) load(ctx context.Context, plan plan, connections int, s script) (figure, error) {
	before, err := p.computed()
	if err != nil {
		return figure{}, err
	}
	f, err := load(ctx, plan, p.address, connections, s)
	if err != nil {
		return figure{}, err
	}
	after, err := p.computed()
	each := func(took time.Duration) float64 { return float64(took.Microseconds()) / float64(max(f.all, 1)) }
	f.CPU, f.DatabaseCPU = each(after.own-before.own), each(after.database-before.database)
	return f, err
}

// computed is how long processes have computed, in user space and in the kernel.
type computed struct{ own, database time.Duration }

func (p *process) computed() (c computed, err error) {
	if c.own, _, err = cpuOf(p.cmd.Process.Pid); err != nil || p.postmaster == 0 {
		return c, err
	}
	c.database, err = cpuOfChildren(p.postmaster)
	return c, err
}

// cpuOf returns how long a process has computed, and which process started it.
func cpuOf(pid int) (took time.Duration, parent int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The program's name, in brackets, may hold anything. See proc(5): the parent is field
	// 4, the times are the fields 14 and 15, in hundredths of a second.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	parent, err1 := strconv.Atoi(fields[4-3])
	user, err2 := strconv.ParseInt(fields[14-3], 10, 64)
	kernel, err3 := strconv.ParseInt(fields[15-3], 10, 64)
	return time.Duration(user+kernel) * 10 * time.Millisecond, parent, errors.Join(err1, err2, err3)
}

// cpuOfChildren returns how long the running children of a process have computed. What
// ended meanwhile does not count.
func cpuOfChildren(of int) (sum time.Duration, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // no process
		}
		took, parent, err := cpuOf(pid)
		if err == nil && parent == of { // an error means that it has ended
			sum += took
		}
	}
	return sum, nil
}

// memory returns what the child holds of the machine's memory, and the most it held
// since the last resetPeak, in MB.
func (p *process) memory() (now, peak float64, err error) {
	return memoryOf(p.cmd.Process.Pid)
}

func (p *process) resetPeak() error {
	// 5 sets the peak back to the present (proc(5), clear_refs).
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

func memoryOf(pid int) (now, peak float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read the memory of a process: %w", err)
	}
	if now, err = procMB(string(status), "VmRSS"); err != nil {
		return 0, 0, err
	}
	peak, err = procMB(string(status), "VmHWM")
	return now, peak, err
}

// procMB finds a line such as "VmRSS:   1234 kB" and returns it in MB of 1,000,000
// bytes.
func procMB(text, name string) (float64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("there is no %s", name)
}
