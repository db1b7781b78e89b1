package rewrite

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// goldenCases are rewritten with graphRules, so that each match reads
// "<kind name url beside>".
var goldenCases = []struct{ name, text, want string }{
	{"links at top", `{"@odata.nextLink":"u","@odata.deltaLink":"v"}`, `{"@odata.nextLink":"<1 @odata.nextLink u >","@odata.deltaLink":"<1 @odata.deltaLink v >"}`},
	{"white space stays", "\n{ \"@odata.nextLink\"\t:\r\n \"u\" }\n ", "\n{ \"@odata.nextLink\"\t:\r\n \"<1 @odata.nextLink u >\" }\n "},
	{"beside a later value", `{"x":{"@odata.nextLink":"u","value":[]}}`, `{"x":{"@odata.nextLink":"<1 @odata.nextLink u >","value":[]}}`},
	{"beside an earlier value", `{"x":{"value":[],"@odata.nextLink":"u"}}`, `{"x":{"value":[],"@odata.nextLink":"<1 @odata.nextLink u >"}}`},
	{"alone below the top", `{"x":{"@odata.nextLink":"u"}}`, ""},
	{"beside a value that is no array", `{"x":{"@odata.nextLink":"u","value":{"value":[]}}}`, ""},
	{"beside an array of another object", `{"value":[{"@odata.nextLink":"u"}],"x":{"value":[]}}`, ""},
	{"in an array without an object", `{"value":["@odata.nextLink",["@odata.nextLink"]]}`, ""},
	{"an expanded property", `{"value":[{"messages@odata.nextLink":"u","messages":[]}]}`, `{"value":[{"messages@odata.nextLink":"<1 messages@odata.nextLink u >","messages":[]}]}`},
	{"an expanded property that came before", `{"messages":[],"messages@odata.nextLink":"u"}`, `{"messages":[],"messages@odata.nextLink":"<1 messages@odata.nextLink u >"}`},
	{"a property that is not expanded", `{"messages@odata.nextLink":"u","value":[]}`, ""},
	{"a property of another name", `{"messages@odata.nextLink":"u","message":[]}`, ""},
	{"an upload session", `{"expirationDateTime":"t","uploadUrl":"u"}`, `{"expirationDateTime":"t","uploadUrl":"<2 uploadUrl u t>"}`},
	{"an upload session whose time comes behind", `{"uploadUrl":"u","nextExpectedRanges":["0-"],"expirationDateTime":"t"}`, `{"uploadUrl":"<2 uploadUrl u t>","nextExpectedRanges":["0-"],"expirationDateTime":"t"}`},
	{"an upload session without a time", `{"uploadUrl":"u","expirationDateTime":null}`, `{"uploadUrl":"<2 uploadUrl u >","expirationDateTime":null}`},
	{"a time with escapes", `{"expirationDateTime":"\u0074","uploadUrl":"u"}`, `{"expirationDateTime":"\u0074","uploadUrl":"<2 uploadUrl u t>"}`},
	{"a time of another object", `{"x":{"expirationDateTime":"t"},"uploadUrl":"u"}`, `{"x":{"expirationDateTime":"t"},"uploadUrl":"<2 uploadUrl u >"}`},
	{"the last of the times before", `{"expirationDateTime":"s","expirationDateTime":"t","uploadUrl":"u","expirationDateTime":"z"}`, `{"expirationDateTime":"s","expirationDateTime":"t","uploadUrl":"<2 uploadUrl u t>","expirationDateTime":"z"}`},
	{"an upload URL below the top", `{"value":[{"uploadUrl":"u"}]}`, ""},
	{"downloads", `{"@microsoft.graph.downloadUrl":"u","value":[{"@microsoft.graph.downloadUrl":"v","children":[{"@microsoft.graph.downloadUrl":"w"}]}]}`, `{"@microsoft.graph.downloadUrl":"<3 @microsoft.graph.downloadUrl u >","value":[{"@microsoft.graph.downloadUrl":"<3 @microsoft.graph.downloadUrl v >","children":[{"@microsoft.graph.downloadUrl":"<3 @microsoft.graph.downloadUrl w >"}]}]}`},
	{"downloads elsewhere", `{"item":{"@microsoft.graph.downloadUrl":"u"},"value":[[{"@microsoft.graph.downloadUrl":"v"}]],"other":[{"@microsoft.graph.downloadUrl":"w"}],"children":{"@microsoft.graph.downloadUrl":"x"}}`, ""},
	{"an outermost array has no top", `[{"@odata.nextLink":"u","@microsoft.graph.downloadUrl":"v"}]`, ""},
	{"pages in an outermost array", `[{"@odata.nextLink":"u","value":[]}]`, `[{"@odata.nextLink":"<1 @odata.nextLink u >","value":[]}]`},
	{"closed members", `{"fields":{"@odata.nextLink":"u","value":[{"@odata.nextLink":"v","value":[]}]},"properties":[{"value":[],"@odata.nextLink":"w"}]}`, ""},
	{"a closed member with escapes", `{"\u0066ields":{"@odata.nextLink":"u","value":[]}}`, ""},
	{"an array that is closed is there", `{"x":{"@odata.nextLink":"u","value":[]}}`, `{"x":{"@odata.nextLink":"<1 @odata.nextLink u >","value":[]}}`},
	{"a closed member's string", `{"fields":"u","@odata.nextLink":"v"}`, `{"fields":"u","@odata.nextLink":"<1 @odata.nextLink v >"}`},
	{"text that looks like a member", `{"body":"\"@odata.nextLink\":\"u\"","x":"{\"@odata.nextLink\":\"u\",\"value\":[]}"}`, ""},
	{"a URL elsewhere", `{"webUrl":"https://graph.microsoft.com/v1.0/me","x":"@odata.nextLink","y":"u"}`, ""},
	{"names with escapes", `{"@odata\u002enext\u004cink":"u"}`, `{"@odata\u002enext\u004cink":"<1 @odata.nextLink u >"}`},
	{"names in another case", `{"@odata.nextlink":"u","@OData.nextLink":"v"}`, ""},
	{"URLs with escapes", `{"@odata.nextLink":"https:\/\/a\u002Fb?q=\"\\\ud83d\ude00"}`, `{"@odata.nextLink":"<1 @odata.nextLink https://a/b?q=\"\\😀 >"}`},
	{"a URL that is not Unicode", "{\"@odata.nextLink\":\"u\xff\",\"@odata.deltaLink\":\"\\ud83d\"}", ""},
	{"duplicates", `{"@odata.nextLink":"u","@odata.nextLink":1,"@odata.nextLink":"keep","@odata.nextLink":"v"}`, `{"@odata.nextLink":"<1 @odata.nextLink u >","@odata.nextLink":1,"@odata.nextLink":"keep","@odata.nextLink":"<1 @odata.nextLink v >"}`},
	{"numbers", `{"a":9223372036854775808,"b":1e400,"c":-0.10E-07,"@odata.nextLink":"u"}`, `{"a":9223372036854775808,"b":1e400,"c":-0.10E-07,"@odata.nextLink":"<1 @odata.nextLink u >"}`},
	{"a byte order mark", "\xef\xbb\xbf{\"@odata.nextLink\":\"u\"}", "\xef\xbb\xbf{\"@odata.nextLink\":\"<1 @odata.nextLink u >\"}"},
	{"a byte order mark elsewhere", " \xef\xbb\xbf{\"@odata.nextLink\":\"u\"}", ""},
	{"half a byte order mark", "\xef\xbb{\"@odata.nextLink\":\"u\"}", ""},
	{"text behind", `{"@odata.nextLink":"u"} {"@odata.nextLink":"v"}`, `{"@odata.nextLink":"<1 @odata.nextLink u >"} {"@odata.nextLink":"v"}`},
	{"from an error on", `{"@odata.nextLink":"u",x,"@odata.deltaLink":"v"}`, `{"@odata.nextLink":"<1 @odata.nextLink u >",x,"@odata.deltaLink":"v"}`},
	{"an error before the array", `{"x":{"@odata.nextLink":"u",,"value":[]}}`, ""},
	{"a text that breaks off", `{"@odata.nextLink":"u","x":"`, `{"@odata.nextLink":"<1 @odata.nextLink u >","x":"`},
	{"a URL that breaks off", `{"@odata.nextLink":"u`, ""},
	{"no text", ``, ""},
	{"a string", `"@odata.nextLink"`, ""},
	{"a number", `12`, ""},
	{"a guard against scripts", `)]}'` + "\n" + `{"@odata.nextLink":"u"}`, ""},
	{"a control character", "{\"x\":\"\x01\",\"@odata.nextLink\":\"u\"}", ""},
	{"bad escapes", `{"x":"\x","@odata.nextLink":"u"}`, ""},
	{"bad numbers", `{"x":01,"@odata.nextLink":"u"}`, ""},
}

