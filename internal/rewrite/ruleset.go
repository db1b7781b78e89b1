package rewrite

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// Names that mean something beside the members of the rules.
const (
	valueName     = "value"
	childrenName  = "children"
	responsesName = "responses"
	idName        = "id"
	headersName   = "headers"
	bodyName      = "body"
)

// ruleset is [Rules] made ready for looking up names.
type ruleset struct {
	source   *Rules
	words    []word
	patterns []pattern
	besides  int   // how many names are a Beside
	places   Place // of all members

	// lengths has for each last byte of a name the lengths, up to 63 for all
	// longer ones, of those names that can match: most names are known to be
	// none of the rules' by a look at this table.
	lengths [256]uint64
}

// word is what an exact name means.
type word struct {
	name   string
	member *Member // with the places of all members of this name; nil for none
	beside int     // of the Beside that it is, from 1 on; 0 for none
	wanted int     // of the Beside that the member wants, from 1 on; 0 for none
	closed bool
}

type pattern struct {
	member *Member
	suffix string
	wanted int
}

// reset forgets the rules, and keeps the memory.
func (rs *ruleset) reset() {
	clear(rs.words)
	clear(rs.patterns)
	*rs = ruleset{words: rs.words[:0], patterns: rs.patterns[:0]}
}

// compile readies rules.
func (rs *ruleset) compile(rules *Rules) {
	rs.reset()
	rs.source = rules
	for i := range rules.Members {
		rs.addMember(&rules.Members[i])
	}
	for _, name := range rules.Closed {
		rs.word(name).closed = true
	}
	for _, name := range [...]string{valueName, childrenName} {
		rs.word(name)
	}
	if rules.Parts != nil {
		for _, name := range [...]string{responsesName, idName, headersName, bodyName} {
			rs.word(name)
		}
	}
	for i := range rs.words {
		rs.admit(rs.words[i].name, 1<<lengthBit(len(rs.words[i].name)))
	}
	for _, p := range rs.patterns {
		rs.admit(p.suffix, ^uint64(0)<<lengthBit(len(p.suffix)+1))
	}
}

func (rs *ruleset) addMember(m *Member) {
	rs.places |= m.Places
	wanted := 0
	if m.Beside != "" {
		beside := rs.word(m.Beside)
		if beside.beside == 0 {
			rs.besides++
			beside.beside = rs.besides
		}
		wanted = beside.beside
	}
	if suffix, ok := strings.CutPrefix(m.Name, "*"); ok {
		i := slices.IndexFunc(rs.patterns, func(p pattern) bool { return p.suffix == suffix })
		if i < 0 {
			rs.patterns = append(rs.patterns, pattern{m, suffix, wanted})
			return
		}
		rs.patterns[i].member = withPlaces(rs.patterns[i].member, m.Places)
		return
	}
	w := rs.word(m.Name)
	if w.member != nil {
		w.member = withPlaces(w.member, m.Places)
		return
	}
	w.member, w.wanted = m, wanted
}

// withPlaces is m at more places.
func withPlaces(m *Member, more Place) *Member {
	merged := *m
	merged.Places |= more
	return &merged
}

// word is the one for a name, which is added where it is missing. It stays
// where it is until the next is added.
func (rs *ruleset) word(name string) *word {
	for i := range rs.words {
		if rs.words[i].name == name {
			return &rs.words[i]
		}
	}
	rs.words = append(rs.words, word{name: name})
	return &rs.words[len(rs.words)-1]
}

// admit lets names with the last byte of ending, and these lengths, be looked
// up. A name without bytes counts as ending in a zero byte.
func (rs *ruleset) admit(ending string, lengths uint64) {
	if ending == "" {
		if lengths&1 != 0 {
			rs.lengths[0] |= 1
		}
		if lengths &^= 1; lengths != 0 { // the pattern of any name
			for i := range rs.lengths {
				rs.lengths[i] |= lengths
			}
		}
		return
	}
	rs.lengths[ending[len(ending)-1]] |= lengths
}

func lengthBit(n int) int { return min(n, 63) }

// match is what the rules know of a name.
type match struct {
	word   *word
	member *Member
	wanted int
	prefix int // how much of the name a pattern's "*" stands for; 0 for an exact name
}

// lookup finds what a decoded name means; all is zero for most.
func (rs *ruleset) lookup(name []byte) match {
	var last byte
	if len(name) > 0 {
		last = name[len(name)-1]
	}
	if rs.lengths[last]&(1<<lengthBit(len(name))) == 0 {
		return match{}
	}
	var m match
	for i := range rs.words {
		if w := &rs.words[i]; w.name == string(name) {
			if w.member != nil {
				return match{word: w, member: w.member, wanted: w.wanted}
			}
			m.word = w
			break
		}
	}
	for _, p := range rs.patterns {
		prefix := len(name) - len(p.suffix)
		if prefix > 0 && string(name[prefix:]) == p.suffix && validText(name[:prefix]) {
			m.member, m.wanted, m.prefix = p.member, p.wanted, prefix
			break
		}
	}
	return m
}

// validText reports whether nothing was lost when a text was decoded.
func validText(text []byte) bool {
	return utf8.Valid(text) && !bytes.ContainsRune(text, utf8.RuneError)
}
