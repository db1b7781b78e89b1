package vault

import (
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// sealedProposal is a consent that waits, as it is written within its grant's
// record.
type sealedProposal struct {
	AccessToken      string             `json:"access_token"`
	RefreshToken     string             `json:"refresh_token,omitempty"`
	Granted          []string           `json:"granted,omitempty"`
	Life             time.Duration      `json:"life"`
	Assumed          bool               `json:"assumed,omitempty"`
	RefreshTokenLife time.Duration      `json:"refresh_token_life,omitempty"`
	Date             time.Time          `json:"date,omitzero"`
	Audience         string             `json:"audience,omitempty"`
	Subject          string             `json:"subject,omitempty"`
	Issuer           string             `json:"issuer,omitempty"`
	Email            string             `json:"email,omitempty"`
	Proven           bool               `json:"proven,omitempty"`
	Name             string             `json:"name,omitempty"`
	ClientAuth       account.ClientAuth `json:"client_auth,omitempty"`
	Scopes           []string           `json:"scopes,omitempty"`
	Missing          []string           `json:"missing,omitempty"`
	Asked            time.Time          `json:"asked"`
	AnySubject       bool               `json:"any_subject,omitempty"`
	Generation       uint64             `json:"generation"`
	Confirm          string             `json:"confirm"`
	Expires          time.Time          `json:"expires"`
}

func sealProposal(p *account.Proposal) *sealedProposal {
	if p == nil {
		return nil
	}
	a, who := p.Answer, p.Identity
	return &sealedProposal{
		AccessToken: a.AccessToken.Reveal(), RefreshToken: a.RefreshToken.Reveal(), Granted: a.Scopes,
		Life: a.Life, Assumed: a.Assumed, RefreshTokenLife: a.RefreshTokenLife, Date: a.Date, Audience: p.Audience,
		Subject: who.Subject, Issuer: who.Issuer, Email: who.Email, Proven: who.Proven, Name: who.Name,
		ClientAuth: p.ClientAuth, Scopes: p.Scopes, Missing: p.Missing, Asked: p.Asked,
		AnySubject: p.AnySubject, Generation: p.Generation, Confirm: p.Confirm, Expires: p.Expires,
	}
}

func (s *sealedProposal) proposal() *account.Proposal {
	if s == nil {
		return nil
	}
	return &account.Proposal{
		Consent: account.Consent{
			Answer: account.Answer{
				AccessToken: secret.New(s.AccessToken), RefreshToken: secret.New(s.RefreshToken), Scopes: s.Granted,
				Life: s.Life, Assumed: s.Assumed, RefreshTokenLife: s.RefreshTokenLife, Date: s.Date,
			},
			Audience:   s.Audience,
			Identity:   account.Identity{Subject: s.Subject, Issuer: s.Issuer, Email: s.Email, Proven: s.Proven, Name: s.Name},
			ClientAuth: s.ClientAuth, Scopes: s.Scopes, Missing: s.Missing, Asked: s.Asked,
		},
		AnySubject: s.AnySubject, Generation: s.Generation, Confirm: s.Confirm, Expires: s.Expires,
	}
}
