/** Pages in a content coding: which are worth it, and how they are made. Off the main thread, by Node's own zlib. */
import { promisify } from "node:util";
import zlib from "node:zlib";
import { codedEntityTag } from "./conditional.ts";
import { field, listOf } from "./fields.ts";
import type { Coding } from "./negotiation.ts";
import type { Page } from "./page.ts";

type Compressor = (body: Uint8Array) => Promise<Buffer>;

const brotli = promisify(zlib.brotliCompress);
const gzip = promisify(zlib.gzip);

/** Quality 5 costs what gzip's 6 costs and gives smaller pages; it is paid once per page, not per visitor. */
const compressors: Partial<Record<Coding, Compressor>> = {
  br: (body) =>
    brotli(body, {
      params: {
        [zlib.constants.BROTLI_PARAM_QUALITY]: 5,
        [zlib.constants.BROTLI_PARAM_MODE]: zlib.constants.BROTLI_MODE_TEXT,
        [zlib.constants.BROTLI_PARAM_SIZE_HINT]: body.length,
      },
    }),
  gzip: (body) => gzip(body, { level: 6 }),
  ...zstdWhereNodeHasIt(),
};

/** The codings that this Node can make; zstd from 22.15 on. */
export const availableCodings = Object.keys(compressors) as readonly Coding[];

const digests = ["content-digest", "repr-digest", "digest", "content-md5"];

/** Smaller bodies fit one packet anyway. */
const smallestBytes = 860;

/** Whether a page gets smaller in a coding: it is text of some size, not coded yet, and nobody forbade it. */
export function isCompressible(page: Page): boolean {
  if (page.body.length < smallestBytes || page.fields["content-encoding"] !== undefined) return false;
  // RFC 9530: these are of the bytes as the handler made them, and a client that checks them would refuse others.
  if (digests.some((name) => page.fields[name] !== undefined)) return false;
  // RFC 9111 section 5.2.2.6: no-transform.
  if (listOf(field(page.fields, "cache-control") ?? "").some((part) => part.toLowerCase() === "no-transform"))
    return false;
  const type = (field(page.fields, "content-type") ?? "").toLowerCase();
  return /^text\/|^application\/(?:javascript|json|xml|wasm|manifest\+json)|[+]json|[+]xml|^image\/svg/.test(type);
}

/** The same page in `coding`; the page itself where that would not be smaller. */
export async function compressed(page: Page, coding: Coding): Promise<Page> {
  const compressor = compressors[coding];
  if (compressor === undefined || !isCompressible(page)) return page;
  const body = await compressor(page.body);
  if (body.length >= page.body.length) return page;
  const { etag } = page.fields;
  return {
    ...page,
    fields: {
      ...page.fields,
      "content-encoding": coding,
      ...(typeof etag === "string" ? { etag: codedEntityTag(etag, coding) } : {}),
    },
    body,
  };
}

function zstdWhereNodeHasIt(): Partial<Record<Coding, Compressor>> {
  const { zstdCompress } = zlib as { zstdCompress?: (body: Uint8Array, done: ZstdDone) => void };
  if (zstdCompress === undefined) return {};
  return { zstd: (body) => new Promise((resolve, reject) => zstdCompress(body, settle(resolve, reject))) };
}

type ZstdDone = (error: Error | null, result: Buffer) => void;

function settle(resolve: (body: Buffer) => void, reject: (error: Error) => void): ZstdDone {
  return (error, result) => (error === null ? resolve(result) : reject(error));
}
