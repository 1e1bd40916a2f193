/** What links tell the world: one event for each command and for each change of a server's state. */
import type { Clock } from "../clock.ts";
import { isEverfreshError } from "../errors.ts";
import { eventChannel } from "../events.ts";
import type { Call } from "./call.ts";
import type { Link, LinkState } from "./link.ts";

const commands = eventChannel("everfresh:client:command");
const states = eventChannel("everfresh:client:server");

/** Tells of the end of a call, if anybody listens. */
export function watchCall(call: Call<unknown>, server: string, clock: Clock): void {
  if (!commands.hasSubscribers) return;
  const start = clock.monotonic();
  const tell = (error: string | undefined): void => {
    commands.publish({
      server,
      command: call.verb,
      key: call.shownKey(),
      durationMs: clock.monotonic() - start,
      error,
    });
  };
  call.promise.then(
    () => tell(undefined),
    (error: unknown) => tell(isEverfreshError(error) ? error.code : "unknown"),
  );
}

/** Tells of a change of a link's state. */
export function tellState(link: Link, from: LinkState): void {
  if (!states.hasSubscribers) return;
  const { server, state, protocol, version, cause } = link;
  states.publish({
    server,
    from,
    to: state,
    protocol,
    version: version?.text,
    code: cause?.code,
    message: cause?.message,
  });
}
