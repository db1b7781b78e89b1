#!/usr/bin/env bash
# Gmail and Drive through Bellhop. In Google's documentation, put $BELLHOP_GMAIL
# for https://gmail.googleapis.com and $BELLHOP_DRIVE for
# https://www.googleapis.com. Needs curl 7.82 and jq.
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
	call "$BELLHOP_GMAIL/gmail/v1/users/me/profile" | pick .emailAddress
}

pages() {
	local page next count=0 url="$BELLHOP_GMAIL/gmail/v1/users/me/messages?maxResults=100"
	next=$url
	while [ -n "$next" ]; do
		page=$(call "$next") || { pick . <<<"$page"; exit 1; }
		count=$((count + $(pick '.messages | length' <<<"$page")))
		next=$(pick '.nextPageToken // "" | @uri' <<<"$page")
		next=${next:+$url&pageToken=$next}
	done
	echo "$count messages"
}

# upload sends a file and its name in one request.
upload() { # file
	local boundary="bellhop-$RANDOM$RANDOM"
	{
		printf -- '--%s\r\nContent-Type: application/json\r\n\r\n' "$boundary"
		jq --null-input --compact-output --arg name "$(basename "$1")" '{$name}'
		printf -- '\r\n--%s\r\nContent-Type: application/octet-stream\r\n\r\n' "$boundary"
		cat "$1"
		printf -- '\r\n--%s--\r\n' "$boundary"
	} | call --data-binary @- --header "Content-Type: multipart/related; boundary=$boundary" \
		"$BELLHOP_DRIVE/upload/drive/v3/files?uploadType=multipart" | pick .id
}

# resumable sends a file in chunks. The session's URL is all that is needed to go
# on after a failure: no key goes with it, so treat it as one.
resumable() { # file
	local size session from=0 length chunk=$((16 * 1024 * 1024)) answer
	size=$(stat --format %s "$1")
	session=$(
		call --dump-header - --output /dev/null --json "$(jq --null-input --arg name "$(basename "$1")" '{$name}')" \
			"$BELLHOP_DRIVE/upload/drive/v3/files?uploadType=resumable" |
			tr -d '\r' | sed -n 's/^location: //ip'
	)
	while ((from < size)); do
		length=$((size - from < chunk ? size - from : chunk))
		# 308 asks for the next chunk.
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
	local boundary="bellhop-$RANDOM$RANDOM" path
	for path in "users/me/profile" "users/me/messages?maxResults=1"; do
		printf -- '--%s\r\nContent-Type: application/http\r\n\r\nGET /gmail/v1/%s HTTP/1.1\r\n\r\n\r\n' "$boundary" "$path"
	done | { cat; printf -- '--%s--\r\n' "$boundary"; } |
		call --data-binary @- --header "Content-Type: multipart/mixed; boundary=$boundary" "$BELLHOP_GMAIL/batch/gmail/v1" |
		tr -d '\r' | grep '^HTTP/'
}

download() { # id, file
	call --output "$2" "$BELLHOP_DRIVE/drive/v3/files/$1?alt=media"
}

"${1:?usage: $0 plain | pages | upload <file> | resumable <file> | batch | download <id> <file>}" "${@:2}"
