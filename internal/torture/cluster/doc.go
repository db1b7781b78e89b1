// Package cluster torments several Bellhops that share one PostgreSQL. It has
// nothing but tests.
//
// A run has nodes, which are processes of `bellhop run`; a PostgreSQL with a
// synchronous standby; a provider with single-use refresh tokens and reuse
// detection, whose token requests are all noted; and callers at every node. In
// between stand relays that can be cut. At moments that the seed draws a node
// is ended with SIGKILL, stopped for longer than its leases last, or cut off
// from the database; or the primary is ended and the standby promoted.
// Meanwhile keys are made and removed, each on one node, and tried on the
// others.
//
// What came of it is judged afterwards, from what the provider saw: which
// grants it ended, and which token requests came before their time. Each of
// these must be owed to an event that befell a node, or the database, while an
// answer was under way; the report names it.
//
//	go test -run TestCluster ./internal/torture/cluster -cluster.time 10m -cluster.nodes 2,4 -cluster.seed 7
//
// Every choice comes from the seed. The machine's own timing does not.
package cluster
