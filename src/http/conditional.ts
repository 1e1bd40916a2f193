/**
 * Conditional requests (RFC 9110 section 13) against a page that is at hand, and the entity tags they compare.
 *
 * The order of the questions is that of section 13.2.2, which this file follows step by step.
 */
import { createHash } from "node:crypto";
import { parseHttpDate } from "./dates.ts";
import { field, type Fields } from "./fields.ts";
import type { Coding } from "./negotiation.ts";

/** What the preconditions of a request say. */
export type Precondition = "none" | "not-modified" | "failed";

/** What is known of the page that a request is compared with. */
export interface Validators {
  /** The entity tag as it is sent, with its quotes and its `W/`. */
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
}

/** Whether a request asks for something else than all of the page: it has preconditions, or wants a part. */
export function hasConditions(request: Fields): boolean {
  return (
    request["if-none-match"] !== undefined ||
    request["if-modified-since"] !== undefined ||
    request["range"] !== undefined ||
    request["if-match"] !== undefined ||
    request["if-unmodified-since"] !== undefined
  );
}

/** Judges the preconditions of a GET or HEAD request. Other methods never reach a stored page. */
export function precondition(request: Fields, page: Validators, nowMs: number): Precondition {
  const ifMatch = field(request, "if-match");
  if (ifMatch !== undefined) {
    // Step 1. A page exists, so `*` holds; else the comparison is strong (section 13.1.1).
    if (ifMatch.trim() !== "*" && !entityTags(ifMatch).some((tag) => isStrongMatch(tag, page.etag))) return "failed";
  } else {
    const since = dateOf(request, "if-unmodified-since", nowMs);
    const modified = since === undefined ? undefined : parseHttpDate(page.lastModified ?? "", nowMs);
    // Step 2. A date that cannot be read, or a page without one: the field is ignored (section 13.1.4).
    if (since !== undefined && modified !== undefined && modified > since) return "failed";
  }
  const ifNoneMatch = field(request, "if-none-match");
  if (ifNoneMatch !== undefined) {
    // Step 3. The comparison is weak (section 13.1.2); If-Modified-Since is not asked beside it.
    if (ifNoneMatch.trim() === "*") return "not-modified";
    return entityTags(ifNoneMatch).some((tag) => isWeakMatch(tag, page.etag)) ? "not-modified" : "none";
  }
  // Step 4.
  const since = dateOf(request, "if-modified-since", nowMs);
  const modified = since === undefined ? undefined : parseHttpDate(page.lastModified ?? "", nowMs);
  return since !== undefined && modified !== undefined && modified <= since ? "not-modified" : "none";
}

/**
 * Whether a Range may be answered (section 13.1.5): `If-Range` is absent, or names exactly this page by a strong entity
 * tag, or by its date when that is strong, which is more than we can know of a date; dates therefore never match.
 */
export function ifRangeHolds(request: Fields, page: Validators): boolean {
  const ifRange = field(request, "if-range");
  return ifRange === undefined || isStrongMatch(ifRange.trim(), page.etag);
}

/** The well-formed entity tags of a list (section 8.8.3); whatever is not quoted is ignored. */
export function entityTags(value: string): string[] {
  // etagc is any visible character but the quote; commas are allowed inside, so lists cannot be cut at commas.
  return value.match(/(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g) ?? [];
}

/** A strong entity tag for a body: 128 bits of its SHA-256. */
export function entityTagOf(body: Uint8Array): string {
  return `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
}

/** Section 8.8.3.3: another coding is another representation, so a strong tag must differ. A weak one need not. */
export function codedEntityTag(etag: string, coding: Coding): string {
  return etag.startsWith("W/") || !etag.endsWith('"') ? etag : `${etag.slice(0, -1)}-${coding}"`;
}

/** Whether `text` is exactly one entity tag. */
export function isEntityTag(text: string): boolean {
  return entityTags(text)[0] === text;
}

/** Section 8.8.3.2: both are strong and equal. */
function isStrongMatch(a: string, b: string | undefined): boolean {
  return b !== undefined && a === b && isEntityTag(a) && !a.startsWith("W/");
}

/** Section 8.8.3.2: equal, whether weak or strong. */
function isWeakMatch(a: string, b: string | undefined): boolean {
  return b !== undefined && a.replace(/^W\//, "") === b.replace(/^W\//, "");
}

function dateOf(fields: Fields, name: string, nowMs: number): number | undefined {
  const text = field(fields, name);
  return text === undefined ? undefined : parseHttpDate(text, nowMs);
}
