/**
 * Which server owns a key: pure functions of the list of servers.
 *
 * Ketama, as libmemcached has it: every server has points on a ring of 2^32 places, and a key belongs to the first point
 * at or after its own place. With equal weights each server has 100 points, at `hash("host-i")`, with `host:port` where the
 * port is not 11211. With weights the points come from MD5, four of each digest, about 160 for each server on the average.
 *
 * Modula is `hash(key) % n`: cheap, and nearly every key moves when a server is added. Rendezvous gives each pair of key
 * and server a score, and the highest wins; no fleet of another language places keys like that.
 */
import type { ServerAddress } from "./address.ts";
import { hashes, md5, oneAtATime, type Hash, type HashName } from "./hash.ts";
import { md5Words } from "./md5.ts";

/** How keys are placed. */
export interface PlacementOptions {
  /**
   * `"ketama"` is pylibmc's `ketama: True`, `"ketama_weighted"` its `ketama_weighted: True`; `"modula"` its default.
   * `"ketama"` over servers with weights is weighted too, as in libmemcached. `"ketama_spy"` is its "consistent ketama spy".
   */
  readonly kind: "ketama" | "ketama_weighted" | "ketama_spy" | "modula" | "rendezvous";
  /** pylibmc's `hash`. Default `"default"`, and `"md5"` for `ketama_weighted`. */
  readonly hash?: HashName | undefined;
}

/** Says which of the servers, by index, is home to a key; `key` is latin1 text of its bytes. */
export type Placement = (key: string) => number;

/** The placement that the options describe, over `servers`. */
export function placement(servers: readonly ServerAddress[], options: PlacementOptions): Placement {
  if (servers.length === 1) return () => 0;
  const hash = hashes[options.hash ?? (options.kind === "ketama_weighted" ? "md5" : "default")];
  const { kind } = options;
  if (kind === "modula") {
    // libmemcached takes weights into account only on rings.
    const count = servers.length;
    return (key) => hash(key) % count;
  }
  if (kind === "rendezvous") return rendezvous(servers);
  if (kind === "ketama_spy") {
    const names = servers.map(({ name }) => `/${name}`);
    return onRing(evenPoints(names, hash), hash);
  }
  const weighted = kind === "ketama_weighted" || servers.some(({ weight }) => weight > 1);
  const names = servers.map(({ ringName }) => ringName);
  return onRing(weighted ? weightedPoints(servers) : evenPoints(names, hash), hash);
}

interface Point {
  readonly place: number;
  readonly server: number;
}

const evenPointsPerServer = 100;
const weightedPointsPerServer = 160;
const pointsPerDigest = 4;

function evenPoints(names: readonly string[], hash: Hash): Point[] {
  return names.flatMap((name, server) =>
    Array.from({ length: evenPointsPerServer }, (_, point) => ({ place: hash(`${name}-${point}`), server })),
  );
}

function weightedPoints(servers: readonly ServerAddress[]): Point[] {
  const total = servers.reduce((sum, { weight }) => sum + weight, 0);
  return servers.flatMap(({ ringName, weight }, server) => {
    // In single precision, as libmemcached's `float` has it.
    const share = Math.fround(Math.fround(weight) / Math.fround(total));
    const digests = Math.floor(
      Math.fround(Math.fround((share * weightedPointsPerServer) / pointsPerDigest) * servers.length + 1e-10),
    );
    return Array.from({ length: digests }, (_, digest) =>
      Array.from(md5Words(`${ringName}-${digest}`), (place) => ({ place: place >>> 0, server })),
    ).flat();
  });
}

function onRing(points: readonly Point[], hash: Hash): Placement {
  const sorted = points.toSorted((a, b) => a.place - b.place || a.server - b.server);
  const places = Uint32Array.from(sorted, (point) => point.place);
  const owners = Uint16Array.from(sorted, (point) => point.server);
  return (key) => {
    const place = hash(key);
    let low = 0;
    let high = places.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((places[middle] ?? 0) < place) low = middle + 1;
      else high = middle;
    }
    return owners[low === places.length ? 0 : low] ?? 0;
  };
}

/** Weighted rendezvous hashing: the score is -weight / ln(h), with h in (0, 1) from key and server together. */
function rendezvous(servers: readonly ServerAddress[]): Placement {
  const seeds = servers.map(({ name }) => md5(name));
  const weights = servers.map(({ weight }) => weight);
  return (key) => {
    const own = oneAtATime(key);
    let best = 0;
    let highest = -Infinity;
    for (let server = 0; server < seeds.length; server++) {
      const fraction = (scrambled(own ^ (seeds[server] ?? 0)) + 0.5) / 2 ** 32;
      const score = -(weights[server] ?? 1) / Math.log(fraction);
      if (score > highest) {
        highest = score;
        best = server;
      }
    }
    return best;
  };
}

/** The last step of MurmurHash3: every bit of the input reaches every bit of the output. */
function scrambled(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
