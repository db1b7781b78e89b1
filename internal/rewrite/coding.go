package rewrite

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxCodings is how many codings may be applied to a body.
	maxCodings = 3

	// maxZstdWindow bounds what a sender may ask of a decoder's memory (RFC 9659).
	maxZstdWindow = 8 << 20

	// Windows of the encoders: answers are short.
	zstdWindow    = 256 << 10
	brotliWindow  = 18 // bits
	brotliQuality = 2
)

// decoder decodes one coding.
type decoder interface {
	io.Reader
	Reset(source io.Reader) error
}

// encoder applies one coding. Close ends the coded text, and Reset begins
// another.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

// coding is a content coding (RFC 9110 section 8.4.1).
type coding struct {
	decoders, encoders sync.Pool
}

func newCoding(decoder, encoder func() any) *coding {
	return &coding{decoders: sync.Pool{New: decoder}, encoders: sync.Pool{New: encoder}}
}

var (
	gzipCoding = newCoding(
		func() any { return new(gzip.Reader) },
		func() any { return must(gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)) },
	)
	deflateCoding = newCoding(
		func() any { return &inflater{source: bufio.NewReader(nil)} },
		func() any { return must(zlib.NewWriterLevel(io.Discard, zlib.BestSpeed)) },
	)
	// rawDeflate is what some senders take "deflate" for.
	rawDeflate = newCoding(
		nil, // the sender's word for it is the same
		func() any { return must(flate.NewWriter(io.Discard, flate.BestSpeed)) },
	)
	brotliCoding = newCoding(
		func() any { return brotli.NewReader(nil) },
		func() any {
			return brotli.NewWriterOptions(io.Discard, brotli.WriterOptions{Quality: brotliQuality, LGWin: brotliWindow})
		},
	)
	// With a concurrency of one neither has goroutines of its own.
	zstdCoding = newCoding(
		func() any {
			return must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow)))
		},
		func() any {
			return must(zstd.NewWriter(io.Discard, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
				zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstdWindow)))
		},
	)
)

// must takes what constructors refuse for the sake of constants only.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// contentCodings are the codings of a body in the order in which they were
// applied; false if one is not known or there are too many.
func contentCodings(h http.Header) ([]*coding, bool) {
	var codings []*coding
	for _, line := range h["Content-Encoding"] {
		for name := range strings.SplitSeq(line, ",") {
			switch strings.ToLower(strings.Trim(name, " \t")) {
			case "", "identity":
			case "gzip", "x-gzip":
				codings = append(codings, gzipCoding)
			case "deflate":
				codings = append(codings, deflateCoding)
			case "br":
				codings = append(codings, brotliCoding)
			case "zstd":
				codings = append(codings, zstdCoding)
			default:
				return nil, false
			}
		}
	}
	return codings, len(codings) <= maxCodings
}

// inflater decodes "deflate": the zlib format (RFC 1950), or what some senders
// send instead, deflate itself (RFC 1951).
type inflater struct {
	source    *bufio.Reader
	zlib, raw io.Reader
	current   io.Reader
}

// Reset implements [decoder].
func (d *inflater) Reset(source io.Reader) error {
	d.source.Reset(source)
	d.current = nil
	return nil
}

// Read implements [io.Reader].
func (d *inflater) Read(p []byte) (int, error) {
	if d.current == nil {
		if err := d.begin(); err != nil {
			return 0, err
		}
	}
	return d.current.Read(p)
}

func (d *inflater) begin() error {
	start, err := d.source.Peek(2)
	if len(start) < 2 {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if start[0]&0xf != 8 || (int(start[0])<<8|int(start[1]))%31 != 0 {
		if d.raw == nil {
			d.raw = flate.NewReader(d.source)
		} else if err := d.raw.(flate.Resetter).Reset(d.source, nil); err != nil {
			return err
		}
		d.current = d.raw
		return nil
	}
	if d.zlib == nil {
		d.zlib, err = zlib.NewReader(d.source)
	} else {
		err = d.zlib.(zlib.Resetter).Reset(d.source, nil)
	}
	d.current = d.zlib
	return err
}

// isRaw reports whether the sender left the zlib format out.
func (d *inflater) isRaw() bool { return d.current != nil && d.current == d.raw }

// decoding is a text from which one coding is taken.
type decoding struct {
	coding  *coding
	source  counter
	decoder decoder // nil before the first Read and after the last
	wire    *wire
	raw     bool // whether it is deflate without the zlib format
	err     error
}

// counter counts what is read.
type counter struct {
	io.Reader
	n int64
}

// Read implements [io.Reader].
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// Read implements [io.Reader].
func (d *decoding) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.read(p)
	if err == nil {
		return n, nil
	}
	// No body at all is not a short one. Anything else that ends before it has
	// begun is.
	if d.source.n == 0 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		if err = io.ErrUnexpectedEOF; !d.wire.any {
			err = io.EOF
		}
	}
	d.err = err
	d.release()
	return n, err
}

func (d *decoding) read(p []byte) (int, error) {
	if d.decoder == nil {
		d.decoder = d.coding.decoders.Get().(decoder)
		if err := d.decoder.Reset(&d.source); err != nil {
			return 0, err
		}
	}
	n, err := d.decoder.Read(p)
	if i, ok := d.decoder.(*inflater); ok {
		d.raw = i.isRaw()
	}
	return n, err
}

// nothing is the source of decoders that are not in use.
type nothing struct{}

// Read implements [io.Reader].
func (nothing) Read([]byte) (int, error) { return 0, io.EOF }

// release gives the decoder back.
func (d *decoding) release() {
	if d.decoder == nil {
		return
	}
	// The source is let go; a decoder that finds nothing there says so.
	_ = d.decoder.Reset(nothing{})
	d.coding.decoders.Put(d.decoder)
	d.decoder = nil
}

// again is the coding to apply in place of the one that was taken off.
func (d *decoding) again() *coding {
	if d.raw {
		return rawDeflate
	}
	return d.coding
}

// encoding applies again the codings that were taken off.
type encoding struct {
	out       bytes.Buffer
	decodings []*decoding // in the order of their applying
	encoders  []encoder   // nil before the first use and after the last
}

// encode takes a piece of the text; what comes out decodes to all of it.
func (e *encoding) encode(text []byte) error {
	return e.write(text, encoder.Flush)
}

// end takes the last piece of the text.
func (e *encoding) end(text []byte) error {
	return e.write(text, encoder.Close)
}

func (e *encoding) write(text []byte, then func(encoder) error) error {
	if e.encoders == nil {
		e.begin()
	}
	if _, err := e.encoders[0].Write(text); err != nil {
		return err
	}
	for _, enc := range e.encoders {
		if err := then(enc); err != nil {
			return err
		}
	}
	return nil
}

// begin readies the encoders. What a sender took "deflate" for is known by now.
func (e *encoding) begin() {
	e.encoders = make([]encoder, len(e.decodings))
	var w io.Writer = &e.out
	for i := len(e.decodings) - 1; i >= 0; i-- {
		enc := e.decodings[i].again().encoders.Get().(encoder)
		enc.Reset(w)
		e.encoders[i] = enc
		w = enc
	}
}

// release gives the encoders back.
func (e *encoding) release() {
	for i, enc := range e.encoders {
		enc.Reset(io.Discard)
		e.decodings[i].again().encoders.Put(enc)
	}
	e.encoders = nil
}
