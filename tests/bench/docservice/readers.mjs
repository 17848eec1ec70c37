// Reads the mails whose paths stand on standard input, one a line, with mailparser and with postal-mime, and
// prints one JSON object for each: what both found. Run by readers.py in a folder where npm installed both.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { simpleParser } = require("mailparser");
const PostalMime = (await import(require.resolve("postal-mime"))).default;
const sha256 = (data) => createHash("sha256").update(Buffer.from(data)).digest("hex");
const list = (value) => (value === undefined ? [] : Array.isArray(value) ? value : [value]);
const flat = (all) => list(all).flatMap((one) => list(one.value ?? one).flatMap((box) => box.group ?? [box]));
const boxes = (all) => flat(all).map((box) => [box.name ?? "", box.address ?? ""]);
const time = (value) => {
  const at = value ? new Date(value) : undefined;
  return at && !Number.isNaN(at.getTime()) ? at.toISOString() : null;
};

const readers = {
  async mailparser(data) {
    const found = await simpleParser(data, { skipImageLinks: true, skipTextToHtml: true });
    return {
      subject: found.subject ?? "",
      from: boxes(found.from),
      to: boxes(found.to),
      cc: boxes(found.cc),
      message_id: found.messageId ?? "",
      sent_at: found.headers.has("date") ? time(found.date) : null,
      text: found.text ?? "",
      html: found.html || "",
      attachments: found.attachments.map((item) => [item.filename ?? "", sha256(item.content), item.contentType ?? item.mimeType ?? ""]),
    };
  },
  async "postal-mime"(data) {
    const found = await PostalMime.parse(data, { forceRfc822Attachments: true });
    return {
      subject: found.subject ?? "",
      from: boxes(found.from),
      to: boxes(found.to),
      cc: boxes(found.cc),
      message_id: found.messageId ?? "",
      sent_at: time(found.date),
      text: found.text ?? "",
      html: found.html ?? "",
      attachments: found.attachments.map((item) => [item.filename ?? "", sha256(item.content), item.contentType ?? item.mimeType ?? ""]),
    };
  },
};

for await (const path of createInterface({ input: process.stdin })) {
  const found = { path };
  for (const [name, read] of Object.entries(readers)) {
    try {
      found[name] = await read(readFileSync(path));
    } catch (fault) {
      found[name] = { failed: String(fault) };
    }
  }
  console.log(JSON.stringify(found));
}
