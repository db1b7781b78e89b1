package caddymodule

import (
	"io"
	"sync"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// envelopes bounds what the batches of all sites hold in memory, and the bodies
// by which calls are judged. Each of them is there a few times over, as it came
// and as it is sent, until it is answered.
var envelopes = newEnvelopeMemory(200<<20, 75<<20)

// envelopeMemory bounds how much of batches is held at a time, in bytes as they
// came: of all, and of those of one caller.
type envelopeMemory struct {
	most, mostOfOne int64

	mu   sync.Mutex
	held int64
	of   map[string]int64 // by the hash of the caller's key
}

func newEnvelopeMemory(most, mostOfOne int64) *envelopeMemory {
	return &envelopeMemory{most: most, mostOfOne: mostOfOne, of: make(map[string]int64)}
}

// take lends n bytes to a caller, if there are any left.
func (m *envelopeMemory) take(key string, n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held+n > m.most || m.of[key]+n > m.mostOfOne {
		return false
	}
	m.held += n
	m.of[key] += n
	return true
}

func (m *envelopeMemory) giveBack(key string, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held -= n
	if m.of[key] -= n; m.of[key] == 0 {
		delete(m.of, key)
	}
}

// envelopeBody is a batch, or another body, that is read into memory. What has
// come of it counts, and not what is yet to come: a caller that sends slowly
// keeps nobody waiting.
type envelopeBody struct {
	source io.Reader
	memory *envelopeMemory
	key    string
	taken  int64
}

// Read implements [io.Reader].
func (b *envelopeBody) Read(p []byte) (int, error) {
	n, err := b.source.Read(p)
	if !b.memory.take(b.key, int64(n)) {
		refused := problem.New(problem.RateLimited, "too many large batches or drafts are being sent at once: wait for the answers to some of them")
		refused.RetryAfter = time.Second
		return 0, refused
	}
	b.taken += int64(n)
	return n, err
}

// release gives back what was taken.
func (b *envelopeBody) release() { b.memory.giveBack(b.key, b.taken) }
