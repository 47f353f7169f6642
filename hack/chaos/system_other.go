//go:build !linux

package main

import (
	"errors"
	"os/exec"
)

// errLinux answers what only Linux offers.
var errLinux = errors.New("this needs Linux: run it there")

const (
	probeVariable     = "HOOKLINE_CHAOS_PROBE"
	enclosureVariable = "HOOKLINE_CHAOS_ENCLOSURE"
)

type enclosure struct {
	Hosts, Disk string
	DiskBytes   int64
	Program     string
	Args        []string
}

type vitals struct {
	RSS     int64 `json:"rssBytes"`
	Sockets int   `json:"sockets"`
	Files   int   `json:"files"`
	Threads int   `json:"threads"`
}

func enter() error                          { return nil }
func enclosed(enclosure) (*exec.Cmd, error) { return nil, errLinux }
func canEnclose(string) error               { return errLinux }
func vitalsOf(int) (vitals, error)          { return vitals{}, errLinux }
func insideOf(_ int, path string) string    { return path }
func freeBytes(string) (int64, error)       { return 0, errLinux }
func takeRoom(string, int64) error          { return errLinux }
func raiseDescriptors() (uint64, error)     { return 0, errLinux }
