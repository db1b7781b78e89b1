// Package operation tells what the path of an API call means, whatever way it
// is written. Google and Microsoft read many paths as one: other hosts,
// prefixes for uploads, escapes, letters in another case, the several forms of
// OData. A rule about calls must not depend on which of them a caller takes, so
// rules and calls are brought into the same form here. What has no such form is
// an error: a caller can always write the path plainly.
package operation

import (
	"errors"
	"strings"
)

// Family is a group of APIs whose paths are read alike.
type Family uint8

// The families.
const (
	// Other is every API of which nothing is known: segments are decoded once,
	// and that is all.
	Other Family = iota
	// Google is what answers below googleapis.com.
	Google
	// Microsoft is Microsoft Graph in all its clouds, and Outlook.
	Microsoft
	// Families is how many there are.
	Families = iota
)

// FamilyOf is the family of a host in the canonical form of target.Request.
func FamilyOf(host string) Family {
	switch {
	case strings.HasSuffix(host, googleDomain), host == "googleapis.com", strings.HasSuffix(host, ".clients6.google.com"):
		return Google
	case isMicrosoft(host):
		return Microsoft
	}
	return Other
}

// Kind says what a segment is, where that matters to what a wildcard of a rule
// stands for.
type Kind uint8

// The kinds.
const (
	// Plain is the name of a resource or an operation, or an ID.
	Plain Kind = iota
	// Verb is a last segment with a custom method of Google's behind a colon,
	// such as "people:createContact".
	Verb
	// Option is what OData appends to the path of a resource, such as "$value".
	Option
	// Name is the path of a file or a site as people named them, which Microsoft
	// takes between colons: one segment, whatever it holds.
	Name
)

// Skip says whether an API may read the path as if the segment were not there.
type Skip uint8

// The readings.
const (
	// Never: it is always part of the path.
	Never Skip = iota
	// Synonym: with or without, the path means the same.
	Synonym
	// Seldom: it hardly changes what is meant, such as "$value".
	Seldom
	// Ambiguous: only the API's schema could tell. The path may mean either.
	Ambiguous
)

// Segment is one segment of a path.
type Segment struct {
	// Text is decoded. It may hold a "/": in a [Name], and in an ID that is a URL.
	Text string
	// Folded is Text for comparing without regard to case.
	Folded string
	Kind   Kind
	Skip   Skip
	// Quoted is set of what stood in parentheses: an ID or an argument, and no
	// name.
	Quoted bool
}

// Path is the path of a call in its normal form.
type Path struct {
	Family Family
	// Service names Google's service where the path does; it is then the same
	// at each of the service's hosts.
	Service string
	// Host is the host without what makes no difference.
	Host string
	// Segments are the path's.
	Segments []Segment
}

// Mode says what a path is read for.
type Mode uint8

// The modes.
const (
	// Call is a call that goes to an API as it is.
	Call Mode = iota
	// Envelope is a batch whose parts are read one by one.
	Envelope
	// Pattern is the path of a rule, with wildcards.
	Pattern
)

// Source is what a [Path] is read from.
type Source struct {
	Mode Mode
	// Method is that of a call; it tells operations from other names. Empty in
	// a pattern.
	Method string
	Host   string
	// Family is that of the host; a pattern that is for every host is read once
	// for each.
	Family Family
	// Path is escaped, and begins with "/".
	Path string
	// RawQuery is that of a call.
	RawQuery string
}

// The reasons why a path has no normal form. They complete "the path …".
var (
	errLong        = errors.New("is longer than 8 KiB")
	errEscape      = errors.New("has a malformed escape")
	errSlash       = errors.New("has an encoded slash or backslash in a segment")
	errEncoded     = errors.New("has a segment that is percent-encoded twice")
	errCharacter   = errors.New("has a character in a segment that may pass for the end of it: a question mark, a #, a semicolon, an invisible or a compatibility character")
	errSpace       = errors.New("has a segment that begins or ends with a space")
	errDots        = errors.New("has a dot segment")
	errDotAtEnd    = errors.New("has a segment that ends with a dot")
	errEmpty       = errors.New("has an empty segment")
	errBatch       = errors.New("is a batch of a kind that is not read part by part")
	errRPC         = errors.New("is that of a remote procedure call: rules are for the paths of resources")
	errFront       = errors.New("names no service, and this host has many")
	errVersion     = errors.New("does not begin with /v1.0 or /beta, and a name of Microsoft Graph's behind it")
	errColon       = errors.New("has a colon where no path of a file begins or ends")
	errParentheses = errors.New("has parentheses or quotes that are no key and no arguments of OData's")
	errAlias       = errors.New("has a parameter alias (@), whose value stands elsewhere")
	errSystem      = errors.New("has a system resource of OData's that may stand for any other")
	errReference   = errors.New("names what it is about in the parameter $id")
	errSession     = errors.New("goes on with an upload that the parameter upload_id names, and not the path: use the URL that beginning it was answered with, as it was handed out")
)

// maxPath is how long a path may be, in bytes: what it is compared with may be
// long too.
const maxPath = 8 << 10

// Read brings a path into its normal form. The segments are appended to buf,
// which saves memory where it is large enough. The error says why there is
// none; it completes "the path …".
func Read(buf []Segment, source *Source) (Path, error) {
	path := Path{Family: source.Family, Host: source.Host}
	if len(source.Path) > maxPath {
		return path, errLong
	}
	var err error
	switch source.Family {
	case Google:
		path.Host = googleHost(source.Host)
		if path.Segments, err = readGoogle(buf, source); err == nil {
			path.Service, err = service(path.Host, path.Segments)
		}
		if err == nil {
			err = checkSession(source.RawQuery)
		}
	case Microsoft:
		path.Segments, err = readMicrosoft(buf, source)
	default:
		path.Segments, err = readOther(buf, source)
	}
	return path, err
}

// readOther reads the path of an API of which nothing is known, but that
// OData's batches have one name.
func readOther(segments []Segment, source *Source) ([]Segment, error) {
	for raw := range strings.SplitSeq(trimmed(source.Path), "/") {
		if raw == "" && source.Path == "/" {
			break
		}
		text, err := decoded(raw, plainText)
		if err != nil {
			return nil, err
		}
		segments = append(segments, Segment{Text: text, Folded: fold(text)})
		if source.Mode == Call && segments[len(segments)-1].Folded == batchName {
			return nil, errBatch
		}
	}
	return segments, nil
}

// trimmed is a path without the slashes at its ends.
func trimmed(path string) string {
	return strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
}
