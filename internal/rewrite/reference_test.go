package rewrite

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// The reference reads a whole text with encoding/json, makes a tree of it, as
// far as the text is valid, and judges the strings of the tree one by one.

type node struct {
	kind       byte // '{', '[', '"', or 0
	start, end int  // end is 0 where the text breaks off
	text       string
	members    []*node // of objects and arrays
	name       string  // of a member of an object
	nameLength int     // as it stands in the text
}

var errTooDeep = errors.New("nested too deep")

type treeReader struct {
	text    []byte
	decoder *json.Decoder
	start   int // of the last token
}

func (r *treeReader) token() (json.Token, error) {
	from := int(r.decoder.InputOffset())
	token, err := r.decoder.Token()
	for from < len(r.text) && strings.IndexByte(" \t\r\n,:", r.text[from]) >= 0 {
		from++
	}
	r.start = from
	return token, err
}

func (r *treeReader) value(token json.Token, depth int) (*node, error) {
	n := &node{start: r.start}
	switch token := token.(type) {
	case string:
		n.kind, n.text = '"', token
	case json.Delim:
		if depth == maxDepth {
			return nil, errTooDeep
		}
		n.kind = byte(token)
		for {
			token, err := r.token()
			if err != nil {
				return n, err
			}
			if d, ok := token.(json.Delim); ok && (d == '}' || d == ']') {
				break
			}
			var name string
			var nameLength int
			if n.kind == '{' {
				name, nameLength = token.(string), int(r.decoder.InputOffset())-r.start-2
				if token, err = r.token(); err != nil {
					return n, err
				}
			}
			member, err := r.value(token, depth+1)
			if member != nil {
				member.name, member.nameLength = name, nameLength
				n.members = append(n.members, member)
			}
			if err != nil {
				return n, err
			}
		}
	}
	n.end = int(r.decoder.InputOffset())
	return n, nil
}

type edit struct {
	start, end int
	text       string
}

type reference struct {
	rules   *Rules
	replace Func
	edits   []edit
}

// document is where an object stands.
type place struct {
	rules   *Rules
	part    string
	certain Place
	role    role
}

func referenceRewrite(text []byte, rules *Rules, replace Func) []byte {
	bom := 0
	if bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) {
		bom = 3
	}
	r := &treeReader{text: text[bom:], decoder: json.NewDecoder(bytes.NewReader(text[bom:]))}
	r.decoder.UseNumber()
	token, err := r.token()
	if err != nil {
		return text
	}
	root, _ := r.value(token, 0)
	ref := &reference{rules: rules, replace: replace}
	p := place{rules: rules, certain: Top | Items}
	if rules.Parts != nil {
		p.role = batch
	}
	switch root.kind {
	case '{':
		ref.object(root, p)
	case '[':
		ref.array(root, place{rules: rules})
	}
	slices.SortFunc(ref.edits, func(a, b edit) int { return a.start - b.start })
	var out []byte
	at := 0
	for _, e := range ref.edits {
		out = append(out, text[at:e.start+bom]...)
		out = append(out, e.text...)
		at = e.end + bom
	}
	return append(out, text[at:]...)
}

func (ref *reference) array(n *node, p place) {
	for _, m := range n.members {
		inner := place{rules: p.rules, part: p.part}
		switch m.kind {
		case '[':
			ref.array(m, inner)
		case '{':
			inner.certain = p.certain
			if p.role == responses {
				inner.role = response
			}
			ref.object(m, inner)
		}
	}
}

func (ref *reference) object(n *node, p place) {
	id, known := "", false
	for i, m := range n.members {
		if m.nameLength > maxString {
			m.name = "\x00 too long"
		}
		switch m.kind {
		case '"':
			if p.role == headers {
				ref.header(m, p)
				break
			}
			ref.judge(n, i, p)
			if p.role == response && m.name == idName {
				id, known = m.text, m.end-m.start-2 <= maxString
				if !known {
					id = ""
				}
				p.part = id
			}
		case '{', '[':
			inner := place{rules: p.rules, part: p.part}
			switch {
			case p.role == headers || slices.Contains(p.rules.Closed, m.name):
				continue
			case p.role == response && m.name == bodyName:
				if m.kind != '{' || !known {
					continue
				}
				rules := ref.rules.Parts(id)
				if rules == nil {
					continue
				}
				ref.object(m, place{rules: rules, part: id, certain: Top | Items})
				continue
			case m.kind == '{':
				if p.role == response && m.name == headersName {
					inner.role = headers
				}
				ref.object(m, inner)
				continue
			}
			if m.name == valueName || m.name == childrenName {
				inner.certain = p.certain & Items
			}
			if p.role == batch && m.name == responsesName {
				inner.role = responses
			}
			ref.array(m, inner)
		}
	}
}

