package policy

import (
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/operation"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// usualSegments is how many segments a path has at most for which judging it
// takes no memory.
const usualSegments = 24

// judgeByRules decides on a call to an API by a key's rules and presets.
func judgeByRules(key *Key, facts *Facts) Decision {
	q, rules := facts.Request, key.Rules
	source := operation.Source{
		Method: q.Method, Host: q.Host, Family: operation.FamilyOf(q.Host), Path: q.Path, RawQuery: q.RawQuery,
	}
	if facts.Envelope {
		source.Mode = operation.Envelope
	}
	var buf [usualSegments]operation.Segment
	path, err := operation.Read(buf[:0], &source)
	var ways uint
	if err == nil {
		ways, err = readings(path.Segments)
	}
	if err != nil {
		return Decision{Reason: ReasonRule, Forbids: "it has rules or presets, and cannot call what they cannot be compared with: the path " + err.Error()}
	}
	allows := len(key.Presets) > 0
	for i := range rules {
		r := &rules[i]
		allows = allows || !r.deny
		if r.deny && r.covers(q.Method, &path, 0) {
			return Decision{Reason: ReasonRule, Forbids: "its rule \"" + r.text + "\" forbids it"}
		}
	}
	if !allows || facts.Envelope {
		return Decision{Allowed: true}
	}
	decision := Decision{Allowed: true}
	for leave := range ways {
		if allowed(rules, q.Method, &path, leave) {
			continue
		}
		said := judgeByPresets(key.Presets, q.Method, &path, leave)
		if !said.allowed {
			return Decision{Reason: ReasonRule, Missing: "a rule that allows " + smallestRule(q, &path) + said.refusalOf(key.Presets)}
		}
		if said.check != NoBodyCheck && decision.Body != NoBodyCheck && said.check != decision.Body {
			return Decision{Reason: ReasonRule, Forbids: "its path " + errReadings.Error()}
		}
		decision.Body = max(decision.Body, said.check)
	}
	return decision
}

// allowed reports whether one of the rules allows a path in one of its
// readings.
func allowed(rules []Rule, method string, path *operation.Path, leave uint) bool {
	for i := range rules {
		if !rules[i].deny && rules[i].covers(method, path, leave) {
			return true
		}
	}
	return false
}

// covers reports whether the rule is about a call.
func (r *Rule) covers(method string, path *operation.Path, leave uint) bool {
	p := r.patterns[path.Family]
	return p != nil && r.methods.has(method) && p.at(path) && p.matches(path.Segments, leave)
}

// smallestRule is the rule that allows a call and as little else as can be.
func smallestRule(q *target.Request, path *operation.Path) string {
	var b strings.Builder
	b.WriteString(q.Method + " " + writtenHost(q.Host))
	named := false
	for i := range path.Segments {
		s := &path.Segments[i]
		if s.Kind == operation.Name {
			b.WriteString(":/" + escapeName(s.Text))
			named = true
			continue
		}
		if named {
			b.WriteByte(':')
			named = false
		}
		switch {
		case s.Skip == operation.Synonym:
		case s.Skip == operation.Ambiguous:
			b.WriteString("/" + anyDepth)
		case s.Kind == operation.Plain && !isPlainlyWritten(s, path.Family):
			b.WriteString("/" + anyName)
		default:
			b.WriteString("/" + escape(s.Text))
		}
	}
	if len(path.Segments) == 0 {
		b.WriteByte('/')
	}
	return b.String()
}

// isPlainlyWritten reports whether a segment means itself where it is written
// without the quotes that it may have come in.
func isPlainlyWritten(s *operation.Segment, family operation.Family) bool {
	return family != operation.Microsoft ||
		!strings.ContainsAny(s.Text, "()'") && !strings.HasSuffix(s.Text, ":") && s.Text[len(s.Text)-1] != '.' && s.Text[0] != '$' &&
			!strings.HasPrefix(s.Folded, "microsoft.") && !strings.HasPrefix(s.Folded, "graph.")
}

// escape writes a segment so that a rule has it whole. Stars in it, which a
// rule has only as wildcards, are covered by one.
func escape(text string) string {
	for strings.Contains(text, anyDepth) {
		text = strings.ReplaceAll(text, anyDepth, anyName)
	}
	const special = "%/?#{}\"\\;"
	if !strings.ContainsFunc(text, func(r rune) bool { return isSpaceOrControl(r) || strings.ContainsRune(special, r) }) {
		return text
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c <= ' ' || strings.IndexByte(special, c) >= 0 {
			b.WriteString("%" + string(digits[c>>4]) + string(digits[c&15]))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// escapeName writes a name between colons.
func escapeName(text string) string {
	segments := strings.Split(text, "/")
	for i := range segments {
		segments[i] = escape(segments[i])
	}
	return strings.Join(segments, "/")
}
