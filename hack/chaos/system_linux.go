package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// enclosureVariable makes this program set its own mounts up and become another one.
const enclosureVariable = "HOOKLINE_CHAOS_ENCLOSURE"

// hostsFile is what the enclosure covers, so that names can change their answer.
const hostsFile = "/etc/hosts"

// enclosure is a mount namespace of a process's own: a file in place of /etc/hosts, and a file
// system of a fixed size in a folder.
type enclosure struct {
	// Hosts is the file that stands for /etc/hosts; empty leaves it.
	Hosts string `json:"hosts,omitempty"`
	// Disk is a folder that gets a file system of DiskBytes; empty makes none.
	Disk      string `json:"disk,omitempty"`
	DiskBytes int64  `json:"diskBytes,omitempty"`
	// Program and its arguments are what runs inside.
	Program string   `json:"program"`
	Args    []string `json:"args"`
}

// enter does what the enclosure that this process was started with says; it returns where
// there is none, or where it failed.
func enter() error {
	text := os.Getenv(enclosureVariable)
	if text == "" {
		return nil
	}

	var e enclosure
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return fmt.Errorf("reading %s: %w", enclosureVariable, err)
	}

	if e.Hosts != "" {
		if err := syscall.Mount(e.Hosts, hostsFile, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("covering %s: %w", hostsFile, err)
		}
	}

	if e.Disk != "" {
		if err := syscall.Mount("tmpfs", e.Disk, "tmpfs", 0, "size="+strconv.FormatInt(e.DiskBytes, 10)+",mode=700"); err != nil {
			return fmt.Errorf("mounting a file system on %s: %w", e.Disk, err)
		}
	}

	if err := os.Unsetenv(enclosureVariable); err != nil {
		return fmt.Errorf("removing %s: %w", enclosureVariable, err)
	}

	//nolint:gosec // It becomes the program that this program named.
	if err := syscall.Exec(e.Program, append([]string{e.Program}, e.Args...), os.Environ()); err != nil {
		return fmt.Errorf("becoming %s: %w", e.Program, err)
	}

	return nil
}

// enclosed is a command that runs a program in an enclosure. Where this process is not root, it
// is root of a user namespace of its own, where the machine allows those.
func enclosed(e enclosure) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}

	text, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("writing the enclosure: %w", err)
	}

	cmd := exec.CommandContext(context.Background(), self)
	cmd.Env = append(os.Environ(), enclosureVariable+"="+string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}

	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}

	return cmd, nil
}

// canEnclose tells why this machine does not let a process have mounts of its own; nil if it does.
func canEnclose(dir string) error {
	hosts := filepath.Join(dir, "probe-hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"), 0o600); err != nil { //nolint:gosec // In this program's own folder.
		return fmt.Errorf("writing a file: %w", err)
	}

	disk := filepath.Join(dir, "probe-disk")
	if err := os.MkdirAll(disk, 0o700); err != nil { //nolint:gosec // As above.
		return fmt.Errorf("making a folder: %w", err)
	}

	cmd, err := enclosed(enclosure{Hosts: hosts, Disk: disk, DiskBytes: 1 << 20, Program: "/proc/self/exe"})
	if err != nil {
		return err
	}

	cmd.Env = append(cmd.Env, probeVariable+"=1")

	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making a mount namespace: %w: %s", err, strings.TrimSpace(string(text)))
	}

	return nil
}

// probeVariable makes this program end at once: it got as far as it should.
const probeVariable = "HOOKLINE_CHAOS_PROBE"

// vitals are what the kernel says of a process.
type vitals struct {
	// RSS is resident memory in bytes.
	RSS int64 `json:"rssBytes"`
	// Sockets and Files are its open descriptors, by kind.
	Sockets int `json:"sockets"`
	Files   int `json:"files"`
	Threads int `json:"threads"`
}

// vitalsOf reads a process's vitals.
func vitalsOf(pid int) (vitals, error) {
	var out vitals

	proc := "/proc/" + strconv.Itoa(pid)

	text, err := os.ReadFile(proc + "/status")
	if err != nil {
		return out, fmt.Errorf("reading a process's status: %w", err)
	}

	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		number, _, _ := strings.Cut(strings.TrimSpace(value), " ")

		switch name {
		case "VmRSS":
			kib, _ := strconv.ParseInt(number, 10, 64)
			out.RSS = kib << 10
		case "Threads":
			out.Threads, _ = strconv.Atoi(number)
		}
	}

	entries, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return out, fmt.Errorf("reading a process's descriptors: %w", err)
	}

	for _, entry := range entries {
		// One that was closed meanwhile is none.
		target, err := os.Readlink(proc + "/fd/" + entry.Name())

		switch {
		case err != nil:
		case strings.HasPrefix(target, "socket:"):
			out.Sockets++
		default:
			out.Files++
		}
	}

	return out, nil
}

// insideOf is a path as a process in an enclosure sees it, for this process.
func insideOf(pid int, path string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), "root", path)
}

// freeBytes is the room on the file system of a path.
func freeBytes(path string) (int64, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(path, &stat); err != nil {
		return 0, fmt.Errorf("asking for the room on a disk: %w", err)
	}

	return int64(stat.Bavail) * stat.Bsize, nil //nolint:gosec // No disk is that large.
}

// takeRoom makes a file larger by some bytes, all of them allocated.
func takeRoom(path string, bytes int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("opening the filler: %w", err)
	}

	defer func() { _ = file.Close() }()

	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("looking at the filler: %w", err)
	}

	if err := syscall.Fallocate(int(file.Fd()), 0, info.Size(), bytes); err != nil {
		return fmt.Errorf("filling the disk by %d bytes: %w", bytes, err)
	}

	return nil
}

// raiseDescriptors allows this process as many descriptors as it may have.
func raiseDescriptors() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("asking for the limit of descriptors: %w", err)
	}

	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("raising the limit of descriptors: %w", err)
	}

	return limit.Cur, nil
}