func (ref *reference) header(m *node, p place) {
	for _, field := range []string{"Location", "Content-Location", "Link"} {
		if len(m.name) == len(field) && strings.EqualFold(m.name, field) {
			ref.ask(m, Found{Kind: Location, Name: field, URL: m.text, Part: p.part})
		}
	}
}

// rule finds the member of the rules that a name fits, and the name of the
// array that it needs beside it.
func rule(rules *Rules, name string) (found Member, array string) {
	match := func(fits func(m Member) (string, bool)) bool {
		for _, m := range rules.Members {
			a, ok := fits(m)
			if !ok {
				continue
			}
			if found.Name == "" {
				found, array = m, a
			} else if m.Name == found.Name {
				found.Places |= m.Places
			}
		}
		return found.Name != ""
	}
	if match(func(m Member) (string, bool) { return valueName, m.Name == name && m.Name[0] != '*' }) {
		return found, array
	}
	match(func(m Member) (string, bool) {
		if m.Name[0] != '*' {
			return "", false
		}
		prefix, ok := strings.CutSuffix(name, m.Name[1:])
		return prefix, ok && prefix != "" && !strings.ContainsRune(prefix, utf8.RuneError)
	})
	return found, array
}

func (ref *reference) judge(object *node, i int, p place) {
	n := object.members[i]
	m, array := rule(p.rules, n.name)
	if m.Name == "" {
		return
	}
	if m.Places&p.certain == 0 && (m.Places&Paged == 0 || !hasArrayBeside(object, i, array)) {
		return
	}
	ref.ask(n, Found{Kind: m.Kind, Name: n.name, URL: n.text, Beside: textBeside(object, i, m.Beside), Part: p.part})
}

func hasArrayBeside(object *node, i int, name string) bool {
	others := 0
	for _, m := range slices.Backward(object.members[:i]) {
		if m.kind != '[' || m.nameLength > maxString {
			continue
		}
		if m.name == name && (name == valueName || others < maxArrays) {
			return true
		}
		others++
	}
	for _, m := range object.members[i+1:] {
		if m.kind == '[' && m.nameLength <= maxString && m.name == name && m.start-object.members[i].start < maxHeld {
			return true
		}
	}
	return false
}

func textBeside(object *node, i int, name string) string {
	fits := func(m *node) bool {
		return name != "" && m.kind == '"' && m.nameLength <= maxString && m.name == name && m.end-m.start-2 <= maxBeside
	}
	for _, m := range slices.Backward(object.members[:i]) {
		if fits(m) {
			return m.text
		}
	}
	for _, m := range object.members[i+1:] {
		if fits(m) && m.end-1-object.members[i].start < maxHeld {
			return m.text
		}
	}
	return ""
}

func (ref *reference) ask(n *node, f Found) {
	if n.end-n.start-2 > maxString || strings.ContainsRune(f.URL, utf8.RuneError) {
		return
	}
	if replacement, ok := ref.replace(f); ok {
		ref.edits = append(ref.edits, edit{n.start, n.end, `"` + replacement + `"`})
	}
}

// tell replaces a URL by all that is known of it, in characters that need no
// escapes; it leaves those that begin with "keep".
func tell(f Found) (string, bool) {
	if strings.HasPrefix(f.URL, "keep") {
		return "", false
	}
	text := fmt.Sprintf("%d %q %q %q %q", f.Kind, f.Name, f.URL, f.Beside, f.Part)
	return "<" + hex.EncodeToString([]byte(text)) + ">", true
}