// show replaces a URL by what is known of it; it leaves "keep".
func show(f Found) (string, bool) {
	return fmt.Sprintf("<%d %s %s %s>", f.Kind, f.Name, f.URL, f.Beside), f.URL != "keep"
}

func TestOnlyURLsAtTheirPlacesAreReplaced(t *testing.T) {
	for _, tc := range goldenCases {
		t.Run(tc.name, func(t *testing.T) {
			want := tc.want
			if want == "" {
				want = tc.text
			}
			if got := rewriteAll(t, strings.NewReader(tc.text), graphRules, show); string(got) != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			for at := range len(tc.text) + 1 {
				r := io.MultiReader(strings.NewReader(tc.text[:at]), strings.NewReader(tc.text[at:]))
				if got := rewriteAll(t, r, graphRules, show); string(got) != want {
					t.Errorf("split at %d: got  %s\nwant %s", at, got, want)
				}
			}
			compare(t, []byte(tc.text), graphRules, 1)
		})
	}
}

func TestBatchPartsAreDocumentsOfTheirOwn(t *testing.T) {
	rules := &Rules{
		Members: []Member{{Name: "@odata.nextLink", Kind: Link, Places: Top | Paged}},
		Parts:   batchRules.Parts,
	}
	show := func(f Found) (string, bool) {
		return fmt.Sprintf("<%s %d %s %s>", f.Part, f.Kind, f.Name, f.URL), true
	}
	for _, tc := range []struct{ name, text, want string }{
		{
			"rules of the part",
			`{"responses":[{"id":"1","body":{"@odata.deltaLink":"u"}},{"id":"2","body":{"@odata.deltaLink":"v","nextLink":"w"}}],"@odata.nextLink":"x"}`,
			`{"responses":[{"id":"1","body":{"@odata.deltaLink":"<1 1 @odata.deltaLink u>"}},{"id":"2","body":{"@odata.deltaLink":"v","nextLink":"<2 1 nextLink w>"}}],"@odata.nextLink":"< 1 @odata.nextLink x>"}`,
		},
		{"an id behind the body", `{"responses":[{"body":{"@odata.nextLink":"u"},"id":"1"}]}`, ""},
		{"an id that has no rules", `{"responses":[{"id":"3","body":{"@odata.nextLink":"u","value":[]}}]}`, ""},
		{"an id of another part", `{"responses":[{"id":"1"},{"body":{"@odata.nextLink":"u"}}]}`, ""},
		{"an id that is no string", `{"responses":[{"id":1,"body":{"@odata.nextLink":"u"}}]}`, ""},
		{"a body that is an array", `{"responses":[{"id":"1","body":[{"@odata.nextLink":"u","value":[]}]}]}`, ""},
		{"responses elsewhere", `{"x":{"responses":[{"id":"1","body":{"@odata.deltaLink":"u"}}]},"responses":{"id":"1","body":{"@odata.deltaLink":"u"}}}`, ""},
		{
			"header fields",
			`{"responses":[{"id":"7","headers":{"location":"u","Content-Location":"v","LINK":"w","ETag":"x","Link":["y"],"Locat\u0069on":"z"}}]}`,
			`{"responses":[{"id":"7","headers":{"location":"<7 4 Location u>","Content-Location":"<7 4 Content-Location v>","LINK":"<7 4 Link w>","ETag":"x","Link":["y"],"Locat\u0069on":"<7 4 Location z>"}}]}`,
		},
		{"header fields before the id", `{"responses":[{"headers":{"Location":"u"},"id":"7"}]}`, `{"responses":[{"headers":{"Location":"< 4 Location u>"},"id":"7"}]}`},
		{"header fields elsewhere", `{"headers":{"Location":"u"},"responses":[{"id":"1","body":{"headers":{"Location":"u"}}}]}`, ""},
		{
			"a body that imitates a batch",
			`{"responses":[{"id":"1","body":{"responses":[{"id":"2","headers":{"Location":"u"},"body":{"nextLink":"v"}}],"nextLink":"w"}}]}`, "",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.want == "" {
				tc.want = tc.text
			}
			for name, r := range map[string]io.Reader{"whole": strings.NewReader(tc.text), "bytes": iotest.OneByteReader(strings.NewReader(tc.text))} {
				if got := rewriteAll(t, r, rules, show); string(got) != tc.want {
					t.Errorf("%s: got  %s\nwant %s", name, got, tc.want)
				}
			}
			compare(t, []byte(tc.text), rules, 1)
		})
	}
}

