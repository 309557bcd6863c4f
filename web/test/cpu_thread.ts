/** A thread of the CPU tier in node. */
import { parentPort } from "node:worker_threads";
import { work, type Job } from "../src/cpu/threads.js";

parentPort?.on("message", (job: Job) => work(job, () => parentPort?.postMessage("ready")));
