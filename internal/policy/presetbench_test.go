package policy

import (
	"testing"
)

// tenRules are as many as a key with rules usually has.
var tenRules = mustParse(
	"POST gmail.googleapis.com/gmail/v1/users/me/drafts",
	"PUT,DELETE gmail.googleapis.com/gmail/v1/users/me/drafts/*",
	"GET,HEAD www.googleapis.com/calendar/v3/**",
	"POST www.googleapis.com/calendar/v3/freeBusy",
	"GET,HEAD www.googleapis.com/drive/v3/**",
	"GET,HEAD graph.microsoft.com/v1.0/me/messages/**",
	"GET,HEAD graph.microsoft.com/v1.0/drives/*/items/**",
	"POST graph.microsoft.com/v1.0/me/messages",
	"GET,HEAD gmail.googleapis.com/gmail/v1/**",
	"!POST gmail.googleapis.com/**/send",
)

const (
	mailCall = "GET gmail.googleapis.com/gmail/v1/users/me/messages/18c2f0a1b2c3d4e5"
	fileCall = "GET graph.microsoft.com/v1.0/drives/b!x/items/01ABCDEF/children"
)

func TestJudgingByPresetsTakesNoMemory(t *testing.T) {
	for call, name := range map[string]string{
		mailCall: "gmail-draft-only",
		// Reading an ID with capitals takes memory once, whatever judges it.
		"GET graph.microsoft.com/v1.0/drives/b!x/items/01abcdef/children":        "graph-files-readonly",
		"POST gmail.googleapis.com/upload/gmail/v1/users/me/drafts":              "gmail-draft-only",
		"POST gmail.googleapis.com/gmail/v1/users/me/messages/18c2f0a1b2/modify": "gmail-no-delete",
	} {
		key := Key{Accounts: []string{"*"}, Presets: []string{"calendar-readonly", name}}
		facts := factsOf(call)
		if got := Judge(&key, facts); !got.Allowed {
			t.Fatalf("%s: %+v", call, got)
		}
		if n := testing.AllocsPerRun(100, func() { Judge(&key, facts) }); n > 0 {
			t.Errorf("%s: Judge allocates %v times", call, n)
		}
	}
}

func BenchmarkJudgeMail(b *testing.B) { benchmarkKeys(b, mailCall, "gmail-readonly") }

func BenchmarkJudgeFiles(b *testing.B) { benchmarkKeys(b, fileCall, "graph-files-readonly") }

// benchmarkKeys compares a key with a preset, of which Graph's have thousands of
// rows, to one with ten rules and to one that may call everything.
func benchmarkKeys(b *testing.B, call, preset string) {
	facts := factsOf(call)
	for _, c := range []struct {
		name string
		key  Key
	}{
		{"everything", Key{Accounts: []string{"*"}}},
		{"ten rules", Key{Accounts: []string{"*"}, Rules: tenRules}},
		{"preset", Key{Accounts: []string{"*"}, Presets: []string{preset}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !Judge(&c.key, facts).Allowed {
					b.Fatal("not allowed")
				}
			}
		})
	}
}
