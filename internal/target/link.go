package target

import (
	"net/url"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// Link is a URL that an API handed out, as this caller reaches it: through the
// proxy, with the scheme, host and prefix that the caller used. The path and
// the query stay as the API wrote them. It is not ok where the proxy does not
// lead there: a host that hosts does not allow, in the origin form every host
// but the site's own, user information, or another scheme than the host is
// spoken to with.
func (q *Request) Link(raw string, hosts Hosts, scheme func(host string) string) (link string, ok bool) {
	host, rest, ok := q.cut(raw, scheme)
	if !ok || q.Base.Account == "" && host != q.Host {
		return "", false
	}
	path, _, _ := strings.Cut(rest, "?")
	path, _, _ = strings.Cut(path, "#")
	// With dot segments it would lead out of what stands before it here.
	if checkPath(path) != nil || hosts.AllowsHost(host, DecodeFully(path)) != nil {
		return "", false
	}
	if q.Base.Account == "" {
		return q.Base.Root() + rest, true
	}
	link = q.Base.Root() + "/" + q.Base.Account
	if q.Implied && host == q.Host && !startsWithHost(path) {
		return link + rest, true
	}
	return link + "/" + host + rest, true
}

// Root is the scheme, host and prefix, without a slash at the end.
func (b Base) Root() string { return b.Scheme + "://" + b.Host + b.Prefix }

// cut splits an absolute URL of a host behind the authority. What is behind
// begins with "/".
func (q *Request) cut(raw string, scheme func(host string) string) (host, rest string, ok bool) {
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.Opaque != "" || u.Host == "" {
		return "", "", false
	}
	host, kind := parseHost(u.Host)
	if kind == notHost || scheme(host) != u.Scheme {
		return "", "", false
	}
	_, behind, found := strings.Cut(raw, "//")
	if !found {
		return "", "", false
	}
	i := strings.IndexAny(behind, "/?#")
	if i < 0 {
		return host, "/", true
	}
	if rest = behind[i:]; rest[0] != '/' {
		rest = "/" + rest
	}
	return host, rest, true
}

// startsWithHost reports whether a path would be read as one that names its
// host.
func startsWithHost(path string) bool {
	segment, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	_, kind := parseHost(segment)
	return kind != notHost || hidesHost(segment) || looksLikeHost(segment)
}

// Part is a call inside this one, a batch: the request that the API would make
// of it. Its URL is the API's path, with root in front where a batch leaves it
// out; or the same call as this caller would send it by itself, with our prefix
// or as an absolute URL; or an absolute URL of the API. It must stay with the
// account and host of the batch. The error is a [problem.Problem], or what
// [Hosts.AllowsHost] returned.
func (q *Request) Part(method, raw, root string, hosts Hosts, scheme func(host string) string) (Request, error) {
	rest, err := q.partTarget(raw, root, hosts, scheme)
	if err != nil {
		return Request{}, err
	}
	part := Request{Method: method, Account: q.Account, Host: q.Host, Base: q.Base, Implied: q.Implied}
	path, query, question := strings.Cut(rest, "?")
	if err := checkRaw(path); err != nil {
		return Request{}, err
	}
	if err := checkPath(path); err != nil {
		return Request{}, err
	}
	if u, err := url.ParseRequestURI(path); err != nil || u.EscapedPath() != path {
		return Request{}, invalid("the path of a part of the batch has characters that must be percent-encoded (RFC 3986 section 3.3)")
	}
	part.Path = path
	if part.RawQuery, err = cleanQuery(query); err != nil {
		return Request{}, err
	}
	part.ForceQuery = query == "" && question
	if err := part.check(hosts); err != nil {
		return Request{}, err
	}
	return part, nil
}

// partTarget gives a part's path and query in the API's terms.
func (q *Request) partTarget(raw, root string, hosts Hosts, scheme func(host string) string) (string, error) {
	if strings.Contains(raw, "#") {
		return "", invalid("the URL of a part of the batch has a fragment (#): leave it out")
	}
	if before, _, ok := strings.Cut(raw, "://"); ok && !strings.ContainsAny(before, "/?") {
		rest, ok := q.cutBase(raw)
		if ok {
			rest, ok = q.ownPath(rest, hosts)
		} else {
			var host string
			host, rest, ok = q.cut(raw, scheme)
			ok = ok && host == q.Host
		}
		if !ok {
			return "", invalid("the URL of a part of the batch leads to another host or account: send it by itself")
		}
		return rest, nil
	}
	if !strings.HasPrefix(raw, "/") {
		raw = "/" + raw
	}
	if q.Base.Account != "" && strings.HasPrefix(raw, q.Base.Prefix+"/") {
		if rest, ok := q.ownPath(raw, hosts); ok {
			return rest, nil
		}
	}
	if root != "" && len(raw) > len(root) && raw[len(root)] == '/' && strings.EqualFold(raw[:len(root)], root) {
		return raw, nil // some clients take off the host alone
	}
	return root + raw, nil
}

// cutBase takes the scheme and host that this caller used off an absolute URL.
func (q *Request) cutBase(raw string) (rest string, ok bool) {
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.Scheme != q.Base.Scheme || !sameAuthority(u.Scheme, u.Host, q.Base.Host) {
		return "", false
	}
	_, behind, _ := strings.Cut(raw, "//")
	i := strings.IndexAny(behind, "/?")
	if i < 0 {
		return "/", true
	}
	if rest = behind[i:]; rest[0] != '/' {
		rest = "/" + rest
	}
	return rest, true
}

// sameAuthority compares hosts with or without a port; the scheme's own needs no
// saying (RFC 3986 section 6.2.3).
func sameAuthority(scheme, a, b string) bool {
	port := map[string]string{"http": ":80", "https": ":443"}[scheme]
	return strings.EqualFold(strings.TrimSuffix(a, port), strings.TrimSuffix(b, port))
}

// ownPath takes our prefix, the account and the host off a path and query as
// this caller sends them.
func (q *Request) ownPath(target string, hosts Hosts) (rest string, ok bool) {
	if q.Base.Account == "" {
		return target, true
	}
	path, query, question := strings.Cut(target, "?")
	behind, ok := strings.CutPrefix(path, q.Base.Prefix+"/")
	if !ok {
		return "", false
	}
	segment, path := behind, ""
	if i := strings.IndexByte(behind, '/'); i >= 0 {
		segment, path = behind[:i], behind[i:]
	}
	if id, err := url.PathUnescape(segment); err != nil || id != q.Account {
		return "", false
	}
	host, path, err := cutHost(path, hosts)
	if host == "" && q.Implied {
		host = q.Host
	} else if host == "" {
		host = hosts.DefaultHost()
	}
	if err != nil || host != q.Host {
		return "", false
	}
	if path == "" {
		path = "/"
	}
	if question {
		path += "?" + query
	}
	return path, true
}

// check judges a canonical request whose host is known.
func (q *Request) check(hosts Hosts) error {
	decoded := DecodeFully(q.Path)
	if MentionsKey(q.Path) || MentionsKey(decoded) {
		return keyInPath()
	}
	if err := hosts.AllowsHost(q.Host, decoded); err != nil {
		return err
	}
	return checkMethod(q.Method, q.Host, decoded, hosts)
}

// HandlePath is where, below [Base.Root], URLs that carry their own authority
// are served under a seal.
const HandlePath = "/.bellhop/h/"

// ParseHandle reads a call of a handle, <prefix>/.bellhop/h/<sealed>. The error
// is a [problem.Problem].
func ParseHandle(path, prefix string) (sealed string, err error) {
	sealed, ok := strings.CutPrefix(path, strings.TrimSuffix(prefix, "/")+HandlePath)
	if !ok || sealed == "" || strings.ContainsFunc(sealed, func(c rune) bool {
		return c > 0x7f || !isAlphanumeric(byte(c)) && c != '-' && c != '_' //nolint:gosec // a byte, as looked at before it
	}) {
		return "", problem.New(problem.InvalidRequest, "this is not a handle: use the URL as it was handed out")
	}
	return sealed, nil
}
