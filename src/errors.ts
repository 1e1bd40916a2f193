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

/** Whether `error` is one of ours, and, if `code` is given, that one. */
export function isEverfreshError(error: unknown, code?: ErrorCode): error is EverfreshError {
  return error instanceof EverfreshError && (code === undefined || error.code === code);
}
