// `npm run migrate`: brings the database of DATABASE_URL to the newest schema; running it again changes nothing.
import { build, install } from "./run.mjs";

install();
build();

process.env.DATABASE_URL ||= "sqlite:///queue.sqlite";
await import("../apps/queue/dist/src/migrate.js");
