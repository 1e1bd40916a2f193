/**
 * Sends commands over TLS in records that end where a command ends.
 *
 * memcached with TLS (seen with 1.6.18) reads one record at a time into 16 KB, or straight into the item that a value
 * goes to. What it leaves of a record stays within its TLS library, where its poll does not see it: a command that
 * follows a large value in the same record, or one that was cut by the end of a full one, is not read before something
 * else arrives, and nothing else may. So a record holds whole commands and no more than the server reads at once, or it
 * belongs to one command alone. Each is written when the one before has been taken, because Node makes one of all that waits.
 */
import type { Socket } from "node:net";
import type { Outgoing } from "../protocol/index.ts";

/** What memcached reads at once, and the most that a record holds (RFC 8446, section 5.1). */
const recordBytes = 16_384;

/** The records of one connection. */
export class TlsRecords {
  readonly #socket: Socket;
  readonly #highWaterBytes: number;
  readonly #drained: () => void;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #writing = false;
  #full = false;
  #ending = false;

  /** @param drained told when there is room again after {@link send} returned false */
  constructor(socket: Socket, highWaterBytes: number, drained: () => void) {
    this.#socket = socket;
    this.#highWaterBytes = highWaterBytes;
    this.#drained = drained;
  }

  /** Sends what was gathered; false when it should be the last for now. */
  send(out: Outgoing): boolean {
    const bytes = out.bytes();
    this.#waiting.push(...cut(bytes, out.ends));
    this.#waitingBytes += bytes.length;
    this.#write();
    this.#full = this.#waitingBytes >= this.#highWaterBytes;
    return !this.#full;
  }

  /** Ends the connection after what was sent. */
  end(): void {
    this.#ending = true;
    this.#write();
  }

  #write(): void {
    if (this.#writing) return;
    const record = this.#next();
    if (record === undefined) {
      if (this.#ending) this.#socket.end();
      return;
    }
    this.#writing = true;
    this.#socket.write(record, (error) => {
      // Its end is told by the socket's own events.
      if (error) return;
      this.#writing = false;
      this.#waitingBytes -= record.length;
      this.#write();
      if (!this.#full || this.#waitingBytes >= this.#highWaterBytes) return;
      this.#full = false;
      this.#drained();
    });
  }

  /** What fits into one record of what waits, or one large command. */
  #next(): Buffer | undefined {
    let count = 0;
    let size = 0;
    for (const { length } of this.#waiting) {
      if (count > 0 && size + length > recordBytes) break;
      size += length;
      count++;
    }
    const pieces = this.#waiting.splice(0, count);
    return pieces.length < 2 ? pieces[0] : Buffer.concat(pieces, size);
  }
}

/** Cuts at ends of commands, as late as a record allows; what is larger than a record is a piece of its own. */
function cut(bytes: Buffer, ends: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  let start = 0;
  let last = 0;
  for (const end of ends) {
    if (end - start > recordBytes && last > start) {
      pieces.push(bytes.subarray(start, last));
      start = last;
    }
    last = end;
  }
  if (last > start) pieces.push(bytes.subarray(start, last));
  return pieces;
}
