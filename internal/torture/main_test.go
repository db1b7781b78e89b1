package torture

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

var (
	kills     = flag.Int("torture.n", 10, "kills for each rotation")
	seed      = flag.Uint64("torture.seed", 1, "what every choice is drawn from; 0 draws one")
	rotations = flag.String("torture.rotations", "single_use,grace 10s,keeps_old,none", "comma-separated rotations of the provider")
	lanes     = flag.Int("torture.lanes", 4, "processes that are killed side by side")
	binary    = flag.String("torture.bellhop", "", "a bellhop `file`: a quarter of the lanes run it whole")
)

// asSubject makes the test binary the process that is killed.
const asSubject = "BELLHOP_TORTURE_SUBJECT"

func TestMain(m *testing.M) {
	if config, ok := os.LookupEnv(asSubject); ok {
		if err := runSubject(config); err != nil {
			fmt.Fprintln(os.Stderr, "subject:", err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	os.Exit(m.Run())
}

func TestTortureLosesNoAccountThatTheProviderHonours(t *testing.T) {
	t.Parallel()
	for text := range strings.SplitSeq(*rotations, ",") {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			rotation, err := fakeprovider.ParseRotation(text)
			if err != nil {
				t.Fatal(err)
			}
			r := torture(t, run{rotation: rotation, kills: *kills, lanes: *lanes, binary: *binary})
			t.Log(r)
			for _, wrong := range r.wrong {
				t.Error(wrong)
			}
			r.checkSteps(t)
		})
	}
}

// A harness that cannot fail says nothing.
func TestTortureFindsBrokenBrokers(t *testing.T) {
	t.Parallel()
	for _, broken := range []breakage{savesLate, spendsTwice, forgetsRotated} {
		t.Run(string(broken), func(t *testing.T) {
			t.Parallel()
			r := torture(t, run{
				rotation: fakeprovider.Rotation{Policy: fakeprovider.SingleUse},
				kills:    20, lanes: 2, broken: broken,
			})
			t.Log(r)
			if len(r.wrong) == 0 {
				t.Errorf("%d kills found nothing wrong", r.kills())
			}
		})
	}
}
