/** Certificates of a listener that speaks TLS: read from files, and read again on request. */
import { readFileSync } from "node:fs";
import { type Server, type TlsOptions, createServer } from "node:tls";
import { EverfreshError } from "../errors.ts";

/** Which files hold what; PEM. */
export interface CertificateFiles {
  /** The certificate, with those between it and the root. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Those who may have signed the certificates of visitors. Default: the system's. */
  readonly caFile?: string | undefined;
}

/** TLS as `listen` takes it: Node's own options, or files that can be read again while the server runs. */
export type ServerTls = TlsOptions | CertificateFiles;

const fileNames: Record<keyof CertificateFiles, true> = { certFile: true, keyFile: true, caFile: true };

/** Node's own; a misspelled `requestCert` would let everybody in. */
const nodeNames: Record<keyof TlsOptions, true> = {
  ALPNCallback: true,
  ALPNProtocols: true,
  SNICallback: true,
  allowHalfOpen: true,
  allowPartialTrustChain: true,
  ca: true,
  cert: true,
  ciphers: true,
  clientCertEngine: true,
  crl: true,
  dhparam: true,
  ecdhCurve: true,
  enableTrace: true,
  handshakeTimeout: true,
  highWaterMark: true,
  honorCipherOrder: true,
  keepAlive: true,
  keepAliveInitialDelay: true,
  key: true,
  maxVersion: true,
  minVersion: true,
  noDelay: true,
  passphrase: true,
  pauseOnConnect: true,
  pfx: true,
  privateKeyEngine: true,
  privateKeyIdentifier: true,
  pskCallback: true,
  pskIdentityHint: true,
  rejectUnauthorized: true,
  requestCert: true,
  secureContext: true,
  secureOptions: true,
  secureProtocol: true,
  sessionIdContext: true,
  sessionTimeout: true,
  sigalgs: true,
  ticketKeys: true,
};

/** Options that Node has got since. */
const newerNames: ReadonlySet<string> = new Set(["blockList"]);

/** What can be shown to a visitor. */
const credentials = ["certFile", "cert", "pfx", "SNICallback", "pskCallback"] as const;

/**
 * Checks the names, and the files; the rest is Node's to check.
 *
 * @throws EverfreshError `EF_OPTION` for unknown names, half a pair of files, and where there is no certificate at all
 */
export function checkTls(tls: ServerTls): void {
  const given: Readonly<Record<string, unknown>> = { ...tls };
  for (const name of Object.keys(given))
    if (!Object.hasOwn(fileNames, name) && !Object.hasOwn(nodeNames, name) && !newerNames.has(name))
      throw wrong(
        `tls knows no ${name}; it knows ${Object.keys(fileNames).join(", ")} and the options of Node's tls.createServer`,
      );
  for (const name of Object.keys(fileNames))
    if (given[name] !== undefined && (typeof given[name] !== "string" || given[name] === ""))
      throw wrong(`tls.${name} is the path of a file`);
  if ((given["certFile"] === undefined) !== (given["keyFile"] === undefined))
    throw wrong("tls needs both certFile and keyFile, or neither");
  if (given["caFile"] !== undefined && given["certFile"] === undefined)
    throw wrong("tls.caFile goes with certFile and keyFile; beside cert and key it is ca");
  if (given["certFile"] !== undefined && (given["cert"] !== undefined || given["pfx"] !== undefined))
    throw wrong("tls has its certificate in certFile and keyFile, or in Node's own options, not in both");
  if (credentials.every((name) => given[name] === undefined))
    throw wrong(
      `tls has no certificate, so nobody could connect; give certFile and keyFile, or one of Node's ${credentials.slice(1).join(", ")}`,
    );
}

function wrong(what: string): EverfreshError {
  return new EverfreshError("EF_OPTION", what);
}

/** Node would wait for two minutes. */
const handshakeMs = 10_000;

export function createTlsListener(tls: ServerTls): Server {
  return createServer({ minVersion: "TLSv1.2", handshakeTimeout: handshakeMs, ...certificates(tls) });
}

/** Reads the files again; connections that exist keep the old certificates. False where there are no files. */
export function refresh(server: Server, tls: ServerTls): boolean {
  if (!hasFiles(tls)) return false;
  server.setSecureContext(certificates(tls));
  return true;
}

function hasFiles(tls: ServerTls): tls is CertificateFiles {
  return "certFile" in tls && tls.certFile !== undefined;
}

function certificates(tls: ServerTls): TlsOptions {
  if (!hasFiles(tls)) return tls;
  const { certFile, keyFile, caFile, ...others } = tls;
  return {
    ...others,
    cert: readFileSync(certFile),
    key: readFileSync(keyFile),
    ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }),
  };
}
