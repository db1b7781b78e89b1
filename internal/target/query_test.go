package target

import (
	"testing"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

func TestQueryIsStripped(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{"", ""},
		{"a=b", "a=b"},
		{"access_token=x", ""},
		{"oauth_token=x&a=b", "a=b"},
		{"a=b&access_token=x&c=d", "a=b&c=d"},
		{"a=b&access_token", "a=b"},
		{"access_token=x&access_token=y&a", "a"},
		{"bearer_token=x&Bearer%5Ftoken=y&a", "a"},
		{"ACCESS_TOKEN=x&a", "a"},
		{"%61ccess%5Ftoken=x&a", "a"},
		{"a&+access_token=x", "a"},
		{"access_token%20=x&a", "a"},
		{"$httpMethod=DELETE&a", "a"},
		{"%24httpmethod=DELETE&a", "a"},
		{"%2524httpMethod=DELETE&a", "a"},
		{"access%255Ftoken=x&a", "a"},
		{"$httpHeaders=Authorization:x&a", "a"},
		{"_method=DELETE&a", "a"},
		{"_METHOD=DELETE&a", "a"},
		{"X-HTTP-Method-Override=DELETE&x-http-method=PUT&X-Method-Override=PUT&a", "a"},
		{"access_token=bh_0000000000000000000000000000000000003kJqdi0&a", "a"},
		{"&&access_token=x&&a=&=b&", "&&&a=&=b&"},
		{"a=%2b+%2B&access_token=x&b=%7E~", "a=%2b+%2B&b=%7E~"},
		{"access_tokens=x", "access_tokens=x"},
		{"my_access_token=x", "my_access_token=x"},
		{"method=x&key=AIza", "method=x&key=AIza"},
		{"a=access_token=x", "a=access_token=x"},
		{"a=b?c=d?method=x", "a=b?c=d?method=x"},
		{"key=x&q=key=bh_", "key=x&q=key=bh_"},
		{"monkey=bh_x", "monkey=bh_x"},
		{"$expand=a($select=b;$top=5;$expand=c)", "$expand=a($select=b;$top=5;$expand=c)"},
		{"$search=\"é\"&x[]={}|^", "$search=\"é\"&x[]={}|^"},
	} {
		got, err := cleanQuery(c.raw)
		if err != nil || got != c.want {
			t.Errorf("%q: got %q, %v; want %q", c.raw, got, err, c.want)
		}
	}
}

func TestSemicolonsThatHideAParameterAreRefused(t *testing.T) {
	for _, raw := range []string{"a;access_token=x", "a=b;c;_method=PUT", "a;ACCESS_TOKEN", "a&b;$httpMethod=PUT;c", "a;%5fmethod=PUT", "a?_method=PUT", "a=b?c;x?$httpMethod=PUT"} {
		if got, err := cleanQuery(raw); problem.From(err).Code != problem.InvalidRequest {
			t.Errorf("%q: got %q, %v", raw, got, err)
		}
	}
}
