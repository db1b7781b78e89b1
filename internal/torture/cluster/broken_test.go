package cluster

import (
	"strings"
	"time"
)

// breakage is how a cluster is broken, to show that the harness sees it.
type breakage string

const (
	whole breakage = ""
	// twoStores: each node has a database of its own, with the same grants.
	twoStores breakage = "two stores"
	// endsLeases: a lease that is given ends before the request does.
	endsLeases breakage = "leases are given twice"
	// tellsNothing: no node hears of what others change.
	tellsNothing breakage = "changes are not told"
)

// spoil breaks the cluster, of which one node runs.
func (c *cluster) spoil() {
	switch c.broken {
	case twoStores:
		first := c.nodes[0]
		first.kill()
		other := c.nodes[1]
		other.dsn = strings.Replace(other.dsn, "/"+c.db.name+"?", "/"+c.db.copied()+"?", 1)
		c.must(first.start(c.t.Context()))
	case endsLeases:
		c.wire.slow = 300 * time.Millisecond
		c.db.exec(`CREATE FUNCTION bellhop.brief() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
				NEW.expires := least(NEW.expires, clock_timestamp() + interval '30 milliseconds');
				RETURN NEW;
			END $$`)
		c.db.exec("CREATE TRIGGER brief BEFORE INSERT OR UPDATE ON bellhop.leases FOR EACH ROW EXECUTE FUNCTION bellhop.brief()")
	case tellsNothing:
		c.db.exec("CREATE FUNCTION bellhop.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
		c.db.exec("CREATE TRIGGER nothing BEFORE INSERT ON bellhop.changes FOR EACH ROW EXECUTE FUNCTION bellhop.nothing()")
	}
}