func TestMembersOfTheSameNameCountAsOne(t *testing.T) {
	rules := &Rules{Members: []Member{
		{Name: "next", Kind: Link, Places: Top},
		{Name: "next", Kind: Upload, Places: Paged},
		{Name: "*Link", Kind: Link, Places: Top},
		{Name: "*Link", Kind: Upload, Places: Paged},
		{Name: "*", Kind: Download, Places: Top},
	}}
	text := `{"next":"u","x":{"next":"v","value":[],"aLink":"w","a":[]},"aLink":"y","Link":"z","":"empty"}`
	want := `{"next":"<1 next u >","x":{"next":"<1 next v >","value":[],"aLink":"<1 aLink w >","a":[]},"aLink":"<1 aLink y >","Link":"<3 Link z >","":"empty"}`
	if got := rewriteAll(t, strings.NewReader(text), rules, show); string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestReplacementsAreWrittenAsJSONStrings(t *testing.T) {
	for replacement, want := range map[string]string{
		"https://a/?b=c&d=<e>":   `"https://a/?b=c&d=<e>"`,
		`a"b\c/d`:                `"a\"b\\c/d"`,
		"\b\f\n\r\t\x00\x1f\x7f": `"\b\f\n\r\t\u0000\u001f` + "\x7f\"",
		"\u2028é😀":               "\"\u2028é😀\"",
		"a\xffb":                 "\"a\ufffdb\"",
		"":                       `""`,
	} {
		out := rewriteAll(t, strings.NewReader(`{"nextLink":"u"}`), googleRules, func(Found) (string, bool) { return replacement, true })
		if got := string(out); got != `{"nextLink":`+want+`}` {
			t.Errorf("%q: got %s, want %s", replacement, got, want)
		}
	}
}

func TestAReplacementThatIsTheURLLeavesItsEscapes(t *testing.T) {
	text := `{"nextLink":"https:\/\/a\u002fb"}`
	if got := rewriteAll(t, strings.NewReader(text), googleRules, func(f Found) (string, bool) { return f.URL, true }); string(got) != text {
		t.Errorf("got %s", got)
	}
}

// TestLimits compares texts at both sides of each limit with the reference.
func TestLimits(t *testing.T) {
	pad := func(n int) string { return strings.Repeat("p", n) }
	page := func(gap int) string {
		return `{"x":{"@odata.nextLink":"u","p":"` + pad(gap) + `","value":[]},"@odata.deltaLink":"v"}`
	}
	session := func(gap int) string {
		return `{"uploadUrl":"u","p":"` + pad(gap) + `","expirationDateTime":"t"}`
	}
	for _, tc := range []struct {
		name string
		text func(n int) string
		near int
	}{
		{"an array that comes behind", page, maxHeld},
		{"a string that comes behind", session, maxHeld},
		{"a long URL", func(n int) string { return `{"@odata.nextLink":"` + pad(n) + `"}` }, maxString},
		{"a long URL with escapes", func(n int) string { return `{"@odata.nextLink":"\n` + pad(n-2) + `"}` }, maxString},
		{"a long name", func(n int) string { return `{"` + pad(n-15) + `@odata.nextLink":"u","` + pad(n-15) + `":[]}` }, maxString},
		{"a long time", func(n int) string { return `{"expirationDateTime":"` + pad(n) + `","uploadUrl":"u"}` }, maxBeside},
		{"a long time behind", func(n int) string { return `{"uploadUrl":"u","expirationDateTime":"` + pad(n) + `"}` }, maxBeside},
		{"deep nesting", func(n int) string {
			return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `,"@odata.nextLink":"u"}`
		}, maxDepth},
		{"many arrays", func(n int) string {
			var b strings.Builder
			b.WriteString(`{"value":[],"a":[]`)
			for i := range n - 1 {
				fmt.Fprintf(&b, `,"b%d":[]`, i)
			}
			b.WriteString(`,"a@odata.nextLink":"u","@odata.nextLink":"v"}`)
			return b.String()
		}, maxArrays},
	} {
		t.Run(tc.name, func(t *testing.T) {
			outcomes := make(map[string]bool)
			for n := tc.near - 40; n <= tc.near+2; n += 2 {
				text := []byte(tc.text(n))
				var found, beside int
				count := func(f Found) (string, bool) {
					if found++; f.Beside != "" {
						beside++
					}
					return tell(f)
				}
				want := referenceRewrite(text, graphRules, tell)
				if got := rewriteAll(t, bytes.NewReader(text), graphRules, count); !bytes.Equal(got, want) {
					t.Fatalf("%d: rewritten otherwise than by the reference", n)
				}
				p := &pieces{text, rand.New(rand.NewPCG(uint64(n), 3))}
				if got := rewriteAll(t, p, graphRules, tell); !bytes.Equal(got, want) {
					t.Fatalf("%d: rewritten otherwise in pieces", n)
				}
				outcomes[fmt.Sprint(found, beside)] = true
			}
			if len(outcomes) != 2 {
				t.Errorf("found and with a Beside: %v, want one outcome on each side of the limit", outcomes)
			}
		})
	}
}

func TestManyWaitingStringsAreLetGo(t *testing.T) {
	text := `{"x":{` + strings.Repeat(`"@odata.nextLink":"u",`, maxQueued+10) + `"value":[]}}`
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(text), "bytes": iotest.OneByteReader(strings.NewReader(text))} {
		got := string(rewriteAll(t, r, graphRules, show))
		if n := strings.Count(got, "<1"); n != maxQueued {
			t.Errorf("%s: %d replaced, want %d", name, n, maxQueued)
		}
		if plain := strings.ReplaceAll(got, "<1 @odata.nextLink u >", "u"); plain != text {
			t.Errorf("%s: other bytes have changed", name)
		}
	}
}

