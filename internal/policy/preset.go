package policy

import (
	"fmt"
	"strings"
)

// Preset is a named set of the methods that an API's publisher describes. A key
// with presets may make the calls that one of them has, or that one of its
// rules allows.
type Preset struct {
	Name string
	// Sentence says what a key with it may do, for people.
	Sentence string
	// table is the name of the table that it is a column of.
	table string
}

var presets = []Preset{
	{
		Name:     "gmail-readonly",
		Sentence: "may read Gmail: messages, threads, labels, drafts, history, settings; may not send, delete or change anything",
		table:    "gmail",
	},
	{
		Name:     "gmail-draft-only",
		Sentence: "may read Gmail, and write, replace and delete drafts; may not send, or delete or change anything else",
		table:    "gmail",
	},
	{
		Name:     "gmail-no-delete",
		Sentence: "may read Gmail, write drafts, send, and label and archive mail; may not delete, trash or mark as spam, nor change filters, forwarding, delegates, aliases, POP, IMAP and keys",
		table:    "gmail",
	},
	{
		Name:     "calendar-readonly",
		Sentence: "may read Google Calendar: calendars, events, who is free, sharing, settings; may not change, share or delete anything",
		table:    "calendar",
	},
	{
		Name:     "drive-readonly",
		Sentence: "may read Google Drive: files and their content, folders, comments, sharing, history; may not change, share or delete anything",
		table:    "drive",
	},
	{
		Name:     "graph-mail-readonly",
		Sentence: "may read mail in Microsoft Graph: messages, folders, attachments, rules, settings; may not send, delete or change anything",
		table:    "graph-mail",
	},
	{
		Name:     "graph-mail-no-send",
		Sentence: "may read mail in Microsoft Graph, write drafts, and mark, move and delete mail; may not send, answer or forward it, nor change rules, automatic answers, settings and events",
		table:    "graph-mail",
	},
	{
		Name:     "graph-calendar-readonly",
		Sentence: "may read calendars in Microsoft Graph: events, who is free, sharing; may not change, answer or delete anything",
		table:    "graph-calendar",
	},
	{
		Name:     "graph-files-readonly",
		Sentence: "may read files in Microsoft Graph: drives, folders, files and their content, sharing; may not change, share or delete anything",
		table:    "graph-files",
	},
}

// Presets are all that there are.
func Presets() []Preset { return presets }

// findPreset gives the preset of that name, or nil.
func findPreset(name string) *Preset {
	for i := range presets {
		if presets[i].Name == name {
			return &presets[i]
		}
	}
	return nil
}

// CheckPreset refuses a name that is no preset's.
func CheckPreset(name string) error {
	p := findPreset(name)
	if p == nil {
		var names []string
		for i := range presets {
			names = append(names, presets[i].Name)
		}
		return fmt.Errorf("there is no preset %q: write one of %s", name, strings.Join(names, ", "))
	}
	_, _, err := p.load()
	return err
}
