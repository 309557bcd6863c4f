/**
 * `fetch` for OpenAI's clients: the routes of `treadle serve`, answered by an engine in this page. It
 * never touches the network.
 */
import { invalidRequest, limitExceeded, throwIfAborted, TreadleError } from "../errors.js";
import { LIMITS } from "../generated/limits.js";
import type { Api } from "./api.js";

export type Fetch = (input: RequestInfo | URL, init?: RequestInit) => Promise<Response>;

const TYPES: Readonly<Record<number, string>> = {
  400: "invalid_request_error",
  404: "not_found_error",
  413: "invalid_request_error",
  429: "rate_limit_error",
};
const JSON_HEADERS = { "content-type": "application/json" };
const encoder = new TextEncoder();

export function fetchOf(api: Api): Fetch {
  return async (input, init) => {
    try {
      const request = new Request(input, init as RequestInit & { duplex: "half" });
      throwIfAborted(request.signal);
      return await answer(api, request);
    } catch (error) {
      const found = TreadleError.from(error);
      // Real fetch rejects with what the signal holds; clients tell an abort by that.
      if (found.code === "cancelled") throw new DOMException("the request was aborted", "AbortError");
      return errorResponse(found);
    }
  };
}

async function answer(api: Api, request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  const path = /\/v1\/(.*?)\/?$/.exec(pathname)?.[1] ?? "";
  const wanted = ["chat/completions", "completions", "embeddings"].includes(path) ? "POST" : "GET";
  const isModel = path === "models" || path.startsWith("models/");
  if (wanted === "GET" && !isModel) {
    const hint = "see /v1/models, /v1/chat/completions, /v1/embeddings";
    throw new TreadleError("not_found", "no such route", { hint });
  }
  if (request.method !== wanted) {
    const error = invalidRequest("", `this route does not take ${request.method}`, `use ${wanted}`);
    return errorResponse(error, 405);
  }
  if (path === "models") return json(await api.models.list());
  if (isModel) return json(await api.models.retrieve(decodeURIComponent(path.slice(7))));
  const body = await readBody(request);
  const { signal } = request;
  if (path === "embeddings") return json(await api.embeddings.create(body as never, { signal }));
  const made =
    path === "completions"
      ? await api.completions.create(body as never, { signal })
      : await api.chat.completions.create(body as never, { signal });
  return Symbol.asyncIterator in made ? events(made as AsyncIterable<unknown>) : json(made);
}

async function readBody(request: Request): Promise<unknown> {
  const text = await request.text();
  if (text.length > LIMITS.bodyBytes) {
    throw limitExceeded("bodyBytes", text.length, LIMITS.bodyBytes, "", "send a smaller body");
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw invalidRequest("", `the body is not JSON: ${(error as Error).message}`, "send a JSON object");
  }
}

/** Server-sent events. An error after the first becomes an event and the end, without [DONE]. */
function events(chunks: AsyncIterable<unknown>): Response {
  const iterator = chunks[Symbol.asyncIterator]();
  const line = (data: string) => encoder.encode(`data: ${data}\n\n`);
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await iterator.next();
          controller.enqueue(line(done ? "[DONE]" : JSON.stringify(value)));
          if (done) controller.close();
        } catch (error) {
          const found = TreadleError.from(error);
          if (found.code === "cancelled") {
            controller.error(new DOMException("the request was aborted", "AbortError"));
            return;
          }
          controller.enqueue(line(JSON.stringify(errorBody(found))));
          controller.close();
        }
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
  const headers = { "content-type": "text/event-stream", "cache-control": "no-cache" };
  return new Response(body, { headers });
}

/** {error: {message, type, param, code}}, as OpenAI's clients expect it. */
export function errorBody(error: TreadleError) {
  return {
    error: {
      message: error.message,
      type: TYPES[error.status] ?? "server_error",
      param: error.at.replace(/^\/+|\/+$/g, "").replaceAll("/", ".") || null,
      code: error.code === "context_overflow" ? "context_length_exceeded" : error.code,
    },
  };
}

function errorResponse(error: TreadleError, status = error.status): Response {
  const wait = status === 429 ? "1" : status === 503 ? "5" : undefined;
  const headers = { ...JSON_HEADERS, ...(wait ? { "retry-after": wait } : {}) };
  return new Response(JSON.stringify(errorBody(error)), { status, headers });
}

function json(body: unknown): Response {
  return new Response(JSON.stringify(body), { headers: JSON_HEADERS });
}
