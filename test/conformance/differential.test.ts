/**
 * Random commands in all three protocols, cut at random places, said to memcached 1.6.18 and to our server: whatever
 * comes, both answer the same, CAS values included.
 *
 * Left out is what differs on purpose: flags that 1.6.18 lacks, storage commands that cannot be read, and the number
 * behind `l` (memcached notes an access only now and then). Seconds left may differ by one: clocks tick at different
 * moments.
 */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import fc from "fast-check";
import { type CacheServer, createServer } from "everfresh/server";
import { binaryRequest, countExtras, storeExtras, timeExtras } from "../support/binary.ts";
import { type RealMemcached, startMemcached } from "../support/memcached.ts";
import { needs } from "../support/programs.ts";
import { type Conversation, talk } from "../support/talk.ts";
import { moreRuns } from "../support/thoroughness.ts";

const runs = 40 * moreRuns;

/** One command: its bytes may depend on a CAS that was seen before. */
type Command = (cas: string) => string;

const key = fc.constantFrom("a", "b", "c", "Zm9v", "foo");
const value = fc.oneof(
  fc.constantFrom(
    "",
    "0",
    "5",
    "10",
    "99",
    "18446744073709551615",
    " 7",
    "5 x",
    "+3",
    "-1",
    "x",
    "5\0",
    "10   ",
    "007",
  ),
  fc.string({ maxLength: 40, unit: "binary-ascii" }),
  fc.nat(9000).map((length) => "v".repeat(length)),
);
const time = fc.constantFrom("0", "0", "100", "3000", "-1", "2592000", "2592001", "2000000000");
const delta = fc.constantFrom(
  "0",
  "1",
  "7",
  "10",
  "18446744073709551615",
  "x",
  "-1",
  "99999999999999999999",
  "",
  "+5",
  "007",
  "5x",
  "-0",
  "0x10",
);
const clientFlags = fc.constantFrom("0", "1", "4294967295", "4294967296");
const noreply = fc.constantFrom("", "", "", " noreply");
/** Behind commands without data any word may stand. */
const last = fc.constantFrom("", "", "", " noreply", " 0", " 0 noreply", " x", " NOREPLY", " noreply x", " 0 0 0");

/** What steers the server, as far as it changes nothing that others see. */
const admin = fc.constantFrom(
  ...[
    [
      "flush_all",
      "flush_all 0",
      "flush_all -1",
      "flush_all x",
      "flush_all noreply",
      "flush_all 0 noreply",
      "flush_all 0 0 0",
    ],
    ["verbosity", "verbosity 0", "verbosity x", "verbosity noreply", "verbosity 0 noreply", "verbosity 0 0 0"],
    ["cache_memlimit", "cache_memlimit 7", "cache_memlimit x", "cache_memlimit noreply", "cache_memlimit 2000000000"],
    [
      "slabs",
      "slabs x",
      "slabs reassign",
      "slabs reassign x 1",
      "slabs automove",
      "slabs automove 3",
      "slabs automove x",
    ],
    ["lru", "lru mode", "lru mode x", "lru temp_ttl x", "lru tune", "lru tune x 1 1 1", "lru tune 50 40 0 1"],
    ["lru_crawler", "lru_crawler x", "lru_crawler tocrawl x", "lru_crawler sleep 1000001", "lru_crawler metadump x"],
    ["stats x", "stats detail", "stats detail x", "stats cachedump", "stats cachedump x 1", "stats cachedump 99 1"],
    ["shutdown", "shutdown x", "refresh_certs noreply", "nonsense noreply", "gat", "gat 0", "incr a", "touch a"],
  ].flat(),
);

