// Command chaos puts Hookline under fire and tells whether it kept its promises: publishers
// that know what was acknowledged, receivers that know what arrived, and between them faults
// from a schedule that a seed decides. docs/chaos.md explains the phases, and how to read the
// result. With -soak it puts an even load on the dispatcher instead, and looks for growth.
package main
