package differential

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/published"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// TestHolesAreFound takes a part of what policy knows away from it, and wants
// that to be noticed. What is found must be by that hole, and by no other.
func TestHolesAreFound(t *testing.T) {
	for _, hole := range []struct {
		name  string
		plant func(*pipeline)
		// by reports whether a finding is one that the hole is to blame for.
		by func(*finding) bool
	}{
		{"uploads are taken for reading", judging(func(q *target.Request) {
			if uploads.MatchString(q.Path) {
				q.Method = http.MethodGet
			}
		}), func(f *finding) bool { return uploads.MatchString(f.sent.path) }},
		{"letters count with their case", judging(func(q *target.Request) {
			q.Path = inSegments(q.Path, unknownCase)
		}), func(f *finding) bool { return inSegments(f.sent.path, unknownCase) != f.sent.path }},
		{"paths are decoded twice", judging(func(q *target.Request) {
			q.Path = decodeOnce(q.Path)
		}), func(f *finding) bool { return strings.Contains(f.sent.path, "%") }},
		{"types and namespaces are taken for names", judging(func(q *target.Request) {
			q.Path = inSegments(q.Path, func(s string) string { return strings.ReplaceAll(s, ".", "_") })
			q.Path = strings.Replace(q.Path, "/v1_0/", "/v1.0/", 1)
		}), func(f *finding) bool { return strings.Contains(strings.ToLower(f.sent.path), "graph.") }},
		{"what is below /users is not below /me", judging(func(q *target.Request) {
			q.Path = regexp.MustCompile(`(?i)/users\b`).ReplaceAllString(q.Path, "/persons")
		}), func(f *finding) bool { return strings.Contains(strings.ToLower(f.sent.path), "/user") }},
		{"parentheses are part of a name", judging(func(q *target.Request) {
			q.Path = strings.NewReplacer("(", "_", ")", "_", "%28", "_", "%29", "_", "'", "_").Replace(q.Path)
		}), func(f *finding) bool { return strings.ContainsAny(decodeOnce(f.sent.path), "()") }},
		{"batches are passed on unread", func(p *pipeline) { p.judgesParts = false }, func(f *finding) bool { return f.call.changes[0] == "batch" }},
		{"fields that name another method are sent", func(p *pipeline) {
			p.outgoing = func(http.Header, bool) {}
		}, func(f *finding) bool { return slices.ContainsFunc(f.call.fields, namesMethod) }},
		{"bodies do not matter", func(p *pipeline) {
			p.checkBody = func(policy.Decision, *target.Request, http.Header, []byte) error { return nil }
		}, func(f *finding) bool { return len(f.sent.body) > 0 }},
	} {
		t.Run(hole.name, func(t *testing.T) {
			x := newContest(t)
			hole.plant(x.pipeline)
			f := x.firstFinding(*seed)
			if f == nil {
				t.Fatal("not found")
			}
			t.Log(f)
			if !hole.by(f) {
				t.Error("found by something else")
			}
		})
	}
}

// mostBeforeFinding is how many calls may be made before a hole is found.
const mostBeforeFinding = 60_000

// firstFinding makes calls until one is a finding.
func (x *contest) firstFinding(seed uint64) *finding {
	s := newScore()
	for i := range uint64(mostBeforeFinding) {
		x.one(x.nth(seed, i), s)
		if len(s.findings) > 0 {
			return s.findings[0]
		}
	}
	return nil
}

// judging plants a hole through which policy sees another request than what is
// sent.
func judging(change func(*target.Request)) func(*pipeline) {
	return func(p *pipeline) {
		p.judge = func(key *policy.Key, facts *policy.Facts) policy.Decision {
			request, changed := *facts.Request, *facts
			change(&request)
			changed.Request = &request
			return policy.Judge(key, &changed)
		}
	}
}

var uploads = regexp.MustCompile(`(?i)^/(resumable/)?upload/`)

func namesMethod(field string) bool {
	name, _, _ := strings.Cut(field, ":")
	return isOverride(name)
}

func inSegments(path string, change func(string) string) string {
	segments := strings.Split(path, "/")
	for i := range segments {
		segments[i] = change(segments[i])
	}
	return strings.Join(segments, "/")
}

// written are the names in templates, by how they are folded.
var written = func() map[string][]string {
	names := map[string][]string{}
	for _, list := range [][]published.Method{published.Google(), published.Microsoft()} {
		for _, m := range list {
			for name := range strings.SplitSeq(m.Path, "/") {
				if folded := fold(name); !slices.Contains(names[folded], name) {
					names[folded] = append(names[folded], name)
				}
			}
		}
	}
	return names
}()

// unknownCase makes something else of a name in another case than a publisher
// writes it.
func unknownCase(segment string) string {
	if names := written[fold(segment)]; len(names) > 0 && !slices.Contains(names, segment) {
		return "x"
	}
	return segment
}
