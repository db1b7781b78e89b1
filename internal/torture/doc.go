// Package torture kills Bellhop, over and over, and looks at what is left. It
// has nothing but tests.
//
// A run is a number of lanes side by side. Each has a Bellhop as a process of
// its own on a directory of its own, a provider with reuse detection that the
// process reaches over the wire, and callers who ask for tokens all the while.
// A lane's round sends one account's renewal on its way, ends the process with
// SIGKILL at a step of it, and judges by what the store and the provider then
// hold in which step the kill really landed and which accounts may be lost for
// it. Then it starts the process again and wants a token for every account.
// Between the kills the provider misbehaves, the configuration is reloaded,
// the process is told to terminate and its disk fills up.
//
// Most lanes run the broker with its store and nothing else, as a child of the
// test binary that starts in milliseconds and can be stopped between two
// writes. With -torture.bellhop the others run the whole `bellhop run`.
//
//	go test -run TestTorture ./internal/torture -torture.n 1000 -torture.seed 7
//
// Every choice comes from the seed: what is done, when, and to which account.
// The machine's own timing does not. Several processes on one database are the
// package cluster's.
package torture
