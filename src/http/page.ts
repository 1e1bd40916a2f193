/**
 * What is stored for a URL, and its bytes.
 *
 * Three kinds of record live under a page's key: the page itself; the names that responses of this URL vary on (the page
 * is then under a key with their values); and a mark that this URL cannot be stored, which keeps later requests from
 * waiting for one another in vain.
 *
 *     byte  0      0xF1: this format
 *     bytes 1-4    length of the head, big endian
 *     then         the head, JSON; then the body
 *
 * Decoding never throws: what is no record is `undefined`, and its reader misses.
 */
import { validateHeaderName, validateHeaderValue } from "node:http";
import type { Reason } from "./cache-status.ts";
import { isToken } from "./fields.ts";

/** A whole response that may be given to others. */
export interface Page {
  readonly kind: "page";
  readonly status: number;
  /** Fields without those of one connection or message; Vary is complete. */
  readonly fields: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Buffer;
  /** When it was rendered, by the renderer's clock. */
  readonly storedAtMs: number;
  /** How old it already was then (RFC 9111 section 4.2.3). */
  readonly arrivalAgeSeconds: number;
  /** Until when it may be used without asking, by the renderer's clock. */
  readonly freshUntilMs: number;
}

/** The names that responses of this URL vary on, sorted. */
export interface VaryRecord {
  readonly kind: "vary";
  readonly names: readonly string[];
}

/** This URL was found not storable, and why. */
export interface PassRecord {
  readonly kind: "pass";
  readonly reason: Reason;
}

export type PageRecord = Page | VaryRecord | PassRecord;

const format = 0xf1;
const headAt = 5;
const emptyBody = Buffer.alloc(0);

/** Records that were decoded from bytes that stay in this process. */
const decoded = new WeakMap<Buffer, PageRecord>();

export function encodeRecord(record: PageRecord): Buffer {
  const { body, ...head } = record.kind === "page" ? record : { ...record, body: emptyBody };
  const text = JSON.stringify(head);
  const headBytes = Buffer.byteLength(text);
  const bytes = Buffer.allocUnsafe(headAt + headBytes + body.length);
  bytes[0] = format;
  bytes.writeUInt32BE(headBytes, 1);
  bytes.write(text, headAt);
  bytes.set(body, headAt + headBytes);
  return bytes;
}

/** The body of a page is a view of `bytes`, not a copy. */
export function decodeRecord(bytes: Buffer): PageRecord | undefined {
  const known = decoded.get(bytes);
  if (known !== undefined) return known;
  if (bytes.length < headAt || bytes[0] !== format) return undefined;
  const bodyAt = headAt + bytes.readUInt32BE(1);
  if (bodyAt > bytes.length) return undefined;
  try {
    const head = JSON.parse(bytes.toString("utf8", headAt, bodyAt)) as PageRecord;
    if (!isSound(head)) return undefined;
    const record = head.kind === "page" ? { ...head, body: bytes.subarray(bodyAt) } : head;
    decoded.set(bytes, record);
    return record;
  } catch {
    return undefined;
  }
}

/**
 * Whether what is said to be a record can be worked with. Its bytes come from a server that others may write to: a field
 * with a line break in it must neither reach a visitor as two fields nor end the process that tries to send it.
 */
function isSound(head: PageRecord): boolean {
  if (head.kind === "pass") return typeof head.reason === "string";
  if (head.kind === "vary") return isTexts(head.names) && head.names.every(isToken);
  const { kind, status, fields, storedAtMs, arrivalAgeSeconds, freshUntilMs } = head;
  if (kind !== "page" || !Number.isInteger(status) || status < 200 || status > 599) return false;
  if (![storedAtMs, arrivalAgeSeconds, freshUntilMs].every(Number.isFinite)) return false;
  for (const name in fields) {
    const value = fields[name];
    if (typeof value !== "string" && !isTexts(value)) return false;
    // Both throw, and whoever asks takes that for "no".
    validateHeaderName(name);
    for (const line of [value].flat()) validateHeaderValue(name, line);
  }
  return true;
}

function isTexts(values: unknown): values is readonly string[] {
  return Array.isArray(values) && values.every((value) => typeof value === "string");
}
