package caddymodule

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// The mistakes of a first hour, and by which check each is told:
//
//  1. A client secret that is mistyped, or is the secret's ID (client).
//  2. A client ID that the provider does not know, or not in this tenant (client).
//  3. A tenant that does not exist, or is in another cloud (client).
//  4. A client secret that has ended, or is about to (client, client_secret_expires).
//  5. A secret for a client that is registered as a public one, on the wrong
//     platform (client).
//  6. A provider that cannot be reached: DNS, a firewall that opens TLS, a
//     forward proxy (client, authorization_endpoint).
//  7. A clock that is wrong (clock).
//  8. A public_url that is not the site with `connect` (public_url).
//  9. A redirect URI that is not registered. Nothing tells before somebody
//     consents: what is to be registered is shown, and how the provider's page
//     will say that it is not (redirect_uri).
//  10. A Google app in testing, whose grants end after a week (account).
//  11. Scopes that a user's consent is not enough for (scopes), and those that a
//     user has not ticked (account).
//  12. A key that reaches no account, which is what a key does unless it is told
//     otherwise (key); a site that does not hand out tokens (sites); an admin
//     endpoint on TCP that asks every command for a key (admin).

// The results of a check.
const (
	checkOK   = "ok"
	checkWarn = "warn"
	checkFail = "fail"
)

// checked is the result of one check.
type checked struct {
	// Check names what was looked at, Subject whose it is.
	Check   string `json:"check"`
	Subject string `json:"subject,omitempty"`
	Status  string `json:"status"`
	// Says is what was found, Mend what is to be done.
	Says string `json:"says"`
	Mend string `json:"mend,omitempty"`
}

func passed(check, subject, says string) checked {
	return checked{Check: check, Subject: subject, Status: checkOK, Says: says}
}

func warned(check, subject, says, mend string) checked {
	return checked{Check: check, Subject: subject, Status: checkWarn, Says: says, Mend: mend}
}

func failed(check, subject, says, mend string) checked {
	return checked{Check: check, Subject: subject, Status: checkFail, Says: says, Mend: mend}
}

// doctorPatience bounds the whole of it.
const doctorPatience = 45 * time.Second

// doctor is GET /v1/doctor. It asks each provider a few things that do no harm:
// never with a refresh token.
func (a *App) doctor(s *service, r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), doctorPatience)
	defer cancel()
	parts := []func(context.Context, *service) []checked{
		a.checkConfiguration, a.checkKept, a.checkProviders, a.checkAccounts, a.checkKeys,
	}
	results := make([][]checked, len(parts))
	var running sync.WaitGroup
	for i, part := range parts {
		running.Go(func() { results[i] = part(ctx, s) })
	}
	running.Wait()
	all := slices.Concat(results...)
	counts := map[string]int{checkOK: 0, checkWarn: 0, checkFail: 0}
	for _, c := range all {
		counts[c.Status]++
	}
	return answer(checkFail, counts[checkFail], checkWarn, counts[checkWarn], checkOK, counts[checkOK], "checks", all), nil
}

// bySubject sorts results of one part, whose order is by chance.
func bySubject(all []checked) []checked {
	slices.SortStableFunc(all, func(a, b checked) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Check, b.Check))
	})
	return all
}
