/**
 * How thorough a run of the tests is. Each of these is 1 by default and multiplies: `EVERFRESH_TEST_RUNS` how often properties and
 * random orders are tried, `EVERFRESH_TEST_SIMULATION` the simulation, `EVERFRESH_TEST_PROOF` the proof, `EVERFRESH_TEST_LOAD` what
 * fleets of real processes do, `EVERFRESH_TEST_FUZZ` for how long is fuzzed.
 */
function factor(name: "RUNS" | "SIMULATION" | "PROOF" | "LOAD" | "FUZZ"): number {
  const text = process.env[`EVERFRESH_TEST_${name}`] ?? "1";
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new Error(`EVERFRESH_TEST_${name} is "${text}"; it is a whole number, 10 for ten times as much`);
  return value;
}

export const moreRuns = factor("RUNS");
export const moreSimulation = factor("SIMULATION");
export const moreProof = factor("PROOF");
export const moreLoad = factor("LOAD");
export const moreFuzzing = factor("FUZZ");

/** The seed that `EVERFRESH_TEST_SEED` says, to repeat what a failed run told; undefined by default. */
export const chosenSeed = ((): number | undefined => {
  const text = process.env["EVERFRESH_TEST_SEED"];
  if (text === undefined || text === "") return undefined;
  if (!/^\d{1,15}$/.test(text))
    throw new Error(`EVERFRESH_TEST_SEED is "${text}"; it is the number that a failed run told`);
  return Number(text);
})();
