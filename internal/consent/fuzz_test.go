package consent

import (
	"net/url"
	"testing"
)

// What comes from outside opens only if it was sealed here, and never breaks
// anything.
func FuzzSealed(f *testing.F) {
	w := newWorld(f)
	sealed, err := w.Invite(f.Context(), Link{Account: "a", Provider: "google"})
	if err != nil {
		f.Fatal(err)
	}
	l, err := w.Open(f.Context(), sealed)
	if err != nil {
		f.Fatal(err)
	}
	b, err := w.Begin(f.Context(), l, redirectURI)
	if err != nil {
		f.Fatal(err)
	}
	ours := map[string]bool{sealed: true, b.Attempt.Reveal(): true}
	for text := range ours {
		f.Add(text, "code=c&state="+b.State)
		f.Add(text[:len(text)/2], "error=e")
		f.Add(flip(text), "state=%00")
	}
	f.Add("", "")
	f.Add("AQ", "state=")
	f.Fuzz(func(t *testing.T, text, query string) {
		answer, _ := url.ParseQuery(query)
		if _, err := w.Open(t.Context(), text); err == nil && text != sealed {
			t.Errorf("%q is a link", text)
		}
		if _, err := w.Finish(t.Context(), text, answer); err == nil {
			t.Errorf("%q finishes with %q", text, query)
		}
		if _, err := w.PollDevice(t.Context(), text); err == nil {
			t.Errorf("%q is a device's attempt", text)
		}
		if _, err := w.Withdraw(t.Context(), text); err == nil {
			t.Errorf("%q withdraws", text)
		}
	})
}
