/** The cache made wrong, each time in one way that looks reasonable. The simulation must catch every one of them. */
import type { Backend, Item, Reading, Token, Want } from "#src/backend/index.ts";
import type { OutboxCache } from "everfresh/outbox";
import type { Random } from "#src/clock.ts";
import type { Cache } from "#src/cache/index.ts";
import { isRawTag } from "#src/cache/keys.ts";
import { pack, unpack, type Generation, type Header, type Stored } from "#src/cache/envelope.ts";
import type { Variant } from "./world-options.ts";

/** Passes everything on to another backend; a variant changes one method. */
class Around implements Backend {
  readonly inner: Backend;
  readonly reach: Backend["reach"];
  readonly keepsStale: boolean;
  readonly itemLimitBytes: number;
  readonly previous: Backend | undefined;
  readonly reorders: boolean | undefined;

  constructor(inner: Backend) {
    this.inner = inner;
    this.reach = inner.reach;
    this.keepsStale = inner.keepsStale;
    this.itemLimitBytes = inner.itemLimitBytes;
    this.previous = inner.previous;
    this.reorders = inner.reorders;
  }

  describe(): string {
    return this.inner.describe();
  }
  serverOf(key: string): string {
    return this.inner.serverOf(key);
  }
  servers(): ReturnType<Backend["servers"]> {
    return this.inner.servers();
  }
  read(key: string, want: Want): Promise<Reading> {
    return this.inner.read(key, want);
  }
  claim(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined> {
    return this.inner.claim(key, token, leaseSeconds);
  }
  expire(key: string, token: Token, keepSeconds?: number): Promise<boolean> {
    return this.inner.expire(key, token, keepSeconds);
  }
  replace(key: string, token: Token, item: Item, ttlSeconds: number): Promise<Token | undefined> {
    return this.inner.replace(key, token, item, ttlSeconds);
  }
  renew(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined> {
    return this.inner.renew(key, token, leaseSeconds);
  }
  drop(key: string, token: Token): Promise<boolean> {
    return this.inner.drop(key, token);
  }
  put(key: string, item: Item, ttlSeconds: number, mode: "set" | "add"): Promise<boolean> {
    return this.inner.put(key, item, ttlSeconds, mode);
  }
  remove(key: string, keepSeconds?: number): Promise<boolean> {
    return this.inner.remove(key, keepSeconds);
  }
  close(): Promise<void> {
    return this.inner.close();
  }
}

/** The same value, said to have been made from other generations. */
function packAgain(stored: Stored, other: Partial<Pick<Header, "space" | "generations">>): Buffer {
  const { createdAt, freshUntil, version, space, tags, generations, key } = stored;
  const header = { createdAt, freshUntil, version, space, tags, generations, key, ...other };
  return pack(header, { format: stored.format, bytes: stored.payload });
}

/** Under which key the generation of a tag is; a generation beside a key is named by its own. */
function wireOf(tag: string): string {
  return isRawTag(tag) ? tag.slice(1) : `w#${tag}`;
}

function isGeneration(key: string): boolean {
  return !key.startsWith("w=");
}

/** What was computed is simply set. */
class FillsWithoutLease extends Around {
  override async replace(key: string, token: Token, item: Item, ttlSeconds: number): Promise<Token | undefined> {
    return (await this.inner.put(key, item, ttlSeconds, "set")) ? token : undefined;
  }
}

/** The generations are those from after the load. */
class ReadsTagsAfterTheLoad extends Around {
  override async replace(key: string, token: Token, item: Item, ttlSeconds: number): Promise<Token | undefined> {
    const stored = unpack(item.bytes);
    if (stored === undefined) return undefined;
    const now = await Promise.all(stored.tags.map((tag) => this.inner.read(wireOf(tag), {})));
    const generations = now.map((reading, index) =>
      reading.kind === "item" ? reading.item.bytes.toString("latin1") : stored.generations[index],
    );
    const bytes = packAgain(stored, { generations: generations as Generation[] });
    return await this.inner.replace(key, token, { ...item, bytes, memo: undefined }, ttlSeconds);
  }
}

/**
 * The namespace's generation is the one from after the load. By itself this only breaks `clear`; but it takes away the
 * second defence that a value from before a restart meets.
 */
class ReadsTheNamespaceAfterTheLoad extends Around {
  override async replace(key: string, token: Token, item: Item, ttlSeconds: number): Promise<Token | undefined> {
    const reading = await this.inner.read("w!0", {});
    const stored = unpack(item.bytes);
    if (reading.kind !== "item" || stored === undefined) return undefined;
    const bytes = packAgain(stored, { space: reading.item.bytes.toString("latin1") as Generation });
    return await this.inner.replace(key, token, { ...item, bytes, memo: undefined }, ttlSeconds);
  }
}

/** An attempt that failed is repeated as it was, with the generation that it had. */
class RepeatsGenerations extends Around {
  readonly #failed = new Map<string, Item>();
  override async put(key: string, item: Item, ttlSeconds: number, mode: "set" | "add"): Promise<boolean> {
    const sent = mode === "set" ? (this.#failed.get(key) ?? item) : item;
    try {
      const stored = await this.inner.put(key, sent, ttlSeconds, mode);
      this.#failed.delete(key);
      return stored;
    } catch (error) {
      if (mode === "set") this.#failed.set(key, sent);
      throw error;
    }
  }
}

/** Who comes while a question is on its way takes its answer. */
class JoinsLookups extends Around {
  readonly #asked = new Map<string, Promise<Reading>>();
  override read(key: string, want: Want): Promise<Reading> {
    const asked = this.#asked.get(key);
    if (asked !== undefined) return asked;
    const reading = this.inner.read(key, want).finally(() => this.#asked.delete(key));
    this.#asked.set(key, reading);
    return reading;
  }
}

/** A fill that was refused is taken for one that was stored, by those who came while the load ran. */
class TrustsRefusedFills extends Around {
  override async replace(key: string, token: Token, item: Item, ttlSeconds: number): Promise<Token | undefined> {
    return (await this.inner.replace(key, token, item, ttlSeconds)) ?? token;
  }
}

/** The tier is served without asking. */
class TrustsTheTier extends Around {
  override read(key: string, want: Want): Promise<Reading> {
    if (want.known === undefined) return this.inner.read(key, want);
    return Promise.resolve({ kind: "same", token: want.known, ttlSeconds: undefined, won: false });
  }
}

/** Somebody else's lease is taken for no lease: everybody computes. */
class IgnoresLeases extends Around {
  override async read(key: string, want: Want): Promise<Reading> {
    const reading = await this.inner.read(key, want);
    return reading.kind === "leased" ? { kind: "won", token: { epoch: undefined, version: undefined } } : reading;
  }
}

/** An invalidation is sent, and its answer not waited for. */
class DoesNotWait extends Around {
  override remove(key: string, keepSeconds?: number): Promise<boolean> {
    this.inner.remove(key, keepSeconds).catch(() => undefined);
    return Promise.resolve(true);
  }
}

/** Who comes while a fill is on its way takes what it stores. */
class JoinsFills extends Around {
  readonly #fills = new Map<string, { readonly item: Item; readonly token: Promise<Token | undefined> }>();
  override replace(key: string, token: Token, item: Item, ttlSeconds: number): Promise<Token | undefined> {
    const filling = this.inner.replace(key, token, item, ttlSeconds).finally(() => this.#fills.delete(key));
    this.#fills.set(key, { item, token: filling });
    return filling;
  }
  override async read(key: string, want: Want): Promise<Reading> {
    const fill = this.#fills.get(key);
    const token = await fill?.token;
    if (fill === undefined || token === undefined) return await this.inner.read(key, want);
    return { kind: "item", item: fill.item, token, ttlSeconds: undefined, stale: false, won: false, leased: false };
  }
}

/** The generations are not compared again when a value is given to those who came while it was loaded. */
class ComparesGenerationsOnce extends Around {
  readonly #known = new Map<string, Reading>();
  #filling = false;
  override replace(key: string, token: Token, item: Item, ttlSeconds: number): Promise<Token | undefined> {
    // The comparison follows in the same breath.
    this.#filling = true;
    queueMicrotask(() => (this.#filling = false));
    return this.inner.replace(key, token, item, ttlSeconds);
  }
  override async read(key: string, want: Want): Promise<Reading> {
    const known = this.#known.get(key);
    if (this.#filling && known !== undefined) return known;
    const reading = await this.inner.read(key, want);
    if (reading.kind === "item" && isGeneration(key)) this.#known.set(key, reading);
    return reading;
  }
}

/** The answer to a question about a generation serves the next one, too. */
class ReusesGenerations extends Around {
  readonly #known = new Map<string, Reading>();
  override async read(key: string, want: Want): Promise<Reading> {
    const known = this.#known.get(key);
    this.#known.delete(key);
    if (known !== undefined) return known;
    const reading = await this.inner.read(key, want);
    if (reading.kind === "item" && isGeneration(key)) this.#known.set(key, reading);
    return reading;
  }
}

/** An invalidation that is asked for while another one of the key is on its way is taken for done with that one. */
class JoinsInvalidations extends Around {
  readonly #removing = new Map<string, Promise<boolean>>();
  override remove(key: string, keepSeconds?: number): Promise<boolean> {
    const under = this.#removing.get(key);
    if (under !== undefined) return under;
    const removing = this.inner.remove(key, keepSeconds).finally(() => this.#removing.delete(key));
    this.#removing.set(key, removing);
    return removing;
  }
}

/**
 * A number that equals the one in the tier is believed on another connection, too. The namespace's generation would notice
 * a restart as well, so it is always the same here.
 */
class TrustsNumbers extends Around {
  override async read(key: string, want: Want): Promise<Reading> {
    const { known, ...rest } = want;
    const reading = await this.inner.read(key, rest);
    if (key === "w!0" && reading.kind !== "item") {
      await this.inner.put(key, { bytes: Buffer.from("original"), flags: 0 }, 0, "set");
      return await this.inner.read(key, rest);
    }
    if (known === undefined || reading.kind !== "item" || reading.token.version !== known.version) return reading;
    return { kind: "same", token: known, ttlSeconds: undefined, won: false };
  }
}

/** A value that is not stored is given to everybody who came while it was loaded. */
class SharesUnstored extends Around {
  override async drop(key: string, token: Token): Promise<boolean> {
    await this.inner.drop(key, token);
    return true;
  }
}

/** The invalidation of a key leaves the generation beside it. */
class ForgetsWhatIsBeside extends Around {
  override remove(key: string, keepSeconds?: number): Promise<boolean> {
    return key.startsWith("w*") ? Promise.resolve(false) : this.inner.remove(key, keepSeconds);
  }
}

/** Takes several connections for one, where nothing overtakes anything. */
class TrustsTheOrder extends Around {
  override readonly reorders = false;
}

/** A lease beside a stale value is not given back by who does not compute. */
class KeepsWhatItWon extends Around {
  override async expire(key: string, token: Token, keepSeconds?: number): Promise<boolean> {
    return keepSeconds === undefined ? true : await this.inner.expire(key, token, keepSeconds);
  }
}

/** The outbox takes its invalidations for delivered when they are sent. */
function toldWithoutWaiting(cache: Cache): OutboxCache {
  return {
    name: cache.name,
    invalidate: (keys) => onlySent(cache.invalidate([...keys])),
    invalidateTags: (tags) => onlySent(cache.invalidateTags([...tags])),
  };
}

function onlySent(sending: Promise<unknown>): Promise<void> {
  sending.catch(() => undefined);
  return Promise.resolve();
}

const zeros: Random = { fraction: () => 0, bytes: (length) => Buffer.alloc(length) };

export const variants = {
  fillsWithoutLease: { backend: (backend) => new FillsWithoutLease(backend) },
  readsTagsAfterTheLoad: { backend: (backend) => new ReadsTagsAfterTheLoad(backend) },
  keepsLeasesOverAReconnect: { keepsLeases: true, backend: (backend) => new ReadsTheNamespaceAfterTheLoad(backend) },
  readsTheNamespaceAfterTheLoad: { backend: (backend) => new ReadsTheNamespaceAfterTheLoad(backend) },
  repeatsGenerations: { backend: (backend) => new RepeatsGenerations(backend) },
  joinsLookups: { backend: (backend) => new JoinsLookups(backend) },
  trustsRefusedFills: { backend: (backend) => new TrustsRefusedFills(backend) },
  trustsTheTier: { backend: (backend) => new TrustsTheTier(backend) },
  ignoresLeases: { backend: (backend) => new IgnoresLeases(backend) },
  joinsFills: { backend: (backend) => new JoinsFills(backend) },
  comparesGenerationsOnce: { backend: (backend) => new ComparesGenerationsOnce(backend) },
  reusesGenerations: { backend: (backend) => new ReusesGenerations(backend) },
  joinsInvalidations: { backend: (backend) => new JoinsInvalidations(backend) },
  trustsNumbers: { backend: (backend) => new TrustsNumbers(backend) },
  sharesUnstored: { backend: (backend) => new SharesUnstored(backend) },
  sharesLoads: { sharesLoads: true },
  forgetsWhatIsBeside: { backend: (backend) => new ForgetsWhatIsBeside(backend) },
  trustsTheOrder: { backend: (backend) => new TrustsTheOrder(backend) },
  repeatsChunkIds: { chunkIds: zeros },
  keepsWhatItWon: { backend: (backend) => new KeepsWhatItWon(backend) },
  forgetsOtherServers: { forgetsOtherServers: true },
  removesRowsTooEarly: { told: toldWithoutWaiting },
  doesNotWait: { backend: (backend) => new DoesNotWait(backend) },
} as const satisfies Record<string, Variant>;
