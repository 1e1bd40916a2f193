/** The connections of visitors at the end of the process: none of them may hold it up, and no request that has arrived is cut. */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { FastifyInstance } from "fastify";

/** How long the rest of a request may take that was on its way when the app was asked to end. */
const graceMs = 2_000;

/**
 * Idle connections are closed with the app, and one that is still being answered then as soon as it is idle. Node takes a
 * connection for a busy one from its first moment on, so those that browsers open in advance, and requests that do not arrive,
 * are left to us.
 */
export function letConnectionsGo(app: FastifyInstance): void {
  /** Each with the request that is being read or answered on it. */
  const connections = new Map<Socket, IncomingMessage | undefined>();
  app.server.on("connection", (socket: Socket) => {
    connections.set(socket, undefined);
    socket.once("close", () => connections.delete(socket));
  });
  app.server.on("request", (request, reply) => {
    const { socket } = request;
    connections.set(socket, request);
    reply.once("close", () => {
      if (connections.get(socket) === request) connections.set(socket, undefined);
    });
  });
  let closing: NodeJS.Timeout | undefined;
  app.addHook("preClose", (done) => {
    const until = performance.now() + graceMs;
    for (const socket of connections.keys()) if (socket.bytesRead === 0) socket.destroy();
    closing = setInterval(() => {
      app.server.closeIdleConnections();
      if (performance.now() < until) return;
      for (const [socket, request] of connections) if (request?.complete !== true) socket.destroy();
    }, 50);
    done();
  });
  app.addHook("onClose", (_app, done) => {
    clearInterval(closing);
    done();
  });
}
