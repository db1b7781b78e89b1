package caddymodule

import "testing"

func TestPeopleAreSentOnlyWhereTheConfigurationSays(t *testing.T) {
	app := &App{}
	app.run.used = new(used)
	c := new(connect)
	for _, line := range []string{
		"https://app.example.com/done", "https://app.example.com/in/*", "https://App.example.com:443/up*",
		"https://root.example.com", "http://127.0.0.1:8080/*", "http://localhost:80/x",
	} {
		p, err := parseReturnPattern(line)
		if err != nil {
			t.Fatal(err)
		}
		c.returns = append(c.returns, p)
	}
	app.addConnect(c)
	for url, want := range map[string]bool{
		"https://app.example.com/done":                true,
		"https://APP.example.com:443/done":            true,
		"https://app.example.com/done?session=1":      true,
		"https://app.example.com/in/":                 true,
		"https://app.example.com/in/a/b?c=d":          true,
		"https://app.example.com/up":                  true,
		"https://app.example.com/upper":               true,
		"https://root.example.com":                    true,
		"https://root.example.com/":                   true,
		"https://root.example.com?x":                  true,
		"http://127.0.0.1:8080/":                      true,
		"http://localhost/x":                          true,
		"":                                            false,
		"/done":                                       false,
		"//app.example.com/done":                      false,
		"https:app.example.com/done":                  false,
		"javascript:alert(1)":                         false,
		"http://app.example.com/done":                 false,
		"https://app.example.com/done/":               false,
		"https://app.example.com/Done":                false,
		"https://app.example.com/done2":               false,
		"https://app.example.com/in":                  false,
		"https://app.example.com/":                    false,
		"https://app.example.com:8443/done":           false,
		"https://app.example.com.:443/done":           false,
		"https://evil.example/done":                   false,
		"https://app.example.com.evil.example/in/x":   false,
		"https://app.example.com@evil.example/done":   false,
		"https://evil.example\\@app.example.com/done": false,
		"https://evil.example#@app.example.com/done":  false,
		"https://app.example.com/done#fragment":       false,
		"https://a:b@app.example.com/done":            false,
		"https://app.example.com/in/../done2":         false,
		"https://app.example.com/in/%2e%2e/other":     false,
		"https://app.example.com/in/.%2E/other":       false,
		"https://app.example.com/in/..\\other":        false,
		"https://app.example.com/in//x":               false,
		"https://app.example.com\t/done":              false,
		"https://app.example.com/done\n":              false,
		" https://app.example.com/done":               false,
		"https://app.example.com/in/ü":                false,
		"http://127.0.0.1:8081/":                      false,
		"http://127.0.0.1.evil.example:8080/":         false,
		"https://root.example.com/other":              false,
	} {
		if err := app.checkReturnTo(url); (err == nil) != want {
			t.Errorf("%q: %v", url, err)
		}
	}
}
