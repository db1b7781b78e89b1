#!/usr/bin/env bash
# Microsoft Graph through Bellhop. In Microsoft's documentation, put
# $BELLHOP_GRAPH for https://graph.microsoft.com. Needs curl 7.82 and jq.
set -euo pipefail

# The key comes from a pipe, because everybody on the machine can read the
# arguments of a process.
call() {
	curl --silent --show-error --fail-with-body \
		--header @<(printf 'Authorization: Bearer %s\n' "$BELLHOP_KEY") "$@"
}

# pick prints what is asked for of an answer, or an error's message.
pick() { # jq filter
	jq --raw-output "if .error then .error.message + \"\n\" | halt_error else $1 end"
}

plain() {
	call "$BELLHOP_GRAPH/v1.0/me" | pick .mail
}

# pages follows the links that the answers have; they lead to Bellhop.
pages() {
	local page next="$BELLHOP_GRAPH/v1.0/me/messages?\$top=100" count=0
	while [ -n "$next" ]; do
		page=$(call "$next") || { pick . <<<"$page"; exit 1; }
		count=$((count + $(pick '.value | length' <<<"$page")))
		next=$(pick '."@odata.nextLink" // ""' <<<"$page")
	done
	echo "$count messages"
}

# upload sends a file of up to 250 MB in one request.
upload() { # file
	call --upload-file "$1" --header "Content-Type: application/octet-stream" \
		"$BELLHOP_GRAPH/v1.0/me/drive/root:/$(basename "$1"):/content" | pick .id
}

# resumable sends a file in chunks, each a multiple of 320 KiB. The session's URL
# is all that is needed to go on after a failure: no key goes with it, so treat
# it as one.
resumable() { # file
	local size session from=0 length chunk=$((50 * 320 * 1024)) answer
	size=$(stat --format %s "$1")
	session=$(call --json '{"item":{"@microsoft.graph.conflictBehavior":"replace"}}' \
		"$BELLHOP_GRAPH/v1.0/me/drive/root:/$(basename "$1"):/createUploadSession" | pick .uploadUrl)
	while ((from < size)); do
		length=$((size - from < chunk ? size - from : chunk))
		answer=$(dd if="$1" bs=$chunk skip=$((from / chunk)) count=1 status=none |
			curl --silent --show-error --fail-with-body --request PUT --data-binary @- \
				--header "Content-Type: application/octet-stream" \
				--header "Content-Range: bytes $from-$((from + length - 1))/$size" "$session")
		from=$((from + length))
	done
	pick .id <<<"$answer"
}

# batch makes two calls in one request.
batch() {
	call --json '{"requests":[
			{"id":"1","method":"GET","url":"/me"},
			{"id":"2","method":"GET","url":"/me/messages?$top=1"}
		]}' "$BELLHOP_GRAPH/v1.0/\$batch" | pick '(.responses[] | "\(.id) \(.status)")' | sort
}

# download follows the redirect to where the content is.
download() { # id, file
	call --location --output "$2" "$BELLHOP_GRAPH/v1.0/me/drive/items/$1/content"
}

"${1:?usage: $0 plain | pages | upload <file> | resumable <file> | batch | download <id> <file>}" "${@:2}"
