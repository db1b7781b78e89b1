package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/store/postgres/postgrestest"
)

func TestParseDSNNamesNoPartOfAPassword(t *testing.T) {
	t.Parallel()
	// Each part of the password is one that a malformed string may show.
	for _, text := range []string{
		"postgres://user:hunter2@hunter3@db.example/bellhop",
		"postgres://user:hunter2/hunter3@db.example/bellhop",
		"postgres://user:12/hunter3@db.example/bellhop",
		"postgres://user:hunter2?hunter3@db.example/bellhop",
		"postgres://user:hunter2#hunter3@db.example/bellhop",
		"postgres://user:hunter2%@db.example/bellhop",
		"postgres://user:hunter2%zz@db.example/bellhop",
		"postgres://user:hunter2@db.example:port/bellhop",
		"postgres://user:hunter2@[::1/bellhop",
		"postgres://user:hunter2@db.example/bellhop?sslmode=maybe",
		"postgres://user:hunter2@db.example/bellhop?sslrootcert=/nonexistent.pem&sslmode=verify-full",
		"postgres://user:hunter2@db.example/bellhop?pool_max_conns=many",
		"postgres://user:hunter2@db.example/bellhop?connect_timeout=soon",
		"postgres://user:hunter2@db.example/bellhop?target_session_attrs=any-that-works",
		"user=user password=hunter2 hunter3 host=db.example",
		"user=user password='hunter2 host=db.example",
		"host=db.example,db2.example port=1,2,3 password=hunter2",
		"mysql://user:hunter2@db.example/bellhop",
		"hunter2",
	} {
		_, err := ParseDSN(text)
		if err == nil {
			t.Errorf("%s was accepted", text)
			continue
		}
		for cause := err; cause != nil; cause = errors.Unwrap(cause) {
			if s := fmt.Sprintf("%+v %#v", cause, cause); strings.Contains(s, "hunter") || strings.Contains(s, "\n") {
				t.Errorf("the error of %s is %s", text, s)
			}
		}
	}
}

func TestParseDSNSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"postgres://u:a@b@db.example/x":                                         "percent-encode",
		"postgres://u:p@db.example/x?sslmode=maybe":                             "sslmode",
		"postgres://u:p@db.example/x?sslmode=verify-full&sslrootcert=/none.pem": "/none.pem",
		"postgres://u:p@db.example/x?pool_max_conns=0":                          "pool_max_conns",
		"postgres://u:p@db.example:port/x":                                      "port",
		"postgres://u:p@db.example/x?target_session_attrs=first":                "target_session_attrs",
		"nonsense": "postgres://<user>:<password>@<host>",
	} {
		if _, err := ParseDSN(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestDSNIdentifiesThePlace(t *testing.T) {
	t.Parallel()
	base := parsed(t, "postgres://user:secret@a.example:5432,b.example:5432/bellhop?sslmode=require")
	for text, want := range map[string]struct{ place, options bool }{
		"postgres://user:other@a.example:5432,b.example:5432/bellhop?sslmode=require":                  {true, true},
		"host=a.example,b.example user=user password=x dbname=bellhop sslmode=require":                 {true, true},
		"postgres://user:secret@b.example,a.example/bellhop?sslmode=require":                           {true, false},
		"postgres://someone:secret@a.example,b.example/bellhop?sslmode=require":                        {true, false},
		"postgres://user:secret@a.example,b.example/bellhop?sslmode=disable":                           {true, false},
		"postgres://user:secret@a.example,b.example/bellhop?sslmode=require&pool_max_conns=3":          {true, false},
		"postgres://user:secret@a.example,b.example/bellhop?sslmode=require&application_name=somebody": {true, false},
		"postgres://user:secret@a.example,b.example/other?sslmode=require":                             {false, false},
		"postgres://user:secret@a.example/bellhop?sslmode=require":                                     {false, false},
		"postgres://user:secret@a.example:6432,b.example:5432/bellhop?sslmode=require":                 {false, false},
	} {
		other := parsed(t, text)
		if got := other.ID() == base.ID(); got != want.place {
			t.Errorf("%s: same place %v, want %v", text, got, want.place)
		}
		if got := other.SameButPassword(base); got != want.options {
			t.Errorf("%s: same options %v, want %v", text, got, want.options)
		}
	}
	if s := base.String(); s != "postgres a.example:5432,b.example:5432/bellhop" {
		t.Errorf("it is called %s", s)
	}
	if s := base.ID() + base.options() + fmt.Sprint(base); strings.Contains(s, "secret") {
		t.Errorf("%s has the password", s)
	}
}

func TestDSNNamesHostsThatNeedNotProveWhoTheyAre(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"postgres://u@db.example/x":                                "[db.example:5432]",
		"postgres://u@db.example/x?sslmode=disable":                "[db.example:5432]",
		"postgres://u@db.example/x?sslmode=require":                "[db.example:5432]",
		"postgres://u@a.example,b.example/x?sslmode=prefer":        "[a.example:5432 b.example:5432]",
		"postgres://u@db.example/x?sslmode=verify-full":            "[]",
		"postgres://u@localhost,127.0.0.1,[::1]/x?sslmode=disable": "[]",
		"host=/run/postgresql user=u":                              "[]",
		"postgres://u@localhost,db.example/x?sslmode=disable":      "[db.example:5432]",
	} {
		if got := fmt.Sprint(parsed(t, text).Unverified()); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestDSNDefaults(t *testing.T) {
	t.Parallel()
	one := parsed(t, "postgres://u@a.example/x").pool
	if one.MaxConns != defaultMaxConns || one.ConnConfig.ConnectTimeout != connectTimeout || one.ConnConfig.RuntimeParams["application_name"] != "bellhop" || one.ConnConfig.ValidateConnect != nil {
		t.Errorf("%d connections, %v, %v", one.MaxConns, one.ConnConfig.ConnectTimeout, one.ConnConfig.RuntimeParams)
	}
	own := parsed(t, "postgres://u@a.example/x?pool_max_conns=4&application_name=mine&connect_timeout=7").pool
	if own.MaxConns != 4 || own.ConnConfig.ConnectTimeout.Seconds() != 7 || own.ConnConfig.RuntimeParams["application_name"] != "mine" {
		t.Errorf("%d connections, %v, %v", own.MaxConns, own.ConnConfig.ConnectTimeout, own.ConnConfig.RuntimeParams)
	}
}

// secretFree expects that neither an error nor what it wraps shows the password
// of the tests' clusters, in one line.
func secretFree(t *testing.T, err error) {
	t.Helper()
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		s := fmt.Sprintf("%+v %#v", cause, cause)
		for _, part := range strings.FieldsFunc(postgrestest.Password, func(r rune) bool { return strings.ContainsRune(" /@", r) }) {
			if strings.Contains(s, part) {
				t.Errorf("the error shows %q of the password: %s", part, s)
			}
		}
		if strings.Contains(s, "\n") {
			t.Errorf("the error has several lines: %s", s)
		}
	}
}

func TestOpenNamesThePlaceAndNoPassword(t *testing.T) {
	t.Parallel()
	good := database(t)
	for name, test := range map[string]struct{ dsn, says string }{
		"nobody listens":    {strings.Replace(good, shared.Addr(), "127.0.0.1:1", 1), "127.0.0.1:1"},
		"two of them":       {strings.Replace(good, shared.Addr(), "127.0.0.1:1,127.0.0.1:2", 1), "127.0.0.1:2"},
		"another password":  {strings.Replace(good, "correct", "incorrect", 1), "password authentication failed"},
		"no such database":  {shared.DSN("nothing"), "does not exist"},
		"TLS is not served": {good + "?sslmode=require", "TLS"},
		"no such name":      {strings.Replace(good, shared.Addr(), "db.invalid", 1), "db.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(t.Context(), parsed(t, test.dsn), Options{})
			unavailableSaying(t, err, "opening store", test.says)
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%v", err)
			}
		})
	}
}
