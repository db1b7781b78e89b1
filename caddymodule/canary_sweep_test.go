package caddymodule

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// canary is a secret that must turn up nowhere, by what it is.
type canary struct{ name, value string }

// The ends of a long secret are looked for, so that it is found where it was cut
// short, too.
const longestNeedle = 48

// parts are what of the canary is looked for.
func (c canary) parts() []string {
	value := c.value
	if strings.HasPrefix(value, "eyJ") {
		// A header and claims alone prove nothing: the signature does.
		value = value[strings.LastIndexByte(value, '.')+1:]
	}
	if len(value) <= longestNeedle {
		return []string{value}
	}
	return []string{value[:longestNeedle], value[len(value)-longestNeedle:]}
}

// needles are the forms in which the canary could stand somewhere, beside those
// that unescaped undoes.
func (c canary) needles() (forms [][]byte) {
	for _, part := range c.parts() {
		raw := []byte(part)
		decimal := strings.Trim(fmt.Sprint(raw), "[]") // how %v prints bytes
		forms = append(
			forms, raw, []byte(url.QueryEscape(part)),
			[]byte(hex.EncodeToString(raw)), []byte(strings.ToUpper(hex.EncodeToString(raw))),
			[]byte(decimal), []byte(strings.ReplaceAll(decimal, " ", ",")),
		)
		// The credentials of clients are escaped before they are encoded.
		for _, text := range [][]byte{raw, []byte(url.QueryEscape(part))} {
			for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				for before := range 3 { // bytes that stand before it in its group of three
					encoded := encoding.EncodeToString(append(make([]byte, before), text...))
					encoded = encoded[(before*4+2)/3:]
					if (before+len(text))%3 != 0 {
						encoded = encoded[:len(encoded)-1] // shares bits with what follows
					}
					forms = append(forms, []byte(encoded))
				}
			}
		}
	}
	slices.SortFunc(forms, bytes.Compare)
	return slices.CompactFunc(forms, bytes.Equal)
}

// headLength is how much of a needle it is indexed by; none is shorter.
const headLength = 8

// finder looks for many canaries at once: the time depends on the text alone.
type finder struct {
	filter  [1 << 14]uint64 // a bit for each head that may begin a needle
	needles map[uint64][]needle
}

type needle struct {
	form []byte
	name string
}

func newFinder(canaries []canary) *finder {
	f := &finder{needles: make(map[uint64][]needle)}
	for _, c := range canaries {
		for _, form := range c.needles() {
			if len(form) < headLength {
				panic("the " + c.name + " is too short to be told from other text")
			}
			head := binary.LittleEndian.Uint64(form)
			f.needles[head] = append(f.needles[head], needle{form, c.name})
			f.filter[filterBit(head)>>6] |= 1 << (filterBit(head) & 63)
		}
	}
	return f
}

func filterBit(head uint64) uint64 { return head * 0x9e3779b97f4a7c15 >> 44 }

// look notes the canaries that stand in text.
func (f *finder) look(text []byte, found map[string]bool) {
	var head uint64
	for i, b := range text {
		head = head>>8 | uint64(b)<<56
		if bit := filterBit(head); i < headLength-1 || f.filter[bit>>6]>>(bit&63)&1 == 0 {
			continue
		}
		for _, n := range f.needles[head] {
			if !found[n.name] && bytes.HasPrefix(text[i-headLength+1:], n.form) {
				found[n.name] = true
			}
		}
	}
}

const (
	// windowLength is how much is searched at once, and overlap how much of it once
	// more with what follows: longer than the longest needle, however escaped.
	windowLength, overlap = 1 << 20, 8 << 10
	// escapings is how often text may have been escaped.
	escapings = 3
)

