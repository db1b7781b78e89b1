package handle

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

var issued = time.Date(2026, 7, 8, 14, 25, 27, 0, time.UTC)

// canary stands for the credential in a URL.
const canary = "tempauth=v1.eyJzaXRlaWQi"

func sample() *Handle {
	return &Handle{
		URL:        "https://contoso-my.sharepoint.com/personal/megan_contoso_com/_layouts/15/download.aspx?UniqueId=30773b25-1106-435f-9b2d-19673db13ae9&Translate=false&" + canary + "&ApiVersion=2.0",
		Account:    "user:megan@contoso.com",
		Provider:   "microsoft",
		Generation: 1 << 40,
		Key:        strings.Repeat("0a", 32),
		Call:       Call{http.MethodGet, "graph.microsoft.com", "/v1.0/me/drive/items/1"},
		Kind:       Download,
		Issued:     issued,
		Expires:    issued.Add(time.Hour),
	}
}

func newKeyset(tb testing.TB) *secret.Keyset {
	tb.Helper()
	keys, err := secret.CreateKeyset(filepath.Join(tb.TempDir(), "keyset.json"))
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

func newSealer(tb testing.TB) *secret.Sealer {
	tb.Helper()
	return newKeyset(tb).Sealer(secret.Handles)
}

func seal(tb testing.TB, s *secret.Sealer, h *Handle) string {
	tb.Helper()
	sealed, err := Seal(s, h)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

func TestOpenGivesBackWhatWasSealed(t *testing.T) {
	sealer := newSealer(t)
	tests := map[string]func(*Handle){
		"a download":            func(*Handle) {},
		"an upload":             func(h *Handle) { h.Kind = Upload },
		"a session":             func(h *Handle) { h.Kind = Session },
		"a monitor":             func(h *Handle) { h.Kind = Monitor },
		"no key and provider":   func(h *Handle) { h.Key, h.Provider = "", "" },
		"names that are binary": func(h *Handle) { h.Account, h.Key = "\x00\x01", "ключ" },
		"the longest URL": func(h *Handle) {
			h.URL = "https://a.example/" + strings.Repeat("x", maxURL-18-len(h.Call.Path))
		},
		"the longest call": func(h *Handle) {
			h.Call = Call{strings.Repeat("M", maxMethod), strings.Repeat("h", maxHost), strings.Repeat("/", maxURL-len(h.URL))}
		},
		"the longest names": func(h *Handle) {
			h.Account, h.Provider, h.Key = strings.Repeat("a", maxName), strings.Repeat("p", maxName), strings.Repeat("k", maxName)
			h.Call = Call{strings.Repeat("M", maxMethod), strings.Repeat("h", maxHost), "/"}
			h.URL = strings.Repeat("x", maxURL-1)
		},
		"the greatest generation": func(h *Handle) { h.Generation = 1<<64 - 1 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			h := sample()
			change(h)
			sealed := seal(t, sealer, h)
			if strings.Trim(sealed, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
				t.Errorf("Seal gave %q, want letters, digits, - and _", sealed)
			}
			got, err := Open(sealer, sealed, issued)
			if err != nil {
				t.Fatal(err)
			}
			// Printing hides the difference, so that fields are compared.
			type fields Handle
			if diff := cmp.Diff(fields(*h), fields(*got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHandleIsLittleLongerThanItsURL(t *testing.T) {
	h := sample()
	h.URL = "https://contoso.sharepoint.com/" + strings.Repeat("x", 2000)
	if got, most := len(seal(t, newSealer(t), h)), (len(h.URL)+200)*4/3; got > most {
		t.Errorf("handle has %d bytes, want at most %d", got, most)
	}
}

func TestSealRefuses(t *testing.T) {
	sealer := newSealer(t)
	tests := map[string]func(*Handle){
		"a URL beyond 8 KiB": func(h *Handle) { h.URL = strings.Repeat("x", maxURL+1-len(h.Call.Path)) },
		"a path beyond it":   func(h *Handle) { h.Call.Path = strings.Repeat("x", maxURL+1-len(h.URL)) },
		"a long method":      func(h *Handle) { h.Call.Method = strings.Repeat("x", maxMethod+1) },
		"a long host":        func(h *Handle) { h.Call.Host = strings.Repeat("x", maxHost+1) },
		"no call":            func(h *Handle) { h.Call = Call{} },
		"no method":          func(h *Handle) { h.Call.Method = "" },
		"no host":            func(h *Handle) { h.Call.Host = "" },
		"no path":            func(h *Handle) { h.Call.Path = "" },
		"no URL":             func(h *Handle) { h.URL = "" },
		"no kind":            func(h *Handle) { h.Kind = 0 },
		"an unknown kind":    func(h *Handle) { h.Kind = Monitor + 1 },
		"a long account":     func(h *Handle) { h.Account = strings.Repeat("x", maxName+1) },
		"a long provider":    func(h *Handle) { h.Provider = strings.Repeat("x", maxName+1) },
		"a long key":         func(h *Handle) { h.Key = strings.Repeat("x", maxName+1) },
		"no time of issue":   func(h *Handle) { h.Issued = time.Time{} },
		"no expiry":          func(h *Handle) { h.Expires = time.Time{} },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			h := sample()
			change(h)
			sealed, err := Seal(sealer, h)
			if err == nil {
				t.Fatalf("Seal gave %q, want an error", sealed)
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("error %q has the URL", err)
			}
		})
	}
}

func TestExpiredHandleSaysSo(t *testing.T) {
	sealer, h := newSealer(t), sample()
	sealed := seal(t, sealer, h)
	if _, err := Open(sealer, sealed, h.Expires.Add(-time.Second)); err != nil {
		t.Errorf("a second before it expires: %v", err)
	}
	_, err := Open(sealer, sealed, h.Expires)
	var p *problem.Problem
	if !errors.As(err, &p) {
		t.Fatalf("error %v, want a problem", err)
	}
	if want := "expired at 2026-07-08T15:25:27Z: ask the API for a new one"; p.Code != problem.NotAllowed || p.Status != http.StatusForbidden || p.Message != want {
		t.Errorf("problem %s %d %q, want NotAllowed 403 %q", p.Code, p.Status, p.Message, want)
	}
}

// TestLongestHandleCanBeCalled holds that what is handed out is not refused for
// its length.
func TestLongestHandleCanBeCalled(t *testing.T) {
	const base = "/a/prefix/of/an/operator/.bellhop/h/"
	if maxSealed+len(base) > target.MaxTarget {
		t.Errorf("a handle may have %d bytes, a path %d", maxSealed, target.MaxTarget)
	}
}

// TestOpenRefusesWithoutReason holds that a caller learns nothing from how a
// forgery is refused.
func TestOpenRefusesWithoutReason(t *testing.T) {
	keys := newKeyset(t)
	sealer := keys.Sealer(secret.Handles)
	sealed := seal(t, sealer, sample())
	raw, err := encoding.DecodeString(sealed)
	if err != nil {
		t.Fatal(err)
	}
	as := func(plain, associated string) string {
		b, err := sealer.Seal([]byte(plain), associated)
		if err != nil {
			t.Fatal(err)
		}
		return encoding.EncodeToString(b)
	}
	wire, err := sample().marshal()
	if err != nil {
		t.Fatal(err)
	}
	plain := string(wire)
	changed := bytes.Clone(raw)
	changed[len(changed)/2] ^= 1
	otherPurpose, err := keys.Sealer(secret.Records).Seal(wire, associated)
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string]string{
		"nothing":                "",
		"not base64":             "%%%",
		"padding":                base64.URLEncoding.EncodeToString(append(bytes.Clone(raw), 0)),
		"the other alphabet":     base64.RawStdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 60)),
		"a line break inside":    sealed[:9] + "\n" + sealed[9:],
		"something behind":       sealed + "A",
		"one bit":                encoding.EncodeToString(changed),
		"cut short":              sealed[:len(sealed)-4],
		"another keyset":         seal(t, newSealer(t), sample()),
		"another purpose":        encoding.EncodeToString(otherPurpose),
		"another use":            as(plain, "link"),
		"another version":        as("\x03"+plain[1:], associated),
		"the version before":     as("\x01"+plain[1:], associated),
		"an unknown kind":        as(plain[:1]+"\x09"+plain[2:], associated),
		"nothing inside":         as("", associated),
		"the version alone":      as("\x02", associated),
		"fields that are cut":    as(plain[:20], associated),
		"a length beyond":        as("\x02\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", associated),
		"a number beyond":        as("\x02\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", associated),
		"a time beyond":          as("\x02\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", associated),
		"no URL":                 as("\x02\x01\x00\x00\x00\x00\x00\x00\x01M\x01h\x01/", associated),
		"no call":                as("\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00https://a.example/", associated),
		"more than any handle":   strings.Repeat("A", maxSealed+4),
		"what is no seal at all": encoding.EncodeToString([]byte("0123456789")),
	}
	want := refuse(nil)
	for name, text := range refused {
		t.Run(name, func(t *testing.T) {
			h, err := Open(sealer, text, issued)
			var p *problem.Problem
			if !errors.As(err, &p) {
				t.Fatalf("Open gave %v, %v; want a problem", h, err)
			}
			if p.Code != problem.InvalidRequest || p.Status != http.StatusBadRequest || p.Message != want.Message || len(p.Details) > 0 {
				t.Errorf("problem %+v, want the same for all", p)
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("error %q has the URL", err)
			}
		})
	}
}

// TestRotatedKeysetOpensOlderHandles holds also that new handles are sealed with
// the new key.
func TestRotatedKeysetOpensOlderHandles(t *testing.T) {
	keys := newKeyset(t)
	old := seal(t, keys.Sealer(secret.Handles), sample())
	rotated := rotate(t, keys.Path()).Sealer(secret.Handles)
	for name, sealed := range map[string]string{"old": old, "new": seal(t, rotated, sample())} {
		if got, err := Open(rotated, sealed, issued); err != nil || got.URL != sample().URL {
			t.Errorf("%s handle gave %v, %v", name, got, err)
		}
	}
	if _, err := Open(keys.Sealer(secret.Handles), seal(t, rotated, sample()), issued); err == nil {
		t.Error("the keyset opens what was sealed with a key that it lacks")
	}
}

// rotate gives the keyset's file a second key for handles, as the primary one.
func rotate(t *testing.T, path string) *secret.Keyset {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file map[secret.Purpose]json.RawMessage
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	keys, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(file[secret.Handles])))
	if err != nil {
		t.Fatal(err)
	}
	manager := keyset.NewManagerFromHandle(keys)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	if err := manager.SetPrimary(id); err != nil {
		t.Fatal(err)
	}
	if keys, err = manager.Handle(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(keys, keyset.NewJSONWriter(&b)); err != nil {
		t.Fatal(err)
	}
	file[secret.Handles] = b.Bytes()
	if text, err = json.Marshal(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := secret.LoadKeyset(path)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func TestHandlePrintsWithoutItsURL(t *testing.T) {
	h := sample()
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("used", "handle", h, "value", *h)
	asJSON, err := json.Marshal(map[string]any{"handle": h, "value": *h})
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{log.String(), string(asJSON), h.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		printed = append(printed, fmt.Sprintf(verb, h), fmt.Sprintf(verb, *h), fmt.Sprintf(verb, []*Handle{h}[0]))
	}
	for _, text := range printed {
		for _, part := range []string{canary, h.Call.Path, "download.aspx", fmt.Sprintf("%x", canary), h.Key} {
			if strings.Contains(text, part) {
				t.Errorf("%q has %q", text, part)
			}
		}
		for _, part := range []string{h.Account, "download", "contoso-my.sharepoint.com"} {
			if !strings.Contains(text, part) {
				t.Errorf("%q lacks %q", text, part)
			}
		}
	}
	h.URL = "https://%zz/" + canary
	if got := h.String(); strings.Contains(got, canary) {
		t.Errorf("%q has a URL that does not parse", got)
	}
}

func TestKindAllowsMethods(t *testing.T) {
	methods := []string{"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "get", ""}
	tests := map[Kind]string{
		Download:    "GET HEAD",
		Upload:      "GET HEAD PUT POST DELETE",
		Session:     "PUT POST DELETE",
		Monitor:     "GET HEAD",
		0:           "",
		Monitor + 1: "",
	}
	for kind, want := range tests {
		t.Run(kind.String(), func(t *testing.T) {
			var allowed []string
			for _, method := range methods {
				if kind.Allows(method) {
					allowed = append(allowed, method)
				}
			}
			if got := strings.Join(allowed, " "); got != want {
				t.Errorf("allowed are %q, want %q", got, want)
			}
		})
	}
}

func TestOnlySessionsTakeTheToken(t *testing.T) {
	for _, kind := range []Kind{0, Download, Upload, Session, Monitor} {
		if got := kind.Token(); got != (kind == Session) {
			t.Errorf("%v: Token() = %t", kind, got)
		}
	}
}

func TestKindLife(t *testing.T) {
	for kind, want := range map[Kind]time.Duration{Download: time.Hour, Upload: 24 * time.Hour, Session: 168 * time.Hour, Monitor: 24 * time.Hour, 0: 0} {
		if got := kind.Life(); got != want {
			t.Errorf("%v lives %v, want %v", kind, got, want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	sealer := newSealer(f)
	wire, err := sample().marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire)
	f.Add([]byte("\x02\x01\x00\x00\x00\x00\x00\x00\x01M\x01h\x01/x"))
	f.Add([]byte(seal(f, newSealer(f), sample())))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p *problem.Problem
		if h, err := Open(sealer, string(data), issued); err == nil || !errors.As(err, &p) {
			t.Fatalf("Open took %q for %v, %v", data, h, err)
		}
		// What is inside a seal is ours, but perhaps of another version.
		sealed, err := sealer.Seal(data, associated)
		if err != nil {
			t.Fatal(err)
		}
		h, err := Open(sealer, encoding.EncodeToString(sealed), time.Unix(0, 0))
		if err != nil {
			if !errors.As(err, &p) {
				t.Fatalf("error %v is no problem", err)
			}
			return
		}
		if len(h.URL)+len(h.Call.Path) > maxURL || len(h.Call.Method) > maxMethod || len(h.Call.Host) > maxHost ||
			len(h.Account) > maxName || len(h.Provider) > maxName || len(h.Key) > maxName {
			return
		}
		again, err := Open(sealer, seal(t, sealer, h), time.Unix(0, 0))
		if err != nil {
			t.Fatalf("handle %v does not open once sealed again: %v", h, err)
		}
		type fields Handle
		if diff := cmp.Diff(fields(*h), fields(*again)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestUntilBelievesWhatCanBeRight(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	for said, want := range map[time.Time]time.Time{
		{}:                      now.Add(24 * time.Hour),
		now:                     now,
		now.Add(-time.Second):   now.Add(-time.Second),
		now.Add(time.Second):    now.Add(time.Second),
		now.AddDate(0, 0, 30):   now.AddDate(0, 0, 30),
		now.AddDate(0, 0, 31):   now.Add(24 * time.Hour),
		now.AddDate(7000, 0, 0): now.Add(24 * time.Hour),
	} {
		if got := Upload.Until(now, said); !got.Equal(want) {
			t.Errorf("said %v: %v, want %v", said, got, want)
		}
	}
}
