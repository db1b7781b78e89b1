package fakeprovider

import (
	"crypto/rand"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// commit makes of a whole content what was asked for, and answers.
type commit func(w http.ResponseWriter, r *http.Request, c content)

// session is an upload in pieces.
type session struct {
	id     string
	grant  *grant
	path   string
	commit commit
	// expires is when it is forgotten.
	expires time.Time

	mu     sync.Mutex // one piece at a time
	intake *intake
	total  int64      // -1 while unknown
	answer *recording // once it is whole
	over   bool       // cancelled
}

func (s *Server) openSession(g *grant, path string, total int64, life time.Duration, done commit) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	opened := &session{
		id: rand.Text() + rand.Text(), grant: g, path: path, commit: done,
		expires: s.clock().Add(life).Truncate(time.Second), intake: newIntake(), total: total,
	}
	s.sessions[opened.id] = opened
	return opened
}

// findSession returns the session with an ID that was opened at path, or nil.
func (s *Server) findSession(id, path string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.sessions[id]
	if found == nil || found.path != path || !s.clock().Before(found.expires) {
		return nil
	}
	return found
}

// finish answers by commit, once; the same answer goes to who asks again. The
// caller holds mu.
func (x *session) finish(w http.ResponseWriter, r *http.Request) {
	if x.answer == nil {
		x.answer = newRecording()
		x.commit(x.answer, r, x.intake.finish())
	}
	x.answer.send(w, &Fault{})
}

// whole reports whether there is nothing left to send. The caller holds mu.
func (x *session) whole() bool { return x.answer != nil || x.intake.size == x.total }

// contentRange is a Content-Range of a request (RFC 9110 section 14.4), in
// bytes. first is -1 for "*", and so is total.
type contentRange struct{ first, last, total int64 }

func (c contentRange) length() int64 {
	if c.first < 0 {
		return 0
	}
	return c.last - c.first + 1
}

var contentRangeForm = regexp.MustCompile(`^bytes (?:(\d{1,18})-(\d{1,18})|\*)/(?:(\d{1,18})|\*)$`)

func parseContentRange(value string) (c contentRange, ok bool) {
	m := contentRangeForm.FindStringSubmatch(value)
	if m == nil {
		return contentRange{}, false
	}
	c = contentRange{first: number(m[1]), last: number(m[2]), total: number(m[3])}
	if c.first > c.last || c.total >= 0 && c.last >= c.total {
		return contentRange{}, false
	}
	return c, true
}

// number is -1 for no digits.
func number(digits string) int64 {
	if digits == "" {
		return -1
	}
	n, _ := strconv.ParseInt(digits, 10, 64) // digits, and few enough
	return n
}
