#!/usr/bin/env node
/** The command `everfresh`: looks up the command that is meant and leaves with its exit code. */
import { isEverfreshError, reasonOf } from "../errors.ts";
import { ownVersion } from "./own-version.ts";

/** Each command, with what it takes and does. Only the one that is meant is loaded: a server starts in the time of its own. */
const commands: Readonly<Record<string, { readonly run: (args: string[]) => Promise<number>; readonly help: string }>> =
  {
    outbox: {
      run: async (args) => await (await import("./outbox.ts")).outbox(args),
      help: "install | watch <table> --tag <tag> | unwatch | status | relay",
    },
    serve: {
      run: async (args) => await (await import("./serve.ts")).serve(args),
      help: "[memcached's flags]   a memcached-compatible server on 127.0.0.1:11211",
    },
  };

function usage(): string {
  const lines = Object.entries(commands).map(([name, { help }]) => `  everfresh ${name} ${help}`);
  return `Usage:\n${lines.join("\n")}\n  everfresh <command> --help\n  everfresh --version\n`;
}

async function main(args: string[]): Promise<number> {
  const [name = "", ...rest] = args;
  if (name === "--version" || name === "-V") {
    process.stdout.write(`everfresh ${ownVersion()}\n`);
    return 0;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) {
    const isAsked = name === "--help" || name === "-h" || name === "help";
    if (!isAsked && name !== "") process.stderr.write(`everfresh: there is no command ${JSON.stringify(name)}\n`);
    (isAsked ? process.stdout : process.stderr).write(usage());
    return isAsked ? 0 : 2;
  }
  try {
    return await command.run(rest);
  } catch (error) {
    if (isFaultOfOurs(error)) throw error;
    process.stderr.write(`everfresh ${name}: ${reasonOf(error)}\n`);
    return 1;
  }
}

/**
 * Whether where it was thrown is of use. Drivers of databases say by plain errors, many without a code, what keeps them from
 * one.
 */
function isFaultOfOurs(error: unknown): boolean {
  if (isEverfreshError(error) || typeof (error as { code?: unknown } | undefined)?.code === "string") return false;
  const faults = [TypeError, ReferenceError, RangeError, SyntaxError];
  return !(error instanceof Error) || faults.some((fault) => error instanceof fault);
}

// A relay or a server goes on when nobody reads what it says any more: `| head -1`, a collector of logs that is started anew.
for (const output of [process.stdout, process.stderr]) output.on("error", () => undefined);
process.exitCode = await main(process.argv.slice(2));
