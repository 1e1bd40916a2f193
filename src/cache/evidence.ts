/** What a value is made from: the generations that were current before it was computed. */
import type { Generation } from "./envelope.ts";
import type { GenerationRead, Generations } from "./generations.ts";
import type { Keys } from "./keys.ts";

/** A generation as it was before the load. */
export interface Evidence {
  readonly wire: string;
  readonly generation: Generation;
}

/** All of them: of the namespace, and of the tags by their names. */
export interface AllEvidence {
  readonly space: Evidence;
  readonly tags: ReadonlyMap<string, Evidence>;
}

/**
 * Reads the generations of `names`, creating those that are missing. Undefined when that of the namespace, or one that is
 * `needed`, cannot be had; others are left out.
 *
 * @param space asked already; the others are asked for after `moment`
 */
export async function gatherEvidence(
  generations: Generations,
  keys: Keys,
  space: GenerationRead,
  moment: number,
  names: ReadonlySet<string>,
  needed: readonly string[],
): Promise<AllEvidence | undefined> {
  const questions = [...names].map((tag) => generations.read(keys.tag(tag), moment));
  const spaceNow = await generations.settle(space);
  const current = await Promise.all(questions.map((read) => generations.settle(read)));
  if (spaceNow === undefined) return undefined;
  const tags = new Map<string, Evidence>();
  for (const [index, tag] of [...names].entries()) {
    const generation = current[index];
    const read = questions[index];
    if (generation !== undefined && read !== undefined) tags.set(tag, { wire: read.wire, generation });
    else if (needed.includes(tag)) return undefined;
  }
  return { space: { wire: space.wire, generation: spaceNow }, tags };
}
