package caddymodule

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFinderKnowsHowSecretsAreWritten(t *testing.T) {
	secret := `ya29.a/b+c<d>&"e\=` + randomText()
	long := strings.Repeat("x", 10) + randomText() + randomText() + randomText()
	token := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0." + randomText() + randomText()
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, _ = writer.Write([]byte("packed: " + secret))
	_ = writer.Close()
	marshalled := must(json.Marshal(map[string]any{"text": secret, "bytes": "-"}))
	percent := func(text, format string) (escaped string) {
		for _, b := range []byte(text) {
			escaped += fmt.Sprintf(format, b)
		}
		return escaped
	}
	written := map[string]string{
		"as it is":                  secret,
		"in a query":                url.QueryEscape(secret),
		"in a path":                 url.PathEscape(secret),
		"percent, every byte":       percent(secret, "%%%02x"),
		"percent, three times":      url.QueryEscape(url.QueryEscape(url.QueryEscape(secret))),
		"JSON":                      string(marshalled),
		"JSON in JSON":              string(must(json.Marshal(string(marshalled)))),
		"JSON, every character":     percent(secret, `\u%04X`),
		"JSON with escaped slashes": strings.ReplaceAll(secret, "/", `\/`),
		"Go":                        fmt.Sprintf("%q", secret),
		"Go, bytes":                 percent(secret, `\x%02x`),
		"HTML":                      html.EscapeString(secret),
		"HTML, numbers":             percent(secret, "&#x%x;"),
		"hexadecimal":               hex.EncodeToString([]byte(secret)),
		"capital hexadecimal":       fmt.Sprintf("%X", secret),
		"bytes":                     fmt.Sprint([]byte("in " + secret)),
		"bytes in JSON":             strings.ReplaceAll(strings.Trim(fmt.Sprint([]byte(secret)), "[]"), " ", ","),
		"packed":                    packed.String(),
		"where two windows meet":    strings.Repeat("-", windowLength-7) + url.QueryEscape(secret),
		"far away":                  strings.Repeat("-", 5*windowLength+3) + secret,
		"client credentials":        basic("client", url.QueryEscape(secret)),
		"the beginning of a long":   long[:longestNeedle],
		"the end of a long":         long[len(long)-longestNeedle:],
		"a signature":               token[strings.LastIndexByte(token, '.')+1:],
	}
	for before := range 3 {
		text := []byte(strings.Repeat("-", before) + secret + "+")
		written[fmt.Sprintf("Base64 at %d", before)] = base64.StdEncoding.EncodeToString(text)
		written[fmt.Sprintf("Base64 for URLs at %d", before)] = base64.URLEncoding.EncodeToString(text)
	}
	f := newFinder([]canary{{"secret", secret}, {"secret", long}, {"secret", token}})
	other := newFinder([]canary{{"other", secret[:len(secret)-1] + "!"}, {"other", randomText()}})
	for name, text := range written {
		found, err := f.sweep(strings.NewReader("a " + text + " b"))
		if name == "packed" {
			found, err = f.sweep(strings.NewReader(text))
		}
		if err != nil || !found["secret"] {
			t.Errorf("%s: not found in %.80q: %v", name, text, err)
		}
		if found, err := other.sweep(strings.NewReader(text)); err != nil || len(found) > 0 {
			t.Errorf("%s: found what is not there: %v, %v", name, found, err)
		}
	}
	if found, _ := f.sweep(strings.NewReader(token[:strings.LastIndexByte(token, '.')])); len(found) > 0 {
		t.Error("what a token says was taken for the token")
	}
}

func TestWatchFindsWhatATestLeaks(t *testing.T) {
	w := newWatch(t)
	code, access, refresh := "code-"+randomText(), "ya29.fake-"+randomText(), "1//fake-"+randomText()
	w.hides("code", code)
	key := "bh_" + strings.Repeat("0123456789", 4) + "abc"
	w.answered(reply{http.StatusOK, nil, []byte(`{"token":"` + key + `","accessToken":"` + access + `"}`)}) // who asked may know
	refused := http.Header{"Bellhop-Error": {"InvalidRequest"}}
	w.answered(reply{http.StatusBadRequest, refused, []byte(`{"message":"not ` + refresh + `","reconnectUrl":"` + code + `"}`)})
	w.said([]string{"token", "alice"}, access)
	w.said([]string{"account", "list"}, "alice "+url.QueryEscape(access))
	if err := os.WriteFile(filepath.Join(w.dir, "a.log"), []byte("called with "+basic("x", key)), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"access token": {"commands"}, "refresh token": {"error answers"}, "key 5": {"a.log"}}
	if diff := cmp.Diff(want, w.find()); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}

	t.Run("in the logs of a configuration", func(t *testing.T) {
		config, err := w.listens([]byte(`{"apps":{"http":{"servers":{"a":{}}}},"logging":{"logs":{"default":{"level":"ERROR"}}}}`))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{`"handler":"write"`, `"logs":{}`, `"default":{"level":"ERROR"}`, `"format":"console"`} {
			if !strings.Contains(string(config), text) {
				t.Errorf("no %s in %s", text, config)
			}
		}
	})
}
