//go:build !linux

package main

import (
	"errors"
	"syscall"
)

// childAttributes are those of any child: only Linux ties its life to ours.
func childAttributes() *syscall.SysProcAttr { return nil }

// dropCache is not possible here.
func dropCache(string) error { return errors.ErrUnsupported }
