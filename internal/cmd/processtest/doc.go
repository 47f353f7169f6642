// Package processtest tests the real binary as a process: built, started, killed, and
// started again, with real HTTP on loopback.
package processtest
