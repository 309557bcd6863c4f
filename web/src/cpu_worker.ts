/** A thread of the CPU tier. */
import { work, type Job } from "./cpu/threads.js";

const scope = globalThis as unknown as {
  onmessage: (event: { data: Job }) => void;
  postMessage(message: unknown): void;
};
scope.onmessage = ({ data }) => work(data, () => scope.postMessage("ready"));
