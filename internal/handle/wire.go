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
// variable-length integers; the account, provider and key, each behind its
// length; and the URL up to the end.
const version = 1

const (
	maxURL  = 8 << 10
	maxName = 1 << 10

	maxPlain = 2 + 3*binary.MaxVarintLen64 + 3*(binary.MaxVarintLen16+maxName) + maxURL
	// maxSealed has room for what the seal adds.
	maxSealed = (maxPlain + 64) * 4 / 3
)

func (h *Handle) marshal() ([]byte, error) {
	switch {
	case h.Kind.Life() == 0:
		return nil, fmt.Errorf("kind %d is unknown", h.Kind)
	case h.URL == "" || len(h.URL) > maxURL:
		return nil, fmt.Errorf("a URL has 1 to %d bytes and not %d", maxURL, len(h.URL))
	case h.Issued.Unix() < 0 || h.Expires.Unix() < 0:
		return nil, errors.New("a time lies before 1970")
	}
	b := make([]byte, 0, 64+len(h.Account)+len(h.Provider)+len(h.Key)+len(h.URL))
	b = append(b, version, byte(h.Kind))
	b = binary.AppendUvarint(b, h.Generation)
	b = binary.AppendUvarint(b, uint64(h.Issued.Unix()))
	b = binary.AppendUvarint(b, uint64(h.Expires.Unix()))
	for _, name := range []string{h.Account, h.Provider, h.Key} {
		if len(name) > maxName {
			return nil, fmt.Errorf("a name has at most %d bytes and not %d", maxName, len(name))
		}
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
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
		URL:        string(r.rest),
	}
	if r.broken || h.URL == "" || h.Kind.Life() == 0 {
		return nil, errForm
	}
	return h, nil
}

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
