package caddymodule

import (
	"bytes"
	"encoding/csv"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"text/template"

	"github.com/vmihailenco/msgpack/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/broker"
	"github.com/bellhop-proxy/bellhop/internal/consent"
	"github.com/bellhop-proxy/bellhop/internal/emailengine"
	"github.com/bellhop-proxy/bellhop/internal/importfile"
	"github.com/bellhop-proxy/bellhop/internal/provider"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// printedSecret stands for every secret of what is printed.
const printedSecret = "canary-77b1e6"

// holders are values of the types that hold secrets, each of which is one.
func holders(t *testing.T) map[string]any {
	t.Helper()
	all := map[string]any{}
	for _, empty := range []any{
		account.Grant{},
		account.AccessToken{},
		account.Answer{},
		account.Proposal{},
		account.Consent{},
		account.RefreshRequest{},
		account.Device{},
		account.Connection{},
		provider.Config{},
		provider.ExchangeRequest{},
		broker.Registration{},
		broker.Token{},
		consent.Begun{},
		consent.BegunDevice{},
		consent.Outcome{},
		emailengine.Account{},
		importfile.Account{},
	} {
		v := reflect.New(reflect.TypeOf(empty)).Elem()
		if fillSecrets(v) == 0 {
			t.Errorf("%T holds no secret", empty)
		}
		all[fmt.Sprintf("%T", empty)] = v.Interface()
	}
	s := secret.New(printedSecret)
	all["secret"] = s
	all["error"] = fmt.Errorf("renewing with %v: %w", s, errors.Join(fmt.Errorf("%s", s), errors.New("no")))
	all["error that holds one"] = &secretError{s, s}
	return all
}

// secretError holds secrets where fmt calls methods and where it does not.
type secretError struct {
	Token secret.String
	inner secret.String
}

func (e *secretError) Error() string { return fmt.Sprintf("renewing %v %v", e.Token, *e) }

// fillSecrets makes secrets of all that v can hold, one in each slice and map,
// and returns how many.
func fillSecrets(v reflect.Value) int {
	if v.Type() == reflect.TypeFor[secret.String]() {
		v.Set(reflect.ValueOf(secret.New(printedSecret)))
		return 1
	}
	n := 0
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				n += fillSecrets(v.Field(i))
			}
		}
	case reflect.Slice:
		one := reflect.MakeSlice(v.Type(), 1, 1)
		if n = fillSecrets(one.Index(0)); n > 0 {
			v.Set(one)
		}
	case reflect.Pointer:
		if v.Type().Elem().Kind() == reflect.Struct {
			one := reflect.New(v.Type().Elem())
			if n = fillSecrets(one.Elem()); n > 0 {
				v.Set(one)
			}
		}
	}
	return n
}