const text: fc.Arbitrary<Command> = fc.oneof(
  fc
    .tuple(fc.constantFrom("set", "add", "replace", "append", "prepend"), key, clientFlags, time, value, noreply)
    .map(([command, k, f, t, v, quiet]) => constant(`${command} ${k} ${f} ${t} ${v.length}${quiet}\r\n${v}\r\n`)),
  fc.tuple(key, clientFlags, time, value).map(
    ([k, f, t, v]): Command =>
      (cas) =>
        `cas ${k} ${f} ${t} ${v.length} ${cas}\r\n${v}\r\n`,
  ),
  fc
    .tuple(fc.constantFrom("get", "gets"), fc.array(key, { minLength: 1, maxLength: 5 }))
    .map(([command, keys]) => constant(`${command} ${keys.join(" ")}\r\n`)),
  fc
    .tuple(fc.constantFrom("gat", "gats"), time, fc.array(key, { maxLength: 3 }))
    .map(([command, t, keys]) => constant(`${command} ${t} ${keys.join(" ")}\r\n`)),
  fc
    .tuple(fc.constantFrom("incr", "decr"), key, delta, last)
    .map(([command, k, d, quiet]) => constant(`${command} ${k} ${d}${quiet}\r\n`)),
  fc.tuple(key, time, last).map(([k, t, quiet]) => constant(`touch ${k} ${t}${quiet}\r\n`)),
  fc.tuple(key, last).map(([k, quiet]) => constant(`delete ${k}${quiet}\r\n`)),
  fc.constantFrom("nonsense a b\r\n", "\r\n", "get\r\n", "gets \r\n", "get a\0b c\n").map(constant),
  fc.tuple(admin, fc.constantFrom("\r\n", "\n")).map(([line, end]) => constant(line + end)),
);

function flags(letters: readonly string[]): fc.Arbitrary<string> {
  return fc
    .subarray([...letters])
    .chain((chosen) => fc.shuffledSubarray(chosen, { minLength: chosen.length }))
    .map(join);
}
function join(parts: readonly string[]): string {
  return parts.map((part) => ` ${part}`).join("");
}

const meta: fc.Arbitrary<Command> = fc.oneof(
  fc
    .tuple(
      key,
      flags(["v", "c", "t", "f", "s", "k", "h", "q", "u", "Oxyz", "N30", "R30"]),
      fc.constantFrom("", " T100", " T0"),
    )
    .map(([k, f, t]) => constant(`mg ${k}${f}${t}\r\n`)),
  fc
    .tuple(
      key,
      value,
      flags(["c", "k", "q", "Oab", "T100", "F77", "I"]),
      fc.constantFrom("", "", "", " ME", " MA", " MP", " MR", " MS", " MX", " Me", " M"),
      fc.boolean(),
      fc.boolean(),
    )
    .map(([k, v, f, m, compares, encoded]): Command => (cas) => {
      const isKey = encoded && k.length % 4 === 0;
      return `ms ${k} ${v.length}${f}${m}${compares ? ` C${cas}` : ""}${isKey ? " b" : ""}\r\n${v}\r\n`;
    }),
  fc.tuple(key, flags(["q", "k", "Oab", "I", "T30"]), fc.boolean()).map(
    ([k, f, compares]): Command =>
      (cas) =>
        `md ${k}${f}${compares ? ` C${cas}` : ""}\r\n`,
  ),
  fc
    .tuple(
      key,
      flags(["q", "v", "c", "t", "k", "Oab", "N60", "J13", "D5"]),
      fc.constantFrom("", "", " MI", " MD", " M+", " M-", " Mx", " Mi", " M", " D0", " Jx", " N-1"),
    )
    .map(([k, f, m]) => constant(`ma ${k}${f}${m}\r\n`)),
  key.map((k) => constant(`me ${k} nothing\r\n`)),
  fc.constantFrom("mn\r\n", "mg\r\n", "mg a ! \r\n", "mg a v v\r\n", "mx\r\n").map(constant),
  fc
    .tuple(
      key,
      fc.constantFrom("T", "N", "R"),
      fc.constantFrom("", "x", "5x", "+5", "-", "1.5", "99999999999999999999"),
    )
    .map(([k, letter, token]) => constant(`mg ${k} t ${letter}${token}\r\n`)),
);

