"""Gmail and Drive through Bellhop with Google's own Python client library."""

import json
import os
import sys

from google.oauth2.credentials import Credentials
from google_auth_httplib2 import AuthorizedHttp
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaFileUpload, MediaIoBaseDownload, build_http

MIB = 1024 * 1024


def connect():
    """An HTTP client that sends the key where an access token would stand.

    There is nothing to refresh: a 401 is an error like any other.
    """
    return AuthorizedHttp(Credentials(os.environ["BELLHOP_KEY"]), http=build_http(), refresh_status_codes=())


def service(discovery_url):
    """A client for the API that a discovery document describes.

    The document comes from Bellhop, and names Bellhop for all that the library
    calls. With api_endpoint instead, batches would take the key to Google.
    """
    http = connect()
    response, content = http.request(discovery_url)
    if response.status != 200:
        raise HttpError(response, content, uri=discovery_url)
    return build_from_document(json.loads(content), http=http)


def gmail():
    return service(os.environ["BELLHOP_GMAIL"] + "/$discovery/rest?version=v1")


def drive():
    return service(os.environ["BELLHOP_DRIVE"] + "/discovery/v1/apis/drive/v3/rest")


def plain():
    profile = gmail().users().getProfile(userId="me").execute()
    print(profile["emailAddress"])


def pages():
    messages = gmail().users().messages()
    count = 0
    request = messages.list(userId="me")
    while request is not None:
        page = request.execute()
        count += len(page.get("messages", []))
        request = messages.list_next(request, page)
    print(count, "messages")


def upload(name):
    media = MediaFileUpload(name, mimetype="application/octet-stream")
    created = drive().files().create(body={"name": os.path.basename(name)}, media_body=media).execute()
    print(created["id"])


def resumable(name):
    media = MediaFileUpload(name, mimetype="application/octet-stream", chunksize=16 * MIB, resumable=True)
    request = drive().files().create(body={"name": os.path.basename(name)}, media_body=media)
    created = None
    while created is None:
        _, created = request.next_chunk()
    print(created["id"])


def batch():
    def done(number, answer, error):
        print(number, error.resp.status if error else 200)

    api = gmail()
    calls = api.new_batch_http_request(callback=done)
    calls.add(api.users().getProfile(userId="me"))
    calls.add(api.users().messages().list(userId="me", maxResults=1))
    calls.execute()


def download(file_id, name):
    with open(name, "wb") as file:
        media = MediaIoBaseDownload(file, drive().files().get_media(fileId=file_id), chunksize=16 * MIB)
        done = False
        while not done:
            _, done = media.next_chunk()


def main():
    operations = {f.__name__: f for f in (plain, pages, upload, resumable, batch, download)}
    if len(sys.argv) < 2 or sys.argv[1] not in operations:
        sys.exit(
            "usage: python recipe.py plain | pages | upload <file> | resumable <file> | batch | download <id> <file>"
        )
    try:
        operations[sys.argv[1]](*sys.argv[2:])
    except HttpError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
