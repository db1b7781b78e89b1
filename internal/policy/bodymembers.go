package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// messageMembers are what a message may have that is created or changed, at
// whatever depth: the members of messages themselves, of what they hold, and of
// the actions that make drafts, whose parameters some clients write with a
// capital. What the API alone sets is there for clients that send back what they
// read.
//
// Not there are singleValueExtendedProperties and
// multiValueExtendedProperties, because a message with some of MAPI's properties
// is a rule that the server obeys (MS-OXORULE, section 2.2.4), and isDraft.
var messageMembers = sortedMembers(`
	@odata.context @odata.etag @odata.type
	id changeKey createdDateTime lastModifiedDateTime parentFolderId webLink
	subject body bodyPreview uniqueBody contentType content
	from sender toRecipients ccRecipients bccRecipients replyTo emailAddress address name
	importance inferenceClassification categories isRead hasAttachments
	isDeliveryReceiptRequested isReadReceiptRequested
	conversationId conversationIndex internetMessageId internetMessageHeaders value
	receivedDateTime sentDateTime
	flag flagStatus startDateTime dueDateTime completedDateTime dateTime timeZone
	attachments contentBytes contentId contentLocation isInline size item
	comment message Comment Message ToRecipients`)

// mailFolderMembers are what a folder of mail may have, search folders included.
// Not there is messageRules, which forward and answer mail.
var mailFolderMembers = sortedMembers(`
	@odata.context @odata.etag @odata.type
	id displayName isHidden parentFolderId childFolderCount unreadItemCount totalItemCount sizeInBytes
	isSupported includeNestedFolders sourceFolderIds filterQuery`)

// maxDepth is how deep a body may be: a message as an attachment's item is six
// objects and lists below the draft.
const maxDepth = 16

func sortedMembers(names string) []string {
	list := strings.Fields(names)
	slices.Sort(list)
	return list
}

// checkMembers refuses a body that is not a JSON object of members with known
// names, at whatever depth. None at all is fine: it says nothing.
func checkMembers(header http.Header, body []byte, names []string) error {
	if len(body) == 0 {
		return nil
	}
	if err := checkPlainJSON(header); err != nil {
		return err
	}
	if !utf8.Valid(body) {
		return errors.New("send JSON in UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	token, err := d.Token()
	if err != nil || token != json.Delim('{') {
		return errors.New("send a JSON object")
	}
	if err := checkValue(d, token, names, 0); err != nil {
		return err
	}
	if len(bytes.TrimLeft(body[d.InputOffset():], " \t\r\n")) > 0 {
		return errors.New("send one JSON object and nothing behind it")
	}
	return nil
}

var errMalformed = errors.New("send JSON that is well formed")

// checkValue reads on to the end of a value that begins with the token.
func checkValue(d *json.Decoder, token json.Token, names []string, depth int) error {
	delim, nested := token.(json.Delim)
	switch {
	case !nested:
		return nil
	case depth == maxDepth:
		return fmt.Errorf("send JSON of at most %d levels", maxDepth)
	}
	var seen []string
	for d.More() {
		if delim == '{' {
			name, err := readMember(d, names)
			if err != nil {
				return err
			}
			if slices.Contains(seen, name) {
				return fmt.Errorf("send the member %q once", name)
			}
			seen = append(seen, name)
		}
		value, err := d.Token()
		if err != nil {
			return errMalformed
		}
		if err := checkValue(d, value, names, depth+1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return errMalformed
	}
	return nil
}

// readMember reads the name of a member, which must be known, or say of which
// type a known one is.
func readMember(d *json.Decoder, names []string) (string, error) {
	token, err := d.Token()
	name, ok := token.(string)
	if err != nil || !ok {
		return "", errMalformed
	}
	if _, known := slices.BinarySearch(names, strings.TrimSuffix(name, "@odata.type")); known {
		return name, nil
	}
	if _, known := slices.BinarySearch(names, name); known {
		return name, nil
	}
	return "", fmt.Errorf("leave out the member %q, which it does not know or which may do more than it allows", shortened(name))
}

// shortened is a text short enough for an error.
func shortened(text string) string {
	const most = 64
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
