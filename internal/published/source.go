package published

import (
	"fmt"
	"strings"
)

// Source says where what is known of an API is from: "gmail/v1, revision
// 20261005, in google.golang.org/api v0.311.0 (…)".
func Source(api string) (string, error) {
	for _, text := range []string{googleText, microsoftText} {
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) >= 4 && fields[0] == "api" && fields[1] == api {
				return fmt.Sprintf("%s, revision %s, in %s", api, fields[3], module(text)), nil
			}
		}
	}
	return "", fmt.Errorf("no list has the API %s", api)
}

// module is the Go module that a list was made from, as its head says it.
func module(text string) string {
	_, from, _ := strings.Cut(text, "# From ")
	from, _, _ = strings.Cut(from, ").\n")
	return strings.ReplaceAll(from, "\n# ", " ") + ")"
}
