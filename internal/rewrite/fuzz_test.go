package rewrite

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// graphRules are like those for Microsoft Graph.
var graphRules = &Rules{
	Members: []Member{
		{Name: "@odata.nextLink", Kind: Link, Places: Top | Paged},
		{Name: "@odata.deltaLink", Kind: Link, Places: Top | Paged},
		{Name: "*@odata.nextLink", Kind: Link, Places: Paged},
		{Name: "uploadUrl", Kind: Upload, Places: Top, Beside: "expirationDateTime"},
		{Name: "@microsoft.graph.downloadUrl", Kind: Download, Places: Items},
		{Name: "both", Kind: Link, Places: Paged, Beside: "expirationDateTime"},
	},
	Closed: []string{"fields", "properties"},
}

// googleRules need nothing below the outermost object.
var googleRules = &Rules{Members: []Member{{Name: "nextLink", Kind: Link, Places: Top}}}

var batchRules = &Rules{
	Members: []Member{{Name: "@odata.nextLink", Kind: Link, Places: Top}},
	Parts: func(id string) *Rules {
		switch id {
		case "1":
			return graphRules
		case "2":
			return googleRules
		}
		return nil
	},
}

var ruleSets = []*Rules{graphRules, googleRules, batchRules}

// pieces gives a text in pieces of random length.
type pieces struct {
	text   []byte
	random *rand.Rand
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.text) == 0 {
		return 0, io.EOF
	}
	n := min(1+p.random.IntN(1+p.random.IntN(40)), len(p.text), len(b))
	copy(b, p.text[:n])
	p.text = p.text[n:]
	if len(p.text) == 0 && p.random.IntN(2) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func rewriteAll(t testing.TB, r io.Reader, rules *Rules, replace Func) []byte {
	t.Helper()
	out, err := io.ReadAll(NewReader(r, rules, replace))
	if err != nil {
		t.Fatalf("reading: %v", err)
	}
	return out
}

// compare checks a text against the reference, whole, byte by byte, and in
// random pieces.
func compare(t *testing.T, text []byte, rules *Rules, seed uint64) {
	t.Helper()
	got := rewriteAll(t, bytes.NewReader(text), rules, tell)
	want := referenceRewrite(text, rules, tell)
	if !bytes.Equal(got, want) {
		t.Fatalf("text:      %q\nrewritten: %q\nreference: %q", text, got, want)
	}
	if one := rewriteAll(t, iotest.OneByteReader(bytes.NewReader(text)), rules, tell); !bytes.Equal(one, got) {
		t.Fatalf("text:         %q\nas a whole:   %q\nbyte by byte: %q", text, got, one)
	}
	p := &pieces{text, rand.New(rand.NewPCG(seed, 1))}
	if some := rewriteAll(t, p, rules, tell); !bytes.Equal(some, got) {
		t.Fatalf("text:       %q\nas a whole: %q\nin pieces:  %q", text, got, some)
	}
}

func FuzzRewrite(f *testing.F) {
	for _, tc := range goldenCases {
		f.Add([]byte(tc.text), uint64(1))
	}
	random := rand.New(rand.NewPCG(7, 7))
	for seed := range uint64(100) {
		f.Add(randomText(random), seed)
	}
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		if bytes.Count(text, []byte(`"`)) > maxQueued {
			return // the reference does not know of the queue's limit
		}
		compare(t, text, ruleSets[seed%uint64(len(ruleSets))], seed)
	})
}

func TestRandomTextsAreRewrittenLikeTheReference(t *testing.T) {
	replaced := 0
	for seed := range uint64(800) {
		random := rand.New(rand.NewPCG(seed, 2))
		text := randomText(random)
		rules := ruleSets[random.IntN(len(ruleSets))]
		compare(t, text, rules, seed)
		if !bytes.Equal(text, referenceRewrite(text, rules, tell)) {
			replaced++
		}
		if random.IntN(4) > 0 {
			continue
		}
		// Broken off, and with a byte that does not belong there.
		at := random.IntN(len(text))
		compare(t, text[:at], rules, seed)
		compare(t, slices.Insert(text, at, `"\x,]}{:0`[random.IntN(9)]), rules, seed)
	}
	if replaced < 50 {
		t.Errorf("%d texts had something to replace, want more", replaced)
	}
}

var vocabulary = []string{
	"@odata.nextLink", "@odata.deltaLink", "messages@odata.nextLink", "messages", "value", "value", "children", "uploadUrl",
	"expirationDateTime", "@microsoft.graph.downloadUrl", "both", "both", "fields", "properties", "nextLink", "responses", "responses",
	"id", "headers", "body", "location", "Link", "x", "", "\u00e9@odata.nextLink", "\u00e9", "status",
}

// randomText makes a valid text of names that mean something.
func randomText(random *rand.Rand) []byte {
	var b strings.Builder
	if random.IntN(20) == 0 {
		b.WriteString(byteOrderMark)
	}
	writeObject(&b, random, 3)
	if random.IntN(10) == 0 {
		b.WriteString(` {"@odata.nextLink":"behind"}`)
	}
	return []byte(b.String())
}

func writeObject(b *strings.Builder, random *rand.Rand, depth int) {
	b.WriteString("{")
	for i := range 1 + random.IntN(8) {
		if i > 0 {
			b.WriteString(",")
		}
		writeSpace(b, random)
		name := vocabulary[random.IntN(len(vocabulary))]
		writeText(b, random, name)
		writeSpace(b, random)
		b.WriteString(":")
		writeSpace(b, random)
		writeValue(b, random, depth-1, name)
	}
	b.WriteString("}")
}

func writeValue(b *strings.Builder, random *rand.Rand, depth int, name string) {
	kind := random.IntN(10)
	switch name {
	case "value", "children", "responses", "messages":
		kind = random.IntN(4) // an array most of the time
	case "id":
		if random.IntN(4) > 0 {
			writeText(b, random, strconv.Itoa(random.IntN(3)))
			return
		}
	case "body", "headers":
		kind = 4
	}
	switch {
	case kind < 3 && depth > 0:
		b.WriteString("[")
		for i := range random.IntN(4) {
			if i > 0 {
				b.WriteString(",")
			}
			writeSpace(b, random)
			if random.IntN(3) > 0 {
				writeObject(b, random, depth-1)
				continue
			}
			writeValue(b, random, depth-1, "")
		}
		b.WriteString("]")
	case kind < 5 && depth > 0:
		writeObject(b, random, depth)
	case kind < 6:
		b.WriteString([]string{"0", "-1.5e+10", "9223372036854775808", "1e400", "true", "false", "null"}[random.IntN(7)])
	default:
		writeText(b, random, []string{"https://graph.microsoft.com/v1.0/me", "keep", "", "é\n\"\\", "\xff", `"value":[`, "\u2028"}[random.IntN(7)])
	}
}

func writeSpace(b *strings.Builder, random *rand.Rand) {
	for random.IntN(4) == 0 {
		b.WriteByte(" \t\r\n"[random.IntN(4)])
	}
}

// writeText writes a string, with escapes that it does not need.
func writeText(b *strings.Builder, random *rand.Rand, text string) {
	b.WriteByte('"')
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c < 0x20, c == '"', c == '\\', c < 0x80 && random.IntN(30) == 0:

			hex := strconv.FormatInt(int64(c), 16)
			b.WriteString(`\u` + strings.Repeat("0", 4-len(hex)) + hex)
		case c == '/' && random.IntN(3) == 0:
			b.WriteString(`\/`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}
