// Command generate writes the tables of the presets: for each published method
// of an API which presets allow it. What a method does was decided by people who
// read its documentation, one method at a time; a method that nobody has looked
// at is an error, so that an API which grows is looked at again.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

// tables are all that are written.
var tables = []*table{&gmail, &calendar, &drive, &graphMail, &graphCalendar, &graphFiles}

func main() {
	dir := flag.String("dir", "internal/policy/presets", "the directory to write the tables into")
	flag.Parse()
	if err := write(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// write writes all tables, or none where one is wrong.
func write(dir string) error {
	texts := make([]string, len(tables))
	var errs []error
	for i, t := range tables {
		var err error
		texts[i], err = t.text()
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for i, t := range tables {
		if err := os.WriteFile(filepath.Join(dir, t.name+".txt"), []byte(texts[i]), 0o644); err != nil { //nolint:gosec // part of the source
			return err
		}
	}
	return nil
}
