package broker

import (
	"strings"
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/secret"
)

func TestRegistrationIsBounded(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	many := make([]string, maxScopes+1)
	for name, test := range map[string]struct {
		fits, not Registration
		names     string
	}{
		"name":          {Registration{Name: strings.Repeat("ä", maxName)}, Registration{Name: strings.Repeat("ä", maxName+1)}, "name: is longer"},
		"login":         {Registration{User: long(maxName)}, Registration{User: long(maxName + 1)}, "user: is longer"},
		"control":       {Registration{Name: "a b"}, Registration{Name: "a\nb"}, "name: contains"},
		"UTF-8":         {Registration{User: "ä"}, Registration{User: "\xff"}, "user: is not UTF-8"},
		"scopes":        {Registration{Scopes: many[1:]}, Registration{Scopes: many}, "scopes: are 257"},
		"scope":         {Registration{Scopes: []string{long(maxScope)}}, Registration{Scopes: []string{long(maxScope + 1)}}, "scopes: one has"},
		"refresh token": {Registration{RefreshToken: secret.New(long(maxToken))}, Registration{RefreshToken: secret.New(long(maxToken + 1))}, "refreshToken: has"},
		"access token":  {Registration{AccessToken: secret.New(long(maxToken))}, Registration{AccessToken: secret.New(long(maxToken + 1))}, "accessToken: has"},
	} {
		if err := test.fits.checkSizes(); err != nil {
			t.Errorf("%s that fits: %v", name, err)
		}
		if err := test.not.checkSizes(); err == nil || !strings.Contains(err.Error(), " "+test.names) {
			t.Errorf("%s that does not: %v", name, err)
		}
	}
}
