/** The cache made wrong, each time in one way that looks reasonable. The simulation must catch every one of them. */
import type { Backend, Item, Reading, Token, Want } from "#src/backend/index.ts";
import { pack, unpack, type Generation, type Header, type Stored } from "#src/cache/envelope.ts";
import type { Variant } from "./world.ts";

/** Passes everything on to another backend; a variant changes one method. */
class Around implements Backend {
  readonly inner: Backend;
  readonly reach: Backend["reach"];
  readonly keepsStale: boolean;
  readonly itemLimitBytes: number;
  readonly previous = undefined;

  constructor(inner: Backend) {
    this.inner = inner;
    this.reach = inner.reach;
    this.keepsStale = inner.keepsStale;
    this.itemLimitBytes = inner.itemLimitBytes;
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
  expire(key: string, token: Token, keepSeconds: number): Promise<boolean> {
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
    const now = await Promise.all(stored.tags.map((tag) => this.inner.read(`w#${tag}`, {})));
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
  doesNotWait: { backend: (backend) => new DoesNotWait(backend) },
} as const satisfies Record<string, Variant>;
