package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/emailengine"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// appBlock is a provider's block for a Caddyfile, and the environment variables
// that it reads. No secret is in it.
type appBlock struct {
	text        string
	environment map[string]string
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// freeName is a provider's name for the app that nobody has yet.
func (r *importReport) freeName(app emailengine.App, taken []string) string {
	wanted := slug(app.Name, 40)
	if wanted == "" {
		wanted = "emailengine"
	}
	for _, other := range r.Apps {
		if written, _, ok := strings.Cut(strings.TrimPrefix(other.Caddyfile, "provider "), " "); ok {
			taken = append(taken, written)
		}
	}
	name := wanted
	for n := 2; slices.Contains(taken, name); n++ {
		name = fmt.Sprintf("%s-%d", wanted, n)
	}
	return name
}

// cloudOf is our name for what EmailEngine calls a cloud of Microsoft's; empty for
// the default one.
func cloudOf(emailEngines string) string {
	for ours, theirs := range emailEngineClouds {
		if theirs == emailEngines {
			return ours
		}
	}
	return ""
}

// mailRu are the endpoints that EmailEngine uses for mail.ru.
const (
	mailRuAuthorize = "https://oauth.mail.ru/login"
	mailRuToken     = "https://oauth.mail.ru/token" //nolint:gosec // an address, not a token
)

// providerBlock writes the block that configures an app.
func providerBlock(app emailengine.App, name string) (*appBlock, error) {
	kind, ok := importedTypes[app.Type]
	if !ok {
		return nil, fmt.Errorf("its kind %q is not known", app.Type)
	}
	b := &appBlock{environment: make(map[string]string)}
	var err error
	line := func(words ...string) {
		for _, word := range words[1:] {
			if unwritable(word) && err == nil {
				err = fmt.Errorf("its %s cannot be written into a Caddyfile", words[0])
			}
		}
		b.text += "\t" + strings.Join(words, " ") + "\n"
	}
	// fromEnvironment is a value that is read from there and not written here.
	fromEnvironment := func(subdirective, suffix, holds string) {
		// A shell knows no variable that begins with a digit.
		variable := strings.TrimLeft(strings.ToUpper(strings.ReplaceAll(name, "-", "_")), "0123456789_") + "_" + suffix
		variable = strings.TrimLeft(variable, "_")
		b.environment[variable] = holds
		b.text += "\t" + subdirective + " {env." + variable + "}\n"
	}
	b.text = "provider " + name + " " + kind + " {\n"
	switch kind {
	case provider.TypeGoogleServiceAccount:
		fromEnvironment("credentials_file", "CREDENTIALS_FILE", "the path of the service account's credentials file (JSON), from Google's console: "+joinReasons(app.ServiceEmail, app.ServiceClient))
		line(append([]string{"scopes"}, app.Scopes()...)...)
	case provider.TypeMicrosoft, provider.TypeMicrosoftApp:
		line("tenant", tenant(app))
		if cloud := cloudOf(app.Cloud); cloud != "" {
			line("cloud", cloud)
		}
		fallthrough
	default:
		if kind == provider.TypeOAuth2 {
			line("authorization_endpoint", mailRuAuthorize)
			line("token_endpoint", mailRuToken)
		}
		line("client_id", app.ClientID)
		fromEnvironment("client_secret", "CLIENT_SECRET", "the client secret of "+printable(app.ClientID))
		if kind != provider.TypeMicrosoftApp {
			line(append([]string{"scopes"}, app.Scopes()...)...)
		}
		if app.Workspace && kind == provider.TypeGoogle {
			line("authorize_param", "hd", "*")
		}
	}
	b.text += "}\n"
	return b, err
}

// tenant is the app's; EmailEngine takes accounts of any where it names none.
func tenant(app emailengine.App) string {
	if app.Authority == "" {
		return "common"
	}
	return app.Authority
}

// unwritable reports whether a word from elsewhere would be more than a word in
// a Caddyfile: EmailEngine lets them be any text.
func unwritable(word string) bool {
	return word == "" || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"`{}#\\", r) })
}
