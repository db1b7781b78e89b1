package handle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// version is the first byte of what is sealed. Behind it are the kind (a byte);
// the generation and the times of issue and expiry, in seconds since 1970, as
// variable-length integers; the account, provider and key, and the call's method,
// host and path, each behind its length; and the URL up to the end. What version 1
// sealed had no call, and nothing to judge it by.
const version = 2

const (
	// maxURL is how long the URL and the call's path may be together.
	maxURL    = 8 << 10
	maxName   = 1 << 10
	maxMethod = 32
	maxHost   = 320

	maxPlain = 2 + 3*binary.MaxVarintLen64 + 6*binary.MaxVarintLen16 + 3*maxName + maxMethod + maxHost + maxURL
	// maxSealed has room for what the seal adds.
	maxSealed = (maxPlain + 64) * 4 / 3
)

func (h *Handle) marshal() ([]byte, error) {
	switch {
	case h.Kind.Life() == 0:
		return nil, fmt.Errorf("kind %d is unknown", h.Kind)
	case h.URL == "" || len(h.URL)+len(h.Call.Path) > maxURL:
		return nil, fmt.Errorf("a URL has with the call's path 1 to %d bytes and not %d", maxURL, len(h.URL)+len(h.Call.Path))
	case !h.Call.complete():
		return nil, errors.New("the call that it came of is missing")
	case h.Issued.Unix() < 0 || h.Expires.Unix() < 0:
		return nil, errors.New("a time lies before 1970")
	}
	b := make([]byte, 0, 64+len(h.Account)+len(h.Provider)+len(h.Key)+len(h.Call.Method)+len(h.Call.Host)+len(h.Call.Path)+len(h.URL))
	b = append(b, version, byte(h.Kind))
	b = binary.AppendUvarint(b, h.Generation)
	b = binary.AppendUvarint(b, uint64(h.Issued.Unix()))  //nolint:gosec // not negative, as looked at above
	b = binary.AppendUvarint(b, uint64(h.Expires.Unix())) //nolint:gosec // not negative, as looked at above
	for _, field := range []struct {
		text string
		most int
	}{{h.Account, maxName}, {h.Provider, maxName}, {h.Key, maxName}, {h.Call.Method, maxMethod}, {h.Call.Host, maxHost}, {h.Call.Path, maxURL}} {
		if len(field.text) > field.most {
			return nil, fmt.Errorf("a name has at most %d bytes and not %d", field.most, len(field.text))
		}
		b = binary.AppendUvarint(b, uint64(len(field.text)))
		b = append(b, field.text...)
	}
	return append(b, h.URL...), nil
}

func unmarshal(b []byte) (*Handle, error) {
	if len(b) < 2 || b[0] != version {
		return nil, errors.New("handle has another version")
	}
	r := reader{rest: b[2:]}
	h := &Handle{
		Kind:       Kind(b[1]),
		Generation: r.number(),
		Issued:     r.time(),
		Expires:    r.time(),
		Account:    r.text(),
		Provider:   r.text(),
		Key:        r.text(),
		Call:       Call{Method: r.text(), Host: r.text(), Path: r.text()},
		URL:        string(r.rest),
	}
	if r.broken || h.URL == "" || !h.Call.complete() || h.Kind.Life() == 0 {
		return nil, errForm
	}
	return h, nil
}

// complete reports whether there is a call to judge by.
func (c *Call) complete() bool { return c.Method != "" && c.Host != "" && c.Path != "" }

// reader takes a handle apart; broken stays set from the first thing that is
// missing.
type reader struct {
	rest   []byte
	broken bool
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.broken = true
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) time() time.Time {
	seconds := r.number()
	if seconds > math.MaxInt64 {
		r.broken = true
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

func (r *reader) text() string {
	length := r.number()
	if length > uint64(len(r.rest)) {
		r.broken = true
		return ""
	}
	text := string(r.rest[:length])
	r.rest = r.rest[length:]
	return text
}
