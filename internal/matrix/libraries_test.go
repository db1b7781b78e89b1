package matrix

import _ "embed"

// clientWide is what the recipe for Node.js warns of.
//
//go:embed testdata/clientwide.js
var clientWide string

// What more than one library cannot do.
var (
	uploadsAtOrigin = no{
		reason: "The library sends uploads to `/upload/…` at the origin of its base URL, not below its path. Use the origin form.",
		fails:  "404",
	}
	rootURLLosesPath = no{
		reason: "A client's `rootUrl` loses its path. Give `rootUrl` with each call.",
		fails:  "404",
	}
	rootURLNotForUploads = no{
		reason: "A client's `rootUrl` does not hold for uploads: **they go to Google, with the key**. Give `rootUrl` with each call.",
		leaves: "www.googleapis.com",
	}
	noChunks  = no{reason: "The library has no uploads in chunks; `fetch` does them, as the recipe for curl shows."}
	noBatches = no{reason: "The library has no batches."}
)

// libraries are the matrix's rows. The recipe is the same for both forms.
var libraries = []library{
	{
		name: "curl, Google", account: alice, dir: "curl", program: []string{"./google.sh"},
		says: map[operation]string{
			plain: `alice@example\.com`, pages: `250 messages`,
			batch: `HTTP/1\.1 200 OK\nHTTP/1\.1 200 OK`,
		},
	},
	{
		name: "curl, Microsoft Graph", account: bob, dir: "curl", program: []string{"./graph.sh"},
		says: map[operation]string{plain: `bob@example\.com`, pages: `250 messages`, batch: "1 200\n2 200"},
	},
	{
		name: "Go `google.golang.org/api`", account: alice, dir: "go", program: []string{goProgram},
		says: map[operation]string{plain: `alice@example\.com`, pages: `250 messages`},
		no: map[operation]map[form]no{
			upload:    {path: uploadsAtOrigin},
			resumable: {path: uploadsAtOrigin},
			batch:     both(noBatches),
		},
	},
	{
		name: "Node.js `@googleapis`", account: alice, dir: "node", program: []string{"node", "google.js"},
		says: map[operation]string{plain: `alice@example\.com`, pages: `250 messages`},
		no: map[operation]map[form]no{
			resumable: both(noChunks),
			batch:     both(noBatches),
		},
	},
	{
		name: "Node.js `@googleapis`, `rootUrl` of the client", account: alice, dir: "node",
		program: []string{"node", "--input-type=module", "--eval", clientWide},
		says:    map[operation]string{plain: `alice@example\.com`, pages: `250 messages`},
		no: map[operation]map[form]no{
			plain:     {path: rootURLLosesPath},
			pages:     {path: rootURLLosesPath},
			upload:    both(rootURLNotForUploads),
			resumable: both(noChunks),
			batch:     both(noBatches),
			download:  {path: rootURLLosesPath},
			denied:    {path: rootURLLosesPath},
		},
	},
	{
		name: "Node.js `@microsoft/microsoft-graph-client`", account: bob, dir: "node", program: []string{"node", "graph.js"},
		says: map[operation]string{plain: `bob@example\.com`, pages: `250 messages`, batch: "1 200\n2 200"},
	},
	{
		name: "Python `google-api-python-client`", account: alice, dir: "python", program: []string{"/usr/bin/python3", "recipe.py"},
		says: map[operation]string{plain: `alice@example\.com`, pages: `250 messages`, batch: "1 200\n2 200"},
	},
	{
		name: "Java `google-api-services-drive` (replayed)", account: alice,
		replay: google{part: javaPart, direct: true}.replay,
		says:   map[operation]string{plain: `file-001\.txt`, pages: `\d{3,} files`, batch: "200\n200"},
		no:     map[operation]map[form]no{upload: {path: uploadsAtOrigin}, resumable: {path: uploadsAtOrigin}},
	},
	{
		name: ".NET `Google.Apis.Drive.v3` (replayed)", account: alice,
		replay: google{part: dotnetPart, quoted: true}.replay,
		says:   map[operation]string{plain: `file-001\.txt`, pages: `\d{3,} files`, batch: "200\n200"},
		no:     map[operation]map[form]no{upload: {path: uploadsAtOrigin}, resumable: {path: uploadsAtOrigin}},
	},
	{
		name: ".NET `Microsoft.Graph` (replayed)", account: bob, replay: graphDotnet,
		says: map[operation]string{plain: `bob@example\.com`, pages: `250 messages`, batch: "2 parts"},
		no: map[operation]map[form]no{batch: {path: {
			reason: "The library takes the first five bytes of a part's path for the version, wherever the path begins. Use the origin form.",
			fails:  "404",
		}}},
	},
}
