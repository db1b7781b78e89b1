package caddymodule

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/target"
)

// maxManagementBody bounds what the management API reads.
const maxManagementBody = 1 << 20

// operation is one operation of the management API, called when its caller has
// been admitted. What it returns is the answer.
type operation func(s *service, r *http.Request) (any, error)

// operations are the management API, by path and method. The same serves a
// site with `api` and, below /bellhop, Caddy's admin endpoint.
func (a *App) operations() map[string]map[string]operation {
	return map[string]map[string]operation{
		"/v1/account":                     {http.MethodPost: a.createAccount},
		"/v1/accounts":                    {http.MethodGet: a.listAccounts},
		"/v1/account/{account}":           {http.MethodGet: a.showAccount, http.MethodPut: a.updateAccount, http.MethodDelete: a.deleteAccount},
		"/v1/account/{account}/reconnect": {http.MethodPut: a.reconnectAccount},
		formPath:                          {http.MethodPost: a.authenticationForm},
		"/v1/oauth2":                      {http.MethodGet: a.listApps},
		"/v1/oauth2/{app}":                {http.MethodGet: a.showApp},
		"/v1/account/{account}/refresh":   {http.MethodPost: a.refreshAccount},
		"/v1/account/{account}/disable":   {http.MethodPost: a.disableAccount},
		"/v1/account/{account}/enable":    {http.MethodPost: a.enableAccount},
		"/v1/activity":                    {http.MethodGet: a.listActivity},
		"/v1/import":                      {http.MethodPost: a.importRecords},
		"/v1/account/{account}/confirm":   {http.MethodPut: a.confirmAccount},
		"/v1/account/{account}/adopt":     {http.MethodPost: a.adoptAccount},
		"/v1/connect":                     {http.MethodPost: a.beginConnect},
		"/v1/connect/finish":              {http.MethodPost: a.finishConnect},
		"/v1/connect/device":              {http.MethodPost: a.beginDevice},
		"/v1/connect/poll":                {http.MethodPost: a.pollDevice},
		"/v1/token":                       {http.MethodPost: a.createKey},
		"/v1/tokens":                      {http.MethodGet: a.listKeys, http.MethodPost: a.createKey},
		"/v1/tokens/{id}":                 {http.MethodGet: a.showKey, http.MethodDelete: a.deleteKey},
		"/v1/token/{id}":                  {http.MethodGet: a.showKey, http.MethodDelete: a.deleteKey},
		"/v1/backup":                      {http.MethodGet: a.backup},
		"/v1/restore":                     {http.MethodPost: a.restore},
		"/v1/keyset/rotate":               {http.MethodPost: a.rotateKeyset},
		"/v1/doctor":                      {http.MethodGet: a.doctor},
	}
}

