package provider

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnaskedScopes(t *testing.T) {
	const (
		email    = "https://www.googleapis.com/auth/userinfo.email"
		profile  = "https://www.googleapis.com/auth/userinfo.profile"
		readonly = "https://www.googleapis.com/auth/gmail.readonly"
		mail     = "https://mail.google.com/"
	)
	narrowing := map[string]Narrowing{
		"google":          mustNew(t, googleConfig("")).(Narrowing),
		"oauth2":          mustNew(t, oauth2Config("http://127.0.0.1")).(Narrowing),
		"service account": (*serviceAccount)(nil),
	}
	for _, tt := range []struct {
		name, provider           string
		requested, granted, want []string
	}{
		{"the same", "google", []string{readonly}, []string{readonly}, nil},
		{"fewer", "google", []string{readonly, mail}, []string{mail}, nil},
		{"not said", "google", []string{readonly}, nil, nil},
		{"more", "google", []string{readonly}, []string{mail, readonly}, []string{mail}},
		{"short names in full", "google", []string{"email", "profile"}, []string{email, profile}, nil},
		{"full names in short", "google", []string{email}, []string{"email"}, nil},
		{"openid beside the address", "google", []string{"email"}, []string{"openid", email}, nil},
		{"openid beside the profile", "google", []string{profile}, []string{"openid", profile}, nil},
		{"openid beside something else", "google", []string{readonly}, []string{"openid", readonly}, []string{"openid"}},
		{"the address unasked", "google", []string{"openid"}, []string{"openid", email}, []string{email}},
		{"as Google has it", "service account", []string{"email"}, []string{"openid", email, mail}, []string{mail}},
		{"elsewhere", "oauth2", []string{"a"}, []string{"a", "b"}, []string{"b"}},
		{"elsewhere names are names", "oauth2", []string{"email"}, []string{email, "openid"}, []string{email, "openid"}},
		{"the refresh token's own", "oauth2", []string{"a"}, []string{"a", "offline_access"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := narrowing[tt.provider].UnaskedScopes(tt.requested, tt.granted)
			if len(got) == 0 {
				got = nil
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("unasked (-want +got):\n%s", diff)
			}
		})
	}
}

// Their tokens have all that was consented to, or are made by somebody else.
func TestTypesThatDoNotNarrow(t *testing.T) {
	for _, p := range []any{(*microsoft)(nil), (*microsoftApp)(nil), (*emailEngine)(nil)} {
		if _, ok := p.(interface{ UnaskedScopes(_, _ []string) []string }); ok {
			t.Errorf("%T says that it narrows tokens", p)
		}
	}
}
