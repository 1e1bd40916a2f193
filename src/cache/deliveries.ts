/**
 * Invalidations on their way to servers, and those that could not be delivered yet.
 *
 * An invalidation is acknowledged when the key's home has confirmed it. Until then it is pending: it is tried again
 * with growing, jittered pauses, and while anything is pending for a server this process reads nothing from it,
 * so that no read that starts after a rejected or acknowledged invalidation sees the value from before.
 *
 *     call ──> attempt ──confirmed──> acknowledged
 *                 │ failed
 *                 v
 *              pending ──(the call rejects EF_INVALIDATION_PENDING at its deadline; the retries go on)
 *                 │ the server is back: everything pending is delivered ...
 *                 v
 *              ... and only then is the server read again
 *
 * An attempt acknowledges only those who asked before it was sent.
 */
import type { Backend } from "../backend/index.ts";
import type { Clock, Random } from "../clock.ts";
import { EverfreshError, isEverfreshError } from "../errors.ts";
import { eventChannel } from "../events.ts";

/** One thing that must reach one server. Doing it twice must be harmless, also late. */
export interface Delivery {
  /** The server, as its backend calls it. */
  readonly server: string;
  /** The key on the wire; deliveries of the same key are one. */
  readonly key: string;
  /** Whether it leaves the value from before to those who allow that; such a one does not take the place of one that does not. */
  readonly keeps?: boolean;
  /** Resolves when the server has confirmed it. */
  attempt(): Promise<void>;
}

/** More than this pending for one server, and further invalidations are refused with `EF_OVERLOADED`. */
const limitPending = 100_000;
/** More than this waiting to be told about one server, and further ones are told at once that theirs is pending. */
const limitWaiting = 100_000;
const batchSize = 200;
const firstPauseMs = 25;
const longestPauseMs = 2_000;

/** Told when the server has confirmed. */
type Waiter = () => void;

interface Pending {
  delivery: Delivery;
  waiters: Set<Waiter>;
}

interface Queue {
  readonly server: string;
  readonly items: Map<string, Pending>;
  /** Those who wait for any of them. */
  readonly waiting: Set<Waiter>;
  pauseMs: number;
}

const channel = eventChannel("everfresh:cache:invalidation");

/** The deliveries of one backend; every cache on that backend shares them. */
export class Deliveries {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #queues = new Map<string, Queue>();
  #closed = false;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Whether something is pending for any server. */
  get areSomePending(): boolean {
    return this.#queues.size > 0;
  }

  /** Whether something is pending for `server`, so that nothing may be read from it. */
  blocked(server: string): boolean {
    return this.#queues.size > 0 && this.#queues.has(server);
  }

  /** How many deliveries are pending, by server. */
  pending(): ReadonlyMap<string, number> {
    return new Map([...this.#queues.values()].map((queue) => [queue.server, queue.items.size]));
  }

  /**
   * Resolves when the server has confirmed.
   *
   * @throws EverfreshError `EF_INVALIDATION_PENDING` when that took longer than `deadlineMs`; it is retried for as
   *   long as the process lives. `EF_OVERLOADED` when too much is pending already: this one is not retried.
   */
  async deliver(delivery: Delivery, deadlineMs: number): Promise<void> {
    let cause: unknown;
    if (!this.blocked(delivery.server)) {
      try {
        await delivery.attempt();
        this.#tell(delivery, "confirmed");
        return;
      } catch (error) {
        if (isEverfreshError(error, "EF_KEY") || isEverfreshError(error, "EF_CLOSED")) throw error;
        cause = error;
      }
    }
    await this.#wait(delivery, deadlineMs, cause);
  }

  /** Registers without waiting: for what must not be read again although nobody asked to be told. */
  push(delivery: Delivery): void {
    this.#enqueue(delivery);
  }

  /** Ends the retries. Whoever still waits is told that the invalidation is pending. */
  close(): void {
    this.#closed = true;
    const left = [...this.#queues.values()].reduce((sum, queue) => sum + queue.items.size, 0);
    const notice = eventChannel("everfresh:notice");
    if (left > 0 && notice.hasSubscribers)
      notice.publish({ message: `closed with ${left} invalidations that no server has confirmed` });
  }

  #wait(delivery: Delivery, deadlineMs: number, cause: unknown): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const { server, key } = delivery;
      const { queue, pending } = this.#enqueue(delivery);
      const expire = (): void => {
        queue.waiting.delete(confirmed);
        pending.waiters.delete(confirmed);
        reject(
          new EverfreshError(
            "EF_INVALIDATION_PENDING",
            `${server} has not confirmed an invalidation within ${deadlineMs} ms; it is retried, and nothing is read from ${server} before`,
            { server, key, cause },
          ),
        );
      };
      if (queue.waiting.size >= limitWaiting) {
        const message = `${limitWaiting} wait for ${server} to confirm an invalidation; this one is retried, too, and nothing is read from ${server} before`;
        reject(new EverfreshError("EF_INVALIDATION_PENDING", message, { server, key, cause }));
        return;
      }
      // A script that awaits this must not end without an answer.
      const timer = this.#clock.after(deadlineMs, expire, true);
      const confirmed = (): void => {
        timer.cancel();
        queue.waiting.delete(confirmed);
        resolve();
      };
      queue.waiting.add(confirmed);
      pending.waiters.add(confirmed);
    });
  }

