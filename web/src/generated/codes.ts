// Written by scripts/write_web.py from python/treadle. Do not edit.
/** Error codes and their HTTP status. */
export const STATUS = {
  cancelled: 499,
  context_overflow: 400,
  engine_dead: 503,
  grammar_error: 400,
  graph_error: 500,
  invalid_request: 400,
  kernel_error: 500,
  limit_exceeded: 400,
  model_format_error: 500,
  not_found: 404,
  not_ready: 503,
  overloaded: 429,
  timeout: 504,
  treadle_error: 500,
  unauthorized: 401,
  unsupported: 400,
} as const;
