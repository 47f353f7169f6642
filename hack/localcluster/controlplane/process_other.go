//go:build !linux

package controlplane

import "syscall"

// childAttributes asks for nothing here: a Ctrl-C reaches the children too, which ends them as well
// as an ordered stop does, and no other system offers to kill them with their parent.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{}
}
