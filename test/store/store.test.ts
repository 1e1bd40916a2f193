/** One memory: what it keeps, what it forgets, and that it never takes more than it may. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ManualClock } from "everfresh/testing";
import { layout, loadItems, saveItems } from "#src/store/index.ts";
import { Memory } from "../support/store-memory.ts";
import { scratchFolder } from "../support/scratch.ts";
import { moreRuns } from "../support/thoroughness.ts";
import { join } from "node:path";
import { readFileSync, writeFileSync } from "node:fs";

const mebibyte = 1024 * 1024;
const runs = 60 * moreRuns;

function key(name: string | number): Buffer {
  return Buffer.from(`key:${name}`);
}

/** A value that says which key and version it belongs to, all through. */
function value(name: number, version: number, length: number): Buffer {
  return Buffer.alloc(length, `${name}/${version};`);
}

test("what is set is got, as a copy, with its flags and its CAS", () => {
  const memory = new Memory({ limitBytes: mebibyte });
  assert.equal(memory.set(key(1), Buffer.from("one"), { flags: 0xffff_ffff }), "stored");
  const { lastCas } = memory;
  const found = memory.get(key(1));
  assert.deepEqual(found, { value: Buffer.from("one"), flags: 0xffff_ffff, cas: lastCas, ttlSeconds: undefined });
  found?.value.fill(0);
  assert.equal(memory.get(key(1))?.value.toString(), "one");
});

test("add stores what is missing, compareAndSet the version it names", () => {
  const memory = new Memory({ limitBytes: mebibyte });
  assert.equal(memory.add(key(1), Buffer.from("a")), "stored");
  assert.equal(memory.add(key(1), Buffer.from("b")), "notStored");
  const cas = memory.get(key(1))?.cas ?? 0n;
  assert.equal(memory.compareAndSet(key(1), Buffer.from("c"), cas + 1n), "exists");
  assert.equal(memory.compareAndSet(key(1), Buffer.from("c"), cas), "stored");
  assert.equal(memory.compareAndSet(key(2), Buffer.from("c"), cas), "notFound");
  assert.equal(memory.delete(key(1), cas), "exists");
  assert.equal(memory.delete(key(1)), "deleted");
  assert.equal(memory.delete(key(1)), "notFound");
});

test("numbers are counted modulo 2^64 and stop at 0", () => {
  const memory = new Memory({ limitBytes: mebibyte });
  memory.set(key(1), Buffer.from("18446744073709551614"));
  assert.equal(numberOf(memory.increment(key(1), 1n)), 18446744073709551615n);
  assert.equal(numberOf(memory.increment(key(1), 3n)), 2n);
  assert.equal(numberOf(memory.increment(key(1), -5n)), 0n);
  memory.set(key(2), Buffer.from("ten"));
  assert.equal(memory.increment(key(2), 1n).kind, "nonNumeric");
  assert.equal(memory.increment(key(3), 1n).kind, "notFound");
});

function numberOf(counted: ReturnType<Memory["increment"]>): bigint | undefined {
  return counted.kind === "counted" ? counted.number : undefined;
}

test("items expire by the clock, to the second", () => {
  const clock = new ManualClock();
  const memory = new Memory({ limitBytes: mebibyte, clock });
  memory.set(key(1), Buffer.from("v"), { ttlSeconds: 10 });
  clock.advance(9_000);
  assert.equal(memory.get(key(1))?.ttlSeconds, 1);
  assert.equal(memory.touch(key(1), 5), true);
  clock.advance(4_000);
  assert.equal(memory.get(key(1))?.ttlSeconds, 1);
  clock.advance(1_000);
  assert.equal(memory.get(key(1)), undefined);
  assert.equal(memory.touch(key(1), 5), false);
});

test("what expired is given back without being asked for", () => {
  const clock = new ManualClock();
  const memory = new Memory({ limitBytes: mebibyte, clock });
  for (let i = 0; i < 500; i++) memory.set(key(i), value(i, 0, 100), { ttlSeconds: 5 });
  assert.equal(memory.store.count, 500);
  for (let second = 0; second < 70; second++) {
    clock.advance(1_000);
    memory.get(key("other"));
  }
  assert.equal(memory.store.count, 0);
  assert.equal(memory.store.reclaimed, 500);
});

test("a delayed flush comes a second early and takes what is stored until then", () => {
  const clock = new ManualClock();
  const memory = new Memory({ limitBytes: mebibyte, clock });
  memory.set(key(1), Buffer.from("v"));
  memory.store.flush(5);
  clock.advance(3_000);
  memory.set(key(2), Buffer.from("v"));
  assert.equal(memory.get(key(1))?.value.toString(), "v");
  clock.advance(1_000);
  assert.equal(memory.get(key(1)), undefined);
  assert.equal(memory.get(key(2)), undefined);
  clock.advance(1_000);
  memory.set(key(3), Buffer.from("v"));
  assert.equal(memory.get(key(3))?.value.toString(), "v");
});

