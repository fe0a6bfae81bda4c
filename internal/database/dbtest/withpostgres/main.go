// Command withpostgres runs a command with a PostgreSQL server of its own.
//
//	withpostgres [-durable] -- go test ./...
//
// It finds the server programs (on Debian and Ubuntu, as root, it installs them),
// makes a cluster in a temporary folder, puts the server's address into
// CARDEA_TEST_POSTGRES, runs the command, throws the cluster away and exits with
// the command's code. If CARDEA_TEST_POSTGRES names a server already, that one is
// used and nothing is started. Any number of these run side by side.
//
// Two processes share the work. The one you started runs the command. A second
// one, the keeper, owns the server, in a session of its own and with a pipe from
// the first: when the pipe closes, for whatever reason, kill -9 included, the
// keeper stops the server and removes the folder.
//
// Another user of the same machine would like to be superuser of a database that
// runs under our account: the server listens on loopback only, asks for a password
// that is new each time, and keeps everything in a folder closed to others.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// addressVariable names the variable that package dbtest reads.
const addressVariable = "CARDEA_TEST_POSTGRES"

func main() {
	durable := flag.Bool("durable", false, "keep PostgreSQL's safe defaults (fsync and so on), for benchmarks and crash tests")
	keeper := flag.Bool("keeper", false, "own the server (for internal use)")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: withpostgres [-durable] -- command [argument ...]")
		flag.PrintDefaults()
	}
	flag.Parse()

	var code int
	var err error
	switch {
	case *keeper:
		err = keep(*durable, os.Stdin, os.Stdout)
	case flag.NArg() == 0:
		flag.Usage()
		os.Exit(2)
	default:
		code, err = runWithServer(*durable, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpostgres:", err)
		code = 1
	}
	os.Exit(code)
}

// runWithServer runs the command beside a server and returns its exit code.
func runWithServer(durable bool, command []string) (int, error) {
	if os.Getenv(addressVariable) != "" {
		return run(command)
	}
	release, address, err := startKeeper(durable)
	if err != nil {
		return 0, err
	}
	os.Setenv(addressVariable, address)
	code, err := run(command)
	return code, errors.Join(err, release())
}

// startKeeper starts the keeper and waits for the server's address. The function
// it returns ends the server and returns when nothing is left of it.
func startKeeper(durable bool) (release func() error, address string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", fmt.Errorf("find this program's own file: %w", err)
	}
	cmd := exec.Command(self, "-keeper", fmt.Sprintf("-durable=%t", durable))
	cmd.Stderr = os.Stderr
	// A session of its own: neither Ctrl-C nor a kill of our process group may
	// reach the one who tidies up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("start the keeper: %w", err)
	}
	release = func() error {
		hold.Close()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("stop the server: %w", err)
		}
		return nil
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = release() // the keeper has said on standard error what is wrong
		return nil, "", errors.New("no PostgreSQL server to run the command with")
	}
	return release, strings.TrimSpace(line), nil
}

// keep runs a server until stdin ends. It prints the server's address once the
// server answers.
func keep(durable bool, stdin io.Reader, stdout io.Writer) error {
	released := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // ends with the process that started us
		close(released)
	}()
	programs, err := findOrInstall()
	if err != nil {
		return err
	}
	c, err := newCluster(programs, durable)
	if err != nil {
		return err
	}
	address, err := c.start(released)
	if err == nil {
		fmt.Fprintln(stdout, address)
		select {
		case <-released:
		case <-c.exited:
			err = fmt.Errorf("the PostgreSQL server ended by itself: %s", c.logTail())
		}
	}
	return errors.Join(err, c.remove())
}

// run runs the command, passes signals on to it and returns its exit code: 128
// and the signal's number if a signal ended it, as a shell would say.
func run(command []string) (int, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", command[0], err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // an error means that it has ended already
		}
	}()
	err := cmd.Wait()
	if failure, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := failure.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return failure.ExitCode(), nil
	}
	return 0, err
}
