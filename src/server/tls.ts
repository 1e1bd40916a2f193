/** Certificates of a listener that speaks TLS: read from files, and read again on request. */
import { readFileSync } from "node:fs";
import { type Server, type TlsOptions, createServer } from "node:tls";

/** Which files hold what; PEM. */
export interface CertificateFiles {
  /** The certificate, with those between it and the root. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Those who may have signed the certificates of visitors. Default: the system's. */
  readonly caFile?: string;
}

/** TLS as `listen` takes it: Node's own options, or files that can be read again while the server runs. */
export type ServerTls = TlsOptions | CertificateFiles;

export function createTlsListener(tls: ServerTls): Server {
  return createServer({ minVersion: "TLSv1.2", ...certificates(tls) });
}

/** Reads the files again; connections that exist keep the old certificates. False where there are no files. */
export function refresh(server: Server, tls: ServerTls): boolean {
  if (!("certFile" in tls)) return false;
  server.setSecureContext(certificates(tls));
  return true;
}

function certificates(tls: ServerTls): TlsOptions {
  if (!("certFile" in tls)) return tls;
  const { certFile, keyFile, caFile, ...others } = tls;
  return {
    ...others,
    cert: readFileSync(certFile),
    key: readFileSync(keyFile),
    ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }),
  };
}
