package fakeprovider

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"time"
)

// keepLimit is how long a file is kept whole. What is longer can be read again
// only if it repeats itself as [Bytes] does; of all else the digest is known,
// which is all that a test of an upload needs, and a beginning.
const (
	keepLimit = 1 << 20
	beginning = 64 << 10
)

// driveSize is how many files every drive has from the start.
const driveSize = 120

// File is an uploaded file, a sent message or an attachment, as the control
// interface shows it.
type File struct {
	ID string `json:"id"`
	// Grant is the ID of the grant whose drive or mailbox it is in.
	Grant string `json:"grant"`
	Name  string `json:"name"`
	Size  int64  `json:"size"`
	// SHA256 is hexadecimal.
	SHA256   string `json:"sha256"`
	MIMEType string `json:"mime_type"`
	// Path is that of the request that began its upload; empty for one made by
	// [Server.AddFile].
	Path string `json:"path,omitempty"`
}

// file never changes; an update puts another in its place.
type file struct {
	File
	content
	created time.Time
	folder  bool
}

// content is bytes by their digests, and the bytes themselves where they were
// kept or can be made again.
type content struct {
	size    int64
	sha256  string
	crc32c  uint32
	head    []byte
	repeats bool // the first len(pattern) bytes, over and over, are the whole
}

var errNotKept = errors.New("the bytes of this file were not kept: it is longer than 1 MiB and does not repeat itself")

// reader reads the content from its beginning.
func (c *content) reader() (io.ReadSeeker, error) {
	if c.size == int64(len(c.head)) {
		return bytes.NewReader(c.head), nil
	}
	if c.repeats {
		return io.NewSectionReader(endless(c.head[:len(pattern)]), 0, c.size), nil
	}
	return nil, errNotKept
}

// etag is a strong validator (RFC 9110 section 8.8.3).
func (c *content) etag() string { return `"` + c.sha256[:32] + `"` }

// intake makes content of what is written to it.
type intake struct {
	content
	sha hash.Hash
	crc hash.Hash32
}

func newIntake() *intake {
	return &intake{
		content: content{repeats: true},
		sha:     sha256.New(), crc: crc32.New(crc32.MakeTable(crc32.Castagnoli)),
	}
}

// Write implements [io.Writer]. It never fails.
func (in *intake) Write(p []byte) (int, error) {
	in.sha.Write(p)
	in.crc.Write(p)
	if room := keepLimit - len(in.head); room > 0 {
		in.head = append(in.head, p[:min(room, len(p))]...)
	}
	period := int64(len(pattern))
	at, rest := in.size, p
	if at < period {
		skipped := min(period-at, int64(len(rest)))
		at, rest = at+skipped, rest[skipped:]
	}
	for in.repeats && len(rest) > 0 {
		want := in.head[at%period : period]
		n := min(len(want), len(rest))
		in.repeats = bytes.Equal(want[:n], rest[:n])
		at, rest = at+int64(n), rest[n:]
	}
	in.size += int64(len(p))
	return len(p), nil
}

// receive adds n bytes of body, which must have no more, in granules. Those of
// a granule that did not come whole are dropped, so that a client can send them
// again.
func (in *intake) receive(body io.Reader, n int64, granule int) error {
	buffer := make([]byte, granule)
	for n > 0 {
		part := buffer[:min(n, int64(granule))]
		if _, err := io.ReadFull(body, part); err != nil {
			return fmt.Errorf("reading body: %w", err)
		}
		_, _ = in.Write(part)
		n -= int64(len(part))
	}
	if extra, err := io.ReadFull(body, buffer[:1]); extra > 0 {
		return errors.New("the body is longer than its Content-Range")
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading body: %w", err)
	}
	return nil
}

// finish returns the content, and forgets what of it is not to be kept.
func (in *intake) finish() content {
	in.sha256 = hex.EncodeToString(in.sha.Sum(nil))
	in.crc32c = in.crc.Sum32()
	switch {
	case in.repeats:
		in.head = bytes.Clone(in.head[:min(len(in.head), len(pattern))])
	case in.size > keepLimit:
		in.head = bytes.Clone(in.head[:beginning])
	}
	return in.content
}

func contentOf(r io.Reader) content {
	in := newIntake()
	_, _ = io.Copy(in, r) // from memory
	return in.finish()
}

