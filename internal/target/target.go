// Package target turns a caller's request into one canonical request. It is
// what policy judges, what the audit records and what is sent: whatever could
// be read in two ways is refused here, so that no two of them ever differ.
package target

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// Request is the canonical form of a proxied call: what is judged, and byte for
// byte what is sent.
type Request struct {
	// Method is one that the host may be called with, as the caller wrote it.
	Method string
	// Account is the account's ID, decoded.
	Account string
	// Host is the API's host in lower case, without a trailing dot, with a port
	// unless it is 443. The provider lists it.
	Host string
	// Path is the API's path, escaped as the caller escaped it. It begins with
	// "/".
	Path string
	// RawQuery is the query without its "?" and without the parameters that
	// are stripped; all else as the caller wrote it.
	RawQuery string
	// ForceQuery is set when the caller sent a "?" with nothing behind it.
	ForceQuery bool
	// Base is where this caller reaches Bellhop.
	Base Base

	// Implied is set when the path named no host, and the default one is called.
	Implied bool
}

// Base is the scheme, host and prefix that a caller used. URLs in answers lead
// back there.
type Base struct {
	// Scheme is "http" or "https".
	Scheme string
	// Host is the caller's Host header field or :authority.
	Host string
	// Prefix is what stands before the account, such as "/proxy"; empty in the
	// origin form.
	Prefix string
	// Account is the account's path segment as the caller escaped it; empty in
	// the origin form.
	Account string
}

// Hosts is what a provider says of the hosts that its tokens may be sent to.
// Hosts are given as [Request.Host] has them. Paths are fully decoded: they are
// for comparing and not for sending.
type Hosts interface {
	// DefaultHost is where calls go that name no host; empty for none.
	DefaultHost() string
	// AllowsHost says why a token must not be sent there; the error is the
	// caller's answer.
	AllowsHost(host, decodedPath string) error
	// DAV reports whether WebDAV methods make sense there.
	DAV(host, decodedPath string) bool
}

// Split is a request whose account is known, and whose host depends on what
// that account's provider lists.
type Split struct {
	// Account is the account's ID, decoded.
	Account string

	request Request
	// rest is the escaped path behind the account; it begins with "/".
	rest string
	// fixed is set when the host was not to be read from the path.
	fixed bool
}

// Parse reads the path form, <prefix>/<account>/<rest>. The prefix is compared
// exactly and without decoding. The scheme and host are those that the caller
// used. The error is a [problem.Problem].
func Parse(r *http.Request, scheme, host, prefix string) (Split, error) {
	raw, err := received(r)
	if err != nil {
		return Split{}, err
	}
	prefix = strings.TrimSuffix(prefix, "/")
	behind, under := strings.CutPrefix(raw.path, prefix)
	behind, slash := strings.CutPrefix(behind, "/")
	if !under || !slash || behind == "" {
		return Split{}, invalid("the path names no account: write " + prefix + "/<account>/<API host>/<path>")
	}
	segment, rest := behind, ""
	if i := strings.IndexByte(behind, '/'); i >= 0 {
		segment, rest = behind[:i], behind[i:]
	}
	id, err := url.PathUnescape(segment)
	if err != nil {
		return Split{}, invalid("the account in the path has a malformed escape: percent-encode it")
	}
	if err := account.CheckID(id); err != nil {
		return Split{}, invalid("the account in the path cannot be: " + err.Error()).Because(err)
	}
	if MentionsKey(id) {
		return Split{}, keyInPath() // the audit prints accounts
	}
	if err := checkPath(rest); err != nil {
		return Split{}, err
	}
	s, err := split(r, raw, id)
	s.rest = rest
	s.request.Base.Scheme, s.request.Base.Host = scheme, host
	s.request.Base.Prefix, s.request.Base.Account = prefix, segment
	return s, err
}