const binary: fc.Arbitrary<Command> = fc
  .record({
    opcode: fc.constantFrom(
      0,
      9,
      0x0c,
      0x0d,
      1,
      0x11,
      2,
      0x12,
      3,
      0x13,
      4,
      0x14,
      5,
      0x15,
      6,
      0x16,
      0x0e,
      0x19,
      0x0f,
      0x1a,
      0x1c,
      0x1d,
      0x1e,
      0x23,
      0x24,
      0x0a,
    ),
    key,
    value,
    flags: fc.nat(0xffffffff),
    time: fc.constantFrom(0, 0, 100, 2592001, 0xffffffff),
    delta: fc.constantFrom(0n, 1n, 5n, 2n ** 64n - 1n),
    compares: fc.boolean(),
    opaque: fc.nat(1000),
  })
  .map((parts): Command => (seen) => {
    const { opcode } = parts;
    const stores = [1, 2, 3].includes(opcode % 16) && opcode < 0x14;
    const counts = [5, 6, 0x15, 0x16].includes(opcode);
    const touches = [0x1c, 0x1d, 0x1e, 0x23, 0x24].includes(opcode);
    const hasValue = stores || [0x0e, 0x0f, 0x19, 0x1a].includes(opcode);
    return binaryRequest({
      opcode,
      opaque: parts.opaque,
      key: opcode === 0x0a ? "" : parts.key,
      value: hasValue ? parts.value : "",
      cas: parts.compares && opcode !== 0x0a ? BigInt(seen) : 0n,
      ...(stores ? { extras: storeExtras(parts.flags, parts.time) } : {}),
      ...(counts ? { extras: countExtras(parts.delta, 3n, parts.time) } : {}),
      ...(touches ? { extras: timeExtras(parts.time) } : {}),
    }).toString("latin1");
  });

function constant(bytes: string): Command {
  return () => bytes;
}

/** Says the same to both, cut at the same places, and compares what they answer. */
async function agree(
  real: Conversation,
  ours: Conversation,
  command: Command,
  cuts: readonly number[],
  cas: string,
  [mark, end]: readonly [ask: string, answer: string],
): Promise<string> {
  const words = command(cas);
  // A mark more would leave an answer over, and from then on commands of both conversations would cross.
  const said = words === mark ? mark : words + mark;
  for (const conversation of [real, ours]) {
    let from = 0;
    for (const cut of cuts.map((part) => Math.floor((part / 1000) * said.length)).toSorted((a, b) => a - b)) {
      conversation.send(said.slice(from, cut));
      from = cut;
    }
    conversation.send(said.slice(from));
  }
  const [expected, heard] = await Promise.all([real.hearUntil(end), ours.hearUntil(end)]);
  if (alike(heard) !== alike(expected)) assert.equal(heard, expected, `after ${JSON.stringify(said.slice(0, 300))}`);
  return heard;
}

/** Without what may differ: seconds that are left are rounded off, those since the last access left out. */
function alike(answer: string): string {
  return (
    answer
      .replaceAll(/ exp=\d{9,}/g, " exp")
      .replaceAll(
        / (t|exp=-?)(\d\d+)/g,
        (_all, name: string, seconds: string) => ` ${name}${Math.round(Number(seconds) / 10)}`,
      )
      .replaceAll(/ la=\d+/g, " la")
      // memcached forgets that a key came as base64 when it makes another item of it, and says it raw then. Ours never does.
      .replaceAll(/ kZm9v b/g, " kfoo")
  );
}

const endOfText = ["mn\r\n", "MN\r\n"] as const;
const noop = { opcode: 0x0a, opaque: 0x7e57_7e57 };
const endOfBinary = [
  binaryRequest(noop).toString("latin1"),
  binaryRequest({ ...noop, magic: 0x81 }).toString("latin1"),
] as const;

