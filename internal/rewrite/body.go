package rewrite

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// body is an answer's body, rewritten while it is read.
type body struct {
	response *http.Response
	source   io.ReadCloser

	mu        sync.Mutex // held while it is read, and while buffers are given back
	wire      wire
	decodings []*decoding // in the order of their applying
	rewriter  *reader
	encoding  *encoding // nil if what is read is passed as it is
	changed   bool      // whether the header is for another body than came

	held    []byte  // what comes before the rest
	buffer  *[]byte // in which held is
	piece   *[]byte // in which pieces are that are to be encoded
	textErr error   // of the text, for when held is given
	err     error   // of Read, for when all that was encoded is given
}

// wire reads a body as it came, and keeps its beginning if asked to.
type wire struct {
	source io.Reader
	keep   bool
	kept   []byte
	any    bool // whether anything came
}

// Read implements [io.Reader].
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.source.Read(p)
	w.any = w.any || n > 0
	if w.keep {
		if w.kept = append(w.kept, p[:n]...); len(w.kept) > maxHeld {
			w.keep, w.kept = false, nil
		}
	}
	return n, err
}

func newBody(resp *http.Response, codings []*coding, rules *Rules, replace Func) *body {
	b := &body{response: resp, source: resp.Body, wire: wire{source: resp.Body}}
	var text io.Reader = &b.wire
	b.decodings = make([]*decoding, len(codings))
	for i := len(codings) - 1; i >= 0; i-- {
		d := &decoding{coding: codings[i], source: counter{Reader: text}, wire: &b.wire}
		b.decodings[i] = d
		text = d
	}
	if len(codings) > 0 {
		b.encoding = &encoding{decodings: b.decodings}
	}
	b.rewriter = newReader(text, rules, replace)
	return b
}

// hold reads up to maxHeld of the text. It reports whether that is all, which
// is ready to be given then. The error says that nothing came.
func (b *body) hold() (whole bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wire.keep = b.encoding != nil
	b.buffer = largeWindows.Get().(*[]byte)
	buffer := (*b.buffer)[:maxHeld+1]
	n := 0
	for n < len(buffer) && err == nil {
		var m int
		m, err = b.readText(buffer[n:])
		n += m
	}
	b.held = buffer[:n]
	if err != nil && !errors.Is(err, io.EOF) && !b.wire.any {
		b.release()
		return false, err
	}
	if n > maxHeld || !errors.Is(err, io.EOF) {
		b.wire.keep, b.wire.kept = false, nil
		return false, nil
	}
	if b.encoding == nil {
		return true, nil
	}
	if b.rewriter.replaced > 0 {
		if err := b.encoding.end(b.held); err != nil {
			return false, err
		}
		b.held = b.encoding.out.Bytes()
	} else if b.wire.keep {
		b.held = b.wire.kept
	} else {
		return false, nil // what came is longer than what it says
	}
	b.encoding.release()
	b.encoding = nil
	return true, nil
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if b.encoding == nil {
		if b.err != nil {
			return 0, b.err
		}
		n, err := b.next(p)
		b.end(err)
		return n, err
	}
	for b.encoding.out.Len() == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.end(b.encodeNext())
	}
	return b.encoding.out.Read(p)
}

// end makes an error the last.
func (b *body) end(err error) {
	if err != nil {
		b.err = err
		b.release()
	}
}

// encodeNext encodes the next piece of the text.
func (b *body) encodeNext() error {
	if b.piece == nil {
		b.piece = windows.Get().(*[]byte)
	}
	n, err := b.next(*b.piece)
	piece := (*b.piece)[:n]
	switch {
	case errors.Is(err, io.EOF) && b.wire.any:
		if encodeErr := b.encoding.end(piece); encodeErr != nil {
			return encodeErr
		}
	case n > 0:
		if encodeErr := b.encoding.encode(piece); encodeErr != nil {
			return encodeErr
		}
	}
	return err
}

// next reads the text, what is held first.
func (b *body) next(p []byte) (int, error) {
	if len(b.held) > 0 {
		n := copy(p, b.held)
		b.held = b.held[n:]
		return n, nil
	}
	return b.readText(p)
}

// readText reads the rewritten text, and the body to its end with it: only then
// is its trailer there.
func (b *body) readText(p []byte) (int, error) {
	if b.textErr != nil {
		return 0, b.textErr
	}
	n, err := b.rewriter.Read(p)
	if errors.Is(err, io.EOF) {
		// Each coded text has an end of its own, which may be missing.
		for _, d := range b.decodings {
			if _, drainErr := io.Copy(io.Discard, d.source.Reader); drainErr != nil {
				err = drainErr
				break
			}
		}
		if b.changed || b.rewriter.replaced > 0 {
			DropDigests(b.response.Trailer)
		}
	}
	b.textErr = err
	return n, err
}

// Close implements [io.Closer]. A Read that waits ends.
func (b *body) Close() error {
	err := b.source.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.end(http.ErrBodyReadAfterClose)
	}
	if b.encoding != nil {
		b.encoding.out.Reset()
	}
	return err
}

// release gives back what can be used again; it can be called again.
func (b *body) release() {
	b.rewriter.release()
	for _, d := range b.decodings {
		d.release()
	}
	if b.encoding != nil {
		b.encoding.release()
	}
	b.held = nil
	if b.buffer != nil {
		largeWindows.Put(b.buffer)
		b.buffer = nil
	}
	if b.piece != nil {
		windows.Put(b.piece)
		b.piece = nil
	}
}