// feed gives one piece per Read, and counts them.
type feed struct {
	pieces []string
	reads  int
}

func (f *feed) Read(p []byte) (int, error) {
	if f.reads == len(f.pieces) {
		return 0, io.EOF
	}
	f.reads++
	return copy(p, f.pieces[f.reads-1]), nil
}

func TestReadGivesWhatIsDecidedAtOnce(t *testing.T) {
	f := &feed{pieces: []string{
		`{"value":[{"a":`, `"hello`, ` there"`, `,"@odata.nextLink":"u"`, `,"b":1`, `,"value":[`, `1`, `]}],"@odata.`, `nextLink":"v`, `w"`, `,"uploadUrl":"x"`, `,"expirationDateTime":"t"`, `}`,
	}}
	// What each Read gives, and after how many of the pieces.
	want := []struct {
		text  string
		reads int
	}{
		{`{"value":[{"a":`, 1},
		{`"hello`, 2},
		{` there"`, 3},
		{`,"@odata.nextLink":`, 4},
		{`"<1 @odata.nextLink u >","b":1,"value":[`, 6},
		{`1`, 7},
		{`]}],"@odata.`, 8},
		{`nextLink":`, 9},
		{`"<1 @odata.nextLink vw >"`, 10},
		{`,"uploadUrl":`, 11},
		{`"<2 uploadUrl x t>","expirationDateTime":"t"`, 12},
		{`}`, 13},
	}
	r := NewReader(f, graphRules, show)
	buffer := make([]byte, 1<<10)
	for _, w := range want {
		n, err := r.Read(buffer)
		if got := string(buffer[:n]); err != nil || got != w.text || f.reads != w.reads {
			t.Fatalf("got %q after %d pieces (%v), want %q after %d", got, f.reads, err, w.text, w.reads)
		}
	}
	if n, err := r.Read(buffer); n != 0 || err != io.EOF {
		t.Errorf("got %d bytes and %v at the end", n, err)
	}
}

