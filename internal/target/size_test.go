package target

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

func TestLongTargetsAreRefused(t *testing.T) {
	for name, at := range map[string]string{
		"path":  "/proxy/alice/" + strings.Repeat("a", MaxTarget),
		"query": "/proxy/alice/gmail.googleapis.com/x?q=" + strings.Repeat("a", MaxTarget),
	} {
		for form, parse := range map[string]func(*http.Request) error{
			"path form": func(r *http.Request) error {
				_, err := Parse(r, "http", "localhost", "/proxy")
				return err
			},
			"origin form": func(r *http.Request) error {
				_, err := ParseOrigin(r, "http", "localhost", "alice", "gmail.googleapis.com")
				return err
			},
		} {
			err := parse(httptest.NewRequest(http.MethodGet, at, http.NoBody))
			p, ok := errors.AsType[*problem.Problem](err)
			if !ok || p.Code != problem.TooLarge || p.Status != http.StatusRequestURITooLong {
				t.Errorf("%s, %s: %v", form, name, err)
			}
			if err := parse(httptest.NewRequest(http.MethodGet, at[:MaxTarget], http.NoBody)); err != nil && strings.Contains(err.Error(), "at most") {
				t.Errorf("%s, %s of %d bytes: %v", form, name, MaxTarget, err)
			}
		}
	}
}
