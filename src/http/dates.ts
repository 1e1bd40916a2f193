/** HTTP's dates (RFC 9110 section 5.6.7): the one form to write, the three forms to read. */

const months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/** Sun, 06 Nov 1994 08:49:37 GMT */
const fixed = /^[A-Za-z]{3}, (\d{2}) ([A-Za-z]{3}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT$/i;
/** Sunday, 06-Nov-94 08:49:37 GMT */
const rfc850 = /^[A-Za-z]{6,9}, (\d{2})-([A-Za-z]{3})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) GMT$/i;
/** Sun Nov  6 08:49:37 1994 */
const asctime = /^[A-Za-z]{3} ([A-Za-z]{3}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/;

/**
 * Milliseconds since 1970 of an HTTP date; undefined when it is none. The caller decides what an unreadable date
 * means: for `Expires` it is the past (RFC 9111 section 5.3), for `If-Modified-Since` the field is ignored. Upper and lower
 * case mean the same (RFC 9111 section 4.2).
 *
 * @param nowMs used for two-digit years: more than 50 years ahead means the century before
 */
export function parseHttpDate(text: string, nowMs: number): number | undefined {
  let match = fixed.exec(text);
  if (match) return utc(match[3], match[2], match[1], match[4], match[5], match[6]);
  match = asctime.exec(text);
  if (match) return utc(match[6], match[1], match[2], match[3], match[4], match[5]);
  match = rfc850.exec(text);
  if (!match) return undefined;
  const thisYear = new Date(nowMs).getUTCFullYear();
  let year = thisYear - (thisYear % 100) + Number(match[3]);
  if (year > thisYear + 50) year -= 100;
  return utc(String(year), match[2], match[1], match[4], match[5], match[6]);
}

/** `ms` as an IMF-fixdate, the only form that may be sent. */
export function formatHttpDate(ms: number): string {
  return new Date(ms).toUTCString();
}

function utc(...[year, month, day, hours, minutes, seconds]: readonly (string | undefined)[]): number | undefined {
  const monthIndex = months.indexOf((month ?? "").toLowerCase());
  if (monthIndex < 0 || Number(hours) > 23 || Number(minutes) > 59 || Number(seconds) > 60) return undefined;
  const dayOfMonth = Number(day);
  const ms = Date.UTC(Number(year), monthIndex, dayOfMonth, Number(hours), Number(minutes), Number(seconds));
  const isReal = new Date(Date.UTC(Number(year), monthIndex, dayOfMonth)).getUTCDate() === dayOfMonth;
  return isReal ? ms : undefined;
}
