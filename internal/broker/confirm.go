package broker

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// confirmable returns the problem that stands against confirming the consent
// with the value. A value that is wrong consumes nothing.
func confirmable(p *account.Proposal, value secret.String, now time.Time) error {
	switch {
	case p == nil:
		return problem.New(problem.Conflict, "No consent of this account waits to be confirmed")
	case subtle.ConstantTimeCompare([]byte(digest(value)), []byte(p.Confirm)) != 1:
		return problem.New(problem.InvalidRequest, "confirm: is not the value that the browser brought back for this account's last consent")
	case !now.Before(p.Expires):
		return problem.New(problem.Conflict, "The consent was to be confirmed until "+p.Expires.UTC().Format(time.RFC3339)+"; connect the account anew")
	}
	return nil
}

// digest is what is kept of a value that confirms.
func digest(value secret.String) string {
	sum := sha256.Sum256([]byte(value.Reveal()))
	return hex.EncodeToString(sum[:])
}
