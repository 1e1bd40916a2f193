// `npm start`: the queue app on embedded parts, from a clone to a page with one command.
// Whatever is set in the environment wins; docs/configuration.md lists the variables.
import { build, install } from "./run.mjs";

install();
build();

process.env.SLOW_QUERY_MS ||= "2000";
process.env.EVERFRESH_MIGRATE ||= "1";
process.env.LOG_FORMAT ||= process.env.NODE_ENV === "production" ? "json" : "human";
await import("../apps/queue/dist/src/main.js");
