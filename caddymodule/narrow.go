package caddymodule

import (
	"context"
	"fmt"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/policy"
	"github.com/bellhop-proxy/bellhop/internal/problem"
)

// checkNarrowing refuses a key whose tokens are to be narrower than those of an
// account that it names and that has none such: who made it would think it
// limited. Accounts that are not there yet are judged when the key is used.
func (s *service) checkNarrowing(ctx context.Context, key *policy.Key) error {
	if len(key.Scopes) == 0 {
		return nil
	}
	for _, id := range key.Accounts {
		if strings.Contains(id, "*") {
			continue
		}
		if p := problem.From(s.broker.Narrows(ctx, id)); p.Code == problem.NotAllowed {
			return fmt.Errorf("tokenScopes: account %q: %s", id, p.Message)
		}
	}
	return nil
}
