// Gmail and Drive through Bellhop with Google's own Node.js client libraries.

import { createReadStream, createWriteStream } from "node:fs";
import { basename } from "node:path";
import { pipeline } from "node:stream/promises";

import { drive, auth as driveAuth } from "@googleapis/drive";
import { gmail } from "@googleapis/gmail";

// The key stands where an access token would.
const auth = new driveAuth.OAuth2();
auth.setCredentials({ access_token: process.env.BELLHOP_KEY });

const Gmail = gmail({ version: "v1", auth });
const Drive = drive({ version: "v3", auth });

// rootUrl goes with each call, not with the client: a client's rootUrl loses its
// path, and does not hold for uploads, which would take the key to Google.
const viaGmail = { rootUrl: process.env.BELLHOP_GMAIL };
const viaDrive = { rootUrl: process.env.BELLHOP_DRIVE };

async function plain() {
	const { data } = await Gmail.users.getProfile({ userId: "me" }, viaGmail);
	console.log(data.emailAddress);
}

async function pages() {
	let count = 0;
	let pageToken;
	do {
		const { data } = await Gmail.users.messages.list({ userId: "me", pageToken }, viaGmail);
		count += data.messages?.length ?? 0;
		pageToken = data.nextPageToken;
	} while (pageToken);
	console.log(`${count} messages`);
}

// upload sends a file in one request. The library has no uploads in chunks.
async function upload(file) {
	const { data } = await Drive.files.create(
		{
			requestBody: { name: basename(file) },
			media: { mimeType: "application/octet-stream", body: createReadStream(file) },
		},
		viaDrive,
	);
	console.log(data.id);
}

async function download(fileId, file) {
	const { data } = await Drive.files.get({ fileId, alt: "media" }, { ...viaDrive, responseType: "stream" });
	await pipeline(data, createWriteStream(file));
}

const operations = { plain, pages, upload, download };
const [operation, ...args] = process.argv.slice(2);
if (!(operation in operations)) {
	console.error("usage: node google.js plain | pages | upload <file> | download <id> <file>");
	process.exit(2);
}
try {
	await operations[operation](...args);
} catch (error) {
	console.error(`${error.status ?? ""} ${error.message}`.trim());
	process.exit(1);
}
