package fakeprovider

import (
	_ "embed"
	"net/http"
)

// Discovery documents as Google words them, with the methods that this server
// has.
var (
	//go:embed discovery/gmail-v1.json
	gmailDiscovery []byte
	//go:embed discovery/drive-v3.json
	driveDiscovery []byte
)

// discover answers a discovery document: in the directory of all APIs, or at
// the API's own host, where the host says which it is.
func discover(w http.ResponseWriter, r *http.Request) {
	api, version := r.PathValue("api"), r.PathValue("version")
	if api == "" {
		version = r.URL.Query().Get("version")
		api = discoveryHosts[hostname(r)]
		if addressedByIP(r) {
			api = map[string]string{"v1": "gmail", "v3": "drive"}[version]
		}
	}
	var document []byte
	switch api + " " + version {
	case "gmail v1":
		document = gmailDiscovery
	case "drive v3":
		document = driveDiscovery
	default:
		googleError(w, http.StatusNotFound, "NOT_FOUND", "notFound", "Requested entity was not found.")
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(document)
}

// discoveryHosts says whose document is at /$discovery/rest.
var discoveryHosts = map[string]string{
	"gmail.googleapis.com": "gmail",
	"drive.googleapis.com": "drive",
	googleHost:             "drive",
}
