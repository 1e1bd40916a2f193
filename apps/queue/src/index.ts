/** What tests, harnesses and benchmarks may use of the app: the parts, and the app made of them. */
export { createApp, type AppParts } from "./app.ts";
export { ConfigError, configFromEnv, type Config } from "./config.ts";
export { openDatabase, type Database } from "./database.ts";
export { databaseTarget, type DatabaseTarget } from "./database-url.ts";
export { checkText, longestText } from "./item-text.ts";
export { logStream, type Logging } from "./logging.ts";
export { migrate } from "./migrate.ts";
export { QueueStore, windowSize, type Item, type QueueWindow } from "./queue-store.ts";
export { type QueueView } from "./queue-view.ts";
export { openCache, type QueueCache } from "./queue-cache.ts";
export { run, type RunningApp } from "./run.ts";
