package matrix

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/fakeprovider"
)

// The sizes of what is sent and fetched.
const (
	smallSize = 300_000
	largeSize = 64 << 20
	// fewestCalls are those of an upload of largeSize in chunks: the beginning,
	// and a few chunks.
	fewestCalls = 4
)

// refusals are our own words for a call that the key does not allow.
var refusals = map[form]string{
	path:   `the API key does not allow this call`,
	origin: `this site serves the one account that a key is bound to by name`,
}

func TestMatrix(t *testing.T) {
	if *bellhop == "" {
		t.Skip("needs -matrix.bellhop; `make sdk` has it")
	}
	w := startWorld(t)
	found := table{words: map[string]string{}}
	for i := range libraries {
		l := &libraries[i]
		for _, f := range forms {
			for _, op := range operations {
				t.Run(fmt.Sprintf("%s/%s/%s", l.name, f, op), func(t *testing.T) {
					found.set(l.name, f, op, w.cell(t, l, f, op, found.words))
				})
			}
		}
	}
	stats, err := w.fake.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if stats.LeakedKeys != 0 || stats.UnwantedTokens != 0 {
		t.Errorf("%d keys of ours reached the API, and %d tokens a URL that needs none", stats.LeakedKeys, stats.UnwantedTokens)
	}
	found.check(t)
}

// cell tries one operation and returns what is to be known of it. How a library
// words a refusal goes to words.
func (w *world) cell(t *testing.T, l *library, f form, op operation, words map[string]string) (outcome string) {
	expected, cannot := l.no[op][f]
	if cannot && expected.fails == "" && expected.leaves == "" {
		return expected.reason
	}
	then := w.witness.now(t)
	refusal, err := w.try(t, l, f, op)
	attempts := w.witness.since(t, then)
	switch {
	case !cannot && len(attempts) > 0:
		t.Errorf("an attempt to reach %s; the library said: %v", strings.Join(attempts, ", "), err)
	case !cannot && err != nil:
		t.Error(err)
	case !cannot:
		if refusal != "" && f == path {
			words[l.name] = refusal
		}
		return works
	case err == nil:
		t.Error("works, and should not: " + expected.reason)
	case expected.leaves == "" && len(attempts) > 0 || expected.leaves != "" && !slices.Equal(attempts, []string{expected.leaves}):
		t.Errorf("attempts to reach %q, not %q; the library said: %v", attempts, expected.leaves, err)
	case !strings.Contains(err.Error(), expected.fails):
		t.Errorf("failed for another reason than %q: %v", expected.fails, err)
	default:
		return expected.reason
	}
	return failed
}

// try does an operation and checks all that can be known of its result. Where
// the call was to be refused, it returns how the library worded that.
func (w *world) try(t *testing.T, l *library, f form, op operation) (refusal string, err error) {
	env, dir := w.env(l, f, op), t.TempDir()
	switch op {
	case upload, resumable:
		size := int64(smallSize)
		if op == resumable {
			size = largeSize
		}
		return "", w.tryUpload(t, l, env, op, filepath.Join(dir, fmt.Sprintf("%s-%s.bin", op, f)), size)
	case download:
		return "", w.tryDownload(t, l, env, filepath.Join(dir, "download.bin"))
	case denied:
		return w.tryRefused(t, l, f, env)
	}
	said, err := w.ask(t.Context(), l, env, string(op))
	if err != nil {
		return "", err
	}
	if !regexp.MustCompile(`^(?:` + l.says[op] + `)\n$`).MatchString(said) {
		return "", fmt.Errorf("said %q, not %q", said, l.says[op])
	}
	return "", nil
}

func (w *world) tryRefused(t *testing.T, l *library, f form, env map[string]string) (refusal string, err error) {
	said, err := w.ask(t.Context(), l, env, string(plain))
	if err == nil {
		return "", fmt.Errorf("was not refused: %s", said)
	}
	if !strings.Contains(err.Error(), refusals[f]) {
		return "", fmt.Errorf("our own words, %q, are not in: %w", refusals[f], err)
	}
	if program, ok := errors.AsType[*failure](err); ok {
		refusal = strings.TrimSpace(program.said)
	}
	return refusal, nil
}

func (w *world) tryUpload(t *testing.T, l *library, env map[string]string, op operation, name string, size int64) error {
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.New()
	if _, err := io.Copy(io.MultiWriter(file, digest), fakeprovider.Bytes(size)); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	before := w.calls(t)
	said, err := w.ask(t.Context(), l, env, string(op), name)
	if err != nil {
		return err
	}
	if calls := w.calls(t) - before; op == resumable && calls < fewestCalls {
		return fmt.Errorf("the file was sent in %d calls, not in chunks", calls)
	}
	id := strings.TrimSpace(said)
	files, err := w.fake.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(files, func(f fakeprovider.File) bool { return f.ID == id && f.Grant == w.grants[l.account] })
	if at < 0 {
		return fmt.Errorf("there is no file %q in the account's drive", id)
	}
	if got := files[at]; got.Size != size || got.SHA256 != hex.EncodeToString(digest.Sum(nil)) || got.Name != filepath.Base(name) {
		return fmt.Errorf("the API got %+v", got)
	}
	return nil
}

// calls is how many the APIs have had.
func (w *world) calls(t *testing.T) int {
	t.Helper()
	stats, err := w.fake.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stats.APICalls + stats.PublicCalls
}

func (w *world) tryDownload(t *testing.T, l *library, env map[string]string, name string) error {
	file, err := w.fake.AddFile(t.Context(), fakeprovider.File{Grant: w.grants[l.account], Name: "download.bin", Size: smallSize})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.ask(t.Context(), l, env, string(download), file.ID, name); err != nil {
		return err
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != file.SHA256 {
		return fmt.Errorf("got %d bytes with another digest than the %d of the API", len(content), file.Size)
	}
	return nil
}
