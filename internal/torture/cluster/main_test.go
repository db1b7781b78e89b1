package cluster

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/store/postgres/postgrestest"
)

var (
	seed     = flag.Uint64("cluster.seed", 1, "what every choice is drawn from; 0 draws one")
	nodes    = flag.String("cluster.nodes", "2", "comma-separated numbers of nodes, one run for each")
	accounts = flag.Int("cluster.accounts", 100, "accounts of a run")
	life     = flag.Duration("cluster.life", 10*time.Second, "how long access tokens live")
	duration = flag.Duration("cluster.time", 20*time.Second, "for how long events are begun")
	calls    = flag.Int("cluster.calls", 100, "calls a second at each node")
	bound    = flag.Duration("cluster.bound", 3*time.Second, "within what all nodes are to know of a key; beside other tests it takes longer")
	pooler   = flag.Bool("cluster.pooler", false, "run once more with PgBouncer before the database")
	binary   = flag.String("cluster.bellhop", "", "the bellhop `file`; built where there is none")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bellhop-cluster-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	buildDir = dir
	return m.Run()
}

func TestClusterSpendsNoTokenTwiceAndHonoursNoKeyThatIsGone(t *testing.T) {
	numbers, err := numbersOf(*nodes)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range numbers {
		t.Run(fmt.Sprintf("%d nodes", n), func(t *testing.T) { holds(t, n, false) })
	}
	if *pooler {
		t.Run("PgBouncer", func(t *testing.T) { holds(t, numbers[0], true) })
	}
}

func numbersOf(list string) ([]int, error) {
	var numbers []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 2 {
			return nil, fmt.Errorf("-cluster.nodes: %q is no number of nodes", text)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

func holds(t *testing.T, nodes int, pooled bool) {
	t.Helper()
	events := everyEvent
	if *duration < time.Minute {
		events = []happening{killed, paused, silenced, murdered}
	}
	r := torment(t, settings{
		nodes: nodes, accounts: *accounts, life: *life, time: *duration, calls: *calls, pooled: pooled,
		events: events, keyEvery: 3 * time.Second, keyBound: *bound,
	})
	t.Log(r)
	for _, wrong := range r.wrong {
		t.Error(wrong)
	}
}

// A harness that cannot fail says nothing. Nothing at all happens in these
// runs, but that something is broken.
func TestClusterFindsWhatIsBroken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		broken breakage
		time   time.Duration
		finds  string
	}{
		{twoStores, 5 * time.Second, "the provider ended the grant"},
		// A node that has just started sends no refresh token that another may
		// have sent, whatever the leases say.
		{endsLeases, 18 * time.Second, "no event explains"},
		{tellsNothing, 5 * time.Second, "is still honoured"},
	} {
		t.Run(string(test.broken), func(t *testing.T) {
			t.Parallel()
			r := torment(t, settings{
				nodes: 2, accounts: 40, life: 5 * time.Second, time: test.time, calls: 100, broken: test.broken,
				keyEvery: 500 * time.Millisecond, keyBound: time.Second,
			})
			t.Log(r)
			if !strings.Contains(strings.Join(r.wrong, "\n"), test.finds) {
				t.Errorf("the run does not find that %s", test.finds)
			}
		})
	}
}

// settings say what to do.
type settings struct {
	nodes, accounts, calls int
	life, time             time.Duration
	pooled                 bool
	broken                 breakage
	events                 []happening // what may happen
	keyEvery               time.Duration
	// keyBound is within what a key that was made or removed on one node is so
	// on all that reach the database.
	keyBound time.Duration
}

// torment does it, and returns what came of it.
func torment(t *testing.T, s settings) *report {
	t.Helper()
	postgrestest.Need(t, "initdb", "postgres", "pg_ctl", "pg_basebackup")
	c := &cluster{
		settings: s, t: t, binary: bellhop(t), rng: rand.New(rand.NewPCG(*seed, uint64(s.nodes))),
		report: newReport(s), events: &chronicle{begun: time.Now()},
	}
	c.wire = newWire(t, s.life)
	c.begin()
	c.run()
	if s.broken == whole {
		c.finish()
	}
	c.judge()
	return c.report
}

// bellhop is the binary that the nodes run.
func bellhop(t *testing.T) string {
	t.Helper()
	if *binary != "" {
		return *binary
	}
	file, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// buildDir is where the binary is built, for all tests.
var buildDir string

var built = sync.OnceValues(func() (string, error) {
	file := filepath.Join(buildDir, "bellhop")
	args := append([]string{"build", "-tags", "nobadger,nomysql,nopgx", "-o", file}, raceFlag()...)
	said, err := exec.Command("go", append(args, "../../../cmd/bellhop")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building bellhop: %w\n%s", err, said)
	}
	return file, nil
})

// raceFlag makes the nodes look for races where this test does: what they are
// built of is compiled already, then.
func raceFlag() []string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return nil
	}
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			return []string{"-race"}
		}
	}
	return nil
}
