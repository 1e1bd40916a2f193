/**
 * Namespace and key to the key on the wire.
 *
 *     shop=song:7          the value `song:7` of the namespace `shop`
 *     shop~=Zx3...         a value whose key is too long, or holds bytes that memcached's keys may not: its digest
 *     shop#songs           the generation of the tag `songs` (`shop~#...` where the tag is long or odd)
 *     shop!0               the generation of the namespace itself, one per server
 *     shop*0=song:7        the generation beside the value `song:7`, for those that were made from it
 *
 * A namespace holds none of `= ~ # ! *`, so no two of these meet. A digest is never trusted alone: the envelope of
 * the value keeps the original key, and another key under the same digest is a miss.
 */
import { createHash } from "node:crypto";
import { EverfreshError, shown } from "../errors.ts";
import { checkList } from "./arguments.ts";

/** protocol.txt, "Keys": at most 250 bytes, no control characters and no spaces. */
const longestKeyBytes = 250;
const plain = /^[!-~]+$/;
const namespacePattern = /^[A-Za-z0-9_.:/-]{1,100}$/;
const longestTagBytes = 200;
const limitTags = 100;
const limitRemembered = 5_000;
/** The original of a long key is stored beside its value; longer ones are a mistake, and pass through here by accident. */
export const limitKeyLength = 16_384;
/** A server with a thousandth of the keys is found among so many with all but certainty. */
const limitAttempts = 50_000;

/** Proves a namespace: 1 to 100 letters, digits and `_ . : / -`. */
export function checkNamespace(name: string): string {
  if (typeof name !== "string" || !namespacePattern.test(name))
    throw new EverfreshError(
      "EF_OPTION",
      `namespace is ${shown(name)}; it takes 1 to 100 letters, digits, "_", ".", ":", "/" and "-"`,
    );
  return name;
}

/** The keys of one namespace. */
export class Keys {
  readonly #value: string;
  readonly #tag: string;
  readonly #namespace: string;
  /** Wire keys that were made lately: the same text again is found faster than it is made. Long ones would fill the memory. */
  readonly #wires = new Map<string, string>();
  readonly #tags = new Map<string, string>();

  constructor(namespace: string) {
    this.#namespace = checkNamespace(namespace);
    this.#value = `${namespace}=`;
    this.#tag = `${namespace}#`;
  }

  /** The wire key of a value; any non-empty text works. */
  value(key: string): string {
    return this.#wires.get(key) ?? this.#remember(key);
  }

  #remember(key: string): string {
    const wire = this.#make(key);
    if (key.length > longestKeyBytes) return wire;
    if (this.#wires.size >= limitRemembered) this.#wires.clear();
    this.#wires.set(key, wire);
    return wire;
  }

