/** Which server versions have which flags, so that what a server lacks is refused instead of sent. */
import { want, type Command, type ProtocolName, type StoreMode } from "../protocol/index.ts";

/** A memcached version, such as 1.6.18. */
export interface ServerVersion {
  readonly text: string;
  /** Comparable: 1.6.18 is 1006018. Undefined for servers that number themselves otherwise. */
  readonly order: number | undefined;
}

/** Reads what a server answers to `version`. */
export function parseVersion(text: string): ServerVersion {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})/.exec(text);
  const order = match ? Number(match[1]) * 1_000_000 + Number(match[2]) * 1000 + Number(match[3]) : undefined;
  return { text: text.slice(0, 100), order };
}

/** memcached release notes: an explicit CAS (`E`) and `x` came with 1.6.27, "value only if changed" with 1.6.40. */
const explicitCas = 1_006_027;
const valueIfChanged = 1_006_040;

/** What every protocol can tell about an item. */
const plainWants = want.value | want.flags | want.cas;

/**
 * What `command` needs and this server lacks, as a sentence; undefined when it can be sent.
 *
 * A server that does not say its version is taken for 1.6.12, the oldest that is supported.
 */
export function lacking(
  command: Command,
  protocol: ProtocolName,
  version: ServerVersion | undefined,
): string | undefined {
  const { details } = command;
  if (protocol !== "meta") {
    if (needsMeta(command)) return `This needs the meta protocol; the connection speaks ${protocol}.`;
    if (protocol === "text") return beyondText(command);
    if (command.verb === "cluster") return "The binary protocol has no configuration endpoint.";
  }
  if (details === undefined) return undefined;
  // It is what servers without tokens give (memcached -C); sent, the command would be executed whatever is there.
  if (details.compareCas !== undefined && /^0+$/.test(details.compareCas) && !compares0(command, protocol))
    return `The token 0 is none to this command over ${protocol}: nothing would be compared.`;
  const order = version?.order ?? 1_006_012;
  const named = `the server's version is ${version?.text ?? "unknown"}`;
  if (details.ifChangedFrom !== undefined && order < valueIfChanged)
    return `mg with C needs memcached 1.6.40; ${named}.`;
  if (details.newCas !== undefined && order < explicitCas) return `The flag E needs memcached 1.6.27; ${named}.`;
  if (details.dropValue === true && order < explicitCas) return `The flag x needs memcached 1.6.27; ${named}.`;
  return undefined;
}

function needsMeta({ verb, details, wanted, ttl }: Command): boolean {
  // Elsewhere a counter gets a time to live only when it is made.
  if (verb === "arithmetic" && ttl !== undefined) return true;
  if (verb === "debug" || (wanted & ~plainWants) !== 0) return true;
  if (verb === "get" && (wanted & want.value) === 0) return true;
  if (details === undefined) return false;
  const { recache, invalidate, dropValue, newCas, ifChangedFrom, vivify, opaque } = details;
  if (recache !== undefined || invalidate === true || dropValue === true || newCas !== undefined) return true;
  if (ifChangedFrom !== undefined || opaque !== undefined) return true;
  // The other protocols make a `cas` of it, which stores where there is something.
  if (verb === "store" && details.mode === "add" && details.compareCas !== undefined) return true;
  return vivify !== undefined && verb !== "arithmetic";
}

function beyondText({ verb, details, wanted }: Command): string | undefined {
  if (verb === "delete" && details?.compareCas !== undefined) return "The text protocol cannot compare on delete.";
  if (verb === "arithmetic" && details?.vivify !== undefined)
    return "The text protocol has no counter that starts by itself.";
  if (verb === "arithmetic" && (details?.compareCas !== undefined || (wanted & want.cas) !== 0))
    return "The text protocol has no tokens for counters.";
  if (verb === "store" && details?.compareCas !== undefined && isAddition(details.mode))
    return "The text protocol cannot compare on append and prepend.";
  if (verb === "store" && (wanted & want.cas) !== 0)
    return "The text protocol does not tell the token of what it stored.";
  return undefined;
}

/** Text and meta compare with the token 0 like with others, except (seen with 1.6.18) where something is added to what is there. */
function compares0({ verb, details }: Command, protocol: ProtocolName): boolean {
  return protocol !== "binary" && verb !== "arithmetic" && !isAddition(details?.mode);
}

function isAddition(mode: StoreMode | undefined): boolean {
  return mode === "append" || mode === "prepend";
}
