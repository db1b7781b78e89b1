package importfile

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// revealed compares accounts with their tokens; of an error, only that there is
// one.
var revealed = cmp.Options{
	cmp.Comparer(secret.String.Equal),
	cmp.Comparer(func(a, b error) bool { return (a == nil) == (b == nil) }),
	cmpopts.EquateEmpty(),
}

const (
	pythonToken = `{"token": "ya29.p", "refresh_token": "1//0gP", "token_uri": "https://oauth2.googleapis.com/token",
		"client_id": "1.apps.googleusercontent.com", "client_secret": "GOCSPX-x", "scopes": ["https://mail.google.com/"],
		"universe_domain": "googleapis.com", "account": "", "expiry": "2026-11-22T05:05:15.872000Z"}`
	rcloneFile = `# a comment
[gdrive]
type = drive
client_id = 1.apps.googleusercontent.com
client_secret = GOCSPX-x
scope = drive.readonly, drive.metadata.readonly
token = {"access_token":"ya29.r","token_type":"Bearer","refresh_token":"1//0gR","expiry":"2026-11-22T05:05:15.872+01:00"}
team_drive =

[work.one drive]
type = onedrive
client_id = 2
token = {"access_token":"eyJ","refresh_token":"M.C5;#\"x","expiry":"0001-01-01T00:00:00Z"}

[shared]
type = drive
token = {"access_token":"ya29.s","refresh_token":"1//0gS"}

[robot]
type = drive
service_account_file = /sa.json

[box]
type = box
client_id = 3
token = {"access_token":"b","refresh_token":"B"}

[secret]
type = crypt
remote = gdrive:x
password = zzz
`
)

