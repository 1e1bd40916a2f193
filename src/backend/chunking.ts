/** A backend that cuts what is too large for the one below it. See `chunks.ts`. */
import { systemRandom, type Random } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import type { Backend, Item, Reading, ReadSink, ServerHealth, Token, Want } from "./backend.ts";
import { chunkKeys, cut, join, manifestMark, readManifest } from "./chunks.ts";

/** Chunks outlive their manifest by this, so that who has just read it finds them. */
const spareSeconds = 30;

export class ChunkingBackend implements Backend {
  readonly reach;
  readonly itemLimitBytes: number;
  readonly #below: Backend;
  readonly #random: Random;

  constructor(below: Backend, random: Random = systemRandom) {
    this.reach = below.reach;
    this.#below = below;
    this.itemLimitBytes = below.itemLimitBytes;
    this.#random = random;
  }

  get keepsStale(): boolean {
    return this.#below.keepsStale;
  }

  get reorders(): boolean | undefined {
    return this.#below.reorders;
  }

  get previous(): Backend | undefined {
    return this.#below.previous;
  }

  describe(): string {
    return this.#below.describe();
  }

  serverOf(key: string): string {
    return this.#below.serverOf(key);
  }

  servers(): readonly ServerHealth[] {
    return this.#below.servers();
  }

  async read(key: string, want: Want): Promise<Reading> {
    return await this.assemble(await this.#below.read(key, want));
  }

  readInto(key: string, want: Want, sink: ReadSink): void {
    const below = this.#below;
    if (below.readInto === undefined)
      this.read(key, want).then(
        (reading) => sink.found(reading),
        (error: unknown) => sink.failed(error),
      );
    else below.readInto(key, want, new ChunkSink(this, sink));
  }

  claim(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined> {
    return this.#below.claim(key, token, leaseSeconds);
  }

  expire(key: string, token: Token, keepSeconds?: number): Promise<boolean> {
    return this.#below.expire(key, token, keepSeconds);
  }

  async replace(key: string, token: Token, item: Item, ttlSeconds: number): Promise<Token | undefined> {
    if (item.bytes.length <= this.itemLimitBytes) return await this.#below.replace(key, token, item, ttlSeconds);
    const manifest = await this.#spread(item, ttlSeconds);
    // Undefined would say that the version is gone, and a lease that still stands would not be given back.
    if (manifest === undefined)
      throw new EverfreshError("EF_VALUE_TOO_LARGE", `a value of ${item.bytes.length} bytes does not fit into chunks`);
    return await this.#below.replace(key, token, manifest, ttlSeconds);
  }

  renew(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined> {
    return this.#below.renew(key, token, leaseSeconds);
  }

  drop(key: string, token: Token): Promise<boolean> {
    return this.#below.drop(key, token);
  }

  async put(key: string, item: Item, ttlSeconds: number, mode: "set" | "add"): Promise<boolean> {
    if (item.bytes.length <= this.itemLimitBytes) return await this.#below.put(key, item, ttlSeconds, mode);
    const manifest = await this.#spread(item, ttlSeconds);
    return manifest !== undefined && (await this.#below.put(key, manifest, ttlSeconds, mode));
  }

  remove(key: string, keepSeconds?: number): Promise<boolean> {
    return this.#below.remove(key, keepSeconds);
  }

  async close(): Promise<void> {
    await this.#below.close();
  }

  /** Stores the chunks of `item` and answers what is to stand under its key; undefined when one was not stored. */
  async #spread(item: Item, ttlSeconds: number): Promise<Item | undefined> {
    const id = Buffer.from(this.#random.bytes(12)).toString("base64url");
    const made = cut(item, this.itemLimitBytes, id);
    if (made === undefined) return undefined;
    const seconds = ttlSeconds === 0 ? 0 : ttlSeconds + spareSeconds;
    const stored = await Promise.all(
      made.chunks.map(({ key, item: chunk }) => this.#below.put(key, chunk, seconds, "set")),
    );
    return stored.includes(false) ? undefined : made.manifest;
  }

  /** Reads the chunks of a manifest; one that cannot be had makes it an item that nobody can decode. */
  async assemble(reading: Reading): Promise<Reading> {
    if (reading.kind !== "item" || reading.item.flags !== manifestMark) return reading;
    const manifest = readManifest(reading.item.bytes);
    if (manifest === undefined) return reading;
    const chunks = await Promise.all(chunkKeys(manifest).map((key) => this.#chunk(key)));
    const bytes = join(manifest, chunks);
    return bytes === undefined ? reading : { ...reading, item: { bytes, flags: 0 } };
  }

  async #chunk(key: string): Promise<Buffer | undefined> {
    try {
      const reading = await this.#below.read(key, {});
      return reading.kind === "item" ? reading.item.bytes : undefined;
    } catch {
      return undefined;
    }
  }
}

class ChunkSink implements ReadSink {
  readonly #backend: ChunkingBackend;
  readonly #sink: ReadSink;

  constructor(backend: ChunkingBackend, sink: ReadSink) {
    this.#backend = backend;
    this.#sink = sink;
  }

  glance(data: Buffer, start: number, end: number): boolean {
    return this.#sink.glance?.(data, start, end) ?? false;
  }

  found(reading: Reading): void {
    if (reading.kind !== "item" || reading.item.flags !== manifestMark) this.#sink.found(reading);
    else void this.#backend.assemble(reading).then((whole) => this.#sink.found(whole));
  }

  failed(error: unknown): void {
    this.#sink.failed(error);
  }
}
