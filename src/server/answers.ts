/** Answers that many commands share. */
import type { Session } from "./session.ts";

/** Answers with one line, unless the visitor asked for silence. */
export function answer(session: Session, line: string, silent = false): void {
  if (!silent) session.desk.writer.line(line);
}

/** The line and the letter of each command for those who may not use it. */
export const notAllowed = {
  flush: "CLIENT_ERROR flush_all not allowed",
  stats: "CLIENT_ERROR stats not allowed",
} as const;
