package rewrite

import (
	"hash/maphash"
	"slices"
	"strings"
)

// role is what an array or an object is in a batch answer.
type role uint8

const (
	ordinary  role = iota
	batch          // the outermost object
	responses      // its array of parts
	response       // a part
	headers        // a part's header
)

// maxArrays is how many names of arrays are remembered of an object.
const maxArrays = 32

var (
	hashSeed  = maphash.MakeSeed()
	valueHash = maphash.String(hashSeed, valueName)
)

// frame is an array or an object that the scanner is in.
type frame struct {
	array   bool
	watched bool // whether anything in it can match
	role    role

	// certain are the places of an object's members, but for Paged. An array has
	// Items if the objects in it are items.
	certain Place

	// An object's, for Paged: whether there was an array "value", and the hashed
	// names of others.
	paged  bool
	arrays []uint64
	oldest int // of them, where there are maxArrays

	besides []beside // what was seen of each Beside, of which the first is number 1

	rules *ruleset
	part  string
	known bool // a part's id
}

type beside struct {
	seen bool
	text string
}

// name is the last name that was read. It is that of the member whose value is
// read until that value begins.
type name struct {
	match
	text   []byte // decoded
	known  bool
	header string // the header field that it is, in a part's header
}

// enter begins an array or an object at an offset.
func (s *scanner) enter(array bool, at int64) {
	inside := s.inside(array)
	if array && len(s.stack) > 0 {
		s.arrayBegins(at)
	}
	n := len(s.stack)
	if n < cap(s.stack) {
		s.stack = s.stack[:n+1]
	} else {
		s.stack = append(s.stack, frame{})
	}
	f := &s.stack[n]
	inside.array = array
	inside.arrays, inside.besides = f.arrays[:0], f.besides[:0]
	*f = inside
}

// inside is what is known of an array or an object that begins now.
func (s *scanner) inside(array bool) frame {
	if len(s.stack) == 0 {
		f := frame{watched: true, rules: &s.rules}
		if array {
			return f
		}
		f.certain = Top | Items
		if s.rules.source.Parts != nil {
			f.role = batch
		}
		return f
	}
	outer := &s.stack[len(s.stack)-1]
	if !outer.watched {
		return frame{}
	}
	f := frame{rules: outer.rules, part: outer.part}
	switch {
	case outer.array && array:
	case outer.array:
		f.certain = outer.certain
		if outer.role == responses {
			f.role = response
		}
	case s.name.closed():
		return frame{}
	case array:
		if s.name.is(valueName) || s.name.is(childrenName) {
			f.certain = outer.certain & Items
		}
		if outer.role == batch && s.name.is(responsesName) {
			f.role = responses
		}
	case outer.role == response && s.name.is(headersName):
		f.role = headers
	case outer.role == response && s.name.is(bodyName):
		return s.partBody(outer)
	}
	if outer.role == headers || outer.role == response && s.name.is(bodyName) {
		return frame{}
	}
	f.watched = array || f.role != ordinary || f.rules.places&(f.certain|Paged) != 0
	return f
}

// partBody is the frame of a part's body, a document of its own.
func (s *scanner) partBody(part *frame) frame {
	if !part.known {
		return frame{}
	}
	rules := s.rules.source.Parts(part.part)
	if rules == nil {
		return frame{}
	}
	// The body of the part before has ended.
	if s.partRules.source != rules {
		s.partRules.compile(rules)
	}
	f := frame{certain: Top | Items, rules: &s.partRules, part: part.part}
	f.watched = f.rules.places != 0
	return f
}

// leave ends an array or an object.
func (s *scanner) leave() {
	n := len(s.stack) - 1
	s.queue.settleFrom(n)
	s.stack = s.stack[:n]
}

// nameEnds takes a name, of which raw stands between its quotes.
func (s *scanner) nameEnds(raw []byte, known bool) {
	s.name.match, s.name.header = match{}, ""
	s.name.known = known
	if !known {
		return
	}
	f := &s.stack[len(s.stack)-1]
	if s.escaped {
		s.name.text = appendText(s.name.text[:0], raw)
	} else {
		s.name.text = append(s.name.text[:0], raw...)
	}
	if f.role == headers {
		s.name.header = locationField(s.name.text)
		return
	}
	s.name.match = f.rules.lookup(s.name.text)
}

