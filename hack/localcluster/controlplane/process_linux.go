package controlplane

import "syscall"

// childAttributes puts a child into a process group of its own, so that a Ctrl-C at the terminal
// reaches this program alone and the children are stopped in order, and has the kernel kill the
// child when this program is killed before it could stop anything.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