func TestFilesAreRecognisedByTheirContent(t *testing.T) {
	expires := time.Date(2026, 11, 22, 5, 5, 15, 872e6, time.UTC)
	mail := []string{"https://mail.google.com/"}
	for name, test := range map[string]struct {
		text   string
		format Format
		want   []Account
	}{
		"gcloud": {
			`{"account":"","client_id":"7.apps.googleusercontent.com","client_secret":"d-x","quota_project_id":"p","refresh_token":"1//0gA","type":"authorized_user","universe_domain":"googleapis.com"}`,
			AuthorizedUser,
			[]Account{{ClientID: "7.apps.googleusercontent.com", RefreshToken: secret.New("1//0gA")}},
		},
		"google-auth": {"\ufeff" + pythonToken + "\n", TokenFile, []Account{{
			ClientID: "1.apps.googleusercontent.com", RefreshToken: secret.New("1//0gP"), AccessToken: secret.New("ya29.p"), Expires: expires, Scopes: mail,
		}}},
		"google-auth, no zone": {
			strings.Replace(strings.Replace(pythonToken, "15.872000Z", "15.872000", 1), `"account": ""`, `"account": "p@example.com"`, 1), TokenFile, []Account{{
				ClientID: "1.apps.googleusercontent.com", User: "p@example.com", RefreshToken: secret.New("1//0gP"), AccessToken: secret.New("ya29.p"), Expires: expires, Scopes: mail,
			}},
		},
		"oauth2client": {
			`{"access_token":"ya29.o","client_id":"1","client_secret":"x","refresh_token":"1//0gO","token_expiry":"2026-11-22T05:05:15.872Z","token_uri":"u","user_agent":null,"id_token":{"email":"x"},"scopes":["https://mail.google.com/"],"_class":"OAuth2Credentials"}`,
			TokenFile,
			[]Account{{ClientID: "1", RefreshToken: secret.New("1//0gO"), AccessToken: secret.New("ya29.o"), Expires: expires, Scopes: mail}},
		},
		"Node.js": {
			`{"access_token":"ya29.n","refresh_token":"1//0gN","scope":"https://mail.google.com/ openid","token_type":"Bearer","expiry_date":1795323915872}`,
			TokenFile,
			[]Account{{RefreshToken: secret.New("1//0gN"), AccessToken: secret.New("ya29.n"), Expires: expires, Scopes: []string{"https://mail.google.com/", "openid"}}},
		},
		"Go": {
			`{"access_token":"ya29.g","token_type":"Bearer","refresh_token":"1//0gG","expiry":"2026-11-22T06:05:15.872+01:00","expires_in":3599}`,
			TokenFile,
			[]Account{{RefreshToken: secret.New("1//0gG"), AccessToken: secret.New("ya29.g"), Expires: expires}},
		},
		"rclone": {rcloneFile, Rclone, []Account{
			{
				ID: "gdrive", ClientID: "1.apps.googleusercontent.com", RefreshToken: secret.New("1//0gR"), AccessToken: secret.New("ya29.r"), Expires: expires.Add(-time.Hour),
				Scopes: []string{"https://www.googleapis.com/auth/drive.readonly", "https://www.googleapis.com/auth/drive.metadata.readonly"},
			},
			{ID: "work.one drive", ClientID: "2", RefreshToken: secret.New(`M.C5;#"x`), AccessToken: secret.New("eyJ"), Scopes: oneDriveScopes},
			{ID: "shared", Scopes: []string{"https://www.googleapis.com/auth/drive"}, Err: errUnknown},
			{ID: "robot", Scopes: []string{"https://www.googleapis.com/auth/drive"}, Err: errUnknown},
			{ID: "box", ClientID: "3", RefreshToken: secret.New("B"), AccessToken: secret.New("b")},
		}},
		"array": {
			`[{"account":"a","provider":"google","user":"a@example.com","name":"A","refreshToken":"1//0gA","scopes":["s","t"],"accessToken":"ya29.a","expires":"2026-11-22T05:05:15.872Z"},
			  {"account":"b","clientId":"2","email":"b@example.com","refreshToken":"1//0gB","scopes":"s t"}]`,
			List,
			[]Account{
				{ID: "a", Provider: "google", User: "a@example.com", Name: "A", RefreshToken: secret.New("1//0gA"), Scopes: []string{"s", "t"}, AccessToken: secret.New("ya29.a"), Expires: expires},
				{ID: "b", ClientID: "2", User: "b@example.com", RefreshToken: secret.New("1//0gB"), Scopes: []string{"s", "t"}},
			},
		},
		"JSON lines": {
			`{"account":"a","oauth2":{"provider":"google","auth":{"user":"a@example.com"},"refreshToken":"1//0gA"}}` + "\n" + `{"account":"b","provider":"google"}` + "\n",
			List,
			[]Account{{ID: "a", Provider: "google", User: "a@example.com", RefreshToken: secret.New("1//0gA")}, {ID: "b", Provider: "google", Err: errUnknown}},
		},
		"one line": {`{"account":"a","provider":"google","refreshToken":"1//0gA"}`, List, []Account{{ID: "a", Provider: "google", RefreshToken: secret.New("1//0gA")}}},
	} {
		t.Run(name, func(t *testing.T) {
			format, got, err := Read([]byte(test.text))
			if err != nil || format != test.format {
				t.Fatalf("%q, %v", format, err)
			}
			if diff := cmp.Diff(test.want, got, revealed); diff != "" {
				t.Errorf("accounts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScopesOfARemote(t *testing.T) {
	for name, values := range map[string]struct {
		remote map[string]string
		want   string
	}{
		"drive by default": {map[string]string{"type": rcloneDrive}, "https://www.googleapis.com/auth/drive"},
		"chosen":           {map[string]string{"type": rcloneOneDrive, "access_scopes": "Files.Read offline_access"}, "Files.Read offline_access"},
		"without sites":    {map[string]string{"type": rcloneOneDrive, "disable_site_permission": "true"}, "Files.Read Files.ReadWrite Files.Read.All Files.ReadWrite.All offline_access"},
		"photos":           {map[string]string{"type": rclonePhotos}, ""},
	} {
		if got := strings.Join(rcloneScopes(values.remote), " "); got != values.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestWhatIsNoGrantIsRefusedWithWhatToDo(t *testing.T) {
	for name, test := range map[string]struct{ text, says string }{
		"empty":             {" \n", "empty"},
		"text":              {"1//0gSECRET", "nothing that is known"},
		"other JSON":        {`{"hello":"1//0gSECRET"}`, "nothing that is known"},
		"other INI":         {"[core]\neditor = 1//0gSECRET\n", "nothing that is known"},
		"client":            {`{"installed":{"client_id":"1","client_secret":"1//0gSECRET"}}`, "oauth connect"},
		"web client":        {`{"web":{"client_id":"1","client_secret":"1//0gSECRET"}}`, "oauth connect"},
		"service account":   {`{"type":"service_account","private_key":"1//0gSECRET"}`, "google_service_account"},
		"federation":        {`{"type":"external_account","audience":"1//0gSECRET"}`, "google_service_account"},
		"another type":      {`{"type":"1//0gSECRET"}`, "authorized_user"},
		"no refresh token":  {`{"access_token":"1//0gSECRET","token_type":"Bearer"}`, "refresh_token: is missing"},
		"wrong type":        {`{"refresh_token":["1//0gSECRET"],"client_id":"1"}`, "refresh_token: must be a string"},
		"scopes":            {`{"refresh_token":"1//0gSECRET","scopes":{"1//0gSECRET":1}}`, "scopes"},
		"cut off":           {`{"refresh_token":"1//0gSECRET`, "ends in the middle"},
		"broken":            {`{"refresh_token":"1//0gSECRET"x}`, "valid JSON"},
		"encrypted rclone":  {"# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nAAAA", "rclone config show"},
		"no remote of ours": {"[s]\ntype = s3\nsecret_access_key = 1//0gSECRET\n", "none of the remotes"},
		"empty list":        {"[]", "the list is empty"},
		"broken list":       {`[{"account":"a"`, "valid JSON"},
		"nothing named":     {`[{"refreshToken":"1//0gSECRET"}]`, "account 1 of the list: account: is missing"},
		"misspelt":          {`[{"account":"a","refreshToken":"x"},{"account":"b","refreshtokn":"1//0gSECRET"}]`, `account 2 of the list: unknown field "refreshtokn"`},
		"time":              {`[{"account":"a","expires":"1//0gSECRET"}]`, "expires"},
		"number":            {`[{"account":"a","refreshToken":12345678}]`, "refreshToken: must be a string"},
		"no object":         {`{"account":"a"} "1//0gSECRET"`, "account 2 of the list"},
	} {
		t.Run(name, func(t *testing.T) {
			_, accounts, err := Read([]byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.says) || accounts != nil {
				t.Fatalf("%v, %v", accounts, err)
			}
			if strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "12345678") {
				t.Errorf("%v quotes what may be a secret", err)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range []string{pythonToken, rcloneFile, `[{"account":"a","refreshToken":"x"}]`, `{"account":"a","accessToken":"x"} {}`, "[", "[a]\ntype=\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		format, accounts, err := Read(text)
		if err != nil {
			if accounts != nil {
				t.Errorf("accounts beside %v", err)
			}
			return
		}
		if format == "" || len(accounts) == 0 {
			t.Errorf("%q: nothing was read", format)
		}
		for _, a := range accounts {
			if a.Err == nil && a.RefreshToken.IsZero() && a.AccessToken.IsZero() {
				t.Errorf("%+v has no token", a)
			}
		}
	})
}
