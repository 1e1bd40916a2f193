/** What a cache says to the servers when the source has changed: for one key, for a tag, for its whole namespace. */
import type { Backend } from "../backend/index.ts";
import type { Shared } from "./create-cache.ts";
import type { Engine } from "./engine.ts";
import type { Keys } from "./keys.ts";
import { settleAll } from "./settle-all.ts";

export class Invalidation {
  readonly #shared: Shared;
  readonly #keys: Keys;
  readonly #engine: Engine;

  constructor(shared: Shared, keys: Keys, engine: Engine) {
    this.#shared = shared;
    this.#keys = keys;
    this.#engine = engine;
  }

  /** Removes what is under `wire`, wherever it lives or lived; resolves when that is confirmed. */
  async remove(wire: string, keepSeconds: number): Promise<boolean> {
    this.#engine.forget(wire);
    const attempts = placesOf(this.#shared.backend).map((place) => this.#removeAt(place, wire, keepSeconds));
    try {
      return (await settleAll(attempts)).includes(true);
    } finally {
      this.#engine.forget(wire);
    }
  }

  /**
   * Removes what is under `wire` where it lived before the set of servers changed, if it lives elsewhere now, and invalidates
   * what was made from it there.
   */
  async removePrevious(wire: string): Promise<void> {
    const { backend } = this.#shared;
    const { previous } = backend;
    if (previous === undefined) return;
    if (previous.serverOf(wire) !== backend.serverOf(wire)) await this.#removeAt(previous, wire, 0);
    // What is beside a key may live under another name where the key has not moved.
    else if (this.#keys.beside(previous, wire) !== this.#keys.beside(backend, wire))
      await this.#removeBesideAt(previous, wire);
  }

  /** Invalidates what was made from the value under `wire`, and not the value; resolves when that is confirmed. */
  async removeBeside(wire: string): Promise<void> {
    const { backend } = this.#shared;
    if (backend.reach !== "nobody") await this.#removeBesideAt(backend, wire);
  }

  async #removeBesideAt(place: Backend, wire: string): Promise<void> {
    const { deliveries, invalidationMs } = this.#shared;
    const key = this.#keys.beside(place, wire);
    const attempt = async (): Promise<void> => void (await place.remove(key));
    await deliveries.deliver({ server: place.serverOf(wire), key, attempt }, invalidationMs);
  }

  async #removeAt(place: Backend, wire: string, keepSeconds: number): Promise<boolean> {
    const { backend, deliveries, invalidationMs } = this.#shared;
    const beside = this.#keys.beside(place, wire);
    let found = false;
    const attempt = async (): Promise<void> => {
      // In this order: who still reads the old value has noted the generation from before.
      const removing = place.remove(wire, keepSeconds);
      const removed = place.reorders ? removing.then(() => place.remove(beside)) : place.remove(beside);
      const [wasThere] = await Promise.all([removing, removed]);
      if (wasThere) found = true;
      // Also where this is late: a read that crossed it may have brought the old value back into this process.
      this.#engine.forget(wire);
    };
    // A key may have kept its home while what is beside it has not: then the two places are two deliveries to one server.
    const key = place === backend ? wire : beside;
    const delivery = { server: place.serverOf(wire), key, keeps: keepSeconds > 0, attempt };
    await deliveries.deliver(delivery, invalidationMs);
    return found;
  }

  /**
   * Gives a tag a new generation, wherever it lives or lived; resolves when that is confirmed.
   *
   * @param late called when a server has confirmed it after the caller was told that it is pending
   */
  async renewTag(tag: string, late: () => void): Promise<void> {
    const wire = this.#keys.tag(tag);
    let isOver = false;
    const renewed = (): void => {
      this.#engine.distrust();
      if (isOver) late();
    };
    try {
      await settleAll(placesOf(this.#shared.backend).map((place) => this.#renewAt(place, wire, renewed)));
    } finally {
      isOver = true;
      this.#engine.distrust();
    }
  }

  /** Gives the namespace a new generation on every server. */
  async renewSpace(): Promise<void> {
    const forget = (): void => this.#engine.forgetAll();
    forget();
    const all: Promise<unknown>[] = [];
    for (const place of placesOf(this.#shared.backend))
      for (const { name } of place.servers()) all.push(this.#renewAt(place, this.#keys.spaceOn(place, name), forget));
    try {
      await settleAll(all);
    } finally {
      forget();
    }
  }

  /** @param renewed called when the server has confirmed it, however late */
  async #renewAt(place: Backend, wire: string, renewed: () => void): Promise<void> {
    const { deliveries, generations, invalidationMs } = this.#shared;
    const attempt = async (): Promise<void> => {
      await generations.renew(place, wire);
      renewed();
    };
    await deliveries.deliver({ server: place.serverOf(wire), key: wire, attempt }, invalidationMs);
  }
}

/** Where keys live, and where they lived before the set of servers changed. */
export function placesOf(backend: Backend): readonly Backend[] {
  return backend.previous === undefined ? [backend] : [backend, backend.previous];
}