// ParseOrigin reads the origin form, in which the account and the API's host
// are configured and the whole path is the API's. The scheme and host are those
// that the caller used. The error is a [problem.Problem].
func ParseOrigin(r *http.Request, scheme, host, id, apiHost string) (Split, error) {
	raw, err := received(r)
	if err != nil {
		return Split{}, err
	}
	if err := account.CheckID(id); err != nil {
		return Split{}, invalid("the account of this site cannot be: " + err.Error()).Because(err)
	}
	if MentionsKey(id) {
		return Split{}, invalid("the account of this site is a Bellhop key for this request: send the key in the X-Bellhop-Key header field")
	}
	canonical, kind := parseHost(apiHost)
	if kind == notHost {
		return Split{}, invalid("the API host of this site is not a host name: write it as gmail.googleapis.com, with a port or without")
	}
	if err := checkPath(raw.path); err != nil {
		return Split{}, err
	}
	s, err := split(r, raw, id)
	s.rest, s.fixed = raw.path, true
	s.request.Base = Base{Scheme: scheme, Host: host}
	s.request.Host = canonical
	return s, err
}

// split fills in what both forms share.
func split(r *http.Request, raw rawTarget, id string) (Split, error) {
	query, err := cleanQuery(raw.query)
	if err != nil {
		return Split{}, err
	}
	return Split{
		Account: id,
		request: Request{
			Method:     r.Method,
			Account:    id,
			RawQuery:   query,
			ForceQuery: raw.query == "" && raw.question,
		},
	}, nil
}

// Below puts the proxy's prefix below another one, which a handler before this
// one has taken off the path: links lead back to where the caller came.
func (s Split) Below(prefix string) Split {
	s.request.Base.Prefix = prefix + s.request.Base.Prefix
	return s
}

// Resolve finds the host and the API's path. In the path form the first
// segment is the host if it has the form of one, and then it must be listed;
// otherwise the call goes to the default host. The error is a
// [problem.Problem], or what [Hosts.AllowsHost] returned.
func (s Split) Resolve(hosts Hosts) (Request, error) {
	q := s.request
	q.Path = s.rest
	if !s.fixed {
		var err error
		if q.Host, q.Path, err = cutHost(s.rest, hosts); err != nil {
			return Request{}, err
		}
	}
	if q.Host == "" {
		q.Host, q.Implied = hosts.DefaultHost(), true
	}
	if q.Host == "" {
		return Request{}, invalid("the provider of this account has no default host: write the API's host behind the account")
	}
	if q.Path == "" {
		q.Path = "/" // RFC 9110 section 4.2.3
	}
	if err := q.check(hosts); err != nil {
		return Request{}, err // its path may be a secret
	}
	return q, nil
}

// URL is where the request is sent. Its EscapedPath is the Path.
func (q *Request) URL() *url.URL {
	u := &url.URL{
		Scheme:     "https",
		Host:       q.Host,
		Path:       q.Path,
		RawQuery:   q.RawQuery,
		ForceQuery: q.ForceQuery,
	}
	if decoded, err := url.PathUnescape(q.Path); err == nil {
		u.Path, u.RawPath = decoded, q.Path
	}
	return u
}

// checkMethod refuses methods that no API of the host needs: RFC 9110's are
// allowed but for TRACE and CONNECT, PATCH, and on DAV hosts those of RFC 4918
// and RFC 4791 and the REPORT of RFC 3253.
func checkMethod(method, host, decodedPath string, hosts Hosts) error {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut,
		http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return nil
	case "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK",
		"MKCALENDAR", "REPORT":
		if hosts.DAV(host, decodedPath) {
			return nil
		}
		return problem.New(problem.MethodNotAllowed, "the method "+method+" is for WebDAV, which "+host+" does not speak here")
	}
	return problem.New(problem.MethodNotAllowed, "the method is not passed on: use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS, in capitals")
}

func keyInPath() *problem.Problem {
	return invalid("a Bellhop key does not belong into the path: send it in the X-Bellhop-Key header field")
}

func invalid(message string) *problem.Problem {
	return problem.New(problem.InvalidRequest, message)
}
