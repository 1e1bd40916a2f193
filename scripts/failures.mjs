// A test reporter that says at the end which tests failed: in a log of which only the end is kept nobody finds them otherwise.
export default async function* failures(events) {
  const failed = new Set();
  for await (const { type, data } of events) {
    if (type !== "test:fail" || data.details.error?.failureType === "subtestsFailed") continue;
    if (data.skip !== undefined || data.todo !== undefined) continue;
    failed.add(`${data.name} (${data.file ?? "no file"}:${data.line ?? "?"})`);
  }
  if (failed.size > 0) yield `Failed:\n${[...failed].map((test) => `  ${test}\n`).join("")}`;
}
