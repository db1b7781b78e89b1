package caddymodule

import (
	"strings"
	"testing"
)

func TestReadyCommandSaysWhyNot(t *testing.T) {
	p := startProvider(t)
	c := start(t, standardCaddyfile(p)).commands()
	if out := c.must("ready"); out != "ok\n" {
		t.Errorf("says %q", out)
	}
	if out := c.must("ready", "--json"); !strings.Contains(out, `"status": "ok"`) {
		t.Errorf("says %q", out)
	}

	full := strings.Replace(standardCaddyfile(p), "store badger {{dir}}/store\n", "store badger {{dir}}/store {\n\t\t\treserve 1000000GiB\n\t\t}\n", 1)
	_, err := start(t, full).commands().run("ready")
	if err == nil || err.Error() != "The token store is unavailable (503)" {
		t.Errorf("a full disk: %v", err)
	}
}
