package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestKeysAreBounded(t *testing.T) {
	long, err := ParseRule("GET gmail.googleapis.com/" + strings.Repeat("a", 1500))
	if err != nil {
		t.Fatal(err)
	}
	ampersands, err := ParseRule("GET gmail.googleapis.com/" + strings.Repeat("&", 1500))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		key  Key
		says string
	}{
		"accounts":  {Key{Accounts: slices.Repeat([]string{"a"}, maxAccounts+1)}, "account patterns"},
		"addresses": {Key{CIDRs: slices.Repeat([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, maxCIDRs+1)}, "address ranges"},
		"rules":     {Key{Rules: slices.Repeat([]Rule{long}, maxRules+1)}, "rules"},
		"all of it": {Key{Rules: slices.Repeat([]Rule{long}, maxLength/1500)}, "bytes together"},
		"scopes":    {Key{Scopes: slices.Repeat([]string{strings.Repeat("a", maxLength/32)}, 33)}, "bytes together"},
		"escapes":   {Key{Rules: slices.Repeat([]Rule{ampersands}, maxLength/6/1500+1)}, "bytes together"},
		"presets":   {Key{Presets: slices.Repeat([]string{"gmail-readonly"}, 2)}, "twice"},
	} {
		if err := test.key.CheckLimits(); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	fits := Key{
		Accounts: slices.Repeat([]string{"a"}, maxAccounts), Rules: slices.Repeat([]Rule{long}, 80),
		CIDRs: slices.Repeat([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, maxCIDRs),
	}
	if err := fits.CheckLimits(); err != nil {
		t.Errorf("a large key: %v", err)
	}
}

func TestDescriptionIsBounded(t *testing.T) {
	_, hash := NewKey()
	key := Key{Name: "k", Hash: hash, Description: strings.Repeat("d", maxDescription)}
	if err := key.Validate(); err != nil {
		t.Error(err)
	}
	key.Description += "d"
	if err := key.Validate(); err == nil || !strings.Contains(err.Error(), "description") {
		t.Errorf("a long description: %v", err)
	}
}
