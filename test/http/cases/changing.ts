/** What unsafe methods end (RFC 9111 section 4.4), and what may be shown when the handler fails (section 4.2.4, RFC 5861). */
import type { Exchange } from "./exchanges.ts";
import { pause, type Case } from "./table.ts";

const fresh = { fields: { "cache-control": "max-age=100000", "last-modified": 0, date: 0 } };
const named = "RFC 9111 4.4: a cache may; here tags say what a write concerns";

export const invalidation: readonly Case[] = ["POST", "PUT", "DELETE", "M-SEARCH"].flatMap((method): Case[] => {
  // A page of the same site that the answer to the write names.
  const pointed = (id: string, name: string): Case => ({
    id,
    other: named,
    exchanges: [
      { at: "/target", told: fresh },
      { method, told: { fields: { [name]: `/${id}/target` } } },
      { at: "/target", is: "reused" },
    ],
  });
  return [
    { id: `invalidate-${method}`, exchanges: [{ told: fresh }, { method, is: "rendered" }, { is: "rendered" }] },
    {
      id: `invalidate-${method}-failed`,
      exchanges: [{ told: fresh }, { method, told: { status: 500 }, is: "rendered" }, { is: "reused" }],
    },
    pointed(`invalidate-${method}-location`, "location"),
    pointed(`invalidate-${method}-cl`, "content-location"),
  ];
});

const byOption = "the option says so (`staleIfError`, `staleWhileRevalidate`), not the response";
const gone = "a handler that hangs up does so on its visitor, for whom there is nothing left to do";

/** A page that has become stale, then a handler that fails. */
function failing(id: string, cacheControl: string, then: Exchange, more: Omit<Case, "id" | "exchanges"> = {}): Case {
  const told = { fields: { "cache-control": cacheControl } };
  return {
    id,
    ...more,
    exchanges: [
      { told, is: "rendered" },
      { after: pause, ...then },
    ],
  };
}

const broken: Exchange = { told: { status: 503, body: "broken" }, is: "rendered", status: 503, text: "broken" };
const covered: Exchange = {
  told: { status: 503, body: "broken" },
  is: "rendered",
  status: 200,
  text: "0123456789",
  gets: { "cache-status": /; hit; ttl=-\d+$/ },
};
const hangsUp: Exchange = { told: { hangsUp: true } };

export const stale: readonly Case[] = [
  failing("stale-close", "max-age=2", hangsUp, { other: gone, site: "covering" }),
  failing("stale-503", "max-age=2", covered, { site: "covering" }),
  failing("stale-sie-close", "max-age=2, stale-if-error=60", hangsUp, { other: gone, site: "covering" }),
  failing("stale-sie-503", "max-age=2, stale-if-error=60", broken, { other: byOption }),
  failing("stale-while-revalidate", "max-age=1, stale-while-revalidate=3600", { is: "rendered" }, { other: byOption }),
  failing("stale-while-revalidate-window", "max-age=1, stale-while-revalidate=1", { is: "rendered" }),
  ...["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=2"].map((value) =>
    failing(`stale-close-${value}`, `max-age=2, ${value}`, broken, { site: "covering" }),
  ),
];
