package caddymodule

import (
	"errors"
	"slices"
	"strings"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/problem"
	"github.com/bellhop-proxy/bellhop/internal/provider"
)

// nameConsent adds to the refusal of an audience what is to be consented to:
// nothing, where only the narrower scopes were refused.
func nameConsent(err error, p provider.Provider, audience string, narrower []string) error {
	refusal, ok := errors.AsType[*problem.Problem](err)
	if !ok || refusal.Code != problem.InsufficientScope || len(narrower) > 0 {
		return err
	}
	scopes := slices.DeleteFunc(slices.Clone(p.AudienceScopes(audience, nil)), account.IsSignInScope)
	if len(scopes) == 0 {
		return err
	}
	named := *refusal
	named.Message = strings.TrimSuffix(named.Message, ".") + ". It needs consent to " + strings.Join(scopes, " ")
	return &named
}
