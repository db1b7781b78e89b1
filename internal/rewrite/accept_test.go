package rewrite

import (
	"net/http"
	"slices"
	"testing"
)

func TestAcceptKeepsWhatCanBeOpened(t *testing.T) {
	for _, c := range []struct{ asked, want []string }{
		{nil, nil},
		{[]string{"gzip"}, []string{"gzip"}},
		{[]string{"gzip, deflate, br, zstd"}, []string{"gzip, deflate, br, zstd"}},
		{[]string{"GZIP;q=0.5 , x-gzip", "identity; q=0"}, []string{"GZIP;q=0.5, x-gzip, identity; q=0"}},
		{[]string{"compress, gzip;q=1, dcb, *;q=0.1"}, []string{"gzip;q=1"}},
		{[]string{"dcz"}, []string{"identity"}},
		{[]string{"*"}, []string{"identity"}},
		{[]string{""}, []string{"identity"}},
	} {
		h := http.Header{}
		if c.asked != nil {
			h["Accept-Encoding"] = slices.Clone(c.asked)
		}
		Accept(h)
		if got := h["Accept-Encoding"]; !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.asked, got, c.want)
		}
	}
}
