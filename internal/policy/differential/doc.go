// Package differential compares policy with what the APIs would make of the
// calls that it lets through. It has nothing but tests.
//
// There are two routers, made from what Google and Microsoft publish, and from
// nothing of ours. Each takes a call as it is sent, and gives every published
// method that a lenient server could take it for: one that decodes a path not at
// all, once or twice, forgets about case, dots, parameters and slashes, and
// knows every form that OData gives a path. Calls are made from the published
// methods, by some changes each, and go the way of the real ones: through
// target, policy and batch. What policy allows, the routers must find allowed in
// each of the readings, by the presets' tables or by what a key's rules are for.
//
//	go test ./internal/policy/differential -differential.n 1000000 -differential.seed 7
//
// Every choice comes from the seed and the number of the call.
package differential
