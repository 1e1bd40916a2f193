// The hand-written raw loop: the limit of what Node's sockets give, without validation, deadlines or recovery.
// Meta commands and the classic get of many keys, one latin1 text per tick, one promise per command, a receive buffer that grows.
import { connect } from "node:net";
import { once } from "node:events";

class RawConnection {
  constructor(port) {
    this.socket = connect({ port, host: "127.0.0.1", noDelay: true });
    this.text = "";
    this.parts = [];
    this.queue = [];
    this.head = 0;
    this.buffer = Buffer.allocUnsafeSlow(1 << 20);
    this.end = 0;
    this.socket.on("data", (chunk) => this.receive(chunk));
  }
  ask(text, asBytes, many) {
    if (this.text === "") process.nextTick(() => this.flush());
    this.text += text;
    return new Promise((resolve) => {
      this.queue.push({ resolve, asBytes, left: many, values: many > 0 ? [] : undefined });
    });
  }
  flush() {
    const text = this.text;
    this.text = "";
    this.socket.write(text, "latin1");
  }
  receive(chunk) {
    let buffer = chunk;
    let end = chunk.length;
    if (this.end > 0) {
      if (this.end + chunk.length > this.buffer.length) {
        const larger = Buffer.allocUnsafeSlow((this.end + chunk.length) * 2);
        this.buffer.copy(larger, 0, 0, this.end);
        this.buffer = larger;
      }
      chunk.copy(this.buffer, this.end);
      this.end += chunk.length;
      buffer = this.buffer;
      end = this.end;
    }
    let at = 0;
    for (;;) {
      let lf = at;
      while (lf < end && buffer[lf] !== 10) lf++;
      if (lf >= end) break;
      const waiting = this.queue[this.head];
      let value;
      let next = lf + 1;
      if (buffer[at] === 86) {
        let size = 0;
        // `VA <size>` or `VALUE <key> <flags> <size>`
        const from = waiting.left > 0 ? buffer.lastIndexOf(32, lf) + 1 : at + 3;
        for (let i = from; buffer[i] >= 48; i++) size = size * 10 + buffer[i] - 48;
        if (next + size + 2 > end) break;
        value = waiting.asBytes ? Buffer.copyBytesFrom(buffer, next, size) : buffer.latin1Slice(next, next + size);
        next += size + 2;
      }
      at = next;
      if (waiting.left > 0) {
        // Of many keys all are there; END comes last.
        if (value !== undefined) {
          waiting.values.push(value);
          continue;
        }
        value = waiting.values;
      }
      this.queue[this.head++] = undefined;
      if (this.head > 10_000) {
        this.queue = this.queue.slice(this.head);
        this.head = 0;
      }
      waiting.resolve(value);
    }
    if (at < end) {
      if (buffer === this.buffer) buffer.copy(this.buffer, 0, at, end);
      else {
        if (end - at > this.buffer.length) this.buffer = Buffer.allocUnsafeSlow((end - at) * 2);
        buffer.copy(this.buffer, 0, at, end);
      }
      this.end = end - at;
    } else this.end = 0;
  }
}

function fnv(key) {
  let hash = 2166136261;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 16777619);
  return hash >>> 0;
}

export async function open(ports) {
  const connections = ports.map((port) => new RawConnection(port));
  await Promise.all(connections.map((connection) => once(connection.socket, "connect")));
  const one = connections[0];
  const pick = connections.length === 1 ? () => one : (key) => connections[fnv(key) % connections.length];
  return {
    get: (key) => pick(key).ask(`mg ${key} v\r\n`, false, 0),
    getBytes: (key) => pick(key).ask(`mg ${key} v\r\n`, true, 0),
    set: (key, value) => pick(key).ask(`ms ${key} ${value.length}\r\n${value}\r\n`, false, 0),
    getMany: (keys) => one.ask(`get ${keys.join(" ")}\r\n`, false, keys.length),
    close: () => connections.forEach((connection) => connection.socket.destroy()),
  };
}
