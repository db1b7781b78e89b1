// Package matrix runs the recipes in examples/recipes, and what is known of
// other client libraries, against a Bellhop in front of the fake provider, and
// prints what works: client library × operation × form.
//
// All of it runs in a network namespace that has no interface but loopback, with
// a name server that knows nobody. So nothing but Bellhop can be reached, and an
// attempt at it is seen: docs/sdk.md promises that there is none, but where it
// says so.
//
// `make sdk` runs it; `go test` alone skips it.
package matrix
