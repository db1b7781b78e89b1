// Microsoft Graph through Bellhop with Microsoft's own JavaScript client library.

import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

import {
	BatchRequestContent,
	Client,
	FileUpload,
	OneDriveLargeFileUploadTask,
	PageIterator,
} from "@microsoft/microsoft-graph-client";

// The library sends the key, which stands where an access token would, to no
// hosts but Microsoft's and those in customHosts, and only over https.
const base = new URL(process.env.BELLHOP_GRAPH);
const client = Client.init({
	baseUrl: base.href,
	customHosts: new Set([base.hostname]),
	authProvider: (done) => done(null, process.env.BELLHOP_KEY),
});

async function plain() {
	const me = await client.api("/me").get();
	console.log(me.mail);
}

async function pages() {
	let count = 0;
	const first = await client.api("/me/messages").top(100).get();
	await new PageIterator(client, first, () => {
		count++;
		return true;
	}).iterate();
	console.log(`${count} messages`);
}

// upload sends a file of up to 250 MB in one request.
async function upload(file) {
	const item = await client.api(`/me/drive/root:/${basename(file)}:/content`).put(await readFile(file));
	console.log(item.id);
}

async function resumable(file) {
	const content = await readFile(file);
	const task = await OneDriveLargeFileUploadTask.createTaskWithFileObject(
		client,
		new FileUpload(content, basename(file), content.length),
		{ fileName: basename(file), rangeSize: 50 * 320 * 1024 },
	);
	const { responseBody } = await task.upload();
	console.log(responseBody.id);
}

// batch makes two calls in one request. Of a part's URL the library takes what
// stands behind the host, without the version: any host will do.
async function batch() {
	const parts = new BatchRequestContent([
		{ id: "1", request: new Request("https://graph.microsoft.com/me") },
		{ id: "2", request: new Request("https://graph.microsoft.com/me/messages?$top=1") },
	]);
	const { responses } = await client.api("/$batch").post(await parts.getContent());
	for (const { id, status } of responses.sort((a, b) => a.id.localeCompare(b.id))) {
		console.log(id, status);
	}
}

async function download(id, file) {
	const content = await client.api(`/me/drive/items/${id}/content`).getStream();
	await pipeline(Readable.fromWeb(content), createWriteStream(file));
}

const operations = { plain, pages, upload, resumable, batch, download };
const [operation, ...args] = process.argv.slice(2);
if (!(operation in operations)) {
	console.error("usage: node graph.js plain | pages | upload <file> | resumable <file> | batch | download <id> <file>");
	process.exit(2);
}
try {
	await operations[operation](...args);
} catch (error) {
	console.error(`${error.statusCode ?? ""} ${error.code ?? ""} ${error.message}`.trim());
	process.exit(1);
}
