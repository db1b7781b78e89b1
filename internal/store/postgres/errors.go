package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/bellhop-proxy/bellhop/internal/store"
)

// Codes of errors, PostgreSQL's and, with BH, those that our own function
// raises.
const (
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeReadOnly      = "25006"
	codeFenced        = "BH001"
	codeConflict      = "BH002"
)

// sqlState is the code of an error that the server sent; fatal says that the
// server has ended the connection with it.
func sqlState(err error) (code string, fatal bool) {
	answer, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return "", false
	}
	// Severity itself is in the server's language.
	return answer.Code, answer.SeverityUnlocalized != "ERROR"
}

// refused reports that the server has answered with an error that it survived:
// a transaction in which that happens was not committed.
func refused(err error) bool {
	code, fatal := sqlState(err)
	return code != "" && !fatal
}

// again reports that a transaction was undone for another's sake and may be
// tried once more.
func again(err error) bool {
	code, _ := sqlState(err)
	return code == codeSerialization || code == codeDeadlock
}

// unavailable makes a driver's error the store's. Where the caller's context has
// ended, and nothing was done, that is the error. What the driver knows is
// flattened into text: its errors carry the connection's whole configuration.
func unavailable(ctx context.Context, doing string, err error) error {
	if errors.Is(err, errUnknown) {
		return fmt.Errorf("%s: %w: %w: %s", doing, store.ErrUnavailable, errUnknown, flat(err))
	}
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("%s: %w", doing, ended)
	}
	return fmt.Errorf("%s: %w: %s", doing, store.ErrUnavailable, flat(err))
}

// flat is an error's text in one line.
func flat(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "the database did not answer in time"
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}
