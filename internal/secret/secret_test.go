package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const canary = "canary-4f1c"

// holder has a secret where fmt calls no methods.
type holder struct {
	token  String
	tokens map[string]String
	list   []String
	ptr    *String
	inner  struct{ any any }
}

func newHolder() holder {
	s := New(canary)
	h := holder{token: s, tokens: map[string]String{"a": s}, list: []String{s}, ptr: &s}
	h.inner.any = s
	return h
}

func TestNoVerbPrintsTheSecret(t *testing.T) {
	s := New(canary)
	values := map[string]any{
		"secret":            s,
		"pointer":           &s,
		"slice":             []String{s},
		"map":               map[string]String{"a": s},
		"key of a map":      map[String]int{s: 1},
		"exported field":    struct{ Token String }{s},
		"unexported fields": newHolder(),
		"pointer to struct": &holder{token: s},
		"error":             fmt.Errorf("renewing with %v: %w", s, errors.New("no")),
	}
	for name, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%q", "%s", "%x", "%X", "%d", "%c", "%5.2v"} {
			got := fmt.Sprintf(verb, value)
			if strings.Contains(got, canary) || strings.Contains(strings.ToLower(got), fmt.Sprintf("%x", canary)) {
				t.Errorf("%s with %s prints %s", name, verb, got)
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%q", "%s", "%x"} {
		if got := fmt.Sprintf(verb, s); got != Redacted {
			t.Errorf("%s prints %q, want %q", verb, got, Redacted)
		}
	}
}

func TestNoEncodingWritesTheSecret(t *testing.T) {
	s := New(canary)
	value := struct {
		Token  String
		Tokens map[string]String
		Ptr    *String
		Names  map[String]int
	}{s, map[string]String{"a": s}, &s, map[String]int{s: 1}}

	got, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Token":"REDACTED","Tokens":{"a":"REDACTED"},"Ptr":"REDACTED","Names":{"REDACTED":1}}`
	if string(got) != want {
		t.Errorf("JSON is %s, want %s", got, want)
	}
}

func TestNoLogLineHoldsTheSecret(t *testing.T) {
	s := New(canary)
	handlers := map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	}
	for name, handler := range handlers {
		var out bytes.Buffer
		log := slog.New(handler(&out)).With("with", s)
		log.Info("said", "secret", s, "pointer", &s, "list", []String{s}, "holder", newHolder(), slog.Group("group", "secret", s))
		if strings.Contains(out.String(), canary) {
			t.Errorf("%s: %s", name, out.String())
		}
		if !strings.Contains(out.String(), Redacted) {
			t.Errorf("%s does not show that something was left out: %s", name, out.String())
		}
	}
}

func TestRevealGivesTheSecret(t *testing.T) {
	if got := New(canary).Reveal(); got != canary {
		t.Errorf("Reveal gives %q", got)
	}
	if got := (String{}).Reveal(); got != "" {
		t.Errorf("the zero String holds %q", got)
	}
	if New(canary).IsZero() || !New("").IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestEqualComparesValues(t *testing.T) {
	for _, test := range []struct {
		a, b String
		want bool
	}{
		{New("a"), New("a"), true},
		{New("a"), New("b"), false},
		{New("a"), New("ab"), false},
		{New("a"), String{}, false},
		{String{}, New(""), true},
	} {
		if got := test.a.Equal(test.b); got != test.want {
			t.Errorf("%q equals %q: %v", test.a.Reveal(), test.b.Reveal(), got)
		}
	}
}