func TestErrorsComeBehindAllThatCameBefore(t *testing.T) {
	broken := errors.New("broken")
	text := `{"@odata.nextLink":"u","x":{"@odata.nextLink":"waiting",`
	out, err := io.ReadAll(NewReader(io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), graphRules, show))
	if !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	if want := `{"@odata.nextLink":"<1 @odata.nextLink u >","x":{"@odata.nextLink":"waiting",`; string(out) != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
}

func TestASourceThatNeverGivesAnythingIsAnError(t *testing.T) {
	stuck := readerFunc(func([]byte) (int, error) { return 0, nil })
	if _, err := io.ReadAll(NewReader(stuck, graphRules, show)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error is %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// endless repeats a text behind a beginning.
type endless struct {
	begin, repeat string
	left          int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.begin)
	if e.begin = e.begin[n:]; n > 0 {
		return n, nil
	}
	if e.left -= len(e.repeat); e.left < 0 {
		return 0, io.EOF
	}
	return copy(p, e.repeat), nil
}

func TestMemoryIsBounded(t *testing.T) {
	const size = 8 << 20
	for name, text := range map[string]*endless{
		"one long URL":          {`{"@odata.nextLink":"`, strings.Repeat("u", 4096), size},
		"one long name":         {`{"`, strings.Repeat("u", 4096), size},
		"waiting strings":       {`{"x":{"a":1`, strings.Repeat(`,"@odata.nextLink":"u"`, 200), size},
		"arrays":                {`{"x":{"a":1`, strings.Repeat(`,"a":[]`, 500), size},
		"strings that wait for": {`{"a":1`, strings.Repeat(`,"uploadUrl":"","expirationDateTime":""`, 100), size},
		"deep":                  {``, strings.Repeat(`{"value":[],"a@odata.nextLink":"u","expirationDateTime":"t","a":`, 60), size},
		"matches":               {`{"a":1`, strings.Repeat(`,"@odata.nextLink":"u"`, 200), size},
	} {
		t.Run(name, func(t *testing.T) {
			most := heapGrowth(t, NewReader(text, graphRules, func(Found) (string, bool) { return "", false }))
			if most > 4<<20 {
				t.Errorf("%d KiB of memory in use", most>>10)
			}
		})
	}
}

// heapGrowth reads all of r, and returns by how much memory in use has grown at
// most.
func heapGrowth(t *testing.T, r io.Reader) uint64 {
	t.Helper()
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := inUse()
	var most uint64
	buffer := make([]byte, 32<<10)
	for reads := 0; ; reads++ {
		_, err := r.Read(buffer)
		if err != nil {
			if err != io.EOF {
				t.Fatal(err)
			}
			return most
		}
		if reads%128 == 0 {
			if now := inUse(); now > before {
				most = max(most, now-before)
			}
		}
	}
}

func TestRulesServeManyReaders(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 4))
			for range 50 {
				text := randomText(random)
				if got := rewriteAll(t, &pieces{text, random}, batchRules, tell); !bytes.Equal(got, referenceRewrite(text, batchRules, tell)) {
					t.Errorf("%q is rewritten otherwise than by the reference", text)
				}
			}
		})
	}
	wg.Wait()
}
