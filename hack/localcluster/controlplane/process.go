package controlplane

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// stopGrace is how long a process has to end by itself before it is killed.
	stopGrace = 10 * time.Second
	// logLines is how many of a dead process's last log lines its error shows.
	logLines = 15
	// logTailBytes bounds how much of a log is read to find them.
	logTailBytes = 64 << 10
)

// process is one running program of the control plane.
type process struct {
	name    string
	logFile string
	cmd     *exec.Cmd

	// ended is closed when the program has ended; waitErr may be read after that.
	ended   chan struct{}
	waitErr error
}

// startProcess starts the program name from dir, its output going to a file in logDir.
func startProcess(dir, logDir, name string, args []string) (*process, error) {
	logFile := filepath.Join(logDir, name+".log")

	log, err := os.Create(logFile)
	if err != nil {
		return nil, fmt.Errorf("making the log of %s: %w", name, err)
	}

	p := &process{name: name, logFile: logFile, ended: make(chan struct{})}
	p.cmd = exec.Command(filepath.Join(dir, name), args...) //nolint:gosec,noctx // The user names the folder; stop ends the program.
	p.cmd.Stdout = log
	p.cmd.Stderr = log
	// Flags decide everything: an ETCD_* variable of the user's must not.
	p.cmd.Env = environment(os.Environ())
	p.cmd.SysProcAttr = childAttributes()

	started := make(chan error)

	go func() {
		// On Linux the child is told to die with its parent, and the kernel takes for the parent the
		// thread that started it. So that thread has to live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()

		if err := p.cmd.Start(); err != nil {
			started <- err

			return
		}

		started <- nil

		p.waitErr = p.cmd.Wait()
		close(p.ended)
	}()

	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}

	return p, nil
}

func environment(all []string) []string {
	kept := make([]string, 0, len(all))

	for _, v := range all {
		if !strings.HasPrefix(v, "ETCD_") && !strings.HasPrefix(v, "KUBERNETES_") && !strings.HasPrefix(v, "KUBECONFIG=") {
			kept = append(kept, v)
		}
	}

	return kept
}

// stop ends the process and waits until it is gone. It is safe to call more than once.
func (p *process) stop() {
	// An error means that it has ended already, which the wait below sees.
	_ = p.cmd.Process.Signal(syscall.SIGTERM)

	timer := time.NewTimer(stopGrace)
	defer timer.Stop()

	select {
	case <-p.ended:
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// deathError says that the process ended when it should not have, with its last log lines.
func (p *process) deathError() error {
	how := "exit status 0"

	if p.waitErr != nil {
		how = p.waitErr.Error()
	}

	return &DeathError{Process: p.name, How: how, Log: lastLines(p.logFile, logLines)}
}

// DeathError says that a process of the control plane ended by itself.
type DeathError struct {
	// Process is the program's name.
	Process string
	// How it ended: an exit status or a signal.
	How string
	// Log holds its last log lines.
	Log string
}

func (e *DeathError) Error() string {
	return fmt.Sprintf("%s ended by itself (%s); its last log lines:\n%s", e.Process, e.How, e.Log)
}

func lastLines(file string, n int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "(its log cannot be read: " + err.Error() + ")"
	}

	if len(data) > logTailBytes {
		data = data[len(data)-logTailBytes:]
	}

	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}

	return string(bytes.Join(lines, []byte("\n")))
}
