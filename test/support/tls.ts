/** A real memcached that is spoken to by TLS only. */
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCertificate } from "./certificates.ts";
import { startMemcached, type RealMemcached } from "./memcached.ts";
import { findProgram, needs } from "./programs.ts";

const { cert, key } = makeCertificate();

/** Whom to trust, as PEM. */
export const testAuthority = cert;

/** Whether the installed memcached knows TLS: some packages are built without. */
export function memcachedWithTls(): { skip: string | false } {
  const { skip } = needs("memcached");
  if (skip !== false) return { skip };
  const help = spawnSync(findProgram("memcached") ?? "memcached", ["-h"], { encoding: "utf8" }).stdout;
  return { skip: help.includes("--enable-ssl") ? false : "this memcached was built without TLS" };
}

/** Starts memcached with `-Z` and further flags. */
export async function startTlsMemcached(flags: readonly string[] = []): Promise<RealMemcached> {
  const folder = await mkdtemp(join(tmpdir(), "everfresh-tls-"));
  const [certFile, keyFile] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  await Promise.all([writeFile(certFile, cert), writeFile(keyFile, key)]);
  const server = await startMemcached(["-Z", "-o", `ssl_chain_cert=${certFile},ssl_key=${keyFile}`, ...flags]);
  return {
    ...server,
    async stop() {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
