package rewrite

import (
	"io"
	"sync"
)

// NewReader rewrites the JSON text that r gives. It gives what it has as soon
// as it is decided on: a Read that can give anything after one Read of r does
// no second one. Errors of r come behind all the bytes that came before them.
func NewReader(r io.Reader, rules *Rules, replace Func) io.Reader {
	return newReader(r, rules, replace)
}

const (
	// windowSize is how much of the text is at hand as a rule, largeWindow where
	// much is held back, and minRead how much is read at least if there is more.
	windowSize  = 32 << 10
	largeWindow = maxHeld + windowSize
	minRead     = 8 << 10

	// maxEmptyReads is how often nothing may be read before that is an error.
	maxEmptyReads = 100
)

// scanners are reused for their buffers.
var scanners = sync.Pool{New: func() any { return new(scanner) }}

var (
	windows      = sync.Pool{New: func() any { b := make([]byte, windowSize); return &b }}
	largeWindows = sync.Pool{New: func() any { b := make([]byte, largeWindow); return &b }}
)

// reader is a window on a text that moves along it.
type reader struct {
	source  io.Reader
	replace Func
	err     error // of source, for when all is given

	scanner  *scanner // nil when it has nothing more to say
	window   *[]byte  // nil when nothing is in it
	at, end  int      // what of the window is yet to be given
	base     int64    // the offset of the window in the text
	settled  int      // how many of the queued candidates were given
	encoded  []byte   // a replacement
	sent     int      // how much of it was given
	replaced int      // how many strings were replaced
}

func newReader(r io.Reader, rules *Rules, replace Func) *reader {
	s := scanners.Get().(*scanner)
	s.rules.compile(rules)
	return &reader{source: r, replace: replace, scanner: s}
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if n := r.give(p); n > 0 {
			return n, nil
		}
		if r.err != nil {
			r.release()
			return 0, r.err
		}
		if r.scanner == nil || r.scanner.state == passing {
			r.release()
			n, err := r.source.Read(p)
			r.err = err
			return n, err
		}
		r.fill()
	}
}

// release gives the buffers back. Nothing of the text is in them any more, or
// it is no longer wanted.
func (r *reader) release() {
	r.releaseWindow()
	r.at, r.end = 0, 0
	if s := r.scanner; s != nil {
		r.scanner = nil
		s.reset()
		scanners.Put(s)
	}
}

func (r *reader) releaseWindow() {
	w := r.window
	if r.window = nil; w == nil {
		return
	}
	if len(*w) == windowSize {
		windows.Put(w)
		return
	}
	largeWindows.Put(w)
}

// give copies what is decided on.
func (r *reader) give(p []byte) int {
	given := 0
	for given < len(p) {
		if r.sent < len(r.encoded) {
			n := copy(p[given:], r.encoded[r.sent:])
			r.sent += n
			given += n
			continue
		}
		stop := r.end
		if r.at < r.end && r.settled < len(r.scanner.queue.list) {
			c := &r.scanner.queue.list[r.settled]
			stop = int(c.start - r.base)
			if r.at == stop {
				if r.settled >= r.scanner.queue.first {
					break
				}
				r.settled++
				if c.verdict == 0 && r.judge(c) {
					r.at = int(c.end - r.base)
					continue
				}
				stop = r.at + 1 // its opening quote, up to which the next is far
			}
		}
		if r.at == stop {
			break
		}
		n := copy(p[given:], (*r.window)[r.at:stop])
		r.at += n
		given += n
	}
	return given
}

// judge asks for the replacement of a match. It reports whether there is one.
func (r *reader) judge(c *candidate) bool {
	raw := (*r.window)[c.start-r.base+1 : c.end-r.base-1]
	text := appendText(make([]byte, 0, len(raw)), raw)
	if !validText(text) {
		return false
	}
	url := string(text)
	replacement, ok := r.replace(Found{Kind: c.kind, Name: c.name, URL: url, Beside: c.beside, Part: c.part})
	if !ok || replacement == url {
		return false
	}
	r.encoded = appendString(r.encoded[:0], replacement)
	r.sent = 0
	r.replaced++
	return true
}

// fill reads and scans more of the text.
func (r *reader) fill() {
	r.makeRoom()
	n, err := 0, error(nil)
	for empty := 0; n == 0 && err == nil; empty++ {
		if empty == maxEmptyReads {
			err = io.ErrNoProgress
			break
		}
		n, err = r.source.Read((*r.window)[r.end:])
	}
	r.scanner.scan((*r.window)[r.end:r.end+n], r.base+int64(r.end))
	r.end += n
	if r.err = err; err != nil {
		r.scanner.finish()
	}
}

// makeRoom makes room for a read.
func (r *reader) makeRoom() {
	r.scanner.queue.drop(r.settled)
	r.settled = 0
	if r.window == nil {
		r.window = windows.Get().(*[]byte)
	}
	old := *r.window
	held := old[r.at:r.end]
	if len(old) == windowSize && len(held) > windowSize-minRead {
		large := largeWindows.Get().(*[]byte)
		copy(*large, held)
		r.releaseWindow()
		r.window = large
	} else {
		copy(old, held)
	}
	r.base += int64(r.at)
	r.at, r.end = 0, len(held)
}
