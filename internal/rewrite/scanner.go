package rewrite

const (
	// maxHeld is how much of a document is held back for what is yet to come.
	maxHeld = 64 << 10
	// maxString is how long a name or a URL may be as it stands in a document.
	maxString = 16 << 10
	// maxBeside is the same for the value of a Beside.
	maxBeside = 1 << 10
	// maxDepth is how deep a document may be nested, usualDepth how deep it is
	// at most as a rule.
	maxDepth   = 512
	usualDepth = 32
)

// state is where the scanner stands in the grammar of RFC 8259.
type state uint8

const (
	atStart   state = iota // before the first value
	inMark                 // in a byte order mark
	atValue                // a value must come
	atElement              // a value or the end of the array
	atName                 // a name or the end of the object
	atNext                 // a name must come
	atColon
	atEnd // behind a value: a comma or the end of what it is in
	inString
	inEscape
	inHex
	inLiteral
	// In a number, behind its:
	inMinus
	inZero
	inInteger
	inPoint
	inFraction
	inE
	inSign
	inExponent
	// passing: the first value has ended, or there was an error.
	passing
)

// scanner reads a JSON text piece by piece. It tells where it stands in the
// document, and queues the strings at matching places.
type scanner struct {
	state state
	base  int64 // the offset of the piece that is being scanned

	// In a string:
	isName  bool
	escaped bool
	keep    bool   // whether somebody asks for its text
	opened  int64  // the offset of its opening quote
	text    []byte // of it, what stood in pieces before
	hex     int    // digits that are missing

	literal string // what is missing of it
	mark    int    // bytes of the byte order mark that were there

	stack []frame
	name  name // of the member that is being read
	queue queue

	rules     ruleset // of the text
	partRules ruleset // of the last batch part
}

// byteOrderMark may stand before a text from an API that does not know better.
const byteOrderMark = "\xef\xbb\xbf"

// scan takes the next piece of the text, which begins at offset base.
func (s *scanner) scan(b []byte, base int64) {
	s.base = base
	for i := 0; i < len(b); {
		switch s.state {
		case inString:
			i = s.scanString(b, i)
		case inEscape, inHex:
			i = s.scanEscape(b, i)
		case inLiteral:
			i = s.scanLiteral(b, i)
		case inMinus, inZero, inInteger, inPoint, inFraction, inE, inSign, inExponent:
			i = s.scanNumber(b, i)
		case atStart, inMark:
			i = s.scanStart(b, i)
		case passing:
			return
		default:
			i = s.scanStructure(b, i)
		}
	}
	s.queue.expire(base + int64(len(b)))
}

// finish says that the text has ended, whether it is whole or not.
func (s *scanner) finish() { s.pass() }

// pass lets go of everything: nothing more will match.
func (s *scanner) pass() {
	s.state = passing
	s.queue.settleAll()
}

func (s *scanner) scanStart(b []byte, i int) int {
	c := b[i]
	switch {
	case s.mark < len(byteOrderMark) && c == byteOrderMark[s.mark] && (s.state == inMark || s.base+int64(i) == 0):
		s.mark++
		s.state = inMark
		if s.mark == len(byteOrderMark) {
			s.state = atStart
		}
	case s.state == inMark:
		s.pass()
	case isSpace(c):
	default:
		return s.beginValue(b, i)
	}
	return i + 1
}

