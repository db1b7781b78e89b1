package broker

import (
	"sync"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

const (
	// skewWarned is the difference of clocks from which it is warned about:
	// assertions are refused and tokens end early where it grows.
	skewWarned = 30 * time.Second
	// skewEvery is how often it is warned about, for each provider.
	skewEvery = time.Hour
)

// skews remembers when it was last warned about a provider's clock.
type skews struct {
	mu     sync.Mutex
	warned map[string]time.Time
}

// compareClocks measures by how much the provider's clock is ahead of ours.
// Its answer has the time in whole seconds, and was made at some time in
// between; more than that is not known.
func (b *Broker) compareClocks(provider string, a account.Answer, begun time.Time, took time.Duration) {
	if a.Date.IsZero() {
		return
	}
	skew := a.Date.Add(time.Second / 2).Sub(begun.Add(took / 2))
	b.observer.Skewed(provider, skew)
	if skew.Abs() < skewWarned+took/2 || !b.skews.news(provider, begun) {
		return
	}
	b.log.Warn("this machine's clock and the provider's differ; check that it is set by NTP", "provider", provider, "provider_ahead_by", skew.Round(time.Second))
}

// news reports whether a warning now is not a repetition.
func (s *skews) news(provider string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.warned[provider]; ok && now.Sub(last) < skewEvery {
		return false
	}
	if s.warned == nil {
		s.warned = make(map[string]time.Time)
	}
	s.warned[provider] = now
	return true
}
