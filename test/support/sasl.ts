/**
 * A real memcached that asks for a SASL login. The passwords are checked by a saslauthd of the test's own, because
 * packaged builds of memcached seldom have a password file; those that have one, and our own server, get one.
 */
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startMemcached, type RealMemcached } from "./memcached.ts";
import { needs } from "./programs.ts";

/** Options for tests that need SASL PLAIN: its plug-in comes with libsasl2-modules. */
export function needsSasl(): { skip: string | false } {
  const memcached = needs("memcached");
  if (memcached.skip !== false || process.env["CI"] || hasPlain()) return memcached;
  return { skip: "libsasl2-modules is not installed" };
}

/** Starts memcached with `-S` and further flags; it lets `username` in with `password`. */
export async function startSaslMemcached(
  username: string,
  password: string,
  flags: readonly string[] = [],
): Promise<RealMemcached> {
  const folder = await mkdtemp(join(tmpdir(), "everfresh-sasl-"));
  await writeFile(
    join(folder, "memcached.conf"),
    `mech_list: plain\npwcheck_method: saslauthd\nsaslauthd_path: ${join(folder, "mux")}\n`,
  );
  const checker = createServer((socket) => {
    const chunks: Buffer[] = [];
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk) => {
      chunks.push(chunk);
      const fields = saslauthdFields(Buffer.concat(chunks));
      if (fields === undefined) return;
      const answer = fields[0] === username && fields[1] === password ? "OK" : "NO";
      socket.end(Buffer.from([0, answer.length, ...Buffer.from(answer)]));
    });
  });
  checker.listen(join(folder, "mux"));
  await once(checker, "listening");
  const users = join(folder, "users");
  await writeFile(users, `${username}:${password}\n`);
  const server = await startMemcached(["-S", ...flags], { SASL_CONF_PATH: folder, MEMCACHED_SASL_PWDB: users });
  return {
    ...server,
    async stop() {
      await server.stop();
      checker.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Name, password, service and realm, each after its length in two bytes (saslauthd(8)); undefined before all are there. */
function saslauthdFields(bytes: Buffer): string[] | undefined {
  const fields: string[] = [];
  for (let at = 0; fields.length < 4;) {
    if (at + 2 > bytes.length) return undefined;
    const length = bytes.readUInt16BE(at);
    if (at + 2 + length > bytes.length) return undefined;
    fields.push(bytes.toString("utf8", at + 2, at + 2 + length));
    at += 2 + length;
  }
  return fields;
}

function hasPlain(): boolean {
  const folders = ["/usr/lib/sasl2", "/usr/lib64/sasl2", "/usr/local/lib/sasl2"];
  const multiarch = existsSync("/usr/lib") ? readdirSync("/usr/lib").filter((name) => name.includes("linux")) : [];
  return [...folders, ...multiarch.map((name) => `/usr/lib/${name}/sasl2`)].some(
    (folder) => existsSync(folder) && readdirSync(folder).some((file) => file.startsWith("libplain")),
  );
}
