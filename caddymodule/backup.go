package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/backup"
	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
	"github.com/bellhop-proxy/bellhop/internal/vault"
)

// backupType is the media type of a backup. A page of another origin cannot
// send it without being asked.
const backupType = "application/vnd.bellhop.backup"

// streamed is what an operation returns that reads or writes more than is to be
// held in memory: it is called with the answer's writer, and answers itself if
// it returns neither an answer nor an error.
type streamed func(w http.ResponseWriter) (any, error)

// streamPause is how long one read or write of a stream may take. The stream as
// a whole has no limit: Caddy's admin endpoint would end it after ten seconds.
const streamPause = time.Minute

// patient reads and writes a stream, each piece within streamPause. What was
// read to its end has no limit any more: a server takes a connection that is
// silent beyond it for one that is gone, and ends the call's context.
type patient struct {
	io.Reader
	io.Writer
	control *http.ResponseController
}

func (p patient) Read(b []byte) (int, error) {
	_ = p.control.SetReadDeadline(time.Now().Add(streamPause)) // where it is not supported there is none
	n, err := p.Reader.Read(b)
	if err != nil {
		_ = p.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

func (p patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(streamPause))
	return p.Writer.Write(b)
}

// backup is GET /v1/backup: a backup of all accounts and stored keys. One that
// breaks off lacks its last chunk, by which whoever reads it can tell, and ends
// its connection, so that other programs need not look.
func (a *App) backup(s *service, r *http.Request) (any, error) {
	if err := a.noneUnsaved(r.Context(), s); err != nil {
		return nil, err
	}
	return streamed(func(w http.ResponseWriter) (any, error) {
		w.Header().Set("Content-Type", backupType)
		w.Header().Set("Cache-Control", "no-store")
		out := &counted{Writer: patient{Writer: w, control: http.NewResponseController(w)}}
		err := backup.Take(r.Context(), s.vault, s.keyset.Sealer(secret.Records), clock.Now(), out)
		switch {
		case err == nil:
			return nil, nil
		case out.n == 0:
			return nil, problem.New(problem.StoreUnavailable, "The token store is unavailable").Because(err)
		}
		a.run.log.Error("a backup broke off", zap.Error(err))
		panic(http.ErrAbortHandler)
	}), nil
}

// noneUnsaved refuses a backup that would lack what only memory has.
func (a *App) noneUnsaved(ctx context.Context, s *service) error {
	if p, ok := errors.AsType[*problem.Problem](s.shared.Ready(ctx)); ok &&
		slices.ContainsFunc(p.Details, func(d problem.Detail) bool { return d.Name == "unsaved" }) {
		return p
	}
	return nil
}

// counted counts what is written.
type counted struct {
	io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += int64(n)
	return n, err
}

// restored is the answer of POST /v1/restore.
type restored struct {
	// Backup and Created name the backup; SameStore is set when it is of this
	// very store.
	Backup    string    `json:"backup"`
	Created   time.Time `json:"created"`
	SameStore bool      `json:"sameStore"`
	// Accounts counts those that were written, AccountsKept those that stay as
	// they are because they are as new or newer. Unadopted are the written ones
	// that are not renewed until they are adopted.
	Accounts     int `json:"accounts"`
	AccountsKept int `json:"accountsKept"`
	Unadopted    int `json:"unadopted"`
	// Keys counts those that were added, KeysKept those that are there already.
	// KeyConflicts are the names of the others: their name, or the key itself
	// under another name, is taken.
	Keys         int      `json:"keys"`
	KeysKept     int      `json:"keysKept"`
	KeyConflicts []string `json:"keyConflicts"`
	// ProvidersMissing are providers of accounts that the configuration lacks.
	ProvidersMissing []string `json:"providersMissing"`
}

// restore is POST /v1/restore. Nothing is written before the whole backup was
// found good, and of an entry that stands in it more than once only the last
// is: so it is read twice, from a temporary file (sealed as it came).
func (a *App) restore(s *service, r *http.Request) (any, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != backupType {
		return nil, problem.New(problem.InvalidRequest, "Content-Type: must be "+backupType)
	}
	return streamed(func(w http.ResponseWriter) (any, error) {
		spool, err := spooled(r.Context(), s, patient{Reader: r.Body, control: http.NewResponseController(w)})
		if err != nil {
			return nil, err
		}
		defer spool.remove()
		header, last, err := verifyBackup(spool, s.keyset)
		if err != nil {
			return nil, err
		}
		return a.restoreVerified(r.Context(), s, spool, header, last)
	}), nil
}

// spool is a temporary file.
type spool struct{ *os.File }

func (s spool) remove() {
	_ = s.Close()
	_ = os.Remove(s.Name())
}

// spooled puts a stream into a temporary file. It stops while the store still
// has its reserve of room, in case the file is on the same file system.
func spooled(ctx context.Context, s *service, from io.Reader) (spool, error) {
	file, err := os.CreateTemp("", "bellhop-restore-*")
	if err != nil {
		return spool{}, problem.New(problem.Internal, "the backup could not be put into a temporary file").Because(err)
	}
	kept := spool{file}
	const piece = 1 << 20
	for {
		n, err := io.CopyN(file, from, piece)
		if errors.Is(err, io.EOF) {
			return kept, nil
		}
		if err == nil && n == piece {
			err = s.store.Ready(ctx)
		}
		if err != nil {
			kept.remove()
			return spool{}, problem.New(problem.StoreUnavailable, "the backup could not be received whole; nothing was restored").Because(err)
		}
	}
}

// verifyBackup reads a backup to its end, each entry too, and returns which
// entry of each record is the last.
func verifyBackup(from spool, keys *secret.Keyset) (h backup.Header, last map[string]int, err error) {
	last = make(map[string]int)
	n := 0
	h, err = readBackup(from, keys, func(e vault.Entry) error {
		last[e.Key] = n
		n++
		return checkEntry(e)
	})
	return h, last, err
}

// checkEntry reports why an entry cannot be restored.
func checkEntry(e vault.Entry) error {
	if backup.Removed(e) {
		return nil
	}
	g, k, err := e.Decode()
	switch {
	case err != nil:
		return err
	case g != nil:
		err = account.CheckID(g.ID)
	default:
		err = k.Validate()
	}
	if err != nil {
		return fmt.Errorf("entry %s: %w", e.Key, err)
	}
	return nil
}

// readBackup reads a backup from its beginning. Its errors are for who sent
// it, and quote nothing of it.
func readBackup(from spool, keys *secret.Keyset, each func(vault.Entry) error) (backup.Header, error) {
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return backup.Header{}, problem.New(problem.Internal, "the backup could not be read again").Because(err)
	}
	h, err := backup.Read(from, keys, each)
	if _, ok := errors.AsType[*problem.Problem](err); err == nil || ok {
		return h, err
	}
	if missing, ok := errors.AsType[*backup.MissingKeyError](err); ok {
		return h, problem.New(problem.Conflict, missing.Error())
	}
	return h, problem.New(problem.InvalidRequest, err.Error()+"; nothing was restored")
}

