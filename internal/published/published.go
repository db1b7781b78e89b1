// Package published holds which methods the publishers of APIs say that they
// have: Google in its discovery documents, Microsoft in the description that its
// SDKs are made from. The presets' tables are made from it, and tests compare
// policy with it; nothing that serves calls imports it.
package published

// Method is a published method of an API.
type Method struct {
	// API is the service and its version: "gmail/v1", "graph/v1.0".
	API string
	// ID is the publisher's name for it, "gmail.users.messages.send"; empty
	// where there is none.
	ID string
	// Verb is the HTTP method.
	Verb string
	// Host is where it is served.
	Host string
	// Path is its template, beginning with "/": {name} is one segment or part of
	// one, {+name} one or several.
	Path string
	// Uploads are the templates at which it takes media.
	Uploads []string
}