// sweep finds which canaries stand in what r reads, however long it is, as it is
// and unpacked.
func (f *finder) sweep(r io.Reader) (found map[string]bool, err error) {
	found = make(map[string]bool)
	buffered := bufio.NewReader(r)
	if magic, _ := buffered.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		var packed bytes.Buffer
		if unpacked, err := gzip.NewReader(io.TeeReader(buffered, &packed)); err == nil {
			_ = f.read(unpacked, found) // as far as it can be unpacked
		}
		return found, f.read(io.MultiReader(&packed, buffered), found)
	}
	return found, f.read(buffered, found)
}

func (f *finder) read(r io.Reader, found map[string]bool) error {
	text := make([]byte, 0, windowLength)
	for {
		n, err := io.ReadFull(r, text[len(text):cap(text)])
		text = text[:len(text)+n]
		seen := text
		for range escapings {
			f.look(seen, found)
			plain := unescaped(seen)
			if len(plain) == len(seen) {
				break
			}
			seen = plain
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		text = text[:copy(text[:cap(text)], text[len(text)-min(overlap, len(text)):])]
	}
}

// unescaped undoes one layer of the escapes of URLs, JSON, Go and HTML.
func unescaped(text []byte) []byte {
	const escapes = `%\&`
	if !bytes.ContainsAny(text, escapes) {
		return text
	}
	plain := make([]byte, 0, len(text))
	for len(text) > 0 {
		if next := bytes.IndexAny(text, escapes); next != 0 {
			if next < 0 {
				next = len(text)
			}
			plain, text = append(plain, text[:next]...), text[next:]
			continue
		}
		written, length := text[:1], 1
		switch text[0] {
		case '%':
			written, length = number(text, 1, 2)
		case '\\':
			switch {
			case len(text) > 1 && text[1] == 'u':
				written, length = number(text, 2, 4)
			case len(text) > 1 && text[1] == 'x':
				written, length = number(text, 2, 2)
			case len(text) > 1 && strings.IndexByte(`"/\`, text[1]) >= 0:
				written, length = text[1:2], 2
			}
		case '&':
			if end := bytes.IndexByte(text[:min(len(text), 10)], ';'); end > 0 {
				written, length = []byte(html.UnescapeString(string(text[:end+1]))), end+1
			}
		}
		plain, text = append(plain, written...), text[length:]
	}
	return plain
}

// number reads the escape at the beginning of text: digits hexadecimal digits
// after a prefix.
func number(text []byte, prefix, digits int) (written []byte, length int) {
	if len(text) < prefix+digits {
		return text[:1], 1
	}
	decoded, err := hex.DecodeString(string(text[prefix : prefix+digits]))
	if err != nil {
		return text[:1], 1
	}
	if digits == 2 {
		return decoded, prefix + digits
	}
	return utf8.AppendRune(nil, rune(decoded[0])<<8|rune(decoded[1])), prefix + digits
}

// sinks are what is searched: text by its name, and directories.
type sinks struct {
	text map[string][]byte
	dirs []string
	// spare are files and directories that may hold secrets.
	spare []string
}

// remember adds an answer of ours to a sink.
func (s *sinks) remember(sink string, r reply) {
	var header bytes.Buffer
	_ = r.header.Write(&header)
	s.text[sink] = append(append(append(s.text[sink], header.Bytes()...), r.body...), '\n')
}

// find sweeps all sinks: the names of those with each canary.
func (s *sinks) find(t *testing.T, canaries []canary) map[string][]string {
	t.Helper()
	f := newFinder(canaries)
	where := make(map[string][]string)
	look := func(sink string, r io.Reader) {
		found, err := f.sweep(r)
		if err != nil {
			t.Fatalf("searching %s: %v", sink, err)
		}
		for name := range found {
			where[name] = append(where[name], sink)
		}
	}
	for name, text := range s.text {
		look(name, bytes.NewReader(text))
	}
	for _, dir := range s.dirs {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case slices.Contains(s.spare, path) && entry.IsDir():
				return filepath.SkipDir
			case slices.Contains(s.spare, path) || !entry.Type().IsRegular():
				return nil
			}
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close()
			look(strings.TrimPrefix(path, dir+"/"), file)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, found := range where {
		slices.Sort(found)
	}
	return where
}
