/**
 * Who may log in, and what is theirs: each account has a memory of its own, so that nobody sees, changes or pushes out
 * what is another's.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { Random } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import { checkNames } from "../option-names.ts";
import { Store, type StoreOptions } from "../store/index.ts";

/** What an account may do besides reading. */
export type Capability = "write" | "flush" | "stats";

export interface User {
  readonly name: string;
  readonly password: string;
  /**
   * Users with the same namespace share one memory, so that passwords can be changed one after the other. Default: the
   * name of the user.
   */
  readonly namespace?: string | undefined;
  /** The memory of the user's namespace, in bytes. Default: an equal part of the server's. */
  readonly limitBytes?: number | undefined;
  /** Default: all of them. */
  readonly capabilities?: readonly Capability[] | undefined;
}

const allCapabilities: readonly Capability[] = ["write", "flush", "stats"];
const userNames: Record<keyof User, true> = {
  name: true,
  password: true,
  namespace: true,
  limitBytes: true,
  capabilities: true,
};

/** A misspelled word must not give all rights, nor take some. The password is never a part of the error. */
function checkUser(user: User): void {
  const isObject = typeof user === "object" && user !== null;
  const who = isObject && typeof user.name === "string" ? `user ${JSON.stringify(user.name)}` : "a user";
  const wrong = (what: string): EverfreshError => new EverfreshError("EF_OPTION", `${who} ${what}`);
  if (!isObject) throw wrong("is an object with name and password");
  checkNames(user, userNames, who);
  const { name, password, namespace, capabilities = [] } = user;
  if (typeof name !== "string" || name === "" || typeof password !== "string" || password === "")
    throw wrong("needs a name and a password, both texts that are not empty");
  if (namespace !== undefined && typeof namespace !== "string") throw wrong("has a namespace that is no text");
  if (!Array.isArray(capabilities) || !capabilities.every((each: Capability) => allCapabilities.includes(each)))
    throw wrong(`has capabilities that are no list of ${allCapabilities.join(", ")}`);
}

/** One user's view of the server. */
export interface Account {
  readonly name: string;
  readonly store: Store;
  readonly canWrite: boolean;
  readonly canFlush: boolean;
  readonly canStats: boolean;
}

interface Entry {
  readonly account: Account;
  readonly digest: Buffer;
}

export class Accounts {
  /** Who everybody is where nobody needs to log in. */
  readonly guest: Account | undefined;
  readonly stores = new Map<string, Store>();
  #entries = new Map<string, Entry>();
  readonly #salt: Uint8Array;
  readonly #storeOptions: StoreOptions;

  constructor(users: readonly User[], storeOptions: StoreOptions, random: Random) {
    this.#salt = random.bytes(32);
    this.#storeOptions = storeOptions;
    if (users.length === 0) {
      const store = new Store(storeOptions);
      this.stores.set("", store);
      this.guest = { name: "", store, canWrite: true, canFlush: true, canStats: true };
    } else this.replace(users);
  }

  /**
   * Other users from now on, as after the file of users has changed. Namespaces that stay keep what they hold.
   *
   * @throws EverfreshError `EF_OPTION` for users without a name or password, or with what users do not have, and for names
   *   given twice
   */
  replace(users: readonly User[]): void {
    for (const user of users) checkUser(user);
    const namespaces = new Set(users.map((user) => user.namespace ?? user.name));
    const share = Math.floor(this.#storeOptions.limitBytes / namespaces.size);
    const entries = new Map<string, Entry>();
    for (const user of users) {
      if (entries.has(user.name))
        throw new EverfreshError("EF_OPTION", `user ${JSON.stringify(user.name)} needs a name of its own`);
      const namespace = user.namespace ?? user.name;
      const limitBytes = user.limitBytes ?? share;
      const store = this.stores.get(namespace) ?? new Store({ ...this.#storeOptions, limitBytes });
      this.stores.set(namespace, store);
      const capabilities = user.capabilities ?? allCapabilities;
      const account: Account = {
        name: user.name,
        store,
        canWrite: capabilities.includes("write"),
        canFlush: capabilities.includes("flush"),
        canStats: capabilities.includes("stats"),
      };
      entries.set(user.name, { account, digest: this.#digest(user.password) });
    }
    this.#entries = entries;
  }

  /** The account of a user, if the password is right. Takes as long for a wrong name as for a wrong password. */
  verify(name: string, password: string): Account | undefined {
    const given = this.#digest(password);
    const entry = this.#entries.get(name);
    const isRight = timingSafeEqual(given, entry?.digest ?? this.#digest(""));
    return isRight && password !== "" ? entry?.account : undefined;
  }

  #digest(password: string): Buffer {
    return createHash("sha256").update(this.#salt).update(password).digest();
  }
}
