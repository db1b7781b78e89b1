// Package replay keeps the beginning of a request body while it is sent, so
// that a short one can be sent twice.
package replay

import (
	"errors"
	"io"
	"sync"
)

// errStopped is what a reader gets that has been replaced: a transport may
// still be reading a body whose answer has come.
var errStopped = errors.New("reading a request body that is being sent anew")

// Body is a request body that is read from its source once, and from memory
// after that. It never closes its source: a server closes the bodies of its
// requests itself.
type Body struct {
	source io.Reader
	length int64 // as announced; negative when unknown
	limit  int64

	mu      sync.Mutex // held while the source is read
	kept    []byte     // what was read, as long as that is within the limit
	read    int64      // how much was read
	ended   bool       // the source has no more
	current *reader
}

// New wraps a body of the announced length (negative: unknown), of which up to
// limit bytes are kept. A limit of 0 keeps nothing. A body that is announced as
// longer than the limit is not kept at all.
func New(source io.Reader, length, limit int64) *Body {
	if length > limit {
		limit = 0
	}
	return &Body{source: source, length: length, limit: limit}
}

// Open returns a reader of the body for the first time it is sent.
func (b *Body) Open() io.ReadCloser {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open()
}

// Reopen returns a reader of the whole body in place of the one before, which
// gets no more of it. It reports false, and changes nothing, unless the body is
// at hand: it has been read to its end and kept, or nothing of it was read yet,
// as when an API refuses what the caller announced with Expect: 100-continue
// (RFC 9110 section 10.1.1). It does not wait: a body whose rest the caller has
// yet to send is not at hand.
func (b *Body) Reopen() (io.ReadCloser, bool) {
	if !b.mu.TryLock() {
		return nil, false // somebody waits for more of it
	}
	defer b.mu.Unlock()
	whole := b.ended || b.read == b.length
	if b.read > 0 && (!whole || int64(len(b.kept)) != b.read) {
		return nil, false
	}
	return b.open(), true
}

func (b *Body) open() *reader {
	b.current = &reader{body: b}
	return b.current
}

type reader struct {
	body *Body
	at   int64 // how much this reader has given
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current != r {
		return 0, errStopped
	}
	if r.at < b.read {
		n := copy(p, b.kept[r.at:])
		r.at += int64(n)
		return n, nil
	}
	if b.ended {
		return 0, io.EOF
	}
	n, err := b.source.Read(p)
	b.keep(p[:n])
	r.at += int64(n)
	b.ended = errors.Is(err, io.EOF)
	return n, err
}

// keep remembers what was read, or forgets it all when it is too much.
func (b *Body) keep(p []byte) {
	kept := int64(len(b.kept)) == b.read
	b.read += int64(len(p))
	if !kept || b.read > b.limit {
		b.kept = nil
		return
	}
	if b.kept == nil && b.length > 0 {
		b.kept = make([]byte, 0, b.length)
	}
	b.kept = append(b.kept, p...)
}

// Close implements [io.Closer].
func (r *reader) Close() error { return nil }