// restoring is how many accounts are written at once: the store makes them
// durable together.
const restoring = 32

// restoreVerified writes what a backup has.
func (a *App) restoreVerified(ctx context.Context, s *service, from spool, header backup.Header, last map[string]int) (any, error) {
	here, err := s.vault.StoreID(ctx)
	if err != nil {
		return nil, problem.New(problem.StoreUnavailable, "The token store is unavailable").Because(err)
	}
	w := &restorer{app: a, service: s, keys: a.keysTaken(s)}
	w.done = restored{
		Backup: header.ID, Created: header.Created, SameStore: header.Store == here,
		KeyConflicts: []string{}, ProvidersMissing: []string{},
	}
	writers, writing := errgroup.WithContext(ctx)
	writers.SetLimit(restoring)
	n := 0
	_, err = readBackup(from, s.keyset, func(e vault.Entry) error {
		current := last[e.Key] == n
		n++
		if !current || backup.Removed(e) || writing.Err() != nil {
			return writing.Err()
		}
		g, k, err := e.Decode()
		if err != nil {
			return err
		}
		if g != nil {
			writers.Go(func() error { return w.account(writing, g) })
			return nil
		}
		return w.key(writing, k)
	})
	if failed := writers.Wait(); failed != nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	slices.Sort(w.done.KeyConflicts)
	slices.Sort(w.done.ProvidersMissing)
	return w.done, nil
}

// restorer writes entries of a backup and counts them.
type restorer struct {
	app     *App
	service *service
	keys    map[string]*policy.Key // by name and by hash

	mu   sync.Mutex
	done restored
}

// account writes an account. That of another store is not renewed until it is
// adopted: there may still be who does, and a refresh token that two use is
// ended by its provider.
func (w *restorer) account(ctx context.Context, g *account.Grant) error {
	if !w.done.SameStore {
		g.Proposed = nil // it is the other instance's to confirm
		if !g.RefreshToken.IsZero() {
			g.Unadopted = true
			if g.State != account.Disabled {
				g.State = account.Restored
			}
		}
	}
	wrote, err := w.service.broker.Restore(ctx, g)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.app.run.providers[g.Provider]; !ok && !slices.Contains(w.done.ProvidersMissing, g.Provider) {
		w.done.ProvidersMissing = append(w.done.ProvidersMissing, g.Provider)
	}
	switch {
	case !wrote:
		w.done.AccountsKept++
	case g.Unadopted:
		w.done.Unadopted++
		fallthrough
	default:
		w.done.Accounts++
	}
	return nil
}

// keysTaken are all keys, by name and by hash.
func (a *App) keysTaken(s *service) map[string]*policy.Key {
	taken := make(map[string]*policy.Key)
	for _, k := range a.allKeys(s) {
		taken["name "+k.Name], taken["hash "+k.Hash] = k, k
	}
	return taken
}

// key adds a key whose name and hash are free.
func (w *restorer) key(ctx context.Context, k *policy.Key) error {
	named, same := w.keys["name "+k.Name], w.keys["hash "+k.Hash]
	var err error
	switch {
	case named != nil && named == same:
		w.done.KeysKept++
		return nil
	case named == nil && same == nil:
		err = w.service.keys.Add(ctx, k)
	default:
		err = vault.ErrKeyExists
	}
	switch {
	case errors.Is(err, vault.ErrKeyExists):
		w.done.KeyConflicts = append(w.done.KeyConflicts, k.Name)
	case err != nil:
		return problem.New(problem.StoreUnavailable, "The token store is unavailable").Because(err)
	default:
		w.keys["name "+k.Name], w.keys["hash "+k.Hash] = k, k
		w.done.Keys++
	}
	return nil
}
