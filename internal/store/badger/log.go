package badger

import (
	"fmt"
	"log/slog"
	"strings"
)

// logger is Badger's log in slog.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(format string, args ...any) { l.log.Error(line(format, args)) }

func (l logger) Warningf(format string, args ...any) { l.log.Warn(line(format, args)) }

// Infof takes what Badger tells at each start and each compaction.
func (l logger) Infof(format string, args ...any) { l.log.Debug(line(format, args)) }

// Debugf drops what Badger tells at each write.
func (logger) Debugf(string, ...any) {}

func line(format string, args []any) string {
	return "badger: " + strings.TrimSpace(fmt.Sprintf(format, args...))
}
