package published

import (
	"strings"
	"testing"
)

func TestSourceNamesRevisionAndModule(t *testing.T) {
	for api, want := range map[string][]string{
		"gmail/v1":   {"gmail/v1, revision 20", "in google.golang.org/api v0.", "h1:"},
		"graph/v1.0": {"graph/v1.0, revision v1.0", "in github.com/microsoftgraph/msgraph-sdk-go v1.", "h1:"},
	} {
		got, err := Source(api)
		if err != nil {
			t.Error(err)
		}
		for _, part := range want {
			if !strings.Contains(got, part) || strings.ContainsAny(got, "#\n") {
				t.Errorf("%s is from %q, without %q", api, got, part)
			}
		}
	}
	if got, err := Source("gmail/v9"); err == nil {
		t.Errorf("gmail/v9 is from %q", got)
	}
}
