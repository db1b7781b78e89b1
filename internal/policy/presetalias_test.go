package policy

import (
	"strings"
	"testing"
)

const aliasTable = `presets a
effect read reads
effect write writes
host graph.microsoft.com
GET  /v1.0/drives/{drive-id} read a
GET  /v1.0/drives/{drive-id}/items/{item-id} read a
GET  /v1.0/drives/{drive-id}/items/{item-id}/children read a
POST /v1.0/drives/{drive-id}/items/{item-id}/children write -
GET  /v1.0/drives/{drive-id}/root read a
GET  /v1.0/drives/{drive-id}/items/{item-id}/f(x='{x}') read a
GET  /v1.0/users/{user-id}/drive read a
GET  /v1.0/users/{user-id} write -
`

func TestAliasesAreJudgedAsWhatTheyStandFor(t *testing.T) {
	table, err := parsePresetTable(aliasTable + `
alias /v1.0/users/{user-id}/drive /v1.0/drives/{drive-id}
alias /v1.0/drives/{drive-id}/root /v1.0/drives/{drive-id}/items/{item-id}
alias /v1.0/drives/{drive-id}/items/{item-id}:/{path}: /v1.0/drives/{drive-id}/items/{item-id}
`)
	if err != nil {
		t.Fatal(err)
	}
	for call, want := range map[string]bool{
		"GET /me/drive":                             true,
		"GET /me/drive/root":                        true,
		"GET /users/x/drive/root/children":          true,
		"GET /drives/d/root:/a/b:/children":         true,
		"GET /me/drive/root:/a/b":                   true,
		"GET /me/drive/items/x:/a:/f(x='1')":        true,
		"GET /me/drive/items/x/f":                   true,
		"POST /me/drive/root/children":              false,
		"POST /me/drive/root:/a:/children":          false,
		"GET /me/drive/root/children/root/children": false,
		"GET /me/drive/root/root":                   false,
		"GET /me/drive/drive":                       false,
		"GET /me/root":                              false,
		"GET /me":                                   false,
		"GET /drives/d:/a:/root":                    false,
	} {
		method, path, _ := strings.Cut(call, " ")
		if got := judgedByTable(t, table, 1, method+" graph.microsoft.com/v1.0"+path); got != want {
			t.Errorf("%s: %v", call, got)
		}
	}
}

func TestAliasesBelowThemselvesAreCompared(t *testing.T) {
	const circles = `
GET  /v1.0/groups/{group-id} read a
GET  /v1.0/groups/{group-id}/y write -
alias /v1.0/drives/{drive-id}/x /v1.0/drives/{drive-id}
alias /v1.0/groups/{group-id}/x /v1.0/groups/{group-id}
`
	const same = "alias /v1.0/groups/{group-id} /v1.0/drives/{drive-id}\n"
	if _, err := parsePresetTable(aliasTable + circles + same); err == nil || !strings.Contains(err.Error(), `it has no "y"`) {
		t.Errorf("with a path that the other lacks: %v", err)
	}
	table, err := parsePresetTable(aliasTable + strings.Replace(circles, "GET  /v1.0/groups/{group-id}/y write -\n", "", 1) + same)
	if err != nil {
		t.Fatal(err)
	}
	for call, want := range map[string]bool{
		"GET /groups/g": true, "GET /groups/g/x/x/x": true, "GET /groups/g/x/root": true, "GET /drives/d/x/x/items/i/children": true,
		"POST /groups/g/x/items/i/children": false, "GET /groups/g/x/y": false,
	} {
		method, path, _ := strings.Cut(call, " ")
		if got := judgedByTable(t, table, 1, method+" graph.microsoft.com/v1.0"+path); got != want {
			t.Errorf("%s: %v", call, got)
		}
	}
}

func TestAliasesThatAreWrong(t *testing.T) {
	for line, want := range map[string]string{
		"alias /v1.0/users/{user-id}/drive /v1.0/drives/{drive-id}/x":                      "no row has it",
		"alias /v1.0/groups/{group-id}/drive /v1.0/drives/{drive-id}":                      "no row has it",
		"alias /v1.0/users/{user-id} /v1.0/drives/{drive-id}":                              "it has no GET with the same effect",
		"alias /v1.0/drives/{drive-id} /v1.0/users/{user-id}":                              "it has no GET with the same effect",
		"alias /v1.0/drives/{drive-id} /v1.0/drives/{drive-id}/root":                       `is not what`,
		"alias /v1.0/drives/{drive-id}/items/{item-id}/f(x='{x}') /v1.0/drives/{drive-id}": "can be no alias",
		"alias /v1.0/drives/{drive-id}/items/{item-id}/$value /v1.0/drives/{drive-id}":     "can be no alias",
		"alias /v1.0/drives/a{drive-id}/b /v1.0/drives/{drive-id}":                         "no row has it",
		"alias /v1.0/users/{user-id}/drive":                                                "is none that a table has there",
		"alias /v1.0/users/{user-id}/drive/{x}:y /v1.0/drives/{drive-id}":                  "can be no alias",
		"alias /v1.0 /v1.0/drives/{drive-id}":                                              "no place for both",
		"host gmail.googleapis.com\nalias /gmail/v1/users /gmail/v1/users/{user-id}":       "no place for both",
		"alias /v1.0/users/{user-id}/drive/ /v1.0/../drives":                               "dot segment",
	} {
		if _, err := parsePresetTable(aliasTable + line + "\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}
