package caddymodule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// subdirective is one line of a Caddyfile block and the field behind it. A
// block's table of them is the one description of its grammar: the Caddyfile
// parser reads by it, and configuration that came as JSON is judged by it.
type subdirective struct {
	// usage is the grammar as errors print it; its first word is the name.
	usage string

	// min and max bound the number of arguments; a negative max is no bound.
	min, max int

	// repeat is whether the line may be written more than once.
	repeat bool

	// set stores the arguments.
	set func(args []string) error

	// check judges what is stored; nil where every value is right.
	check func() error

	// given reports whether anything is stored; nil where nobody asks.
	given func() bool

	// nested parses the block behind the arguments; nil where none may stand.
	// Its errors carry their position.
	nested func(d *caddyfile.Dispenser) error
}

// name returns the first word of the line.
func (s subdirective) name() string {
	name, _, _ := strings.Cut(s.usage, " ")
	return name
}

// textLine is a line with one argument. judge is nil where every value is right.
func textLine(usage string, field *string, judge func(string) error) subdirective {
	return subdirective{
		usage: usage, min: 1, max: 1,
		set:   func(args []string) error { *field = args[0]; return nil },
		given: func() bool { return *field != "" },
		check: func() error { return judgeAll([]string{*field}, judge) },
	}
}

// listLine is a line with one or more arguments, which add up when it is
// repeated. judge is nil where every value is right.
func listLine(usage string, field *[]string, judge func(string) error) subdirective {
	return subdirective{
		usage: usage, min: 1, max: -1, repeat: true,
		set:   func(args []string) error { *field = append(*field, args...); return nil },
		given: func() bool { return len(*field) > 0 },
		check: func() error { return judgeAll(*field, judge) },
	}
}

// flagLine is a line without arguments.
func flagLine(usage string, field *bool) subdirective {
	return subdirective{
		usage: usage,
		set:   func([]string) error { *field = true; return nil },
	}
}

// quantityLine is a line with one argument that has a syntax of its own.
func quantityLine[T interface{ IsZero() bool }](usage string, field *T, parse func(string) (T, error)) subdirective {
	return subdirective{
		usage: usage, min: 1, max: 1,
		set: func(args []string) (err error) {
			*field, err = parse(args[0])
			return err
		},
		given: func() bool { return !(*field).IsZero() },
	}
}

// judgeAll judges the values that are there.
func judgeAll(values []string, judge func(string) error) error {
	if judge == nil {
		return nil
	}
	for _, value := range values {
		if value == "" {
			continue
		}
		if err := judge(value); err != nil {
			return err
		}
	}
	return nil
}

// expandable makes a judge of values that take placeholders: with one, they can
// only be judged once they are expanded.
func expandable(judge func(string) error) func(string) error {
	return func(value string) error {
		if hasPlaceholder(value) {
			return nil
		}
		return judge(value)
	}
}

// checkAll judges what is stored behind all lines of a table.
func checkAll(table []subdirective) error {
	for _, line := range table {
		if line.check == nil {
			continue
		}
		if err := line.check(); err != nil {
			return fmt.Errorf("%s: %w", line.name(), err)
		}
	}
	return nil
}

// parseBlock reads the block at d by its table. where is what errors call the
// block. No block at all is an empty one.
func parseBlock(d *caddyfile.Dispenser, where string, table []subdirective) error {
	var seen []string
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		index := slices.IndexFunc(table, func(s subdirective) bool { return s.name() == name })
		if index < 0 {
			return d.Errf("%s: unknown subdirective %s: it takes %s", where, name, names(table))
		}
		line := table[index]
		if !line.repeat && slices.Contains(seen, name) {
			return d.Errf("%s: %s is written twice: keep one", where, name)
		}
		seen = append(seen, name)
		if err := parseLine(d, where, line); err != nil {
			return err
		}
	}
	return nil
}

// parseLine reads the arguments and the block of the line whose name is d's
// current token.
func parseLine(d *caddyfile.Dispenser, where string, line subdirective) error {
	args := d.RemainingArgs()
	if len(args) < line.min || line.max >= 0 && len(args) > line.max {
		return d.Errf("%s: wrong number of arguments: write `%s`", where, line.usage)
	}
	if slices.Contains(args, "") {
		return d.Errf("%s: %s: an argument is empty", where, line.name())
	}
	if line.nested == nil && opensBlock(d) {
		return d.Errf("%s: %s takes no block: write `%s`", where, line.name(), line.usage)
	}
	err := line.set(args)
	if err == nil && line.check != nil {
		err = line.check()
	}
	if err != nil {
		return d.Errf("%s: %s: %w", where, line.name(), err)
	}
	if line.nested == nil {
		return nil
	}
	return line.nested(d)
}

// opensBlock reports whether a block opens behind d's current token, which is
// the last argument of its line.
func opensBlock(d *caddyfile.Dispenser) bool {
	if d.NextLine() {
		d.Prev()
		return false
	}
	if d.Next() {
		d.Prev()
		return true
	}
	return false
}

// names lists the lines of a table for an error.
func names(table []subdirective) string {
	all := make([]string, len(table))
	for i, line := range table {
		all[i] = line.name()
	}
	return strings.Join(all, ", ")
}

// oneOf returns a judge that accepts the listed values.
func oneOf(values ...string) func(string) error {
	return func(value string) error {
		if slices.Contains(values, value) {
			return nil
		}
		return fmt.Errorf("%q is not one of %s", value, strings.Join(values, ", "))
	}
}
