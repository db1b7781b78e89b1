// Package rewrite replaces the URLs in a JSON answer while it streams. What it
// does not replace passes byte for byte: white space, numbers, escapes, the
// order of members and duplicates among them.
//
// Memory is bounded whatever the text: at most 64 KiB are held back, a name or
// a URL of more than 16 KiB never matches, and a text that is nested deeper
// than 512 levels passes unchanged from there on. So does one that is not JSON
// (RFC 8259), from its first error on, and whatever follows the first value.
package rewrite

// Kind says what a URL in an answer is for.
type Kind int

// The kinds of URLs.
const (
	// Link leads to the next call.
	Link Kind = iota + 1
	// Upload carries its own authority, for uploading.
	Upload
	// Download carries its own authority, for downloading.
	Download
	// Location is a header field's value inside a batch answer; Found.Name is
	// the field in its canonical form.
	Location
)

// Place is a set of places in a document.
type Place uint8

// The places where a member's string may stand.
const (
	// Top: members of the outermost object.
	Top Place = 1 << iota
	// Paged: members of any object, at any depth, that also has an array:
	// "value", or, for a member whose Name begins with "*", the array named like
	// the part that the "*" stands for ("messages" for
	// "messages@odata.nextLink"). An array that comes behind counts if it begins
	// within 64 KiB of the string; of the arrays that come before, all named
	// "value" count, and the last 32 of others.
	Paged
	// Items: members of the outermost object, and of the objects in arrays named
	// "value" and "children" that are reached only through such arrays.
	Items
)

// Member is a member whose string is a URL. Members of the same Name count as
// one, with the places of all and the rest of the first. An exact Name goes
// before one that begins with "*"; of these the first counts that fits.
type Member struct {
	// Name is compared with the name in the document after its escapes are
	// decoded. A leading "*" stands for any beginning of at least one character.
	Name   string
	Kind   Kind
	Places Place
	// Beside names a string member of the same object whose value is handed
	// along, such as "expirationDateTime"; it may be empty. The last one that
	// comes before counts, else the first behind that ends within 64 KiB. One of
	// more than 1 KiB does not count.
	Beside string
}

// Rules say which strings of an answer are URLs. They are read and never
// changed, so that many readers may share them.
type Rules struct {
	Members []Member

	// Closed are names of members into whose values nobody looks, at any depth:
	// other people choose the names of members there.
	Closed []string

	// Parts, where set, makes the document a Microsoft Graph batch answer. The
	// object at responses[].body is a document of its own, with the rules that
	// Parts gives for the string at responses[].id; nil, or an id that does not
	// stand before the body, leaves it alone. The strings Location,
	// Content-Location and Link in responses[].headers, names without regard to
	// case, are of Kind Location. Parts of a part's own rules is ignored.
	Parts func(id string) *Rules
}

// Found is a URL that stands at a matching place.
type Found struct {
	Kind Kind
	// Name is the member's name in the document.
	Name string
	URL  string
	// Beside is the value of the member that [Member].Beside names, or empty.
	Beside string
	// Part is the id of the batch part; empty outside of batches and for a
	// header field that stands before the id.
	Part string
}

// Func gives the replacement for a URL, or false to leave it as it stands. It
// is called in the order of the document, from within Read. A string that is
// not valid Unicode never gets here.
type Func func(Found) (replacement string, ok bool)