  #make(key: string): string {
    if (typeof key !== "string" || key === "")
      throw new EverfreshError("EF_KEY", `a key is a text that is not empty; got ${shown(key)}`);
    if (key.length > limitKeyLength)
      throw new EverfreshError("EF_KEY", `a key has at most ${limitKeyLength} characters; this one has ${key.length}`);
    if (!plain.test(key)) refuseHalves(key, "EF_KEY", "a key");
    const wire = this.#value + key;
    return wire.length <= longestKeyBytes && plain.test(key) ? wire : `${this.#namespace}~=${digest(key)}`;
  }

  /** Whether `wire` is a digest, so that the original key must be compared on reading. */
  isDigest(wire: string): boolean {
    return wire.charCodeAt(this.#namespace.length) === 0x7e;
  }

  tag(tag: string): string {
    let wire = this.#tags.get(tag);
    if (wire !== undefined) return wire;
    if (isRawTag(tag)) return tag.slice(1);
    wire = this.#tag + tag;
    if (wire.length > longestKeyBytes || !plain.test(tag)) wire = `${this.#namespace}~#${digest(tag)}`;
    if (this.#tags.size >= limitRemembered) this.#tags.clear();
    this.#tags.set(tag, wire);
    return wire;
  }

  /**
   * The key of the generation beside the value under `wire`: the first of `shop*0=song:7`, `shop*1=song:7` ... that lives
   * on the same server, so that one server confirms the invalidation of both.
   */
  beside(placement: { serverOf(key: string): string }, wire: string): string {
    const server = placement.serverOf(wire);
    const rest = wire.slice(this.#namespace.length);
    const short = wire.length + 4 <= longestKeyBytes ? rest : `~=${digest(wire)}`;
    for (let attempt = 0; attempt < limitAttempts; attempt++) {
      const candidate = `${this.#namespace}*${attempt}${short}`;
      if (placement.serverOf(candidate) === server) return candidate;
    }
    throw new EverfreshError("EF_OPTION", `no key lives on ${server}; is its weight 0?`, { server });
  }

  /**
   * The key of this namespace's own generation on `server`: the first of `shop!0`, `shop!1` ... that lives there. All
   * processes that place keys alike agree on it.
   */
  spaceOn(placement: { serverOf(key: string): string }, server: string): string {
    for (let attempt = 0; attempt < limitAttempts; attempt++) {
      const wire = `${this.#namespace}!${attempt}`;
      if (placement.serverOf(wire) === server) return wire;
    }
    throw new EverfreshError("EF_OPTION", `no key lives on ${server}; is its weight 0?`, { server });
  }
}

/** A tag that is a key on the wire already: a generation beside a key, or a tag of another namespace. */
export function rawTag(wire: string): string {
  return `\u0001${wire}`;
}

export function isRawTag(tag: string): boolean {
  return tag.charCodeAt(0) === 1;
}

/** What a raw tag is the generation of, as far as it says so. */
type Named =
  | { readonly kind: "key" | "tag"; readonly namespace: string; readonly name: string }
  | { readonly kind: "namespace" | "digest" };

/** What the raw tag `tag` is the generation of. */
export function namedBy(tag: string): Named {
  const [, namespace = "", mark = "", name = ""] = /^([^=~#!*]+)(#|!|~#|\*\d+=|\*\d+~=)(.*)$/s.exec(tag.slice(1)) ?? [];
  if (mark === "!") return { kind: "namespace" };
  if (mark === "#") return { kind: "tag", namespace, name };
  return mark.endsWith("=") && !mark.includes("~") ? { kind: "key", namespace, name } : { kind: "digest" };
}

/** The tags that users know. */
export function visibleTags(tags: readonly string[]): readonly string[] {
  return tags.some(isRawTag) ? tags.filter((tag) => !isRawTag(tag)) : tags;
}

/** Proves the tags of a value: texts of 1 to 200 bytes, at most 100 of them. Answers a list of its own, each once. */
export function checkTags(tags: readonly string[]): readonly string[] {
  checkList(tags, `tags is a list of texts, such as ["songs"]`);
  for (const tag of tags)
    if (
      typeof tag !== "string" ||
      tag === "" ||
      isRawTag(tag) ||
      (tag.length > 66 && Buffer.byteLength(tag) > longestTagBytes)
    )
      throw new EverfreshError("EF_OPTION", `a tag is a text of 1 to ${longestTagBytes} bytes; got ${shown(tag)}`);
    else if (!plain.test(tag)) refuseHalves(tag, "EF_OPTION", "a tag");
  const unique = tags.length > 1 ? [...new Set<string>(tags)] : [...tags];
  if (unique.length > limitTags)
    throw new EverfreshError("EF_OPTION", `there are at most ${limitTags} tags at a time; got ${unique.length}`);
  return unique;
}

const loneSurrogate = /\p{Surrogate}/u;

/** UTF-8 has no half of a pair: all of them would become one and the same character, and their keys one key. */
function refuseHalves(text: string, code: "EF_KEY" | "EF_OPTION", what: string): void {
  if (!loneSurrogate.test(text)) return;
  throw new EverfreshError(
    code,
    `${what} holds half of a surrogate pair, as a text that was cut within an emoji: ${shown(text)}`,
  );
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, 32);
}