// spelled are the ways in which the canary could stand in what is printed.
func spelled(text string) bool {
	text = strings.ToLower(text)
	for _, form := range []string{
		printedSecret, fmt.Sprintf("%x", printedSecret), fmt.Sprintf("% x", printedSecret),
		strings.Trim(fmt.Sprint([]byte(printedSecret)), "[]"),
	} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

func TestWhatHoldsASecretNeverPrintsIt(t *testing.T) {
	for name, value := range holders(t) {
		for way, text := range printed(t, value) {
			if spelled(text) {
				t.Errorf("%s, %s: %s", name, way, text)
			}
		}
	}
	// That it would be noticed.
	for way, text := range printed(t, struct{ Token string }{printedSecret}) {
		if !spelled(text) {
			t.Errorf("%s is not looked through: %q", way, text)
		}
	}
}

// printed is a value in every way in which Go and the loggers print one.
func printed(t *testing.T, value any) map[string]string {
	t.Helper()
	ways := map[string]string{
		"Print":  fmt.Sprint(value),
		"errors": fmt.Errorf("calling with %v: %w", value, errors.New("no")).Error(),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d"} {
		ways[verb] = fmt.Sprintf(verb, value) + fmt.Sprintf(verb, &value) + fmt.Sprintf(verb, []any{value}) + fmt.Sprintf(verb, map[string]any{"a": value})
	}

	write := func(way string, print func(*bytes.Buffer) error) {
		var out bytes.Buffer
		if err := print(&out); err != nil {
			fmt.Fprint(&out, err) // an encoder that refuses must not say what
		}
		ways[way] += out.String()
	}
	write("log", func(b *bytes.Buffer) error { log.New(b, "", 0).Print(value); return nil })
	write("JSON", func(b *bytes.Buffer) error { return json.NewEncoder(b).Encode(map[string]any{"a": value}) })
	write("XML", func(b *bytes.Buffer) error {
		if reflect.TypeOf(value).Name() == "" {
			b.WriteString(fmt.Sprint(value)) // XML knows no type without a name
			return nil
		}
		return xml.NewEncoder(b).Encode(value)
	})
	write("CSV", func(b *bytes.Buffer) error {
		w := csv.NewWriter(b)
		defer w.Flush()
		return w.Write([]string{fmt.Sprint(value)})
	})
	write("gob", func(b *bytes.Buffer) error { return gob.NewEncoder(b).Encode(value) })
	write("msgpack", func(b *bytes.Buffer) error { return msgpack.NewEncoder(b).Encode(value) })
	write("text/template", func(b *bytes.Buffer) error {
		return template.Must(template.New("").Parse(`{{.}} {{printf "%v %q %#v" . . .}} {{print .}} {{js .}}`)).Execute(b, value)
	})
	write("html/template", func(b *bytes.Buffer) error {
		return htmltemplate.Must(htmltemplate.New("").Parse(`<a title="{{.}}" onclick="f({{.}})">{{.}}</a><script>{{.}}</script>`)).Execute(b, value)
	})
	write("slog", func(b *bytes.Buffer) error {
		for _, handler := range []slog.Handler{slog.NewTextHandler(b, nil), slog.NewJSONHandler(b, nil)} {
			slog.New(handler).With("with", value).Info("said", "value", value, "list", []any{value}, slog.Group("group", "value", value))
		}
		return nil
	})
	write("zap", func(b *bytes.Buffer) error {
		encoders := []zapcore.Encoder{
			zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
		}
		for _, encoder := range encoders {
			logger := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(b), zap.DebugLevel))
			logger.With(zap.Any("with", value)).Info("said", zap.Any("value", value), zap.Reflect("reflected", value), zap.Any("list", []any{value}))
			logger.Sugar().Infow("said", "value", value)
			logger.Sugar().Infof("%v %+v", value, value)
			if err, ok := value.(error); ok {
				logger.Error("failed", zap.Error(err), zap.NamedError("named", err))
			}
			if stringer, ok := value.(fmt.Stringer); ok {
				logger.Info("said", zap.Stringer("value", stringer))
			}
		}
		return nil
	})
	return ways
}

// asPanic has the test binary panic with what holds a secret.
const asPanic = "BELLHOP_TEST_PANIC"

func TestAPanicPrintsNoSecret(t *testing.T) {
	if name := os.Getenv(asPanic); name != "" {
		if name == "plain" {
			panic(fmt.Sprintf("a token of %s", printedSecret))
		}
		panic(holders(t)[name])
	}
	for _, name := range []string{"secret", "error", "error that holds one", "account.Grant", "provider.Config"} {
		if out := panicking(t, name); spelled(out) {
			t.Errorf("a panic with %s: %s", name, out)
		}
	}
	if out := panicking(t, "plain"); !spelled(out) {
		t.Errorf("a panic is not looked through: %s", out)
	}
}

// panicking is what this test prints when it panics in a process of its own.
func panicking(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAPanicPrintsNoSecret$")
	cmd.Env = append(os.Environ(), asPanic+"="+name)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic") {
		t.Fatalf("%s: no panic: %v\n%s", name, err, out)
	}
	return string(out)
}
