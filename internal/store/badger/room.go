package badger

import (
	"fmt"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

// roomAge is how long an answer about free space is believed.
const roomAge = time.Second

// room knows whether the file system of dir has more than reserve bytes free.
type room struct {
	dir     string
	reserve uint64
	clock   clockwork.Clock
	free    func(dir string) (uint64, error)

	mu     sync.Mutex
	looked time.Time
	err    error
}

// ready returns an error that wraps [store.ErrUnavailable] when there is less
// than the reserve.
func (r *room) ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	if r.looked.IsZero() || now.Sub(r.looked) >= roomAge {
		r.err, r.looked = r.atLeast(r.reserve), now
	}
	return r.err
}

// atLeast asks the file system.
func (r *room) atLeast(need uint64) error {
	free, err := r.free(r.dir)
	if err != nil {
		return fmt.Errorf("%w: asking for the free space of %s: %w", store.ErrUnavailable, r.dir, err)
	}
	if free < need {
		return fmt.Errorf("%w: %s has %s free and needs %s: make room on its file system",
			store.ErrUnavailable, r.dir, mebibytes(free), mebibytes(need))
	}
	return nil
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
