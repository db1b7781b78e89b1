package differential

import (
	"net/http"
	"slices"
	"testing"
)

func urlsOf(calls []sent) []string {
	var urls []string
	for i := range calls {
		urls = append(urls, calls[i].String())
	}
	slices.Sort(urls)
	return slices.Compact(urls)
}

func TestEnvelopesAreReadInEveryWay(t *testing.T) {
	graph := &sent{host: "graph.microsoft.com", path: "/beta/$batch", header: http.Header{}, body: []byte(
		`{"Requests":[{"id":"1","method":"GET","Method":"POST","url":"/me/a b","url":"https://graph.microsoft.com/me/sendMail?x"},{"url":"me/b"}]}`)}
	want := []string{
		"GET graph.microsoft.com/beta/me/a%20b?&", "GET graph.microsoft.com/beta/me/b?&", "GET graph.microsoft.com/beta/me/sendMail?x&",
		"POST graph.microsoft.com/beta/me/a%20b?&", "POST graph.microsoft.com/beta/me/sendMail?x&",
	}
	if got := urlsOf(graphParts(graph)); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}

	google := &sent{
		host: "www.googleapis.com", path: "/batch", header: http.Header{"Content-Type": {"multipart/mixed; boundary=b"}},
		body: []byte("--b\r\nContent-Type: application/http\r\n\r\nGET /a HTTP/1.1\r\nX-HTTP-Method: PUT\r\n\r\n" +
			"\r\n --b \r\nContent-Type: application/http\r\n\r\nPOST https://Gmail.googleapis.com/b\r\n\r\n{}\r\n--b--"),
	}
	calls := googleParts(google)
	if got, want := urlsOf(calls), []string{"GET www.googleapis.com/a?&", "POST gmail.googleapis.com/b?&"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if verbs := calls[0].verbs(); !slices.Contains(verbs, "PUT") {
		t.Errorf("%q", verbs)
	}
}
