package internal_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mostExposed is what `systemd-analyze security` may find in the unit, in tenths:
// the network and the sockets that Bellhop is for, and no more.
const mostExposed = "15"

func readExample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// systemdAnalyze runs the tool, or skips the test where there is none.
func systemdAnalyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("BELLHOP_TEST_TOOLS") == "required" {
			t.Fatalf("systemd-analyze is missing: install it (Debian: systemd)")
		}
		t.Skip("systemd-analyze is missing")
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	return string(out), err
}

// writeUnit writes a copy of the unit that runs a program which is here.
func writeUnit(t *testing.T, text string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bellhop.service")
	text = strings.ReplaceAll(text, "/usr/local/bin/bellhop", self)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServiceUnitIsValidAndConfined(t *testing.T) {
	text := readExample(t, "systemd/bellhop.service")
	unit := writeUnit(t, text)
	if out, err := systemdAnalyze(t, "verify", unit); err != nil || strings.Contains(out, "bellhop.service:") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	if out, err := systemdAnalyze(t, "security", "--offline=true", "--threshold="+mostExposed, unit); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}

	// That both would notice.
	if out, _ := systemdAnalyze(t, "verify", writeUnit(t, strings.Replace(text, "LockPersonality", "LockPersonalty", 1))); !strings.Contains(out, "LockPersonalty") {
		t.Errorf("verify takes a setting that does not exist:\n%s", out)
	}
	if out, err := systemdAnalyze(t, "security", "--offline=true", "--threshold="+mostExposed, writeUnit(t, strings.Replace(text, "CapabilityBoundingSet=\n", "", 1))); err == nil {
		t.Errorf("security takes a service with all capabilities:\n%s", out)
	}
}

func TestClusterNodeIsConfinedAsTheServiceIs(t *testing.T) {
	unit := writeUnit(t, readExample(t, "systemd/bellhop.service"))
	dropIn := filepath.Join(unit+".d", "cluster.conf")
	if err := os.Mkdir(unit+".d", 0o700); err != nil {
		t.Fatal(err)
	}
	text := readExample(t, "cluster/cluster.conf")
	check := func(text string) (verify string, security error) {
		t.Helper()
		if err := os.WriteFile(dropIn, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := systemdAnalyze(t, "verify", unit)
		if err != nil {
			out += err.Error()
		}
		_, security = systemdAnalyze(t, "security", "--offline=true", "--threshold="+mostExposed, unit)
		return out, security
	}
	if out, err := check(text); err != nil || strings.Contains(out, "cluster.conf") {
		t.Errorf("security: %v\nverify: %s", err, out)
	}

	// That both would notice.
	if out, _ := check(strings.Replace(text, "RestartSec", "RestartSeconds", 1)); !strings.Contains(out, "RestartSeconds") {
		t.Errorf("verify takes a setting that does not exist:\n%s", out)
	}
	if _, err := check(text + "NoNewPrivileges=no\nProtectSystem=no\nRestrictNamespaces=no\n"); err == nil {
		t.Error("security takes a drop-in that opens the service")
	}
}

// Every file of a credential that the nodes read is given to them, by systemd and
// in containers.
func TestClusterNodesAreGivenTheirSecrets(t *testing.T) {
	node := readExample(t, "cluster/Caddyfile")
	units := readExample(t, "systemd/bellhop.service") + readExample(t, "cluster/cluster.conf")
	compose := readExample(t, "cluster/compose.yaml")
	found := regexp.MustCompile(`\{\$CREDENTIALS_DIRECTORY:/run/credentials/bellhop\.service\}/([a-z.-]+)`).FindAllStringSubmatch(node, -1)
	if len(found) == 0 {
		t.Fatal("the nodes have no secrets")
	}
	for _, secret := range found {
		name := secret[1]
		if !strings.Contains(units, "\nLoadCredential="+name+":/etc/bellhop/credentials/"+name+"\n") {
			t.Errorf("the service is not given %s", name)
		}
		if !strings.Contains(compose, "\n    - "+name+"\n") || !strings.Contains(compose, "\n    file: ./secrets/"+name+"\n") {
			t.Errorf("containers are not given %s", name)
		}
	}
}

// instruction is one of a container file's, with its arguments.
type instruction struct{ name, args string }

// readContainerfile reads a container file's instructions, without comments.
func readContainerfile(text string) []instruction {
	var all []instruction
	text = regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(text, "")
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		if name, args, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			all = append(all, instruction{name, strings.Join(strings.Fields(args), " ")})
		}
	}
	return all
}

