/** What may stand in the queue: one line of 1 to 200 characters. */

/** The most code points that an item may have; the tables check the same. */
export const longestText = 200;

/** Control characters, line and paragraph separators, and halves of surrogate pairs, which no UTF-8 can hold. */
const forbidden = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}]/u;
/** Something that can be seen: a text of zero-width characters alone is as good as empty. */
const visible = /[^\p{Cf}\p{Z}]/u;

export type CheckedText =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "refused"; readonly reason: "missing" | "empty" | "long" | "control"; readonly message: string };

/** Trims and checks what a visitor sent; anything may come in. Length is counted in code points, as both databases do. */
export function checkText(input: unknown): CheckedText {
  if (typeof input !== "string")
    return { kind: "refused", reason: "missing", message: "The field “text” is to be sent once, as text." };
  const text = input.trim();
  if (!visible.test(text)) return { kind: "refused", reason: "empty", message: "Write something first." };
  if (forbidden.test(text))
    return {
      kind: "refused",
      reason: "control",
      message: "An item is one line of text: line breaks and other control characters are not allowed.",
    };
  const length = Array.from(text).length;
  if (length > longestText)
    return {
      kind: "refused",
      reason: "long",
      message: `That is ${length} characters long; ${longestText} is the most. Please shorten it.`,
    };
  return { kind: "text", text };
}