/** Stores, changes and deletes items of many sizes, and compares with a plain Map. */
test("under any mix of sizes memory keeps its limit, and what it holds is right", () => {
  const step = fc.record({
    what: fc.constantFrom("set", "set", "set", "set", "delete", "get", "add"),
    name: fc.nat(400),
    length: fc.oneof(fc.nat(60), fc.nat(2_000), fc.nat(40_000), fc.constant(150_000)),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 50, maxLength: 600 }), (steps) => {
      const limitBytes = mebibyte;
      const memory = new Memory({ limitBytes });
      const model = new Map<number, Buffer>();
      for (const [version, { what, name, length }] of steps.entries()) {
        const bytes = value(name, version, length);
        const found = memory.get(key(name));
        if (found !== undefined) assert.deepEqual(found.value, model.get(name), `key ${name}`);
        if (what === "set") {
          assert.equal(memory.set(key(name), bytes), "stored");
          model.set(name, bytes);
          assert.deepEqual(memory.get(key(name))?.value, bytes);
        } else if (what === "delete") {
          assert.equal(memory.delete(key(name)), found === undefined ? "notFound" : "deleted");
          model.delete(name);
        } else if (what === "add") {
          assert.equal(memory.add(key(name), bytes), found === undefined ? "stored" : "notStored");
          if (found === undefined) model.set(name, bytes);
        }
        assert.ok(memory.store.usedBytes <= limitBytes);
        assert.ok(memory.store.bytesStored >= 0);
      }
      // Everything that is listed is found, and the counts agree.
      let listed = 0;
      let bytes = 0;
      for (let segment = 0; segment >= 0;)
        segment = memory.store.walk(segment, (item) => {
          listed++;
          bytes += memory.store.sizeOf(item);
        });
      assert.equal(listed, memory.store.count);
      assert.equal(bytes, memory.store.bytesStored);
    }),
    { numRuns: runs },
  );
});

test("nothing is dropped while there is room, however often values change their size", () => {
  const memory = new Memory({ limitBytes: 4 * mebibyte });
  const sizes = new Map<number, number>();
  for (let round = 0; round < 60_000; round++) {
    const name = (round * 7919) % 400;
    const length = 100 + ((round * 104_729) % 12_000);
    assert.equal(memory.set(key(name), value(name, round, length)), "stored");
    sizes.set(name, length);
  }
  assert.equal(memory.store.evictions, 0);
  for (const [name, length] of sizes) assert.equal(memory.get(key(name))?.value.length, length);
});

test("a large item finds room among small ones, and small ones among large", () => {
  const memory = new Memory({ limitBytes: 4 * mebibyte });
  for (let i = 0; i < 40_000; i++) memory.set(key(i), value(i, 0, 80));
  for (let i = 0; i < 20; i++) assert.equal(memory.set(key(`large${i}`), Buffer.alloc(900_000, i)), "stored");
  assert.deepEqual(memory.get(key("large19"))?.value, Buffer.alloc(900_000, 19));
  for (let i = 0; i < 40_000; i++) assert.equal(memory.set(key(i), value(i, 1, 80)), "stored");
  assert.deepEqual(memory.get(key(39_999))?.value, value(39_999, 1, 80));
});

test("where nothing may be dropped, storing fails, and deleting makes room", () => {
  const memory = new Memory({ limitBytes: mebibyte, evicts: false });
  let stored = 0;
  while (memory.set(key(stored), value(stored, 0, 1000)) === "stored") stored++;
  assert.ok(stored > 700, `${stored} items of 1 KB in 1 MiB`);
  assert.equal(memory.store.evictions, 0);
  for (let i = 0; i < stored; i++) assert.equal(memory.get(key(i))?.value.length, 1000);
  for (let i = 0; i < 100; i++) memory.delete(key(i));
  for (let i = 0; i < 60; i++) assert.equal(memory.set(key(`new${i}`), value(i, 0, 1000)), "stored");
});

test("beyond the most items the least used leave", () => {
  const memory = new Memory({ limitBytes: 16 * mebibyte, limitItems: 100 });
  for (let i = 0; i < 50; i++) memory.set(key(i), value(i, 0, 50));
  for (let i = 0; i < 5_000; i++) {
    for (let hot = 0; hot < 20; hot++) memory.get(key(hot));
    memory.set(key(`cold${i}`), value(i, 0, 50));
    assert.ok(memory.store.count <= 100);
  }
  for (let hot = 0; hot < 20; hot++) assert.equal(memory.get(key(hot))?.value.length, 50, `hot key ${hot}`);
});

