package main

import "syscall"

// attributes of a child: a process group of its own, and an end with its parent, so that a
// killed demo leaves nothing behind.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