// locationField is the canonical form of a field whose value has URLs, or empty.
func locationField(name []byte) string {
	for _, field := range [...]string{"Location", "Content-Location", "Link"} {
		if len(name) == len(field) && strings.EqualFold(string(name), field) {
			return field
		}
	}
	return ""
}

func (n *name) is(text string) bool { return n.known && n.word != nil && n.word.name == text }

func (n *name) closed() bool { return n.known && n.word != nil && n.word.closed }

// arrayBegins notes an array that is a member of an object.
func (s *scanner) arrayBegins(at int64) {
	depth := len(s.stack) - 1
	f := &s.stack[depth]
	if f.array || !f.watched || !s.name.known || f.role == headers || f.rules.places&Paged == 0 {
		return
	}
	if s.name.is(valueName) {
		f.paged = true
	}
	array := maphash.Bytes(hashSeed, s.name.text)
	s.queue.arrayBegins(at, depth, array)
	if len(f.rules.patterns) == 0 {
		return
	}
	if len(f.arrays) < maxArrays {
		f.arrays = append(f.arrays, array)
		return
	}
	f.arrays[f.oldest] = array
	f.oldest = (f.oldest + 1) % maxArrays
}

// hasArray reports whether the object had an array of the name that a member
// needs beside it, and returns the name's hash.
func (f *frame) hasArray(n *name) (array uint64, ok bool) {
	if n.prefix == 0 {
		return valueHash, f.paged
	}
	array = maphash.Bytes(hashSeed, n.text[:n.prefix])
	return array, slices.Contains(f.arrays[:], array)
}

// stringBegins begins a string that is a value. It reports whether its text is
// asked for.
func (s *scanner) stringBegins(at int64) bool {
	if len(s.stack) == 0 {
		return false
	}
	depth := len(s.stack) - 1
	f := &s.stack[depth]
	if f.array || !f.watched || !s.name.known {
		return false
	}
	n := &s.name
	if n.header != "" {
		s.queue.add(candidate{verdict: open, start: at, depth: depth, kind: Location, name: n.header, part: f.part})
		return false
	}
	if n.member != nil && n.member.Places&(f.certain|Paged) != 0 {
		c := candidate{verdict: open, start: at, depth: depth, wanted: n.wanted, kind: n.member.Kind, name: n.member.Name, part: f.part}
		if n.prefix > 0 {
			c.name = string(n.text)
		}
		if n.member.Places&f.certain == 0 {
			var ok bool
			if c.array, ok = f.hasArray(n); !ok {
				c.verdict |= unplaced
			}
		}
		if c.wanted > 0 {
			c.verdict |= alone
			if b := f.beside(c.wanted); b.seen {
				c.verdict &^= alone
				c.beside = b.text
			}
		}
		s.queue.add(c)
	}
	return n.word != nil && (n.word.beside > 0 || f.role == response && n.is(idName))
}

// stringEnds ends a string that is a value at the offset of its closing quote.
// Raw stands between its quotes, if it is known.
func (s *scanner) stringEnds(raw []byte, known bool, at int64) {
	if len(s.stack) == 0 {
		return
	}
	depth := len(s.stack) - 1
	f := &s.stack[depth]
	s.queue.stringEnds(s.opened, at+1)
	if f.array || !f.watched || !s.name.known || s.name.word == nil {
		return
	}
	if f.role == response && s.name.is(idName) {
		f.part, f.known = "", known
		if known {
			f.part = string(appendText(nil, raw))
		}
	}
	if number := s.name.word.beside; number > 0 && known && len(raw) <= maxBeside {
		text := string(appendText(nil, raw))
		*f.beside(number) = beside{seen: true, text: text}
		s.queue.besideEnds(at, depth, number, text)
	}
}

// beside is what was seen of a Beside, by its number.
func (f *frame) beside(number int) *beside {
	for len(f.besides) < f.rules.besides {
		f.besides = append(f.besides, beside{})
	}
	return &f.besides[number-1]
}
