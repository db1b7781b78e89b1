package caddymodule

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

func TestQuantitiesAreWrittenAsTheyWereRead(t *testing.T) {
	type quantities struct {
		Duration Duration `json:"duration,omitzero"`
		Size     Size     `json:"size,omitzero"`
		Rate     Rate     `json:"rate,omitzero"`
		Expiry   Expiry   `json:"expiry,omitzero"`
		Rotation Rotation `json:"rotation,omitzero"`
	}
	for _, text := range []string{
		`{}`,
		`{"duration":"90s","size":"65536","rate":"600/m","expiry":"30d","rotation":"grace 1m"}`,
		`{"duration":"1d","size":"64KiB","rate":"1/h","expiry":"2027-01-31T12:00:00+02:00","rotation":"none"}`,
		`{"duration":"0s","size":"0"}`,
	} {
		t.Run(text, func(t *testing.T) {
			var q quantities
			if err := json.Unmarshal([]byte(text), &q); err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(q)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != text {
				t.Errorf("encoded %s, want %s", got, text)
			}
		})
	}
}

func TestQuantitiesOfJSONMustBeStringsInTheirSyntax(t *testing.T) {
	tests := []struct {
		name string
		into any
		text string
	}{
		{"duration as number", new(Duration), `5000000000`},
		{"duration empty", new(Duration), `""`},
		{"duration without unit", new(Duration), `"5"`},
		{"duration negative", new(Duration), `"-1s"`},
		{"size as number", new(Size), `65536`},
		{"size negative", new(Size), `"-1"`},
		{"size beyond 64 bits", new(Size), `"10EiB"`},
		{"rate of nothing", new(Rate), `"0/s"`},
		{"rate per day", new(Rate), `"10/d"`},
		{"expiry in the past tense", new(Expiry), `"-30d"`},
		{"expiry impossible", new(Expiry), `"2027-02-30"`},
		{"rotation unknown", new(Rotation), `"always"`},
		{"rotation grace of nothing", new(Rotation), `"grace 0s"`},
		{"rotation with surplus", new(Rotation), `"single_use 10s"`},
		{"API host empty", new(APIHost), `""`},
		{"API hosts in one string", new(APIHost), `"a.example.com b.example.com"`},
		{"API host that is only a word", new(APIHost), `"token_minting"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := json.Unmarshal([]byte(test.text), test.into); err == nil {
				t.Errorf("%s was read as %v", test.text, test.into)
			}
		})
	}
}

func TestQuantityFallsBackOnlyIfItWasNotWritten(t *testing.T) {
	duration, err := ParseDuration("0s")
	if err != nil {
		t.Fatal(err)
	}
	if got := duration.Or(time.Minute); got != 0 {
		t.Errorf("a written 0s is %v", got)
	}
	if got := (Duration{}).Or(time.Minute); got != time.Minute {
		t.Errorf("an unwritten duration is %v, want the fallback", got)
	}
	size, err := ParseSize("0")
	if err != nil {
		t.Fatal(err)
	}
	if got := size.Or(7); got != 0 {
		t.Errorf("a written size of 0 is %d", got)
	}
	if got := (Size{}).Or(7); got != 7 {
		t.Errorf("an unwritten size is %d, want the fallback", got)
	}
}

func TestRotationNamesItsModeAndGrace(t *testing.T) {
	for text, want := range map[string]account.Rotation{
		"none":       {Kind: account.RotationNone},
		"keeps_old":  {Kind: account.RotationKeepsOld},
		"single_use": {Kind: account.RotationSingleUse},
		"grace 10s":  {Kind: account.RotationGrace, Grace: 10 * time.Second},
	} {
		rotation, err := ParseRotation(text)
		if err != nil {
			t.Fatal(err)
		}
		if rotation.Mode() != string(want.Kind) || rotation.Grace() != want.Grace {
			t.Errorf("%s is %q with %v, want %q with %v", text, rotation.Mode(), rotation.Grace(), want.Kind, want.Grace)
		}
	}
	if mode := (Rotation{}).Mode(); mode != "" {
		t.Errorf("an unwritten rotation is %q", mode)
	}
}

func TestSizeKnowsBinaryAndDecimalUnits(t *testing.T) {
	for text, want := range map[string]int64{"64KiB": 64 << 10, "64KB": 64_000, "1MiB": 1 << 20, "12": 12} {
		size, err := ParseSize(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := size.Or(-1); got != want {
			t.Errorf("%s is %d bytes, want %d", text, got, want)
		}
	}
}

func TestRateCountsPerUnit(t *testing.T) {
	rate, err := ParseRate("600/m")
	if err != nil {
		t.Fatal(err)
	}
	if rate.Calls() != 600 || rate.Per() != time.Minute {
		t.Errorf("600/m is %d per %v", rate.Calls(), rate.Per())
	}
}

func TestExpiryEnds(t *testing.T) {
	loaded := time.Date(2026, 7, 8, 14, 0, 0, 0, time.UTC)
	tests := []struct {
		name, text string
		want       time.Time
	}{
		{"date at the end of its day", "2027-01-31", time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)},
		{"time at that time", "2027-01-31T12:00:00Z", time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)},
		{"duration after the load", "30d", loaded.Add(30 * 24 * time.Hour)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expiry, err := ParseExpiry(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := expiry.At(loaded); !got.Equal(test.want) {
				t.Errorf("%s ends at %v, want %v", test.text, got, test.want)
			}
		})
	}
	if got := (Expiry{}).At(loaded); !got.IsZero() {
		t.Errorf("an unwritten expiry ends at %v, want never", got)
	}
}
