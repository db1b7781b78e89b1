// What examples/recipes/node/google.js does not do: rootUrl goes with the client.

import { createReadStream, createWriteStream } from "node:fs";
import { basename } from "node:path";
import { pipeline } from "node:stream/promises";

import { drive, auth as driveAuth } from "@googleapis/drive";
import { gmail } from "@googleapis/gmail";

const auth = new driveAuth.OAuth2();
auth.setCredentials({ access_token: process.env.BELLHOP_KEY });

const Gmail = gmail({ version: "v1", auth, rootUrl: process.env.BELLHOP_GMAIL });
const Drive = drive({ version: "v3", auth, rootUrl: process.env.BELLHOP_DRIVE });

const operations = {
	async plain() {
		const { data } = await Gmail.users.getProfile({ userId: "me" });
		console.log(data.emailAddress);
	},
	async pages() {
		let count = 0;
		let pageToken;
		do {
			const { data } = await Gmail.users.messages.list({ userId: "me", pageToken });
			count += data.messages?.length ?? 0;
			pageToken = data.nextPageToken;
		} while (pageToken);
		console.log(`${count} messages`);
	},
	async upload(file) {
		const requestBody = { name: basename(file) };
		const media = { mimeType: "application/octet-stream", body: createReadStream(file) };
		const { data } = await Drive.files.create({ requestBody, media });
		console.log(data.id);
	},
	async download(fileId, file) {
		const { data } = await Drive.files.get({ fileId, alt: "media" }, { responseType: "stream" });
		await pipeline(data, createWriteStream(file));
	},
};

const [operation, ...args] = process.argv.slice(1);
try {
	await operations[operation](...args);
} catch (error) {
	console.error(`${error.status ?? ""} ${error.message}`.trim());
	process.exit(1);
}
