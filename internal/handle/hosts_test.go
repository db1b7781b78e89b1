package handle

import "testing"

func TestLists(t *testing.T) {
	patterns := []string{"*.sharepoint.com", "reports.office.com", "Files.Example", "*.example.net:8443", "127.0.0.1:9000", "[::1]:9000", "*.0.0.1", "192.0.2.1", "plain.example:443", "*.wide.example:443"}
	tests := map[string]struct {
		host string
		want bool
	}{
		"a name below":                       {"contoso.sharepoint.com", true},
		"a name further below":               {"a.b.sharepoint.com", true},
		"any case":                           {"Contoso.SharePoint.COM", true},
		"port 443":                           {"contoso.sharepoint.com:443", true},
		"the domain itself":                  {"sharepoint.com", false},
		"an empty label below":               {".sharepoint.com", false},
		"a name that only ends so":           {"evilsharepoint.com", false},
		"a name that goes on":                {"contoso.sharepoint.com.evil.example", false},
		"a dot at the end":                   {"contoso.sharepoint.com.", false},
		"another port":                       {"contoso.sharepoint.com:8443", false},
		"an empty port":                      {"contoso.sharepoint.com:", false},
		"a user":                             {"user@contoso.sharepoint.com", false},
		"a slash":                            {"evil.example/.sharepoint.com", false},
		"an escape":                          {"evil.example%2f.sharepoint.com", false},
		"a star":                             {"*.sharepoint.com", false},
		"an empty label":                     {"a..sharepoint.com", false},
		"a name beyond ASCII":                {"ä.sharepoint.com", false},
		"a full name":                        {"reports.office.com", true},
		"below a full name":                  {"x.reports.office.com", false},
		"a pattern in capitals":              {"files.example", true},
		"a full name with port 443":          {"plain.example", true},
		"a wildcard with port 443":           {"a.wide.example", true},
		"the port of the pattern":            {"a.example.net:8443", true},
		"no port where the pattern has one":  {"a.example.net", false},
		"an address with its port":           {"127.0.0.1:9000", true},
		"an address with another port":       {"127.0.0.1:9001", false},
		"an address without the port":        {"127.0.0.1", false},
		"an IPv6 address with its port":      {"[::1]:9000", true},
		"an address below a wildcard":        {"127.0.0.1:443", false},
		"an address by its name":             {"192.0.2.1", true},
		"nothing":                            {"", false},
		"what is only the beginning of IPv6": {"[", false},
		"brackets around what is no address": {"[contoso.sharepoint.com]", false},
		"an IPv6 address with a zone":        {"[fe80::1%25.sharepoint.com]", false},
		"a backslash":                        {`evil.example\.sharepoint.com`, false},
		"a line break":                       {"evil.example\n.sharepoint.com", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Lists(patterns, test.host); got != test.want {
				t.Errorf("Lists(%q) = %t, want %t", test.host, got, test.want)
			}
		})
	}
}

func TestListsNothingWithoutPatterns(t *testing.T) {
	for _, patterns := range [][]string{nil, {""}, {"*"}, {"*."}} {
		for _, host := range []string{"contoso.sharepoint.com", "com", ""} {
			if Lists(patterns, host) {
				t.Errorf("patterns %q list %q", patterns, host)
			}
		}
	}
}

// TestMicrosoftListsWhatGraphHandsOut has hosts as they stand in answers of
// Graph and Outlook.
func TestMicrosoftListsWhatGraphHandsOut(t *testing.T) {
	for _, host := range []string{
		"contoso-my.sharepoint.com",
		"contoso.sharepoint.us",
		"westeurope1-mediap.svc.ms",
		"sn3302.up.1drv.com",
		"public.sn.files.1drv.com",
		"api.onedrive.com",
		"xyz123.dm2302.livefilestore.com",
		"my.microsoftpersonalcontent.com",
		"reports.office.com",
		"reportsncu.office.com",
		"reportsweu.office.com",
		"contoso-my.sharepoint-mil.us",
		"contoso.sharepoint.cn",
	} {
		if !Lists(Microsoft, host) {
			t.Errorf("%s is not listed", host)
		}
	}
	for _, host := range []string{
		"sharepoint.com", "graph.microsoft.com", "login.microsoftonline.com", "outlook.office.com",
		"office.com", "evil.office.com", "evil.example", "169.254.169.254", "localhost",
	} {
		if Lists(Microsoft, host) {
			t.Errorf("%s is listed", host)
		}
	}
}
