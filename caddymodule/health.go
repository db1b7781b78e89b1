package caddymodule

import (
	"net/http"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// serveHealth says that the process answers.
func (a *App) serveHealth(w http.ResponseWriter, r *http.Request) {
	writeHealth(w, r, http.StatusOK, "ok", answer("status", "ok"))
}

// serveReadiness says whether tokens can be renewed and what comes back be
// kept.
func (a *App) serveReadiness(w http.ResponseWriter, r *http.Request) {
	if err := a.ready(r.Context()); err != nil {
		p := problem.From(err)
		w.Header().Set("Bellhop-Error", string(p.Code))
		writeHealth(w, r, http.StatusServiceUnavailable, p.Message, answer("status", "unavailable", "reason", p.Message))
		return
	}
	writeHealth(w, r, http.StatusOK, "ok", answer("status", "ok"))
}

// writeHealth answers in plain text, or in JSON where it is asked for.
func writeHealth(w http.ResponseWriter, r *http.Request, status int, text string, m members) {
	if strings.Contains(r.Header.Get("Accept"), "json") {
		writeJSON(w, status, m)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // nobody is left to tell
}
