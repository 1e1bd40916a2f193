/**
 * One visitor: bytes in, commands done, bytes out. Knows no socket: whoever has one feeds `receive` and takes what the
 * writer hands to `outlet`.
 *
 * It works through what has arrived until something is incomplete, the visitor must go, or the outlet says that nobody
 * takes the answers (`blocked`); then it stops in the middle and goes on with `resume`. Only what is incomplete is kept.
 */
import type { Outlet } from "../protocol/index.ts";
import { binaryStep } from "./binary.ts";
import type { Desk } from "./desk.ts";
import { type Progress, dumpStep } from "./dump.ts";
import type { Disturbed } from "./journal.ts";
import type { Account } from "./accounts.ts";
import { loginStep } from "./login.ts";
import { textStep } from "./text.ts";

/** The first byte of every binary request. */
const binaryMagic = 0x80;
/** Uploads below this are not worth counting. */
const smallUpload = 64 * 1024;
const nothing = new Uint8Array(0);

export class Session {
  readonly desk: Desk;
  readonly outlet: Outlet;
  /** Whom the commands are done for; undefined until somebody has logged in. */
  account: Account | undefined;
  /** What is being read, and what of it is still to be done. */
  input: Uint8Array = nothing;
  at = 0;
  end = 0;
  /** How many bytes must be there, counted from `at`, before it is worth looking again. */
  needs = 0;
  /** How many of the next bytes are to be skipped. */
  swallows = 0;
  /** Nobody takes the answers: nothing is done until `resume`. */
  blocked = false;
  /** The visitor must go, once the answers are sent. */
  closing = false;
  /** Which protocol is spoken; decided by the first byte. */
  speaks: "nothing" | "text" | "binary" = "nothing";
  /** The get command whose keys are being read, and what it has come to; see `text-get.ts`. */
  reading = 0;
  readingExpires = 0;
  keysRead = 0;
  markLength = 0;
  markSent = 0;
  /** A listing of keys that is being written; see `dump.ts`. */
  listing: Progress | undefined;
  /** How tests disturb the connection, where it has somebody who can. */
  disturbed: Disturbed | undefined;
  /** What this visitor asked to watch; see `watch.ts`. */
  watches = 0;
  loginAttempts = 0;
  /** When the visitor came, by the server's monotonic clock. */
  readonly arrivedMs: number;
  /** When the last command came, by the server's monotonic clock. */
  lastCommandMs = 0;
  bytesRead = 0;
  #carry: Uint8Array = nothing;
  #carried = 0;
  #counted = 0;

  constructor(desk: Desk, outlet: Outlet) {
    this.desk = desk;
    this.outlet = outlet;
    this.account = desk.accounts.guest;
    this.lastCommandMs = this.arrivedMs = desk.clock.monotonic();
  }

  /** Takes what has arrived and does what can be done. `chunk` is kept only if it could not be worked off. */
  receive(chunk: Uint8Array): void {
    this.bytesRead += chunk.length;
    if (this.#carried === 0) {
      this.input = chunk;
      this.at = 0;
      this.end = chunk.length;
    } else {
      this.#append(chunk);
      if (this.#carried < this.needs) return;
      this.input = this.#carry;
      this.at = 0;
      this.end = this.#carried;
    }
    this.resume();
  }

  /** Goes on with what has been received. */
  resume(): void {
    const { desk } = this;
    desk.writer.outlet = this.outlet;
    this.lastCommandMs = desk.clock.monotonic();
    this.account?.store.tick();
    while ((this.at < this.end || this.listing !== undefined) && !this.blocked && !this.closing) {
      if (this.listing !== undefined) dumpStep(this);
      else if (this.swallows > 0) this.#swallow();
      else if (this.end - this.at < this.needs || !this.#step()) break;
    }
    desk.writer.flush();
    if (!this.blocked || this.input !== this.#carry) this.#keep();
  }

  /** Forgets what was received; the visitor has gone. */
  drop(): void {
    this.closing = true;
    this.input = nothing;
    this.at = this.end = 0;
    this.#release();
    this.desk.sessionGone(this);
  }

  /**
   * Asks for `bytes` bytes from `at` on. False when so much may not be held: then all visitors together have more
   * unfinished uploads than the server has room for.
   */
  awaits(bytes: number): boolean {
    if (bytes > smallUpload && this.#counted === 0) {
      if (this.desk.uploading + bytes > this.desk.options.uploadBytes) return false;
      this.desk.uploading += bytes;
      this.#counted = bytes;
    }
    this.needs = bytes;
    return true;
  }

  #step(): boolean {
    if (this.needs > 0) {
      this.needs = 0;
      this.desk.uploading -= this.#counted;
      this.#counted = 0;
    }
    if (this.speaks === "nothing") this.speaks = this.input[this.at] === binaryMagic ? "binary" : "text";
    if (!this.desk.allows(this.speaks)) {
      this.closing = true;
      return false;
    }
    if (this.speaks === "binary") return binaryStep(this);
    return this.account === undefined ? loginStep(this) : textStep(this);
  }

  #swallow(): void {
    const bytes = Math.min(this.swallows, this.end - this.at);
    this.swallows -= bytes;
    this.at += bytes;
  }

  /** Keeps what is left in memory of its own, because chunks are large and what is left is mostly small. */
  #keep(): void {
    const left = this.closing ? 0 : this.end - this.at;
    if (left === 0) {
      this.input = nothing;
      this.#release();
    } else if (this.input === this.#carry) {
      this.#carry.copyWithin(0, this.at, this.end);
      this.#carried = left;
    } else {
      const carry = Buffer.allocUnsafeSlow(Math.max(left, this.needs, 64));
      carry.set(this.input.subarray(this.at, this.end));
      this.#carry = carry;
      this.#carried = left;
      this.input = carry;
    }
    this.at = 0;
    this.end = left;
  }

  #append(chunk: Uint8Array): void {
    // Blocked in the middle of the carry: what was done is no longer needed.
    if (this.at > 0) this.#keep();
    const length = this.#carried + chunk.length;
    if (length > this.#carry.length) {
      const carry = Buffer.allocUnsafeSlow(Math.max(length, this.needs, 2 * this.#carry.length));
      carry.set(this.#carry.subarray(0, this.#carried));
      this.#carry = carry;
    }
    this.#carry.set(chunk, this.#carried);
    this.#carried = length;
  }

  #release(): void {
    this.#carry = nothing;
    this.#carried = 0;
    this.desk.uploading -= this.#counted;
    this.#counted = 0;
  }
}
