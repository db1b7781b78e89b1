package backup

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/store"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// Source is what a backup is made of, see [vault.Vault].
type Source interface {
	Export(ctx context.Context, after string, limit int) (entries []vault.Entry, last bool, err error)
	ExportOne(ctx context.Context, key string) (e vault.Entry, ok bool, err error)
	Changed(ctx context.Context) (grants, keys <-chan store.Event, err error)
	StoreID(ctx context.Context) (string, error)
}

const (
	// page is how many entries are read at a time.
	page = 100
	// rounds is how often what changed meanwhile is added: grants that are
	// renewed all the time must not keep a backup from ending.
	rounds = 10
)

// removed is the text of an entry that is gone.
var removed = secret.New("null")

// Take writes a backup of everything. What changes while it is made is written
// again, until nothing changes or for a while: each entry is as it stood at the
// end, or is newer than it was when the first of those rounds was over.
func Take(ctx context.Context, from Source, seal *secret.Sealer, now time.Time, out io.Writer) error {
	id, err := from.StoreID(ctx)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// Before the first entry is read: a change is in what is read, or is heard.
	grants, keys, err := from.Changed(ctx)
	if err != nil {
		return err
	}
	changed := changes{ask: make(chan chan changeSet)}
	go changed.collect(ctx, grants, keys)
	w, err := NewWriter(out, seal, Header{ID: rand.Text(), Store: id, Created: now.UTC()})
	if err != nil {
		return err
	}
	if err := writeAll(ctx, from, w); err != nil {
		return err
	}
	for range rounds {
		c, err := changed.take(ctx)
		switch {
		case err != nil:
			return err
		case c.missed:
			err = writeAll(ctx, from, w)
		case len(c.keys) == 0:
			return w.Close()
		}
		for key := range c.keys {
			if err == nil {
				err = writeOne(ctx, from, w, key)
			}
		}
		if err != nil {
			return err
		}
	}
	return w.Close()
}

func writeAll(ctx context.Context, from Source, w *Writer) error {
	for after := ""; ; {
		entries, last, err := from.Export(ctx, after, page)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := w.Write(e); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		after = entries[len(entries)-1].Key
	}
}

func writeOne(ctx context.Context, from Source, w *Writer, key string) error {
	e, ok, err := from.ExportOne(ctx, key)
	if err != nil {
		return err
	}
	if !ok {
		e = vault.Entry{Key: key, Text: removed}
	}
	return w.Write(e)
}

func newChangeSet() changeSet { return changeSet{keys: make(map[string]struct{})} }

func (s *changeSet) note(e store.Event) {
	if e.Key == "" {
		s.missed = true
		return
	}
	s.keys[e.Key] = struct{}{}
}

// changes collects the keys of what changes. It never lets its events wait: a
// slow reader of the backup must not make them be lost.
type changes struct {
	ask chan chan changeSet
}

type changeSet struct {
	keys map[string]struct{}
	// missed is set when there were changes that nobody knows.
	missed bool
}

// collect runs until ctx ends, or the store is closed.
func (c *changes) collect(ctx context.Context, grants, keys <-chan store.Event) {
	set := newChangeSet()
	for {
		select {
		case e, open := <-grants:
			if set.note(e); !open {
				grants = nil
			}
		case e, open := <-keys:
			if set.note(e); !open {
				keys = nil
			}
		case reply := <-c.ask:
			// What happened before it was asked for is to be in the answer.
			for len(grants) > 0 {
				set.note(<-grants)
			}
			for len(keys) > 0 {
				set.note(<-keys)
			}
			reply <- set
			set = newChangeSet()
		case <-ctx.Done():
			return
		}
	}
}

// take returns what changed since it was last called.
func (c *changes) take(ctx context.Context) (changeSet, error) {
	reply := make(chan changeSet, 1)
	select {
	case c.ask <- reply:
		return <-reply, nil
	case <-ctx.Done():
		return changeSet{}, fmt.Errorf("taking a backup: %w", ctx.Err())
	}
}
