#!/usr/bin/env node
// `everfresh serve` where a program called memcached is expected: EVERFRESH_TEST_MEMCACHED names this file. It says that
// it is 1.6.18, because the tests know what that version lacks.
process.argv.splice(2, 0, "serve", "-o", "version=1.6.18");
await import("../../dist/cli/main.js");
