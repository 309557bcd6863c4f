/**
 * One turn of the event loop, so that messages and aborts are heard between steps that compute on
 * this very thread. Not a timer: those are slowed down in tabs that are not in front.
 */
const waiting: (() => void)[] = [];
let channel: MessageChannel | undefined;

export function breathe(): Promise<void> {
  const { setImmediate } = globalThis as { setImmediate?: (run: () => void) => unknown };
  if (setImmediate) return new Promise((resolve) => setImmediate(resolve)); // node
  if (!channel) {
    channel = new MessageChannel();
    channel.port1.onmessage = () => waiting.shift()?.();
  }
  const { port2 } = channel;
  return new Promise((resolve) => {
    waiting.push(resolve);
    port2.postMessage(0);
  });
}
