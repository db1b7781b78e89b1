// Package secret holds values that must not be printed, and seals records that
// must not be read.
package secret

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// Redacted stands wherever a secret would have been printed.
const Redacted = "REDACTED"

// String is a secret: a token, a client secret, an API key. Every way of
// printing it (fmt with any verb, JSON, text, slog) gives [Redacted]; only
// [String.Reveal] gives the value. The value is behind a pointer because fmt
// does not call methods of unexported fields: a struct that holds a String
// prints an address at worst.
//
// The zero String is empty.
type String struct{ value *string }

// New wraps value.
func New(value string) String {
	if value == "" {
		return String{}
	}
	return String{value: &value}
}

// Reveal returns the secret itself. Its callers are the places to review.
func (s String) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no secret.
func (s String) IsZero() bool { return s.value == nil }

// Equal compares in constant time.
func (s String) Equal(other String) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String implements [fmt.Stringer].
func (String) String() string { return Redacted }

// Format implements [fmt.Formatter], so that no verb prints more.
func (String) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// MarshalText implements [encoding.TextMarshaler], for JSON too.
func (String) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// LogValue implements [slog.LogValuer].
func (String) LogValue() slog.Value { return slog.StringValue(Redacted) }
