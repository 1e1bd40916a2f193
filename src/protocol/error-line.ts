/**
 * The three ways in which memcached says "no" (protocol.txt, "Error strings"): `ERROR`, `CLIENT_ERROR <text>` and
 * `SERVER_ERROR <text>`.
 */
import { EverfreshError } from "../errors.ts";
import type { Answer } from "./answer.ts";

/**
 * Reads an error line into `answer`.
 *
 * @throws EverfreshError `EF_PROTOCOL` for any other line
 */
export function readErrorLine(line: Buffer, start: number, end: number, answer: Answer): void {
  const text = line.toString("latin1", start, end);
  if (text === "ERROR" || text.startsWith("ERROR ") || text.startsWith("ERROR:")) {
    answer.reset("unsupported");
  } else if (text.startsWith("CLIENT_ERROR")) {
    answer.reset(/unauthenticated|authentication/i.test(text) ? "authError" : "clientError");
  } else if (text.startsWith("SERVER_ERROR")) {
    answer.reset(/too large/i.test(text) ? "tooLarge" : "serverError");
  } else {
    throw new EverfreshError("EF_PROTOCOL", "The server sent a line that is not a reply.");
  }
  answer.text = text;
}
