/**
 * Every error that Everfresh throws on purpose, in one table: a stable `code` for programs, a sentence for people.
 *
 * Only vocabulary lives here. Who throws which error is told where it is thrown; `docs/errors.md` lists exactly the
 * codes of this table, and a test holds it to that.
 */

/** What each code means, in one line. The manual's list is checked against this table. */
export const errorCodes = {
  EF_OPTION: "An option, an environment variable or an argument is missing, unknown or out of range.",
  EF_CLOSED: "The client, cache or server was closed before or while the call was made.",
  EF_TIMEOUT: "The deadline passed without an answer; the command may or may not have been executed.",
  EF_CONNECTION_LOST: "The connection ended before the answer; the command may or may not have been executed.",
  EF_SERVER_DOWN: "The server is marked down and being probed; the command was not sent.",
  EF_OVERLOADED: "Too many commands are waiting for this server; the command was not sent.",
  EF_ABORTED: "The caller's AbortSignal fired; the command may or may not have been executed.",
  EF_KEY: "The key is empty, too long or holds bytes that the protocol cannot carry.",
  EF_VALUE_TOO_LARGE: "The value is larger than the server or a limit of the client allows.",
  EF_VALUE: "The stored bytes cannot be turned into a value, or the value cannot be turned into bytes.",
  EF_SERVER_ERROR: "The server answered that it failed.",
  EF_CLIENT_ERROR: "The server refused the command as wrong.",
  EF_PROTOCOL: "The peer sent something that the protocol does not allow; the connection was closed.",
  EF_AUTH: "The server refused the credentials, or asks for some, or has no way to check them.",
  EF_UNSUPPORTED: "The server's version or protocol lacks this command or flag; nothing was sent.",
  EF_INVALIDATION_PENDING:
    "A server could not confirm the invalidation in time; it is retried, and nothing is read from that server before.",
  EF_LOAD_TIMEOUT: "The loader of a value did not finish within its hardTimeout.",
  EF_TRANSACTION: "The database rolled the transaction back instead of committing it.",
  EF_SNAPSHOT: "The file that a server was to warm up from is not a complete file of items.",
} as const;

/** A stable name for a kind of failure; branch on this, never on the message. */
export type ErrorCode = keyof typeof errorCodes;

/** What an error may carry besides its code. Never a value and never a secret. */
export interface ErrorDetails {
  /** The address of the peer, as it was configured. */
  readonly server?: string;
  /** The command that failed, by its name in the manual. */
  readonly command?: string;
  /** The key as the caller wrote it. */
  readonly key?: string;
  /** What caused this error. */
  readonly cause?: unknown;
}

/** The class of every error that Everfresh throws on purpose. */
export class EverfreshError extends Error {
  override readonly name: string = "EverfreshError";
  readonly code: ErrorCode;
  readonly server: string | undefined;
  readonly command: string | undefined;
  readonly key: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.server = details.server;
    this.command = details.command;
    this.key = details.key;
  }
}

/** An error of ours that was thrown where nobody knew the server, command and key, with them; any other as it is. */
export function located(error: unknown, details: ErrorDetails): unknown {
  if (!(error instanceof EverfreshError) || error.command !== undefined || error.key !== undefined) return error;
  const found = new EverfreshError(error.code, error.message, { ...details, cause: error.cause });
  // Where it was thrown says more than where it was completed.
  if (error.stack !== undefined) found.stack = error.stack;
  return found;
}

/** Whether `error` is one of ours, and, if `code` is given, that one. */
export function isEverfreshError(error: unknown, code?: ErrorCode): error is EverfreshError {
  return error instanceof EverfreshError && (code === undefined || error.code === code);
}

/** What an error says to people. Where a name has several addresses, Node's own has no message, and one for each address in it. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.message !== "") return error.message;
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.map(reasonOf).join("; ");
  return (error as NodeJS.ErrnoException).code ?? error.name;
}

const longestShown = 60;

/** What was given instead of something else, in the few words of a message. Addresses are not shown: they may hold a password. */
export function shown(given: unknown): string {
  if (isAddress(given)) return "a text like an address";
  if (typeof given === "string") return JSON.stringify(given.length > 40 ? `${given.slice(0, 40)}...` : given);
  if (typeof given === "function") return "a function";
  if (typeof given !== "object" || given === null) return String(given);
  if (!Array.isArray(given)) return given instanceof Promise ? "a promise" : "an object";
  const isPlain = given.every((each) => ["string", "number", "boolean"].includes(typeof each) && !isAddress(each));
  const text = isPlain ? JSON.stringify(given) : "";
  return isPlain && text.length <= longestShown ? text : `a list of ${given.length}`;
}

function isAddress(given: unknown): boolean {
  return typeof given === "string" && /:\/\/|@/.test(given);
}

/**
 * Whether what was to be answered at once is a promise, of whatever kind. Nobody waits for it, so that it also fails later must
 * not end the process.
 */
export function disown(given: unknown): boolean {
  if (typeof given !== "object" || given === null || !("then" in given) || typeof given.then !== "function")
    return false;
  Promise.resolve(given).catch(() => undefined);
  return true;
}
