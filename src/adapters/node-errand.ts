/**
 * Requests and responses of `node:http` without a visitor: Node's own classes on a socket that leads nowhere, so that handlers and
 * frameworks find all that they expect, and what they send is only listened to.
 */
import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { addressFields, sendFor, type Errand } from "../http/index.ts";

/** A socket that takes everything and leads nowhere. */
class Nowhere extends Socket {
  override _read(): void {
    // There is nothing to come.
  }

  override _write(_chunk: unknown, _encoding: unknown, done: () => void): void {
    setImmediate(done);
  }

  override _writev(_chunks: unknown, done: () => void): void {
    setImmediate(done);
  }
}

/** Makes the request and the response of an errand, and hands them to the site. */
export function runOnNode(
  errand: Errand,
  visitor: IncomingMessage,
  site: (req: IncomingMessage, res: ServerResponse) => void,
): void {
  const { request, target, rendering } = errand;
  const fields = request.fields as Record<string, string>;
  // Frameworks believe what a proxy says if they trust the address it comes from. Without a proxy, the address is the visitor's.
  const hasProxy = addressFields.some((name) => fields[name] !== undefined);
  const { encrypted, remoteAddress } = visitor.socket as Socket & { encrypted?: unknown };
  const socket = Object.assign(new Nowhere(), { encrypted });
  Object.defineProperty(socket, "remoteAddress", { value: hasProxy ? remoteAddress : undefined });
  const req = new IncomingMessage(socket);
  Object.assign(req, { method: "GET", url: target, httpVersion: "1.1", httpVersionMajor: 1, httpVersionMinor: 1 });
  req.headers = { ...fields };
  req.rawHeaders = Object.entries(fields).flat();
  req.headersDistinct = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, [value]]));
  req.complete = true;
  req.push(null);
  const res = new ServerResponse(req);
  res.assignSocket(socket);
  // Whoever has answered it before it came to its page has not rendered it.
  res.once("finish", () => {
    res.detachSocket(socket);
    rendering.fail("unavailable");
  });
  sendFor(errand, req);
  site(req, res);
}
