/**
 * The way out to one visitor's socket, with backpressure: while the socket has not taken everything, the session is
 * blocked, so a visitor who does not read costs at most what one round of commands wrote.
 */
import type { Socket } from "node:net";
import type { Timer } from "../clock.ts";
import type { Outlet } from "../protocol/index.ts";
import type { Desk } from "./desk.ts";
import type { Disturbed } from "./journal.ts";
import type { Session } from "./session.ts";

const empty = Buffer.alloc(0);

export class SocketOutlet implements Outlet, Disturbed {
  readonly #socket: Socket;
  readonly #desk: Desk;
  session: Session | undefined;
  /** What is held back by a fault, and until when. */
  #held: Uint8Array[] | undefined;
  #timer: Timer | undefined;
  #cutsNext = false;

  constructor(socket: Socket, desk: Desk) {
    this.#socket = socket;
    this.#desk = desk;
  }

  send(bytes: Uint8Array): boolean {
    if (this.#cutsNext) {
      this.cut("now");
      return true;
    }
    if (this.#held !== undefined) {
      this.#held.push(Uint8Array.prototype.slice.call(bytes));
      return true;
    }
    const socket = this.#socket;
    if (socket.destroyed) return true;
    socket.write(bytes);
    if (socket.writableLength === 0) return true;
    this.#block(bytes);
    return false;
  }

  hold(ms: number): void {
    this.#held ??= [];
    this.#timer?.cancel();
    if (ms !== Infinity) this.#timer = this.#desk.clock.after(ms, () => this.#release());
  }

  cut(when: "now" | "instead"): void {
    if (when === "instead") this.#cutsNext = true;
    else this.#socket.resetAndDestroy();
  }

  /** The visitor has gone; nothing is held for it any longer. */
  drop(): void {
    this.#timer?.cancel();
    this.#held = undefined;
  }

  #release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const bytes of held) this.send(bytes);
  }

  /** Not everything could be sent: nothing more is done for this visitor until it is. */
  #block(bytes: Uint8Array): void {
    const { session } = this;
    if (session === undefined) return;
    if (session.blocked) {
      this.#socket.write(empty, () => this.#desk.writer.giveBack(bytes));
      return;
    }
    session.blocked = true;
    this.#socket.pause();
    this.#socket.write(empty, () => this.#unblock(session, bytes));
  }

  #unblock(session: Session, bytes: Uint8Array): void {
    this.#desk.writer.giveBack(bytes);
    if (this.#socket.destroyed) return;
    if (this.#socket.writableLength > 0) {
      this.#socket.write(empty, () => this.#unblock(session, empty));
      return;
    }
    session.blocked = false;
    session.resume();
    if (!session.blocked) this.#socket.resume();
    if (session.closing) this.#socket.end();
  }
}
