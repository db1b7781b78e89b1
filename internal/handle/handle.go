// Package handle seals URLs that carry their own authority, so that callers can
// use them without seeing them. A handle is the credential: SDKs send none along
// with such a URL, or a wrong one.
package handle

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// Kind says what a handle is for.
type Kind uint8

// The kinds of handles. They stand in sealed handles, so their numbers stay.
const (
	// Download is a URL to read from.
	Download Kind = iota + 1
	// Upload is an upload session that needs no token.
	Upload
	// Session is a resumable upload of Google's, which needs the account's
	// token too.
	Session
	// Monitor tells of the progress of a call that goes on.
	Monitor
)

// String is the kind's word, for logs and answers.
func (k Kind) String() string {
	switch k {
	case Download:
		return "download"
	case Upload:
		return "upload"
	case Session:
		return "session"
	case Monitor:
		return "monitor"
	}
	return "unknown"
}

// Allows reports whether a handle of this kind may be called with the method.
func (k Kind) Allows(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead:
		return k == Download || k == Upload || k == Monitor
	case http.MethodPut, http.MethodPost, http.MethodDelete:
		return k == Upload || k == Session
	}
	return false
}

// Life is how long a handle is good for where the API does not say.
func (k Kind) Life() time.Duration {
	switch k {
	case Download:
		return time.Hour
	case Upload, Monitor:
		return 24 * time.Hour
	case Session:
		return 7 * 24 * time.Hour
	}
	return 0
}

// maxLife is beyond what any API gives a URL of this kind.
const maxLife = 30 * 24 * time.Hour

// Until is when a handle that is made now expires: when the API says, unless
// that is too far away to be right, and else after the kind's usual life.
func (k Kind) Until(now, said time.Time) time.Time {
	if !said.IsZero() && said.Sub(now) <= maxLife {
		return said
	}
	return now.Add(k.Life())
}

// Token reports whether the account's token goes along.
func (k Kind) Token() bool { return k == Session }

// Handle is a URL that carries its own authority, and for whom it is. However it
// is printed, it tells the account, the kind and the host, and not the URL.
type Handle struct {
	// URL is absolute; its query is usually a credential.
	URL string
	// Account is the account's ID.
	Account string
	// Provider is the name of the account's provider.
	Provider string
	// Generation is that of the account's grant.
	Generation uint64
	// Key is the hash of the key that the URL was handed out to, or the
	// identity of the caller where there are no keys.
	Key string
	// Call is what the URL was handed out in answer to.
	Call Call
	// Kind says what the handle is for.
	Kind Kind
	// Issued and Expires are kept to the second.
	Issued, Expires time.Time
}

// Call is the call of an API by which a handle is judged when it is used: of a
// batch, the part that was answered with the URL, and of a handle, the call that
// the first one came of.
type Call struct {
	Method string
	// Host and Path are as package target has them.
	Host, Path string
}

// String implements [fmt.Stringer].
func (h Handle) String() string {
	return h.Account + " " + h.Kind.String() + " " + h.host()
}

// Format implements [fmt.Formatter], so that no verb prints more.
func (h Handle) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(h.String())) }

// MarshalText implements [encoding.TextMarshaler], for JSON too.
func (h Handle) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// LogValue implements [slog.LogValuer].
func (h Handle) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("account", h.Account),
		slog.String("kind", h.Kind.String()),
		slog.String("host", h.host()),
	)
}

func (h Handle) host() string {
	u, err := url.Parse(h.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// associated binds what is sealed to its use.
const associated = "handle"

// encoding gives a handle one spelling only.
var encoding = base64.RawURLEncoding.Strict()

// Seal makes the text that stands for the handle in a URL: letters, digits, "-"
// and "_". A URL that has with the call's path more than 8 KiB is an error, and so
// is a name beyond 1 KiB.
func Seal(s *secret.Sealer, h *Handle) (string, error) {
	plain, err := h.marshal()
	if err != nil {
		return "", fmt.Errorf("sealing handle: %w", err)
	}
	sealed, err := s.Seal(plain, associated)
	if err != nil {
		return "", fmt.Errorf("sealing handle: %w", err)
	}
	return encoding.EncodeToString(sealed), nil
}

// Open gives back what [Seal] was given. The error is a [problem.Problem]: that
// the handle has expired, or that it is none, without the reason.
func Open(s *secret.Sealer, sealed string, now time.Time) (*Handle, error) {
	// The decoder would skip line breaks.
	if sealed == "" || len(sealed) > maxSealed || strings.ContainsAny(sealed, "\r\n") {
		return nil, refuse(errForm)
	}
	raw, err := encoding.DecodeString(sealed)
	if err != nil {
		return nil, refuse(errForm)
	}
	plain, err := s.Open(raw, associated)
	if err != nil {
		return nil, refuse(err)
	}
	h, err := unmarshal(plain)
	if err != nil {
		return nil, refuse(err)
	}
	if !now.Before(h.Expires) {
		return nil, problem.New(problem.NotAllowed, "expired at "+h.Expires.Format(time.RFC3339)+": ask the API for a new one")
	}
	return h, nil
}

var errForm = errors.New("handle has not the form of one")

// refuse says the same whatever is wrong; the reason is for the log.
func refuse(err error) *problem.Problem {
	return problem.New(problem.InvalidRequest, "this is not a handle of ours: use the URL as it was handed out").Because(err)
}
