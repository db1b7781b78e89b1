package caddymodule

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// requestSinks are those in which some secrets belong: in a request to an API its
// token, in one to an authorization server what the request is about.
var requestSinks = []string{forAPIs, forServers, forStorage}

func TestSecretsStandNowhereAndPlantedOnesAreFound(t *testing.T) {
	secrets := make([]canary, len(plants))
	configured := ""
	for i, p := range plants {
		secrets[i] = canary{p.name, "pl/<&+" + randomText()[:20]}
		if p.leak == nil {
			configured = secrets[i].value
		}
	}
	run := startCanaryRun(t, configured)
	run.live()
	run.wentNowhere()
	canaries := run.canaries()
	crash := slices.IndexFunc(plants, func(p planted) bool { return p.kind == "crash" })
	for i, p := range plants {
		if p.leak != nil && i != crash {
			p.leak(run, secrets[i].value)
		}
	}
	run.lookingLast()
	plants[crash].leak(run, secrets[crash].value)
	run.gather()

	t.Run("nowhere", func(t *testing.T) { run.standNowhere(t, canaries) })
	t.Run("planted", func(t *testing.T) {
		found, kinds := run.find(t, secrets), make(map[string]bool)
		for _, p := range plants {
			kinds[p.kind] = true
			want := append(slices.Clone(p.also), p.kind)
			slices.Sort(want)
			if diff := cmp.Diff(want, found[p.name]); diff != "" {
				t.Errorf("%s was planted in %s (-want +found):\n%s", p.name, p.kind, diff)
			}
		}
		t.Logf("%d leaks planted in %d kinds of sink; %d secrets in none", len(plants), len(kinds), len(canaries))
		if len(kinds) < 20 {
			t.Errorf("%d kinds of sink, want 20", len(kinds))
		}
	})
	t.Run("searched", run.wasSearched)
}

// standNowhere looks for the secrets of the run.
func (run *canaryRun) standNowhere(t *testing.T, canaries []canary) {
	ours := *run.sinks
	ours.text = maps.Clone(run.text)
	for _, sink := range requestSinks {
		delete(ours.text, sink)
	}
	for name, where := range ours.find(t, canaries) {
		t.Errorf("the %s stands in %v", name, where)
	}
	for sink, allowed := range map[string][]string{
		forAPIs:    {"access", "upload_id"},
		forServers: {"access", "refresh", "client", "code", "device", "assertion", "secret of an app", "token of EmailEngine"},
		forStorage: {"tempauth"},
	} {
		one := sinks{text: map[string][]byte{sink: run.text[sink]}}
		for name := range one.find(t, canaries) {
			if !slices.ContainsFunc(allowed, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
				t.Errorf("the %s stands in %s", name, sink)
			}
		}
	}
}

// wentNowhere sees that nothing was sent to hosts that nobody named, and that no
// name was asked for but that of the one API that no `upstream` line places here.
func (run *canaryRun) wentNowhere() {
	names, came := run.witness.saw()
	if diff := cmp.Diff([]string{"sheets.googleapis.com"}, names); diff != "" {
		run.t.Errorf("names that were looked up (-want +got):\n%s", diff)
	}
	if len(came) > 0 {
		run.t.Errorf("another host was reached: %s", came)
	}
}

// wasSearched sees that what was searched holds what is written there, and that
// there were secrets of every kind to search for.
func (run *canaryRun) wasSearched(t *testing.T) {
	file := func(name string) string { return string(must(os.ReadFile(filepath.Join(run.dir, name)))) }
	for sink, texts := range map[string][]string{
		inLog:     {`"upstream roundtrip"`, `"bellhop.audit"`, `"admin.api"`, `"http.log.error`, `"serving a call"`, `"route":"connect"`},
		inConsole: {"upstream roundtrip", "bellhop.audit", "http.log.error"},
		inAccess:  {"handled request", "gmail.googleapis.com"},
		inEvents:  {"account_connected", "account_failed", "token_refreshed", "provider_misconfigured"},
	} {
		for _, text := range texts {
			if !strings.Contains(file(sink), text) {
				t.Errorf("no %s in %s", text, sink)
			}
		}
	}
	for sink, texts := range map[string][]string{
		"/metrics": {"bellhop_token_requests_total"}, "/config/": {"CANARY_SECRET"}, "/adapt": {"CANARY_SECRET"},
		"/debug/vars": {"memstats"}, "/debug/pprof/goroutine": {"caddyhttp"}, "crash": {"goroutine "},
		"error answers":      {"OauthRenewError", "InvalidKey", "HostNotAllowed", "UpstreamError", "ProviderMisconfigured", "InvalidRequest"},
		"management answers": {masked, "refused"}, "activity": {`"connect"`, `"proxy"`},
		"commands":        {"is connected with acme", "alice@example.com", "restored", "account dead: Google"},
		"names looked up": {"sheets.googleapis.com"},
		forAPIs:           {"Authorization: Bearer ya29.canary", "POST /v1.0/$batch"}, forStorage: {"tempauth="},
		forServers: {"code_verifier=", "assertion=", "client_assertion=", "device_code="},
	} {
		for _, text := range texts {
			if !bytes.Contains(run.text[sink], []byte(text)) {
				t.Errorf("no %s in %s", text, sink)
			}
		}
	}
	for kind := range strings.FieldsSeq("access_token refresh_token id_token code code_verifier device_code client_secret client_assertion assertion tempauth upload_id accessToken") {
		if !slices.ContainsFunc(run.relay.canaries(), func(c canary) bool { return strings.HasPrefix(c.name, kind+" ") }) {
			t.Errorf("no %s was looked for", kind)
		}
	}
	for kind := range strings.FieldsSeq("link state code cookie confirm handle") {
		if !slices.ContainsFunc(run.secrets, func(c canary) bool { return strings.HasPrefix(c.name, kind+" ") }) {
			t.Errorf("no %s was looked for", kind)
		}
	}
}