// scanStructure takes white space and what stands between values.
func (s *scanner) scanStructure(b []byte, i int) int {
	c := b[i]
	for isSpace(c) {
		if i++; i == len(b) {
			return i
		}
		c = b[i]
	}
	switch s.state {
	case atValue:
		return s.beginValue(b, i)
	case atElement:
		if c != ']' {
			return s.beginValue(b, i)
		}
		s.pop()
	case atName, atNext:
		switch {
		case c == '"':
			s.beginName(i)
			return s.scanString(b, i+1)
		case c == '}' && s.state == atName:
			s.pop()
		default:
			s.pass()
		}
	case atColon:
		if c != ':' {
			s.pass()
			break
		}
		s.state = atValue
	case atEnd:
		s.endValue(c)
	}
	return i + 1
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// endValue takes what stands behind a value.
func (s *scanner) endValue(c byte) {
	array := s.stack[len(s.stack)-1].array
	switch {
	case c == ',' && array:
		s.state = atValue
	case c == ',':
		s.state = atNext
	case c == ']' && array, c == '}' && !array:
		s.pop()
	default:
		s.pass()
	}
}

func (s *scanner) beginValue(b []byte, i int) int {
	switch c := b[i]; c {
	case '"':
		s.isName = false
		s.beginString(i)
		s.keep = s.stringBegins(s.opened)
		return s.scanString(b, i+1)
	case '{', '[':
		s.push(c == '[', s.base+int64(i))
		return i + 1
	case 't':
		s.state, s.literal = inLiteral, "true"[1:]
	case 'f':
		s.state, s.literal = inLiteral, "false"[1:]
	case 'n':
		s.state, s.literal = inLiteral, "null"[1:]
	case '-':
		s.state = inMinus
	case '0':
		s.state = inZero
	default:
		if c < '1' || c > '9' {
			s.pass()
			return i + 1
		}
		s.state = inInteger
	}
	return i + 1
}

func (s *scanner) beginName(i int) {
	s.isName = true
	s.beginString(i)
	s.keep = s.stack[len(s.stack)-1].watched
}

func (s *scanner) beginString(i int) {
	s.state = inString
	s.opened = s.base + int64(i)
	s.escaped = false
	s.text = s.text[:0]
}

// scanString goes on with a string, of which the quote before b[i] or a piece
// before was seen.
func (s *scanner) scanString(b []byte, i int) int {
	from := i
	i += plain(b[i:])
	if i == len(b) {
		s.keepText(b[from:])
		return i
	}
	switch b[i] {
	case '"':
		raw := b[from:i]
		if len(s.text) > 0 {
			s.keepText(raw)
			raw = s.text
		}
		s.endString(raw, i)
	case '\\':
		s.escaped = true
		s.state = inEscape
		s.keepText(b[from : i+1])
	default:
		s.pass()
	}
	return i + 1
}

// keepText keeps a part of a string for later, if anybody asks for it.
func (s *scanner) keepText(part []byte) {
	if !s.keep {
		return
	}
	if len(s.text)+len(part) > maxString {
		s.keep = false
		return
	}
	s.text = append(s.text, part...)
}

// endString ends a string at the quote b[i], with what stands between its
// quotes if somebody asks for it.
func (s *scanner) endString(raw []byte, i int) {
	end := s.base + int64(i)
	known := s.keep && end-s.opened-1 <= maxString
	if s.isName {
		s.state = atColon
		s.nameEnds(raw, known)
		return
	}
	s.stringEnds(raw, known, end)
	s.valueEnds()
}

// scanEscape goes on behind a backslash.
func (s *scanner) scanEscape(b []byte, i int) int {
	c := b[i]
	from := i
	if s.state == inHex {
		if !isHex(c) {
			s.pass()
			return i + 1
		}
		if s.hex--; s.hex == 0 {
			s.state = inString
		}
	} else {
		switch c {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			s.state = inString
		case 'u':
			s.state, s.hex = inHex, 4
		default:
			s.pass()
		}
	}
	s.keepText(b[from : i+1])
	return i + 1
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) scanLiteral(b []byte, i int) int {
	if b[i] != s.literal[0] {
		s.pass()
		return i + 1
	}
	if s.literal = s.literal[1:]; s.literal == "" {
		s.valueEnds()
	}
	return i + 1
}

// scanNumber goes on with a number (RFC 8259 section 6).
func (s *scanner) scanNumber(b []byte, i int) int {
	c := b[i]
	digit := c >= '0' && c <= '9'
	next := passing
	switch s.state {
	case inMinus:
		if c == '0' {
			next = inZero
		} else if digit {
			next = inInteger
		}
	case inZero, inInteger:
		switch {
		case digit && s.state == inInteger:
			next = inInteger
		case c == '.':
			next = inPoint
		case c == 'e' || c == 'E':
			next = inE
		default:
			s.valueEnds()
			return i
		}
	case inPoint, inFraction:
		switch {
		case digit:
			next = inFraction
		case s.state == inPoint:
		case c == 'e' || c == 'E':
			next = inE
		default:
			s.valueEnds()
			return i
		}
	case inE, inSign, inExponent:
		switch {
		case digit:
			next = inExponent
		case s.state == inE && (c == '+' || c == '-'):
			next = inSign
		case s.state == inExponent:
			s.valueEnds()
			return i
		}
	}
	if next == passing {
		s.pass()
	}
	s.state = next
	return i + 1
}

// push enters an array or an object.
func (s *scanner) push(array bool, at int64) {
	if len(s.stack) == maxDepth {
		s.pass()
		return
	}
	s.state = atName
	if array {
		s.state = atElement
	}
	s.enter(array, at)
}

// pop leaves it.
func (s *scanner) pop() {
	s.leave()
	s.valueEnds()
}

// valueEnds stands behind a value.
func (s *scanner) valueEnds() {
	s.state = atEnd
	if len(s.stack) == 0 {
		s.pass()
	}
}

// reset readies a scanner for another text, and forgets what it knows of this
// one. Memory that an odd text has asked for is let go.
func (s *scanner) reset() {
	s.state, s.base, s.mark = atStart, 0, 0
	s.text, s.name = s.text[:0], name{text: s.name.text[:0]}
	if s.stack = s.stack[:cap(s.stack)]; len(s.stack) > usualDepth {
		s.stack = nil
	}
	for i := range s.stack {
		f := &s.stack[i]
		clear(f.besides)
		*f = frame{arrays: f.arrays, besides: f.besides}
	}
	s.stack = s.stack[:0]
	s.queue.reset()
	s.rules.reset()
	s.partRules.reset()
}