  #enqueue(delivery: Delivery): { readonly queue: Queue; readonly pending: Pending } {
    let queue = this.#queues.get(delivery.server);
    if (queue === undefined) {
      queue = { server: delivery.server, items: new Map(), waiting: new Set(), pauseMs: firstPauseMs };
      this.#queues.set(delivery.server, queue);
      this.#pause(queue);
    }
    let pending = queue.items.get(delivery.key);
    if (pending === undefined) {
      if (queue.items.size >= limitPending)
        throw new EverfreshError("EF_OVERLOADED", `${limitPending} invalidations are pending for ${delivery.server}`, {
          server: delivery.server,
        });
      pending = { delivery, waiters: new Set() };
      queue.items.set(delivery.key, pending);
    }
    // The newest way to do it counts; both are to be done after now. Another object: an attempt may be on its way.
    const { keeps = false } = pending.delivery;
    pending.delivery = delivery.keeps === true && !keeps ? { ...pending.delivery } : delivery;
    this.#tell(delivery, "pending");
    return { queue, pending };
  }

  #pause(queue: Queue): void {
    const pauseMs = queue.pauseMs * (0.5 + this.#random.fraction() / 2);
    queue.pauseMs = Math.min(queue.pauseMs * 2, longestPauseMs);
    this.#clock.after(pauseMs, () => {
      if (!this.#closed) void this.#drain(queue);
    });
  }

  /** Tries everything once: one alone first, to see whether the server is back, then batch by batch. */
  async #drain(queue: Queue): Promise<void> {
    for (let size = 1; queue.items.size > 0; size = batchSize) {
      const batch = [...queue.items.values()].slice(0, size);
      const done = await Promise.all(batch.map((pending) => this.#attempt(queue, pending)));
      if (done.includes(false)) {
        this.#pause(queue);
        return;
      }
    }
    this.#queues.delete(queue.server);
  }

  async #attempt(queue: Queue, pending: Pending): Promise<boolean> {
    const { delivery, waiters } = pending;
    pending.waiters = new Set();
    try {
      await delivery.attempt();
    } catch {
      for (const waiter of waiters) if (queue.waiting.has(waiter)) pending.waiters.add(waiter);
      // To the end: what the server does not take for a reason of its own must not keep the others back.
      queue.items.delete(delivery.key);
      queue.items.set(delivery.key, pending);
      return false;
    }
    // Those whose deadline has passed meanwhile were told already.
    for (const waiter of waiters) waiter();
    // Whoever asked while this attempt was on its way needs another one.
    if (pending.delivery === delivery && pending.waiters.size === 0) {
      queue.items.delete(delivery.key);
      this.#tell(delivery, "delivered");
    }
    return true;
  }

  #tell(delivery: Delivery, outcome: "confirmed" | "pending" | "delivered"): void {
    if (!channel.hasSubscribers) return;
    const pending = this.#queues.get(delivery.server)?.items.size ?? 0;
    channel.publish({ server: delivery.server, key: delivery.key, outcome, pending });
  }
}

const shared = new WeakMap<Backend, Deliveries>();

/** The deliveries of `backend`: one object for all caches that use it. */
export function deliveriesOf(backend: Backend, clock: Clock, random: Random): Deliveries {
  let deliveries = shared.get(backend);
  if (deliveries === undefined) shared.set(backend, (deliveries = new Deliveries(clock, random)));
  return deliveries;
}
