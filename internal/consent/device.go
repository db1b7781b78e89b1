package consent

import (
	"context"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// deviceAttempt is an attempt by device code.
type deviceAttempt struct {
	Link       Link   `json:"l"`
	DeviceCode string `json:"d"`
	// Expires is in seconds since 1970.
	Expires int64 `json:"e"`
}

// BeginDevice begins an attempt by device code.
func (s *Service) BeginDevice(ctx context.Context, l *Link) (*BegunDevice, error) {
	p, err := s.usable(ctx, l)
	if err != nil {
		return nil, err
	}
	g, err := s.grantOf(ctx, l)
	if err != nil {
		return nil, err
	}
	device, err := p.StartDevice(ctx, scopes(p, l, g))
	if err != nil {
		return nil, refused(ctx, l, err)
	}
	sealed, err := seal(s.cfg.States, deviceSeal, maxDevice, deviceAttempt{*l, device.DeviceCode.Reveal(), device.Expires.Unix()})
	if err != nil {
		return nil, linkInvalid(err)
	}
	return &BegunDevice{Device: device, Attempt: secret.New(sealed)}, nil
}

// PollDevice asks once whether the person has consented. While they have not,
// the [Refusal] is [Undecided], and its Failure's Code "authorization_pending"
// or "slow_down" (RFC 8628 section 3.5).
func (s *Service) PollDevice(ctx context.Context, sealed string) (*Outcome, error) {
	var a deviceAttempt
	if err := open(s.cfg.States, deviceSeal, sealed, &a); err != nil {
		return nil, attemptMissing(err)
	}
	l := &a.Link
	p, err := s.usable(ctx, l)
	if err != nil {
		return nil, err
	}
	if !s.cfg.Clock.Now().Before(time.Unix(a.Expires, 0)) {
		return nil, attemptExpired(l)
	}
	g, err := s.grantOf(ctx, l)
	if err != nil {
		return nil, err
	}
	// An answer with tokens comes once, also to one who has hung up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishing)
	defer cancel()
	expected := expect(l, g)
	c, err := p.PollDevice(ctx, provider.DeviceRequest{
		DeviceCode: secret.New(a.DeviceCode), Scopes: scopes(p, l, g),
		KnownIssuer: knownIssuer(l, g), ProveEmail: expected.proof,
	})
	if err != nil {
		return nil, refused(ctx, l, err)
	}
	return s.accept(ctx, p, l, expected, c)
}
