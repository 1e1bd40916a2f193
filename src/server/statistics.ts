/**
 * The numbers that `stats` shows, in the text and in the binary protocol (protocol.txt, "Statistics").
 *
 * Names are memcached's; those that would be lies here (threads of the slab mover, extstore) are left out.
 */
import { layout as at, type Store } from "../store/index.ts";
import type { Session } from "./session.ts";

export type Statistic = readonly [name: string, value: string | number];

/** The group `name` of statistics, as memcached names it; undefined when there is no such group. */
export function statistics(session: Session, name: string): Iterable<Statistic> | undefined {
  switch (name) {
    case "":
      return general(session);
    case "settings":
      return settings(session);
    case "items":
      return items(session);
    case "slabs":
      return slabs(session);
    case "sizes":
      return sizes(session);
    case "conns":
      // Where there are users, nobody is shown who the others are.
      return session.desk.accounts.guest === undefined ? undefined : session.desk.house.connectionList();
    default:
      return undefined;
  }
}

function* general(session: Session): Iterable<Statistic> {
  const { desk, account } = session;
  const { house, counters, clock, options } = desk;
  const store = account?.store;
  if (store === undefined) return;
  const usage = process.cpuUsage();
  yield ["pid", process.pid];
  yield ["uptime", Math.floor((clock.monotonic() - house.startedMs) / 1000)];
  yield ["time", Math.floor(clock.now() / 1000)];
  yield ["version", options.version];
  yield ["libevent", `libuv ${process.versions.uv}`];
  yield ["pointer_size", 64];
  yield ["rusage_user", (usage.user / 1e6).toFixed(6)];
  yield ["rusage_system", (usage.system / 1e6).toFixed(6)];
  yield ["max_connections", options.maxConnections];
  yield ["curr_connections", house.connections];
  yield ["total_connections", house.totalConnections];
  yield ["rejected_connections", house.rejectedConnections];
  yield* Object.entries(counters) as Statistic[];
  yield ["bytes_read", house.bytesRead];
  yield ["bytes_written", desk.writer.sent];
  yield ["limit_maxbytes", store.limitBytes];
  yield ["accepting_conns", house.connections < options.maxConnections ? 1 : 0];
  yield ["threads", 1];
  yield ["hash_power_level", Math.ceil(Math.log2(store.buckets))];
  yield ["hash_bytes", store.buckets * 4];
  yield ["hash_is_expanding", 0];
  yield ["bytes", store.bytesStored];
  yield ["curr_items", store.count];
  yield ["total_items", store.totalItems];
  yield ["expired_unfetched", store.expiredUnfetched];
  yield ["evicted_unfetched", store.evictedUnfetched];
  yield ["evicted_active", store.evictedActive];
  yield ["evictions", store.evictions];
  yield ["reclaimed", store.reclaimed];
}

function yes(value: boolean): string {
  return value ? "yes" : "no";
}

function* settings(session: Session): Iterable<Statistic> {
  const { desk } = session;
  const { options, house } = desk;
  const protocol = { auto: "auto-negotiate", text: "ascii", binary: "binary" }[options.protocol];
  yield ["maxbytes", session.account?.store.limitBytes ?? 0];
  yield ["maxconns", options.maxConnections];
  yield ["tcpport", house.port];
  yield ["udpport", 0];
  yield ["verbosity", desk.verbosity];
  yield ["evictions", options.evicts ? "on" : "off"];
  yield ["shutdown_command", yes(options.shutdowns)];
  yield ["growth_factor", "1.25"];
  yield ["chunk_size", 48];
  yield ["num_threads", 1];
  yield ["stat_key_prefix", options.prefixDelimiter];
  yield ["detail_enabled", yes(desk.detail !== undefined)];
  yield ["cas_enabled", "yes"];
  yield ["binding_protocol", protocol];
  yield ["auth_enabled_sasl", yes(desk.accounts.guest === undefined && options.login !== "text")];
  yield ["auth_enabled_ascii", yes(desk.accounts.guest === undefined && options.login !== "sasl")];
  yield ["item_size_max", options.itemBytes];
  yield ["flush_enabled", yes(options.flushes)];
  yield ["dump_enabled", yes(options.dumps)];
  yield ["idle_timeout", Math.floor(options.idleTimeoutMs / 1000)];
}

interface ClassCount {
  items: number;
  bytes: number;
  oldest: number;
}

/** Counts all items by the class that memcached would have put them in. Looks at every item: do not ask often. */
function byClass(session: Session, store: Store): ClassCount[] {
  const counts: ClassCount[] = session.desk.slabs.chunks.map(() => ({ items: 0, bytes: 0, oldest: 0 }));
  for (let segment = 0; segment >= 0;)
    segment = store.walk(segment, (item) => {
      const size = store.sizeOf(item);
      const count = counts[session.desk.slabs.classOf(size)];
      if (count === undefined) return;
      count.items++;
      count.bytes += size;
      count.oldest = Math.max(count.oldest, store.seconds.now - (store.words[item + at.TIME] as number));
    });
  return counts;
}

function* items(session: Session): Iterable<Statistic> {
  const store = session.account?.store;
  if (store === undefined) return;
  for (const [slab, { items: number, bytes, oldest }] of byClass(session, store).entries()) {
    if (number === 0) continue;
    yield [`items:${slab}:number`, number];
    yield [`items:${slab}:age`, oldest];
    yield [`items:${slab}:mem_requested`, bytes];
  }
}

function* slabs(session: Session): Iterable<Statistic> {
  const store = session.account?.store;
  if (store === undefined) return;
  const { chunks } = session.desk.slabs;
  let active = 0;
  for (const [slab, { items: number, bytes }] of byClass(session, store).entries()) {
    if (number === 0) continue;
    active++;
    yield [`${slab}:chunk_size`, chunks[slab] ?? 0];
    yield [`${slab}:used_chunks`, number];
    yield [`${slab}:mem_requested`, bytes];
  }
  yield ["active_slabs", active];
  yield ["total_malloced", store.usedBytes];
}

/** Items by size, in steps of 32 bytes. Looks at every item. */
function* sizes(session: Session): Iterable<Statistic> {
  const store = session.account?.store;
  if (store === undefined) return;
  const counts = new Map<number, number>();
  for (let segment = 0; segment >= 0;)
    segment = store.walk(segment, (item) => {
      const step = Math.ceil(store.sizeOf(item) / 32) * 32;
      counts.set(step, (counts.get(step) ?? 0) + 1);
    });
  for (const step of [...counts.keys()].toSorted((a, b) => a - b)) yield [String(step), counts.get(step) ?? 0];
}
