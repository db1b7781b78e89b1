package fakeprovider

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// RotationPolicy says what becomes of a refresh token when it is used.
type RotationPolicy string

// The rotation policies.
const (
	// NoRotation: the refresh token stays; the answer has none.
	NoRotation RotationPolicy = "none"
	// KeepsOld: each answer has a new one; the old ones go on working.
	KeepsOld RotationPolicy = "keeps_old"
	// SingleUse: each answer has a new one; the old one coming back ends the
	// grant.
	SingleUse RotationPolicy = "single_use"
	// Grace: as SingleUse, but for a while after its first use the old one
	// gets the same answer again.
	Grace RotationPolicy = "grace"
)

// Rotation is a policy with its window. As text it is written as in Bellhop's
// configuration: "none", "keeps_old", "single_use" or "grace 30s".
type Rotation struct {
	Policy RotationPolicy
	// Window is how long after its first use a spent refresh token is still
	// honoured. For [Grace] only.
	Window time.Duration
}

// ParseRotation reads the text form of a [Rotation].
func ParseRotation(text string) (Rotation, error) {
	policy, window, hasWindow := strings.Cut(strings.TrimSpace(text), " ")
	rotation := Rotation{Policy: RotationPolicy(policy)}
	switch rotation.Policy {
	case NoRotation, KeepsOld, SingleUse:
		if hasWindow {
			return Rotation{}, fmt.Errorf("rotation %s takes no duration", policy)
		}
		return rotation, nil
	case Grace:
		var err error
		rotation.Window, err = time.ParseDuration(window)
		if err != nil {
			return Rotation{}, fmt.Errorf("parsing grace window: %w", err)
		}
		if rotation.Window <= 0 {
			return Rotation{}, errors.New("grace window is not positive")
		}
		return rotation, nil
	}
	return Rotation{}, fmt.Errorf("unknown rotation %q", policy)
}

// String returns the text form.
func (r Rotation) String() string {
	if r.Policy == Grace {
		return string(Grace) + " " + r.Window.String()
	}
	return string(r.Policy)
}

// MarshalText implements [encoding.TextMarshaler].
func (r Rotation) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Rotation) UnmarshalText(text []byte) error {
	parsed, err := ParseRotation(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

// Duration is a [time.Duration] that is written as text ("1m30s") in JSON.
type Duration time.Duration

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(parsed)
	return nil
}