func TestContainerHoldsNothingButBellhop(t *testing.T) {
	all := readContainerfile(readExample(t, "container/Containerfile"))
	last := -1
	for i, in := range all {
		if in.name == "FROM" {
			last = i
		}
		// ARG and ENV stay in the image's history; ADD fetches and unpacks.
		if in.name == "ARG" || in.name == "ADD" {
			t.Errorf("%s %s", in.name, in.args)
		}
		if in.name == "COPY" && slices.Contains(strings.Fields(in.args), ".") {
			t.Errorf("COPY %s: takes all that lies in the checkout", in.args)
		}
	}
	if last < 0 || all[last].args != "scratch" {
		t.Fatal("the image is not made from scratch")
	}
	found := map[string]string{}
	for _, in := range all[last:] {
		found[in.name] = in.args
		switch in.name {
		case "RUN":
			t.Errorf("RUN %s: there is nothing to run it with", in.args)
		case "ENV":
			if regexp.MustCompile(`(?i)secret|token|password|key=`).MatchString(in.args) {
				t.Errorf("ENV %s", in.args)
			}
		case "ENTRYPOINT", "CMD", "VOLUME":
			if !json.Valid([]byte(in.args)) {
				t.Errorf("%s %s: not a list", in.name, in.args)
			}
		}
	}
	if user := found["USER"]; !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user) {
		t.Errorf("USER %q: not a number, or root", user)
	}
	if _, check, ok := strings.Cut(found["HEALTHCHECK"], " CMD "); !ok || !json.Valid([]byte(check)) {
		t.Errorf("HEALTHCHECK %q: not a list", found["HEALTHCHECK"])
	}
	if want := `["/var/lib/bellhop", "/var/lib/bellhop-keyset"]`; found["VOLUME"] != want {
		t.Errorf("VOLUME %s, want %s: store and keyset apart", found["VOLUME"], want)
	}
}

func TestContainerIsBuiltAsTheReleaseIs(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	release, err := os.ReadFile("../.ci/release")
	if err != nil {
		t.Fatal(err)
	}
	file := readExample(t, "container/Containerfile")
	_, toolchain, _ := bytes.Cut(makefile, []byte("\nTOOLCHAIN := go"))
	version, _, _ := bytes.Cut(toolchain, []byte("\n"))
	if !strings.Contains(file, "golang:"+string(version)+" AS build") {
		t.Errorf("the image is not built with Go %s, as releases are", version)
	}
	_, tags, _ := bytes.Cut(makefile, []byte("\nTAGS := "))
	tags, _, _ = bytes.Cut(tags, []byte("\n"))
	for _, want := range []string{"-tags " + string(tags), "CGO_ENABLED=0", "-trimpath -buildvcs=false -ldflags '-s -w -buildid='"} {
		if !strings.Contains(file, want) {
			t.Errorf("the image is built without %s", want)
		}
		if !strings.HasPrefix(want, "-tags") && !bytes.Contains(release, []byte(want)) {
			t.Errorf("the release is built without %s", want)
		}
	}
}

func TestConfinedExamplesKeepSecretsOutOfTheConfiguration(t *testing.T) {
	stores := map[string]string{
		"container/Caddyfile": "store badger /var/lib/bellhop/store",
		"systemd/Caddyfile":   "store badger /var/lib/bellhop/store",
		"cluster/Caddyfile": "store postgres {file.{$CREDENTIALS_DIRECTORY:/run/credentials/bellhop.service}/database-url} " +
			"{file.{$CREDENTIALS_DIRECTORY:/run/credentials/bellhop.service}/database-url-direct}",
	}
	for name, store := range stores {
		text := readExample(t, name)
		for _, want := range []string{
			"admin unix//run/bellhop/admin.sock|0600", "persist_config off",
			store, "keyset /var/lib/bellhop-keyset/keyset.json",
		} {
			if !strings.Contains(text, want+"\n") {
				t.Errorf("%s lacks %s", name, want)
			}
		}
		for _, secret := range regexp.MustCompile(`(?m)^\s*client_secret (.*)$`).FindAllStringSubmatch(text, -1) {
			if !strings.HasPrefix(secret[1], "{file.") {
				t.Errorf("%s: client_secret %s is not in a file", name, secret[1])
			}
		}
	}
}