test("append survives that its own room is made by dropping others", () => {
  const { store } = new Memory({ limitBytes: mebibyte });
  const put = (name: Buffer, bytes: Buffer, how: 0 | 3): number => {
    const { draft } = store;
    Object.assign(draft, { key: name, keyStart: 0, keyEnd: name.length, value: bytes, valueStart: 0 });
    Object.assign(draft, { valueEnd: bytes.length, flags: 0, expires: 0, compares: false, allowsStale: false });
    Object.assign(draft, { chooses: false, vivifies: false, binaryKey: false });
    return store.put(how);
  };
  const name = key("log");
  let expected = "";
  put(name, Buffer.alloc(0), 0);
  for (let i = 0; i < 3_000; i++) {
    put(key(i), value(i, 0, 900), 0);
    const item = store.find(name, 0, name.length);
    if (item === 0) {
      put(name, Buffer.alloc(0), 0);
      expected = "";
    } else store.use(item);
    assert.equal(put(name, Buffer.from(`${i},`), 3), 0);
    expected += `${i},`;
  }
  const item = store.find(name, 0, name.length);
  const start = store.valueStart(item);
  const length = store.words[item + layout.LENGTH] ?? 0;
  assert.equal(Buffer.from(store.bytes.subarray(start, start + length)).toString(), expected);
  assert.ok(store.evictions > 1_000);
});

test("what is saved is there after a restart: values, flags, versions, times and marks", (context) => {
  const file = join(scratchFolder(context), "items");
  const clock = new ManualClock();
  const before = new Memory({ limitBytes: mebibyte, clock });
  for (let i = 0; i < 1_000; i++) before.set(key(i), value(i, 0, i), { flags: i, ttlSeconds: i < 10 ? 30 : 3_000 });
  const stale = before.store.find(key(20), 0, key(20).length);
  before.store.draft.chooses = false;
  before.store.invalidate(stale);
  const { lastCas } = before.store;
  assert.equal(saveItems(before.store, file), 1_000);
  clock.advance(40_000);
  const after = new Memory({ limitBytes: mebibyte, clock });
  assert.equal(loadItems(after.store, file), 990);
  for (let i = 10; i < 1_000; i++) {
    const found = after.get(key(i));
    assert.deepEqual(found?.value, value(i, 0, i));
    assert.equal(found.flags, i);
    assert.equal(found.ttlSeconds, 2_960);
    if (i !== 20) assert.equal(found.cas, BigInt(i + 1));
  }
  const item = after.store.find(key(20), 0, key(20).length);
  assert.notEqual((after.store.words[item + layout.STATE] ?? 0) & layout.STALE, 0);
  after.set(key("new"), Buffer.from("v"));
  assert.ok(after.lastCas > BigInt(lastCas), "versions of before the restart are not given again");
  assert.throws(() => loadItems(after.store, file), { code: "ENOENT" }, "a file is good for one start only");
});

test("a file that is cut or is none leaves the store empty", (context) => {
  const file = join(scratchFolder(context), "items");
  const before = new Memory({ limitBytes: mebibyte });
  for (let i = 0; i < 100; i++) before.set(key(i), value(i, 0, 100));
  saveItems(before.store, file);
  const whole = readFileSync(file);
  for (const broken of [
    whole.subarray(0, whole.length - 1),
    whole.subarray(0, 1000),
    Buffer.from("hello"),
    Buffer.alloc(0),
  ]) {
    writeFileSync(file, broken);
    const after = new Memory({ limitBytes: mebibyte });
    assert.throws(() => loadItems(after.store, file), { code: "EF_SNAPSHOT" });
    assert.equal(after.store.count, 0);
  }
});

test("sizes that are no sizes are refused at once", () => {
  for (const limitBytes of [0, -1, 1.5, Number.NaN, 2 ** 40])
    assert.throws(() => new Memory({ limitBytes }), { code: "EF_OPTION" });
  assert.throws(() => new Memory({ limitBytes: mebibyte, limitItems: 0 }), { code: "EF_OPTION" });
});

test("the index grows with the items up to the largest memory, so that chains stay short", () => {
  for (const limitBytes of [8 * mebibyte, 4096 * mebibyte]) {
    const memory = new Memory({ limitBytes });
    for (let name = 0; name < 5_000; name++) memory.set(key(name), Buffer.from("v"));
    const { buckets } = memory.store;
    assert.ok(buckets >= 5_000, `${buckets} buckets with ${limitBytes} bytes`);
  }
});
