// `npm start`: the queue app on embedded parts, from a clone to a page with one command.
// Whatever is set in the environment wins; docs/configuration.md lists the variables.
import { build, install } from "./run.mjs";

install();
build();

process.env.DATABASE_URL ||= "sqlite:///queue.sqlite";
process.env.SLOW_QUERY_MS ||= "2000";
process.env.EVERFRESH_MIGRATE ||= "1";
await import("../apps/queue/dist/src/main.js");
