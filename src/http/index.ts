/** The door of `http`: which responses are values. */
export { preferredLanguage } from "./negotiation.ts";