// managementMux routes the management API. Go's own mux decodes an account in
// the path, slashes and all.
func (a *App) managementMux() http.Handler {
	mux := http.NewServeMux()
	for pattern, methods := range a.operations() {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { a.operate(w, r, methods) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.refuse(w, r, callOf(r.Context()), &problem.Problem{Code: "NotFound", Status: http.StatusNotFound, Message: "Not Found"}, dialectEmailEngine)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would redirect, and a client go on to delete another account
		// than the one that it was told to.
		if escaped := r.URL.EscapedPath(); path.Clean(escaped) != strings.TrimSuffix(escaped, "/") {
			a.refuse(w, r, callOf(r.Context()), problem.New(problem.InvalidRequest, "the path has empty or dot segments: percent-encode the account in it"), dialectEmailEngine)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// serveManagement serves the management API of a site.
func (a *App) serveManagement(w http.ResponseWriter, r *http.Request, auth authenticator) {
	c := &call{route: "api"}
	w, done := a.record(w, r, c)
	defer done()
	if err := a.admitManagement(r, c, auth); err != nil {
		a.refuse(w, r, c, inEmailEngineWords(err), dialectEmailEngine)
		return
	}
	a.run.management.ServeHTTP(w, r.WithContext(withCall(r.Context(), c)))
}

// admitManagement decides whether the caller may use the management API: who
// manages accounts and keys may, and who makes links for people may do that and
// confirm what comes of them.
func (a *App) admitManagement(r *http.Request, c *call, auth authenticator) error {
	path := r.URL.EscapedPath()
	confirmed, confirms := confirmedAccount(path)
	if path != formPath && !confirms {
		return a.admitAdmin(r, c, auth)
	}
	key, err := auth.authenticate(r, c)
	if err != nil {
		return err
	}
	decision := policy.Judge(key, &policy.Facts{Account: confirmed, Needs: policy.Connect, Client: clientAddr(r), Now: clock.Now()})
	if decision.Reason == policy.ReasonAccount && !confirms {
		return nil // which account it is about, the body says
	}
	return errorOf(decision.Problem())
}

// confirmedAccount is the account of the path at which a consent is confirmed.
func confirmedAccount(path string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSuffix(path, "/"), "/v1/account/")
	escaped, action, _ := strings.Cut(rest, "/")
	id, err := url.PathUnescape(escaped)
	return id, ok && err == nil && action == "confirm"
}

// errorOf keeps a problem that is none from becoming an error that is not nil.
func errorOf(p *problem.Problem) error {
	if p == nil {
		return nil
	}
	return p
}

// admitAdmin decides whether the caller may manage accounts and keys.
func (a *App) admitAdmin(r *http.Request, c *call, auth authenticator) error {
	key, err := auth.authenticate(r, c)
	if err != nil {
		return err
	}
	decision := policy.Judge(key, &policy.Facts{Needs: policy.Admin, Client: clientAddr(r), Now: clock.Now()})
	if !decision.Allowed {
		return decision.Problem()
	}
	return nil
}

// operate runs one operation.
func (a *App) operate(w http.ResponseWriter, r *http.Request, methods map[string]operation) {
	c := callOf(r.Context())
	id := r.PathValue("account")
	if target.MentionsKey(id) {
		a.refuse(w, r, c, problem.New(problem.InvalidRequest, "account: "+errKeyForAccount.Error()), dialectEmailEngine)
		return
	}
	c.account = id
	run, ok := methods[r.Method]
	if !ok {
		allowed := make([]string, 0, len(methods))
		for method := range methods {
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		a.refuse(w, r, c, problem.New(problem.MethodNotAllowed, "Method Not Allowed"), dialectEmailEngine)
		return
	}
	s, err := a.run.open()
	if err != nil {
		a.refuse(w, r, c, err, dialectEmailEngine)
		return
	}
	answer, err := run(s, r)
	if stream, ok := answer.(streamed); ok && err == nil {
		answer, err = stream(w)
		if answer == nil && err == nil {
			return
		}
	}
	if err != nil {
		a.refuse(w, r, c, err, dialectEmailEngine)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// readBody decodes a JSON body. What the operation does not know is refused by
// name: a limit that is misspelt must not be left out silently.
func readBody(r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		// A page of another origin can send anything else without being asked.
		return problem.New(problem.InvalidRequest, "Content-Type: must be application/json")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxManagementBody+1))
	if err != nil {
		return problem.New(problem.InvalidRequest, "reading the body").Because(err)
	}
	if len(body) > maxManagementBody {
		return problem.New(problem.TooLarge, fmt.Sprintf("the body is larger than %d bytes", maxManagementBody))
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err = dec.Decode(into)
	if err == nil && dec.More() {
		err = errors.New("more than one JSON value")
	}
	if err == nil {
		if name := repeatedMember(json.NewDecoder(bytes.NewReader(body))); name != "" {
			return problem.New(problem.InvalidRequest, name+": is there twice: leave one out")
		}
		return nil
	}
	if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return problem.New(problem.InvalidRequest, fmt.Sprintf("%s: must be %s and not %s", cmp.Or(mistyped.Field, "the body"), jsonKind(mistyped.Type), kinds[strings.Fields(mistyped.Value)[0]]))
	}
	if _, ok := errors.AsType[*time.ParseError](err); ok {
		return problem.New(problem.InvalidRequest, "a time in the body is not written as 2006-01-02T15:04:05Z")
	}
	// Neither the decoder's other errors nor those above quote a value.
	return problem.New(problem.InvalidRequest, "the body is not what is expected: "+strings.TrimPrefix(err.Error(), "json: "))
}

// repeatedMember finds a member that an object of the next value has twice, as the
// decoder compares names: of two limits the last would count, and whoever reads
// the body first may go by the other. The JSON must be well formed.
func repeatedMember(d *json.Decoder) string {
	token, _ := d.Token()
	delim, _ := token.(json.Delim)
	if delim != '{' && delim != '[' {
		return ""
	}
	var seen []string
	for d.More() {
		if delim == '{' {
			token, _ = d.Token()
			name, _ := token.(string)
			if slices.ContainsFunc(seen, func(s string) bool { return strings.EqualFold(s, name) }) {
				return name
			}
			seen = append(seen, name)
		}
		if name := repeatedMember(d); name != "" {
			return name
		}
	}
	_, _ = d.Token() // the bracket
	return ""
}

// kinds are encoding/json's words for JSON's values, with their articles.
var kinds = map[string]string{
	"array": "an array", "bool": "a boolean", "number": "a number", "object": "an object", "string": "a string",
}

// jsonKind says what JSON of a Go type is.
func jsonKind(t reflect.Type) string {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return kinds["string"]
	}
	switch t.Kind() {
	case reflect.Bool:
		return kinds["bool"]
	case reflect.String:
		return kinds["string"]
	case reflect.Slice, reflect.Array:
		return kinds["array"]
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return kinds["object"]
	}
	return kinds["number"]
}
