// Written by scripts/write_web.py from python/treadle. Do not edit.
/** Budgets of one request and of the queue. */
export const LIMITS = {
  messages: 4096,
  tools: 128,
  choices: 16,
  stops: 16,
  templateBytes: 1048576,
  templateOutputBytes: 4194304,
  queueRequests: 512,
  undeliveredDeltas: 256,
  jsonDepth: 64,
  bodyBytes: 4194304,
  tokenizerBytes: 134217728,
} as const;
