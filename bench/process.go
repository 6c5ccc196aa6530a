package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// readyTimeout and stopTimeout end a run whose server hangs; they are far above
	// what a sound one takes.
	readyTimeout = time.Minute
	stopTimeout  = time.Minute
	// pollEvery is how often a condition is looked at while it is waited for.
	pollEvery = time.Millisecond
	// commandTimeout ends a command that hangs.
	commandTimeout = 5 * time.Minute
	// greeting is what an NBD server says first.
	greeting = "NBDMAGIC"
)

// lookPath finds a program, also where only an administrator's PATH looks.
func lookPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

// command is a program that dies with this one, in a group of its own, so that
// Ctrl-C reaches it through us only.
func command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	path, err := lookPath(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C")
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd, nil
}

// output runs a program to its end and returns what it printed.
func output(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd, err := command(ctx, name, args...)
	if err != nil {
		return "", err
	}
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return "", errors.Join(ctx.Err(), fmt.Errorf("%s: %w: %s", filepath.Base(name), err, firstLines(log.String())))
	}
	return out.String(), nil
}

// firstLines is enough of what a program printed to see what is wrong.
func firstLines(text string) string {
	const most = 500
	text = strings.TrimSpace(text)
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.ReplaceAll(text, "\n", "; ")
}

// process is a running server.
type process struct {
	cmd    *exec.Cmd
	log    string
	ready  time.Duration // from its start to its first greeting
	ended  chan struct{} // closed when it has ended, with err
	err    error
	socket string
}

// startProcess starts a server and returns when it greets NBD clients at socket.
func startProcess(ctx context.Context, log, socket string, args ...string) (*process, error) {
	// One that was killed leaves its socket behind, and some do not replace it.
	os.Remove(socket)
	cmd, err := command(ctx, args[0], args[1:]...)
	if err != nil {
		return nil, err
	}
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	p := &process{cmd: cmd, log: log, socket: socket, ended: make(chan struct{})}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	for !greets(socket) {
		select {
		case <-p.ended:
			return nil, fmt.Errorf("%s ended before it was ready: %v: %s", args[0], p.err, p.output())
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), p.kill())
		case <-time.After(pollEvery):
		}
		if time.Since(began) > readyTimeout {
			return nil, errors.Join(fmt.Errorf("%s is not ready after %v: %s", args[0], readyTimeout, p.output()), p.kill())
		}
	}
	p.ready = time.Since(began)
	return p, nil
}

// greets says whether an NBD server answers at a socket.
func greets(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(readyTimeout))
	got := make([]byte, len(greeting))
	_, err = io.ReadFull(c, got)
	return err == nil && string(got) == greeting
}

func (p *process) output() string {
	text, _ := os.ReadFile(p.log)
	return firstLines(string(text))
}

// stop ends the server by a signal, and by force if that takes too long.
func (p *process) stop(by syscall.Signal) error {
	syscall.Kill(-p.cmd.Process.Pid, by)
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("process %d did not stop within %v: %s", p.cmd.Process.Pid, stopTimeout, p.output()), p.kill())
	}
}

// kill ends the server at once.
func (p *process) kill() error {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
	return nil
}
