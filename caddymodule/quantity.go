package caddymodule

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// Duration is a length of time that is written to JSON as it was read: `5m`,
// `1h30m`, `20d`. It is never negative. The zero Duration is one that was not
// written, which is not the same as `0s`.
type Duration struct {
	text  string
	value time.Duration
}

// ParseDuration reads what Go's [time.ParseDuration] reads, and `d` for days of
// 24 hours.
func ParseDuration(text string) (Duration, error) {
	value, err := caddy.ParseDuration(text)
	if err != nil || value < 0 {
		return Duration{}, fmt.Errorf("%q is not a duration: write one like 30s, 5m, 12h or 20d", text)
	}
	return Duration{text: text, value: value}, nil
}

// Or returns the duration, or fallback if none was written.
func (d Duration) Or(fallback time.Duration) time.Duration {
	if d.IsZero() {
		return fallback
	}
	return d.value
}

// IsZero reports whether the duration was not written.
func (d Duration) IsZero() bool { return d.text == "" }

// String returns the duration as it was written.
func (d Duration) String() string { return d.text }

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.text), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDuration(string(text))
	return err
}

// Size is a number of bytes that is written to JSON as it was read: `64KiB`,
// `64MiB`. The zero Size is one that was not written, which is not the same as
// `0`.
type Size struct {
	text  string
	bytes int64
}

// ParseSize reads a number of bytes with an optional unit (KiB, MiB, GiB, or
// the decimal KB, MB, GB).
func ParseSize(text string) (Size, error) {
	bytes, err := humanize.ParseBytes(text)
	if err != nil || bytes > math.MaxInt64 {
		return Size{}, fmt.Errorf("%q is not a size: write one like 64KiB or 64MiB", text)
	}
	return Size{text: text, bytes: int64(bytes)}, nil
}

// Or returns the size in bytes, or fallback if none was written.
func (s Size) Or(fallback int64) int64 {
	if s.IsZero() {
		return fallback
	}
	return s.bytes
}

// IsZero reports whether the size was not written.
func (s Size) IsZero() bool { return s.text == "" }

// String returns the size as it was written.
func (s Size) String() string { return s.text }

// MarshalText implements [encoding.TextMarshaler].
func (s Size) MarshalText() ([]byte, error) { return []byte(s.text), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Size) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSize(string(text))
	return err
}

// Rate is a number of calls in a span of time, written `10/s`, `600/m` or
// `5000/h`. The zero Rate sets no limit.
type Rate struct {
	text  string
	calls int
	per   time.Duration
}

var ratePattern = regexp.MustCompile(`^([1-9][0-9]{0,8})/([smh])$`)

// ParseRate reads `<calls>/<s, m or h>`.
func ParseRate(text string) (Rate, error) {
	parts := ratePattern.FindStringSubmatch(text)
	if parts == nil {
		return Rate{}, fmt.Errorf("%q is not a rate: write one like 10/s, 600/m or 5000/h", text)
	}
	calls, err := strconv.Atoi(parts[1])
	if err != nil {
		return Rate{}, fmt.Errorf("reading rate %q: %w", text, err)
	}
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[parts[2]]
	return Rate{text: text, calls: calls, per: per}, nil
}

// Calls returns how many calls are let through.
func (r Rate) Calls() int { return r.calls }

// Per returns the span of time that Calls is counted over.
func (r Rate) Per() time.Duration { return r.per }

// sentence says the limit.
func (r Rate) sentence() string {
	span := map[time.Duration]string{time.Second: "a second", time.Minute: "a minute", time.Hour: "an hour"}[r.per]
	return fmt.Sprintf("may call %d times %s", r.calls, span)
}

// IsZero reports whether there is no limit.
func (r Rate) IsZero() bool { return r.text == "" }

// String returns the rate as it was written.
func (r Rate) String() string { return r.text }

// MarshalText implements [encoding.TextMarshaler].
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.text), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Rate) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRate(string(text))
	return err
}

// Expiry is when a key ends: a date (`2027-01-31`, the end of that day in UTC),
// a time (RFC 3339) or a duration (`30d`). A duration counts from the load of
// the configuration, so that each load starts it anew. The zero Expiry never
// comes.
type Expiry struct {
	text  string
	at    time.Time
	after time.Duration
}

// ParseExpiry reads a date, a time or a duration.
func ParseExpiry(text string) (Expiry, error) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return Expiry{text: text, at: day.AddDate(0, 0, 1)}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return Expiry{text: text, at: at}, nil
	}
	if after, err := caddy.ParseDuration(text); err == nil && after > 0 {
		return Expiry{text: text, after: after}, nil
	}
	return Expiry{}, fmt.Errorf("%q is no end for a key: write a date (2027-01-31), a time (2027-01-31T12:00:00Z) or a duration (30d)", text)
}

// parseDate reads a date or a time: what ends by itself, whenever the
// configuration is loaded.
func parseDate(text string) (Expiry, error) {
	e, err := ParseExpiry(text)
	if err != nil || e.after > 0 {
		return Expiry{}, fmt.Errorf("%q is not a date: write one like 2027-01-31", text)
	}
	return e, nil
}

// At returns when the key ends if its configuration was loaded at the given
// time; the zero time means never.
func (e Expiry) At(loaded time.Time) time.Time {
	if e.after > 0 {
		return loaded.Add(e.after)
	}
	return e.at
}

// IsZero reports whether there is no end.
func (e Expiry) IsZero() bool { return e.text == "" }

// String returns the expiry as it was written.
func (e Expiry) String() string { return e.text }

// MarshalText implements [encoding.TextMarshaler].
func (e Expiry) MarshalText() ([]byte, error) { return []byte(e.text), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (e *Expiry) UnmarshalText(text []byte) (err error) {
	*e, err = ParseExpiry(string(text))
	return err
}

// Rotation is what a provider does with a refresh token that was used: `none`,
// `keeps_old`, `single_use`, or `grace <duration>`, which is `single_use` with a
// window in which the old one is still answered. The zero Rotation is the
// provider type's own.
type Rotation struct {
	text  string
	value account.Rotation
}

// ParseRotation reads one of the four forms.
func ParseRotation(text string) (Rotation, error) {
	kind, rest, _ := strings.Cut(text, " ")
	value := account.Rotation{Kind: account.RotationKind(kind)}
	switch value.Kind {
	case account.RotationGrace:
		grace, err := ParseDuration(rest)
		if err != nil || grace.value == 0 {
			return Rotation{}, errors.New("grace needs its window: write `rotation grace 10s`")
		}
		value.Grace = grace.value
		return Rotation{text: text, value: value}, nil
	case account.RotationNone, account.RotationKeepsOld, account.RotationSingleUse:
		if rest == "" {
			return Rotation{text: text, value: value}, nil
		}
	}
	return Rotation{}, fmt.Errorf("%q is no rotation: write none, keeps_old, single_use or grace <duration>", text)
}

// Mode returns one of [account.RotationKind]'s values, or "" if none was written.
func (r Rotation) Mode() string { return string(r.value.Kind) }

// Grace returns the window of `grace`, else 0.
func (r Rotation) Grace() time.Duration { return r.value.Grace }

// IsZero reports whether no rotation was written.
func (r Rotation) IsZero() bool { return r.text == "" }

// String returns the rotation as it was written.
func (r Rotation) String() string { return r.text }

// MarshalText implements [encoding.TextMarshaler].
func (r Rotation) MarshalText() ([]byte, error) { return []byte(r.text), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Rotation) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRotation(string(text))
	return err
}