suite("whatever is said, our server answers as memcached does", needs("memcached"), () => {
  let real: RealMemcached;
  let ours: CacheServer;
  before(async () => {
    real = await startMemcached(["-m", "1024"]);
    ours = await createServer().listen();
  });
  after(async () => {
    await real.stop();
    await ours.close();
  });

  for (const [name, ...commands] of [
    ["append to a lease", "mg l1 N30", "append l1 0 0 1\r\nx", "mg l1 v t"],
    ["append of nothing to a lease", "mg l2 N30", "append l2 0 0 0\r\n", "mg l2 v t"],
    ["append to what is stale", "set s1 0 100 1\r\na", "md s1 I T30", "append s1 0 0 1\r\nb", "mg s1 v t"],
    ["prepend to what is stale", "set s2 0 100 1\r\na", "md s2 I T30", "ms s2 1 MP\r\nb", "mg s2 v t"],
    ["a count that becomes longer", "set s3 0 100 1\r\n9", "md s3 I T30", "incr s3 1", "mg s3 v t"],
    ["a count that does not", "set s4 0 100 1\r\n5", "md s4 I T30", "incr s4 1", "mg s4 v t"],
    ["a value that is stored stale", "set s5 0 100 1\r\na", "ms s5 1 I C1 T7\r\nb", "mg s5 v t"],
  ] as const)
    test(`marks and time to live: ${name}`, async () => {
      const both = await Promise.all([talk(real.port), talk(ours.port)]);
      try {
        for (const command of commands) await agree(...both, constant(`${command}\r\n`), [], "1", endOfText);
      } finally {
        for (const conversation of both) conversation.close();
      }
    });

  test("and counts as memcached does", async () => {
    const get = { key: "k", extras: timeExtras(100) };
    const count = { opcode: 5, key: "n", extras: countExtras(1n, 0n, 0) };
    const texts = [
      ["set k 0 0 1\r\n5", "get k none", "gat 100 k none", "touch k 100", "touch none 100", "cas k 0 0 1 999\r\n5"],
      ["incr k 1", "incr none 1", "decr none 1", "ma made N0", "ma made", "ma none", "ma none MD"],
      ["mg k v", "mg none v", "mg k T100", "mg none T100", "md none"],
    ].flat();
    const binaries = [
      [
        { ...get, opcode: 0x1d },
        { ...get, opcode: 0x24 },
        { ...get, opcode: 0x1d, key: "none" },
      ],
      [count, count, { ...count, key: "none", extras: countExtras(1n, 0n, 0xffff_ffff) }],
    ].flat();
    const [expected, counted] = await Promise.all(
      [real.port, ours.port].map(async (port) => {
        const [visitor, other] = await Promise.all([talk(port), talk(port)]);
        visitor.send(`flush_all\r\nstats reset\r\n${texts.join("\r\n")}\r\n${endOfText[0]}`);
        await visitor.hearUntil(endOfText[1]);
        other.send(Buffer.concat([...binaries, noop].map((parts) => binaryRequest(parts))));
        await other.hearUntil(endOfBinary[1]);
        visitor.send("stats\r\n");
        const numbers = await visitor.hearUntil("END\r\n");
        for (const conversation of [visitor, other]) conversation.close();
        return numbers
          .match(/(?:cmd_(?!meta)|(?:get|delete|incr|decr|cas|touch)_(?:hits|misses|badval)).*/g)
          ?.toSorted();
      }),
    );
    assert.ok(expected !== undefined && expected.length > 12);
    assert.deepEqual(counted, expected);
  });

  const session = fc.array(
    fc.tuple(fc.oneof(text, meta, binary), fc.boolean(), fc.array(fc.nat(999), { maxLength: 3 })),
    { minLength: 1, maxLength: 60 },
  );
  test("in text, meta and binary, in any order", async () => {
    await fc.assert(
      fc.asyncProperty(session, async (commands) => {
        const texts = await Promise.all([talk(real.port), talk(ours.port)]);
        const binaries = await Promise.all([talk(real.port), talk(ours.port)]);
        let cas = "1";
        try {
          await agree(...texts, constant("flush_all\r\n"), [], cas, endOfText);
          for (const [command, picksCas, cuts] of commands) {
            const isBinary = command("1").startsWith("\x80");
            const [one, other] = isBinary ? binaries : texts;
            const heard = await agree(
              one,
              other,
              command,
              cuts,
              picksCas ? cas : "3",
              isBinary ? endOfBinary : endOfText,
            );
            cas = / c(\d+)/.exec(heard)?.[1] ?? /VALUE \S+ \d+ \d+ (\d+)/.exec(heard)?.[1] ?? cas;
          }
        } finally {
          for (const conversation of [...texts, ...binaries]) conversation.close();
        }
      }),
      { numRuns: runs, includeErrorInReport: true },
    );
  });
});
