// Package glob matches paths with patterns.
package glob

import "strings"

// Match reports whether the whole of path matches the pattern, in which "*" is
// any run of characters without "/", "**" any run of characters, and everything
// else literal. Either run may be empty.
func Match(pattern, path string) bool {
	// Where matching goes on when it fails: behind the last star of each kind,
	// one character later than it was tried before. Earlier stars need not be
	// tried again, for what stands before the last "**", or within a segment
	// before the last "*", is found as early as it can be.
	star, starPath := -1, 0
	deep, deepPath := -1, 0
	p, s := 0, 0
	for s < len(path) {
		switch {
		case strings.HasPrefix(pattern[p:], "**"):
			p += len("**")
			deep, deepPath, star = p, s, -1
		case p < len(pattern) && pattern[p] == '*':
			p++
			star, starPath = p, s
		case p < len(pattern) && pattern[p] == path[s]:
			p++
			s++
		case star >= 0 && path[starPath] != '/':
			starPath++
			p, s = star, starPath
		case deep >= 0:
			deepPath++
			p, s, star = deep, deepPath, -1
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