// drive is what one grant's owner keeps.
type drive struct {
	files []*file // by creation
	next  int
}

// IDs are good for Google Drive and for OneDrive.
func fileID(number int) string { return fmt.Sprintf("01FAKEDRIVE%021d", number) }

func (d *drive) put(f file) *file {
	if i := d.index(f.ID); f.ID != "" && i >= 0 {
		d.files[i] = &f
		return &f
	}
	d.next++
	f.ID = fileID(d.next)
	d.files = append(d.files, &f)
	return &f
}

func (d *drive) index(id string) int {
	return slices.IndexFunc(d.files, func(f *file) bool { return f.ID == id })
}

// driveOf returns the drive of g with the files that every drive has. The
// caller holds mu.
func (s *Server) driveOf(g *grant) *drive {
	d := s.drives[g.ID]
	if d == nil {
		d = &drive{}
		for n := 1; n <= driveSize; n++ {
			d.put(file{
				File:    File{Grant: g.ID, Name: fmt.Sprintf("file-%03d.txt", n), MIMEType: "text/plain"},
				content: contentOf(strings.NewReader(fmt.Sprintf("This is file number %d.\n", n))),
				created: time.Date(2026, 1, 1, 0, n, 0, 0, time.UTC),
			})
		}
		s.drives[g.ID] = d
	}
	return d
}

// driveFiles returns a drive's files, oldest first, without the first skip and
// at most top, and how many there are.
func (s *Server) driveFiles(g *grant, skip, top int, wanted func(*file) bool) (files []*file, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.driveOf(g).files {
		if wanted(f) {
			files = append(files, f)
		}
	}
	size = len(files)
	skip = min(skip, size)
	return files[skip:min(skip+top, size)], size
}

func everyFile(*file) bool { return true }

// findFile returns the file of g with an ID, or nil.
func (s *Server) findFile(g *grant, id string) *file {
	files, _ := s.driveFiles(g, 0, 1, func(f *file) bool { return f.ID == id })
	if len(files) == 0 {
		return nil
	}
	return files[0]
}

// saveFile adds a file to g's drive, or puts it in the place of the one with
// its ID. If it came by upload, it is remembered as one.
func (s *Server) saveFile(g *grant, f file) *file {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.Grant, f.created = g.ID, s.clock()
	saved := s.driveOf(g).put(f)
	if f.Path != "" {
		s.remember(g, saved)
	}
	return saved
}

// saveUpload remembers what was uploaded, but not to a drive.
func (s *Server) saveUpload(g *grant, f file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.Grant = g.ID
	s.remember(g, &f)
}

// remember adds to the list of uploads. The caller holds mu.
func (s *Server) remember(g *grant, f *file) {
	s.count(g, func(c *Counters) { c.Uploads++ })
	s.uploads = append(s.uploads, f)
}

// deleteFile reports whether there was such a file.
func (s *Server) deleteFile(g *grant, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.driveOf(g)
	i := d.index(id)
	if i >= 0 {
		d.files = slices.Delete(d.files, i, i+1)
	}
	return i >= 0
}

func (f *file) shown() File {
	shown := f.File
	shown.Size, shown.SHA256 = f.size, f.sha256
	return shown
}

// Files returns all that was uploaded, oldest first, with what has been
// deleted or replaced since.
func (s *Server) Files() []File {
	s.mu.Lock()
	defer s.mu.Unlock()
	files := make([]File, 0, len(s.uploads))
	for _, f := range s.uploads {
		files = append(files, f.shown())
	}
	return files
}

// AddFile adds a file to the drive of f.Grant whose bytes are [Bytes] of
// f.Size, and returns it with its ID and digest.
func (s *Server) AddFile(f File) (File, error) {
	if f.Size < 0 || f.Name == "" {
		return File{}, errors.New("a file needs a name and a size that is not negative")
	}
	made := file{File: f, content: contentOf(Bytes(f.Size))}
	made.ID, made.Path = "", ""
	if made.MIMEType == "" {
		made.MIMEType = "application/octet-stream"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.lookup(f.Grant)
	if err != nil {
		return File{}, err
	}
	made.created = s.clock()
	return s.driveOf(g).put(made).shown(), nil
}
