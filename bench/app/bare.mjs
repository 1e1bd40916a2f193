// The limit: a bare Fastify handler that sends the bytes of a page that it has at hand. `node bare.mjs <port> <file>`
import { readFileSync } from "node:fs";
import Fastify from "fastify";

const [port, file] = process.argv.slice(2);
const page = readFileSync(file, "utf8");
const app = Fastify();
app.get("/", (_request, reply) => reply.type("text/html; charset=utf-8").send(page));
await app.listen({ host: "127.0.0.1", port: Number(port) });
