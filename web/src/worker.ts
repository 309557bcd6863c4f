/** The worker of the package: `new Worker(".../worker.js", { type: "module" })`, shared ones too. */
import { openHere } from "./platform.js";
import { serveWorker } from "./worker/host.js";

serveWorker((source, options, hooks) => openHere(source, { ...options, ...hooks }));
