/**
 * Which server owns a key: ketama, as libmemcached has it.
 *
 * Every server has points on a ring of 2^32 places; a key belongs to the first point at or after its own place. With
 * equal weights each server has 100 points, at `hash("host-i")`, with `host:port` where the port is not 11211.
 */
import type { ServerAddress } from "./address.ts";

/** Says which of the servers, by index, is home to a key; `key` is latin1 text of its bytes. */
export type Placement = (key: string) => number;

const pointsPerServer = 100;

/** Ketama over servers of equal weight. */
export function ketama(servers: readonly ServerAddress[], hash: (key: string) => number): Placement {
  const points = servers.flatMap(({ ringName }, server) =>
    Array.from({ length: pointsPerServer }, (_, point) => ({ place: hash(`${ringName}-${point}`), server })),
  );
  return onRing(points, hash);
}

/** A ring of points. */
export function onRing(
  points: readonly { readonly place: number; readonly server: number }[],
  hash: (key: string) => number,
): Placement {
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
