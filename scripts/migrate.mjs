// `npm run migrate`: brings the database of DATABASE_URL to the newest schema; running it again changes nothing.
import { build, install, run } from "./run.mjs";

install();
build();

run(process.execPath, ["apps/queue/dist/src/migrate.js"]);
