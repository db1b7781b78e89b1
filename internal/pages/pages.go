// Package pages writes the pages that a person sees who connects an account:
// who asks for what, what came of it, and what went wrong.
//
// They are plain documents. They run no script, ask nobody for anything, and
// hold their style. What comes from a provider, a link or a person is only ever
// text in them.
package pages

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Page is one of the pages of this package.
type Page interface {
	// file is the name of the page's template.
	file() string
	// formAction is where its forms may lead, for the policy.
	formAction() string
}

// Write answers with a page.
func Write(w http.ResponseWriter, status int, p Page) {
	var html bytes.Buffer
	if err := templates[p.file()].Execute(&html, p); err != nil {
		// Nothing that was written in part may leave.
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	setHeader(h, p.formAction())
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(html.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(html.Bytes()) // nobody is left to tell
}

// SetHeader fills in the header of an answer that is no page, such as a
// redirect. The URLs of consent are secrets: nothing keeps them, nobody is told
// them, and no other site gets hold of the window.
func SetHeader(h http.Header) { setHeader(h, nowhere) }

func setHeader(h http.Header, formAction string) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src '"+styleHash+"'; img-src data:; form-action "+formAction+"; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// Where forms may lead.
const (
	nowhere = "'none'"
	here    = "'self'"
	// onward is for the form that begins an attempt. Chromium holds every
	// redirect behind it against this list: to the authorization server, from
	// there to wherever that has people sign in, back, and on to where the link
	// leads. Those hosts cannot be known, so the list says how they are
	// reached: over TLS, or on the person's own machine.
	onward = "'self' https: http://127.0.0.1:* http://localhost:*"
)

//go:embed page.css *.html
var files embed.FS

var templates, styleHash = parse()

// parse reads the templates, each put into the layout, and names their style as
// a policy does.
func parse() (parsed map[string]*template.Template, hash string) {
	read := func(name string) string {
		text, err := files.ReadFile(name)
		if err != nil {
			panic(err) // it is embedded
		}
		return string(text)
	}
	style := read("page.css")
	layout := template.Must(template.New("layout").Funcs(template.FuncMap{"when": when}).Parse(read("layout.html")))
	template.Must(layout.New("style").Parse(style))
	parsed = make(map[string]*template.Template)
	for _, p := range []Page{Invite{}, Done{}, Refused{}, Withdrawn{}} {
		parsed[p.file()] = template.Must(template.Must(layout.Clone()).Parse(read(p.file())))
	}
	digest := sha256.Sum256([]byte(style))
	return parsed, "sha256-" + base64.StdEncoding.EncodeToString(digest[:])
}

// when writes a time for people of whom nothing is known.
func when(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// Provider is who asks the person to consent.
type Provider struct {
	// Name is the operator's for it, Type the provider's type.
	Name, Type string
}

// The types that people know by another name than the operator's.
const (
	google    = "google"
	microsoft = "microsoft"
)

// String is what people call it.
func (p Provider) String() string {
	switch {
	case p.Type == google:
		return "Google"
	case p.Type == microsoft:
		return "Microsoft"
	case p.Name == "":
		return "the provider"
	}
	return p.Name
}

// Permissions returns the page that the provider has for people to end what
// they granted; empty if none is known.
func (p Provider) Permissions() string {
	switch p.Type {
	case google:
		return "https://myaccount.google.com/connections"
	case microsoft:
		return "https://myapps.microsoft.com/"
	}
	return ""
}

// Invite says which app asks for what, and leads to the provider.
type Invite struct {
	// App is who asks.
	App      string
	Provider Provider
	// Account and Name are the account's ID and what the operator calls it.
	Account, Name string
	// Expected is whose consent is accepted, or Domain where theirs has to be;
	// Suggested is only suggested.
	Expected, Domain, Suggested string
	// Scopes are what is asked for.
	Scopes []string
	// Confirm is set where the app has to confirm the consent afterwards.
	Confirm bool
	// Admin is set where an administrator is asked for the whole organisation.
	Admin bool
	// Action is where the form leads.
	Action string
	// Expires is when the link ends.
	Expires time.Time
}

func (Invite) file() string       { return "invite.html" }
func (Invite) formAction() string { return onward }

// Asks are the scopes as people read them.
func (p Invite) Asks() []Scope { return p.Provider.scopes(p.Scopes) }

// Done says who gave what.
type Done struct {
	// App is who has the access now.
	App      string
	Provider Provider
	// Account and Label are the account's ID and what the operator calls it.
	Account, Label string
	// Email and Name are the person's, as the provider writes them.
	Email, Name string
	// Granted and Missing are of what was asked for.
	Granted, Missing []string
	// New is set for an account that did not exist.
	New bool
	// Pending is set while the app has to confirm the consent.
	Pending bool
	// Admin is set when an administrator consented for the whole organisation:
	// then nothing was connected.
	Admin bool
	// Undo goes with the form at WithdrawPath; empty for no such form.
	Undo         string
	WithdrawPath string
	// Continue is where the person goes on; empty for nowhere.
	Continue string
	// Terminal is set where the person came from a command that waits.
	Terminal bool
}

func (Done) file() string { return "done.html" }

func (p Done) formAction() string {
	if p.Undo == "" {
		return nowhere
	}
	return here
}

// Has and Lacks are the scopes as people read them.
func (p Done) Has() []Scope { return p.Provider.scopes(p.Granted) }

// Lacks are those of the scopes that were not granted.
func (p Done) Lacks() []Scope { return p.Provider.scopes(p.Missing) }

// ContinueHost is the host of Continue.
func (p Done) ContinueHost() string {
	_, rest, _ := strings.Cut(p.Continue, "://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

// Refused says why nothing came of it, and what the person can do.
type Refused struct {
	App      string
	Provider Provider
	// Reason is that of the refusal.
	Reason string
	// Reads is what happened, Mend what the person can do.
	Reads, Mend string
	// Said is the provider's own name for its error; empty if it was not the
	// provider.
	Said string
	// Again is where the person tries again, AdminLink what an administrator
	// has to open; empty where neither helps.
	Again, AdminLink string
	// Terminal is set where the person came from a command that waits.
	Terminal bool
}

func (Refused) file() string       { return "refused.html" }
func (Refused) formAction() string { return nowhere }

// Title is the reason in a few words.
func (p Refused) Title() string {
	if title, ok := titles[p.Reason]; ok {
		return strings.ReplaceAll(title, "PROVIDER", p.Provider.String())
	}
	return "That did not work"
}

// Story is what happened, where the title does not say it already.
func (p Refused) Story() string {
	if strings.TrimSuffix(p.Reads, ".") == p.Title() {
		return ""
	}
	return p.Reads
}

// titles are the reasons in a few words.
var titles = map[string]string{
	"link_invalid":     "This link is not valid",
	"link_expired":     "This link has expired",
	"link_spent":       "This link has been used",
	"attempt_missing":  "There is nothing to finish here",
	"attempt_expired":  "That took too long",
	"declined":         "Nothing was connected",
	"admin_needed":     "An administrator has to approve this first",
	"other_mailbox":    "That is another account than expected",
	"mailbox_unproven": "The address is not proven to be yours",
	"provider_refused": "PROVIDER refused",
	"provider_failed":  "PROVIDER cannot be reached",
	"not_configured":   "This is not set up yet",
	"store_failed":     "This could not be saved",
	"account_taken":    "That account exists already",
	"undecided":        "Nobody has agreed yet",
	OtherOrigin:        "This has to begin on its own page",
}

// OtherOrigin is the reason of a form that another site sent.
const OtherOrigin = "other_origin"

// Withdrawn says that an account is switched off.
type Withdrawn struct {
	App      string
	Provider Provider
	Account  string
}

func (Withdrawn) file() string       { return "withdrawn.html" }
func (Withdrawn) formAction() string { return nowhere }
