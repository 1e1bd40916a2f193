// `npm run build`: the library into dist/, the queue app into apps/queue/dist/.
import { build } from "./run.mjs";

build();
