package main

import (
	"slices"

	"github.com/bellhop-proxy/bellhop/internal/published"
)

// ofGoogle gives the published methods of APIs of Google's.
func ofGoogle(apis ...string) func() []published.Method {
	return func() []published.Method {
		return slices.DeleteFunc(slices.Clone(published.Google()), func(m published.Method) bool {
			return !slices.Contains(apis, m.API)
		})
	}
}

// discovery are rows for the documents from which SDKs learn an API. They are
// public and fetched without a token.
func discovery(api string, hosts ...string) []row {
	rows := []row{{"GET", "www.googleapis.com", "/discovery/v1/apis/" + api + "/rest", "document"}}
	for _, host := range hosts {
		rows = append(rows, row{"GET", host, "/$discovery/rest", "document"})
	}
	return rows
}

// document is the effect of reading one.
var document = effect{word: "document", does: "reads the API's public description"}
