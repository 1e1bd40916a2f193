/** A process of the tests that is killed while its relay delivers: it says "claimed" when its cache is told. */
import { createOutbox } from "everfresh/outbox";
import { db, hangingCache } from "./hanging.ts";

createOutbox({ db, caches: hangingCache("claimed"), deliveryTimeoutMs: 60_000 });
